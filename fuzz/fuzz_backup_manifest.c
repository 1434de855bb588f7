/*
 * fuzz_backup_manifest.c - a backup's manifest: refused with a sentence, or it is written down
 * again byte for byte, and no name in it leads out of the store.
 *
 *     byte 0    bit 0: make the sum right first, so that what lies behind it is reached
 */
#include <stdlib.h>
#include <string.h>

#include "backup/backup_int.h"
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void write_again(const backup_manifest *m, vv_slice bytes)
{
    vv_buf out;
    vv_buf_init(&out, SIZE_MAX);
    for (size_t i = 0; i < m->count; i++) {
        must(m->files[i].name[0] != '/' && strstr(m->files[i].name, "..") == NULL);
        must(backup_manifest_find(m, m->files[i].name) != NULL);
    }
    backup_manifest_encode(m, &out);
    must(vv_slice_eq(vv_buf_slice(&out), bytes));
    vv_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t len = size - 1;
    uint8_t *p = vv_alloc(size);
    must(p != NULL);
    memcpy(p, data + 1, len);
    if ((data[0] & 1) != 0 && len >= 4)
        vv_put_le32(p + len - 4, vv_crc32c(0, p, len - 4));
    backup_manifest m;
    vv_error err = {0};
    if (backup_manifest_decode(vv_slice_of(p, len), &m, &err) == VV_OK)
        write_again(&m, vv_slice_of(p, len));
    else
        must(err.msg[0] != '\0');
    backup_manifest_fini(&m);
    vv_free(p);
    return 0;
}
