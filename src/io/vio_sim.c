/*
 * vio_sim.c - the simulated disk as a vio: the operations on names.
 *
 * Every call goes the same way: a dead vio is refused; a latched file answers with its failure; an
 * injected EIO ends the call; a state-changing call is counted, and may be the one the power fails
 * in; the effect happens; the answer goes into the event hash. A call the power fails in has its
 * effect by chance, as pending: settling decides what that was worth.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"
#include "io/vio_path.h"
#include "io/vio_sim_int.h"

typedef struct sim_vio {
    vio base;
    vio_sched sched;
    vio_sim_disk *disk;
    uint64_t life;
    size_t root_len;
    char root[]; /* without slashes at its ends; "" is the root of the disk */
} sim_vio;

static const vio_ops sim_ops;

static sim_vio *vio_of(vio *io)
{
    return VV_CONTAINER_OF(io, sim_vio, base);
}

static sim_file *file_of(vio_file *file)
{
    return VV_CONTAINER_OF(file, sim_file, base);
}

bool sim_is_dead(const vio_sim_disk *disk, uint64_t life)
{
    return disk->off || disk->life != life;
}

/* Both kinds of EIO count every call: so that their sites have the same numbers. */
static bool eio_hits(vio_sim_disk *disk)
{
    bool once = sim_fault_hits(disk, VIO_SIM_EIO);
    bool sticky = sim_fault_hits(disk, VIO_SIM_EIO_STICKY);
    return once || sticky;
}

vv_status sim_enter(vio_sim_disk *disk, uint64_t life, sim_op op, const char *path, vv_error *err)
{
    if (sim_is_dead(disk, life))
        return sim_fail_off(err, op, path);
    if (!eio_hits(disk))
        return VV_OK;
    sim_trace(disk, "EIO: %s '%s'\n", sim_op_name(op), path);
    return sim_fail_injected(err, op, path, EIO);
}

/* The path from the root of the disk. out has SIM_PATH_MAX bytes. */
static vv_status whole_path(const sim_vio *v, sim_op op, const char *path, bool is_dir, char *out,
                            vv_error *err)
{
    vv_status st = vio_path_check(path, is_dir, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "%s", sim_op_name(op));
    if (path[0] == '/')
        (void)snprintf(out, SIM_PATH_MAX, "%s", path + 1);
    else
        (void)snprintf(out, SIM_PATH_MAX, "%s%s%s", v->root,
                       v->root_len > 0 && path[0] != '\0' ? "/" : "", path);
    return VV_OK;
}

static vv_status enter_path(const sim_vio *v, sim_op op, const char *path, bool is_dir, char *out,
                            vv_error *err)
{
    vv_status st = whole_path(v, op, path, is_dir, out, err);
    return st == VV_OK ? sim_enter(v->disk, v->life, op, path, err) : st;
}

vv_status sim_done(vio_sim_disk *disk, sim_op op, const char *path, uint64_t a, uint64_t b,
                   vv_status st)
{
    sim_note(disk, op, path, a, b, st);
    return st;
}

vv_status sim_fail_sys(vv_error *err, sim_op op, const char *path, int sys)
{
    return vv_fail_sys(err, vv_status_of_errno(sys), sys, "%s '%s'", sim_op_name(op), path);
}

vv_status sim_cut_here(vio_sim_disk *disk, sim_op op, const char *path, vv_error *err)
{
    sim_trace(disk, "cut at call %llu: %s '%s'\n", (unsigned long long)disk->writes,
              sim_op_name(op), path);
    sim_power_off(disk);
    return sim_fail_off(err, op, path);
}

bool sim_change_cut(vio_sim_disk *disk, bool *out_happens)
{
    bool cut = sim_cut_hits(disk);
    *out_happens = !cut || vv_rng_one_in(&disk->rng, 2);
    return cut;
}

bool sim_no_space(vio_sim_disk *disk, sim_op op, const char *path)
{
    if (!sim_fault_hits(disk, VIO_SIM_ENOSPC))
        return false;
    sim_trace(disk, "ENOSPC: %s '%s'\n", sim_op_name(op), path);
    return true;
}

