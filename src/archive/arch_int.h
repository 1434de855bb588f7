/*
 * arch_int.h - shared inside archive/: the object's fixed parts, compression, ranges of attributes.
 */
#ifndef VARVE_ARCHIVE_ARCH_INT_H
#define VARVE_ARCHIVE_ARCH_INT_H

#include "archive/archive.h"
#include "codec/codec_block_dict.h"

/* ---- fixed parts (arch_layout.c): docs/format/archive-object.md --------------------------------
 */

#define ARCH_VERSION 1u
#define ARCH_FEATURE_TABLE 1u /* of a header: it says which table of that name */
#define ARCH_MAGIC_SIZE 8u
#define ARCH_HEADER_FIXED 128u
#define ARCH_HEADER_MAX (ARCH_HEADER_FIXED + 2 * VV_NAME_MAX + 4)
#define ARCH_BLOCK_ENTRY 56u
#define ARCH_RAW_MIN 8u /* bytes of a block: a message, a receive time, its trailer */

typedef enum arch_stored { /* how a block is stored. Frozen: on disk. */
                           ARCH_STORED_PLAIN = 0,
                           ARCH_STORED_LZ4 = 1,
                           ARCH_STORED_ZSTD = 2,
                           ARCH_STORED_DICT = 3, /* zstd with the object's dictionary */
} arch_stored;

/* A block as its entry in the index says it. */
typedef struct arch_block {
    uint32_t count;
    uint32_t len;
    uint32_t raw_len;
    uint32_t crc32c; /* of what is stored */
    int64_t receive_first_ns;
    int64_t receive_last_ns;
    int64_t event_min_ns; /* of those given; STREAM_NO_TIME: none */
    int64_t event_max_ns;
    arch_stored stored;
    bool has_untimed;
    uint64_t first; /* from here on what the entries before it tell */
    uint64_t at;
} arch_block;

typedef struct arch_footer {
    uint64_t index_at;
    uint32_t index_len; /* footer included */
    uint32_t index_crc; /* of the bytes between index_at and the footer */
    uint32_t body_crc;  /* of all bytes before the footer */
    uint32_t block_count;
    uint32_t header_len;
    uint32_t dictionary_len;
    uint32_t columns_len;
    uint64_t intent;
    arch_summary sum; /* but its size, crc32c, index_at and index_len */
} arch_footer;

/** An event time as ranges have it, in which STREAM_NO_TIME says that there is none. */
static inline int64_t arch_event_time(const vv_message *m)
{
    return m->event_time_ns == STREAM_NO_TIME ? STREAM_NO_TIME + 1 : m->event_time_ns;
}

/** Returns the length, at most ARCH_HEADER_MAX. */
size_t arch_header_encode(const arch_identity *who, vv_tier_codec codec, uint64_t first,
                          uint8_t out[ARCH_HEADER_MAX]);
VV_MUST_CHECK vv_status arch_header_decode(vv_slice bytes, arch_identity *who, uint64_t *first,
                                           vv_error *err);
void arch_block_encode(const arch_block *b, uint8_t out[ARCH_BLOCK_ENTRY]);
/** VV_CORRUPT for what no writer makes; first and at are left alone. */
VV_MUST_CHECK vv_status arch_block_decode(const uint8_t entry[ARCH_BLOCK_ENTRY], arch_block *out,
                                          vv_error *err);
void arch_footer_encode(const arch_footer *f, uint8_t out[ARCH_FOOTER_SIZE]);
VV_MUST_CHECK vv_status arch_footer_decode(const uint8_t bytes[ARCH_FOOTER_SIZE], arch_footer *out,
                                           vv_error *err);

/* ---- compression (arch_pack.c) -----------------------------------------------------------------
 */

/* Compresses blocks at a level, with a dictionary or without. */
typedef struct arch_pack arch_pack;

VV_MUST_CHECK vv_status arch_pack_create(vv_tier_codec codec, int level, arch_pack **out,
                                         vv_error *err);
void arch_pack_destroy(arch_pack *p); /* accepts NULL */
/** Compress with this dictionary from now on. VV_INVALID: it is none. Copies. */
VV_MUST_CHECK vv_status arch_pack_dictionary(arch_pack *p, vv_slice bytes, vv_error *err);
vv_slice arch_pack_dictionary_bytes(const arch_pack *p);
/** Into out, which is reset; as it is where it does not become smaller. */
VV_MUST_CHECK vv_status arch_pack_block(arch_pack *p, vv_slice raw, bool with_dictionary,
                                        vv_buf *out, arch_stored *stored, vv_error *err);

