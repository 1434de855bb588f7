/*
 * lsm_run_reader.c - opening a run.
 *
 * Everything in a file may be damaged or hostile: each length is checked against the file before
 * memory is taken for it, and sums are checked before bytes are believed. Blocks: lsm_run_block.c.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/epoch.h"
#include "base/error.h"
#include "base/point.h"
#include "base/util.h"
#include "base/varint.h"
#include "lsm/lsm_filter.h"
#include "lsm/lsm_remote.h"
#include "lsm/lsm_run_format.h"
#include "lsm/lsm_value.h"

void lsm_meta_fini(lsm_meta *meta)
{
    vv_free(meta->bounds);
    *meta = (lsm_meta){0};
}

vv_status lsm_meta_copy(const lsm_meta *from, lsm_meta *out, vv_error *err)
{
    size_t both = from->lower.len + from->upper.len;
    uint8_t *bounds = vv_alloc(both + from->values.len);
    if (bounds == NULL)
        return vv_fail(err, VV_NO_MEMORY, "run %" PRIu64 ": no memory for its bounds", from->id);
    if (from->lower.len > 0)
        memcpy(bounds, from->lower.data, from->lower.len);
    if (from->upper.len > 0)
        memcpy(bounds + from->lower.len, from->upper.data, from->upper.len);
    if (from->values.len > 0)
        memcpy(bounds + both, from->values.data, from->values.len);
    *out = *from;
    out->bounds = bounds;
    out->lower = vv_slice_of(bounds, from->lower.len);
    out->upper = vv_slice_of(bounds + from->lower.len, from->upper.len);
    out->values = vv_slice_of(bounds + both, from->values.len);
    return VV_OK;
}

static void release_memory(lsm_run *run)
{
    vv_budget_release(run->store->budget, VV_BUDGET_INDEX, run->memory);
    atomic_fetch_sub_explicit(&run->store->index_bytes, run->memory, memory_order_relaxed);
}

static void count_memory(lsm_run *run)
{
    run->memory = sizeof *run + run->fence.memory +
                  run->block_count * (sizeof *run->place + sizeof *run->codec) +
                  (uint64_t)run->filter_lines * LSM_FILTER_LINE + run->meta.lower.len +
                  run->meta.upper.len +
                  (run->dict == NULL ? 0 : codec_block_dict_memory(run->dict));
    vv_budget_take(run->store->budget, VV_BUDGET_INDEX, run->memory);
    atomic_fetch_add_explicit(&run->store->index_bytes, run->memory, memory_order_relaxed);
}

/* Nobody can reach it any more. */
static void destroy_run(lsm_run *run)
{
    if (run == NULL)
        return;
    release_memory(run);
    if (run->holds_values)
        lsm_value_release(run->store, run->meta.values,
                          atomic_load_explicit(&run->doomed, memory_order_relaxed));
    pgc_file_destroy(run->pages);
    engine_rangedels_unref(run->rangedels);
    lsm_fence_fini(&run->fence);
    vio_close(run->file);
    lsm_meta_fini(&run->meta);
    vv_free(run->place);
    vv_free(run->codec);
    codec_block_dict_unref(run->dict);
    vv_free(run->filter);
    vv_free(run);
}

void lsm_run_unref(lsm_run *run)
{
    if (run == NULL || atomic_fetch_sub_explicit(&run->refs, 1, memory_order_acq_rel) > 1)
        return;
    lsm_store *store = run->store;
    lsm_run *head = atomic_load_explicit(&store->trash, memory_order_relaxed);
    do
        run->trash_next = head;
    while (!atomic_compare_exchange_weak_explicit(&store->trash, &head, run, memory_order_release,
                                                  memory_order_relaxed));
}

/* ---- the world of a shard's runs ---- */

