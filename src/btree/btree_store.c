/*
 * btree_store.c - data files and the way of a page from the disk into a frame.
 *
 * Reading takes no lock of ours: the file handle is shared, the buffer is the reader's. A page is
 * verified against its own sum and against the low half that the mapping keeps, so a page that
 * was never written, written elsewhere or written by another history does not pass.
 */
#include "btree/btree_store.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/epoch.h"
#include "base/error.h"
#include "base/log.h"
#include "base/point.h"
#include "base/util.h"

vv_status btree_store_init(btree_store *s, vv_env *env, const char *dir, uint32_t shard,
                           uint64_t cache_size, vv_budget *budget, vv_error *err)
{
    memset(s, 0, sizeof *s);
    s->env = env;
    s->shard = shard;
    s->budget = budget;
    int n = snprintf(s->dir, sizeof s->dir, "%s", dir);
    if (n < 0 || (size_t)n > sizeof s->dir - 40)
        return vv_fail(err, VV_INVALID, "directory '%.60s...': the path is too long", dir);
    vv_status st = pgc_cache_create(cache_size, budget, &s->cache, err);
    if (st == VV_OK)
        vv_mutex_init(&s->lock, VV_RANK_LEAF);
    return st;
}

void btree_store_fini(btree_store *s)
{
    if (s->cache == NULL)
        return;
    vv_epoch_drain();
    (void)btree_store_sweep(s);
    pgc_cache_destroy(s->cache);
    for (size_t i = 0; i < ARRAY_LEN(s->idle); i++)
        vv_free(s->idle[i]);
    for (size_t i = 0; i < ARRAY_LEN(s->codecs); i++)
        codec_dict_ctx_destroy(s->codecs[i]);
    codec_dict_destroy(atomic_load(&s->dict));
    btree_blob_unref(s->dict_bytes);
    vv_mutex_fini(&s->lock);
    s->cache = NULL;
}

/* ---- page buffers ---- */

vv_status btree_store_take_page(btree_store *s, uint8_t **out, vv_error *err)
{
    uint8_t *page = NULL;
    vv_mutex_lock(&s->lock);
    for (size_t i = 0; page == NULL && i < ARRAY_LEN(s->idle); i++) {
        page = s->idle[i];
        s->idle[i] = NULL;
    }
    vv_mutex_unlock(&s->lock);
    if (page == NULL)
        page = vv_alloc_aligned(VV_BLOCK, vv_align_up(s->page_size, VV_BLOCK));
    if (page == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a page");
    *out = page;
    return VV_OK;
}

void btree_store_give_page(btree_store *s, uint8_t *page)
{
    if (page == NULL)
        return;
    vv_mutex_lock(&s->lock);
    for (size_t i = 0; page != NULL && i < ARRAY_LEN(s->idle); i++) {
        if (s->idle[i] == NULL) {
            s->idle[i] = page;
            page = NULL;
        }
    }
    vv_mutex_unlock(&s->lock);
    vv_free(page);
}

/* ---- files ---- */

void btree_file_path(char out[VIO_PATH_MAX], const char *dir, uint64_t id)
{
    (void)snprintf(out, VIO_PATH_MAX, "%s%sdata-%012" PRIu64, dir, dir[0] == '\0' ? "" : "/", id);
}

static void destroy_file(btree_file *f)
{
    pgc_file_destroy(f->pages);
    vio_close(f->file);
    vv_free(f);
}

/* The writer has a handle of its own: the one of the store only reads. */
static vv_status make_file(btree_store *s, const char *path, vv_error *err)
{
    vio_file *file = NULL;
    vv_status st = vio_open(s->env->io, path, VIO_WRITE | VIO_CREATE | VIO_EXCL, &file, err);
    if (st == VV_OK)
        vio_close(file);
    return st;
}

vv_status btree_file_open(btree_store *s, uint64_t id, bool create, btree_file **out, vv_error *err)
{
    char path[VIO_PATH_MAX];
    btree_file_path(path, s->dir, id);
    btree_file *f = vv_calloc(1, sizeof *f);
    if (f == NULL)
        return vv_fail(err, VV_NO_MEMORY, "'%s': no memory", path);
    atomic_init(&f->refs, 1);
    f->store = s;
    f->id = id;
    vv_status st = pgc_file_create(s->cache, UINT32_C(1) << s->shift, &f->pages, err);
    if (st == VV_OK) {
        if (create)
            st = make_file(s, path, err);
        bool made = create && st == VV_OK;
        if (st == VV_OK)
            st = vio_open(s->env->io, path, VIO_READ | VIO_IDLE, &f->file, err);
        if (st == VV_NOT_FOUND)
            st = vv_fail(err, VV_CORRUPT, "'%s' is missing, but the tree has pages in it", path);
        if (st != VV_OK && made)
            (void)!vio_remove(s->env->io, path, NULL); /* else the next open removes it */
    }
    if (st != VV_OK) {
        destroy_file(f);
        return st;
    }
    *out = f;
    return VV_OK;
}

void btree_file_unref(btree_file *f)
{
    if (f == NULL || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) > 1)
        return;
    btree_store *s = f->store;
    btree_file *head = atomic_load_explicit(&s->trash, memory_order_relaxed);
    do
        f->trash_next = head;
    while (!atomic_compare_exchange_weak_explicit(&s->trash, &head, f, memory_order_release,
                                                  memory_order_relaxed));
}

