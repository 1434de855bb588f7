/*
 * store_remote_tier.c - a server's messages in its object store: the calls of varve.v1.Admin about
 * them, by the numbers of proto/varve/v1/admin.proto.
 *
 * The long ones are bounded as scans are, by --timeout alone, and end when this end goes.
 */
#include "base/error.h"
#include "store_remote.h"

#define SERVICE "/varve.v1.Admin/"
#define FINDING_MAX 1200u

static void begin_request(remote *r)
{
    vv_buf_reset(&r->request);
    put_ref(r, 1, r->base.tenant, r->base.table);
}

typedef struct pair {
    uint64_t a;
    uint64_t b;
} pair;

static vv_status take_pair(void *ctx, vv_slice message, bool *stop, vv_error *err)
{
    (void)stop;
    (void)err;
    *(pair *)ctx = (pair){varint_of(message, 1), varint_of(message, 2)};
    return VV_OK;
}

static vv_status tier_run(store *s, uint64_t *messages, uint64_t *objects, vv_error *err)
{
    remote *r = remote_of(s);
    pair done = {0, 0};
    begin_request(r);
    vv_status st = remote_messages(r, SERVICE "RunTier", take_pair, &done, err);
    *messages = done.a;
    *objects = done.b;
    return st;
}

static vv_status tier_restore(store *s, uint32_t partition, uint64_t first, uint64_t next,
                              uint64_t *restored, vv_error *err)
{
    remote *r = remote_of(s);
    pair done = {0, 0};
    *restored = 0;
    if (first >= next)
        return VV_OK;
    begin_request(r);
    wire_put_uint(&r->request, 2, partition);
    wire_put_uint(&r->request, 3, first);
    wire_put_uint(&r->request, 4, next == UINT64_MAX ? 0 : next);
    vv_status st = remote_messages(r, SERVICE "RestoreTier", take_pair, &done, err);
    *restored = done.a;
    return st;
}

/* ---- list ---- */

static uint32_t crc_of(vv_slice message)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    while (wire_next(&r, &f) > 0)
        if (f.number == 10 && f.type == WIRE_FIXED32)
            return (uint32_t)f.value;
    return 0;
}

static int give_object(vv_slice message, int (*each)(void *ctx, const vv_tier_object *o), void *ctx)
{
    char name[VV_OBJECT_NAME_MAX + 1];
    copy_text(name, sizeof name, bytes_of(message, 1));
    const vv_tier_object o = {.name = name,
                              .partition = (uint32_t)varint_of(message, 2),
                              .state = (vv_tier_state)(varint_of(message, 3) & 3),
                              .codec = (vv_tier_codec)(varint_of(message, 4) & 3),
                              .also = (vv_tier_form)(varint_of(message, 5) & 3),
                              .first = varint_of(message, 6),
                              .next = varint_of(message, 7),
                              .bytes = varint_of(message, 8),
                              .raw_bytes = varint_of(message, 9),
                              .crc32c = crc_of(message),
                              .made_ns = (int64_t)varint_of(message, 11),
                              .receive_first_ns = (int64_t)varint_of(message, 12),
                              .receive_last_ns = (int64_t)varint_of(message, 13)};
    return each(ctx, &o);
}

/* *token: where the next page begins; empty behind the last, or where each() wants no more. */
static vv_status take_page(vv_slice reply, int (*each)(void *ctx, const vv_tier_object *o),
                           void *ctx, vv_slice *token, vv_error *err)
{
    wire_reader in = wire_reader_of(reply);
    wire_field f = {0};
    *token = bytes_of(reply, 2);
    while (wire_next(&in, &f) > 0)
        if (f.number == 1 && f.type == WIRE_BYTES && give_object(f.bytes, each, ctx) != 0) {
            token->len = 0;
            return VV_OK;
        }
    return in.fault == WIRE_GOOD ? VV_OK : remote_malformed(err, SERVICE "ListTierObjects");
}

static vv_status tier_list(store *s, int (*each)(void *ctx, const vv_tier_object *o), void *ctx,
                           vv_error *err)
{
    remote *r = remote_of(s);
    vv_slice token = {0};
    vv_status st;
    do {
        begin_request(r);
        wire_put_string(&r->request, 3, token); /* of the reply, which stays until it was sent */
        st = remote_unary(r, SERVICE "ListTierObjects", err);
        if (st == VV_OK)
            st = take_page(vv_buf_slice(&r->reply), each, ctx, &token, err);
    } while (st == VV_OK && token.len > 0);
    return st;
}

/* ---- verify ---- */

typedef struct listener {
    void (*finding)(void *ctx, const char *text);
    void *ctx;
} listener;

static vv_status take_finding(void *ctx, vv_slice message, bool *stop, vv_error *err)
{
    const listener *l = ctx;
    char text[FINDING_MAX];
    vv_slice finding = bytes_of(message, 1);
    (void)stop;
    (void)err;
    copy_text(text, sizeof text, finding);
    if (finding.len > 0)
        l->finding(l->ctx, text);
    return VV_OK;
}

static vv_status tier_verify(store *s, bool whole, void (*finding)(void *ctx, const char *text),
                             void *ctx, vv_error *err)
{
    remote *r = remote_of(s);
    listener l = {finding, ctx};
    begin_request(r);
    wire_put_uint(&r->request, 2, whole);
    return remote_messages(r, SERVICE "VerifyTier", take_finding, &l, err);
}

const store_tier_ops remote_tier_ops = {
    .run = tier_run, .list = tier_list, .verify = tier_verify, .restore = tier_restore};
