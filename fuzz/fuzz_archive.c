/*
 * fuzz_archive.c - the file of an archive, beside a manifest that names it: refused with a sentence
 * that names the file, or it is the state that its bytes say, of this archive and this shard.
 *
 *     byte 0    bit 0: make it a record and the sums right first; bit 1: of archive 7, shard 0
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/util.h"
#include "btree/btree_manifest.h"
#include "io/vio_sim.h"

#define ARCHIVE "t/archive-000000000007"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void fix(uint8_t *p, size_t size, bool is_ours)
{
    if (size < BTREE_MANIFEST_HEAD)
        return;
    if (is_ours) {
        vv_put_le64(p + 48, 7);
        vv_put_le32(p + 56, 0);
    }
    uint32_t chain = vv_crc32c(0, p, 60);
    vv_put_le32(p + 60, chain);
    for (size_t at = BTREE_MANIFEST_HEAD; at + 24 < size;) {
        uint32_t len = vv_get_le32(p + at + 8);
        if (len > size - at - 24)
            return;
        memcpy(p + at, "BTRE", 4);
        vv_put_le32(p + at + 12, chain);
        chain = vv_crc32c(0, p + at + 8, 16 + len);
        vv_put_le32(p + at + 4, chain);
        at = vv_align_up(at + 24 + len, 8);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t len = size - 1;
    uint8_t *p = vv_alloc(size);
    must(p != NULL);
    memcpy(p, data + 1, len);
    if ((data[0] & 1) != 0)
        fix(p, len, (data[0] & 2) != 0);
    vio_sim_disk *disk = vio_sim_disk_create();
    vio *io = NULL;
    must(disk != NULL && vio_sim_open(disk, &(vio_sim_options){.seed = 1}, &io, NULL) == VV_OK);
    must(vio_mkdir(io, "t", NULL) == VV_OK);
    must(vio_write_file_atomic(io, ARCHIVE, vv_slice_of(p, len), NULL) == VV_OK);
    vv_env env = {.io = io};
    vv_error err = {0};
    btree_state state;
    btree_state_init(&state, NULL);
    if (btree_archive_read(&env, "t", 0, 7, &state, &err) == VV_OK) {
        must(vv_get_le64(p + 48) == 7 && vv_get_le32(p + 56) == 0);
        must(state.page_size >= 512 && (state.page_size & (state.page_size - 1)) == 0);
    } else {
        must(strstr(err.msg, ARCHIVE) != NULL);
    }
    btree_state_fini(&state);
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
    vv_free(p);
    return 0;
}