vv_status lsm_store_init(lsm_store *s, vv_env *env, const char *dir, uint32_t shard,
                         uint64_t cache_size, vv_budget *budget, vv_error *err)
{
    memset(s, 0, sizeof *s);
    s->env = env;
    s->shard = shard;
    s->budget = budget;
    int n = snprintf(s->dir, sizeof s->dir, "%s", dir);
    if (n < 0 || (size_t)n > sizeof s->dir - 32)
        return vv_fail(err, VV_INVALID, "directory '%.60s...': the path is too long", dir);
    vv_status st = pgc_cache_create(cache_size, budget, &s->cache, err);
    if (st == VV_OK)
        vv_mutex_init(&s->codec_lock, VV_RANK_LEAF);
    if (st == VV_OK)
        vv_mutex_init(&s->value_lock, VV_RANK_LEAF);
    return st;
}

void lsm_store_fini(lsm_store *s)
{
    if (s->cache == NULL)
        return;
    s->is_closing = true;
    vv_epoch_drain(); /* views that wait for readers hold runs */
    (void)lsm_store_sweep(s);
    pgc_cache_destroy(s->cache);
    for (size_t i = 0; i < ARRAY_LEN(s->codecs); i++)
        codec_block_ctx_destroy(s->codecs[i]);
    vv_mutex_fini(&s->codec_lock);
    vv_mutex_fini(&s->value_lock);
    lsm_remote_fini(s);
    s->cache = NULL;
}

unsigned lsm_store_sweep(lsm_store *s)
{
    unsigned count = 0;
    if (atomic_load(&s->holds) > 0)
        return 0;
    lsm_run *run = atomic_exchange_explicit(&s->trash, NULL, memory_order_acquire);
    while (run != NULL) {
        lsm_run *next = run->trash_next;
        /* The object of a remote one goes when the tier finds that nothing names it. */
        bool doomed = atomic_load_explicit(&run->doomed, memory_order_relaxed) && !run->is_remote;
        char path[VIO_PATH_MAX];
        lsm_run_path(path, s->dir, run->meta.id);
        destroy_run(run);
        /* One that cannot be removed now is an orphan, which the next open removes. */
        if (doomed && vio_remove(s->env->io, path, NULL) != VV_OK)
            vv_log_to(s->env->log, VV_LOG_WARN, "lsm", "could not remove an obsolete run",
                      VV_KV_S("path", path));
        VV_POINT("lsm.run.removed");
        run = next;
        count++;
    }
    return count;
}

vv_status lsm_store_take_codec(lsm_store *s, codec_block_ctx **out, vv_error *err)
{
    codec_block_ctx *ctx = NULL;
    vv_mutex_lock(&s->codec_lock);
    for (size_t i = 0; ctx == NULL && i < ARRAY_LEN(s->codecs); i++) {
        ctx = s->codecs[i];
        s->codecs[i] = NULL;
    }
    vv_mutex_unlock(&s->codec_lock);
    if (ctx == NULL)
        return codec_block_ctx_create(out, err);
    *out = ctx;
    return VV_OK;
}

void lsm_store_give_codec(lsm_store *s, codec_block_ctx *ctx)
{
    if (ctx == NULL)
        return;
    vv_mutex_lock(&s->codec_lock);
    for (size_t i = 0; ctx != NULL && i < ARRAY_LEN(s->codecs); i++) {
        if (s->codecs[i] == NULL) {
            s->codecs[i] = ctx;
            ctx = NULL;
        }
    }
    vv_mutex_unlock(&s->codec_lock);
    codec_block_ctx_destroy(ctx);
}

/* ---- opening ---- */

typedef struct section_place {
    uint64_t offset;
    uint64_t len;
    uint64_t sum;
} section_place;

static section_place section_at(const uint8_t *footer, lsm_section section)
{
    const uint8_t *at = footer + lsm_section_at(section);
    return (section_place){vv_get_le64(at), vv_get_le64(at + 8), vv_get_le64(at + 16)};
}

static bool is_zero(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != 0)
            return false;
    return true;
}

