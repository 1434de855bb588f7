/*
 * stream.h - tables of messages: appended, never changed, read by offset, followed, aged out.
 *
 * A stream table has one partition or several (vv_table_options.partitions); a partition is a
 * sequence of messages numbered without gaps from 0 on, in the order of the log. An offset is never
 * given twice, whatever is trimmed or retained. Consumers read from an offset, from a moment, or
 * from where a named position stands, and commit positions as they go.
 *
 * Every message gets its receive time when it gets its offset; along a partition receive times
 * never fall. The event time is what the producer says, in any order.
 *
 * Exactly once: a producer names itself and numbers its messages. What it sends again, because it
 * did not hear the answer, after a crash and a restart of either side too, is known by its numbers
 * and answered with the offset it has already, as long as that is at hand
 * (vv_stream_append_result.first_offset).
 *
 * Threads: every function may be called from any thread; a cursor, a tail but for its cancel, and
 * an error belong to one thread at a time. Messages, options and names are borrowed for the call.
 */
#ifndef VARVE_STREAM_H
#define VARVE_STREAM_H

#include "varve/db.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VV_STREAM_MESSAGE_MAX (12u * 1024 * 1024) /* bytes of a message, all its parts together */
#define VV_STREAM_MESSAGES_MAX 65536u             /* messages of an append */
#define VV_STREAM_KEY_MAX (64u * 1024)
#define VV_STREAM_ATTRIBUTES_MAX 256u     /* of a message */
#define VV_STREAM_ATTRIBUTE_NAME_MAX 255u /* bytes */
#define VV_STREAM_TEXT_MAX 255u           /* bytes of a content type, and of a source */
#define VV_STREAM_PRODUCER_MAX 128u       /* bytes of a producer's id */
#define VV_STREAM_TRACE_MAX 32u           /* bytes of a trace's id, as hexadecimal digits */
#define VV_STREAM_POSITION_MAX 128u       /* bytes of a position's name */
#define VV_STREAM_POSITIONS_MAX 10000u    /* positions of a partition */
#define VV_STREAM_BY_KEY UINT32_MAX       /* as a partition: chosen by the messages */

#define VV_EXTRACT_RULES_MAX 64u           /* rules of a table, and bytes of them */
#define VV_EXTRACT_TEXT_MAX (16u * 1024)   /* vv_table_options.extract_rules */
#define VV_EXTRACT_SCHEMA_MAX (48u * 1024) /* vv_table_options.extract_schema */

/* Frozen: on disk. */
typedef enum vv_attribute_type {
    VV_ATTRIBUTE_STRING = 1,
    VV_ATTRIBUTE_BYTES = 2,
    VV_ATTRIBUTE_I64 = 3,
    VV_ATTRIBUTE_F64 = 4, /* comes back bit for bit */
    VV_ATTRIBUTE_BOOL = 5,
    VV_ATTRIBUTE_TIME = 6, /* nanoseconds since 1970 */
} vv_attribute_type;

typedef struct vv_attribute {
    vv_slice name; /* 1 to VV_STREAM_ATTRIBUTE_NAME_MAX bytes, once in a message */
    vv_attribute_type type;
    vv_slice bytes; /* STRING, BYTES */
    int64_t i64;    /* I64, TIME; BOOL as 0 and 1 */
    double f64;     /* F64 */
} vv_attribute;

typedef struct vv_message {
    vv_slice key;                   /* may be empty */
    vv_slice value;                 /* may be empty */
    vv_slice content_type;          /* a hint, "application/json"; may be empty */
    vv_slice source;                /* where it came from; may be empty */
    const vv_attribute *attributes; /* [attribute_count] in the order they were given */
    size_t attribute_count;
    int64_t event_time_ns; /* 0: none; the receive time stands for it */
    /* Of messages that are read; an append does not look at them. */
    uint64_t offset;
    int64_t receive_time_ns;
    uint32_t partition;
} vv_message;

/* ---- writing ------------------------------------------------------------------------------ */

typedef struct vv_stream_append_options {
    size_t size;        /* set by VV_STREAM_APPEND_OPTIONS_INIT */
    uint32_t partition; /* default VV_STREAM_BY_KEY: by the hash of the keys, which must agree; by
                           that of the producer where no message has a key; else in turn */
    vv_durability durability; /* default that of the store */
    vv_slice producer; /* id of the producer, of 1 to VV_STREAM_PRODUCER_MAX bytes; empty: none, and
                          a message sent twice is there twice */
    uint64_t sequence; /* with a producer: of the first message; the others count on from it. Each
                          partition counts a producer's messages by itself */
    vv_slice trace;    /* that the messages belong to, up to VV_STREAM_TRACE_MAX bytes: named in
                          lines of the event log until they are in an object, and not stored */
} vv_stream_append_options;

