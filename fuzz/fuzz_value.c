/*
 * fuzz_value.c - a whole value file: its references are read or refused, without a crash.
 *
 *     byte 0    bit 0: make the sums of the header and of the records right first
 *
 * The rest is the file. Law: what reads under a right sum is what lies at the place that was asked
 * for, with the length that was asked for.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "base/varint.h"
#include "io/vio_sim.h"
#include "lsm/lsm.h"
#include "lsm/lsm_run.h"
#include "lsm/lsm_value.h"
#include "lsm/lsm_value_int.h"

#define FILE_MAX_SIZE (256u * 1024)
#define FILE_ID 7u
#define READS_MAX 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void fix(uint8_t *p, size_t size)
{
    if (size < LSM_VALUE_START)
        return;
    vv_put_le64(p + LSM_VALUE_START - 8, lsm_value_header_sum(p, FILE_ID));
    for (size_t at = LSM_VALUE_START; at + LSM_VALUE_HEAD <= size;) {
        uint32_t len = vv_get_le32(p + at + 8);
        if (len > size - at - LSM_VALUE_HEAD)
            break;
        vv_put_le64(p + at, lsm_value_sum(p + at, LSM_VALUE_HEAD + len, FILE_ID, at));
        at += (size_t)lsm_value_size(len);
    }
}

static void see_line(void *ctx, const char *text)
{
    *(size_t *)ctx += strlen(text);
}

static void read_one(lsm_store *s, const uint8_t *p, size_t size, uint64_t at, uint32_t len)
{
    uint8_t ref[LSM_VALUE_REF];
    vv_buf out;
    vv_put_le64(ref, FILE_ID);
    vv_put_le64(ref + 8, at);
    vv_put_le32(ref + 16, len);
    vv_buf_init(&out, FILE_MAX_SIZE);
    if (lsm_value_load(s, vv_slice_of(ref, sizeof ref), &out, NULL) == VV_OK) {
        must(out.len == len && at + LSM_VALUE_HEAD + len <= size);
        must(len == 0 || memcmp(out.data, p + at + LSM_VALUE_HEAD, len) == 0);
    }
    vv_buf_fini(&out);
}

static void try_file(vv_env *env, const uint8_t *p, size_t size)
{
    size_t shown = 0;
    uint8_t uses[2 * VV_VARINT_MAX];
    (void)!lsm_dump_values(env, "d/val-000000000007", see_line, &shown, NULL);
    lsm_store *s = vv_alloc_aligned(64, sizeof *s);
    must(s != NULL && lsm_store_init(s, env, "d", 0, VV_MIB, NULL, NULL) == VV_OK);
    size_t n = vv_varint_put(uses, FILE_ID);
    n += vv_varint_put(uses + n, size);
    vv_slice held = vv_slice_of(uses, n);
    if (lsm_value_acquire(s, held, NULL) == VV_OK) {
        uint64_t at = LSM_VALUE_START;
        for (unsigned i = 0; i < READS_MAX && at + LSM_VALUE_HEAD <= size; i++) {
            uint32_t len = vv_get_le32(p + at + 8);
            if (len > FILE_MAX_SIZE)
                break;
            read_one(s, p, size, at, len);
            read_one(s, p, size, at, len + 1); /* a reference to another form of it */
            at += lsm_value_size(len);
        }
        lsm_value_release(s, held, false);
    }
    lsm_store_fini(s);
    vv_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > FILE_MAX_SIZE)
        return 0;
    uint8_t *p = vv_alloc(size);
    vio_sim_disk *disk = vio_sim_disk_create();
    vv_env env = {0};
    must(p != NULL && disk != NULL);
    memcpy(p, data + 1, size - 1);
    if (data[0] & 1)
        fix(p, size - 1);
    must(vio_sim_open(disk, &(vio_sim_options){.seed = 1}, &env.io, NULL) == VV_OK);
    env.clock = vio_sim_clock(disk);
    must(vio_mkdir(env.io, "d", NULL) == VV_OK);
    vio_file *file = NULL;
    must(vio_open(env.io, "d/val-000000000007", VIO_WRITE | VIO_CREATE, &file, NULL) == VV_OK);
    must(size == 1 || vio_pwrite(file, 0, p, size - 1, NULL) == VV_OK);
    vio_close(file);
    try_file(&env, p, size - 1);
    vio_destroy(env.io);
    vio_sim_disk_destroy(disk);
    vv_free(p);
    return 0;
}