static vv_status check_footer(const uint8_t *f, uint64_t id, uint64_t file_size, vv_error *err)
{
    if (memcmp(f + FOOT_MAGIC, LSM_RUN_MAGIC, 8) != 0)
        return vv_fail(err, VV_CORRUPT, "no run: the footer does not begin with '%s'",
                       LSM_RUN_MAGIC);
    if (vv_get_le64(f + FOOT_SUM) != lsm_footer_sum(f, id))
        return vv_fail(err, VV_CORRUPT, "footer: its sum does not match");
    uint32_t format = vv_get_le32(f + FOOT_FORMAT);
    if (format != LSM_RUN_FORMAT)
        return vv_fail(err, VV_UNSUPPORTED,
                       "format version %u, this build reads version %u: use the version of varve "
                       "that wrote it",
                       format, LSM_RUN_FORMAT);
    uint32_t unknown = vv_get_le32(f + FOOT_FEATURES) & ~(uint32_t)LSM_FEATURES_KNOWN;
    if (unknown != 0)
        return vv_fail(err, VV_UNSUPPORTED,
                       "feature bits %#x, which this build does not know: use the version of "
                       "varve that wrote it",
                       unknown);
    if (!is_zero(f + FOOT_KEY_ID, FOOT_ID - FOOT_KEY_ID))
        return vv_fail(err, VV_UNSUPPORTED, "encrypted, which this version cannot read");
    if (vv_get_le64(f + FOOT_ID) != id)
        return vv_fail(err, VV_CORRUPT, "footer: it belongs to run %" PRIu64,
                       vv_get_le64(f + FOOT_ID));
    uint32_t lower = vv_get_le16(f + FOOT_LOWER_LEN);
    uint32_t upper = vv_get_le16(f + FOOT_UPPER_LEN);
    if (lower > LSM_BOUND_MAX || upper > LSM_BOUND_MAX ||
        vv_slice_cmp(vv_slice_of(f + FOOT_BOUNDS, lower),
                     vv_slice_of(f + FOOT_BOUNDS + lower, upper)) >= 0 ||
        vv_get_le32(f + FOOT_LEVEL) >= LSM_LEVELS)
        return vv_fail(err, VV_CORRUPT, "footer: its bounds or level make no sense");
    bool has_dictionary = (vv_get_le32(f + FOOT_FEATURES) & LSM_FEATURE_DICTIONARY) != 0;
    for (unsigned i = 0; i < LSM_SECTIONS + (has_dictionary ? 1u : 0u); i++) {
        section_place s = section_at(f, (lsm_section)i);
        if (s.offset > file_size || s.len > file_size - s.offset || s.len > LSM_SECTION_MAX)
            return vv_fail(err, VV_CORRUPT, "footer: section %u lies outside of the file", i);
    }
    return VV_OK;
}

static void meta_of_footer(const uint8_t *f, uint64_t file_size, lsm_meta *meta)
{
    size_t lower = vv_get_le16(f + FOOT_LOWER_LEN);
    *meta = (lsm_meta){
        .id = vv_get_le64(f + FOOT_ID),
        .level = vv_get_le32(f + FOOT_LEVEL),
        .table_count = vv_get_le32(f + FOOT_TABLES),
        .group = vv_get_le64(f + FOOT_GROUP),
        .size = file_size,
        .footer_sum = vv_get_le64(f + FOOT_SUM),
        .entries = vv_get_le64(f + FOOT_ENTRIES),
        .deletes = vv_get_le64(f + FOOT_DELETES),
        .ranges = vv_get_le64(f + FOOT_RANGES),
        .raw_bytes = vv_get_le64(f + FOOT_RAW),
        .version_min = (int64_t)vv_get_le64(f + FOOT_VERSION_MIN),
        .version_max = (int64_t)vv_get_le64(f + FOOT_VERSION_MAX),
        .merge_time = INT64_MAX,
        .lower = vv_slice_of(f + FOOT_BOUNDS, lower),
        .upper = vv_slice_of(f + FOOT_BOUNDS + lower, vv_get_le16(f + FOOT_UPPER_LEN)),
    };
    if ((vv_get_le32(f + FOOT_FEATURES) & LSM_FEATURE_MERGES) != 0) {
        meta->merges = vv_get_le64(f + FOOT_MERGES);
        meta->merge_time = (int64_t)vv_get_le64(f + FOOT_MERGE_TIME);
    }
}

