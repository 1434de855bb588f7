/*
 * archive.h - batches of messages as objects, and the records by which a table knows them.
 *
 *   arch_writer    messages in, the bytes of an object out (docs/format/archive-object.md)
 *   arch_reader    an object by ranges: its index once, then block by block
 *   arch_intent    what a partition is about to store, committed before the first byte is sent
 *   arch_entry     what it has stored, committed when the store has it
 *
 * An object: header, blocks of compressed messages, dictionary, attribute columns, block index,
 * footer, each with a checksum. Whoever knows index_at and index_len (an arch_entry does) reads a
 * message of it with two range reads, one of the index and one of the block; whoever knows only the
 * object's size needs a third, of the footer.
 *
 * Pure functions over bytes and two callbacks: no files, no store, no table. Everything that
 * decodes takes bytes from anywhere; sizes that bytes claim are bounded before memory is taken for
 * them.
 *
 * Threads: a writer and a reader belong to one thread at a time.
 */
#ifndef VARVE_ARCHIVE_ARCHIVE_H
#define VARVE_ARCHIVE_ARCHIVE_H

#include "base/buf.h"
#include "stream/stream.h"
#include "varve/object.h"
#include "varve/tier.h"

#define ARCH_BLOCK_TARGET (256u * 1024)    /* bytes of messages before compression */
#define ARCH_BLOCK_MAX (16u * 1024 * 1024) /* what a block may claim to unpack to */
#define ARCH_INDEX_MAX (64u * 1024 * 1024) /* bytes of index and footer */
#define ARCH_FOOTER_SIZE 128u              /* the last bytes of an object */
#define ARCH_DICTIONARY_MAX (64u * 1024)   /* bytes of a dictionary */
#define ARCH_COLUMNS_MAX 128u              /* attributes of which an object keeps ranges */

/* Where the bytes of an object go. A failure ends the writer. */
typedef struct arch_sink {
    vv_status (*write)(void *ctx, const void *bytes, size_t len, vv_error *err);
    void *ctx;
} arch_sink;

/* Where they come from: exactly len bytes at offset, or a failure. */
typedef struct arch_source {
    vv_status (*read)(void *ctx, uint64_t offset, void *out, size_t len, vv_error *err);
    void *ctx;
    uint64_t size; /* of the object */
} arch_source;

/* Whose messages an object holds: in its header, so that an object explains itself. */
typedef struct arch_identity {
    uint8_t store_id[16];
    uint64_t intent; /* of the record that announced it: fences stores without conditional put */
    char tenant[VV_NAME_MAX + 1];
    char table[VV_NAME_MAX + 1];
    uint32_t partition;
    uint32_t partition_count;
    int64_t made_ns;
    uint32_t table_id;     /* 0: not said, by whoever wrote it */
    int64_t table_made_ns; /* when the table was made; 0 with table_id 0. Of tables of one name that
                              were dropped and made again these two tell which it was */
} arch_identity;

/* What an object holds, as its footer says it. */
typedef struct arch_summary {
    uint64_t size;     /* bytes of the object */
    uint32_t crc32c;   /* of all of them */
    uint64_t index_at; /* from here to the end: block index and footer */
    uint32_t index_len;
    uint64_t first;     /* offset of the first message */
    uint64_t next;      /* behind the last */
    uint64_t raw_bytes; /* of the messages as stream_message_size counts them */
    int64_t receive_first_ns;
    int64_t receive_last_ns;
    int64_t event_min_ns; /* STREAM_NO_TIME: no message has one */
    int64_t event_max_ns;
} arch_summary;

/* ---- writing (arch_writer.c) ------------------------------------------------------------------
 */

typedef struct arch_writer arch_writer;

typedef struct arch_writer_options {
    arch_identity who;
    vv_tier_codec codec;
    int level; /* of zstd; 0: 1 */
    uint32_t
        block_bytes;     /* 0: ARCH_BLOCK_TARGET. The first blocks are smaller: what waits for its
                            block is small beside what is written, so that arch_writer_size holds */
    vv_slice dictionary; /* for zstd, in the object then; empty: trained on the first messages where
                            it pays */
} arch_writer_options;

VV_MUST_CHECK vv_status arch_writer_open(const arch_writer_options *opt, arch_sink sink,
                                         arch_writer **out, vv_error *err);
