/*
 * db_stream_check.c - is a partition what docs/format/stream.md says: every key known, every
 * message readable, offsets without a gap, sums that add up; and what it holds, as text.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/error.h"
#include "db/db_stream_int.h"

typedef struct checker {
    const vv_table *table;
    uint32_t partition;
    void (*finding)(void *ctx, const char *text);
    void *ctx;
    db_stream_reader r;
    stream_scratch scratch;
    bool has_block; /* one was seen */
    uint64_t next;  /* offset that the next block is to begin at */
    stream_place sums;
    db_tier_checker tier;
} checker;

static void VV_PRINTF(2, 3) find(checker *c, const char *fmt, ...)
{
    char text[400];
    char full[560];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    (void)snprintf(full, sizeof full, "stream '%s' partition %u: %s", c->table->cat->name,
                   c->partition, text);
    c->finding(c->ctx, full);
}

static void find_text(void *ctx, const char *text)
{
    find(ctx, "%s", text);
}

static void check_sums(checker *c, uint64_t offset, const stream_block *b)
{
    unsigned long long at = offset;
    if (!c->has_block) {
        bool moved = c->r.has_head || c->r.has_local;
        const stream_head *head = &c->r.local_head;
        if (moved && (offset > head->first || offset + b->count <= head->first))
            find(c, "it begins at offset %llu, and its first block at %llu",
                 (unsigned long long)head->first, at);
        if (moved && b->place.bytes_before != head->bytes_before)
            find(c, "%llu bytes were trimmed, and the first block tells of %llu before it",
                 (unsigned long long)head->bytes_before, (unsigned long long)b->place.bytes_before);
        if (!moved && (offset != 0 || b->place.bytes_before != 0))
            find(c, "the first block begins at offset %llu, and nothing was trimmed", at);
        return;
    }
    if (offset != c->next)
        find(c, "a block begins at offset %llu instead of %llu", at, (unsigned long long)c->next);
    if (b->place.bytes_before != c->sums.bytes_before)
        find(c, "the block at offset %llu tells of %llu bytes before it, there are %llu", at,
             (unsigned long long)b->place.bytes_before, (unsigned long long)c->sums.bytes_before);
    if (b->place.receive_ns < c->sums.receive_ns || b->place.event_max < c->sums.event_max)
        find(c, "the times of the block at offset %llu lie before those of the one before", at);
}

static vv_status check_messages(checker *c, uint64_t offset, stream_block *b, vv_error *err)
{
    vv_error why = {0};
    vv_slice bytes;
    vv_message m;
    vv_status st;
    for (uint64_t at = offset; (st = stream_block_next(b, &bytes, &why)) == VV_OK; at++) {
        st = stream_message_decode(bytes, &c->scratch, &m, &why);
        if (st != VV_OK)
            break;
    }
    if (st == VV_NOT_FOUND)
        return VV_OK;
    if (st == VV_CORRUPT) {
        find(c, "the block at offset %llu: %s", (unsigned long long)offset, why.msg);
        return VV_OK;
    }
    return vv_fail(err, st, "%s", why.msg);
}

static vv_status check_block(checker *c, vv_slice key, vv_slice value, vv_error *err)
{
    vv_error why = {0};
    stream_block b;
    if (key.len != STREAM_BLOCK_KEY) {
        find(c, "the key of a block has %zu bytes", key.len);
        return VV_OK;
    }
    uint64_t offset = vv_get_be64(key.data + 1);
    vv_status st = stream_block_open(value, &b, &why);
    if (st != VV_OK) {
        find(c, "the block at offset %llu: %s", (unsigned long long)offset, why.msg);
        return VV_OK;
    }
    if ((c->r.has_head || c->r.has_local) && offset + b.count <= c->r.local) /* brought back */
        return check_messages(c, offset, &b, err);
    check_sums(c, offset, &b);
    c->has_block = true;
    c->next = offset + b.count;
    c->sums = b.place;
    c->sums.bytes_before += value.len;
    return check_messages(c, offset, &b, err);
}

static void check_producer(checker *c, vv_slice key, vv_slice value)
{
    vv_error why = {0};
    stream_producer p;
    if (key.len < 2 || key.len > 1 + VV_STREAM_PRODUCER_MAX)
        find(c, "the key of a producer has %zu bytes", key.len);
    if (stream_producer_decode(value, &p, &why) != VV_OK)
        find(c, "%s", why.msg);
    else if (p.previous >= c->r.next && p.previous != STREAM_NO_OFFSET)
        find(c, "a producer's newest block is at offset %llu, the partition ends at %llu",
             (unsigned long long)p.previous, (unsigned long long)c->r.next);
}

