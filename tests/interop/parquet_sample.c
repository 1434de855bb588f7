/*
 * parquet_sample.c - the same messages as Parquet, compressed and not, and as JSON lines, for
 * parquet_test.py to hold against each other.
 *
 *     parquet_sample DIRECTORY [messages]
 *
 * Messages of every shape, of all types of attributes; one that appears in the last row group
 * alone, one name with two types, names that need quoting.
 */
#include "archive/arch_test_util.h"

#define LATE 20

typedef struct output {
    FILE *file;
    arch_form *form;
} output;

static vv_status write_file(void *ctx, const void *bytes, size_t len, vv_error *err)
{
    if (fwrite(bytes, 1, len, ctx) != len)
        return vv_fail(err, VV_IO, "short write");
    return VV_OK;
}

static void must(vv_status st, const vv_error *err)
{
    if (st == VV_OK)
        return;
    (void)fprintf(stderr, "parquet_sample: %s: %s\n", vv_status_name(st), err->msg);
    exit(1);
}

static output open_output(const char *dir, const char *name, vv_tier_form form, int level)
{
    char path[4096];
    vv_error err = {0};
    output o = {.form = NULL};
    arch_identity who = arch_test_who();
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    o.file = fopen(path, "wb");
    if (o.file == NULL)
        must(VV_IO, &(vv_error){.msg = "cannot make a file"});
    const arch_sink sink = {.write = write_file, .ctx = o.file};
    must(arch_form_open(form, &who, level, sink, &o.form, &err), &err);
    return o;
}

/* Message i of the sample: those of the tests, and at the end some attributes more. */
static void sample_of(uint64_t i, uint64_t count, arch_test_message *t)
{
    arch_test_message_of(7, i, t);
    if (t->m.attribute_count > 6)
        t->m.attribute_count = 6;
    if (i + LATE < count)
        return;
    t->attribute[t->m.attribute_count++] = (vv_attribute){.name = vv_slice_str("late \"column\""),
                                                          .type = VV_ATTRIBUTE_I64,
                                                          .i64 = INT64_MIN + (int64_t)i};
    if (i + 1 == count)
        t->attribute[t->m.attribute_count++] = (vv_attribute){.name = vv_slice_str("mixed"),
                                                              .type = VV_ATTRIBUTE_STRING,
                                                              .bytes = vv_slice_str("a text")};
    else
        t->attribute[t->m.attribute_count++] = (vv_attribute){
            .name = vv_slice_str("mixed"), .type = VV_ATTRIBUTE_F64, .f64 = (double)i / 3};
}

int main(int argc, char **argv)
{
    static arch_test_message t;
    vv_error err = {0};
    if (argc < 2) {
        (void)fprintf(stderr, "usage: parquet_sample DIRECTORY [messages]\n");
        return 1;
    }
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 20000;
    output o[] = {open_output(argv[1], "packed.parquet", VV_TIER_PARQUET, 3),
                  open_output(argv[1], "plain.parquet", VV_TIER_PARQUET, -1),
                  open_output(argv[1], "lines.jsonl.zst", VV_TIER_JSONL, 0)};
    for (uint64_t i = 0; i < count; i++) {
        sample_of(i, count, &t);
        for (size_t k = 0; k < ARRAY_LEN(o); k++)
            must(arch_form_add(o[k].form, &t.m, &err), &err);
    }
    for (size_t k = 0; k < ARRAY_LEN(o); k++) {
        must(arch_form_finish(o[k].form, NULL, &err), &err);
        arch_form_close(o[k].form);
        if (fclose(o[k].file) != 0)
            return 1;
    }
    return 0;
}
