/*
 * btree_fault_test.c - the faults every engine is put through, on btree.
 */
#include "btree/btree_test_util.h"

int main(void)
{
    return engine_suite_run_fault(&btree_small);
}
