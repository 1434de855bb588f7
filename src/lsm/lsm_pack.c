/*
 * lsm_pack.c - compressing blocks on their way to the file, and when a dictionary pays.
 *
 * A block of 16 KiB holds most of what repeats by itself; a dictionary saves what each block has to
 * say anew. On records that is some percent, on others nothing, so it is tried: trained from three
 * quarters of the first blocks of a table, judged by the others, in the sectors they would fill.
 * Where it saves little it is not used: blocks with a dictionary cost the writer
 * half as much again.
 */
#include "lsm/lsm_pack.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "lsm/lsm_run_format.h"

#define SAMPLE_A_DICT 64u /* bytes to train from, for one of the dictionary */
#define DICT_MIN 256u
#define BLOCKS_MIN 4u
#define PIECES 64u /* of a full sample: zstd wants several, and more take longer for nothing */

static size_t dict_size(const lsm_trainer *t)
{
    return (size_t)vv_max_u64(t->sample / SAMPLE_A_DICT, DICT_MIN);
}

void lsm_trainer_init(lsm_trainer *t, uint32_t sample, uint32_t gain)
{
    *t = (lsm_trainer){.sample = sample, .gain = gain};
}

static void forget(lsm_trainer *t)
{
    codec_block_dict_unref(t->dict);
    t->dict = NULL;
    t->is_decided = false;
}

void lsm_trainer_fini(lsm_trainer *t)
{
    forget(t);
}

void lsm_packer_init(lsm_packer *p, lsm_store *store, uint64_t run_id, lsm_trainer *trainer)
{
    *p = (lsm_packer){.store = store, .run_id = run_id, .trainer = trainer};
    size_t held_max = trainer == NULL ? 0 : (size_t)trainer->sample + LSM_BLOCK_PLAIN_MAX;
    vv_buf_init(&p->held, held_max);
    vv_buf_init(&p->held_sizes, held_max);
    vv_buf_init(&p->packed, LSM_BLOCK_RAW_MAX + LSM_STORED_HEAD);
}

void lsm_packer_fini(lsm_packer *p)
{
    lsm_store_give_codec(p->store, p->ctx);
    codec_block_dict_unref(p->dict);
    vv_buf_fini(&p->held);
    vv_buf_fini(&p->held_sizes);
    vv_buf_fini(&p->packed);
}

/* The run's one dictionary is the trainer's. */
static void adopt(lsm_packer *p)
{
    codec_block_dict *dict = p->trainer->dict;
    if (p->dict == NULL && dict != NULL) {
        codec_block_dict_ref(dict);
        p->dict = dict;
    }
    p->uses_dict = dict != NULL && p->dict == dict;
}

vv_status lsm_packer_enter(lsm_packer *p, uint32_t table, codec_kind codec, uint32_t gain,
                           vv_error *err)
{
    assert(p->held.len == 0 && gain > 0);
    p->codec = codec;
    p->gain = gain;
    p->table = table;
    p->uses_dict = false;
    p->is_holding = false;
    if (codec != CODEC_NONE && p->ctx == NULL) {
        vv_status st = lsm_store_take_codec(p->store, &p->ctx, err);
        if (st != VV_OK)
            return st;
    }
    if (codec != CODEC_ZSTD || p->trainer == NULL)
        return VV_OK;
    if (p->trainer->is_decided && p->trainer->table == table)
        adopt(p);
    else
        p->is_holding = p->dict == NULL;
    return VV_OK;
}

bool lsm_packer_wants(const lsm_packer *p, size_t raw_len)
{
    return p->is_holding && raw_len <= LSM_BLOCK_PLAIN_MAX;
}

vv_status lsm_packer_hold(lsm_packer *p, vv_slice raw, bool *full, vv_error *err)
{
    vv_buf_append_slice(&p->held, raw);
    vv_buf_append_le32(&p->held_sizes, (uint32_t)raw.len);
    if (p->held.status != VV_OK || p->held_sizes.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "run: no memory to hold %zu bytes", p->held.len);
    *full = p->held.len >= p->trainer->sample;
    return VV_OK;
}

/* ---- is a dictionary worth it ---- */

/* Sectors of a block with a dictionary or without; the sectors of the raw block where compression
 * fails. */
static uint64_t sectors_of(lsm_packer *p, const codec_block_dict *dict, vv_slice raw)
{
    uint64_t none = vv_align_up(raw.len, VV_SECTOR);
    size_t len = 0;
    vv_buf_reset(&p->packed);
    uint8_t *to = vv_buf_reserve(&p->packed, raw.len);
    if (to == NULL)
        return none;
    vv_status st = dict == NULL
                       ? codec_block_compress(p->ctx, CODEC_ZSTD, raw, to, raw.len, &len, NULL)
                       : codec_block_dict_compress(p->ctx, dict, raw, to, raw.len, &len, NULL);
    return st == VV_OK ? vv_align_up(len + LSM_STORED_HEAD, VV_SECTOR) : none;
}