static vv_status read_section(lsm_run *run, const uint8_t *footer, lsm_section section,
                              uint8_t **out, size_t *out_len, vv_error *err)
{
    static const char *const names[] = {"index", "ranges", "properties", "filter", "dictionary"};
    section_place s = section_at(footer, section);
    uint8_t *p = vv_alloc_aligned(LSM_FILTER_LINE, s.len);
    if (p == NULL)
        return vv_fail(err, VV_NO_MEMORY, "%s: no memory for %" PRIu64 " bytes", names[section],
                       s.len);
    vv_status st = vio_pread_full(run->file, s.offset, p, s.len, err);
    if (st == VV_OK && lsm_section_sum(p, s.len, run->meta.id, section) != s.sum)
        st = vv_fail(err, VV_CORRUPT, "its sum does not match");
    if (st != VV_OK) {
        vv_free(p);
        return vv_wrap(err, st, "%s", names[section]);
    }
    *out = p;
    *out_len = (size_t)s.len;
    return VV_OK;
}

static vv_status check_place(const lsm_run *run, uint32_t block, const uint8_t *at,
                             uint64_t *data_end, vv_error *err)
{
    uint64_t offset = (vv_get_le64(at) & UINT64_C(0xffffffffff)) * VV_SECTOR;
    uint64_t len = vv_get_le32(at + 5) & 0xffffff;
    bool with_sum = (run->features & LSM_FEATURE_STORED_SUM) != 0;
    uint64_t len_min = with_sum && at[8] != CODEC_NONE ? LSM_STORED_HEAD : LSM_COMPRESSED_HEAD;
    if (offset < *data_end || len < len_min || offset > run->meta.size ||
        len > run->meta.size - offset)
        return vv_fail(err, VV_CORRUPT, "index: block %u lies at %" PRIu64 ", %" PRIu64 " bytes",
                       block, offset, len);
    bool in_dictionary =
        at[8] == LSM_CODEC_DICTIONARY && (run->features & LSM_FEATURE_DICTIONARY) != 0;
    if (!codec_kind_is_known(at[8]) && !in_dictionary)
        return vv_fail(err, VV_UNSUPPORTED,
                       "block %u: codec %u is not known here: written by a newer version?", block,
                       at[8]);
    *data_end = offset + len;
    return VV_OK;
}

static vv_status load_places(lsm_run *run, const uint8_t *p, vv_error *err)
{
    size_t n = run->block_count;
    run->place = vv_alloc(n * sizeof *run->place);
    run->codec = vv_alloc(n);
    if (run->place == NULL || run->codec == NULL)
        return vv_fail(err, VV_NO_MEMORY, "index: no memory for %zu blocks", n);
    for (uint32_t i = 0; i < n; i++, p += LSM_INDEX_BLOCK_SIZE) {
        vv_status st = check_place(run, i, p, &run->data_size, err);
        if (st != VV_OK)
            return st;
        run->place[i] =
            (vv_get_le64(p) & UINT64_C(0xffffffffff)) << 24 | (vv_get_le32(p + 5) & 0xffffff);
        run->codec[i] = p[8];
    }
    return VV_OK;
}

