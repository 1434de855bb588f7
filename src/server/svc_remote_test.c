/*
 * svc_remote_test.c - what another machine is told: over an address of this machine that is not
 * loopback, every method refuses by the gate, but those that say nothing of the data.
 */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/svc_suite.h"

/* An IPv4 address of this machine that is not loopback; false: it has none. */
static bool own_address(char out[INET_ADDRSTRLEN])
{
    struct ifaddrs *all = NULL;
    bool found = false;
    if (getifaddrs(&all) != 0)
        return false;
    for (struct ifaddrs *a = all; a != NULL && !found; a = a->ifa_next) {
        if (a->ifa_addr == NULL || a->ifa_addr->sa_family != AF_INET ||
            (a->ifa_flags & IFF_LOOPBACK) != 0 || (a->ifa_flags & IFF_UP) == 0)
            continue;
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)a->ifa_addr;
        found = inet_ntop(AF_INET, &in->sin_addr, out, INET_ADDRSTRLEN) != NULL;
    }
    freeifaddrs(all);
    return found;
}

/* Says whether the process lives, or what is served: not what is stored. */
static bool is_open_to_all(const char *path)
{
    static const char *const prefixes[] = {"/grpc.health.",
                                           "/grpc.reflection.",
                                           "/health",
                                           "/ready",
                                           "/ping",
                                           "/storage.QueryService/HealthCheck",
                                           "/storage.IngestionService/HealthCheck"};
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        if (strncmp(path, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

/* One request on a connection of its own. */
static void ask(svc_suite *s, const char *verb, const char *path, const char *body, vv_buf *out)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(s->port)};
    char host[32];
    (void)snprintf(host, sizeof host, "%.*s", (int)(strchr(s->address, ':') - s->address),
                   s->address);
    assert_int_equal(inet_pton(AF_INET, host, &at.sin_addr), 1);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval limit = {.tv_sec = 30};
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    vv_buf text;
    vv_buf_init(&text, 4096);
    vv_buf_printf(&text,
                  "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                  verb, path, strlen(body), body);
    assert_int_equal(send(fd, text.data, text.len, MSG_NOSIGNAL), text.len);
    vv_buf_fini(&text);
    vv_buf_reset(out);
    for (ssize_t n = 1; n > 0;) {
        uint8_t *to = vv_buf_reserve(out, 65536);
        assert_non_null(to);
        n = svc_suite_recv(fd, to, 65536);
        if (n > 0)
            vv_buf_advance(out, (size_t)n);
    }
    (void)close(fd);
    vv_buf_append_u8(out, 0);
}

/* The refusal of the gate, in a status or in the answer for one record. */
static void expect_refusal(const char *path, const void *answer, size_t len)
{
    static const char words[] = "server.allow_anonymous";
    if (memmem(answer, len, words, sizeof words - 1) == NULL)
        fail_msg("%s: %.*s", path, (int)len, (const char *)answer);
}

/* A request that reaches the gate; without a row the empty one does. */
static vv_slice request_of(const char *path)
{
    static const struct {
        const char *path;
        uint8_t len;
        const uint8_t bytes[10];
    } rows[] = {
        {"/varve.v1.Kv/CompareAndSwap", 2, {0x18, 1}}, /* absent */
        {"/varve.v1.Kv/Batch", 4, {0x0a, 2, 0x0a, 0}}, /* one put */
        {"/varve.v1.Kv/GetMany", 3, {0x12, 1, 'k'}},
        {"/varve.v1.Stream/Append", 2, {0x12, 0}}, /* one message */
        {"/historian.v1.HistorianQuery/Query", 3, {0x0a, 1, 'e'}},
        {"/storage.QueryService/GetRecord", 7, {0x0a, 5, 0x12, 3, 0x0a, 1, 'e'}},
        {"/storage.QueryService/GetRecords", 7, {0x0a, 5, 0x12, 3, 0x0a, 1, 'e'}},
        {"/storage.IngestionService/IngestRecord", 9, {0x0a, 7, 0x0a, 5, 0x12, 3, 0x0a, 1, 'e'}},
        {"/storage.IngestionService/IngestBatch", 9, {0x0a, 7, 0x0a, 5, 0x12, 3, 0x0a, 1, 'e'}},
        {"/storage.IngestionService/IngestStream", 9, {0x12, 7, 0x0a, 5, 0x12, 3, 0x0a, 1, 'e'}},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].path, path) == 0)
            return vv_slice_of(rows[i].bytes, rows[i].len);
    return vv_slice_of(NULL, 0);
}