static void check_position(checker *c, vv_slice key, vv_slice value)
{
    vv_error why = {0};
    stream_position p;
    if (stream_position_check(vv_slice_of(key.data + 1, key.len - 1), &why) != VV_OK ||
        stream_position_decode(value, &p, &why) != VV_OK)
        find(c, "%s", why.msg);
    else if (p.offset > c->r.next)
        find(c, "position '%.*s' stands at offset %llu, the partition ends at %llu",
             (int)key.len - 1, (const char *)key.data + 1, (unsigned long long)p.offset,
             (unsigned long long)c->r.next);
}

static vv_status check_key(checker *c, vv_error *err)
{
    vv_slice key = vv_cursor_key(c->r.at);
    vv_slice value = vv_cursor_value(c->r.at);
    switch (key.len == 0 ? 0 : key.data[0]) {
    case STREAM_KEY_BLOCK:
        return check_block(c, key, value, err);
    case STREAM_KEY_PRODUCER:
        check_producer(c, key, value);
        break;
    case STREAM_KEY_POSITION:
        check_position(c, key, value);
        break;
    case ARCH_KEY_ENTRY:
    case ARCH_KEY_INTENT:
    case ARCH_KEY_DYING:
    case ARCH_KEY_RESTORED:
        db_tier_check_key(&c->tier, key, value, find_text, c);
        break;
    case STREAM_KEY_HEAD: /* the reader has read them */
    case STREAM_KEY_LOCAL:
        if (key.len != 1)
            find(c, "the key of the head has %zu bytes", key.len);
        break;
    default:
        find(c, "a key of %zu bytes that is none of a stream", key.len);
        break;
    }
    return VV_OK;
}

vv_status db_stream_check(const vv_table *table, uint32_t partition,
                          void (*finding)(void *ctx, const char *text), void *ctx, vv_error *err)
{
    vv_error why = {0};
    checker c = {.table = table, .partition = partition, .finding = finding, .ctx = ctx};
    vv_status st = db_stream_reader_open(&c.r, table, partition, NULL, NULL, &why);
    if (st == VV_CORRUPT || st == VV_UNSUPPORTED) {
        find(&c, "%s", why.msg);
        st = VV_OK;
    } else if (st != VV_OK && err != NULL) {
        *err = why;
    }
    c.tier.first = c.r.first;
    if (st == VV_OK && c.r.at != NULL)
        st = vv_cursor_seek(c.r.at, vv_slice_of(NULL, 0), err);
    while (st == VV_OK && c.r.at != NULL && vv_cursor_valid(c.r.at)) {
        st = check_key(&c, err);
        if (st == VV_OK)
            st = vv_cursor_next(c.r.at, err);
    }
    if (st == VV_OK)
        db_tier_check_end(&c.tier, c.r.local, c.r.next, find_text, &c);
    db_stream_reader_close(&c.r);
    stream_scratch_fini(&c.scratch);
    return st;
}

/* ---- as text ----------------------------------------------------------------------------------
 */

typedef struct dumper {
    void (*line)(void *ctx, const char *text);
    void *ctx;
} dumper;

static int dump_position(void *ctx, const vv_stream_position *p)
{
    const dumper *d = ctx;
    char text[320];
    (void)snprintf(text, sizeof text,
                   "  position %s: partition %u, offset %llu, committed_ns %lld, lag %llu", p->name,
                   p->partition, (unsigned long long)p->offset, (long long)p->committed_ns,
                   (unsigned long long)p->lag);
    d->line(d->ctx, text);
    return 0;
}

static int dump_object(void *ctx, const vv_tier_object *o)
{
    static const char *const states[] = {"", "announced", "stored", "dying"};
    const dumper *d = ctx;
    char text[320 + VV_OBJECT_NAME_MAX];
    (void)snprintf(text, sizeof text,
                   "  object %s: partition %u, %s, offsets %llu to %llu, bytes %llu", o->name,
                   o->partition, states[o->state], (unsigned long long)o->first,
                   (unsigned long long)o->next, (unsigned long long)o->bytes);
    d->line(d->ctx, text);
    return 0;
}

vv_status db_stream_dump(vv_table *table, void (*line)(void *ctx, const char *text), void *ctx,
                         vv_error *err)
{
    dumper d = {line, ctx};
    vv_status st = VV_OK;
    for (uint32_t p = 0; st == VV_OK && p < table->cat->partition_count; p++) {
        char text[320];
        vv_stream_stats s = {.size = sizeof s};
        st = vv_stream_stats_read(table, p, NULL, &s, err);
        if (st != VV_OK)
            break;
        (void)snprintf(text, sizeof text,
                       "  partition %u: offsets %llu to %llu, bytes %llu, received_ns %lld to %lld"
                       ", producers %llu",
                       p, (unsigned long long)s.first_offset, (unsigned long long)s.next_offset,
                       (unsigned long long)s.bytes, (long long)s.first_receive_ns,
                       (long long)s.last_receive_ns, (unsigned long long)s.producers);
        line(ctx, text);
    }
    if (st == VV_OK)
        st = vv_stream_position_list(table, dump_position, &d, err);
    return st == VV_OK ? vv_tier_list(table, dump_object, &d, err) : st;
}