/* One separator: shared with the one before, own length, [version], bytes. key is rebuilt in it. */
static const uint8_t *decode_separator(const uint8_t *p, const uint8_t *end, uint8_t *key,
                                       size_t *key_len, int64_t *version)
{
    uint64_t shared = 0;
    uint64_t own = 0;
    p = vv_varint_get(p, end, &shared);
    if (p == NULL)
        return NULL;
    p = vv_varint_get(p, end, &own);
    if (p == NULL)
        return NULL;
    bool versioned = (shared & 1) != 0;
    shared >>= 1;
    *version = INT64_MAX;
    if (versioned) {
        if (end - p < 8)
            return NULL;
        *version = (int64_t)vv_get_le64(p);
        p += 8;
    }
    if (shared > *key_len || own > ENGINE_KEY_MAX || shared + own > ENGINE_KEY_MAX ||
        (uint64_t)(end - p) < own)
        return NULL;
    memcpy(key + shared, p, own);
    *key_len = (size_t)(shared + own);
    return p + own;
}

static vv_status load_separators(lsm_run *run, const uint8_t *p, const uint8_t *end, vv_error *err)
{
    lsm_fence_builder b;
    lsm_fence_builder_init(&b);
    uint8_t key[ENGINE_KEY_MAX];
    uint8_t before[ENGINE_KEY_MAX];
    size_t key_len = 0;
    size_t before_len = 0;
    int64_t version = 0;
    int64_t before_version = 0;
    vv_status st = VV_OK;
    for (uint32_t i = 0; st == VV_OK && i < run->block_count; i++) {
        p = decode_separator(p, end, key, &key_len, &version);
        int c = p == NULL || i == 0
                    ? 1
                    : vv_slice_cmp(vv_slice_of(key, key_len), vv_slice_of(before, before_len));
        if (p == NULL || c < 0 || (c == 0 && version >= before_version)) {
            st = vv_fail(err, VV_CORRUPT, "index: separator %u is broken or out of order", i);
            break;
        }
        lsm_fence_builder_add(&b, vv_slice_of(key, key_len), version);
        memcpy(before, key, key_len);
        before_len = key_len;
        before_version = version;
    }
    if (st == VV_OK && p != end)
        st = vv_fail(err, VV_CORRUPT, "index: bytes behind the last separator");
    if (st == VV_OK)
        st = lsm_fence_build(&b, &run->fence, err);
    lsm_fence_builder_fini(&b);
    return st;
}

static vv_status load_index(lsm_run *run, const uint8_t *footer, vv_error *err)
{
    uint8_t *p = NULL;
    size_t len = 0;
    vv_status st = read_section(run, footer, LSM_SECTION_INDEX, &p, &len, err);
    if (st != VV_OK)
        return st;
    uint64_t count = len < 4 ? 0 : vv_get_le32(p);
    if (len < 4 || count != vv_get_le32(footer + FOOT_BLOCK_COUNT) ||
        (len - 4) / LSM_INDEX_BLOCK_SIZE < count || (count == 0) != (run->meta.entries == 0))
        st = vv_fail(err, VV_CORRUPT, "index: %" PRIu64 " blocks in %zu bytes", count, len);
    run->block_count = st == VV_OK ? (uint32_t)count : 0;
    if (st == VV_OK && count > 0) {
        st = load_places(run, p + 4, err);
        if (st == VV_OK)
            st = load_separators(run, p + 4 + count * LSM_INDEX_BLOCK_SIZE, p + len, err);
    }
    vv_free(p);
    return st;
}

static vv_status load_filter(lsm_run *run, const uint8_t *footer, vv_error *err)
{
    if (run->block_count == 0)
        return VV_OK;
    uint8_t *p = NULL;
    size_t len = 0;
    vv_status st = read_section(run, footer, LSM_SECTION_FILTER, &p, &len, err);
    if (st != VV_OK)
        return st;
    const uint8_t *tail = p + len - LSM_FILTER_TAIL;
    uint64_t lines = len < LSM_FILTER_TAIL ? 0 : vv_get_le32(tail);
    if (lines == 0 || lines * LSM_FILTER_LINE + LSM_FILTER_TAIL != len)
        st = vv_fail(err, VV_CORRUPT, "filter: %" PRIu64 " lines in %zu bytes", lines, len);
    else if (vv_get_le64(tail + 8) != 0)
        st = vv_fail(err, VV_UNSUPPORTED, "filter: a seed, which this version does not know");
    if (st != VV_OK) {
        vv_free(p);
        return st;
    }
    run->filter = p;
    run->filter_lines = (uint32_t)lines;
    return VV_OK;
}

