/*
 * fuzz_stream_body.c - bodies of POST /api/v1/stream/append: no crash on any text, and what was
 * taken, written as a read gives it, is taken as the same messages.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "server/svc_http_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_attribute(const vv_attribute *a, const vv_attribute *b)
{
    check(a->type == b->type && vv_slice_eq(a->name, b->name));
    check(vv_slice_eq(a->bytes, b->bytes) && a->i64 == b->i64);
    check(a->f64 == b->f64 || (isnan(a->f64) && isnan(b->f64)));
}

static void check_message(const vv_message *a, const vv_message *b)
{
    check(vv_slice_eq(a->key, b->key) && vv_slice_eq(a->value, b->value));
    check(vv_slice_eq(a->source, b->source) && a->event_time_ns == b->event_time_ns);
    check(vv_slice_eq(a->content_type, b->content_type));
    check(a->attribute_count == b->attribute_count);
    for (size_t i = 0; i < a->attribute_count; i++)
        check_attribute(&a->attributes[i], &b->attributes[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vv_arena arena;
    vv_message *first = NULL;
    vv_message *second = NULL;
    size_t count = 0;
    size_t again = 0;
    vv_buf out;
    vv_slice body = vv_slice_of(data, size);
    vv_arena_init(&arena, 256u << 20);
    vv_buf_init(&out, 256u << 20);
    if (svc_stream_read_body(body, false, &arena, &first, &count, NULL) == VV_OK) {
        check(count > 0);
        for (size_t i = 0; i < count; i++)
            svc_stream_put_json(&out, &first[i]);
        check(out.status == VV_OK);
        check(svc_stream_read_body(vv_buf_slice(&out), false, &arena, &second, &again, NULL) ==
              VV_OK);
        check(again == count);
        for (size_t i = 0; i < count; i++)
            check_message(&first[i], &second[i]);
    }
    if (svc_stream_read_body(body, true, &arena, &first, &count, NULL) == VV_OK)
        check(count > 0 && count <= size);
    vv_buf_fini(&out);
    vv_arena_fini(&arena);
    return 0;
}
