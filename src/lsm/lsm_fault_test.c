/*
 * lsm_fault_test.c - the faults every engine is put through, on lsm, and one of its own.
 */
#include "lsm/lsm_test_util.h"

#include "lsm/lsm_int.h"

/* The work that met the full disk is not wanted any more (another change made it needless): writes
 * must not wait for a success that nothing is left to bring. */
static void a_full_disk_is_forgotten_with_its_work(void **state)
{
    (void)state;
    vv_error err;
    tw w;
    tw_init(&w, &lsm_small, vv_test_seed(501));
    assert_ok(tw_power_on(&w, &(vio_sim_options){.seed = w.seed}, &err), err);
    assert_ok(lsm_ops.open(&w.opt, &w.e, &err), err);
    assert_ok(tw_write(&w, 1, &err), err);
    assert_ok(tw_work_all(&w, &err), err);
    lsm_engine *e = lsm_engine_of(w.e);
    engine_health_note(&e->health, VV_NO_SPACE, false,
                       &(vv_error){.msg = "compaction: the disk is full"});
    assert_status(VV_NO_SPACE, tw_write(&w, 2, &err));
    assert_non_null(strstr(err.msg, "when there is room: compaction: the disk is full"));
    assert_status(VV_NOT_FOUND, lsm_ops.work(w.e, &err));
    assert_ok(tw_write(&w, 2, &err), err);
    lsm_ops.close(w.e);
    tw_power_off(&w);
    tw_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_disk_is_forgotten_with_its_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) + engine_suite_run_fault(&lsm_small);
}