static vv_status load_dictionary(lsm_run *run, const uint8_t *footer, vv_error *err)
{
    if ((run->features & LSM_FEATURE_DICTIONARY) == 0)
        return VV_OK;
    uint8_t *p = NULL;
    size_t len = 0;
    vv_status st = read_section(run, footer, LSM_SECTION_DICTIONARY, &p, &len, err);
    if (st != VV_OK)
        return st;
    st = codec_block_dict_create(vv_slice_of(p, len), false, &run->dict, err);
    vv_free(p);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "dictionary");
}

static const uint8_t *decode_slice(const uint8_t *p, const uint8_t *end, vv_slice *out)
{
    uint64_t len = 0;
    p = vv_varint_get(p, end, &len);
    if (p == NULL || len > LSM_BOUND_MAX || len > (uint64_t)(end - p))
        return NULL;
    *out = vv_slice_of(p, (size_t)len);
    return p + len;
}

static vv_status decode_ranges(const uint8_t *p, const uint8_t *end, engine_range *ranges,
                               uint64_t count, vv_error *err)
{
    for (uint64_t i = 0; i < count; i++) {
        engine_range *r = &ranges[i];
        p = decode_slice(p, end, &r->start);
        if (p != NULL)
            p = decode_slice(p, end, &r->end);
        if (p == NULL || end - p < 8 || vv_slice_cmp(r->start, r->end) >= 0)
            return vv_fail(err, VV_CORRUPT, "ranges: range %" PRIu64 " is broken", i);
        r->version = (int64_t)vv_get_le64(p);
        p += 8;
    }
    return p == end ? VV_OK : vv_fail(err, VV_CORRUPT, "ranges: bytes behind the last one");
}

static vv_status load_ranges(lsm_run *run, const uint8_t *footer, vv_error *err)
{
    if (run->meta.ranges == 0)
        return VV_OK;
    uint8_t *p = NULL;
    size_t len = 0;
    vv_status st = read_section(run, footer, LSM_SECTION_RANGES, &p, &len, err);
    if (st != VV_OK)
        return st;
    uint64_t count = len < 4 ? 0 : vv_get_le32(p);
    engine_range *ranges = NULL;
    if (count != run->meta.ranges || count > (len - 4) / 10)
        st = vv_fail(err, VV_CORRUPT, "ranges: %" PRIu64 " in %zu bytes", count, len);
    else if ((ranges = vv_calloc(count, sizeof *ranges)) == NULL)
        st = vv_fail(err, VV_NO_MEMORY, "ranges: no memory for %" PRIu64, count);
    if (st == VV_OK)
        st = decode_ranges(p + 4, p + len, ranges, count, err);
    if (st == VV_OK)
        st = engine_rangedels_build(ranges, count, &run->rangedels, err);
    vv_free(ranges);
    vv_free(p);
    return st;
}

static vv_status check_expected(const lsm_meta *found, const lsm_meta *expect, vv_error *err)
{
    if (expect == NULL)
        return VV_OK;
    if (found->size != expect->size)
        return vv_fail(err, VV_CORRUPT, "%" PRIu64 " bytes, the manifest says %" PRIu64,
                       found->size, expect->size);
    if (found->footer_sum != expect->footer_sum)
        return vv_fail(err, VV_CORRUPT, "the footer is not the one the manifest names");
    if (expect->version_min < 0 || expect->version_min > expect->version_max)
        return vv_fail(err, VV_CORRUPT, "the manifest gives it impossible versions");
    return VV_OK;
}

