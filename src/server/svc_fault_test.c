/*
 * svc_fault_test.c - each allocation of a node fails once, and each call to its disk, in the midst
 * of every kind of request about series. The laws:
 *
 *   nobody is left waiting;
 *   what was acknowledged is there afterwards;
 *   an answer that is whole is the right one, and one that is not is seen to be cut off;
 *   a refusal blames the server and not the request: who is told 400 throws samples away;
 *   the next request is answered, and nothing stays in the memory budget.
 */
#include <poll.h>

#include "base/alloc.h"
#include "db/db.h"
#include "server/fault_io.h"
#include "server/fault_request.h"

static void judge(fault_node *f, const fault_request *r, const char *what, uint64_t n,
                  const fault_answer *a, const fault_answer *clean)
{
    if (a->is_refused && a->blames_request)
        fail_msg("%s: %s %llu: the request is blamed: %.*s", r->name, what, (unsigned long long)n,
                 (int)a->len, a->bytes);
    if (!r->writes && !r->is_any && a->is_whole && !fault_same(a, clean))
        fail_msg("%s: %s %llu: another answer: %.*s", r->name, what, (unsigned long long)n,
                 (int)a->len, a->bytes);
    if (r->writes && a->is_whole)
        fault_note_acked(f);
}

/* ---- one request while an allocation fails ---- */

static void walk_request(fault_node *f, const fault_request *r)
{
    static fault_answer clean, a;
    uint64_t count = 0;
    for (int i = 0; i < 3; i++) { /* what is kept from one to the next is there then */
        uint64_t before = vv_alloc_count();
        fault_ask(f, r, &clean);
        count = vv_max_u64(count, vv_alloc_count() - before);
        if (!clean.is_whole)
            fail_msg("%s: %.*s", r->name, (int)clean.len, clean.bytes);
        if (r->writes)
            fault_note_acked(f);
    }
    assert_true(count > 0);
    uint64_t step = vv_test_count("VV_FAULT_STEP", 1);
    for (uint64_t n = 0; n < count + 3; n += step) {
        fault_prepare(f, r);
        vv_alloc_fail_after((int64_t)n, 0);
        fault_send(f, r, &a);
        vv_alloc_fail_after(-1, 0);
        judge(f, r, "allocation", n, &a, &clean);
    }
    fault_ask(f, r, &a);
    if (!a.is_whole || (!r->writes && !r->is_any && !fault_same(&a, &clean)))
        fail_msg("%s: afterwards: %.*s", r->name, (int)a.len, a.bytes);
    if (r->writes)
        fault_note_acked(f);
}

/* A request lets go of its memory a moment after its answer. */
static void expect_nothing_held(fault_node *f)
{
    static const vv_budget_part parts[] = {VV_BUDGET_QUERY, VV_BUDGET_NETWORK};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        while (vv_budget_part_used(f->s.n.budget, parts[i]) != 0)
            (void)poll(NULL, 0, 1);
}

static void walk_every_allocation_of_each_request(void **state)
{
    (void)state;
    static fault_node f;
    fault_start(&f, NULL);
    for (size_t i = 0; i < fault_request_count; i++)
        walk_request(&f, &fault_requests[i]);
    fault_expect_acked(&f, f.s.n.db);
    expect_nothing_held(&f);
    fault_stop(&f);
}

/* ---- all of them while a call to the disk fails ---- */

static fault_answer clean_answers[64];

/* Every request once, with memtables written out in their midst, so that answers come from files.
 */
static void pass(fault_node *f, bool is_clean, const char *what, uint64_t n)
{
    static fault_answer a;
    for (size_t i = 0; i < fault_request_count; i++) {
        const fault_request *r = &fault_requests[i];
        if (i == 3 || i == fault_request_count / 2)
            (void)svc_suite_call_raw(&f->s, "Admin/Checkpoint", (vv_slice){0});
        fault_ask(f, r, &a);
        if (is_clean && !a.is_whole)
            fail_msg("%s: %s %llu: not answered: %.*s", r->name, what, (unsigned long long)n,
                     (int)a.len, a.bytes);
        if (is_clean && clean_answers[i].len == 0)
            clean_answers[i] = a;
        judge(f, r, what, n, &a, &clean_answers[i]);
    }
}

/* A flush that found the disk full is tried again after a while. */
static void expect_writes_return(fault_node *f, uint64_t n)
{
    static fault_answer a;
    for (int i = 0; i < 3000; i++) {
        fault_ask(f, &fault_requests[0], &a);
        if (a.is_whole) {
            fault_note_acked(f);
            return;
        }
        (void)poll(NULL, 0, 10);
    }
    fail_msg("disk full from call %llu: writes do not return: %.*s", (unsigned long long)n,
             (int)a.len, a.bytes);
}

/* The store as it is opened after the node is gone: nothing that was acknowledged is missing. */
static void expect_after_reopen(fault_node *f, vv_env *env)
{
    vv_error err;
    vv_db *db = NULL;
    vv_options opt = VV_OPTIONS_INIT;
    opt.log_segment_size = 1u << 20;
    assert_ok(db_open_env(env, &opt, &db, &err), err);
    fault_expect_acked(f, db);
    assert_ok(vv_db_close(db, &err), err);
}

/* False when the pass made fewer calls than n. */
static bool walk_call(fault_node *f, fault_io_kind kind, uint64_t n)
{
    static const char *const names[FAULT_IO_KINDS] = {"failing call", "disk gone from call",
                                                      "disk full from call"};
    char dir[] = "/tmp/varve-svc-fault-XXXXXX";
    vv_env env;
    vv_error err;
    assert_non_null(mkdtemp(dir));
    assert_ok(env_posix_init(&env, dir, NULL, &err), err);
    fault_io_begin(&env);
    fault_start(f, &(svc_suite_options){.env = &env, .may_fail = true});
    fault_io_set(kind, n);
    pass(f, n == 0, names[kind], n);
    const uint64_t count = fault_io_count();
    fault_io_set(kind, 0);
    if (kind == FAULT_IO_FULL) { /* space returned: it goes on by itself */
        expect_writes_return(f, n);
        pass(f, true, names[kind], n);
    }
    fault_stop(f);
    expect_after_reopen(f, &env);
    vio_destroy(env.io);
    svc_suite_remove(dir);
    return n <= count;
}

static void walk_every_call_to_the_disk(void **state)
{
    (void)state;
    static fault_node f;
    uint64_t step = vv_test_count("VV_FAULT_STEP", 6);
    (void)walk_call(&f, FAULT_IO_ONCE, 0);
    for (int kind = 0; kind < FAULT_IO_KINDS; kind++)
        for (uint64_t n = 1; walk_call(&f, (fault_io_kind)kind, n); n += step)
            continue;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(walk_every_allocation_of_each_request),
        cmocka_unit_test(walk_every_call_to_the_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
