/*
 * btree_write.h - changing trees: a writer appends pages and moves the mapping along; an update
 * replaces runs of leaves of one tree and the index above them.
 *
 *     update   open_leaf ... put, put ...  open_leaf ...  put ...  finish -> the new root
 *     writer   put page -> data file, mapping     free page -> mapping     sync
 *
 * Nothing of it is seen before the manifest commits writer.next. Until then all can be given up:
 * committed pages are never touched.
 */
#ifndef VARVE_BTREE_WRITE_H
#define VARVE_BTREE_WRITE_H

#include "btree/btree_index.h"
#include "io/vio_queue.h"

/* Page ids below the state's page_limit that no page of the newest tree has. */
typedef struct btree_ids {
    uint32_t *free;
    uint32_t count;
    uint32_t cap;
} btree_ids;

/* The data file that is being appended to; survives from one commit to the next. */
typedef struct btree_active {
    btree_file *file; /* NULL: none */
    vio_file *out;    /* for writing, past the system's cache */
    uint32_t used;    /* pages written and committed */
} btree_active;

void btree_active_close(btree_active *a);

/* A frame of a page that was just written, for the cache. */
typedef struct btree_prefill {
    btree_file *file;
    uint32_t page;
    pgc_frame *frame;
} btree_prefill;

typedef struct btree_writer {
    btree_store *store;
    btree_manifest *manifest;
    vio_class cls;      /* of its writes: compaction, unless the job is a flush */
    btree_state next;   /* what will be committed */
    btree_file **files; /* sorted by id; a reference each */
    uint32_t *live;     /* [file_count] pages of next in each */
    uint32_t file_count;
    uint32_t file_cap;
    btree_active active;
    uint64_t first_active; /* id of the first file this job appended to; 0: none yet */
    bool dir_dirty;        /* a file was made: its name is not durable yet */
    uint8_t *buffer;       /* pages not written yet: the last ones of active.used */
    uint32_t buffered;
    uint32_t buffer_pages;
    btree_ids *ids;
    uint32_t ids_taken; /* from the end of ids->free */
    uint32_t *freed;
    uint32_t freed_count;
    uint32_t freed_cap;
    btree_prefill *prefill;
    uint32_t prefill_count;
    uint32_t prefill_cap;
    bool prefill_over;
    bool keeps_files; /* a commit was tried: the manifest may name them */
    uint64_t written; /* pages */
} btree_writer;

/** Begin from a state and its files (each gets a reference more). Takes *active and *ids along. */
VV_MUST_CHECK vv_status btree_writer_open(btree_writer *w, btree_store *store,
                                          btree_manifest *manifest, const btree_state *base,
                                          btree_file *const *files, uint32_t file_count,
                                          btree_active *active, btree_ids *ids, vv_error *err);
/** Gives up what was not committed; frees everything. */
void btree_writer_close(btree_writer *w);

VV_MUST_CHECK vv_status btree_writer_new_id(btree_writer *w, uint32_t *out, vv_error *err);
/** Append a sealed page as page id. out: where it lies (may be NULL). */
VV_MUST_CHECK vv_status btree_writer_put(btree_writer *w, uint32_t id, const uint8_t *page,
                                         btree_child *out, vv_error *err);
/** The page is no more. */
VV_MUST_CHECK vv_status btree_writer_free(btree_writer *w, uint32_t id, vv_error *err);
/** Write what is buffered, so that pages can be read back. */
VV_MUST_CHECK vv_status btree_writer_flush(btree_writer *w, vv_error *err);
/** Everything put so far is durable, file names included. */
VV_MUST_CHECK vv_status btree_writer_sync(btree_writer *w, vv_error *err);
/** After the commit: freed ids are free, the active file goes back to *active, frames to the cache.
 * The writer keeps its files for the caller to look at until close. */
void btree_writer_done(btree_writer *w, btree_active *active);

/** Cut a value into overflow pages; ids, at most BTREE_POINTERS, as a leaf entry holds them. */
VV_MUST_CHECK vv_status btree_writer_put_value(btree_writer *w, vv_slice value,
                                               uint8_t ids[4 * BTREE_POINTERS], size_t *len,
                                               vv_error *err);
