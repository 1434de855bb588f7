/*
 * store_remote_stream.c - a server as a store of messages: varve.v1.Stream, field by field, by the
 * numbers of proto/varve/v1/stream.proto.
 */
#include "base/arena.h"
#include "base/error.h"
#include "base/util.h"
#include "store_remote.h"

#define SERVICE "/varve.v1.Stream/"

static uint64_t zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ (v < 0 ? UINT64_MAX : 0);
}

static int64_t unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1 ^ (0 - (v & 1)));
}

static void begin_request(remote *r)
{
    vv_buf_reset(&r->request);
    put_ref(r, 1, r->base.tenant, r->base.table);
}

static void put_start(remote *r, uint32_t number, const vv_stream_start *start)
{
    size_t mark = wire_begin(&r->request, number);
    wire_put_uint(&r->request, 1, (uint64_t)start->from);
    wire_put_uint(&r->request, 2, start->offset);
    wire_put_int(&r->request, 3, start->time_ns);
    wire_put_string(&r->request, 4, start->position);
    wire_end(&r->request, mark);
}

/* ---- messages ---- */

static void put_attribute(vv_buf *out, const vv_attribute *a)
{
    size_t mark = wire_begin(out, 6);
    wire_put_string(out, 1, a->name);
    if (a->type == VV_ATTRIBUTE_STRING || a->type == VV_ATTRIBUTE_BYTES)
        wire_put_bytes(out, a->type == VV_ATTRIBUTE_STRING ? 2 : 3, a->bytes);
    else if (a->type == VV_ATTRIBUTE_F64)
        wire_put_double_always(out, 5, a->f64);
    else if (a->type == VV_ATTRIBUTE_I64)
        wire_put_varint(out, 4, zigzag(a->i64));
    else
        wire_put_varint(out, a->type == VV_ATTRIBUTE_BOOL ? 6 : 7, (uint64_t)a->i64);
    wire_end(out, mark);
}

static void put_message(vv_buf *out, const vv_message *m)
{
    size_t mark = wire_begin(out, 2);
    wire_put_string(out, 1, m->key);
    wire_put_string(out, 2, m->value);
    wire_put_string(out, 3, m->content_type);
    wire_put_string(out, 4, m->source);
    wire_put_int(out, 5, m->event_time_ns);
    for (size_t i = 0; i < m->attribute_count; i++)
        put_attribute(out, &m->attributes[i]);
    wire_end(out, mark);
}

static vv_attribute attribute_of(vv_slice bytes)
{
    wire_reader r = wire_reader_of(bytes);
    wire_field f = {0};
    vv_attribute a = {.type = VV_ATTRIBUTE_STRING};
    while (wire_next(&r, &f) > 0) {
        switch (f.number) {
        case 1:
            a.name = f.bytes;
            break;
        case 2:
        case 3:
            a.type = f.number == 2 ? VV_ATTRIBUTE_STRING : VV_ATTRIBUTE_BYTES;
            a.bytes = f.bytes;
            break;
        case 4:
            a.type = VV_ATTRIBUTE_I64;
            a.i64 = unzigzag(f.value);
            break;
        case 5:
            a.type = VV_ATTRIBUTE_F64;
            a.f64 = wire_double(f.value);
            break;
        case 6:
        case 7:
            a.type = f.number == 6 ? VV_ATTRIBUTE_BOOL : VV_ATTRIBUTE_TIME;
            a.i64 = (int64_t)f.value;
            break;
        default:
            break;
        }
    }
    return a;
}

static void take_field(const wire_field *f, vv_message *m, vv_attribute *attributes)
{
    switch (f->number) {
    case 1:
        m->key = f->bytes;
        break;
    case 2:
        m->value = f->bytes;
        break;
    case 3:
        m->content_type = f->bytes;
        break;
    case 4:
        m->source = f->bytes;
        break;
    case 5:
        m->event_time_ns = (int64_t)f->value;
        break;
    case 6:
        if (f->type == WIRE_BYTES && m->attribute_count < VV_STREAM_ATTRIBUTES_MAX)
            attributes[m->attribute_count++] = attribute_of(f->bytes);
        break;
    case 7:
        m->offset = f->value;
        break;
    case 8:
        m->receive_time_ns = (int64_t)f->value;
        break;
    case 9:
        m->partition = (uint32_t)f->value;
        break;
    default:
        break;
    }
}

