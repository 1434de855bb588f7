/*
 * svc_http_query.c - POST /api/v1/query: the JSON of a storage.QueryRequest in, the JSON of a
 * storage.QueryResponse out.
 *
 * JSON becomes wire bytes, the bytes go the way of every query, and the answer's bytes become JSON:
 * there is one meaning of a query, whatever it is written in.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "server/svc_json.h"
#include "server/svc_query.h"
#include "server/svc_util.h"
#include "storage/query.pb-c.h"

#define REQUEST_MAX (16u * 1024 * 1024)
#define JSON_MAX (256u * 1024 * 1024)
#define JSON_FREE (256u * 1024) /* a small answer is always given */

/* The answer as JSON, counted in the budget with the bytes it is made of: first as much as most
 * need, then as much as there can be. */
static vv_status put_json(const svc_ask *a, vv_slice wire, vv_buf *json, uint64_t *held,
                          vv_error *err)
{
    size_t max = vv_min_u64(JSON_FREE + 3 * (uint64_t)wire.len, JSON_MAX);
    for (;;) {
        uint64_t need = max <= JSON_FREE ? 0 : max + wire.len;
        if (!vv_budget_reserve(a->node->budget, VV_BUDGET_QUERY, need - *held))
            return vv_fail(err, VV_BUSY,
                           "storage.memory_limit is used up: retry after a pause, or ask for fewer "
                           "records at a time");
        *held = need;
        vv_buf_init(json, max);
        vv_status st = svc_json_from_wire(&storage__query_response__descriptor, wire, json, err);
        if (json->status != VV_BUSY || max == JSON_MAX) {
            json->max++; /* for the line's end */
            return st;
        }
        vv_buf_fini(json);
        max = vv_min_u64(4 * (uint64_t)max, JSON_MAX);
    }
}

static void run_query(void *arg)
{
    svc_ask *a = arg;
    vv_error err = {0};
    vv_buf wire;
    vv_buf json;
    vv_buf_init(&wire, SVC_ANSWER_MAX);
    vv_buf_init(&json, 0);
    uint64_t held = 0;
    vv_status st = svc_query_answer(a, &wire, &err);
    if (st == VV_OK)
        st = put_json(a, vv_buf_slice(&wire), &json, &held, &err);
    vv_buf_fini(&wire);
    svc_ask_count(a);
    if (st == VV_OK) {
        vv_buf_append_u8(&json, '\n');
        srv_call_reply(a->call, 200, "application/json", &json, NULL);
    } else {
        svc_reply_error(a->call, st, err.msg);
    }
    vv_buf_fini(&json);
    vv_budget_release(a->node->budget, VV_BUDGET_QUERY, held);
    svc_ask_unref(a);
}

static void http_query_message(srv_call *call, srv_message msg)
{
    vv_error err = {0};
    svc_ask *a = NULL;
    vv_buf wire;
    vv_buf_init(&wire, REQUEST_MAX);
    vv_status st = svc_json_to_wire(&storage__query_request__descriptor, msg.data, &wire, &err);
    srv_message_release(&msg);
    if (st == VV_OK)
        st = svc_ask_create(call, NULL, &wire, query_request_parse, &a, &err);
    vv_buf_fini(&wire);
    if (st == VV_OK) {
        st = srv_pool_submit(a->node->pool, run_query, a);
        if (st == VV_OK)
            return;
        vv_fail(&err, st, "query: too many queries wait for a thread; retry after a pause");
    }
    svc_reply_error(call, st, err.msg);
    svc_ask_unref(a);
}

size_t svc_http_query_methods(node *n, srv_method *out, size_t max)
{
    if (max == 0)
        return 0;
    out[0] = (srv_method){.kind = SRV_HTTP,
                          .verb = "POST",
                          .path = "/api/v1/query",
                          .message_max = REQUEST_MAX,
                          .ctx = n,
                          .message = http_query_message};
    return 1;
}