/* A new node under a name that is free. Gives *out without a reference of its own. */
static vv_status create_node(vio_sim_disk *disk, sim_op op, const char *path, const char *whole,
                             bool is_dir, sim_node **out, vv_error *err)
{
    const char *name;
    sim_node *dir = sim_lookup_parent(disk, whole, &name);
    if (dir == NULL)
        return sim_fail_sys(err, op, path, ENOENT);
    if (sim_no_space(disk, op, path))
        return sim_fail_injected(err, op, path, ENOSPC);
    bool happens;
    bool cut = sim_change_cut(disk, &happens);
    sim_node *node = sim_node_new(disk, is_dir);
    bool ok = node != NULL && (!happens || sim_names_bind(disk, dir, name, node));
    sim_node_unref(disk, node); /* the names hold it now */
    if (cut)
        return sim_cut_here(disk, op, path, err);
    if (!ok)
        return sim_fail_memory(err, op, path);
    *out = node;
    return VV_OK;
}

static vv_status open_node(vio_sim_disk *disk, const char *path, const char *whole, unsigned flags,
                           sim_node **out, vv_error *err)
{
    sim_node *node = sim_lookup(disk, whole);
    if (node == NULL && !(flags & VIO_CREATE))
        return sim_fail_sys(err, SIM_OPEN, path, ENOENT);
    if (node == NULL)
        return create_node(disk, SIM_OPEN, path, whole, false, out, err);
    if ((flags & VIO_CREATE) && (flags & VIO_EXCL))
        return vv_fail(err, VV_CONFLICT, "create '%s': it is there already", path);
    if (node->is_dir)
        return sim_fail_sys(err, SIM_OPEN, path, EISDIR);
    *out = node;
    return VV_OK;
}

static vv_status do_open(sim_vio *v, sim_op op, const char *path, unsigned flags, vio_file **out,
                         vv_error *err)
{
    assert(flags & (VIO_READ | VIO_WRITE));
    char whole[SIM_PATH_MAX];
    vv_status st = enter_path(v, op, path, false, whole, err);
    if (st != VV_OK)
        return st;
    /* Before the file is made: an open that fails for memory must not leave a new name. */
    size_t path_len = strlen(path) + 1;
    sim_file *f = vv_alloc(sizeof *f + path_len);
    if (f == NULL)
        return sim_fail_memory(err, op, path);
    *f = (sim_file){.base = {&sim_ops}, .disk = v->disk, .life = v->life, .flags = flags};
    memcpy(f->path, path, path_len);
    st = open_node(v->disk, path, whole, flags, &f->node, err);
    if (f->node == NULL) {
        vv_free(f);
        return st;
    }
    f->node->refs++;
    f->node->opens++;
    *out = &f->base;
    return VV_OK;
}

static vv_status sim_open(vio *io, const char *path, unsigned flags, vio_file **out, vv_error *err)
{
    sim_vio *v = vio_of(io);
    return sim_done(v->disk, SIM_OPEN, path, flags, 0, do_open(v, SIM_OPEN, path, flags, out, err));
}

static void sim_close(vio_file *file)
{
    sim_file *f = file_of(file);
    sim_node *node = f->node;
    if (f->locks && node->lock_life == f->life)
        node->lock_life = 0;
    node->opens--;
    sim_node_uncount(f->disk, node);
    sim_node_unref(f->disk, node);
    vv_free(f);
}

/* A lock ends with its file or with the life of its vio. */
static vv_status sim_lock(vio *io, const char *path, vio_file **out, vv_error *err)
{
    sim_vio *v = vio_of(io);
    vio_file *file = NULL;
    vv_status st = do_open(v, SIM_LOCK, path, VIO_READ | VIO_WRITE | VIO_CREATE, &file, err);
    if (st == VV_OK) {
        sim_file *f = file_of(file);
        if (f->node->lock_life == v->life) {
            st = vv_fail(err, VV_BUSY, "lock '%s': process %llu holds it: stop that one first",
                         path, (unsigned long long)v->life);
            sim_close(file);
        } else {
            f->node->lock_life = v->life;
            f->locks = true;
            *out = file;
        }
    }
    return sim_done(v->disk, SIM_LOCK, path, 0, 0, st);
}

