/*
 * fuzz_identity.c - the file VARVE: refused, or what it says writes the same bytes again.
 *
 * Every input is tried as it is and with a right checksum.
 */
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "db/db_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_file(const uint8_t *p, size_t size)
{
    db_identity id;
    uint8_t again[DB_IDENTITY_SIZE];
    vv_error err;
    vv_status st = db_identity_decode(p, size, &id, &err);
    if (st != VV_OK && (st == VV_CORRUPT || st == VV_UNSUPPORTED))
        return;
    if (st != VV_OK || size != sizeof again)
        abort();
    db_identity_encode(&id, again);
    if (memcmp(p, again, size) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t fixed[DB_IDENTITY_SIZE];
    try_file(data, size);
    if (size != sizeof fixed)
        return 0;
    memcpy(fixed, data, size);
    vv_put_le32(fixed + size - 4, vv_crc32c(0, fixed, size - 4));
    try_file(fixed, size);
    return 0;
}
