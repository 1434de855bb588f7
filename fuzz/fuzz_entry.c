/*
 * fuzz_entry.c - log entry payloads: no crash, what decodes encodes back to the same bytes, and the
 * memtable makes of it what the reference model does.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "engine/engine.h"
#include "engine/memtable.h"

#define APPLY_MAX 4096u /* operations; more only cost time */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* False when the payload is refused. */
static bool encode_again(vv_slice payload, vv_buf *buf, uint32_t *op_count)
{
    engine_entry_iter it;
    engine_op op;
    vv_error err;
    if (engine_entry_open(payload, &it, &err) != VV_OK)
        return false;
    *op_count = it.left;
    size_t begin = engine_entry_begin(buf);
    vv_status st;
    while ((st = engine_entry_next(&it, &op, &err)) == VV_OK)
        engine_entry_add(buf, &op);
    engine_entry_finish(buf, begin, *op_count);
    must(st == VV_NOT_FOUND || st == VV_CORRUPT);
    return st == VV_NOT_FOUND;
}

static engine_cursor *cursor_on(engine_memtable *mt, const engine_cursor_options *opt)
{
    engine_source *src;
    engine_cursor *c;
    must(engine_memtable_source(mt, &src, NULL) == VV_OK);
    must(engine_cursor_create(&src, 1, opt, NULL, NULL, &c, NULL) == VV_OK);
    return c;
}

static void compare(engine_memtable *mt, engine *model)
{
    static const uint8_t low[1] = {0};
    static const uint8_t high[8] = {255, 255, 255, 255, 255, 255, 255, 255};
    engine_cursor_options opt = {.read = {.version = 9, .now_ns = 1},
                                 .lower = vv_slice_of(low, sizeof low),
                                 .upper = vv_slice_of(high, sizeof high)};
    engine_cursor *a = cursor_on(mt, &opt);
    engine_cursor *b;
    must(model->ops->cursor(model, &opt, &b, NULL) == VV_OK);
    vv_slice first = vv_slice_of(NULL, 0);
    must(engine_cursor_seek(a, first, NULL) == VV_OK);
    must(engine_cursor_seek(b, first, NULL) == VV_OK);
    while (engine_cursor_valid(a)) {
        must(engine_cursor_valid(b));
        must(vv_slice_eq(engine_cursor_item(a)->key, engine_cursor_item(b)->key));
        must(vv_slice_eq(engine_cursor_item(a)->value, engine_cursor_item(b)->value));
        must(engine_cursor_next(a, NULL) == VV_OK);
        must(engine_cursor_next(b, NULL) == VV_OK);
    }
    must(!engine_cursor_valid(b));
    engine_cursor_close(a);
    engine_cursor_close(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vv_slice payload = vv_slice_of(data, size);
    vv_buf buf;
    vv_buf_init(&buf, 2 * size + 64);
    uint32_t op_count = 0;
    bool good = encode_again(payload, &buf, &op_count);
    if (good)
        must(buf.status == VV_OK && vv_slice_eq(payload, vv_buf_slice(&buf)));
    vv_buf_fini(&buf);
    if (op_count > APPLY_MAX)
        return 0;

    engine_memtable *mt;
    engine *model;
    must(engine_memtable_create(4096, NULL, &mt, NULL) == VV_OK);
    must(engine_memory_ops.open(&(engine_options){0}, &model, NULL) == VV_OK);
    vv_status st = engine_memtable_apply(mt, 9, payload, NULL);
    must(st == (good ? VV_OK : VV_CORRUPT));
    must(model->ops->apply(model, 9, 0, payload, NULL) == st);
    compare(mt, model);
    engine_memtable_unref(mt);
    model->ops->close(model);
    return 0;
}