#ifndef __cplusplus
#define VV_STREAM_APPEND_OPTIONS_INIT                                                              \
    {                                                                                              \
        .size = sizeof(vv_stream_append_options), .partition = VV_STREAM_BY_KEY                    \
    }
#else
#define VV_STREAM_APPEND_OPTIONS_INIT vv_stream_append_options_init()
static inline vv_stream_append_options vv_stream_append_options_init()
{
    vv_stream_append_options o = {};
    o.size = sizeof o;
    o.partition = VV_STREAM_BY_KEY;
    return o;
}
#endif

typedef struct vv_stream_append_result {
    vv_write_result write; /* its duplicate is the field below */
    uint32_t partition;
    uint64_t first_offset;   /* of the first message; the others follow. VV_STREAM_OFFSET_GONE where
                                all of them are dead letters, and of a duplicate whose messages are
                                not kept any more, lie in objects alone, or have more than 1,024
                                stored blocks of their producer behind them: an append each, or 64
                                KiB of one */
    size_t count;            /* in the table, at offsets in a row */
    int64_t receive_time_ns; /* of all of them; 0 of a duplicate */
    bool duplicate;          /* it was written before: nothing was written now */
    size_t dead;             /* messages that a required rule of the table refused: they lie in the
                                table of dead letters, and count is without them */
} vv_stream_append_result;

#define VV_STREAM_OFFSET_GONE UINT64_MAX

/**
 * Append messages to one partition: one atomic entry, all of them or none, at offsets in a row.
 *
 * @param messages  [count], at most VV_STREAM_MESSAGES_MAX and together below VV_BATCH_MAX.
 * @param opt       NULL: the defaults.
 * @param result    may be NULL.
 * @return VV_INVALID names the message that is malformed or over a limit, or two keys that belong
 *         to different partitions. With a producer: VV_OK and duplicate when it was written before,
 *         durable as asked by now; VV_CONFLICT when sequence lies ahead of what is expected (a gap,
 *         named) or only a part of the messages was written before. VV_NO_SPACE when the partition
 *         remembers producers_max producers already. Otherwise as vv_write.
 *
 * A producer that is not known may begin at any sequence. One that was silent for
 * producer_retention_ns is forgotten. Cost: one entry of the log; producers share its sync.
 */
VV_API VV_MUST_CHECK vv_status vv_stream_append(vv_table *table, const vv_message *messages,
                                                size_t count, const vv_stream_append_options *opt,
                                                vv_stream_append_result *result, vv_error *err);

/** Called exactly once for each accepted vv_stream_append_async, from the commit thread; of a
 * duplicate from a thread that looks up where it lies, perhaps after newer ones, and VV_BUSY where
 * too many wait for that. err is NULL with VV_OK, as is result otherwise. */
typedef void (*vv_stream_append_done)(void *ctx, vv_status status,
                                      const vv_stream_append_result *result, const vv_error *err);
/** As vv_stream_append, without waiting: messages are copied. Appends of one thread get their
 * offsets in the order of the calls. done does not run when the call itself fails. */
VV_API VV_MUST_CHECK vv_status vv_stream_append_async(vv_table *table, const vv_message *messages,
                                                      size_t count,
                                                      const vv_stream_append_options *opt,
                                                      vv_stream_append_done done, void *ctx,
                                                      vv_error *err);

/** The next sequence expected of a producer in a partition: where it goes on after a restart.
 * VV_NOT_FOUND when it is not known. Appends under way count as written. */
VV_API VV_MUST_CHECK vv_status vv_stream_producer_next(vv_table *table, uint32_t partition,
                                                       vv_slice producer, uint64_t *sequence,
                                                       vv_error *err);

/** The partition of messages with this key. */
VV_API uint32_t vv_stream_partition_of(const vv_table *table, vv_slice key);

/* ---- reading ------------------------------------------------------------------------------ */

typedef enum vv_stream_from {
    VV_STREAM_EARLIEST = 0, /* the first message that is kept */
    VV_STREAM_LATEST,       /* behind the last one */
    VV_STREAM_OFFSET,       /* `offset` */
    VV_STREAM_RECEIVED,     /* the first message received at or after time_ns */
    VV_STREAM_EVENT,        /* the first one with an event time at or after time_ns; behind it there
                               may be earlier ones */
    VV_STREAM_POSITION,     /* where the position called `position` stands */
} vv_stream_from;

