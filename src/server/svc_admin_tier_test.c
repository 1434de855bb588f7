/*
 * svc_admin_tier_test.c - messages in the object store over varve.v1.Admin: archived, listed in
 * pages, verified, brought back; what is refused, one long call at a time, and calls that go.
 */
#include <poll.h>
#include <string.h>

#include "base/alloc.h"
#include "object/object.h"
#include "server/svc_suite.h"
#include "varve/stream.h"
#include "varve/tier.h"

#define MESSAGES 60u
#define OBJECT_MESSAGES 20u

typedef struct bed {
    svc_suite s;
    objs_bucket *bucket;
    vv_object_store *objects;
    vv_tier_options tier;
    vv_table *table;
    char name[8][VV_OBJECT_NAME_MAX + 1]; /* of the stored objects, as the library lists them */
    size_t count;
} bed;

/* Nothing is archived before it is asked for. */
static int begin(void **state)
{
    vv_error err = {0};
    bed *b = calloc(1, sizeof *b);
    assert_non_null(b);
    vv_env env = {.clock = vv_clock_real(), .threads = vv_threads_real(), .seed = 1};
    vv_object_options object = VV_OBJECT_OPTIONS_INIT;
    object.max_retries = 0;
    object.breaker_failures = 0;
    b->bucket = objs_bucket_create();
    assert_non_null(b->bucket);
    assert_ok(objs_open_bucket(&env, b->bucket, &object, &b->objects, &err), err);
    b->tier = (vv_tier_options){
        .size = sizeof b->tier,
        .objects = b->objects,
        .rule = {.batch_messages = OBJECT_MESSAGES, .batch_age_ns = INT64_MAX / 4, .local_ns = -1}};
    svc_suite_start(&b->s, &(svc_suite_options){.tier = &b->tier, .pool_threads = 1});
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = VV_TABLE_STREAM;
    assert_ok(vv_table_create(b->s.n.db, "default", "messages", &opt, &b->table, &err), err);
    const vv_message m = {.value = vv_slice_str("a message of some length or other")};
    const vv_message five[] = {m, m, m, m, m};
    for (unsigned i = 0; i < MESSAGES - 5; i += 5)
        assert_ok(vv_stream_append(b->table, five, 5, NULL, NULL, &err), err);
    *state = b;
    return 0;
}

static int end(void **state)
{
    bed *b = *state;
    vv_table_close(b->table);
    svc_suite_stop(&b->s);
    vv_object_store_close(b->objects);
    objs_bucket_destroy(b->bucket);
    free(b);
    return 0;
}

static int take_name(void *ctx, const vv_tier_object *o)
{
    bed *b = ctx;
    if (o->state == VV_TIER_STORED && b->count < 8)
        (void)snprintf(b->name[b->count++], sizeof b->name[0], "%s", o->name);
    return 0;
}

static void archive(bed *b)
{
    Varve__V1__RunTierRequest req = VARVE__V1__RUN_TIER_REQUEST__INIT;
    assert_ok(svc_suite_call(&b->s, "Admin/RunTier", &req), b->s.err);
    Varve__V1__RunTierResponse *r =
        svc_suite_reply(&b->s, &varve__v1__run_tier_response__descriptor);
    protobuf_c_message_free_unpacked(&r->base, NULL);
    b->count = 0;
    assert_ok(vv_tier_list(b->table, take_name, b, &b->s.err), b->s.err);
}

static void run_stores_what_waits(void **state)
{
    bed *b = *state;
    vv_stream_stats stats = {.size = sizeof stats};
    archive(b);
    assert_int_equal(b->count, 3);
    Varve__V1__RunTierRequest req = VARVE__V1__RUN_TIER_REQUEST__INIT;
    assert_ok(svc_suite_call(&b->s, "Admin/RunTier", &req), b->s.err);
    Varve__V1__RunTierResponse *r =
        svc_suite_reply(&b->s, &varve__v1__run_tier_response__descriptor);
    assert_int_equal(r->messages, 0);
    protobuf_c_message_free_unpacked(&r->base, NULL);
    assert_ok(vv_stream_stats_read(b->table, 0, NULL, &stats, &b->s.err), b->s.err);
    assert_int_equal(stats.messages, MESSAGES - 5);
}