typedef struct taker {
    int (*each)(void *ctx, const vv_message *m);
    void *ctx;
    uint64_t end;
} taker;

static vv_status take_page(void *ctx, vv_slice page, bool *stop, vv_error *err)
{
    taker *t = ctx;
    vv_attribute attributes[VV_STREAM_ATTRIBUTES_MAX];
    wire_reader r = wire_reader_of(page);
    wire_field f = {0};
    while (!*stop && wire_next(&r, &f) > 0) {
        vv_message m = {.attributes = attributes};
        if (f.number == 2 && f.type == WIRE_VARINT)
            t->end = f.value;
        if (f.number != 1 || f.type != WIRE_BYTES)
            continue;
        wire_reader in = wire_reader_of(f.bytes);
        wire_field g = {0};
        while (wire_next(&in, &g) > 0)
            take_field(&g, &m, attributes);
        t->end = m.offset + 1;
        *stop = in.fault != WIRE_GOOD || t->each(t->ctx, &m) != 0;
        if (in.fault != WIRE_GOOD)
            return remote_malformed(err, SERVICE "Read");
    }
    return r.fault == WIRE_GOOD ? VV_OK : remote_malformed(err, SERVICE "Read");
}

static vv_status find_start(remote *r, const vv_stream_read_options *opt, uint64_t *out,
                            vv_error *err);

static vv_status stream_read(store *s, const vv_stream_read_options *opt, bool follows,
                             int (*each)(void *ctx, const vv_message *m), void *ctx, uint64_t *end,
                             vv_error *err)
{
    remote *r = remote_of(s);
    taker t = {.each = each, .ctx = ctx};
    vv_status st = find_start(r, opt, &t.end, err); /* an empty answer does not tell */
    if (st != VV_OK)
        return st;
    begin_request(r);
    wire_put_uint(&r->request, 2, opt->partition);
    put_start(r, 3, &opt->start);
    wire_put_uint(&r->request, 4, opt->messages_max);
    wire_put_uint(&r->request, 5, follows);
    st = remote_messages(r, SERVICE "Read", take_page, &t, err);
    *end = t.end;
    return st;
}

static vv_status stream_append(store *s, const vv_message *messages, size_t count,
                               const vv_stream_append_options *opt, uint64_t *dead, vv_error *err)
{
    remote *r = remote_of(s);
    begin_request(r);
    for (size_t i = 0; i < count; i++)
        put_message(&r->request, &messages[i]);
    if (opt->partition != VV_STREAM_BY_KEY)
        wire_put_varint(&r->request, 3, opt->partition);
    wire_put_string(&r->request, 4, opt->producer);
    wire_put_uint(&r->request, 5, opt->sequence);
    wire_put_uint(&r->request, 6, (uint64_t)opt->durability);
    vv_status st = remote_unary(r, SERVICE "Append", err);
    if (st == VV_OK)
        *dead = varint_of(vv_buf_slice(&r->reply), 8);
    return st;
}

/* ---- figures ---- */

