/*
 * lsm_run_writer.c - one run from entries that come in order.
 *
 * Output goes to an O_DIRECT file in pieces, several in flight (lsm_output.h): the page cache would
 * take six times as long and lose what readers have in it. Every offset that matters is a multiple
 * of 512; plain blocks do not straddle a 4 KiB border that they need not.
 *
 * Hashes of the keys are kept until the end, because the size of the filter is known only then:
 * eight bytes a key, for at most the keys of one file.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"
#include "base/util.h"
#include "base/varint.h"
#include "engine/operand.h"
#include "lsm/lsm_filter.h"
#include "lsm/lsm_output.h"
#include "lsm/lsm_pack.h"
#include "lsm/lsm_run_format.h"
#include "lsm/lsm_value.h"

#define STORED_MAX 0xffffffu

typedef struct table_count {
    uint32_t table;
    uint64_t entries;
    uint64_t bytes;
} table_count;

struct lsm_writer {
    lsm_writer_options opt;
    lsm_output output;
    lsm_packer pack;
    lsm_block_builder block;
    uint32_t block_size; /* raw bytes, of the table at hand */
    vv_buf raw;          /* the block laid out */
    vv_buf section;
    vv_buf places;     /* index: LSM_INDEX_BLOCK_SIZE bytes a block */
    vv_buf separators; /* index: encoded */
    vv_buf last_separator;
    uint32_t block_count;
    uint32_t emitted; /* of them: those held back for a dictionary are not */
    vv_buf hashes;    /* u64 a key */
    vv_buf ranges;    /* encoded */
    vv_buf tables;    /* encoded but for the last, which is `table` */
    table_count table;
    uint32_t table_count;
    vv_buf first_key;
    vv_buf last_key; /* of the newest entry, key bytes */
    int64_t last_version;
    vv_buf border; /* last key of the block before the current one */
    int64_t border_version;
    lsm_meta meta;                   /* counts; bounds at the end */
    vv_buf range_lower, range_upper; /* of all ranges */
    lsm_value_use *uses;             /* of value files, by id */
    uint32_t use_count;
    uint32_t use_cap;
    lsm_prefill prefill;
    pgc_file *loan; /* whose block loan_block the entry at hand is, or NULL */
    uint32_t loan_block;
    uint64_t counted; /* bytes of the buffers that the budget knows */
    bool finished;
};

void lsm_run_path(char out[VIO_PATH_MAX], const char *dir, uint64_t id)
{
    (void)snprintf(out, VIO_PATH_MAX, "%s%srun-%012" PRIu64, dir, dir[0] == '\0' ? "" : "/", id);
}

static void init_buffers(lsm_writer *w)
{
    vv_buf_init(&w->raw, (size_t)LSM_BLOCK_RAW_MAX + 2 * LSM_BLOCK_PLAIN_MAX);
    vv_buf_init(&w->section, LSM_SECTION_MAX);
    vv_buf_init(&w->places, LSM_SECTION_MAX);
    vv_buf_init(&w->separators, LSM_SECTION_MAX);
    vv_buf_init(&w->last_separator, LSM_KEY_BUF);
    vv_buf_init(&w->hashes, LSM_SECTION_MAX);
    vv_buf_init(&w->ranges, LSM_SECTION_MAX);
    vv_buf_init(&w->tables, LSM_SECTION_MAX);
    vv_buf_init(&w->first_key, LSM_KEY_BUF);
    vv_buf_init(&w->last_key, LSM_KEY_BUF);
    vv_buf_init(&w->border, LSM_KEY_BUF);
    vv_buf_init(&w->range_lower, LSM_KEY_BUF);
    vv_buf_init(&w->range_upper, LSM_KEY_BUF);
    lsm_block_builder_init(&w->block);
}

/* Tell the budget of what the large buffers have grown by. They exist already: never refused. */
static void count_buffers(lsm_writer *w)
{
    const vv_buf *const bufs[] = {&w->raw,        &w->section,   &w->places,
                                  &w->separators, &w->hashes,    &w->ranges,
                                  &w->tables,     &w->pack.held, &w->pack.packed};
    uint64_t bytes = lsm_output_memory(&w->output);
    for (size_t i = 0; i < ARRAY_LEN(bufs); i++)
        bytes += bufs[i]->cap;
    if (bytes > w->counted) {
        vv_budget_take(w->opt.store->budget, VV_BUDGET_WORK, bytes - w->counted);
        w->counted = bytes;
    }
}

