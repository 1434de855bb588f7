/*
 * fuzz_catalog.c - the catalog's record of a table: no crash, and what decodes encodes back to the
 * same bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "catalog/cat_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static cat_table table;
    vv_error err;
    uint8_t bytes[CAT_RECORD_MAX];
    vv_status st = cat_record_decode(vv_slice_of(data, size), &table, &err);
    must(st == VV_OK || st == VV_CORRUPT || st == VV_UNSUPPORTED);
    if (st != VV_OK)
        return 0;
    must(cat_record_encode(&table, bytes) == size);
    must(memcmp(bytes, data, size) == 0);
    return 0;
}
