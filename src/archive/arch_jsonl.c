/*
 * arch_jsonl.c - a batch as JSON lines in one zstd frame: an object a line, for tools that know
 * neither our format nor Parquet.
 *
 *   {"offset":7,"partition":0,"receive_time":"2026-07-01T12:30:00.25Z","event_time":..,"key":..,
 *    "content_type":..,"source":..,"attributes":{"name":value,..},"value":".."}
 *
 * What a message does not have is left out, but for its value. A key or value that is not UTF-8 is
 * called key_base64 or value_base64 and is that; so what stands under "value" is always its bytes.
 * Integers are written with all their digits. The frame has a checksum.
 */
#include "archive/arch_int.h"

#define ZSTD_STATIC_LINKING_ONLY /* ZSTD_customMem */
#include <zstd.h>
#include <zstd_errors.h>

#include <inttypes.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/json_text.h"
#include "base/time_text.h"
#include "base/utf8.h"
#include "base/util.h"

#define LINES_TARGET (64u * 1024) /* bytes of lines that are compressed at once */
#define JSON_LINE_MAX                                                                              \
    (128u * 1024 * 1024)          /* of a message of 12 MiB of control bytes: six for each */
#define LINES_KEPT (1024u * 1024) /* a larger buffer, of a large message, is not kept */
#define OUT_LEN (128u * 1024)

struct arch_jsonl {
    arch_sink sink;
    ZSTD_CCtx *zstd;
    vv_buf lines;
    uint8_t *out; /* [OUT_LEN] */
};

static void *zstd_alloc(void *opaque, size_t size)
{
    (void)opaque;
    return vv_alloc(size);
}

static void zstd_free(void *opaque, void *ptr)
{
    (void)opaque;
    vv_free(ptr);
}

void arch_jsonl_close(arch_jsonl *j)
{
    if (j == NULL)
        return;
    (void)ZSTD_freeCCtx(j->zstd);
    vv_buf_fini(&j->lines);
    vv_free(j->out);
    vv_free(j);
}

static vv_status refused(size_t n, vv_error *err)
{
    bool is_memory = ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation;
    return vv_fail(err, is_memory ? VV_NO_MEMORY : VV_INVALID, "zstd: JSON lines: %s",
                   ZSTD_getErrorName(n));
}

static vv_status prepare(arch_jsonl *j, int level, vv_error *err)
{
    static const ZSTD_customMem memory = {zstd_alloc, zstd_free, NULL};
    j->out = vv_alloc(OUT_LEN);
    j->zstd = ZSTD_createCCtx_advanced(memory);
    if (j->out == NULL || j->zstd == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for JSON lines");
    size_t n = ZSTD_CCtx_setParameter(j->zstd, ZSTD_c_compressionLevel, level == 0 ? 1 : level);
    if (!ZSTD_isError(n))
        n = ZSTD_CCtx_setParameter(j->zstd, ZSTD_c_checksumFlag, 1);
    return ZSTD_isError(n) ? refused(n, err) : VV_OK;
}

vv_status arch_jsonl_open(int level, arch_sink sink, arch_jsonl **out, vv_error *err)
{
    assert(out != NULL);
    if (level < 0 || level > ZSTD_maxCLevel())
        return vv_fail(err, VV_INVALID, "level %d of zstd: 1 to %d", level, ZSTD_maxCLevel());
    arch_jsonl *j = vv_calloc(1, sizeof *j);
    if (j == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for JSON lines");
    j->sink = sink;
    vv_buf_init(&j->lines, JSON_LINE_MAX + LINES_TARGET);
    vv_status st = prepare(j, level, err);
    if (st != VV_OK) {
        arch_jsonl_close(j);
        return st;
    }
    *out = j;
    return VV_OK;
}

/* ---- lines ---- */

static void put_bytes(vv_buf *out, const char *name, vv_slice bytes)
{
    bool is_text = utf8_is_valid(bytes);
    vv_buf_printf(out, ",\"%s%s\":", name, is_text ? "" : "_base64");
    if (is_text)
        json_put_string(out, bytes);
    else
        json_put_base64(out, bytes);
}

static void put_text(vv_buf *out, const char *name, vv_slice text)
{
    vv_buf_printf(out, ",\"%s\":", name);
    json_put_string(out, text);
}

static void put_line(vv_buf *out, const vv_message *m)
{
    char time[TIME_TEXT_MAX];
    time_text_format(m->receive_time_ns, time);
    vv_buf_printf(out, "{\"offset\":%" PRIu64 ",\"partition\":%" PRIu32 ",\"receive_time\":\"%s\"",
                  m->offset, m->partition, time);
    if (m->event_time_ns != 0) {
        time_text_format(m->event_time_ns, time);
        vv_buf_printf(out, ",\"event_time\":\"%s\"", time);
    }
    if (m->key.len > 0)
        put_bytes(out, "key", m->key);
    if (m->content_type.len > 0)
        put_text(out, "content_type", m->content_type);
    if (m->source.len > 0)
        put_text(out, "source", m->source);
    for (size_t i = 0; i < m->attribute_count; i++) {
        vv_buf_append_str(out, i == 0 ? ",\"attributes\":{" : ",");
        json_put_string(out, m->attributes[i].name);
        vv_buf_append_u8(out, ':');
        arch_json_attribute(out, &m->attributes[i]);
    }
    if (m->attribute_count > 0)
        vv_buf_append_u8(out, '}');
    put_bytes(out, "value", m->value);
    vv_buf_append_str(out, "}\n");
}

/* Compress the lines, and with ZSTD_e_end all that zstd still holds. */
static vv_status flush(arch_jsonl *j, ZSTD_EndDirective how, vv_error *err)
{
    ZSTD_inBuffer in = {.src = j->lines.data, .size = j->lines.len};
    bool is_done = false;
    while (!is_done) {
        ZSTD_outBuffer out = {.dst = j->out, .size = OUT_LEN};
        size_t left = ZSTD_compressStream2(j->zstd, &out, &in, how);
        if (ZSTD_isError(left))
            return refused(left, err);
        is_done = how == ZSTD_e_end ? left == 0 : in.pos == in.size;
        vv_status st = out.pos == 0 ? VV_OK : j->sink.write(j->sink.ctx, j->out, out.pos, err);
        if (st != VV_OK)
            return vv_wrap(err, st, "JSON lines");
    }
    vv_buf_reset(&j->lines);
    if (j->lines.cap > LINES_KEPT)
        vv_buf_fini(&j->lines);
    return VV_OK;
}

uint64_t arch_jsonl_memory(const arch_jsonl *j)
{
    return OUT_LEN + j->lines.cap;
}

vv_status arch_jsonl_add(arch_jsonl *j, const vv_message *m, vv_error *err)
{
    put_line(&j->lines, m);
    if (j->lines.status != VV_OK)
        return vv_fail(err, j->lines.status, "no memory for the JSON of message %" PRIu64,
                       m->offset);
    return j->lines.len < LINES_TARGET ? VV_OK : flush(j, ZSTD_e_continue, err);
}

vv_status arch_jsonl_finish(arch_jsonl *j, vv_error *err)
{
    return flush(j, ZSTD_e_end, err);
}