static vv_status open_file(lsm_run *run, uint64_t id, const lsm_meta *expect, uint8_t *footer,
                           vv_error *err)
{
    uint64_t size = 0;
    vv_status st = lsm_store_open_file(run->store, false, id, VIO_READ | VIO_IDLE, &run->file, err);
    run->is_remote = st == VV_OK && lsm_file_is_remote(run->file);
    if (st == VV_NOT_FOUND && expect != NULL)
        return vv_fail(err, VV_CORRUPT, "the manifest names it, but the file is not there");
    if (st == VV_OK)
        st = vio_size(run->file, &size, err);
    if (st == VV_OK && size < LSM_FOOTER_SIZE)
        st = vv_fail(err, VV_CORRUPT, "%" PRIu64 " bytes are too short for a run", size);
    if (st == VV_OK)
        st = vio_pread_full(run->file, size - LSM_FOOTER_SIZE, footer, LSM_FOOTER_SIZE, err);
    if (st == VV_OK)
        st = check_footer(footer, id, size, err);
    if (st != VV_OK)
        return st;
    lsm_meta found;
    meta_of_footer(footer, size, &found);
    st = check_expected(&found, expect, err);
    if (st != VV_OK)
        return st;
    if (expect != NULL)
        found.values = expect->values;
    st = lsm_meta_copy(&found, &run->meta, err);
    run->block_size = vv_get_le32(footer + FOOT_BLOCK_SIZE);
    run->features = vv_get_le32(footer + FOOT_FEATURES);
    if (st == VV_OK && expect != NULL) { /* a moved run keeps the footer of its first level */
        run->meta.level = expect->level;
        run->meta.group = expect->group;
        run->meta.born_ns = expect->born_ns;
        if (lsm_run_is_bulk(run)) {
            run->meta.version_min = expect->version_min;
            run->meta.version_max = expect->version_max;
        }
    }
    return st;
}

/* Index and filter were read as they lie, once; blocks come in whole device blocks from now on. */
static vv_status go_direct(lsm_run *run, uint64_t id, vv_error *err)
{
    char path[VIO_PATH_MAX];
    vio_file *file = NULL;
    lsm_run_path(path, run->store->dir, id);
    vv_status st =
        vio_open(run->store->env->io, path, VIO_READ | VIO_DIRECT | VIO_IDLE, &file, err);
    if (st != VV_OK)
        return st;
    vio_close(run->file);
    run->file = file;
    return VV_OK;
}

vv_status lsm_run_open(lsm_store *store, uint64_t id, const lsm_meta *expect, lsm_run **out,
                       vv_error *err)
{
    uint8_t *footer = vv_alloc(LSM_FOOTER_SIZE);
    lsm_run *run = vv_calloc(1, sizeof *run);
    if (footer == NULL || run == NULL) {
        vv_free(footer);
        vv_free(run);
        return vv_fail(err, VV_NO_MEMORY, "run %" PRIu64 ": no memory", id);
    }
    run->store = store;
    atomic_init(&run->refs, 1);
    vv_status st = open_file(run, id, expect, footer, err);
    if (st == VV_OK)
        st = load_index(run, footer, err);
    if (st == VV_OK)
        st = load_filter(run, footer, err);
    if (st == VV_OK)
        st = load_ranges(run, footer, err);
    if (st == VV_OK)
        st = load_dictionary(run, footer, err);
    if (st == VV_OK)
        st = pgc_file_create(store->cache, run->block_count, &run->pages, err);
    if (st == VV_OK && store->direct && !run->is_remote)
        st = go_direct(run, id, err);
    if (st == VV_OK) {
        st = lsm_value_acquire(store, run->meta.values, err);
        run->holds_values = st == VV_OK;
    }
    vv_free(footer);
    if (st != VV_OK) {
        destroy_run(run);
        char path[VIO_PATH_MAX];
        lsm_run_path(path, store->dir, id);
        return vv_wrap(err, st, "run '%s'", path);
    }
    count_memory(run);
    *out = run;
    return VV_OK;
}