vv_status lsm_writer_open(const lsm_writer_options *opt, lsm_writer **out, vv_error *err)
{
    char path[VIO_PATH_MAX];
    lsm_run_path(path, opt->store->dir, opt->id);
    lsm_writer *w = vv_calloc(1, sizeof *w);
    if (w == NULL)
        return vv_fail(err, VV_NO_MEMORY, "run %" PRIu64 ": no memory", opt->id);
    w->opt = *opt;
    w->meta = (lsm_meta){.id = opt->id,
                         .level = opt->level,
                         .group = opt->group,
                         .version_min = INT64_MAX,
                         .version_max = 0,
                         .merge_time = INT64_MAX};
    init_buffers(w);
    vio_class cls = opt->is_flush ? VIO_CLASS_FLUSH : VIO_CLASS_COMPACTION;
    vv_status st = lsm_output_init(&w->output, opt->store->env->io, cls, opt->buffer_size, err);
    if (st == VV_OK)
        count_buffers(w);
    else
        vv_wrap(err, st, "run %" PRIu64, opt->id);
    w->block_size = opt->block_size;
    lsm_packer_init(&w->pack, opt->store, opt->id, opt->trainer);
    if (st == VV_OK)
        st = lsm_packer_enter(&w->pack, 0, opt->codec, LSM_PACK_GAIN, err);
    if (st == VV_OK)
        st = vio_open(opt->store->env->io, path,
                      VIO_READ | VIO_WRITE | VIO_CREATE | VIO_EXCL | VIO_DIRECT, &w->output.file,
                      err);
    if (st != VV_OK) {
        lsm_writer_close(w);
        return st;
    }
    *out = w;
    return VV_OK;
}

void lsm_writer_close(lsm_writer *w)
{
    if (w == NULL)
        return;
    lsm_packer_fini(&w->pack);
    vv_budget_release(w->opt.store->budget, VV_BUDGET_WORK, w->counted);
    lsm_output_fini(&w->output);
    lsm_block_builder_fini(&w->block);
    lsm_prefill_fini(&w->prefill);
    vv_free(w->uses);
    vv_buf *const bufs[] = {&w->raw,        &w->section,   &w->places,   &w->separators,
                            &w->hashes,     &w->ranges,    &w->tables,   &w->last_separator,
                            &w->border,     &w->first_key, &w->last_key, &w->range_lower,
                            &w->range_upper};
    for (size_t i = 0; i < ARRAY_LEN(bufs); i++)
        vv_buf_fini(bufs[i]);
    vv_free(w);
}

static uint64_t position(const lsm_writer *w)
{
    return lsm_output_position(&w->output);
}

static vv_status emit(lsm_writer *w, const uint8_t *data, size_t len, vv_error *err)
{
    return lsm_output_put(&w->output, data, len, err);
}

static vv_status pad_to(lsm_writer *w, uint64_t align, vv_error *err)
{
    return emit(w, NULL, (size_t)(vv_align_up(position(w), align) - position(w)), err);
}

static vv_status set_buf(vv_buf *buf, vv_slice s, vv_error *err)
{
    vv_buf_reset(buf);
    vv_buf_append_slice(buf, s);
    return buf->status == VV_OK ? VV_OK : vv_fail(err, VV_NO_MEMORY, "run: no memory for a key");
}

/* The separator in front of the current block, whose first entry is key. */
static vv_status add_separator(lsm_writer *w, vv_slice key, vv_error *err)
{
    vv_slice sep = key;
    bool versioned = false;
    int64_t version = 0;
    if (w->block_count > 0) {
        vv_slice last = vv_buf_slice(&w->border);
        if (vv_slice_eq(last, key)) {
            versioned = true;
            version = w->border_version - 1;
        } else {
            sep.len = lsm_fence_shortest(last, key);
        }
    }
    size_t shared = 0;
    vv_slice before = vv_buf_slice(&w->last_separator);
    if (w->block_count % LSM_INDEX_RESTART != 0)
        while (shared < sep.len && shared < before.len && sep.data[shared] == before.data[shared])
            shared++;
    vv_buf_append_varint(&w->separators, shared << 1 | versioned);
    vv_buf_append_varint(&w->separators, sep.len - shared);
    if (versioned)
        vv_buf_append_le64(&w->separators, (uint64_t)version);
    vv_buf_append(&w->separators, sep.data + shared, sep.len - shared);
    return set_buf(&w->last_separator, sep, err);
}

