/*
 * vio_sim_int.h - the parts of the simulated disk, shared by the vio_sim_*.c files only.
 *
 *   vio_sim.c        the vio operations on names: order of cut, fault and effect in each call
 *   vio_sim_file.c   the vio operations on an open file
 *   vio_sim_queue.c  requests in flight: when they take effect, in which order they answer
 *   vio_sim_fault.c  which call is hit; the trace and the event hash
 *   vio_sim_names.c  the directory tree: newest names, durable names, pending changes
 *   vio_sim_image.c  the bytes of one file: newest, durable, pending sectors, the length
 *   vio_sim_map.c    the bytes of a mapped file: what a store into memory becomes
 *   vio_sim_disk.c   the disk as a whole: create, clone, settle, kill, damage, clock
 */
#ifndef VARVE_IO_VIO_SIM_INT_H
#define VARVE_IO_VIO_SIM_INT_H

#include <stdatomic.h>

#include "base/buf.h"
#include "base/rng.h"
#include "base/util.h"
#include "io/vio_queue.h"
#include "io/vio_sim.h"

#define SIM_SECTORS (VV_BLOCK / VV_SECTOR) /* sectors of a page, a bit each in sim_page.pending */
#define SIM_CHUNK_PAGES 64u
#define SIM_FILE_MAX (VV_GIB * 64)
#define SIM_PATH_MAX (2 * VIO_PATH_MAX) /* the root of a vio and a path beneath it */

/* 4 KiB of content, shared by reference: between the newest and the durable view of a page, and
 * between a disk and its clones. Written in place only when refs is 1. */
typedef struct sim_block {
    _Atomic uint32_t refs; /* atomic: two threads may each run a clone */
    uint8_t bytes[VV_BLOCK];
} sim_block;

typedef enum sim_page_flags {
    SIM_PAGE_LISTED = 1,    /* its index is in sim_image.dirty */
    SIM_PAGE_HAS_OLD = 2,   /* `old` is the version before the last write, or the durable one */
    SIM_PAGE_ALLOCATED = 4, /* takes space on the disk, also beyond what was reserved */
    SIM_PAGE_MAPPED = 8,    /* pending through a map: its sectors share their fate */
} sim_page_flags;

/* A NULL block is 4 KiB of zeros. A sector whose bit in `pending` is set has its durable bytes in
 * `old` and its newest in `now`; otherwise `now` is durable. */
typedef struct sim_page {
    sim_block *now;
    sim_block *old;
    uint8_t pending;
    uint8_t flags;
} sim_page;

typedef struct sim_chunk {
    sim_page pages[SIM_CHUNK_PAGES];
} sim_chunk;

/* The memory of a mapped file. While it exists it holds the newest bytes of the first len bytes of
 * the file, and the pages beneath it what was written back so far. */
typedef struct sim_map {
    struct sim_map *next; /* in vio_sim_disk.orphans */
    uint8_t *bytes;       /* page aligned, len rounded up to pages */
    size_t len;
    uint32_t users; /* vio_map calls without their vio_unmap */
} sim_map;

typedef struct sim_image {
    sim_chunk **chunks;
    size_t chunk_count;
    uint64_t size;         /* newest; bytes of `now` past it are zero */
    uint64_t size_durable; /* differs while a length change is pending */
    uint32_t *dirty;       /* indexes of pages that may have pending sectors, each once */
    size_t dirty_count;
    size_t dirty_cap;
    uint64_t reserved;             /* pages from 0 on that vio_allocate took */
    uint64_t blocks;               /* pages that take space, reserved ones included */
    sim_map *map;                  /* NULL unless the file was mapped */
    struct sim_image *next_mapped; /* in vio_sim_disk.mapped while map is set */
} sim_image;

/* What became of a file's pending parts at a cut. */
typedef struct sim_settled {
    uint32_t kept;
    uint32_t lost;
    uint32_t torn;
    bool length_lost;
} sim_settled;

