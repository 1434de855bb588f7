/*
 * btree_files.c - the files of a tree's state, for checkpoints and backups.
 *
 * A data file is appended to by the process that began it and by no other: a place is written once,
 * and an open begins a file of its own. So a link to it is as good as a copy, even to the one that
 * is appended to now: what the state refers to is there, durable, and never written again. The
 * manifest's bytes are made anew from the state, as an open makes them.
 *
 * A hold stops btree_store_sweep, which removes what left the manifest. It is taken before the
 * manifest is read: what the manifest names then is in no trash yet, and stays until the release.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "btree/btree_int.h"

typedef struct gathering {
    btree_engine *e;
    uint64_t *ids; /* of data files, ascending once sorted */
    size_t count, cap;
} gathering;

typedef struct teller {
    const char *dir;
    vv_status (*each)(void *ctx, const engine_file *file, vv_error *err);
    void *ctx;
} teller;

void btree_hold_files(engine *base)
{
    (void)atomic_fetch_add(&btree_engine_of(base)->store.holds, 1);
}

void btree_release_files(engine *base)
{
    btree_engine *e = btree_engine_of(base);
    uint32_t before = atomic_fetch_sub(&e->store.holds, 1);
    assert(before > 0);
    if (before == 1 && e->opt.hooks.on_work != NULL) /* it sweeps */
        e->opt.hooks.on_work(e->opt.hooks.ctx);
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void make_unique(gathering *g)
{
    size_t kept = 0;
    if (g->count > 0)
        qsort(g->ids, g->count, sizeof *g->ids, by_id);
    for (size_t i = 0; i < g->count; i++)
        if (kept == 0 || g->ids[kept - 1] != g->ids[i])
            g->ids[kept++] = g->ids[i];
    g->count = kept;
}

/* Pages of one file mostly come in a row; what repeats otherwise goes when there is no room. */
static vv_status see_page(void *ctx, uint32_t id, btree_place place)
{
    gathering *g = ctx;
    (void)id;
    uint64_t file = btree_store_file_of(&g->e->store, place.at);
    if (g->count > 0 && g->ids[g->count - 1] == file)
        return VV_OK;
    if (g->count == g->cap)
        make_unique(g);
    if (g->count * 2 >= g->cap) {
        size_t cap = g->cap * 2 + 64;
        uint64_t *ids = vv_realloc(g->ids, cap * sizeof *ids);
        if (ids == NULL)
            return VV_NO_MEMORY;
        g->ids = ids;
        g->cap = cap;
    }
    g->ids[g->count++] = file;
    return VV_OK;
}

static vv_status gather(gathering *g, const btree_state *state, vv_error *err)
{
    vv_status st = btree_map_diff(NULL, &state->map, see_page, g);
    return st == VV_OK ? VV_OK : vv_fail(err, st, "no memory to list data files");
}

static vv_status tell(const teller *t, const char *name, uint64_t number, vv_slice content,
                      vv_error *err)
{
    char path[VIO_PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%s-%012" PRIu64, t->dir, name, number);
    return t->each(t->ctx, &(engine_file){.path = path, .content = content}, err);
}

static vv_status gather_archives(gathering *g, const btree_state *state, const teller *t,
                                 vv_error *err)
{
    btree_engine *e = g->e;
    vv_status st = VV_OK;
    for (uint32_t i = 0; st == VV_OK && i < btree_archive_count(state); i++) {
        btree_state kept;
        btree_state_init(&kept, e->opt.budget);
        uint64_t id = btree_archives(state)[i].id;
        st = btree_archive_read(e->opt.env, e->store.dir, e->store.shard, id, &kept, err);
        if (st == VV_OK)
            st = gather(g, &kept, err);
        if (st == VV_OK)
            st = tell(t, "archive", id, (vv_slice){0}, err);
        btree_state_fini(&kept);
    }
    return st;
}

vv_status btree_list_files(engine *base,
                           vv_status (*each)(void *ctx, const engine_file *file, vv_error *err),
                           void *ctx, int64_t *checkpoint, vv_error *err)
{
    gathering g = {.e = btree_engine_of(base)};
    assert(atomic_load(&g.e->store.holds) > 0);
    teller t = {g.e->store.dir, each, ctx};
    char current[BTREE_CURRENT_MAX] = "";
    uint64_t number = 0;
    btree_state state;
    vv_buf image;
    vv_buf_init(&image, BTREE_MANIFEST_MAX);
    vv_status st = btree_manifest_image(&g.e->manifest, &image, current, &number, &state, err);
    if (st != VV_OK) {
        vv_buf_fini(&image);
        return st;
    }
    st = gather(&g, &state, err);
    if (st == VV_OK)
        st = gather_archives(&g, &state, &t, err);
    make_unique(&g);
    for (size_t i = 0; st == VV_OK && i < g.count; i++)
        st = tell(&t, "data", g.ids[i], (vv_slice){0}, err);
    if (st == VV_OK)
        st = tell(&t, "manifest", number, vv_buf_slice(&image), err);
    char path[VIO_PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/CURRENT", g.e->store.dir);
    if (st == VV_OK)
        st = each(ctx, &(engine_file){.path = path, .content = vv_slice_str(current)}, err);
    if (st == VV_OK)
        *checkpoint = state.checkpoint;
    btree_state_fini(&state);
    vv_free(g.ids);
    vv_buf_fini(&image);
    return st;
}