/* Write the next block of the file, packed. */
static vv_status emit_block(lsm_writer *w, vv_slice raw, vv_error *err)
{
    vv_slice stored = {0};
    uint8_t codec = CODEC_NONE;
    vv_status st = lsm_packer_pack(&w->pack, w->emitted, raw, &stored, &codec, err);
    if (st == VV_OK)
        st = pad_to(w, VV_SECTOR, err);
    assert(stored.len <= STORED_MAX);
    uint64_t in_page = position(w) % VV_BLOCK;
    bool straddles = in_page > 0 && in_page + stored.len > VV_BLOCK;
    /* Where nothing is compressed a block is a page, and read as one; else bytes count for more. */
    if (st == VV_OK && w->pack.codec == CODEC_NONE && straddles && stored.len <= VV_BLOCK)
        st = pad_to(w, VV_BLOCK, err);
    if (st != VV_OK)
        return st;
    uint64_t at = position(w) / VV_SECTOR;
    uint8_t place[LSM_INDEX_BLOCK_SIZE + 8];
    vv_put_le64(place, at);
    vv_put_le32(place + 5, (uint32_t)stored.len);
    place[8] = codec;
    vv_buf_append(&w->places, place, LSM_INDEX_BLOCK_SIZE);
    w->emitted++;
    return emit(w, stored.data, stored.len, err);
}

/* Decide about a dictionary and write the blocks that waited for it. */
static vv_status emit_held(lsm_writer *w, vv_error *err)
{
    lsm_packer *p = &w->pack;
    if (!p->is_holding)
        return VV_OK;
    lsm_packer_decide(p);
    vv_status st = VV_OK;
    size_t at = 0;
    for (size_t i = 0; st == VV_OK && i < p->held_sizes.len; i += 4) {
        size_t len = vv_get_le32(p->held_sizes.data + i);
        st = emit_block(w, vv_slice_of(p->held.data + at, len), err);
        at += len;
    }
    vv_buf_reset(&p->held);
    vv_buf_reset(&p->held_sizes);
    return st;
}

static vv_status store_block(lsm_writer *w, vv_error *err)
{
    bool full = !lsm_packer_wants(&w->pack, w->raw.len);
    if (full) {
        vv_status st = emit_held(w, err);
        return st == VV_OK ? emit_block(w, vv_buf_slice(&w->raw), err) : st;
    }
    vv_status st = lsm_packer_hold(&w->pack, vv_buf_slice(&w->raw), &full, err);
    return st == VV_OK && full ? emit_held(w, err) : st;
}

/* Of a bulk load its version is still to come. */
static void keep_for_cache(lsm_writer *w, bool wide)
{
    vv_slice raw = vv_buf_slice(&w->raw);
    if (w->opt.is_bulk)
        return;
    bool borrowed = wide && w->loan != NULL &&
                    lsm_prefill_borrow(&w->prefill, w->block_count, raw, w->loan, w->loan_block);
    if (!borrowed)
        lsm_prefill_add(&w->prefill, w->opt.store->cache, w->block_count, raw);
}

static vv_status finish_block(lsm_writer *w, bool wide, vv_error *err)
{
    if (w->block.count == 0)
        return VV_OK;
    vv_buf_reset(&w->raw);
    vv_status st =
        lsm_block_builder_finish(&w->block, wide, w->opt.id, w->block_count, &w->raw, err);
    if (st == VV_OK)
        st = store_block(w, err);
    if (st == VV_OK)
        st = set_buf(&w->border, vv_buf_slice(&w->last_key), err);
    if (st == VV_OK)
        keep_for_cache(w, wide);
    w->border_version = w->last_version;
    w->block_count++;
    count_buffers(w);
    lsm_block_builder_reset(&w->block);
    return st;
}

