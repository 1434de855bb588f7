/*
 * lsm_crash_test.c - the power cuts every engine is put through, on lsm.
 */
#include "lsm/lsm_test_util.h"

int main(void)
{
    return engine_suite_run_crash(&lsm_small);
}
