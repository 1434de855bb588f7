/* lsm_threads_test.c - the suite's readers, writer and background thread on lsm. */
#include "vv_test.h"

#include "engine/engine_suite.h"
#include "lsm/lsm.h"

int main(void)
{
    return engine_suite_run_threads(&lsm_ops);
}