/* A place in a partition. */
typedef struct vv_stream_start {
    vv_stream_from from;
    uint64_t offset;
    int64_t time_ns;
    vv_slice position;
} vv_stream_start;

typedef struct vv_stream_read_options {
    size_t size; /* set by VV_STREAM_READ_OPTIONS_INIT */
    uint32_t partition;
    vv_stream_start start;       /* default VV_STREAM_EARLIEST */
    const vv_snapshot *snapshot; /* NULL: one of its own, now; else must outlive the cursor */
    uint64_t messages_max;       /* then the cursor ends; 0: no bound */
    uint64_t bytes_max;          /* of the messages: it ends before the one that would pass it, but
                                    gives one at least; 0: no bound */
    const char *archive;         /* read this archive (db.h) instead of a snapshot; NULL: none */
    bool local;                  /* wait for no object store: VV_BUSY where a message, or the place
                                    of a time, lies in objects alone */
} vv_stream_read_options;

#ifndef __cplusplus
#define VV_STREAM_READ_OPTIONS_INIT                                                                \
    {                                                                                              \
        .size = sizeof(vv_stream_read_options)                                                     \
    }
#else
#define VV_STREAM_READ_OPTIONS_INIT vv_stream_read_options_init()
static inline vv_stream_read_options vv_stream_read_options_init()
{
    vv_stream_read_options o = {};
    o.size = sizeof o;
    return o;
}
#endif

typedef struct vv_stream_cursor vv_stream_cursor;

/**
 * Read a partition from a place on, pinned to a snapshot. An offset below the first one kept begins
 * there; one at or past the end gives nothing.
 *
 * @param opt  NULL: partition 0 from its first message.
 * @return VV_NOT_FOUND: no such position; VV_INVALID: no such partition; VV_BUSY: options.local.
 *         Gives *out: vv_stream_cursor_close.
 *
 * Cost: a seek; from a time, as many as the logarithm of what is kept. Memory: one stored block, 64
 * KiB or one message.
 */
VV_API VV_MUST_CHECK vv_status vv_stream_cursor_open(vv_table *table,
                                                     const vv_stream_read_options *opt,
                                                     vv_stream_cursor **out, vv_error *err);
/** The next message. VV_NOT_FOUND at the end, or at a bound of the options. What *out points to is
 * borrowed until the next call on the cursor. */
VV_API VV_MUST_CHECK vv_status vv_stream_cursor_next(vv_stream_cursor *cursor, vv_message *out,
                                                     vv_error *err);
/** The offset of what vv_stream_cursor_next gives next: to go on from, and to commit. */
VV_API uint64_t vv_stream_cursor_offset(const vv_stream_cursor *cursor);
/** Messages between the offset that was asked for and the first one kept: they are gone. */
VV_API uint64_t vv_stream_cursor_skipped(const vv_stream_cursor *cursor);
VV_API void vv_stream_cursor_close(vv_stream_cursor *cursor); /* accepts NULL */

/** The offset of a place: of what a cursor that starts there gives first. */
VV_API VV_MUST_CHECK vv_status vv_stream_find(vv_table *table, uint32_t partition,
                                              const vv_stream_start *start,
                                              const vv_snapshot *snapshot, uint64_t *offset,
                                              vv_error *err);

/* ---- following ---------------------------------------------------------------------------- */

typedef struct vv_stream_tail vv_stream_tail;

/** Follow a partition from a place on. opt as for a cursor, but without snapshot and archive;
 * messages_max (0: 1,000) and bytes_max (0: 1 MiB) bound what is read in one go, and is pinned
 * while it is given out. Whoever waits pins nothing. Gives *out: vv_stream_tail_close. */
VV_API VV_MUST_CHECK vv_status vv_stream_tail_open(vv_table *table,
                                                   const vv_stream_read_options *opt,
                                                   vv_stream_tail **out, vv_error *err);
/**
 * The next message; waits for it when there is none yet. A message is seen when its append is
 * answered, never before it is as durable as that append asked.
 *
 * @param timeout_ns  how long to wait: 0 not at all, negative: for ever.
 * @return VV_TIMEOUT: none came; VV_CLOSED: vv_stream_tail_cancel was called; VV_NOT_FOUND: the
 *         table was dropped. What *out points to is borrowed until the next call on the tail.
 *
 * Woken by the append, without polling.
 */
VV_API VV_MUST_CHECK vv_status vv_stream_tail_next(vv_stream_tail *tail, int64_t timeout_ns,
                                                   vv_message *out, vv_error *err);
