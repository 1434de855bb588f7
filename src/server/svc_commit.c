/*
 * svc_commit.c - commits of positions: read on the pool, written without a thread that waits.
 *
 *   pool: read, check --> vv_write_async ... commit thread --> done
 *                                               '-- another was faster --> by way of the loop to
 * the pool, where it is done again and waited for
 *
 * A commit takes as long as a sync, and consumers make one for each page: a thread of the point
 * lane each would be all of them.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"
#include "server/svc_stream.h"
#include "server/svc_util.h"

typedef struct commit {
    svc_commit what;
    node *n;
    vv_batch *batch; /* NULL: it was written, or is not to be */
} commit;

static void finish(commit *c, vv_status st, const vv_error *err)
{
    c->what.done(c->what.ctx, st, err);
    vv_batch_destroy(c->batch);
    vv_free(c);
}

static void run_again(void *arg)
{
    commit *c = arg;
    vv_error err = {0};
    const svc_commit *w = &c->what;
    vv_status st =
        vv_stream_commit(w->table, w->partition, w->name, w->offset, w->durability, &err);
    finish(c, st, &err);
}

static void posted(srv_call *call, void *arg)
{
    static const vv_error gone = {.status = VV_CLOSED, .msg = "the client is gone"};
    static const vv_error busy = {.status = VV_BUSY, .msg = SVC_NO_THREAD};
    commit *c = arg;
    if (!srv_call_is_open(call)) /* the pool may be gone, too */
        finish(c, VV_CLOSED, &gone);
    else if (srv_pool_submit_point(c->n->pool, run_again, c) != VV_OK)
        finish(c, VV_BUSY, &busy);
}

static void written(void *ctx, vv_status st, const vv_write_result *result, const vv_error *err)
{
    commit *c = ctx;
    vv_error why = {0};
    (void)result;
    VV_POINT("stream.after_commit");
    if (st == VV_CONFLICT) {
        srv_call_post(c->what.call, posted, c);
        return;
    }
    if (st != VV_OK && err != NULL) {
        why = *err;
        (void)vv_wrap(&why, st, "commit of a position");
    }
    finish(c, st, &why);
}

vv_status svc_commit_begin(const svc_commit *what, vv_error *err)
{
    commit *c = vv_calloc(1, sizeof *c);
    if (c == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a commit");
    *c = (commit){.what = *what, .n = srv_call_ctx(what->call)};
    c->batch = vv_batch_create(c->n->db);
    vv_status st = c->batch != NULL ? VV_OK : vv_fail(err, VV_NO_MEMORY, "no memory for a commit");
    if (st == VV_OK)
        st = vv_batch_stream_commit(c->batch, what->table, what->partition, what->name,
                                    what->offset, err);
    VV_POINT("stream.before_commit");
    if (st == VV_OK)
        st = vv_write_async(c->n->db, c->batch, what->durability, written, c, err);
    if (st != VV_OK) {
        vv_batch_destroy(c->batch);
        vv_free(c);
    }
    return st;
}