/* Pages of one object give what one page of all gives. */
static void lists_come_in_pages(void **state)
{
    bed *b = *state;
    uint8_t token[64];
    Varve__V1__ListTierObjectsRequest req = VARVE__V1__LIST_TIER_OBJECTS_REQUEST__INIT;
    archive(b);
    req.page_size = 1;
    for (size_t i = 0; i <= b->count; i++) {
        assert_ok(svc_suite_call(&b->s, "Admin/ListTierObjects", &req), b->s.err);
        Varve__V1__ListTierObjectsResponse *r =
            svc_suite_reply(&b->s, &varve__v1__list_tier_objects_response__descriptor);
        if (r->n_objects == 0) {
            assert_true(i == b->count && r->next_page_token.len == 0);
        } else {
            assert_int_equal(r->n_objects, 1);
            assert_string_equal(r->objects[0]->name, b->name[i]);
            assert_int_equal(r->objects[0]->first, i * OBJECT_MESSAGES);
            assert_int_equal(r->objects[0]->state, VARVE__V1__TIER_STATE__TIER_STATE_STORED);
        }
        assert_true(r->next_page_token.len <= sizeof token);
        if (r->next_page_token.len > 0)
            memcpy(token, r->next_page_token.data, r->next_page_token.len);
        req.page_token = (ProtobufCBinaryData){r->next_page_token.len, token};
        protobuf_c_message_free_unpacked(&r->base, NULL);
        if (req.page_token.len == 0) {
            assert_int_equal(i, b->count - 1);
            return;
        }
    }
    fail_msg("the pages do not end");
}

/* ---- verify ---- */

typedef struct answer {
    unsigned findings;
    uint64_t objects;
    char first[400];
} answer;

static const cli_result *read_answer(svc_suite *s, cli_stream *stream, answer *out)
{
    vv_error err = {0};
    *out = (answer){.findings = 0};
    while (cli_stream_receive(stream, true, &s->reply, &err) == VV_OK) {
        Varve__V1__VerifyTierResponse *r =
            svc_suite_reply(s, &varve__v1__verify_tier_response__descriptor);
        if (r->finding[0] != '\0' && out->findings++ == 0)
            (void)snprintf(out->first, sizeof out->first, "%s", r->finding);
        out->objects = r->objects;
        protobuf_c_message_free_unpacked(&r->base, NULL);
    }
    return cli_stream_result(stream);
}

static cli_stream *start_verify(bed *b)
{
    static const uint8_t whole[] = {0x10, 1};
    cli_stream *stream = NULL;
    assert_ok(cli_stream_open(b->s.conn, "/varve.v1.Admin/VerifyTier", SUITE_TIMEOUT_NS, &stream,
                              &b->s.err),
              b->s.err);
    assert_ok(cli_stream_send(stream, vv_slice_of(whole, sizeof whole), &b->s.err), b->s.err);
    cli_stream_half_close(stream);
    return stream;
}

/* The code of the answer. */
static int verify(bed *b, answer *out)
{
    cli_stream *stream = start_verify(b);
    int code = read_answer(&b->s, stream, out)->code;
    cli_stream_close(stream);
    return code;
}