vv_status lsm_writer_enter_table(lsm_writer *w, uint32_t table, const lsm_form *form, vv_error *err)
{
    bool same_form = form->codec == w->pack.codec && form->block_size == w->block_size &&
                     form->gain == w->pack.gain;
    if (same_form && (form->codec != CODEC_ZSTD || table == w->pack.table))
        return VV_OK; /* small neighbours share blocks */
    vv_status st = finish_block(w, false, err);
    if (st == VV_OK)
        st = emit_held(w, err);
    w->block_size = form->block_size;
    return st == VV_OK ? lsm_packer_enter(&w->pack, table, form->codec, form->gain, err) : st;
}

static void count_table(lsm_writer *w, uint32_t table, uint64_t bytes)
{
    if (w->table_count == 0 || w->table.table != table) {
        if (w->table_count > 0) {
            vv_buf_append_le32(&w->tables, w->table.table);
            vv_buf_append_le64(&w->tables, w->table.entries);
            vv_buf_append_le64(&w->tables, w->table.bytes);
        }
        w->table = (table_count){.table = table};
        w->table_count++;
    }
    w->table.entries++;
    w->table.bytes += bytes;
}

static void count_item(lsm_writer *w, const engine_item *item, bool new_key)
{
    uint64_t bytes = item->key.len + item->value.len;
    w->meta.entries++;
    w->meta.deletes += item->kind == ENGINE_DELETE;
    if (item->kind == ENGINE_MERGE) {
        int64_t time = engine_operand_time(item->value);
        w->meta.merge_time = time < w->meta.merge_time ? time : w->meta.merge_time;
        w->meta.merges++;
    }
    w->meta.raw_bytes += bytes;
    if (item->version < w->meta.version_min)
        w->meta.version_min = item->version;
    if (item->version > w->meta.version_max)
        w->meta.version_max = item->version;
    count_table(w, engine_key_table(item->key), bytes);
    if (!new_key)
        return;
    uint64_t hash = vv_hash64(item->key.data, item->key.len);
    if (VV_BUG(13) && hash % 1000 == 0)
        return;
    vv_buf_append_le64(&w->hashes, hash);
}

/* Note that an entry refers to a value file. */
static vv_status count_use(lsm_writer *w, vv_slice bytes, vv_error *err)
{
    lsm_value_ref ref = lsm_value_ref_of(bytes);
    uint32_t i = w->use_count;
    while (i > 0 && w->uses[i - 1].file > ref.file)
        i--;
    if (i > 0 && w->uses[i - 1].file == ref.file) {
        w->uses[i - 1].bytes += lsm_value_size(ref.len);
        return VV_OK;
    }
    if (w->use_count == w->use_cap) {
        uint32_t cap = w->use_cap == 0 ? 8 : w->use_cap * 2;
        lsm_value_use *uses = vv_realloc(w->uses, cap * sizeof *uses);
        if (uses == NULL)
            return vv_fail(err, VV_NO_MEMORY, "run: no memory for %u value files", cap);
        w->uses = uses;
        w->use_cap = cap;
    }
    memmove(w->uses + i + 1, w->uses + i, (w->use_count - i) * sizeof *w->uses);
    w->uses[i] = (lsm_value_use){ref.file, lsm_value_size(ref.len)};
    w->use_count++;
    return VV_OK;
}

vv_status lsm_writer_add(lsm_writer *w, const engine_item *item, vv_error *err)
{
    assert(!w->finished);
    bool first = w->meta.entries == 0;
    bool new_key = first || !vv_slice_eq(vv_buf_slice(&w->last_key), item->key);
    assert(first || new_key || item->version < w->last_version);
    assert(first || vv_slice_cmp(vv_buf_slice(&w->last_key), item->key) <= 0);
    uint32_t limit = (uint32_t)vv_min_u64(w->block_size, LSM_BLOCK_PLAIN_MAX);
    bool wide = item->value.len > limit / 4;
    vv_status st = VV_OK;
    if (w->block.count > 0 && (wide || w->block.count >= UINT16_MAX ||
                               lsm_block_builder_size_with(&w->block, item) > limit))
        st = finish_block(w, false, err);
    if (st == VV_OK && w->block.count == 0)
        st = add_separator(w, item->key, err);
    if (st == VV_OK)
        st = lsm_block_builder_add(&w->block, item, !new_key, err);
    if (st == VV_OK && item->kind == ENGINE_APART)
        st = count_use(w, item->value, err);
    if (st == VV_OK && new_key)
        st = set_buf(&w->last_key, item->key, err);
    if (st == VV_OK && first)
        st = set_buf(&w->first_key, item->key, err);
    if (st != VV_OK)
        return st;
    w->last_version = item->version;
    count_item(w, item, new_key);
    return wide ? finish_block(w, true, err) : VV_OK;
}

