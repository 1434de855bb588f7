/*
 * lsm_files.c - the files of a shard's state, for checkpoints and backups.
 *
 * Runs and value files never change, so their names are enough. The manifest does, so its bytes are
 * made anew from the state, as an open makes them; they name the runs, and the runs the value
 * files.
 *
 * What lies in an object store is part of a copy as every other file is: it is fetched, so that a
 * copy needs no object store and outlives what this one removes from there.
 *
 * A hold stops lsm_store_sweep, which removes what left the manifest. It is taken before the
 * manifest is read: what the manifest names then is in no trash yet, and stays until the release.
 * Objects stay too (lsm_tier.c).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "lsm/lsm_int.h"
#include "lsm/lsm_remote.h"
#include "lsm/lsm_value.h"

typedef struct gathering {
    lsm_engine *e;
    vv_status (*each)(void *ctx, const engine_file *file, vv_error *err);
    void *ctx;
    uint64_t *values; /* ids, with repeats */
    size_t count, cap;
    int64_t checkpoint;
} gathering;

void lsm_hold_files(engine *base)
{
    (void)atomic_fetch_add(&lsm_engine_of(base)->store.holds, 1);
}

void lsm_release_files(engine *base)
{
    lsm_engine *e = lsm_engine_of(base);
    uint32_t before = atomic_fetch_sub(&e->store.holds, 1);
    assert(before > 0);
    if (before == 1 && e->opt.hooks.on_work != NULL) /* it sweeps */
        e->opt.hooks.on_work(e->opt.hooks.ctx);
}

static vv_status tell(const gathering *g, const char *path, uint64_t id, vv_error *err)
{
    bool remote = lsm_remote_find(&g->e->store, id, NULL);
    const engine_file file = {.path = path, .remote_of = remote ? &g->e->base : NULL};
    return g->each(g->ctx, &file, err);
}

static vv_status note_value(gathering *g, uint64_t id, vv_error *err)
{
    if (g->count == g->cap) {
        size_t cap = g->cap * 2 + 16;
        uint64_t *values = vv_realloc(g->values, cap * sizeof *values);
        if (values == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for %zu value files", cap);
        g->values = values;
        g->cap = cap;
    }
    g->values[g->count++] = id;
    return VV_OK;
}

static vv_status see_record(void *ctx, const lsm_record *record, vv_error *err)
{
    gathering *g = ctx;
    char path[VIO_PATH_MAX];
    vv_status st = VV_OK;
    if (record->edit.checkpoint >= 0)
        g->checkpoint = record->edit.checkpoint;
    for (uint32_t i = 0; st == VV_OK && i < record->edit.add_count; i++) {
        const lsm_meta *meta = &record->edit.add[i];
        vv_slice uses = meta->values;
        lsm_value_use use;
        lsm_run_path(path, g->e->store.dir, meta->id);
        st = tell(g, path, meta->id, err);
        while (st == VV_OK && lsm_value_use_next(&uses, &use))
            st = note_value(g, use.file, err);
    }
    return st;
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static vv_status tell_values(gathering *g, vv_error *err)
{
    char path[VIO_PATH_MAX];
    vv_status st = VV_OK;
    if (g->count > 0)
        qsort(g->values, g->count, sizeof *g->values, by_id);
    for (size_t i = 0; st == VV_OK && i < g->count; i++) {
        if (i > 0 && g->values[i] == g->values[i - 1])
            continue;
        lsm_value_path(path, g->e->store.dir, g->values[i]);
        st = tell(g, path, g->values[i], err);
    }
    return st;
}

static vv_status tell_manifest(const gathering *g, uint64_t number, const vv_buf *image,
                               const char *current, vv_error *err)
{
    char path[VIO_PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/manifest-%012" PRIu64, g->e->store.dir, number);
    vv_status st =
        g->each(g->ctx, &(engine_file){.path = path, .content = vv_buf_slice(image)}, err);
    (void)snprintf(path, sizeof path, "%s/CURRENT", g->e->store.dir);
    if (st == VV_OK)
        st = g->each(g->ctx, &(engine_file){.path = path, .content = vv_slice_str(current)}, err);
    return st;
}

vv_status lsm_list_files(engine *base,
                         vv_status (*each)(void *ctx, const engine_file *file, vv_error *err),
                         void *ctx, int64_t *checkpoint, vv_error *err)
{
    gathering g = {.e = lsm_engine_of(base), .each = each, .ctx = ctx};
    assert(atomic_load(&g.e->store.holds) > 0);
    char current[LSM_CURRENT_MAX] = "";
    lsm_manifest_info info = {0};
    vv_buf image;
    vv_buf_init(&image, LSM_MANIFEST_MAX);
    vv_status st = lsm_manifest_image(&g.e->manifest, &image, current, err);
    if (st == VV_OK)
        st = lsm_manifest_parse(vv_buf_slice(&image), &info, see_record, &g, err);
    if (st == VV_OK)
        st = tell_values(&g, err);
    if (st == VV_OK)
        st = tell_manifest(&g, info.number, &image, current, err);
    if (st == VV_OK)
        *checkpoint = g.checkpoint;
    vv_free(g.values);
    vv_buf_fini(&image);
    return st;
}

vv_status lsm_open_remote(engine *base, const char *path, vio_file **out, vv_error *err)
{
    lsm_engine *e = lsm_engine_of(base);
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    lsm_object object;
    uint64_t id = strlen(name) > 4 ? strtoull(name + 4, NULL, 10) : 0; /* "run-" or "val-" */
    assert(atomic_load(&e->store.holds) > 0);
    if (!lsm_remote_find(&e->store, id, &object))
        return vv_fail(err, VV_NOT_FOUND, "'%s' is in no object", path);
    return lsm_store_open_file(&e->store, object.is_values, id, VIO_READ, out, err);
}