/* How a cut decides: chances of 256 that a pending thing of the kind survives. */
typedef struct sim_odds {
    uint32_t sector;
    uint32_t length;
    uint32_t name;
    bool tear;     /* a sector that survives may be a prefix of itself */
    bool in_order; /* what was written first survives first, up to a point */
} sim_odds;

typedef struct sim_node sim_node;

/* A name in a directory. It stays while a change or a view needs it. */
typedef struct sim_entry {
    sim_node *now;     /* holds a reference; NULL: no such name */
    sim_node *durable; /* likewise, what a cut leaves when it loses every change */
    uint32_t changes;  /* pending changes that point here */
    char name[];
} sim_entry;

/* A file or a directory. References: entries, changes, open files. */
struct sim_node {
    uint32_t refs;
    uint32_t links; /* names in the newest view */
    uint32_t opens;
    bool is_dir;
    bool counted;       /* its blocks are in vio_sim_disk.used */
    uint64_t lock_life; /* locked by a vio of this life; 0: not */
    sim_node *prev;     /* all nodes of the disk, in order of creation */
    sim_node *next;
    sim_node *twin; /* scratch of clone */
    sim_image image;
    sim_entry **entries; /* of a directory, sorted by name */
    size_t entry_count;
    size_t entry_cap;
};

/* One pending change of names: `unbind` loses its node, `bind` gets `node`. A rename has both, so
 * that it survives whole or not at all. */
typedef struct sim_change {
    sim_node *dir; /* whose sync makes it durable: that of bind, else of unbind */
    sim_node *unbind_dir;
    sim_entry *unbind;
    sim_entry *bind;
    sim_node *node;
} sim_change;

#define SIM_FAULT_COUNT (VIO_SIM_MISDIRECT + 1)

typedef struct sim_clock {
    vv_clock base;
    int64_t now_ns;
    vv_rng rng;
} sim_clock;

struct vio_sim_disk {
    vio_sim_options opt;
    vv_rng rng;
    bool off;
    bool settled; /* with off: the pending parts were decided on, or kept by a kill */
    bool healed;
    uint64_t life; /* raised by every cut: a vio of an older life is dead */
    uint64_t writes;
    uint64_t sites[SIM_FAULT_COUNT];
    uint64_t hash;
    uint64_t used; /* bytes */
    sim_node *root;
    sim_node *first; /* all nodes */
    sim_node *last;
    sim_change *changes;
    size_t change_count;
    size_t change_cap;
    sim_map *orphans;     /* maps of dead vios, not yet unmapped */
    sim_image *mapped;    /* files that have a map, newest first */
    sim_block *spare[64]; /* blocks for reuse */
    uint32_t spare_count;
    vv_buf trace; /* NUL behind len when data is set */
    sim_clock clock;
};

/* vio_sim_image.c: no function here counts or injects; NULL and false mean short memory. */
void sim_block_unref(vio_sim_disk *disk, sim_block *block);
sim_block *sim_block_new(vio_sim_disk *disk); /* content undefined, one reference */
sim_page *sim_image_page(const sim_image *img, uint64_t index); /* NULL: all zero */
sim_page *sim_image_page_make(sim_image *img, uint64_t index);
void sim_image_read(const sim_image *img, uint64_t offset, void *buf, size_t len);
uint64_t sim_image_new_blocks(const sim_image *img, uint64_t offset, uint64_t len);
/* Pending until synced. When memory is short a prefix is written. */
bool sim_image_write(vio_sim_disk *disk, sim_image *img, uint64_t offset, const void *buf,
                     size_t len);
void sim_image_sync(sim_image *img);
void sim_image_sync_range(sim_image *img, uint64_t offset, uint64_t len);
bool sim_image_truncate(vio_sim_disk *disk, sim_image *img, uint64_t size);
void sim_image_reserve(sim_image *img, uint64_t size);
/* The whole page is durable with these bytes. */
bool sim_image_write_back(vio_sim_disk *disk, sim_image *img, uint64_t index,
                          const uint8_t bytes[VV_BLOCK]);
