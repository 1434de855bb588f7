/*
 * btree_crash_test.c - the power cuts every engine is put through, on btree.
 */
#include "btree/btree_test_util.h"

int main(void)
{
    return engine_suite_run_crash(&btree_small);
}