/* Why from may not take the place of to. Returns errno, 0 when it may. */
static int rename_refusal(const sim_node *from, const sim_node *from_dir, const sim_node *to,
                          const sim_node *to_dir)
{
    if (from->is_dir && from_dir != to_dir)
        return EXDEV; /* a directory moves only within its parent */
    if (to == NULL || to == from)
        return 0;
    if (from->is_dir != to->is_dir)
        return to->is_dir ? EISDIR : ENOTDIR;
    return to->is_dir && !sim_dir_is_empty(to) ? ENOTEMPTY : 0;
}

static vv_status do_rename(sim_vio *v, const char *from, const char *to, vv_error *err)
{
    vio_sim_disk *disk = v->disk;
    char whole_from[SIM_PATH_MAX];
    char whole_to[SIM_PATH_MAX];
    vv_status st = whole_path(v, SIM_RENAME, to, false, whole_to, err);
    if (st == VV_OK)
        st = enter_path(v, SIM_RENAME, from, false, whole_from, err);
    if (st != VV_OK)
        return st;
    const char *from_name;
    const char *to_name;
    sim_node *from_dir = sim_lookup_parent(disk, whole_from, &from_name);
    sim_node *to_dir = sim_lookup_parent(disk, whole_to, &to_name);
    sim_entry *entry = from_dir == NULL ? NULL : sim_entry_find(from_dir, from_name);
    if (entry == NULL || to_dir == NULL)
        return sim_fail_sys(err, SIM_RENAME, entry == NULL ? from : to, ENOENT);
    int sys = rename_refusal(entry->now, from_dir, sim_lookup(disk, whole_to), to_dir);
    if (sys != 0)
        return sim_fail_sys(err, SIM_RENAME, from, sys);
    bool happens;
    bool cut = sim_change_cut(disk, &happens);
    bool ok = !happens || sim_names_rename(disk, from_dir, entry, to_dir, to_name);
    if (cut)
        return sim_cut_here(disk, SIM_RENAME, from, err);
    return ok ? VV_OK : sim_fail_memory(err, SIM_RENAME, from);
}

static vv_status sim_rename(vio *io, const char *from, const char *to, vv_error *err)
{
    sim_vio *v = vio_of(io);
    vv_status st = do_rename(v, from, to, err);
    sim_note_bytes(v->disk, to, strlen(to));
    return sim_done(v->disk, SIM_RENAME, from, 0, 0, st);
}

static vv_status do_remove(sim_vio *v, const char *path, vv_error *err)
{
    vio_sim_disk *disk = v->disk;
    char whole[SIM_PATH_MAX];
    vv_status st = enter_path(v, SIM_REMOVE, path, false, whole, err);
    if (st != VV_OK)
        return st;
    const char *name;
    sim_node *dir = sim_lookup_parent(disk, whole, &name);
    sim_entry *entry = dir == NULL ? NULL : sim_entry_find(dir, name);
    if (entry == NULL)
        return sim_fail_sys(err, SIM_REMOVE, path, ENOENT);
    if (entry->now->is_dir && !sim_dir_is_empty(entry->now))
        return sim_fail_sys(err, SIM_REMOVE, path, ENOTEMPTY);
    bool happens;
    bool cut = sim_change_cut(disk, &happens);
    bool ok = !happens || sim_names_unbind(disk, dir, entry);
    if (cut)
        return sim_cut_here(disk, SIM_REMOVE, path, err);
    return ok ? VV_OK : sim_fail_memory(err, SIM_REMOVE, path);
}

static vv_status sim_remove(vio *io, const char *path, vv_error *err)
{
    sim_vio *v = vio_of(io);
    return sim_done(v->disk, SIM_REMOVE, path, 0, 0, do_remove(v, path, err));
}