static vv_status
stream_status(store *s, int (*each)(void *ctx, uint32_t partition, const vv_stream_stats *stats),
              void *ctx, vv_error *err)
{
    remote *r = remote_of(s);
    begin_request(r);
    vv_status st = remote_unary(r, SERVICE "DescribeStream", err);
    if (st != VV_OK)
        return st;
    wire_reader in = wire_reader_of(vv_buf_slice(&r->reply));
    wire_field f = {0};
    while (wire_next(&in, &f) > 0) {
        if (f.number != 1 || f.type != WIRE_BYTES)
            continue;
        vv_stream_stats stats = {.size = sizeof stats,
                                 .first_offset = varint_of(f.bytes, 2),
                                 .next_offset = varint_of(f.bytes, 3),
                                 .bytes = varint_of(f.bytes, 4),
                                 .first_receive_ns = (int64_t)varint_of(f.bytes, 5),
                                 .last_receive_ns = (int64_t)varint_of(f.bytes, 6),
                                 .newest_event_ns = INT64_MIN,
                                 .producers = varint_of(f.bytes, 7),
                                 .positions = varint_of(f.bytes, 8)};
        stats.messages = stats.next_offset - stats.first_offset;
        if (each(ctx, (uint32_t)varint_of(f.bytes, 1), &stats) != 0)
            return VV_OK;
    }
    return in.fault == WIRE_GOOD ? VV_OK : remote_malformed(err, SERVICE "DescribeStream");
}

typedef struct ends {
    uint32_t wanted;
    uint32_t count;
    vv_stream_stats of; /* the wanted one */
} ends;

static int take_ends(void *ctx, uint32_t partition, const vv_stream_stats *stats)
{
    ends *e = ctx;
    e->count++;
    if (partition == e->wanted)
        e->of = *stats;
    return 0;
}

/* The offset of an empty reading from a place. */
static vv_status find_start(remote *r, const vv_stream_read_options *opt, uint64_t *out,
                            vv_error *err)
{
    ends e = {.wanted = opt->partition};
    *out = opt->start.offset;
    if (opt->start.from == VV_STREAM_OFFSET)
        return VV_OK;
    vv_status st = stream_status(&r->base, take_ends, &e, err);
    *out = e.of.next_offset;
    return st;
}

/* ---- producers and positions ---- */