/* ---- ranges of attributes (arch_column.c) ------------------------------------------------------
 */

#define ARCH_COLUMN_BYTES_MAX (4u * 1024 * 1024) /* of all of them */
#define ARCH_BOUND_MAX 24u                       /* bytes of a text that a range keeps */

typedef struct arch_columns arch_columns; /* of an object that is being written */

VV_MUST_CHECK vv_status arch_columns_create(arch_columns **out, vv_error *err);
void arch_columns_destroy(arch_columns *c); /* accepts NULL */
void arch_columns_add(arch_columns *c, const vv_message *m);
/** The block that the messages since the last call went to has this number. */
VV_MUST_CHECK vv_status arch_columns_block(arch_columns *c, uint32_t block, vv_error *err);
/** Bytes that arch_columns_encode would append. */
size_t arch_columns_size(const arch_columns *c);
void arch_columns_encode(const arch_columns *c, vv_buf *out);

/* What a reader keeps of a column: where its bytes are. */
typedef struct arch_column {
    vv_attribute_type type;
    vv_slice name;
    vv_slice ranges;
} arch_column;

typedef struct arch_column_set {
    arch_column *column; /* [count], vv_free */
    uint32_t count;
    uint32_t complete; /* blocks that the ranges cover: the first ones */
    bool is_all;       /* an attribute without a column is in no message */
} arch_column_set;

/** Check every byte and note where each column is. Borrows bytes. */
VV_MUST_CHECK vv_status arch_columns_decode(vv_slice bytes, uint32_t block_count,
                                            arch_column_set *out, vv_error *err);
bool arch_columns_may_hold(const arch_column_set *s, uint32_t block, vv_slice name,
                           vv_attribute_type type, const vv_attribute *low,
                           const vv_attribute *high);

/* ---- text (arch_text.c) ------------------------------------------------------------------------
 */

/** An attribute's value: what is no UTF-8 as {"base64":".."}, a time as RFC 3339. */
void arch_json_attribute(vv_buf *out, const vv_attribute *a);

/* ---- other forms of a batch (arch_form.c dispatches) -------------------------------------------
 */

typedef struct arch_jsonl arch_jsonl;
typedef struct arch_parquet arch_parquet;

VV_MUST_CHECK vv_status arch_jsonl_open(int level, arch_sink sink, arch_jsonl **out, vv_error *err);
VV_MUST_CHECK vv_status arch_jsonl_add(arch_jsonl *j, const vv_message *m, vv_error *err);
VV_MUST_CHECK vv_status arch_jsonl_finish(arch_jsonl *j, vv_error *err);
uint64_t arch_jsonl_memory(const arch_jsonl *j);
void arch_jsonl_close(arch_jsonl *j); /* accepts NULL */

/** level -1: uncompressed. */
VV_MUST_CHECK vv_status arch_parquet_open(const arch_identity *who, int level, arch_sink sink,
                                          arch_parquet **out, vv_error *err);
VV_MUST_CHECK vv_status arch_parquet_add(arch_parquet *p, const vv_message *m, vv_error *err);
VV_MUST_CHECK vv_status arch_parquet_finish(arch_parquet *p, vv_error *err);
uint64_t arch_parquet_memory(const arch_parquet *p);
void arch_parquet_close(arch_parquet *p); /* accepts NULL */

/* ---- an object that is being read (arch_reader.c, arch_verify.c) ------------------------------
 */

struct arch_reader {
    arch_source source;
    arch_identity who;
    arch_footer footer;
    uint8_t *index; /* the bytes between index_at and the footer */
    arch_block *block;
    arch_column_set columns; /* borrows index */
    codec_block_ctx *codec;
    codec_block_dict *dict; /* or NULL */
    vv_buf stored;          /* of the block that was fetched last */
    vv_buf raw;
    stream_scratch scratch;
    bool is_loaded;
    uint32_t loaded;     /* the block in raw */
    const uint8_t *next; /* message */
    const uint8_t *end;  /* of the messages */
    const uint8_t *run;  /* of receive times, behind the one in use */
    uint64_t run_left;   /* messages that still have run_ns */
    int64_t run_ns;
    uint64_t offset; /* of the next message */
};

#endif
