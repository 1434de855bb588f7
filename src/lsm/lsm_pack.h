/*
 * lsm_pack.h - the stored form of a block: its codec, its dictionary, its sum.
 *
 *     table begins --> zstd, no dictionary known --> blocks are held back --> 512 KiB: train, try
 *                                                                              | pays    | does not
 *                  --> dictionary known from the run before ----------------> with it    without
 *
 * A trainer outlives the runs of one job: what was found for a table holds for its next runs too.
 */
#ifndef VARVE_LSM_LSM_PACK_H
#define VARVE_LSM_LSM_PACK_H

#include "codec/codec_block_dict.h"
#include "lsm/lsm_run.h"

typedef struct lsm_trainer {
    uint32_t sample;        /* bytes of blocks to train from */
    uint32_t gain;          /* it must save one part in so many; UINT32_MAX: it is used anyway */
    uint32_t table;         /* what is known is of this one */
    bool is_decided;        /* something is known */
    codec_block_dict *dict; /* a reference; NULL: none pays */
} lsm_trainer;

void lsm_trainer_init(lsm_trainer *t, uint32_t sample, uint32_t gain);
void lsm_trainer_fini(lsm_trainer *t);

typedef struct lsm_packer {
    lsm_store *store;
    uint64_t run_id;
    codec_block_ctx *ctx; /* from the first codec on */
    lsm_trainer *trainer; /* NULL: no dictionaries */
    codec_kind codec;
    uint32_t gain; /* a block is compressed where that saves one part in so many */
    uint32_t table;
    codec_block_dict *dict; /* of the run, a reference; one at most */
    bool uses_dict;         /* for the table at hand */
    bool is_holding;        /* blocks are held back until there are enough to train from */
    bool has_dict_blocks;   /* some block was stored with it */
    bool has_compressed;    /* some block was stored compressed */
    vv_buf held;            /* raw blocks */
    vv_buf held_sizes;      /* u32 each */
    vv_buf packed;
} lsm_packer;

void lsm_packer_init(lsm_packer *p, lsm_store *store, uint64_t run_id, lsm_trainer *trainer);
void lsm_packer_fini(lsm_packer *p);

/** Blocks from here on are of this table. Nothing is held back. */
VV_MUST_CHECK vv_status lsm_packer_enter(lsm_packer *p, uint32_t table, codec_kind codec,
                                         uint32_t gain, vv_error *err);

/** Keep a raw block back? Then *full tells that it is time to decide. */
VV_MUST_CHECK vv_status lsm_packer_hold(lsm_packer *p, vv_slice raw, bool *full, vv_error *err);
/** True when a block of raw_len bytes is to be held back. */
bool lsm_packer_wants(const lsm_packer *p, size_t raw_len);
/** Train from what is held and find out whether it pays. The blocks stay in held. */
void lsm_packer_decide(lsm_packer *p);

/** The bytes for the file of block `number`: compressed where that saves enough. *out borrows raw
 * or the packer; *codec goes into the index. */
VV_MUST_CHECK vv_status lsm_packer_pack(lsm_packer *p, uint32_t number, vv_slice raw, vv_slice *out,
                                        uint8_t *codec, vv_error *err);

#endif
