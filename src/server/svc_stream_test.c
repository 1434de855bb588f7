/*
 * svc_stream_test.c - varve.v1.Stream over a whole node, requests packed by protobuf-c.
 */
#include <string.h>

#include "server/svc_suite.h"
#include "varve/stream.h"
#include "varve/v1/stream.pb-c.h"

#define TEXT(literal) ((char *)(uintptr_t)(literal))
#define COUNT 5000u

static ProtobufCBinaryData bytes_of(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

/* Messages "0 text", "1 text", ... from number on. */
typedef struct load {
    Varve__V1__AppendRequest request;
    Varve__V1__StreamMessage message[600];
    Varve__V1__StreamMessage *messages[600];
    char text[600][64];
    Varve__V1__TableRef ref;
} load;

static load *make_load(uint64_t number, size_t count)
{
    load *l = calloc(1, sizeof *l);
    assert_non_null(l);
    varve__v1__append_request__init(&l->request);
    for (size_t i = 0; i < count; i++) {
        varve__v1__stream_message__init(&l->message[i]);
        (void)snprintf(l->text[i], sizeof l->text[i], "%d some text", (int)(number + i));
        l->message[i].value = bytes_of(l->text[i]);
        l->messages[i] = &l->message[i];
    }
    l->request.messages = l->messages;
    l->request.n_messages = count;
    return l;
}

/* The first offset; *duplicate may be NULL. */
static vv_status send_load(svc_suite *s, load *l, uint64_t *first, bool *duplicate)
{
    vv_status st = svc_suite_call(s, "Stream/Append", &l->request);
    if (st != VV_OK)
        return st;
    Varve__V1__AppendResponse *r = svc_suite_reply(s, &varve__v1__append_response__descriptor);
    assert_int_equal(r->count, l->request.n_messages);
    assert_string_equal(svc_suite_trailer(s, "varve-durability"), "sync");
    *first = r->first_offset;
    if (duplicate != NULL)
        *duplicate = r->duplicate;
    protobuf_c_message_free_unpacked(&r->base, NULL);
    return VV_OK;
}

static void append_count(svc_suite *s, uint64_t from, uint64_t count)
{
    for (uint64_t at = from; at < from + count; at += 500) {
        uint64_t first = 0;
        load *l = make_load(at, vv_min_u64(500, from + count - at));
        assert_ok(send_load(s, l, &first, NULL), s->err);
        assert_int_equal(first, at);
        free(l);
    }
}

static cli_stream *open_read(svc_suite *s, const Varve__V1__ReadStreamRequest *q)
{
    cli_stream *stream = NULL;
    uint8_t bytes[1024];
    assert_true(protobuf_c_message_get_packed_size(&q->base) <= sizeof bytes);
    size_t len = protobuf_c_message_pack(&q->base, bytes);
    assert_ok(cli_stream_open(s->conn, "/varve.v1.Stream/Read", SUITE_TIMEOUT_NS, &stream, &s->err),
              s->err);
    assert_ok(cli_stream_send(stream, vv_slice_of(bytes, len), &s->err), s->err);
    return stream;
}

/* Receive messages from number *next on, until there are count more or the answer ends. */
static vv_status receive(svc_suite *s, cli_stream *stream, uint64_t *next, uint64_t count)
{
    uint64_t end = *next + count;
    while (*next < end) {
        vv_status st = cli_stream_receive(stream, true, &s->reply, &s->err);
        if (st != VV_OK)
            return st;
        Varve__V1__ReadStreamResponse *r =
            svc_suite_reply(s, &varve__v1__read_stream_response__descriptor);
        for (size_t i = 0; i < r->n_messages; i++, ++*next) {
            char text[64];
            (void)snprintf(text, sizeof text, "%d some text", (int)*next);
            assert_int_equal(r->messages[i]->offset, *next);
            assert_int_equal(r->messages[i]->value.len, strlen(text));
            assert_memory_equal(r->messages[i]->value.data, text, strlen(text));
            assert_true(r->messages[i]->receive_time_ns > 0);
        }
        assert_int_equal(r->next_offset, *next);
        protobuf_c_message_free_unpacked(&r->base, NULL);
    }
    return VV_OK;
}

static void test_messages_go_in_and_come_out(void **state)
{
    (void)state;
    svc_suite s;
    uint64_t next = 1234;
    Varve__V1__ReadStreamRequest q = VARVE__V1__READ_STREAM_REQUEST__INIT;
    Varve__V1__StreamStart start = VARVE__V1__STREAM_START__INIT;
    svc_suite_start(&s, NULL);
    append_count(&s, 0, COUNT);
    start.from = VARVE__V1__STREAM_FROM__STREAM_FROM_OFFSET;
    start.offset = next;
    q.start = &start;
    cli_stream *stream = open_read(&s, &q);
    assert_status(VV_NOT_FOUND, receive(&s, stream, &next, COUNT)); /* a clean end */
    assert_int_equal(next, COUNT);
    cli_stream_close(stream);
    next = 1234;
    q.limit = 10;
    stream = open_read(&s, &q);
    assert_status(VV_NOT_FOUND, receive(&s, stream, &next, COUNT));
    assert_int_equal(next, 1244);
    cli_stream_close(stream);
    q.partition = 3;
    stream = open_read(&s, &q);
    assert_status(VV_INVALID, cli_stream_receive(stream, true, &s.reply, &s.err));
    cli_stream_close(stream);
    svc_suite_stop(&s);
}

static void test_who_follows_sees_what_comes(void **state)
{
    (void)state;
    svc_suite s;
    uint64_t next[3] = {0, 0, 0};
    cli_stream *stream[3];
    Varve__V1__ReadStreamRequest q = VARVE__V1__READ_STREAM_REQUEST__INIT;
    svc_suite_start(&s, NULL);
    append_count(&s, 0, 700);
    q.follow = true;
    for (size_t i = 0; i < 3; i++) {
        stream[i] = open_read(&s, &q);
        assert_ok(receive(&s, stream[i], &next[i], 700), s.err);
    }
    for (uint64_t at = 700; at < 740; at++) {
        append_count(&s, at, 1);
        for (size_t i = 0; i < 3; i++) {
            assert_ok(receive(&s, stream[i], &next[i], 1), s.err);
            assert_int_equal(next[i], at + 1);
        }
        if (at == 720) { /* one goes away while it waits */
            cli_stream_close(stream[0]);
            stream[0] = open_read(&s, &q);
            next[0] = 0;
            assert_ok(receive(&s, stream[0], &next[0], 721), s.err);
        }
    }
    assert_ok(vv_table_drop(s.n.db, "default", "messages", &s.err), s.err);
    for (size_t i = 0; i < 3; i++) {
        assert_status(VV_NOT_FOUND, cli_stream_receive(stream[i], true, &s.reply, &s.err));
        cli_stream_close(stream[i]);
    }
    svc_suite_stop(&s);
}

static void test_a_repeated_append_is_known(void **state)
{
    (void)state;
    svc_suite s;
    uint64_t first = 0;
    bool duplicate = false;
    svc_suite_start(&s, NULL);
    load *l = make_load(0, 3);
    Varve__V1__StreamAttribute a = VARVE__V1__STREAM_ATTRIBUTE__INIT;
    Varve__V1__StreamAttribute *as[] = {&a};
    a.name = TEXT("n");
    a.value_case = VARVE__V1__STREAM_ATTRIBUTE__VALUE_I64;
    a.i64 = -5;
    l->message[1].key = bytes_of("k");
    l->message[1].content_type = TEXT("text/plain");
    l->message[1].source = TEXT("line 1");
    l->message[1].event_time_ns = 77;
    l->message[1].attributes = as;
    l->message[1].n_attributes = 1;
    l->request.producer = bytes_of("p");
    assert_ok(send_load(&s, l, &first, &duplicate), s.err);
    assert_true(first == 0 && !duplicate);
    assert_ok(send_load(&s, l, &first, &duplicate), s.err);
    assert_true(first == 0 && duplicate);
    l->request.sequence = 5;
    assert_status(VV_CONFLICT, send_load(&s, l, &first, &duplicate));
    assert_non_null(strstr(s.err.msg, "leaves a gap"));
    free(l);
    Varve__V1__ReadStreamRequest q = VARVE__V1__READ_STREAM_REQUEST__INIT;
    cli_stream *stream = open_read(&s, &q);
    assert_ok(cli_stream_receive(stream, true, &s.reply, &s.err), s.err);
    Varve__V1__ReadStreamResponse *r =
        svc_suite_reply(&s, &varve__v1__read_stream_response__descriptor);
    assert_int_equal(r->n_messages, 3);
    const Varve__V1__StreamMessage *m = r->messages[1];
    assert_int_equal(m->key.len, 1);
    assert_string_equal(m->content_type, "text/plain");
    assert_string_equal(m->source, "line 1");
    assert_int_equal(m->event_time_ns, 77);
    assert_int_equal(m->n_attributes, 1);
    assert_string_equal(m->attributes[0]->name, "n");
    assert_int_equal(m->attributes[0]->value_case, VARVE__V1__STREAM_ATTRIBUTE__VALUE_I64);
    assert_int_equal(m->attributes[0]->i64, -5);
    protobuf_c_message_free_unpacked(&r->base, NULL);
    cli_stream_close(stream);
    Varve__V1__PositionRequest p = VARVE__V1__POSITION_REQUEST__INIT;
    p.name = bytes_of("p");
    assert_ok(svc_suite_call(&s, "Stream/NextSequence", &p), s.err);
    Varve__V1__NextSequenceResponse *n =
        svc_suite_reply(&s, &varve__v1__next_sequence_response__descriptor);
    assert_int_equal(n->sequence, 3);
    protobuf_c_message_free_unpacked(&n->base, NULL);
    p.name = bytes_of("q");
    assert_status(VV_NOT_FOUND, svc_suite_call(&s, "Stream/NextSequence", &p));
    svc_suite_stop(&s);
}

typedef struct answers {
    unsigned good;
    unsigned bad;
    char why[256];
} answers;

static void on_end(void *ctx, cli_call *call, const cli_result *result)
{
    answers *a = ctx;
    (void)call;
    if (result->status == VV_OK)
        a->good++;
    else if (a->bad++ == 0)
        (void)snprintf(a->why, sizeof a->why, "%s", result->message);
}

/* Appends of a producer that does not wait for answers are taken in the order in which it sent
 * them: none of them leaves a gap. */
static void test_requests_of_a_producer_keep_their_order(void **state)
{
    (void)state;
    svc_suite s;
    answers got = {0};
    uint64_t first = 0;
    svc_suite_options opt = {.pool_threads = 4};
    svc_suite_start(&s, &opt);
    append_count(&s, 0, 1); /* the table is there */
    for (unsigned i = 0; i < 300; i++) {
        size_t count = 1 + i / 2 % 3;
        load *l = make_load(1 + i, count);
        cli_call *call = NULL;
        cli_handler handler = {.closed = on_end, .ctx = &got};
        uint8_t bytes[1024];
        l->request.producer = bytes_of(i % 2 == 0 ? "p" : "q");
        l->request.sequence = first;
        first += i % 2 == 1 ? count : 0; /* both send as many */
        size_t len = protobuf_c_message_pack(&l->request.base, bytes);
        assert_true(len <= sizeof bytes);
        assert_ok(cli_call_start(s.conn, "/varve.v1.Stream/Append", SUITE_TIMEOUT_NS, &handler,
                                 &call, &s.err),
                  s.err);
        assert_ok(cli_call_send(call, vv_slice_of(bytes, len), &s.err), s.err);
        cli_call_half_close(call);
        free(l);
    }
    while (cli_open_calls(s.conn) > 0)
        assert_ok(cli_step(s.conn, VV_NS_PER_S, &s.err), s.err);
    if (got.bad > 0)
        fail_msg("%u appends were refused: %s", got.bad, got.why);
    assert_int_equal(got.good, 300);
    svc_suite_stop(&s);
}

static uint64_t position_call(svc_suite *s, const char *method, const Varve__V1__PositionRequest *p)
{
    assert_ok(svc_suite_call(s, method, p), s->err);
    Varve__V1__PositionResponse *r = svc_suite_reply(s, &varve__v1__position_response__descriptor);
    uint64_t offset = r->offset;
    protobuf_c_message_free_unpacked(&r->base, NULL);
    return offset;
}

static void test_positions_and_figures(void **state)
{
    (void)state;
    svc_suite s;
    Varve__V1__PositionRequest p = VARVE__V1__POSITION_REQUEST__INIT;
    Varve__V1__StreamStart start = VARVE__V1__STREAM_START__INIT;
    svc_suite_start(&s, NULL);
    assert_status(VV_NOT_FOUND, svc_suite_call(&s, "Stream/ListPositions", &p));
    append_count(&s, 0, 100);
    p.name = bytes_of("c");
    p.offset = 40;
    assert_int_equal(position_call(&s, "Stream/Commit", &p), 40);
    p.offset = 30;
    assert_status(VV_CONFLICT, svc_suite_call(&s, "Stream/Commit", &p));
    assert_non_null(strstr(s.err.msg, "stands at 40 already"));
    p.offset = 101;
    assert_status(VV_INVALID, svc_suite_call(&s, "Stream/Commit", &p));
    start.from = VARVE__V1__STREAM_FROM__STREAM_FROM_OFFSET;
    start.offset = 20;
    p.start = &start;
    assert_int_equal(position_call(&s, "Stream/ResetPosition", &p), 20);
    assert_ok(svc_suite_call(&s, "Stream/ListPositions", &p), s.err);
    Varve__V1__ListPositionsResponse *l =
        svc_suite_reply(&s, &varve__v1__list_positions_response__descriptor);
    assert_int_equal(l->n_positions, 1);
    assert_string_equal(l->positions[0]->name, "c");
    assert_true(l->positions[0]->offset == 20 && l->positions[0]->lag == 80);
    protobuf_c_message_free_unpacked(&l->base, NULL);
    p.offset = 10;
    assert_ok(svc_suite_call(&s, "Stream/Trim", &p), s.err);
    Varve__V1__TrimResponse *t = svc_suite_reply(&s, &varve__v1__trim_response__descriptor);
    assert_int_equal(t->removed, 10);
    protobuf_c_message_free_unpacked(&t->base, NULL);
    assert_ok(svc_suite_call(&s, "Stream/DescribeStream", &p), s.err);
    Varve__V1__DescribeStreamResponse *d =
        svc_suite_reply(&s, &varve__v1__describe_stream_response__descriptor);
    assert_int_equal(d->n_partitions, 1);
    assert_true(d->partitions[0]->first_offset == 10 && d->partitions[0]->next_offset == 100);
    assert_int_equal(d->partitions[0]->positions, 1);
    protobuf_c_message_free_unpacked(&d->base, NULL);
    assert_int_equal(position_call(&s, "Stream/DeletePosition", &p), 0);
    assert_status(VV_NOT_FOUND, svc_suite_call(&s, "Stream/DeletePosition", &p));
    svc_suite_stop(&s);
}

static void test_a_table_is_created_with_options(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    SUITE_REF(ref, "", "messages");
    Varve__V1__CreateTableRequest q = VARVE__V1__CREATE_TABLE_REQUEST__INIT;
    Varve__V1__StreamOptions o = VARVE__V1__STREAM_OPTIONS__INIT;
    q.table = &ref;
    q.kind = VARVE__V1__TABLE_KIND__TABLE_KIND_STREAM;
    q.stream = &o;
    o.retention_bytes = 1000;
    o.retention_ns = 5;
    o.producers_max = 7;
    assert_ok(svc_suite_call(&s, "Admin/CreateTable", &q), s.err);
    Varve__V1__TableInfo *t = svc_suite_reply(&s, &varve__v1__table_info__descriptor);
    assert_int_equal(t->kind, VARVE__V1__TABLE_KIND__TABLE_KIND_STREAM);
    assert_non_null(t->stream);
    assert_true(t->stream->retention_bytes == 1000 && t->stream->retention_ns == 5);
    assert_true(t->stream->producers_max == 7);
    assert_int_equal(t->stream->message_size_max, VV_STREAM_MESSAGE_MAX);
    protobuf_c_message_free_unpacked(&t->base, NULL);
    ref.table = TEXT("keys");
    q.kind = VARVE__V1__TABLE_KIND__TABLE_KIND_KV;
    assert_status(VV_INVALID, svc_suite_call(&s, "Admin/CreateTable", &q));
    assert_non_null(strstr(s.err.msg, "tables of kind 4 (stream)"));
    svc_suite_stop(&s);
}

static vv_status append_text(svc_suite *s, const char *text, uint64_t *dead)
{
    load *l = make_load(0, 1);
    l->message[0].value = bytes_of(text);
    vv_status st = svc_suite_call(s, "Stream/Append", &l->request);
    free(l);
    if (st != VV_OK)
        return st;
    Varve__V1__AppendResponse *r = svc_suite_reply(s, &varve__v1__append_response__descriptor);
    *dead = r->dead;
    assert_int_equal(r->count + r->dead, 1);
    varve__v1__append_response__free_unpacked(r, NULL);
    return VV_OK;
}

static void test_rules_and_dead_letters(void **state)
{
    (void)state;
    svc_suite s;
    uint64_t dead = 0;
    svc_suite_start(&s, NULL);
    Varve__V1__CreateTableRequest create = VARVE__V1__CREATE_TABLE_REQUEST__INIT;
    Varve__V1__StreamOptions options = VARVE__V1__STREAM_OPTIONS__INIT;
    SUITE_REF(ref, "", "messages");
    create.table = &ref;
    create.kind = VARVE__V1__TABLE_KIND__TABLE_KIND_STREAM;
    create.stream = &options;
    options.extract_rules = TEXT("id = json $.id itn");
    assert_status(VV_INVALID, svc_suite_call(&s, "Admin/CreateTable", &create));
    assert_non_null(strstr(s.err.msg, "'int' is"));
    options.extract_rules = TEXT("id = json $.id int required");
    assert_ok(svc_suite_call(&s, "Admin/CreateTable", &create), s.err);
    Varve__V1__TableInfo *info = svc_suite_reply(&s, &varve__v1__table_info__descriptor);
    assert_string_equal(info->stream->extract_rules, "id = json $.id int required");
    varve__v1__table_info__free_unpacked(info, NULL);

    assert_ok(append_text(&s, "{\"id\":5}", &dead), s.err);
    assert_int_equal(dead, 0);
    assert_ok(append_text(&s, "{}", &dead), s.err);
    assert_int_equal(dead, 1);
    Varve__V1__PositionRequest p = VARVE__V1__POSITION_REQUEST__INIT;
    assert_ok(svc_suite_call(&s, "Stream/DescribeStream", &p), s.err);
    Varve__V1__DescribeStreamResponse *d =
        svc_suite_reply(&s, &varve__v1__describe_stream_response__descriptor);
    assert_int_equal(d->partitions[0]->next_offset, 1);
    assert_int_equal(d->n_rules, 1);
    assert_string_equal(d->rules[0]->name, "id");
    assert_true(d->rules[0]->required && d->rules[0]->found == 1 && d->rules[0]->absent == 1);
    assert_int_equal(d->dead_letters, 1);
    varve__v1__describe_stream_response__free_unpacked(d, NULL);
    assert_ok(svc_suite_call(&s, "Stream/Replay", &p), s.err);
    Varve__V1__ReplayResponse *r = svc_suite_reply(&s, &varve__v1__replay_response__descriptor);
    assert_int_equal(r->replayed, 0);
    assert_int_equal(r->dead, 1);
    varve__v1__replay_response__free_unpacked(r, NULL);
    svc_suite_stop(&s);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    static const char *const methods[] = {"Stream/Append", "Stream/Commit", "Stream/Trim",
                                          "Stream/Replay", "Stream/DescribeStream"};
    svc_suite s;
    uint64_t first = 0;
    svc_suite_start(&s, NULL);
    load *l = make_load(0, 0);
    assert_status(VV_INVALID, send_load(&s, l, &first, NULL));
    assert_non_null(strstr(s.err.msg, "1 to 65536 messages, not 0"));
    free(l);
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        static const uint8_t junk[][4] = {{0x12, 0x7f, 1, 1}, {0x0a, 2, 0xff, 0xff}, {0xff, 0xff}};
        for (size_t k = 0; k < ARRAY_LEN(junk); k++)
            assert_status(VV_INVALID,
                          svc_suite_call_raw(&s, methods[i], vv_slice_of(junk[k], sizeof junk[k])));
    }
    l = make_load(0, 1);
    varve__v1__table_ref__init(&l->ref);
    l->ref.table = TEXT("keys");
    l->request.table = &l->ref;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    assert_ok(vv_table_create(s.n.db, "default", "keys", &opt, NULL, &s.err), s.err);
    assert_status(VV_INVALID, send_load(&s, l, &first, NULL));
    assert_non_null(strstr(s.err.msg, "messages"));
    free(l);
    svc_suite_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_go_in_and_come_out),
        cmocka_unit_test(test_who_follows_sees_what_comes),
        cmocka_unit_test(test_a_repeated_append_is_known),
        cmocka_unit_test(test_requests_of_a_producer_keep_their_order),
        cmocka_unit_test(test_positions_and_figures),
        cmocka_unit_test(test_a_table_is_created_with_options),
        cmocka_unit_test(test_rules_and_dead_letters),
        cmocka_unit_test(test_what_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
