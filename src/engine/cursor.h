/*
 * cursor.h - what a snapshot sees of several sources: a merge that picks for each key the newest
 * version at or below the snapshot and leaves out what is deleted, range-deleted or expired.
 */
#ifndef VARVE_ENGINE_CURSOR_H
#define VARVE_ENGINE_CURSOR_H

#include "engine/source.h"

typedef struct engine_read {
    int64_t version;  /* the snapshot */
    int64_t now_ns;   /* its fixed read time: puts that expire at or before it are deleted */
    bool from_memory; /* of get: read no file. VV_BUSY when the answer needs one, and only then */
} engine_read;

/* The value of an item of kind ENGINE_MERGE or ENGINE_APART, which a read found as the newest of
 * its key. Appends it to out. */
typedef struct engine_resolver {
    vv_status (*resolve)(void *ctx, const engine_item *item, const engine_read *read, vv_buf *out,
                         vv_error *err);
    void *ctx;
} engine_resolver;

typedef struct engine_cursor_options {
    engine_read read;
    vv_slice lower;           /* inclusive, with the table prefix; must not be empty */
    vv_slice upper;           /* exclusive, with the table prefix; must not be empty */
    engine_resolver resolver; /* an engine's own; sources of puts and deletions need none */
} engine_cursor_options;

typedef struct engine_cursor engine_cursor;

/**
 * Merge count sources, newest first. Takes the sources, also on failure. release(ctx) runs at
 * close, after the sources are closed: the place to unpin a view; may be NULL; on failure it does
 * not run. Copies the bounds.
 */
VV_MUST_CHECK vv_status engine_cursor_create(engine_source **sources, size_t count,
                                             const engine_cursor_options *opt,
                                             void (*release)(void *ctx), void *ctx,
                                             engine_cursor **out, vv_error *err);

/** Position at the first key >= key (clamped to the bounds). An empty key: the first of all. */
VV_MUST_CHECK vv_status engine_cursor_seek(engine_cursor *c, vv_slice key, vv_error *err);
/** Position at the last key < key (clamped). An empty key: the last of all. */
VV_MUST_CHECK vv_status engine_cursor_seek_below(engine_cursor *c, vv_slice key, vv_error *err);
/** Only when valid; direction may change at any step. */
VV_MUST_CHECK vv_status engine_cursor_next(engine_cursor *c, vv_error *err);
VV_MUST_CHECK vv_status engine_cursor_prev(engine_cursor *c, vv_error *err);
bool engine_cursor_valid(const engine_cursor *c);
/** Under valid: key with the table prefix, value, version, expiry. Valid until the cursor moves. */
const engine_item *engine_cursor_item(const engine_cursor *c);
/** Stored versions looked at so far: the scanned rows of a query's statistics. */
uint64_t engine_cursor_scanned(const engine_cursor *c);
/** Accepts NULL. */
void engine_cursor_close(engine_cursor *c);

/**
 * Whether the newest version <= snapshot of a key is there for a read: a put (or a merge, which has
 * still to be resolved), not expired, and no range deletion above it (cover: the newest over all
 * sources, -1 without one). The one place for cursors and point reads.
 */
bool engine_item_is_live(const engine_item *item, int64_t cover, const engine_read *read);

/**
 * The rule itself, for one key whose versions come newest first: used by flush and compaction to
 * tell which versions some reader may still need. pins are snapshot versions, ascending; floor is
 * the oldest version that reads without a pin may ask for.
 * True when the version must be kept, given the next newer version of the same key (or -1).
 */
bool engine_version_is_needed(int64_t version, int64_t newer_version, const int64_t *pins,
                              size_t pin_count, int64_t floor);

#endif