/* The next message: its offset is the one before it plus one, its receive time not less. */
VV_MUST_CHECK vv_status arch_writer_add(arch_writer *w, const vv_message *m, vv_error *err);
/* Bytes the object would have if it were finished now: exact but for the messages of the block that
 * is not full yet, which count by the ratio of the one before. What batches are cut by. */
uint64_t arch_writer_size(const arch_writer *w);
uint64_t arch_writer_count(const arch_writer *w);
/* Bytes that it holds, but for the tables of its compression: less than 1 MiB. */
uint64_t arch_writer_memory(const arch_writer *w);
VV_MUST_CHECK vv_status arch_writer_finish(arch_writer *w, arch_summary *out, vv_error *err);
void arch_writer_close(arch_writer *w); /* accepts NULL; an unfinished object is none */

/* ---- reading (arch_reader.c) ------------------------------------------------------------------
 */

typedef struct arch_reader arch_reader;

/** Read index and footer: one read where index_at and index_len are known (else 0: two reads).
 * VV_CORRUPT names the object's part and offset; VV_UNSUPPORTED for a format of later versions. */
VV_MUST_CHECK vv_status arch_reader_open(arch_source source, uint64_t index_at, uint32_t index_len,
                                         arch_reader **out, vv_error *err);
void arch_reader_close(arch_reader *r); /* accepts NULL */
const arch_identity *arch_reader_who(const arch_reader *r);
const arch_summary *arch_reader_summary(const arch_reader *r);
uint32_t arch_reader_block_count(const arch_reader *r);
/* What its blocks are compressed with; VV_TIER_PLAIN where none became smaller. */
vv_tier_codec arch_reader_codec(const arch_reader *r);
/* What the index says of a block. */
typedef struct arch_block_info {
    uint64_t first;
    uint64_t next;
    uint64_t at;      /* in the object */
    uint32_t len;     /* stored */
    uint32_t raw_len; /* unpacked */
    int64_t receive_first_ns;
    int64_t receive_last_ns;
    int64_t
        event_max_ns; /* with the receive time for messages without one, as stream_block_newest */
} arch_block_info;
void arch_reader_block(const arch_reader *r, uint32_t block, arch_block_info *out);
/* The block that holds offset; VV_NOT_FOUND outside of the object. */
VV_MUST_CHECK vv_status arch_reader_find(const arch_reader *r, uint64_t offset, uint32_t *block,
                                         vv_error *err);
/** Fetch and unpack a block: one read. */
VV_MUST_CHECK vv_status arch_reader_load(arch_reader *r, uint32_t block, vv_error *err);
/** The same from bytes that were fetched before (a cache): [arch_block_info.len]. */
VV_MUST_CHECK vv_status arch_reader_unpack(arch_reader *r, uint32_t block, const void *stored,
                                           vv_error *err);
/** The next message of the loaded block, its offset and times filled in. VV_NOT_FOUND behind the
 * last. Borrows the reader until its next call. */
VV_MUST_CHECK vv_status arch_reader_next(arch_reader *r, vv_message *out, vv_error *err);
/** Go to a message of the loaded block; offsets outside of it: VV_NOT_FOUND. */
VV_MUST_CHECK vv_status arch_reader_seek(arch_reader *r, uint64_t offset, vv_error *err);
/** May a message of the block have an attribute of this name and type with a value in [low, high]?
 * false is sure, by the ranges that the index has of each block. low and high are of one name and
 * type; NULL: no bound. */
bool arch_reader_may_hold(const arch_reader *r, uint32_t block, vv_slice name,
                          vv_attribute_type type, const vv_attribute *low,
                          const vv_attribute *high);
/** Read all of it and compare with every checksum; finding() gets a sentence each. */
VV_MUST_CHECK vv_status arch_reader_verify(arch_reader *r,
                                           void (*finding)(void *ctx, const char *text), void *ctx,
                                           vv_error *err);

/* ---- names (arch_name.c) ----------------------------------------------------------------------
 *
 * A template such as "{tenant}/{table}/{yyyy}/{mm}/{dd}/{hh}/{partition}-{first}-{intent}": times
 * of the first message's receive time, in UTC; {attr:NAME} an attribute of the first message, its
 * bytes outside of a name's alphabet as =XX. {first} and {intent} must be in it, so that no two
 * objects share a name.
 */
