/*
 * fuzz_record.c - stored records: no crash, what parses encodes back to the same bytes, and the
 * metadata walk stays inside it.
 */
#include <stdlib.h>

#include "db/db_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vv_record record;
    vv_error err;
    vv_status st = vv_record_parse(vv_slice_of(data, size), &record, &err);
    must(st == VV_OK || st == VV_CORRUPT || st == VV_UNSUPPORTED);
    if (st != VV_OK)
        return 0;
    vv_slice rest = record.metadata;
    vv_slice key;
    vv_slice value;
    uint32_t pairs = 0;
    while (vv_record_metadata_next(&rest, &key, &value)) {
        must(value.data >= data && value.data + value.len <= data + size);
        pairs++;
    }
    must(rest.len == 0 && pairs == record.metadata_count);
    vv_buf buf;
    vv_buf_init(&buf, size + 64);
    db_record_encode(&buf, &record);
    must(buf.status == VV_OK && vv_slice_eq(vv_buf_slice(&buf), vv_slice_of(data, size)));
    vv_buf_fini(&buf);
    return 0;
}