static size_t held_size(const lsm_packer *p, unsigned i)
{
    return vv_get_le32(p->held_sizes.data + (size_t)i * 4);
}

/* Compared over the held blocks from `first` on, which lie at offset `at`. */
static bool pays(lsm_packer *p, const codec_block_dict *dict, unsigned first, unsigned count,
                 size_t at)
{
    uint64_t with = 0;
    uint64_t without = 0;
    for (unsigned i = first; i < count; i++) {
        vv_slice raw = vv_slice_of(p->held.data + at, held_size(p, i));
        with += sectors_of(p, dict, raw);
        without += sectors_of(p, NULL, raw);
        at += raw.len;
    }
    return p->trainer->gain == UINT32_MAX || with + without / p->trainer->gain < without;
}

/* From the first len held bytes, in pieces. */
static codec_block_dict *train(const lsm_packer *p, size_t len)
{
    size_t cap = dict_size(p->trainer);
    size_t piece = p->trainer->sample / PIECES;
    unsigned count = (unsigned)(len / piece);
    size_t *sizes = vv_calloc(count, sizeof *sizes);
    uint8_t *bytes = vv_alloc(cap);
    codec_block_dict *dict = NULL;
    for (unsigned i = 0; sizes != NULL && i < count; i++)
        sizes[i] = piece;
    size_t made = 0;
    if (sizes == NULL || bytes == NULL ||
        codec_block_dict_train(p->held.data, sizes, count, bytes, cap, &made) != VV_OK ||
        codec_block_dict_create(vv_slice_of(bytes, made), true, &dict, NULL) != VV_OK)
        dict = NULL; /* also for lack of memory: the run does without */
    vv_free(sizes);
    vv_free(bytes);
    return dict;
}

void lsm_packer_decide(lsm_packer *p)
{
    p->is_holding = false;
    unsigned count = (unsigned)(p->held_sizes.len / 4);
    /* A table's few blocks are not worth a dictionary in the file, nor the time. */
    if (p->held.len < p->trainer->sample / 4 || count < BLOCKS_MIN)
        return;
    unsigned used = count - count / 4;
    size_t at = 0;
    for (unsigned i = 0; i < used; i++)
        at += held_size(p, i);
    codec_block_dict *dict = train(p, at);
    if (dict != NULL && !pays(p, dict, used, count, at)) {
        codec_block_dict_unref(dict);
        dict = NULL;
    }
    forget(p->trainer);
    p->trainer->table = p->table;
    p->trainer->dict = dict;
    p->trainer->is_decided = true;
    adopt(p);
}

/* ---- packing ---- */

vv_status lsm_packer_pack(lsm_packer *p, uint32_t number, vv_slice raw, vv_slice *out,
                          uint8_t *codec, vv_error *err)
{
    *out = raw;
    *codec = CODEC_NONE;
    if (p->codec == CODEC_NONE || raw.len < VV_SECTOR)
        return VV_OK;
    size_t cap = raw.len - raw.len / p->gain;
    vv_buf_reset(&p->packed);
    uint8_t *to = vv_buf_reserve(&p->packed, LSM_STORED_HEAD + cap);
    if (to == NULL)
        return vv_fail(err, VV_NO_MEMORY, "run: no memory to compress %zu bytes", raw.len);
    size_t len = 0;
    vv_status st =
        p->uses_dict
            ? codec_block_dict_compress(p->ctx, p->dict, raw, to + LSM_STORED_HEAD, cap, &len, err)
            : codec_block_compress(p->ctx, p->codec, raw, to + LSM_STORED_HEAD, cap, &len, err);
    if (st == VV_NO_SPACE)
        return VV_OK;
    if (st != VV_OK)
        return st;
    len += LSM_STORED_HEAD;
    vv_put_le32(to + 8, (uint32_t)raw.len);
    vv_put_le32(to + 12, p->uses_dict ? codec_block_dict_id(p->dict) : 0);
    vv_put_le64(to, lsm_stored_sum(to, len, p->run_id, number));
    p->has_compressed = true;
    p->has_dict_blocks |= p->uses_dict;
    *out = vv_slice_of(to, len);
    *codec = p->uses_dict ? LSM_CODEC_DICTIONARY : (uint8_t)p->codec;
    return VV_OK;
}