static void what_is_damaged_is_told(void **state)
{
    bed *b = *state;
    answer a;
    vv_object_outcome outcome;
    archive(b);
    assert_int_equal(verify(b, &a), 0);
    assert_int_equal(a.objects, b->count);
    assert_int_equal(a.findings, 0);
    assert_ok(objs_bucket_flip(b->bucket, b->name[1], 900), (vv_error){0});
    assert_int_equal(verify(b, &a), 15); /* DATA_LOSS */
    assert_non_null(strstr(a.first, b->name[1]));
    assert_ok(vv_object_remove(b->objects, b->name[2], &outcome, &b->s.err), b->s.err);
    assert_int_equal(verify(b, &a), 15);
    assert_true(a.findings >= 2 && a.objects == b->count);
}

/* ---- restore ---- */

static void messages_come_back(void **state)
{
    bed *b = *state;
    Varve__V1__RestoreTierRequest req = VARVE__V1__RESTORE_TIER_REQUEST__INIT;
    vv_message m;
    archive(b);
    req.first = 15;
    req.next = 30;
    for (unsigned i = 0; i < 2; i++) {
        assert_ok(svc_suite_call(&b->s, "Admin/RestoreTier", &req), b->s.err);
        Varve__V1__RestoreTierResponse *r =
            svc_suite_reply(&b->s, &varve__v1__restore_tier_response__descriptor);
        assert_int_equal(r->messages, i == 0 ? 15 : 0);
        protobuf_c_message_free_unpacked(&r->base, NULL);
    }
    objs_bucket_set(b->bucket, &(objs_memory_options){.outage = true});
    vv_stream_cursor *c = NULL;
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    opt.start = (vv_stream_start){.from = VV_STREAM_OFFSET, .offset = 15};
    opt.messages_max = 15;
    assert_ok(vv_stream_cursor_open(b->table, &opt, &c, &b->s.err), b->s.err);
    unsigned count = 0;
    while (vv_stream_cursor_next(c, &m, &b->s.err) == VV_OK)
        count++;
    vv_stream_cursor_close(c);
    assert_int_equal(count, 15);
    objs_bucket_set(b->bucket, &(objs_memory_options){0});
}

/* ---- what is refused ---- */

static void expect_refusal(bed *b, const char *method, const char *bytes, size_t len, vv_status st,
                           const char *why)
{
    vv_slice request = vv_slice_of((const uint8_t *)bytes, len);
    vv_status got = svc_suite_call_raw(&b->s, method, request);
    if (got != st || strstr(b->s.result.message, why) == NULL)
        fail_msg("%s: status %d, '%s'", method, got, b->s.result.message);
}

static void what_is_refused(void **state)
{
    static const char *const methods[] = {"Admin/RunTier", "Admin/VerifyTier", "Admin/RestoreTier",
                                          "Admin/ListTierObjects"};
    static const char no_table[] = "\x0a\x06\x12\x04none";
    static const char other_kind[] = "\x0a\x04\x12\x02kv";
    bed *b = *state;
    assert_ok(svc_suite_put(&b->s, "default", "kv", vv_slice_str("k"), vv_slice_str("v"), NULL),
              b->s.err);
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        expect_refusal(b, methods[i], "\x0a\xff", 2, VV_INVALID, "the bytes are not");
        expect_refusal(b, methods[i], "\x08\x01", 2, VV_INVALID, "the bytes are not");
        expect_refusal(b, methods[i], no_table, 8, VV_NOT_FOUND, "none");
        expect_refusal(b, methods[i], other_kind, 6, VV_INVALID, "stream");
        assert_int_equal(b->s.n.tier_call, 0);
    }
    expect_refusal(b, "Admin/ListTierObjects", "\x1a\x01x", 3, VV_INVALID, "the bytes are not");
    expect_refusal(b, "Admin/RestoreTier", "\x10\x09", 2, VV_INVALID, "partition");
    b->s.n.tier_call = 1; /* another is under way */
    for (size_t i = 0; i < 3; i++)
        expect_refusal(b, methods[i], "", 0, VV_BUSY, "under way");
    b->s.n.tier_call = 0;
    archive(b);
}