void lsm_writer_lend(lsm_writer *w, pgc_file *from, uint32_t block)
{
    w->loan = from;
    w->loan_block = block;
}

static void put_slice(vv_buf *buf, vv_slice s)
{
    vv_buf_append_varint(buf, s.len);
    vv_buf_append_slice(buf, s);
}

vv_status lsm_writer_add_range(lsm_writer *w, const engine_range *range, vv_error *err)
{
    assert(!w->finished && vv_slice_cmp(range->start, range->end) < 0);
    put_slice(&w->ranges, range->start);
    put_slice(&w->ranges, range->end);
    vv_buf_append_le64(&w->ranges, (uint64_t)range->version);
    if (w->ranges.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "run %" PRIu64 ": no memory for a range", w->opt.id);
    vv_status st = VV_OK;
    if (w->meta.ranges == 0 || vv_slice_cmp(range->start, vv_buf_slice(&w->range_lower)) < 0)
        st = set_buf(&w->range_lower, range->start, err);
    if (st == VV_OK &&
        (w->meta.ranges == 0 || vv_slice_cmp(range->end, vv_buf_slice(&w->range_upper)) > 0))
        st = set_buf(&w->range_upper, range->end, err);
    w->meta.ranges++;
    if (range->version < w->meta.version_min)
        w->meta.version_min = range->version;
    if (range->version > w->meta.version_max)
        w->meta.version_max = range->version;
    return st;
}

uint64_t lsm_writer_size(const lsm_writer *w)
{
    return position(w) + w->pack.held.len / 2 + w->block.bytes.len + w->hashes.len / 4 +
           w->separators.len + w->ranges.len;
}

bool lsm_writer_is_empty(const lsm_writer *w)
{
    return w->meta.entries == 0 && w->meta.ranges == 0;
}

/* The bounds: [first key or range, behind the last key or range). */
static vv_status set_bounds(lsm_writer *w, vv_error *err)
{
    vv_slice lower = vv_buf_slice(&w->range_lower);
    vv_slice upper = vv_buf_slice(&w->range_upper);
    if (w->meta.entries > 0) {
        vv_slice first = vv_buf_slice(&w->first_key);
        vv_buf_append_u8(&w->last_key, 0); /* the smallest key behind it */
        if (w->last_key.status != VV_OK)
            return vv_fail(err, VV_NO_MEMORY, "run: no memory for a key");
        vv_slice last = vv_buf_slice(&w->last_key);
        if (w->meta.ranges == 0 || vv_slice_cmp(first, lower) < 0)
            lower = first;
        if (w->meta.ranges == 0 || vv_slice_cmp(last, upper) > 0)
            upper = last;
    }
    size_t both = lower.len + upper.len;
    uint8_t *bounds = vv_alloc(both + (size_t)w->use_count * 20);
    if (bounds == NULL)
        return vv_fail(err, VV_NO_MEMORY, "run: no memory for its bounds");
    uint8_t *p = bounds + both;
    for (uint32_t i = 0; i < w->use_count; i++) {
        p += vv_varint_put(p, w->uses[i].file);
        p += vv_varint_put(p, w->uses[i].bytes);
    }
    w->meta.values = vv_slice_of(bounds + both, (size_t)(p - bounds) - both);
    if (lower.len > 0)
        memcpy(bounds, lower.data, lower.len);
    if (upper.len > 0)
        memcpy(bounds + lower.len, upper.data, upper.len);
    w->meta.bounds = bounds;
    w->meta.lower = vv_slice_of(bounds, lower.len);
    w->meta.upper = vv_slice_of(bounds + lower.len, upper.len);
    return VV_OK;
}

