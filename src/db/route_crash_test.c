/*
 * route_crash_test.c - the power cuts and faults every engine is put through, on pairs of engines:
 * most batches write to both.
 */
#include "db/route_test_util.h"

int main(void)
{
    int failed = 0;
    for (int btree_home = 0; btree_home < 2; btree_home++) {
        engine_ops ops = pair_ops(btree_home != 0);
        tw_subject subject =
            pair_small(btree_home != 0 ? "btree with lsm" : "lsm with btree", &ops);
        failed += engine_suite_run_crash(&subject) + engine_suite_run_fault(&subject);
    }
    return failed;
}