unsigned btree_store_sweep(btree_store *s)
{
    unsigned count = 0;
    if (atomic_load(&s->holds) > 0)
        return 0;
    btree_file *f = atomic_exchange_explicit(&s->trash, NULL, memory_order_acquire);
    while (f != NULL) {
        btree_file *next = f->trash_next;
        bool doomed = atomic_load_explicit(&f->doomed, memory_order_relaxed);
        char path[VIO_PATH_MAX];
        btree_file_path(path, s->dir, f->id);
        destroy_file(f);
        /* One that cannot be removed now is an orphan, which the next open removes. */
        if (doomed && vio_remove(s->env->io, path, NULL) != VV_OK)
            vv_log_to(s->env->log, VV_LOG_WARN, "btree", "could not remove an obsolete data file",
                      VV_KV_S("path", path));
        VV_POINT("btree.file.removed");
        f = next;
        count++;
    }
    return count;
}

btree_file *btree_store_find_file(const btree_store *s, btree_file *const *files, uint32_t count,
                                  uint64_t at)
{
    uint64_t id = btree_store_file_of(s, at);
    uint32_t lo = 0;
    uint32_t hi = at == BTREE_NOWHERE ? 0 : count;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (files[mid]->id == id)
            return files[mid];
        if (files[mid]->id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

/* ---- pages ---- */

static vv_status verify(const btree_store *s, const uint8_t *raw, uint32_t sum, vv_error *err)
{
    vv_status st = VV_OK;
    if (!VV_BUG(42))
        st = btree_page_verify(raw, s->page_size, err);
    if (st == VV_OK && (uint32_t)btree_page_stored_sum(raw) != sum && !VV_BUG(43))
        st = vv_fail(err, VV_CORRUPT, "another page lies there: its sum is %08x, not %08x",
                     (uint32_t)btree_page_stored_sum(raw), sum);
    return st;
}

vv_status btree_store_load_leaf(btree_store *s, const btree_file *file, uint32_t page, uint32_t sum,
                                const uint8_t *raw, pgc_frame **out, vv_error *err)
{
    vv_status st = verify(s, raw, sum, err);
    if (st == VV_OK)
        st = btree_leaf_load(raw, s->page_size, s->cache, out, err);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "data file %" PRIu64 ", page %u", file->id, page);
}

vv_status btree_store_read(btree_store *s, btree_file *file, uint32_t page, uint32_t sum,
                           uint8_t *out, vv_error *err)
{
    vv_status st =
        vio_pread_full(file->file, (uint64_t)page * s->page_size, out, s->page_size, err);
    if (st == VV_OK)
        st = verify(s, out, sum, err);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "data file %" PRIu64 ", page %u", file->id, page);
}

vv_status btree_store_read_id(btree_store *s, const btree_map *map, btree_file *const *files,
                              uint32_t count, uint32_t id, uint8_t *out, vv_error *err)
{
    btree_place place = btree_map_get(map, id);
    btree_file *file = btree_store_find_file(s, files, count, place.at);
    if (file == NULL)
        return vv_fail(err, VV_CORRUPT, "page %u: the mapping has no place for it", id);
    return btree_store_read(s, file, btree_store_page_of(s, place.at), place.sum, out, err);
}

static vv_status load_leaf(btree_store *s, btree_file *file, uint32_t page, uint32_t sum,
                           pgc_frame **out, vv_error *err)
{
    uint8_t *raw = NULL;
    vv_status st = btree_store_take_page(s, &raw, err);
    if (st != VV_OK)
        return st;
    st = btree_store_read(s, file, page, sum, raw, err);
    if (st == VV_OK) {
        st = btree_leaf_load(raw, s->page_size, s->cache, out, err);
        if (st != VV_OK)
            (void)vv_wrap(err, st, "data file %" PRIu64 ", page %u", file->id, page);
    }
    btree_store_give_page(s, raw);
    return st;
}

static pgc_frame *find_frame(btree_file *file, uint32_t page)
{
    vv_epoch_enter();
    pgc_frame *frame = pgc_lookup(file->pages, page);
    if (frame != NULL)
        pgc_pin(frame);
    vv_epoch_exit();
    return frame;
}

vv_status btree_store_get_leaf(btree_store *s, btree_file *file, uint32_t page, uint32_t sum,
                               pgc_frame **out, vv_error *err)
{
    pgc_counter *counter = pgc_my_counter(pgc_cache_counters(s->cache));
    *out = find_frame(file, page);
    if (*out != NULL) {
        pgc_count(&counter->hits);
        return VV_OK;
    }
    pgc_count(&counter->misses);
    vv_status st = load_leaf(s, file, page, sum, out, err);
    if (st == VV_OK)
        pgc_publish(file->pages, page, *out);
    return st;
}

vv_status btree_store_scan_leaf(btree_store *s, btree_file *file, uint32_t page, uint32_t sum,
                                pgc_frame **out, vv_error *err)
{
    *out = find_frame(file, page);
    return *out != NULL ? VV_OK : load_leaf(s, file, page, sum, out, err);
}