/** Free the pages of an overflow value. */
VV_MUST_CHECK vv_status btree_writer_free_value(btree_writer *w, vv_slice ids, vv_error *err);

/* ---- an update of one tree (btree_update.c) ---- */

typedef struct btree_staged {
    size_t at; /* key, then value, in bytes */
    uint32_t key_len;
    uint32_t value_len;
    uint64_t timestamp;
    uint64_t expires;
    uint8_t flags;
} btree_staged;

/* A level of index nodes that is being rebuilt, from left to right. */
typedef struct btree_level {
    const btree_inode *old; /* NULL on the level of a tree that was empty */
    bool open;
    bool reshaped;      /* the page changes: other children or separators */
    uint32_t next;      /* children of old before it are in the list */
    uint32_t in_parent; /* index of old in its parent */
    btree_list list;
} btree_level;

typedef struct btree_patch {
    uint32_t id;
    bool next;      /* the link behind, else the one before */
    uint32_t value; /* what it becomes */
} btree_patch;

typedef struct btree_update {
    btree_writer *w;
    btree_inode *root; /* the old one, borrowed; may be NULL */
    btree_path path;   /* of the leaf opened last */
    bool started;      /* path stands somewhere */
    btree_level level[BTREE_LEVELS_MAX + 2];
    /* The run: adjacent leaves of one parent that are being replaced. */
    bool in_run;
    uint32_t run_from; /* children of level[1].old */
    uint32_t run_to;
    uint32_t run_out;    /* pages made of it so far */
    uint32_t run_reused; /* of them with the id of a leaf of the run */
    uint8_t *held;       /* the last page of the run, its next link not known yet */
    bool has_held;
    uint32_t held_id;
    uint32_t held_at;                /* in level[1].list */
    uint8_t last_key[BTREE_KEY_MAX]; /* of the held page */
    size_t last_key_len;
    /* The chain of leaves around the run. */
    bool in_cluster;      /* adjacent runs, across parents */
    uint32_t tail;        /* the leaf before what comes next, or BTREE_NO_PAGE */
    uint32_t tail_next;   /* what its page says is behind it */
    uint32_t last_read;   /* the last leaf that was taken in */
    uint32_t expect_next; /* what that said is behind it */
    btree_patch *patches;
    uint32_t patch_count;
    uint32_t patch_cap;
    /* Entries on their way into pages. */
    btree_staged *staged;
    uint32_t staged_count;
    uint32_t staged_cap;
    uint32_t staged_from; /* those before it are in pages */
    size_t staged_bytes;  /* of those from there on */
    vv_buf bytes;
    btree_builder builder;
    uint8_t *page;
    uint64_t leaves; /* taken in */
} btree_update;

VV_MUST_CHECK vv_status btree_update_begin(btree_update *u, btree_writer *w, btree_inode *root,
                                           vv_error *err);
/**
 * Take in the leaf of key (an empty key: the first leaf), which lies behind all leaves taken in
 * before. *frame is the leaf, pinned, for the caller to put what stays and to unpin; NULL when the
 * tree is empty.
 */
VV_MUST_CHECK vv_status btree_update_open_leaf(btree_update *u, vv_slice key, pgc_frame **frame,
                                               vv_error *err);
/** The keys of the leaf opened last are below *upper; false: it is the last. */
bool btree_update_upper(const btree_update *u, vv_slice *upper);
/** Stage an entry (copied), in order. */
VV_MUST_CHECK vv_status btree_update_put(btree_update *u, const btree_entry *e, vv_error *err);
/** Write what is left, the index above, and the links around. Gives *out, NULL when the tree is
 * empty now; *root is its page. */
VV_MUST_CHECK vv_status btree_update_finish(btree_update *u, btree_inode **out, btree_root *root,
                                            vv_error *err);
/** Accepts a zeroed one. */
void btree_update_fini(btree_update *u);

/** Leaf id with first key moved: make *root a tree that says so, sharing what does not change.
 * Nodes that only *root reaches are changed in place. VV_CORRUPT when no leaf of that id is where
 * the key belongs. */
VV_MUST_CHECK vv_status btree_move_leaf(btree_inode **root, vv_slice key, const btree_child *child,
                                        vv_error *err);

#endif