static void check_grpc(svc_suite *s, const srv_method *m)
{
    vv_status st = cli_unary(s->conn, m->path, request_of(m->path), SUITE_TIMEOUT_NS, &s->reply,
                             &s->result, &s->err);
    if (st == VV_OK)
        expect_refusal(m->path, s->reply.data, s->reply.len);
    else
        expect_refusal(m->path, s->result.message, strlen(s->result.message));
}

static void check_http(svc_suite *s, const srv_method *m, vv_buf *answer)
{
    static const char record[] = "{\"record\":{\"id\":{\"entityId\":{\"id\":\"e\"}}}}";
    static const char batch[] = "{\"records\":[{\"id\":{\"entityId\":{\"id\":\"e\"}}}]}";
    static const struct {
        const char *path;
        const char *query; /* without which the gate is not reached */
    } rows[] = {{"/write", "?db=t"},
                {"/api/v2/write", "?bucket=t"},
                {"/api/v1/query", "?sensor=s"},
                {"/api/v1/export", "?sensor=s"},
                {"/api/v1/series/query", "?match=m"},
                {"/api/v1/series", "?match=m&drop=true"},
                {"/api/v1/series/labels/*", "site/values"}};
    const char *query = "";
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].path, m->path) == 0)
            query = rows[i].query;
    char path[160];
    size_t len = strlen(m->path);
    bool is_prefix = m->path[len - 1] == '*';
    const char *body = strstr(m->path, "/record") != NULL   ? record
                       : strstr(m->path, "/batch") != NULL  ? batch
                       : strstr(m->path, "/series") != NULL ? "" /* a form */
                       : strcmp(m->verb, "POST") == 0       ? "{}"
                                                            : "";
    (void)snprintf(path, sizeof path, "%.*s%s", (int)(len - is_prefix), m->path,
                   is_prefix && query[0] == '\0' ? "t/x/k" : query);
    ask(s, m->verb, path, body, answer);
    expect_refusal(m->path, answer->data, answer->len);
    if (body != batch && strncmp((const char *)answer->data, "HTTP/1.1 501 ", 13) != 0)
        fail_msg("%s: %.40s", m->path, (const char *)answer->data);
}

static void test_every_method_passes_the_gate(void **state)
{
    (void)state;
    char host[INET_ADDRSTRLEN];
    svc_suite s;
    vv_buf answer;
    unsigned asked = 0;
    if (!own_address(host)) {
        print_message("skipped: this machine has no address but loopback\n");
        skip();
    }
    svc_suite_start(&s, &(svc_suite_options){.host = host});
    vv_buf_init(&answer, 1 << 20);
    for (size_t i = 0; i < s.method_count; i++) {
        if (is_open_to_all(s.methods[i].path))
            continue;
        asked++;
        if (s.methods[i].kind == SRV_HTTP)
            check_http(&s, &s.methods[i], &answer);
        else
            check_grpc(&s, &s.methods[i]);
    }
    assert_true(asked > 25);
    vv_buf_fini(&answer);
    svc_suite_stop(&s);
}

static void test_an_unknown_path(void **state)
{
    (void)state;
    svc_suite s;
    vv_buf answer;
    svc_suite_start(&s, NULL);
    vv_buf_init(&answer, 1 << 20);
    ask(&s, "GET", "/nothing", "", &answer);
    assert_non_null(strstr((const char *)answer.data, "HTTP/1.1 404 "));
    assert_non_null(strstr((const char *)answer.data,
                           "\r\n\r\n{\"error\":{\"code\":5,\"status\":\"NOT_FOUND\",\"message\":"));
    vv_buf_fini(&answer);
    svc_suite_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_method_passes_the_gate),
        cmocka_unit_test(test_an_unknown_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
