/*
 * fuzz_run.c - a whole run file: refused, or every block of it is read or refused, without a crash.
 *
 *     byte 0    bit 0: make the sums of footer and sections right first
 *               bit 1: and those of the blocks, as far as the index leads to them
 *
 * The rest is the file. What the engine does with a file whose sums are right but whose content no
 * writer of ours made is not its promise; that it stays within its memory is.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "io/vio_sim.h"
#include "lsm/lsm.h"
#include "lsm/lsm_run_format.h"
#include "lsm/lsm_view.h"

#define FILE_MAX_SIZE (256u * 1024)
#define RUN_ID 7u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void fix_blocks(uint8_t *p, size_t size, const uint8_t *index, uint64_t len,
                       bool stored_sums)
{
    uint32_t count = len < 4 ? 0 : vv_get_le32(index);
    for (uint32_t i = 0; i < count && (i + 1) * (uint64_t)LSM_INDEX_BLOCK_SIZE + 4 <= len; i++) {
        const uint8_t *place = index + 4 + (size_t)i * LSM_INDEX_BLOCK_SIZE;
        uint64_t at = (vv_get_le32(place) | (uint64_t)place[4] << 32) * VV_SECTOR;
        uint64_t stored = place[5] | (uint64_t)place[6] << 8 | (uint64_t)place[7] << 16;
        if (at > size || stored > size - at || stored < LSM_BLOCK_HEAD)
            continue;
        if (place[8] != CODEC_NONE) {
            if (stored_sums)
                vv_put_le64(p + at, lsm_stored_sum(p + at, (size_t)stored, RUN_ID, i));
            continue;
        }
        uint32_t used = lsm_block_used(p + at);
        if (used >= LSM_BLOCK_HEAD && used <= stored)
            vv_put_le64(p + at, lsm_block_sum(p + at, used, RUN_ID, i));
    }
}

static void fix(uint8_t *p, size_t size, bool blocks)
{
    if (size < LSM_FOOTER_SIZE)
        return;
    uint8_t *footer = p + size - LSM_FOOTER_SIZE;
    for (unsigned i = 0; i <= LSM_SECTION_DICTIONARY; i++) {
        uint8_t *at = footer + lsm_section_at((lsm_section)i);
        uint64_t offset = vv_get_le64(at);
        uint64_t len = vv_get_le64(at + 8);
        if (offset > size || len > size - offset)
            continue;
        if (blocks && i == LSM_SECTION_INDEX)
            fix_blocks(p, size, p + offset, len,
                       (vv_get_le32(footer + FOOT_FEATURES) & LSM_FEATURE_STORED_SUM) != 0);
        vv_put_le64(at + 16, lsm_section_sum(p + offset, (size_t)len, RUN_ID, (lsm_section)i));
    }
    vv_put_le64(footer + FOOT_SUM, lsm_footer_sum(footer, RUN_ID));
}

static void see_line(void *ctx, const char *text)
{
    *(size_t *)ctx += strlen(text);
}

/* Both ways through the run, as a cursor goes, and some searches. */
static void walk(lsm_run *run)
{
    lsm_level *level = NULL;
    engine_source *src = NULL;
    must(lsm_level_create(1, 0, &run, 1, &level, NULL) == VV_OK);
    must(lsm_source_create(level, false, &src, NULL) == VV_OK);
    vv_status st = engine_source_seek(src, run->meta.lower, INT64_MAX, NULL);
    for (unsigned i = 0; i < 5000 && st == VV_OK && src->valid; i++)
        st = engine_source_next(src, NULL);
    st = engine_source_seek_below(src, (vv_slice){0}, NULL);
    for (unsigned i = 0; i < 5000 && st == VV_OK && src->valid; i++)
        st = engine_source_prev(src, NULL);
    (void)!engine_source_seek(src, run->meta.upper, 5, NULL);
    (void)!engine_source_seek_below(src, run->meta.lower, NULL);
    (void)lsm_run_size_between(run, run->meta.lower, run->meta.upper);
    (void)engine_rangedels_cover(run->rangedels, run->meta.lower, INT64_MAX);
    engine_source_close(src);
    lsm_level_unref(level);
}

static void try_file(vv_env *env)
{
    size_t shown = 0;
    (void)!lsm_dump_run(env, "d/run-000000000007", see_line, &shown, NULL);
    lsm_store *store = vv_alloc_aligned(64, sizeof *store);
    must(store != NULL && lsm_store_init(store, env, "d", 0, VV_MIB, NULL, NULL) == VV_OK);
    lsm_run *run = NULL;
    if (lsm_run_open(store, RUN_ID, NULL, &run, NULL) == VV_OK)
        walk(run);
    lsm_run_unref(run);
    lsm_store_fini(store);
    vv_free(store);
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
    if (data[0] & 3)
        fix(p, size - 1, (data[0] & 2) != 0);
    must(vio_sim_open(disk, &(vio_sim_options){.seed = 1}, &env.io, NULL) == VV_OK);
    env.clock = vio_sim_clock(disk);
    must(vio_mkdir(env.io, "d", NULL) == VV_OK);
    vio_file *file = NULL;
    must(vio_open(env.io, "d/run-000000000007", VIO_WRITE | VIO_CREATE, &file, NULL) == VV_OK);
    must(size == 1 || vio_pwrite(file, 0, p, size - 1, NULL) == VV_OK);
    vio_close(file);
    try_file(&env);
    vio_destroy(env.io);
    vio_sim_disk_destroy(disk);
    vv_free(p);
    return 0;
}