void sim_image_set_size(vio_sim_disk *disk, sim_image *img, uint64_t size);
/* Back to the durable bytes; the length stays. */
void sim_image_drop_pending(vio_sim_disk *disk, sim_image *img);
void sim_image_settle(vio_sim_disk *disk, sim_image *img, const sim_odds *odds, sim_settled *out);
/* Change bytes in every view, as damage does. */
bool sim_image_damage(vio_sim_disk *disk, sim_image *img, uint64_t offset, uint64_t len,
                      uint8_t keep_mask, uint8_t flip_mask);
/* The version before the last write of the sector at offset, where it is known and differs. */
bool sim_image_stale(const sim_image *img, uint64_t offset, uint8_t out[VV_SECTOR]);
bool sim_image_clone(vio_sim_disk *disk, const sim_image *from, sim_image *to);
void sim_image_fini(vio_sim_disk *disk, sim_image *img);

/* vio_sim_map.c */
vv_status sim_map_open(vio_sim_disk *disk, sim_image *img, size_t len, uint8_t **out);
void sim_map_close(vio_sim_disk *disk, sim_image *img, const uint8_t *bytes);
/* Move the newest bytes of an unused map into pending pages and end the map. */
bool sim_map_absorb(vio_sim_disk *disk, sim_image *img);
/* Write the map back: its bytes of this moment are durable. */
bool sim_map_sync(vio_sim_disk *disk, sim_image *img);
/* Write one page back, as the kernel does at any time. */
void sim_map_age(vio_sim_disk *disk, sim_image *img);
/* Take the map away from the vio that died: its later stores reach nothing. */
void sim_map_freeze(vio_sim_disk *disk, sim_image *img);
bool sim_map_clone(vio_sim_disk *disk, const sim_image *from, sim_image *to);
/* End the map without its bytes; a vio that still uses it keeps the memory until it unmaps. */
void sim_map_drop(vio_sim_disk *disk, sim_image *img);

/* vio_sim_names.c: paths are whole, from the root of the disk, without a leading '/'. */
sim_node *sim_node_new(vio_sim_disk *disk, bool is_dir);
void sim_node_unref(vio_sim_disk *disk, sim_node *node);
/* Its blocks no longer take space when nobody can reach it. */
void sim_node_uncount(vio_sim_disk *disk, sim_node *node);
sim_node *sim_lookup(const vio_sim_disk *disk, const char *path);
/* The directory of path and its last part; NULL when the directory is not there. */
sim_node *sim_lookup_parent(const vio_sim_disk *disk, const char *path, const char **out_name);
sim_entry *sim_entry_find(const sim_node *dir, const char *name);
/* Changes of the newest view, pending until sim_names_sync of the directory. */
bool sim_names_bind(vio_sim_disk *disk, sim_node *dir, const char *name, sim_node *node);
bool sim_names_unbind(vio_sim_disk *disk, sim_node *dir, sim_entry *entry);
bool sim_names_rename(vio_sim_disk *disk, sim_node *from_dir, sim_entry *from, sim_node *to_dir,
                      const char *to_name);
void sim_names_sync(vio_sim_disk *disk, const sim_node *dir);
void sim_names_settle(vio_sim_disk *disk, const sim_odds *odds);
bool sim_dir_is_empty(const sim_node *dir);
/* Call fn for each file of the newest view with its path, directory by directory. */
void sim_names_walk(const vio_sim_disk *disk,
                    void (*fn)(void *ctx, const char *path, sim_node *node), void *ctx);
bool sim_names_clone(const vio_sim_disk *from, vio_sim_disk *to);
void sim_names_fini(vio_sim_disk *disk);