/** As those of a cursor. */
VV_API uint64_t vv_stream_tail_offset(const vv_stream_tail *tail);
VV_API uint64_t vv_stream_tail_skipped(const vv_stream_tail *tail);
/** End the wait of whoever is in vv_stream_tail_next, and every later one. From any thread, before
 * the close. */
VV_API void vv_stream_tail_cancel(vv_stream_tail *tail);
VV_API void vv_stream_tail_close(vv_stream_tail *tail); /* accepts NULL */

typedef struct vv_stream_watch vv_stream_watch;

/**
 * For loops that cannot wait: notify runs once, when a message at or past `offset` may have become
 * visible, or the table was dropped; perhaps before this returns, perhaps for nothing. It runs on
 * the thread of an append and calls nothing of this store. Gives *out: vv_stream_unwatch, after
 * which notify does not run any more.
 */
VV_API VV_MUST_CHECK vv_status vv_stream_watch_open(vv_table *table, uint32_t partition,
                                                    uint64_t offset, void (*notify)(void *ctx),
                                                    void *ctx, vv_stream_watch **out,
                                                    vv_error *err);
VV_API void vv_stream_unwatch(vv_stream_watch *watch); /* accepts NULL */

/* ---- positions ---------------------------------------------------------------------------- */

/** Where a consumer stands in a partition. */
typedef struct vv_stream_position {
    char name[VV_STREAM_POSITION_MAX + 1]; /* letters, digits, '_', '-', '.', ':' and '/' */
    uint32_t partition;
    uint64_t offset;      /* of the next message it wants */
    int64_t committed_ns; /* wall time */
    uint64_t lag;         /* messages from it to the end, as of the reading */
} vv_stream_position;

/**
 * A consumer has done with everything below offset. Creates the position.
 *
 * @return VV_CONFLICT: it stands farther on already (the sentence says where): a late commit of an
 *         earlier state, or another consumer of that name. The same offset again is VV_OK.
 *         VV_INVALID: past the end of the partition, or a malformed name. VV_NO_SPACE: the
 * partition has VV_STREAM_POSITIONS_MAX positions (of some that are made at once a few more),
 * delete one. Otherwise as vv_write.
 */
VV_API VV_MUST_CHECK vv_status vv_stream_commit(vv_table *table, uint32_t partition, vv_slice name,
                                                uint64_t offset, vv_durability durability,
                                                vv_error *err);
/** The same in a batch, whose other writes are of tables on the same shard: what a consumer made of
 * messages and how far it got are one. The write answers VV_CONFLICT when the position moved since
 * this call. */
VV_API VV_MUST_CHECK vv_status vv_batch_stream_commit(vv_batch *batch, vv_table *table,
                                                      uint32_t partition, vv_slice name,
                                                      uint64_t offset, vv_error *err);
/** VV_NOT_FOUND: nothing was committed under that name in that partition. */
VV_API VV_MUST_CHECK vv_status vv_stream_position_get(vv_table *table, uint32_t partition,
                                                      vv_slice name, vv_stream_position *out,
                                                      vv_error *err);
/** All of them by partition and name; a nonzero return ends the walk. */
VV_API VV_MUST_CHECK vv_status vv_stream_position_list(vv_table *table,
                                                       int (*each)(void *ctx,
                                                                   const vv_stream_position *pos),
                                                       void *ctx, vv_error *err);
/** The same from behind a position on, which need not be there: a page behind another. */
VV_API VV_MUST_CHECK vv_status vv_stream_position_list_after(
    vv_table *table, uint32_t partition, vv_slice name,
    int (*each)(void *ctx, const vv_stream_position *pos), void *ctx, vv_error *err);
/** Put a position anywhere, back or ahead; creates it. An offset outside of what is kept goes to
 * the nearest end. @param offset  where it stands now; may be NULL. */
VV_API VV_MUST_CHECK vv_status vv_stream_position_reset(vv_table *table, uint32_t partition,
                                                        vv_slice name, const vv_stream_start *start,
                                                        uint64_t *offset, vv_error *err);
/** Delete it, in every partition. VV_NOT_FOUND: there was none. */
VV_API VV_MUST_CHECK vv_status vv_stream_position_delete(vv_table *table, vv_slice name,
                                                         vv_error *err);

/* ---- rules and dead letters --------------------------------------------------------------- */

/*
 * A table with vv_table_options.extract_rules makes attributes of every message that is appended,
 * before it gets its place in the log: docs/extract.md. What a rule cannot make is noted in the
 * attribute "_errors" and counted. Where the rule is `required` the message goes to the table
 * "NAME.dead" of the same tenant instead, in the same entry of the log, as it came, with attributes
 * that say why: "_dead_reason", "_dead_producer", "_dead_sequence". The table is made when it is
 * first needed and is a stream like any other.
 */