static vv_status do_link(sim_vio *v, const char *from, const char *to, vv_error *err)
{
    vio_sim_disk *disk = v->disk;
    char whole_from[SIM_PATH_MAX];
    char whole_to[SIM_PATH_MAX];
    vv_status st = whole_path(v, SIM_LINK, to, false, whole_to, err);
    if (st == VV_OK)
        st = enter_path(v, SIM_LINK, from, false, whole_from, err);
    if (st != VV_OK)
        return st;
    const char *name;
    sim_node *node = sim_lookup(disk, whole_from);
    sim_node *dir = sim_lookup_parent(disk, whole_to, &name);
    if (node == NULL || dir == NULL)
        return sim_fail_sys(err, SIM_LINK, node == NULL ? from : to, ENOENT);
    if (sim_entry_find(dir, name) != NULL)
        return vv_fail(err, VV_CONFLICT, "link '%s' to '%s': it is there already", from, to);
    if (node->is_dir)
        return sim_fail_sys(err, SIM_LINK, from, EPERM);
    if (sim_no_space(disk, SIM_LINK, to))
        return sim_fail_injected(err, SIM_LINK, to, ENOSPC);
    bool happens;
    bool cut = sim_change_cut(disk, &happens);
    bool ok = !happens || sim_names_bind(disk, dir, name, node);
    if (cut)
        return sim_cut_here(disk, SIM_LINK, to, err);
    return ok ? VV_OK : sim_fail_memory(err, SIM_LINK, to);
}

static vv_status sim_link(vio *io, const char *from, const char *to, vv_error *err)
{
    sim_vio *v = vio_of(io);
    vv_status st = do_link(v, from, to, err);
    sim_note_bytes(v->disk, to, strlen(to));
    return sim_done(v->disk, SIM_LINK, from, 0, 0, st);
}

/* The root of a vio with its parents, each durable at once as vio_posix does it. */
static vv_status make_root(sim_vio *v, vv_error *err)
{
    char part[SIM_PATH_MAX];
    for (size_t i = 1; i <= v->root_len; i++) {
        if (i < v->root_len && v->root[i] != '/')
            continue;
        memcpy(part, v->root, i);
        part[i] = '\0';
        sim_node *node = sim_lookup(v->disk, part);
        if (node != NULL && !node->is_dir)
            return sim_fail_sys(err, SIM_MKDIR, part, ENOTDIR);
        if (node != NULL)
            continue;
        vv_status st = create_node(v->disk, SIM_MKDIR, part, part, true, &node, err);
        if (st != VV_OK)
            return st;
        const char *name;
        sim_names_sync(v->disk, sim_lookup_parent(v->disk, part, &name));
    }
    return VV_OK;
}

static vv_status do_mkdir(sim_vio *v, const char *path, vv_error *err)
{
    char whole[SIM_PATH_MAX];
    vv_status st = enter_path(v, SIM_MKDIR, path, true, whole, err);
    if (st != VV_OK)
        return st;
    if (path[0] == '\0')
        return make_root(v, err);
    sim_node *node = sim_lookup(v->disk, whole);
    if (node != NULL)
        return node->is_dir ? VV_OK : sim_fail_sys(err, SIM_MKDIR, path, ENOTDIR);
    return create_node(v->disk, SIM_MKDIR, path, whole, true, &node, err);
}

static vv_status sim_mkdir(vio *io, const char *path, vv_error *err)
{
    sim_vio *v = vio_of(io);
    return sim_done(v->disk, SIM_MKDIR, path, 0, 0, do_mkdir(v, path, err));
}

static vv_status enter_dir(sim_vio *v, sim_op op, const char *path, sim_node **out, vv_error *err)
{
    char whole[SIM_PATH_MAX];
    vv_status st = enter_path(v, op, path, true, whole, err);
    if (st != VV_OK)
        return st;
    sim_node *dir = sim_lookup(v->disk, whole);
    if (dir == NULL || !dir->is_dir)
        return sim_fail_sys(err, op, path, dir == NULL ? ENOENT : ENOTDIR);
    *out = dir;
    return VV_OK;
}