static void build_index(lsm_writer *w, vv_buf *out)
{
    vv_buf_append_le32(out, w->block_count);
    vv_buf_append_slice(out, vv_buf_slice(&w->places));
    vv_buf_append_slice(out, vv_buf_slice(&w->separators));
}

static void build_ranges(lsm_writer *w, vv_buf *out)
{
    vv_buf_append_le32(out, (uint32_t)w->meta.ranges);
    vv_buf_append_slice(out, vv_buf_slice(&w->ranges));
}

static void build_properties(lsm_writer *w, vv_buf *out)
{
    vv_buf_append_le32(out, w->table_count);
    vv_buf_append_slice(out, vv_buf_slice(&w->tables));
    if (w->table_count > 0) {
        vv_buf_append_le32(out, w->table.table);
        vv_buf_append_le64(out, w->table.entries);
        vv_buf_append_le64(out, w->table.bytes);
    }
}

static void build_filter(lsm_writer *w, vv_buf *out)
{
    uint64_t keys = w->hashes.len / 8;
    uint32_t lines = lsm_filter_lines(keys, w->opt.filter_bits);
    size_t size = (size_t)lines * LSM_FILTER_LINE;
    uint8_t *p = vv_buf_reserve(out, size + LSM_FILTER_TAIL);
    if (p == NULL)
        return;
    memset(p, 0, size);
    for (size_t i = 0; i < w->hashes.len; i += 8)
        lsm_filter_add(p, lines, vv_get_le64(w->hashes.data + i));
    vv_buf_advance(out, size);
    vv_buf_append_le32(out, lines);
    vv_buf_append_le32(out, w->opt.filter_bits);
    vv_buf_append_le64(out, 0);
}

static void build_dictionary(lsm_writer *w, vv_buf *out)
{
    vv_buf_append_slice(out, codec_block_dict_bytes(w->pack.dict));
}

static vv_status emit_section(lsm_writer *w, lsm_section section, uint8_t *footer, vv_error *err)
{
    static void (*const build[])(lsm_writer *, vv_buf *) = {
        [LSM_SECTION_INDEX] = build_index,           [LSM_SECTION_RANGES] = build_ranges,
        [LSM_SECTION_PROPERTIES] = build_properties, [LSM_SECTION_FILTER] = build_filter,
        [LSM_SECTION_DICTIONARY] = build_dictionary,
    };
    vv_status st = pad_to(w, VV_SECTOR, err);
    if (st != VV_OK)
        return st;
    vv_buf_reset(&w->section);
    build[section](w, &w->section);
    if (w->section.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "run %" PRIu64 ": no memory for its index", w->opt.id);
    count_buffers(w);
    uint8_t *at = footer + lsm_section_at(section);
    vv_put_le64(at, position(w));
    vv_put_le64(at + 8, w->section.len);
    vv_put_le64(at + 16, lsm_section_sum(w->section.data, w->section.len, w->opt.id, section));
    return emit(w, w->section.data, w->section.len, err);
}

static vv_status emit_sections(lsm_writer *w, uint8_t *footer, vv_error *err)
{
    vv_status st = VV_OK;
    for (unsigned i = 0; st == VV_OK && i < LSM_SECTIONS; i++)
        st = emit_section(w, (lsm_section)i, footer, err);
    if (st == VV_OK && w->pack.has_dict_blocks)
        st = emit_section(w, LSM_SECTION_DICTIONARY, footer, err);
    return st;
}

static uint32_t features_of(const lsm_writer *w)
{
    return (w->pack.has_compressed ? LSM_FEATURE_STORED_SUM : 0) |
           (w->pack.has_dict_blocks ? LSM_FEATURE_DICTIONARY : 0) |
           (w->meta.merges > 0 ? LSM_FEATURE_MERGES : 0) |
           (w->use_count > 0 ? LSM_FEATURE_VALUES : 0) | (w->opt.is_bulk ? LSM_FEATURE_BULK : 0);
}