#define ARCH_TEMPLATE_MAX 255u
VV_MUST_CHECK vv_status arch_template_check(const char *text, vv_error *err);
VV_MUST_CHECK vv_status arch_name_make(const char *text, const arch_identity *who,
                                       const vv_message *first, const char *suffix,
                                       char out[VV_OBJECT_NAME_MAX + 1], vv_error *err);

/* ---- other forms of a batch (arch_jsonl.c, arch_parquet.c) ------------------------------------
 *
 * The same calls for each form, so that the archiver can write any of them beside. level: of zstd,
 * 0: 1; of Parquet also -1: uncompressed. A failure ends the form. */
typedef struct arch_form arch_form;
VV_MUST_CHECK vv_status arch_form_open(vv_tier_form form, const arch_identity *who, int level,
                                       arch_sink sink, arch_form **out, vv_error *err);
/* Messages in the order of their offsets, as to a writer. */
VV_MUST_CHECK vv_status arch_form_add(arch_form *f, const vv_message *m, vv_error *err);
VV_MUST_CHECK vv_status arch_form_finish(arch_form *f, uint64_t *size, vv_error *err);
uint64_t arch_form_memory(const arch_form *f);   /* as arch_writer_memory */
void arch_form_close(arch_form *f);              /* accepts NULL */
const char *arch_form_suffix(vv_tier_form form); /* ".jsonl.zst", ".parquet" */

/* ---- records in the table (arch_record.c): bytes in docs/format/stream.md ----------------------
 *
 * In the partition's own keys, so that log, snapshots, replicas and backups have them as they have
 * the messages. First bytes beside those of stream.h, frozen: on disk. */
#define ARCH_KEY_ENTRY 'A'  /* then the first offset, big-endian */
#define ARCH_KEY_DYING 'D'  /* then the intent: an object that is to be removed */
#define ARCH_KEY_INTENT 'I' /* then the intent, big-endian */
#define ARCH_KEY_RESTORED                                                                          \
    'R' /* then the first offset of messages that were brought back into blocks */
#define ARCH_KEY_SIZE 9u
void arch_key(char kind, uint64_t number, uint8_t out[ARCH_KEY_SIZE]);

typedef enum arch_intent_kind {
    ARCH_CUT = 1,   /* messages that lie in the table alone */
    ARCH_MERGE = 2, /* objects that are stored already, as one */
} arch_intent_kind;

typedef struct arch_intent {
    arch_intent_kind kind;
    uint64_t intent; /* random, never 0 */
    uint64_t first;
    uint64_t next;
    vv_tier_codec codec;
    vv_tier_form also;
    int64_t made_ns;
    char name[VV_OBJECT_NAME_MAX + 1];
} arch_intent;

typedef struct arch_entry {
    uint64_t intent;
    vv_tier_codec codec;
    vv_tier_form also;
    int64_t made_ns;
    int64_t stored_ns;
    arch_summary holds;
    uint64_t bytes_before; /* of the partition's blocks before it, as in stream_place */
    char name[VV_OBJECT_NAME_MAX + 1];
} arch_entry;

typedef struct arch_dying {
    vv_tier_form also;
    int64_t after_ns; /* wall time from which it may be removed */
    char name[VV_OBJECT_NAME_MAX + 1];
} arch_dying;

typedef struct arch_restored {
    uint64_t next;       /* behind the last of them */
    int64_t restored_ns; /* wall time: they count as local from here on */
} arch_restored;

void arch_restored_encode(const arch_restored *a, vv_buf *out);
VV_MUST_CHECK vv_status arch_restored_decode(vv_slice bytes, arch_restored *out, vv_error *err);
void arch_intent_encode(const arch_intent *a, vv_buf *out);
void arch_entry_encode(const arch_entry *a, vv_buf *out);
void arch_dying_encode(const arch_dying *a, vv_buf *out);
/* VV_CORRUPT; VV_UNSUPPORTED for a format of later versions. */
VV_MUST_CHECK vv_status arch_intent_decode(vv_slice bytes, arch_intent *out, vv_error *err);
VV_MUST_CHECK vv_status arch_entry_decode(vv_slice bytes, arch_entry *out, vv_error *err);
VV_MUST_CHECK vv_status arch_dying_decode(vv_slice bytes, arch_dying *out, vv_error *err);

#endif