static void a_node_without_a_store(void **state)
{
    (void)state;
    vv_error err = {0};
    bed b = {.count = 0};
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = VV_TABLE_STREAM;
    svc_suite_start(&b.s, NULL);
    assert_ok(vv_table_create(b.s.n.db, "default", "messages", &opt, &b.table, &err), err);
    expect_refusal(&b, "Admin/RunTier", "", 0, VV_UNSUPPORTED, "object store");
    expect_refusal(&b, "Admin/VerifyTier", "", 0, VV_UNSUPPORTED, "object store");
    assert_ok(svc_suite_call_raw(&b.s, "Admin/ListTierObjects", vv_slice_of(NULL, 0)), b.s.err);
    vv_table_close(b.table);
    svc_suite_stop(&b.s);
}

static void a_store_that_is_away(void **state)
{
    bed *b = *state;
    answer a;
    archive(b);
    objs_bucket_set(b->bucket, &(objs_memory_options){.outage = true});
    assert_int_not_equal(verify(b, &a), 0);
    assert_int_equal(a.findings, 0);
    assert_int_not_equal(svc_suite_call_raw(&b->s, "Admin/RestoreTier", vv_slice_of(NULL, 0)),
                         VV_OK);
    assert_non_null(strstr(b->s.result.message, b->name[0]));
    objs_bucket_set(b->bucket, &(objs_memory_options){0});
    assert_int_equal(verify(b, &a), 0);
    assert_int_equal(b->s.n.tier_call, 0);
}

/* Allocation after allocation fails, of either side: every call ends, and the next one works. */
static void allocations_fail(void **state)
{
    static const char *const methods[] = {"RunTier", "VerifyTier", "RestoreTier",
                                          "ListTierObjects"};
    bed *b = *state;
    answer a;
    archive(b);
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        for (int n = 0; n < 60; n++) {
            char path[64];
            cli_conn *conn = NULL;
            cli_result result = {0};
            vv_error err = {0};
            (void)snprintf(path, sizeof path, "/varve.v1.Admin/%s", methods[i]);
            assert_ok(cli_open(b->s.address, NULL, &conn, &err), err);
            vv_alloc_fail_after(n, 0);
            vv_status st = cli_unary(conn, path, vv_slice_of(NULL, 0), SUITE_TIMEOUT_NS,
                                     &b->s.reply, &result, &err);
            vv_alloc_fail_after(-1, 0);
            cli_close(conn);
            assert_int_not_equal(st, VV_TIMEOUT);
            while (b->s.n.tier_call != 0)
                (void)poll(NULL, 0, 1);
        }
    }
    assert_int_equal(verify(b, &a), 0);
    assert_int_equal(a.objects, b->count);
}

/* ---- calls that go ---- */

/* The store answers slowly: the call is in the middle of it when its client goes. The one thread of
 * the pool is free again when the call is over. */
static void a_call_that_goes_ends(void **state)
{
    bed *b = *state;
    answer a;
    archive(b);
    assert_ok(svc_suite_put(&b->s, "default", "kv", vv_slice_str("k"), vv_slice_str("v"), NULL),
              b->s.err);
    objs_bucket_set(b->bucket,
                    &(objs_memory_options){.per_mille = {[OBJS_MEMORY_SLOW] = 1000}, .slow_ms = 5});
    cli_stream *stream = start_verify(b);
    svc_suite_expect(&b->s, "default", "kv", "k", "v");
    cli_stream_close(stream);
    while (b->s.n.tier_call != 0)
        (void)poll(NULL, 0, 1);
    objs_bucket_set(b->bucket, &(objs_memory_options){0});
    assert_int_equal(verify(b, &a), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(run_stores_what_waits), T(lists_come_in_pages), T(what_is_damaged_is_told),
        T(messages_come_back),    T(what_is_refused),     cmocka_unit_test(a_node_without_a_store),
        T(a_store_that_is_away),  T(allocations_fail),    T(a_call_that_goes_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