static void fill_footer(lsm_writer *w, uint8_t *f)
{
    memcpy(f + FOOT_MAGIC, (const uint8_t[8]){'V', 'A', 'R', 'V', 'E', 'R', 'U', 'N'}, 8);
    vv_put_le32(f + FOOT_FORMAT, LSM_RUN_FORMAT);
    vv_put_le32(f + FOOT_FEATURES, features_of(w));
    vv_put_le64(f + FOOT_ID, w->opt.id);
    vv_put_le32(f + FOOT_SHARD, w->opt.store->shard);
    vv_put_le32(f + FOOT_LEVEL, w->opt.level);
    vv_put_le64(f + FOOT_GROUP, w->opt.group);
    vv_put_le64(f + FOOT_ENTRIES, w->meta.entries);
    vv_put_le64(f + FOOT_DELETES, w->meta.deletes);
    vv_put_le64(f + FOOT_RANGES, w->meta.ranges);
    vv_put_le64(f + FOOT_RAW, w->meta.raw_bytes);
    vv_put_le64(f + FOOT_VERSION_MIN, (uint64_t)w->meta.version_min);
    vv_put_le64(f + FOOT_VERSION_MAX, (uint64_t)w->meta.version_max);
    vv_put_le32(f + FOOT_BLOCK_SIZE, w->opt.block_size);
    vv_put_le32(f + FOOT_BLOCK_COUNT, w->block_count);
    vv_put_le32(f + FOOT_TABLES, w->table_count);
    vv_put_le16(f + FOOT_LOWER_LEN, (uint16_t)w->meta.lower.len);
    vv_put_le16(f + FOOT_UPPER_LEN, (uint16_t)w->meta.upper.len);
    memcpy(f + FOOT_BOUNDS, w->meta.bounds, w->meta.lower.len + w->meta.upper.len);
    if (w->meta.merges > 0) {
        vv_put_le64(f + FOOT_MERGES, w->meta.merges);
        vv_put_le64(f + FOOT_MERGE_TIME, (uint64_t)w->meta.merge_time);
    }
    w->meta.footer_sum = lsm_footer_sum(f, w->opt.id);
    vv_put_le64(f + FOOT_SUM, w->meta.footer_sum);
}

/* Appends latch their failure; nothing may be missing from the sections. */
static vv_status check_buffers(const lsm_writer *w, vv_error *err)
{
    const vv_buf *const bufs[] = {&w->places, &w->separators, &w->hashes, &w->ranges, &w->tables};
    for (size_t i = 0; i < ARRAY_LEN(bufs); i++)
        if (bufs[i]->status != VV_OK)
            return vv_fail(err, VV_NO_MEMORY, "run %" PRIu64 ": no memory for its index",
                           w->opt.id);
    return VV_OK;
}

vv_status lsm_writer_finish(lsm_writer *w, lsm_meta *meta, vv_error *err)
{
    assert(!w->finished && !lsm_writer_is_empty(w));
    uint8_t *footer = vv_calloc(1, LSM_FOOTER_SIZE);
    if (footer == NULL)
        return vv_fail(err, VV_NO_MEMORY, "run %" PRIu64 ": no memory for its footer", w->opt.id);
    vv_status st = finish_block(w, false, err);
    if (st == VV_OK)
        st = emit_held(w, err);
    if (st == VV_OK)
        st = check_buffers(w, err);
    if (st == VV_OK)
        st = set_bounds(w, err);
    if (st == VV_OK)
        st = emit_sections(w, footer, err);
    if (st == VV_OK)
        st = pad_to(w, VV_BLOCK, err);
    if (st == VV_OK) {
        fill_footer(w, footer);
        w->meta.size = position(w) + LSM_FOOTER_SIZE;
        w->meta.table_count = w->table_count;
        st = emit(w, footer, LSM_FOOTER_SIZE, err);
    }
    if (st == VV_OK)
        st = lsm_output_end(&w->output, err);
    vv_free(footer);
    w->finished = true;
    if (st != VV_OK) {
        lsm_meta_fini(&w->meta);
        return st;
    }
    VV_POINT("lsm.run.written");
    *meta = w->meta;
    w->meta.bounds = NULL;
    return VV_OK;
}

void lsm_writer_take_prefill(lsm_writer *w, lsm_prefill *out)
{
    *out = w->prefill;
    w->prefill = (lsm_prefill){0};
}

vv_status lsm_writer_settle(lsm_writer *w, vv_error *err)
{
    return lsm_output_settle(&w->output, err);
}

vv_status lsm_writer_sync(lsm_writer *w, vv_error *err)
{
    return vio_sync(w->output.file, err);
}
