/* btree_threads_test.c - the suite's readers, writer and background thread on btree. */
#include "vv_test.h"

#include "btree/btree.h"
#include "engine/engine_suite.h"

int main(void)
{
    return engine_suite_run_threads(&btree_ops);
}