#define VV_STREAM_DEAD_SUFFIX ".dead"

/** Check rules before a table is made of them: VV_INVALID says which line is wrong, and why. */
VV_API VV_MUST_CHECK vv_status vv_stream_rules_check(const char *rules, vv_slice schema,
                                                     vv_error *err);

typedef struct vv_stream_rule_stats {
    vv_slice name;
    bool required;
    uint64_t found;  /* messages since the store was opened */
    uint64_t absent; /* without what it looks for */
    uint64_t errors;
} vv_stream_rule_stats;
/** The rules of a table in their order; a nonzero return ends the walk. */
VV_API VV_MUST_CHECK vv_status vv_stream_rules_read(vv_table *table,
                                                    int (*each)(void *ctx,
                                                                const vv_stream_rule_stats *rule),
                                                    void *ctx, vv_error *err);

/** The entity of a message, "namespace:type": what a rule called entity made, else tenant and name
 * of the table. Returns the length that it has in out, cut off to size. */
VV_API size_t vv_stream_entity(const vv_table *table, const vv_message *message, char *out,
                               size_t size);

typedef struct vv_stream_replay_result {
    uint64_t replayed; /* dead letters that are among the messages now */
    uint64_t dead;     /* that were refused again: they lie at the end of the dead letters */
} vv_stream_replay_result;

/**
 * Append the dead letters of a table to it, as they came, through the rules that it has now: those
 * there were when the call began, each once, also after a crash in the middle (the position
 * "replay" of the dead letters goes on with each append, in one entry). A letter that the table
 * takes in no case any more (it is over message_size_max) goes to the end of the dead letters, with
 * that as the reason. @param table  the one that refused them. @param result  may be NULL; filled
 * also on failure. @return VV_OK without dead letters, too; VV_CONFLICT when another replay is
 * under way.
 */
VV_API VV_MUST_CHECK vv_status vv_stream_replay(vv_table *table, vv_durability durability,
                                                vv_stream_replay_result *result, vv_error *err);

/** The same as long as go_on(ctx) says so, which is asked before each append of at most 1,024
 * letters; then VV_CLOSED, and the next replay goes on where this one ended. go_on may be NULL. */
VV_API VV_MUST_CHECK vv_status vv_stream_replay_while(vv_table *table, vv_durability durability,
                                                      bool (*go_on)(void *ctx), void *ctx,
                                                      vv_stream_replay_result *result,
                                                      vv_error *err);

/* ---- retention and figures ---------------------------------------------------------------- */

/** Delete every message below offset, for ever; past the end: all there are. Durable on return.
 * @param removed  messages; may be NULL. */
VV_API VV_MUST_CHECK vv_status vv_stream_trim(vv_table *table, uint32_t partition, uint64_t offset,
                                              uint64_t *removed, vv_error *err);
/** Do now what the background does by itself within a minute or an eighth of the retention: let go
 * what is older than retention_ns, what lies over retention_bytes, and silent producers. By whole
 * stored blocks (an append, or 64 KiB of one), so up to one too much stays. */
VV_API VV_MUST_CHECK vv_status vv_stream_retain(vv_table *table, uint64_t *removed, vv_error *err);

typedef struct vv_stream_stats {
    size_t size;              /* sizeof(vv_stream_stats): set before the call */
    uint64_t first_offset;    /* of what is kept; next_offset when there is nothing */
    uint64_t next_offset;     /* that the next message gets */
    uint64_t messages;        /* next_offset - first_offset */
    uint64_t bytes;           /* of what is kept, as stored, before the compression of files */
    int64_t first_receive_ns; /* 0: empty */
    int64_t last_receive_ns;
    int64_t newest_event_ns; /* the highest event time ever appended; INT64_MIN: none */
    uint64_t producers;      /* that are remembered */
    uint64_t positions;
    /* Of the table, since the store was opened. */
    uint64_t rule_errors;  /* rules that could not make of a message what they say */
    uint64_t dead_letters; /* messages that a required rule refused */
    /* From here on messages lie in local files; first_offset where all of them do. */
    uint64_t local_offset;
} vv_stream_stats;

/** Figures of a partition, as of now or of a snapshot (but for the producers: now). */
VV_API VV_MUST_CHECK vv_status vv_stream_stats_read(vv_table *table, uint32_t partition,
                                                    const vv_snapshot *snapshot,
                                                    vv_stream_stats *out, vv_error *err);

#ifdef __cplusplus
}
#endif

#endif
