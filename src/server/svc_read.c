#include "server/svc_read.h"

#include <assert.h>

#include "base/alloc.h"
#include "db/db.h"

typedef struct read_job {
    const svc_read_ops *ops;
    srv_call *call; /* referenced */
    srv_message msg;
    int64_t begin_ns;
} read_job;

void svc_read_count(const srv_call *call, int64_t begin_ns)
{
    node *n = srv_call_ctx(call);
    vv_hist_add(&n->get_ns, (uint64_t)(vv_clock_mono(n->env.clock) - begin_ns));
}

static void run_read(void *arg)
{
    read_job *job = arg;
    if (srv_call_is_open(job->call)) { /* else nobody waits for it any more */
        bool is_settled = job->ops->answer(job->call, job->msg.data, true, job->begin_ns);
        assert(is_settled);
        (void)is_settled;
    }
    srv_message_release(&job->msg);
    srv_call_unref(job->call);
    vv_free(job);
}

typedef vv_status (*submit_fn)(srv_pool *pool, void (*fn)(void *arg), void *arg);

static void submit(srv_call *call, srv_message msg, const svc_read_ops *ops, int64_t begin_ns,
                   submit_fn to_pool)
{
    const node *n = srv_call_ctx(call);
    vv_status st = VV_NO_MEMORY;
    read_job *job = vv_alloc(sizeof *job);
    if (job != NULL) {
        *job = (read_job){ops, call, msg, begin_ns};
        srv_call_ref(call);
        st = to_pool(n->pool, run_read, job);
        if (st == VV_OK)
            return;
        srv_call_unref(call);
        vv_free(job);
    }
    srv_message_release(&msg);
    ops->refuse(call, st,
                st == VV_BUSY ? "too many reads wait for a thread: retry after a pause"
                              : "no memory for a read");
}

void svc_read_begin(srv_call *call, srv_message msg, const svc_read_ops *ops)
{
    const node *n = srv_call_ctx(call);
    int64_t begin_ns = vv_clock_mono(n->env.clock);
    if (!ops->answer(call, msg.data, false, begin_ns))
        submit(call, msg, ops, begin_ns, srv_pool_submit_point);
    else
        srv_message_release(&msg);
}

void svc_read_on_pool(srv_call *call, srv_message msg, const svc_read_ops *ops)
{
    const node *n = srv_call_ctx(call);
    submit(call, msg, ops, vv_clock_mono(n->env.clock), srv_pool_submit);
}

vv_status svc_read_value(vv_table *table, int64_t version, vv_slice key, bool may_wait,
                         vv_value *out, bool *would_wait, vv_error *err)
{
    bool in_file = false;
    if (may_wait)
        return version == 0 ? vv_get(table, NULL, key, out, err)
                            : vv_get_at(table, version, key, out, err);
    vv_status st = db_get_from_memory(table, version, key, out, &in_file, err);
    if (in_file)
        *would_wait = true;
    return st;
}
