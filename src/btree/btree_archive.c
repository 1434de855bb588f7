/*
 * btree_archive.c - trees that are kept under a name, and read as they were.
 *
 * An archive is a file with the whole mapping of its moment, and a line in the manifest. Its pages
 * are those of the tree: data files stay while an archive has pages in them. Order of making: the
 * archive's file durable, then the manifest names it; of dropping: the manifest first.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"
#include "base/util.h"
#include "btree/btree_int.h"

bool btree_archives_have(const btree_engine *e, const btree_file *file)
{
    for (uint32_t i = 0; i < e->kept_count; i++)
        if (btree_tree_has_file(e->kept[i].tree, file))
            return true;
    return false;
}

/* ---- opening and closing ---- */

static void add_file(btree_file **all, uint32_t *n, btree_file *file)
{
    uint32_t at = *n;
    while (at > 0 && all[at - 1]->id > file->id)
        at--;
    if (at > 0 && all[at - 1] == file)
        return;
    memmove(all + at + 1, all + at, (*n - at) * sizeof(btree_file *));
    all[at] = file;
    ++*n;
}

/* The open files of all trees there are: archives share what the newest no longer has. */
static vv_status gather_files(const btree_engine *e, const btree_tree *current, btree_file ***out,
                              uint32_t *out_count, vv_error *err)
{
    uint32_t max = current->file_count;
    for (uint32_t i = 0; i < e->kept_count; i++)
        max += e->kept[i].tree->file_count;
    btree_file **all = vv_calloc(max + 1, sizeof(btree_file *));
    if (all == NULL)
        return vv_fail(err, VV_NO_MEMORY, "archives: no memory for %u files", max);
    *out_count = 0;
    for (uint32_t t = 0; t <= e->kept_count; t++) {
        const btree_tree *tree = t == 0 ? current : e->kept[t - 1].tree;
        for (uint32_t i = 0; i < tree->file_count; i++)
            add_file(all, out_count, tree->files[i]);
    }
    *out = all;
    return VV_OK;
}

static vv_status open_one(btree_engine *e, const btree_archive_meta *meta, btree_tree *current,
                          vv_error *err)
{
    btree_state state;
    btree_file **files = NULL;
    uint32_t count = 0;
    btree_state_init(&state, e->opt.budget);
    vv_status st =
        btree_archive_read(e->opt.env, e->store.dir, e->store.shard, meta->id, &state, err);
    if (st == VV_OK && (state.page_size != e->store.page_size || state.shift != e->store.shift))
        st = vv_fail(err, VV_CORRUPT, "its pages are of another size than the store's");
    if (st == VV_OK)
        st = gather_files(e, current, &files, &count, err);
    btree_tree *tree = NULL;
    if (st == VV_OK)
        st = btree_tree_load(&e->store, &state, files, count, &tree, err);
    vv_free(files);
    btree_state_fini(&state);
    if (st != VV_OK)
        return vv_wrap(err, st, "archive '%s'", meta->name);
    e->kept[e->kept_count++] = (btree_kept){*meta, tree};
    return VV_OK;
}