/* vio_sim_fault.c */
typedef enum sim_op {
    SIM_OPEN,
    SIM_RENAME,
    SIM_REMOVE,
    SIM_LINK,
    SIM_MKDIR,
    SIM_LIST,
    SIM_SYNC_DIR,
    SIM_LOCK,
    SIM_READ,
    SIM_WRITE,
    SIM_SYNC,
    SIM_SIZE,
    SIM_TRUNCATE,
    SIM_ALLOCATE,
    SIM_MAP,
    SIM_PUBLISH,
} sim_op;

const char *sim_op_name(sim_op op);
void sim_trace(vio_sim_disk *disk, const char *fmt, ...) VV_PRINTF(2, 3);
/* Mix a call and its answer into the event hash. */
void sim_note(vio_sim_disk *disk, sim_op op, const char *path, uint64_t a, uint64_t b,
              vv_status status);
void sim_note_bytes(vio_sim_disk *disk, const void *data, size_t len);
/* Count a call that `fault` can hit; true when it does. */
bool sim_fault_hits(vio_sim_disk *disk, vio_sim_fault fault);
/* Count a state-changing call; true when the power fails in it. */
bool sim_cut_hits(vio_sim_disk *disk);
/* The power fails now. */
void sim_power_off(vio_sim_disk *disk);
vv_status sim_fail_off(vv_error *err, sim_op op, const char *path);
vv_status sim_fail_memory(vv_error *err, sim_op op, const char *path);
vv_status sim_fail_injected(vv_error *err, sim_op op, const char *path, int sys);

/* vio_sim.c */
typedef struct sim_file {
    vio_file base;
    vio_sim_disk *disk;
    sim_node *node; /* holds a reference */
    uint64_t life;  /* that of the vio it was opened with */
    unsigned flags;
    bool locks;   /* closing it ends the lock of the node */
    bool latched; /* a sync failed: `first` is the answer to every later write and sync */
    vv_error first;
    char path[];
} sim_file;

bool sim_is_dead(const vio_sim_disk *disk, uint64_t life);
/* How a call begins: refused by a dead vio, or hit by an EIO. */
vv_status sim_enter(vio_sim_disk *disk, uint64_t life, sim_op op, const char *path, vv_error *err);
/* How it ends: noted. Returns st. */
vv_status sim_done(vio_sim_disk *disk, sim_op op, const char *path, uint64_t a, uint64_t b,
                   vv_status st);
vv_status sim_fail_sys(vv_error *err, sim_op op, const char *path, int sys);
/* The power fails in this call. */
vv_status sim_cut_here(vio_sim_disk *disk, sim_op op, const char *path, vv_error *err);
/* Count a change that happens or not. In the call the power fails in (true), it happens half of the
 * time. */
bool sim_change_cut(vio_sim_disk *disk, bool *out_happens);
/* An ENOSPC is injected here. */
bool sim_no_space(vio_sim_disk *disk, sim_op op, const char *path);

/* vio_sim_file.c: the operations of an open file. */
vv_status sim_file_pread(vio_file *file, uint64_t offset, void *buf, size_t len, size_t *got,
                         vv_error *err);
vv_status sim_file_pwrite(vio_file *file, uint64_t offset, const void *buf, size_t len,
                          vv_error *err);
vv_status sim_file_sync(vio_file *file, vv_error *err);
vv_status sim_file_size(vio_file *file, uint64_t *out, vv_error *err);
vv_status sim_file_truncate(vio_file *file, uint64_t size, vv_error *err);
vv_status sim_file_allocate(vio_file *file, uint64_t size, vv_error *err);
vv_status sim_file_map(vio_file *file, size_t len, uint8_t **out, vv_error *err);
void sim_file_unmap(vio_file *file, uint8_t *map, size_t len);

/* vio_sim_queue.c */
vv_status sim_queue_open(vio *io, vio_sim_disk *disk, unsigned depth, vio_queue **out,
                         vv_error *err);

#endif