static vv_status next_of(remote *r, uint32_t partition, vv_slice producer, bool *known,
                         uint64_t *sequence, vv_error *err)
{
    begin_request(r);
    wire_put_uint(&r->request, 2, partition);
    wire_put_string(&r->request, 3, producer);
    vv_status st = remote_unary(r, SERVICE "NextSequence", err);
    *known = st == VV_OK;
    if (*known)
        *sequence = varint_of(vv_buf_slice(&r->reply), 1);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* The server knows which partition a key belongs to: the producer is looked for in all of them. */
static vv_status stream_producer_next(store *s, uint32_t partition, vv_slice key, vv_slice producer,
                                      uint64_t *sequence, vv_error *err)
{
    remote *r = remote_of(s);
    ends e = {.wanted = partition};
    unsigned found = 0;
    bool known = false;
    (void)key;
    *sequence = 0;
    if (partition != VV_STREAM_BY_KEY)
        return next_of(r, partition, producer, &known, sequence, err);
    vv_status st = stream_status(s, take_ends, &e, err);
    if (st == VV_NOT_FOUND) { /* the append may make the table */
        *sequence = 0;
        return VV_OK;
    }
    for (uint32_t p = 0; st == VV_OK && p < e.count; p++) {
        st = next_of(r, p, producer, &known, sequence, err);
        found += known;
    }
    if (st == VV_OK && found > 1)
        st = vv_fail(err, VV_INVALID,
                     "producer '%.*s' is known in %u partitions: say which one with --partition",
                     (int)producer.len, (const char *)producer.data, found);
    return st;
}

static vv_status stream_commit(store *s, uint32_t partition, vv_slice name, uint64_t offset,
                               vv_error *err)
{
    remote *r = remote_of(s);
    begin_request(r);
    wire_put_uint(&r->request, 2, partition);
    wire_put_string(&r->request, 3, name);
    wire_put_uint(&r->request, 4, offset);
    return remote_unary(r, SERVICE "Commit", err);
}

static vv_status stream_reset(store *s, uint32_t partition, vv_slice name,
                              const vv_stream_start *start, uint64_t *offset, vv_error *err)
{
    remote *r = remote_of(s);
    begin_request(r);
    wire_put_uint(&r->request, 2, partition);
    wire_put_string(&r->request, 3, name);
    put_start(r, 5, start);
    vv_status st = remote_unary(r, SERVICE "ResetPosition", err);
    if (st == VV_OK)
        *offset = varint_of(vv_buf_slice(&r->reply), 1);
    return st;
}

/* A page of positions, behind *last and its name. */
static vv_status positions_page(remote *r, vv_stream_position *last, bool *more, bool *end,
                                int (*each)(void *ctx, const vv_stream_position *p), void *ctx,
                                vv_error *err)
{
    *more = false;
    begin_request(r);
    wire_put_uint(&r->request, 2, last->partition);
    wire_put_string(&r->request, 7, vv_slice_str(last->name));
    vv_status st = remote_unary(r, SERVICE "ListPositions", err);
    if (st != VV_OK)
        return st;
    wire_reader in = wire_reader_of(vv_buf_slice(&r->reply));
    wire_field f = {0};
    while (!*end && wire_next(&in, &f) > 0) {
        if (f.number == 2)
            *more = true;
        if (f.number != 1 || f.type != WIRE_BYTES)
            continue;
        *last = (vv_stream_position){.partition = (uint32_t)varint_of(f.bytes, 2),
                                     .offset = varint_of(f.bytes, 3),
                                     .committed_ns = (int64_t)varint_of(f.bytes, 4),
                                     .lag = varint_of(f.bytes, 5)};
        copy_text(last->name, sizeof last->name, bytes_of(f.bytes, 1));
        *end = each(ctx, last) != 0;
    }
    return in.fault == WIRE_GOOD ? VV_OK : remote_malformed(err, SERVICE "ListPositions");
}

static vv_status stream_positions(store *s, int (*each)(void *ctx, const vv_stream_position *p),
                                  void *ctx, vv_error *err)
{
    remote *r = remote_of(s);
    vv_stream_position last = {.partition = 0};
    bool more = true;
    bool end = false;
    vv_status st = VV_OK;
    while (st == VV_OK && more && !end)
        st = positions_page(r, &last, &more, &end, each, ctx, err);
    return st;
}

/* ---- rules ---- */

static vv_status stream_replay(store *s, vv_stream_replay_result *out, vv_error *err)
{
    remote *r = remote_of(s);
    begin_request(r);
    vv_status st = remote_unary(r, SERVICE "Replay", err);
    if (st == VV_OK)
        *out = (vv_stream_replay_result){varint_of(vv_buf_slice(&r->reply), 1),
                                         varint_of(vv_buf_slice(&r->reply), 2)};
    return st;
}

static vv_status stream_rules(store *s, int (*each)(void *ctx, const vv_stream_rule_stats *rule),
                              void *ctx, vv_error *err)
{
    remote *r = remote_of(s);
    begin_request(r);
    vv_status st = remote_unary(r, SERVICE "DescribeStream", err);
    if (st != VV_OK)
        return st;
    wire_reader in = wire_reader_of(vv_buf_slice(&r->reply));
    wire_field f = {0};
    while (wire_next(&in, &f) > 0) {
        if (f.number != 2 || f.type != WIRE_BYTES)
            continue;
        vv_stream_rule_stats rule = {.name = bytes_of(f.bytes, 1),
                                     .required = varint_of(f.bytes, 2) != 0,
                                     .found = varint_of(f.bytes, 3),
                                     .absent = varint_of(f.bytes, 4),
                                     .errors = varint_of(f.bytes, 5)};
        if (each(ctx, &rule) != 0)
            return VV_OK;
    }
    return in.fault == WIRE_GOOD ? VV_OK : remote_malformed(err, SERVICE "DescribeStream");
}

const store_stream_ops remote_stream_ops = {
    .append = stream_append,
    .producer_next = stream_producer_next,
    .read = stream_read,
    .commit = stream_commit,
    .positions = stream_positions,
    .reset = stream_reset,
    .status = stream_status,
    .replay = stream_replay,
    .rules = stream_rules,
};