vv_status btree_archives_open(btree_engine *e, btree_tree *current, vv_error *err)
{
    const btree_state *state = &e->manifest.state;
    uint32_t count = btree_archive_count(state);
    vv_status st = VV_OK;
    if (count == 0)
        return VV_OK;
    e->kept = vv_calloc(count, sizeof *e->kept);
    if (e->kept == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %u archives", count);
    for (uint32_t i = 0; st == VV_OK && i < count; i++) {
        const btree_archive_meta *meta = &btree_archives(state)[i];
        st = open_one(e, meta, current, err);
        if (meta->periodic && meta->time_ns > e->archived_ns)
            e->archived_ns = meta->time_ns;
    }
    return st;
}

void btree_archives_close(btree_engine *e)
{
    for (uint32_t i = 0; i < e->kept_count; i++)
        btree_tree_unref(e->kept[i].tree);
    vv_free(e->kept);
    e->kept = NULL;
    e->kept_count = 0;
}

/* ---- changing the list: by who has job_busy, without a job in progress ---- */

static uint32_t find_kept(const btree_engine *e, const char *name)
{
    uint32_t i = 0;
    while (i < e->kept_count && strcmp(e->kept[i].meta.name, name) != 0)
        i++;
    return i;
}

/* The manifest gets the list: all that are kept but `without` (kept_count: none), then more. */
static vv_status commit_list(btree_engine *e, uint32_t without, const btree_archive_meta *more,
                             vv_error *err)
{
    uint32_t count = e->kept_count - (without < e->kept_count) + (more != NULL);
    btree_blob *blob = NULL;
    if (count > 0 && (blob = btree_blob_create(count * sizeof(btree_archive_meta), count)) == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %u archives", count);
    btree_archive_meta *list = blob == NULL ? NULL : (btree_archive_meta *)(void *)blob->bytes;
    uint32_t n = 0;
    for (uint32_t i = 0; list != NULL && i < e->kept_count; i++)
        if (i != without)
            list[n++] = e->kept[i].meta;
    if (list != NULL && more != NULL)
        list[n] = *more;
    btree_state next;
    btree_state_share(&e->manifest.state, &next);
    btree_blob_unref(next.archives);
    next.archives = blob;
    vv_status st = btree_manifest_commit(&e->manifest, &next, err);
    btree_state_fini(&next);
    return st;
}

static vv_status keep_tree(btree_engine *e, const char *name, bool periodic, vv_error *err)
{
    btree_archive_meta meta = {.time_ns = vv_clock_wall(e->opt.env->clock),
                               .version = e->manifest.state.checkpoint,
                               .periodic = periodic};
    (void)snprintf(meta.name, sizeof meta.name, "%s", name);
    btree_kept *grown = vv_alloc((e->kept_count + 1u) * sizeof *grown);
    if (grown == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for an archive");
    vv_status st = btree_manifest_new_id(&e->manifest, &meta.id, err);
    if (st == VV_OK)
        st = btree_archive_write(&e->manifest, meta.id, &e->manifest.state, err);
    VV_POINT("btree.archive.written");
    if (st == VV_OK)
        st = commit_list(e, e->kept_count, &meta, err);
    if (st != VV_OK) { /* its file stays: the manifest may name it, and the next open knows */
        vv_free(grown);
        return st;
    }
    btree_view *view = btree_view_acquire(e);
    vv_mutex_lock(&e->lock);
    if (e->kept_count > 0)
        memcpy(grown, e->kept, e->kept_count * sizeof *grown);
    btree_tree_ref(view->tree);
    grown[e->kept_count] = (btree_kept){meta, view->tree};
    btree_kept *old = e->kept;
    e->kept = grown;
    e->kept_count++;
    vv_mutex_unlock(&e->lock);
    vv_free(old);
    btree_view_release(e, view);
    return VV_OK;
}

static vv_status drop_kept(btree_engine *e, uint32_t i, vv_error *err)
{
    vv_status st = commit_list(e, i, NULL, err);
    if (st != VV_OK)
        return st;
    btree_tree *tree = e->kept[i].tree;
    uint64_t id = e->kept[i].meta.id;
    vv_mutex_lock(&e->lock);
    e->kept_count--;
    memmove(e->kept + i, e->kept + i + 1, (e->kept_count - i) * sizeof *e->kept);
    vv_mutex_unlock(&e->lock);
    btree_view *view = btree_view_acquire(e);
    for (uint32_t f = 0; f < tree->file_count; f++)
        if (!btree_tree_has_file(view->tree, tree->files[f]) && tree->files[f] != e->active.file &&
            !btree_archives_have(e, tree->files[f]))
            atomic_store_explicit(&tree->files[f]->doomed, true, memory_order_relaxed);
    btree_view_release(e, view);
    btree_tree_unref(tree);
    if (atomic_load(&e->store.holds) == 0) /* otherwise the next open removes it */
        btree_archive_remove(e->opt.env, e->store.dir, id);
    return VV_OK;
}

vv_status btree_archive_tick(btree_engine *e, vv_error *err)
{
    int64_t interval = e->opt.archive_interval_ns;
    int64_t now = interval > 0 ? vv_clock_wall(e->opt.env->clock) : 0;
    if (interval <= 0 || now - e->archived_ns < interval)
        return VV_NOT_FOUND;
    uint32_t periodic = 0;
    uint32_t oldest = e->kept_count;
    for (uint32_t i = e->kept_count; i-- > 0;) {
        periodic += e->kept[i].meta.periodic;
        oldest = e->kept[i].meta.periodic ? i : oldest;
    }
    bool full = e->kept_count >= BTREE_ARCHIVES_MAX;
    if (periodic > 0 &&
        (full || periodic >= e->opt.archives_max)) /* one goes for each that comes */
        return drop_kept(e, oldest, err);
    if (full || e->opt.archives_max == 0) { /* named ones alone: the next interval asks again */
        e->archived_ns = now;
        vv_log_to(e->opt.env->log, VV_LOG_WARN, "btree", "no periodic archive: there are too many",
                  VV_KV_S("dir", e->store.dir), VV_KV_U("archives", e->kept_count));
        return VV_NOT_FOUND;
    }
    char name[BTREE_ARCHIVE_NAME_MAX];
    (void)snprintf(name, sizeof name, "periodic-%lld", (long long)now);
    vv_status st = keep_tree(e, name, true, err);
    if (st == VV_OK)
        e->archived_ns = now;
    return st;
}

/* ---- the door ---- */

static vv_status enter(btree_engine *e, vv_error *err)
{
    if (e->opt.read_only)
        return vv_fail(err, VV_INVALID, "the store was opened for reading only");
    vv_mutex_lock(&e->lock);
    bool busy = e->job_busy || e->job != NULL;
    if (!busy)
        e->job_busy = true;
    vv_mutex_unlock(&e->lock);
    return busy ? vv_fail(err, VV_BUSY, "background work is under way: let it end and try again")
                : VV_OK;
}

static void leave(btree_engine *e)
{
    vv_mutex_lock(&e->lock);
    e->job_busy = false;
    vv_mutex_unlock(&e->lock);
    if (e->opt.hooks.on_work != NULL)
        e->opt.hooks.on_work(e->opt.hooks.ctx); /* who came meanwhile was sent away */
}

vv_status btree_archive_create(engine *base, const char *name, vv_error *err)
{
    btree_engine *e = btree_engine_of(base);
    size_t len = name == NULL ? 0 : strlen(name);
    if (len == 0 || len >= BTREE_ARCHIVE_NAME_MAX)
        return vv_fail(err, VV_INVALID, "archive: a name has 1 to %u bytes",
                       BTREE_ARCHIVE_NAME_MAX - 1);
    vv_status st = enter(e, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "archive '%s'", name);
    if (find_kept(e, name) < e->kept_count)
        st = vv_fail(err, VV_CONFLICT, "there is one of that name");
    else if (e->kept_count >= BTREE_ARCHIVES_MAX)
        st = vv_fail(err, VV_INVALID, "there are %u already: drop one", e->kept_count);
    else
        st = keep_tree(e, name, false, err);
    leave(e);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "archive '%s'", name);
}

vv_status btree_archive_drop(engine *base, const char *name, vv_error *err)
{
    btree_engine *e = btree_engine_of(base);
    vv_status st = enter(e, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "archive '%s'", name);
    uint32_t i = find_kept(e, name);
    st = i < e->kept_count ? drop_kept(e, i, err)
                           : vv_fail(err, VV_NOT_FOUND, "there is none of that name");
    leave(e);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "archive '%s'", name);
}

void btree_archive_list(engine *base, void (*each)(void *ctx, const btree_archive_info *info),
                        void *ctx)
{
    btree_engine *e = btree_engine_of(base);
    for (uint32_t i = 0;; i++) {
        btree_archive_info info = {0};
        vv_mutex_lock(&e->lock);
        bool there = i < e->kept_count;
        if (there) {
            const btree_archive_meta *m = &e->kept[i].meta;
            info.version = m->version;
            info.time_ns = m->time_ns;
            info.periodic = m->periodic;
            memcpy(info.name, m->name, sizeof info.name);
        }
        vv_mutex_unlock(&e->lock);
        if (!there)
            return;
        each(ctx, &info);
    }
}

static void release_tree(void *tree)
{
    btree_tree_unref(tree);
}

vv_status btree_archive_cursor(engine *base, const char *name, const engine_cursor_options *opt,
                               engine_cursor **out, vv_error *err)
{
    btree_engine *e = btree_engine_of(base);
    btree_tree *tree = NULL;
    engine_cursor_options at = *opt;
    vv_mutex_lock(&e->lock);
    uint32_t i = find_kept(e, name);
    if (i < e->kept_count) {
        tree = e->kept[i].tree;
        btree_tree_ref(tree);
        at.read.version = e->kept[i].meta.version;
    }
    vv_mutex_unlock(&e->lock);
    if (tree == NULL)
        return vv_fail(err, VV_NOT_FOUND, "there is no archive '%s'", name);
    engine_source *source = NULL;
    vv_status st = btree_source_create(tree, false, false, &source, err);
    if (st == VV_OK)
        st = engine_cursor_create(&source, 1, &at, release_tree, tree, out, err);
    if (st != VV_OK)
        btree_tree_unref(tree);
    return st;
}
