/*
 * fuzz_line.c - line protocol: no crash, and what was accepted, written out as line protocol, is
 * read as the same samples.
 */
#include "feeds/feed_line.h"
#include "feeds/feed_test_sink.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* Writes each sample as a line. */
typedef struct line_writer {
    feed_sink sink;
    vv_buf out;
    vv_buf head; /* of the series */
    vv_slice field;
    uint8_t field_bytes[2 * FEED_LABEL_BYTES_MAX];
    feed_type type;
} line_writer;

static void put_escaped(vv_buf *b, vv_slice text, bool has_equals)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == ',' || c == ' ' || (c == '=' && has_equals))
            vv_buf_append_u8(b, '\\');
        vv_buf_append_u8(b, c);
        /* A pair that escapes nothing stays a pair. */
        if (c == '\\' && i + 1 < text.len && text.data[i + 1] == '\\')
            vv_buf_append_u8(b, text.data[++i]);
    }
}

/* Cut the name at an underscore that leaves two names: there is the one it was joined with. With a
 * backslash it may be another name than that which was cut: measurements escape less. */
static size_t cut_name(vv_slice name)
{
    for (size_t i = 1; i + 1 < name.len; i++)
        if (name.data[i] == '_')
            return memchr(name.data, '\\', name.len) == NULL ? i : 0;
    return 0;
}

static vv_status write_series(feed_sink *sink, const feed_label *labels, size_t count,
                              feed_type type, vv_error *err)
{
    line_writer *w = VV_CONTAINER_OF(sink, line_writer, sink);
    (void)err;
    w->type = type;
    vv_buf_reset(&w->head);
    size_t cut = cut_name(labels[0].value);
    w->field = vv_slice_of(NULL, 0);
    if (cut == 0)
        return VV_OK;
    put_escaped(&w->head, vv_slice_of(labels[0].value.data, cut), false);
    for (size_t i = 1; i < count; i++) {
        vv_buf_append_str(&w->head, ",");
        put_escaped(&w->head, labels[i].name, true);
        vv_buf_append_str(&w->head, "=");
        put_escaped(&w->head, labels[i].value, true);
    }
    w->field = vv_slice_of(w->field_bytes, labels[0].value.len - cut - 1);
    memcpy(w->field_bytes, labels[0].value.data + cut + 1, w->field.len);
    return VV_OK;
}

static vv_status write_samples(feed_sink *sink, const int64_t *time_ns, feed_values v,
                               const uint32_t *quality, size_t count, vv_error *err)
{
    line_writer *w = VV_CONTAINER_OF(sink, line_writer, sink);
    (void)err;
    check(count == 1 && quality == NULL);
    if (w->field.len == 0)
        return VV_OK;
    vv_buf_append_slice(&w->out, vv_buf_slice(&w->head));
    vv_buf_append_str(&w->out, " ");
    put_escaped(&w->out, w->field, true);
    if (w->type == FEED_F64)
        vv_buf_printf(&w->out, "=%.17g", v.f64[0]);
    else if (w->type == FEED_I64)
        vv_buf_printf(&w->out, "=%" PRId64 "i", v.i64[0]);
    else if (w->type == FEED_BOOL)
        vv_buf_append_str(&w->out, v.boolean[0] ? "=t" : "=F");
    else {
        vv_buf_append_str(&w->out, "=\"");
        for (size_t i = 0; i < v.string[0].len; i++) {
            uint8_t c = v.string[0].data[i];
            if (c == '"' || c == '\\')
                vv_buf_append_u8(&w->out, '\\');
            vv_buf_append_u8(&w->out, c);
        }
        vv_buf_append_str(&w->out, "\"");
    }
    vv_buf_printf(&w->out, " %" PRId64 "\n", time_ns[0]);
    return VV_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const feed_sink_ops ops = {write_series, write_samples};
    static feed_line *d;
    static line_writer w;
    const feed_line_options options = {.unit_ns = 1, .now_ns = 5};
    feed_result a, b;
    if (d == NULL)
        d = feed_line_create();
    check(d != NULL);
    w.sink.ops = &ops;
    vv_buf_init(&w.out, 64 << 20);
    vv_buf_init(&w.head, 64 << 20);
    feed_test_sink *first = feed_test_sink_create(), *second = feed_test_sink_create();
    vv_slice in = vv_slice_of(data, size);
    check(feed_line_decode(d, in, &options, &w.sink, &a, NULL) == VV_OK);
    check(feed_line_decode(d, in, &options, &first->sink, &b, NULL) == VV_OK);
    check(a.samples == b.samples && a.refused == b.refused && first->samples == a.samples);
    check((a.refused == 0) == (a.first_refusal[0] == '\0'));
    check(w.out.status == VV_OK && w.head.status == VV_OK);
    check(feed_line_decode(d, vv_buf_slice(&w.out), &options, &second->sink, &b, NULL) == VV_OK);
    check(b.refused == 0);
    if (b.samples == a.samples) /* else a name could not be cut */
        check(vv_slice_eq(vv_buf_slice(&first->text), vv_buf_slice(&second->text)));
    feed_test_sink_destroy(first);
    feed_test_sink_destroy(second);
    vv_buf_fini(&w.out);
    vv_buf_fini(&w.head);
    return 0;
}
