/*
 * lsm_run_format.h - where the parts of a run's footer lie; shared by its writer and its reader.
 */
#ifndef VARVE_LSM_LSM_RUN_FORMAT_H
#define VARVE_LSM_LSM_RUN_FORMAT_H

#include "base/hash.h"
#include "lsm/lsm_run.h"

#define LSM_RUN_MAGIC "VARVERUN"

/* Offsets in the footer. */
enum {
    FOOT_MAGIC = 0,     /* 8 bytes */
    FOOT_FORMAT = 8,    /* u32 */
    FOOT_FEATURES = 12, /* u32, LSM_FEATURE_* */
    FOOT_KEY_ID = 16,   /* u64, zero: not encrypted */
    FOOT_NONCE = 24,    /* 24 bytes, zero */
    FOOT_ID = 48,       /* u64 */
    FOOT_SHARD = 56,    /* u32 */
    FOOT_LEVEL = 60,    /* u32 */
    FOOT_GROUP = 64,    /* u64 */
    FOOT_ENTRIES = 72,  /* u64 */
    FOOT_DELETES = 80,
    FOOT_RANGES = 88,
    FOOT_RAW = 96,
    FOOT_VERSION_MIN = 104, /* i64 */
    FOOT_VERSION_MAX = 112,
    FOOT_BLOCK_SIZE = 120,  /* u32 */
    FOOT_BLOCK_COUNT = 124, /* u32 */
    FOOT_SECTIONS = 128,    /* 4 x {offset u64, length u64, sum u64} */
    FOOT_TABLES = 224,      /* u32 */
    FOOT_LOWER_LEN = 228,   /* u16 */
    FOOT_UPPER_LEN = 230,   /* u16 */
    FOOT_BOUNDS = 232,      /* lower, then upper; zeros up to the sum */
    FOOT_DICTIONARY = 2560, /* {offset u64, length u64, sum u64}, with LSM_FEATURE_DICTIONARY */
    FOOT_MERGES = 2584,     /* u64, with LSM_FEATURE_MERGES, and the next */
    FOOT_MERGE_TIME = 2592, /* i64 */
    FOOT_SUM = LSM_FOOTER_SIZE - 8,
};

static_assert(FOOT_BOUNDS + 2 * LSM_BOUND_MAX <= FOOT_DICTIONARY, "the bounds end before it");

/* Bits of FOOT_FEATURES. A run has only those that its bytes need, so that an older version reads
 * what it can. */
enum {
    LSM_FEATURE_STORED_SUM = 1, /* compressed blocks begin with LSM_STORED_HEAD bytes */
    LSM_FEATURE_DICTIONARY = 2, /* a dictionary section; blocks of LSM_CODEC_DICTIONARY */
    LSM_FEATURE_MERGES = 4,     /* entries of kind ENGINE_MERGE */
    LSM_FEATURE_VALUES = 8,     /* entries of kind ENGINE_APART */
    LSM_FEATURE_BULK = 16,      /* its versions stand as 0: the manifest has the one of them all */
    LSM_FEATURES_KNOWN = 31,
};

typedef enum lsm_section {
    LSM_SECTION_INDEX,
    LSM_SECTION_RANGES,
    LSM_SECTION_PROPERTIES,
    LSM_SECTION_FILTER,
    LSM_SECTIONS, /* every run has those above */
    LSM_SECTION_DICTIONARY = LSM_SECTIONS,
} lsm_section;

static inline bool lsm_run_is_bulk(const lsm_run *run)
{
    return (run->features & LSM_FEATURE_BULK) != 0;
}

/** Give a block of a bulk run, whose sum was verified, the version that the manifest has for it. */
static inline void lsm_run_place_version(const lsm_run *run, uint8_t *block, int64_t version)
{
    if (VV_UNLIKELY(lsm_run_is_bulk(run)))
        vv_put_le64(block + LSM_BLOCK_VERSION_AT, (uint64_t)version);
}

/** Where the footer tells of a section. */
static inline size_t lsm_section_at(lsm_section section)
{
    return section < LSM_SECTIONS ? FOOT_SECTIONS + 24 * (size_t)section : FOOT_DICTIONARY;
}

#define LSM_SECTION_MAX (UINT64_C(1) << 32)
#define LSM_INDEX_BLOCK_SIZE 9u /* offset u40 / 512, length u24, codec u8 */
#define LSM_INDEX_RESTART 64u
#define LSM_FILTER_TAIL 16u    /* line count u32, bits a key u32, hash seed u64 */
#define LSM_COMPRESSED_HEAD 4u /* raw length u32, in front of compressed bytes */
/* With LSM_FEATURE_STORED_SUM instead: sum u64, raw length u32, dictionary id u32 (0: none). */
#define LSM_STORED_HEAD 16u
/* Beside codec_kind in the index: zstd with the run's dictionary. */
#define LSM_CODEC_DICTIONARY 3u

static inline uint64_t lsm_section_sum(const uint8_t *p, size_t len, uint64_t run_id,
                                       lsm_section section)
{
    return vv_hash64_seed(p, len, ~run_id * UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)section);
}

/** The sum of a compressed block of len bytes at this address. */
static inline uint64_t lsm_stored_sum(const uint8_t *p, size_t len, uint64_t run_id,
                                      uint32_t number)
{
    return vv_hash64_seed(p + 8, len - 8, ~(run_id * UINT64_C(0x9e3779b97f4a7c15) + number));
}

static inline uint64_t lsm_footer_sum(const uint8_t *p, uint64_t run_id)
{
    return vv_hash64_seed(p, FOOT_SUM, ~run_id);
}

#endif