/* The names are copied first: the callback may change the directory. */
static vv_status do_list(sim_vio *v, const char *path, void (*each)(void *ctx, const char *name),
                         void *ctx, vv_error *err)
{
    sim_node *dir = NULL;
    vv_status st = enter_dir(v, SIM_LIST, path, &dir, err);
    if (dir == NULL)
        return st;
    size_t size = 1;
    for (size_t i = 0; i < dir->entry_count; i++)
        size += strlen(dir->entries[i]->name) + 1;
    char *names = vv_alloc(size);
    if (names == NULL)
        return sim_fail_memory(err, SIM_LIST, path);
    char *end = names;
    for (size_t i = 0; i < dir->entry_count; i++) {
        if (dir->entries[i]->now == NULL)
            continue;
        size_t len = strlen(dir->entries[i]->name) + 1;
        memcpy(end, dir->entries[i]->name, len);
        end += len;
    }
    sim_note_bytes(v->disk, names, (size_t)(end - names));
    for (const char *name = names; name < end; name += strlen(name) + 1)
        each(ctx, name);
    vv_free(names);
    return VV_OK;
}

static vv_status sim_list(vio *io, const char *path, void (*each)(void *ctx, const char *name),
                          void *ctx, vv_error *err)
{
    sim_vio *v = vio_of(io);
    return sim_done(v->disk, SIM_LIST, path, 0, 0, do_list(v, path, each, ctx, err));
}

static vv_status do_sync_dir(sim_vio *v, const char *path, vv_error *err)
{
    sim_node *dir = NULL;
    vv_status st = enter_dir(v, SIM_SYNC_DIR, path, &dir, err);
    if (dir == NULL)
        return st;
    bool happens;
    bool cut = sim_change_cut(v->disk, &happens);
    if (happens && !VV_BUG(6))
        sim_names_sync(v->disk, dir);
    return cut ? sim_cut_here(v->disk, SIM_SYNC_DIR, path, err) : VV_OK;
}

static vv_status sim_sync_dir(vio *io, const char *path, vv_error *err)
{
    sim_vio *v = vio_of(io);
    return sim_done(v->disk, SIM_SYNC_DIR, path, 0, 0, do_sync_dir(v, path, err));
}

static vv_status sim_open_queue(vio *io, unsigned depth, vio_queue **out, vv_error *err)
{
    return sim_queue_open(io, vio_of(io)->disk, depth, out, err);
}

static void sim_destroy(vio *io)
{
    vio_queues_close_all(io);
    vio_sched_fini(&vio_of(io)->sched);
    vv_free(vio_of(io));
}

static const vio_ops sim_ops = {
    .name = "sim",
    .open = sim_open,
    .rename = sim_rename,
    .remove = sim_remove,
    .link = sim_link,
    .mkdir = sim_mkdir,
    .list = sim_list,
    .sync_dir = sim_sync_dir,
    .lock = sim_lock,
    .queue_open = sim_open_queue,
    .destroy = sim_destroy,
    .close = sim_close,
    .pread = sim_file_pread,
    .pwrite = sim_file_pwrite,
    .sync = sim_file_sync,
    .size = sim_file_size,
    .truncate = sim_file_truncate,
    .allocate = sim_file_allocate,
    .map = sim_file_map,
    .unmap = sim_file_unmap,
};

vv_status vio_sim_open(vio_sim_disk *disk, const vio_sim_options *opt, vio **out, vv_error *err)
{
    const char *root = opt->root == NULL ? "" : opt->root;
    vv_status st = vio_path_check(root, true, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "root of a simulated vio");
    root += root[0] == '/';
    size_t len = strlen(root);
    sim_vio *v = vv_alloc(sizeof *v + len + 1);
    if (v == NULL)
        return vv_fail(err, VV_NO_MEMORY, "simulated disk: no memory");
    if (disk->off && !disk->settled)
        vio_sim_disk_settle(disk);
    disk->off = false;
    disk->settled = false;
    disk->healed = false;
    disk->opt = *opt;
    disk->opt.root = NULL; /* borrowed for this call only */
    disk->writes = 0;
    memset(disk->sites, 0, sizeof disk->sites);
    vv_rng_init(&disk->rng, opt->seed);
    vv_buf_reset(&disk->trace);
    *v = (sim_vio){.base = {.ops = &sim_ops, .sched = &v->sched},
                   .disk = disk,
                   .life = disk->life,
                   .root_len = len};
    vio_sched_init(&v->sched, vio_sim_clock(disk));
    memcpy(v->root, root, len + 1);
    *out = &v->base;
    return VV_OK;
}
