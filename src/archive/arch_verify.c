/*
 * arch_verify.c - all of an object against every checksum, and against what its index says of it.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "archive/arch_int.h"
#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/util.h"

typedef struct check {
    arch_reader *r;
    void (*finding)(void *ctx, const char *text);
    void *ctx;
    unsigned findings;
    uint32_t crc;          /* of what was read so far */
    arch_columns *columns; /* made anew from the messages */
    arch_summary sum;
    bool is_whole; /* every message could be read */
} check;

static void report(check *c, const char *fmt, ...) VV_PRINTF(2, 3);
static void report(check *c, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    c->findings++;
    if (c->finding != NULL)
        c->finding(c->ctx, text);
}

static vv_status check_header(check *c, vv_error *err)
{
    uint8_t bytes[ARCH_HEADER_MAX];
    arch_reader *r = c->r;
    size_t len = r->footer.header_len;
    vv_status st = r->source.read(r->source.ctx, 0, bytes, len, err);
    if (st != VV_OK)
        return st;
    if (memcmp(bytes, r->index, len) != 0)
        report(c, "header: differs from its copy in the index");
    c->crc = vv_crc32c(c->crc, bytes, len);
    return VV_OK;
}

static void widen(arch_summary *s, int64_t event)
{
    if (s->event_max_ns == STREAM_NO_TIME || event < s->event_min_ns)
        s->event_min_ns = event;
    if (s->event_max_ns == STREAM_NO_TIME || event > s->event_max_ns)
        s->event_max_ns = event;
}

/* What the messages of the loaded block say, into *sum. VV_NOT_FOUND behind the last. */
static vv_status walk_block(check *c, arch_summary *sum, bool *has_untimed, vv_error *err)
{
    vv_message m;
    vv_status st;
    while ((st = arch_reader_next(c->r, &m, err)) == VV_OK) {
        sum->raw_bytes += stream_message_size(&m);
        *has_untimed |= m.event_time_ns == 0;
        if (m.event_time_ns != 0)
            widen(sum, arch_event_time(&m));
        arch_columns_add(c->columns, &m);
    }
    return st;
}

static vv_status check_block(check *c, uint32_t i, vv_error *err)
{
    vv_error why = {0};
    const arch_block *b = &c->r->block[i];
    arch_summary sum = {.event_min_ns = STREAM_NO_TIME, .event_max_ns = STREAM_NO_TIME};
    bool has_untimed = false;
    vv_status st = arch_reader_load(c->r, i, &why);
    if (st != VV_OK && st != VV_CORRUPT)
        return vv_fail(err, st, "%s", why.msg);
    c->crc = vv_crc32c(c->crc, c->r->stored.data, c->r->stored.len);
    if (st == VV_OK)
        st = walk_block(c, &sum, &has_untimed, &why);
    if (st == VV_CORRUPT) {
        report(c, "%s", why.msg);
        c->is_whole = false;
    } else if (st != VV_NOT_FOUND) {
        return vv_fail(err, st, "%s", why.msg);
    } else if (sum.event_min_ns != b->event_min_ns || sum.event_max_ns != b->event_max_ns ||
               has_untimed != b->has_untimed) {
        report(c, "block %" PRIu32 ": its event times are not those of the index", i);
    }
    c->sum.raw_bytes += sum.raw_bytes;
    if (sum.event_max_ns != STREAM_NO_TIME) {
        widen(&c->sum, sum.event_min_ns);
        widen(&c->sum, sum.event_max_ns);
    }
    return arch_columns_block(c->columns, i, err);
}

/* The ranges of attributes are what a writer makes of these messages. */
static vv_status check_columns(check *c, vv_error *err)
{
    const arch_footer *f = &c->r->footer;
    vv_buf b;
    vv_buf_init(&b, 2 * ARCH_COLUMN_BYTES_MAX);
    arch_columns_encode(c->columns, &b);
    vv_status st = b.status;
    vv_slice want = vv_slice_of(c->r->index + f->header_len + f->dictionary_len, f->columns_len);
    if (st == VV_OK && !vv_slice_eq(vv_buf_slice(&b), want))
        report(c, "columns: they are not those of the messages");
    vv_buf_fini(&b);
    return st == VV_OK ? VV_OK : vv_fail(err, st, "no memory for the columns of an object");
}

static vv_status check_all(check *c, vv_error *err)
{
    const arch_footer *f = &c->r->footer;
    vv_status st = check_header(c, err);
    for (uint32_t i = 0; i < f->block_count && st == VV_OK; i++)
        st = check_block(c, i, err);
    if (st == VV_OK && c->is_whole)
        st = check_columns(c, err);
    if (st != VV_OK)
        return st;
    c->crc = vv_crc32c(c->crc, c->r->index, f->index_len - ARCH_FOOTER_SIZE);
    if (c->crc != f->body_crc)
        report(c, "object: its checksum is %08" PRIx32 ", by the footer %08" PRIx32, c->crc,
               f->body_crc);
    if (c->is_whole &&
        (c->sum.raw_bytes != f->sum.raw_bytes || c->sum.event_min_ns != f->sum.event_min_ns ||
         c->sum.event_max_ns != f->sum.event_max_ns))
        report(c, "footer: its sums are not those of the messages");
    return VV_OK;
}

vv_status arch_reader_verify(arch_reader *r, void (*finding)(void *ctx, const char *text),
                             void *ctx, vv_error *err)
{
    assert(r != NULL);
    check c = {.r = r,
               .finding = finding,
               .ctx = ctx,
               .sum = {.event_min_ns = STREAM_NO_TIME, .event_max_ns = STREAM_NO_TIME},
               .is_whole = true};
    vv_status st = arch_columns_create(&c.columns, err);
    if (st == VV_OK)
        st = check_all(&c, err);
    arch_columns_destroy(c.columns);
    r->is_loaded = false;
    if (st == VV_OK && c.findings > 0)
        st = vv_fail(err, VV_CORRUPT, "object: %u findings in %" PRIu64 " bytes", c.findings,
                     r->footer.sum.size);
    return st;
}
