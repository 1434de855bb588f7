/*
 * svc_health_test.c - health over gRPC and HTTP on a whole node: serving, unknown, draining.
 */
#include "grpc/health/v1/health.pb-c.h"
#include "server/svc_suite.h"

#define CHECK "/grpc.health.v1.Health/Check"
#define WATCH "/grpc.health.v1.Health/Watch"

static void pack_request(const char *service, vv_buf *out)
{
    Grpc__Health__V1__HealthCheckRequest req = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    req.service = (char *)(uintptr_t)service;
    vv_buf_init(out, 4096);
    size_t len = grpc__health__v1__health_check_request__get_packed_size(&req);
    uint8_t *to = vv_buf_reserve(out, len + 1);
    assert_non_null(to);
    vv_buf_advance(out, grpc__health__v1__health_check_request__pack(&req, to));
}

static int status_in(const vv_buf *reply)
{
    static const uint8_t none[1];
    Grpc__Health__V1__HealthCheckResponse *res = grpc__health__v1__health_check_response__unpack(
        NULL, reply->len, reply->len == 0 ? none : reply->data);
    assert_non_null(res);
    int status = (int)res->status;
    grpc__health__v1__health_check_response__free_unpacked(res, NULL);
    return status;
}

static int check(svc_suite *s, const char *service)
{
    vv_buf req;
    pack_request(service, &req);
    vv_status st = cli_unary(s->conn, CHECK, vv_buf_slice(&req), SUITE_TIMEOUT_NS, &s->reply,
                             &s->result, &s->err);
    vv_buf_fini(&req);
    return st == VV_OK ? status_in(&s->reply) : -s->result.code;
}

static int http(svc_suite *s, const char *path)
{
    int status = 0;
    vv_buf_reset(&s->reply);
    assert_ok(cli_http_get(s->address, path, SUITE_TIMEOUT_NS, &status, &s->reply, &s->err),
              s->err);
    return status;
}

static void test_check(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    assert_int_equal(check(&s, ""),
                     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING);
    assert_int_equal(check(&s, "varve.v1.Kv"),
                     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING);
    assert_int_equal(check(&s, "varve.v1"), -5);
    assert_int_equal(check(&s, "varve.v1.Kv.Get"), -5);
    assert_int_equal(check(&s, "nobody.Knows"), -5);
    assert_status(VV_INVALID, cli_unary(s.conn, CHECK, vv_slice_str("\xff\xff"), SUITE_TIMEOUT_NS,
                                        &s.reply, &s.result, &s.err));
    assert_int_equal(http(&s, "/health"), 200);
    assert_int_equal(http(&s, "/ready"), 200);

    atomic_store(&s.n.draining, 1);
    assert_int_equal(check(&s, ""),
                     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING);
    assert_int_equal(http(&s, "/health"), 200);
    assert_int_equal(http(&s, "/ready"), 503);
    assert_non_null(memmem(s.reply.data, s.reply.len, "draining", 8));
    svc_suite_stop(&s);
}

static void test_watch(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    vv_buf req;
    cli_stream *known, *unknown;
    assert_ok(cli_stream_open(s.conn, WATCH, 0, &known, &s.err), s.err);
    assert_ok(cli_stream_open(s.conn, WATCH, 0, &unknown, &s.err), s.err);
    pack_request("", &req);
    assert_ok(cli_stream_send(known, vv_buf_slice(&req), &s.err), s.err);
    vv_buf_fini(&req);
    pack_request("nobody.Knows", &req);
    assert_ok(cli_stream_send(unknown, vv_buf_slice(&req), &s.err), s.err);
    vv_buf_fini(&req);
    cli_stream_half_close(known);

    assert_ok(cli_stream_receive(known, true, &s.reply, &s.err), s.err);
    assert_int_equal(status_in(&s.reply),
                     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING);
    assert_ok(cli_stream_receive(unknown, true, &s.reply, &s.err), s.err);
    assert_int_equal(status_in(&s.reply),
                     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN);
    assert_status(VV_TIMEOUT, cli_stream_receive(known, false, &s.reply, &s.err));

    atomic_store(&s.n.draining, 1); /* told once, then the watch ends */
    assert_ok(cli_stream_receive(known, true, &s.reply, &s.err), s.err);
    assert_int_equal(status_in(&s.reply),
                     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING);
    assert_status(VV_CLOSED, cli_stream_receive(known, true, &s.reply, &s.err));
    cli_stream_close(known);
    cli_stream_close(unknown);
    svc_suite_stop(&s);
}

static void expect_ready(svc_suite *s, bool want)
{
    char why[NODE_WHY_MAX];
    vv_buf text;
    vv_buf_init(&text, 1 << 20);
    assert_int_equal(node_is_ready(&s->n, why, sizeof why), want);
    assert_true(want ? why[0] == 0 : strstr(why, "disk is full") != NULL);
    svc_metrics_text(&s->n, &text);
    vv_buf_append_u8(&text, 0);
    assert_non_null(strstr((const char *)text.data,
                           want ? "\nvarve_writes_stalled 0\n" : "\nvarve_writes_stalled 1\n"));
    vv_buf_fini(&text);
}

/* A full disk: not ready until a write goes through, or none was refused for a while. */
static void test_stalled_writes(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    expect_ready(&s, true);
    node_note_write(&s.n, VV_NO_SPACE);
    node_note_write(&s.n, VV_CONFLICT);
    expect_ready(&s, false);
    assert_ok(svc_suite_put(&s, "t", "x", vv_slice_str("k"), vv_slice_str("v"), NULL), s.err);
    expect_ready(&s, true);
    node_note_write(&s.n, VV_NO_SPACE);
    expect_ready(&s, false);
    atomic_fetch_sub(&s.n.refused_ns, 11 * VV_NS_PER_S);
    expect_ready(&s, true);
    svc_suite_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_watch),
        cmocka_unit_test(test_stalled_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
