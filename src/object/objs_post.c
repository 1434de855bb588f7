/*
 * objs_post.c - a POST over the transport of the stores, for those who send figures and lines to a
 * collector: one try, its answer's status and bytes, and whether it may be tried again.
 */
#include <assert.h>

#include "base/error.h"
#include "object/objs_http.h"

#define HEADERS_MAX 16u

vv_status objs_post_open(const vv_env *env, const objs_post_options *options, objs_http **out,
                         vv_error *err)
{
    assert(env != NULL && env->clock != NULL && options != NULL && out != NULL);
    objs_options o = {.opt = VV_OBJECT_OPTIONS_INIT, .env = *env};
    o.opt.ca_file = options->ca_file;
    o.opt.connect_timeout_ms = options->timeout_ms;
    o.opt.request_timeout_ms = options->timeout_ms;
    o.opt.budget_ms = options->timeout_ms;
    return objs_http_create(&o, out, err);
}

static bool passes(int status)
{
    return status == 408 || status == 429 || status == 502 || status == 503 || status == 504;
}

vv_status objs_post(objs_http *http, const char *url, const char *const *header,
                    size_t header_count, vv_slice body, size_t answer_max, vv_buf *answer,
                    bool *again, vv_error *err)
{
    assert(header_count <= HEADERS_MAX);
    vv_object_outcome oc = {0};
    objs_http_answer a = {0};
    const objs_http_request request = {.method = "POST",
                                       .url = url,
                                       .header = header,
                                       .header_count = header_count,
                                       .has_body = true,
                                       .body = &body,
                                       .body_count = 1,
                                       .answer_max = answer_max};
    vv_status st = objs_http_run(http, &request, &a, &oc, err);
    *again = st != VV_OK && oc.retryable;
    if (st == VV_OK && (a.status < 200 || a.status >= 300)) {
        *again = passes(a.status);
        st = vv_fail(err, VV_IO, "answers HTTP %d: %.*s", a.status,
                     (int)(a.body.len < 100 ? a.body.len : 100), (const char *)a.body.data);
    }
    if (st == VV_OK && answer != NULL)
        vv_buf_append_slice(answer, vv_buf_slice(&a.body));
    objs_http_answer_fini(&a);
    return st;
}
