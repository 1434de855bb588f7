/*
 * fuzz_csv.c - CSV as `varve import` reads it: a record is refused, or written with quotes it reads
 * as the same fields.
 *
 * The first byte chooses the delimiter.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "import.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static bool open_bytes(import_input *in, const uint8_t *data, size_t size)
{
    *in = (import_input){.path = "fuzz", .name = "fuzz"};
    vv_buf_init(&in->buf, IMPORT_LINE_MAX + (1u << 20));
    in->file = size == 0 ? NULL : fmemopen((void *)(uintptr_t)data, size, "rb");
    return in->file != NULL;
}

static void write_again(const vv_slice *fields, size_t count, char delimiter, vv_buf *out)
{
    vv_buf_append_str(out, "\"\""); /* so that the record is never an empty line */
    for (size_t i = 0; i < count; i++) {
        vv_buf_append_u8(out, (uint8_t)delimiter);
        vv_buf_append_u8(out, '"');
        for (size_t k = 0; k < fields[i].len; k++) {
            if (fields[i].data[k] == '"')
                vv_buf_append_u8(out, '"');
            vv_buf_append_u8(out, fields[i].data[k]);
        }
        vv_buf_append_u8(out, '"');
    }
    vv_buf_append_u8(out, '\n');
    must(out->status == VV_OK);
}

static void compare(const vv_slice *fields, size_t count, char delimiter)
{
    import_input in;
    vv_buf text;
    uint8_t *line;
    size_t len, got = 0;
    vv_slice *again = vv_calloc(IMPORT_COLUMNS_MAX, sizeof *again);
    vv_buf_init(&text, 8u << 20);
    write_again(fields, count, delimiter, &text);
    must(again != NULL && open_bytes(&in, text.data, text.len));
    must(import_next_line(&in, true, &line, &len, NULL) == VV_OK && len + 1 == text.len);
    if (count + 1 < IMPORT_COLUMNS_MAX) {
        must(import_split(&in, line, len, delimiter, again, &got, NULL) == VV_OK);
        must(got == count + 1);
        for (size_t i = 0; i < count; i++)
            must(vv_slice_eq(fields[i], again[i + 1]));
    }
    import_input_close(&in);
    vv_buf_fini(&text);
    vv_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char delimiters[] = ",;\t|";
    import_input in;
    uint8_t *line;
    size_t len, count;
    uint64_t before = 0;
    if (size < 2)
        return 0;
    char delimiter = delimiters[data[0] % 4];
    vv_slice *fields = vv_calloc(IMPORT_COLUMNS_MAX, sizeof *fields);
    must(fields != NULL && open_bytes(&in, data + 1, size - 1));
    while (import_next_line(&in, true, &line, &len, NULL) == VV_OK) {
        must(len > 0 && in.line > before);
        before = in.line;
        if (import_split(&in, line, len, delimiter, fields, &count, NULL) == VV_OK)
            compare(fields, count, delimiter);
    }
    import_input_close(&in);
    vv_free(fields);
    return 0;
}
