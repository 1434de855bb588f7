/*
 * vio_posix.c - real files beneath one directory, with blocking calls.
 *
 * Every name is opened relative to a handle of the root, so that a store keeps working when its
 * directory is renamed and never leaves it by a relative path. The handle is taken when the root
 * is first needed: a store's root may not exist before vio_mkdir(io, "").
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"
#include "io/env.h"
#include "io/vio_path.h"
#include "io/vio_posix_int.h"

#define FILE_MODE 0640
#define DIR_MODE 0750

static const vio_ops posix_ops;

static posix_io *io_of(vio *io)
{
    return posix_io_of(io);
}

/* The root's handle, or -1 with errno. Two threads may race: one handle wins. */
static int root_fd(posix_io *p)
{
    int fd = atomic_load(&p->root_fd);
    if (fd >= 0)
        return fd;
    fd = open(p->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int none = -1;
    if (!atomic_compare_exchange_strong(&p->root_fd, &none, fd)) {
        (void)close(fd);
        fd = none;
    }
    return fd;
}

/* Every path operation begins here: a good name and a root to look it up in. */
static vv_status enter(posix_io *p, const char *verb, const char *path, bool is_dir, int *out_fd,
                       vv_error *err)
{
    vv_status st = vio_path_check(path, is_dir, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "%s", verb);
    int fd = root_fd(p);
    if (fd < 0)
        return posix_fail_path(err, errno, verb, p->root, "");
    *out_fd = fd;
    return VV_OK;
}

static int open_retry(int dir_fd, const char *path, int flags)
{
    int fd;
    do
        fd = openat(dir_fd, path, flags | O_CLOEXEC, FILE_MODE);
    while (fd < 0 && errno == EINTR);
    return fd;
}

static int open_dir(int dir_fd, const char *path)
{
    return open_retry(dir_fd, path[0] == '\0' ? "." : path, O_RDONLY | O_DIRECTORY);
}

static posix_file *file_create(posix_io *p, const char *path, unsigned flags)
{
    bool alone = path[0] == '/';
    size_t root_len = alone ? 0 : strlen(p->root) + 1;
    size_t len = root_len + strlen(path) + 1;
    posix_file *f = vv_alloc(sizeof *f + len);
    if (f == NULL)
        return NULL;
    bool idle = (flags & VIO_IDLE) != 0;
    assert((flags & VIO_IDLE) == 0 || (flags & (VIO_WRITE | VIO_CREATE)) == 0);
    *f = (posix_file){.base = {&posix_ops},
                      .fd = -1,
                      .flags = flags,
                      .fds = idle ? &p->fds : NULL,
                      .io = p,
                      .name_at = root_len,
                      .sched = &p->sched};
    vv_mutex_init(&f->lock, VV_RANK_LEAF);
    (void)snprintf(f->path, len, "%s%s%s", alone ? "" : p->root, alone ? "" : "/", path);
    return f;
}

static void posix_close(vio_file *file)
{
    posix_file *f = posix_file_of(file);
    int fd = f->fds != NULL ? posix_fds_forget(f->fds, f) : f->fd;
    if (fd >= 0)
        (void)close(fd);
    vv_mutex_fini(&f->lock);
    vv_free(f);
}

/* O_DIRECT is switched on after the open: where it is refused, an open with O_CREAT and O_DIRECT
 * fails and leaves the new file behind. */
static bool set_direct(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_DIRECT) == 0;
}

static int open_flags(unsigned flags)
{
    int os = (flags & VIO_WRITE) == 0 ? O_RDONLY : (flags & VIO_READ) == 0 ? O_WRONLY : O_RDWR;
    if (flags & VIO_CREATE)
        os |= O_CREAT;
    if (flags & VIO_EXCL)
        os |= O_EXCL;
    if (flags & VIO_DSYNC)
        os |= O_DSYNC;
    return os | O_NOCTTY;
}

/* Out of descriptors: one that lies idle is given up for this one. */
static int open_relieved(posix_io *p, int dir_fd, const char *path, int flags)
{
    int fd;
    do
        fd = open_retry(dir_fd, path, flags);
    while (fd < 0 && (errno == EMFILE || errno == ENFILE) && posix_fds_relieve(&p->fds));
    return fd;
}

int posix_reopen(const posix_file *f)
{
    int root = root_fd(f->io);
    int fd = root < 0 ? -1 : open_relieved(f->io, root, f->path + f->name_at, open_flags(f->flags));
    if (fd < 0)
        return -errno;
    if (f->direct)
        (void)set_direct(fd); /* it was taken before */
    return fd;
}

/* A directory opens for reading like a file. Returns errno, 0 when fd is none. */
static int look_at(posix_file *f, int fd)
{
    struct stat info;
    if (f->flags & VIO_WRITE)
        return 0; /* the kernel refused it */
    if (fstat(fd, &info) != 0)
        return errno;
    f->dev = info.st_dev;
    f->ino = info.st_ino;
    return S_ISDIR(info.st_mode) ? EISDIR : 0;
}

static vv_status posix_open(vio *io, const char *path, unsigned flags, vio_file **out,
                            vv_error *err)
{
    posix_io *p = io_of(io);
    int root = -1;
    vv_status st = enter(p, "open", path, false, &root, err);
    if (st != VV_OK)
        return st;
    posix_file *f = file_create(p, path, flags);
    if (f == NULL)
        return vv_fail(err, VV_NO_MEMORY, "open '%s': no memory", path);
    int fd = open_relieved(p, root, path, open_flags(flags));
    int sys = fd < 0 ? errno : look_at(f, fd);
    if (sys != 0) {
        if (fd >= 0)
            (void)close(fd);
        posix_close(&f->base);
        if (sys == EEXIST)
            return vv_fail(err, VV_CONFLICT, "create '%s': it is there already", path);
        return posix_fail_path(err, sys, flags & VIO_CREATE ? "create" : "open", p->root, path);
    }
    f->direct = (flags & VIO_DIRECT) != 0 && set_direct(fd);
    if (f->fds != NULL)
        posix_fds_hold(f->fds, f, fd);
    else
        f->fd = fd;
    *out = &f->base;
    return VV_OK;
}

static vv_status posix_rename(vio *io, const char *from, const char *to, vv_error *err)
{
    posix_io *p = io_of(io);
    int root = -1;
    vv_status st = enter(p, "rename", from, false, &root, err);
    if (st == VV_OK)
        st = enter(p, "rename", to, false, &root, err);
    if (st != VV_OK)
        return st;
    if (renameat(root, from, root, to) != 0) {
        vv_status failed = posix_fail_path(err, errno, "rename", p->root, from);
        return vv_wrap(err, failed, "replace '%s'", to);
    }
    return VV_OK;
}

static vv_status posix_remove(vio *io, const char *path, vv_error *err)
{
    posix_io *p = io_of(io);
    int root = -1;
    vv_status st = enter(p, "remove", path, false, &root, err);
    if (st != VV_OK)
        return st;
    if (unlinkat(root, path, 0) == 0)
        return VV_OK;
    /* Linux answers EISDIR for a directory, POSIX says EPERM. */
    if ((errno == EISDIR || errno == EPERM) && unlinkat(root, path, AT_REMOVEDIR) == 0)
        return VV_OK;
    return posix_fail_path(err, errno, "remove", p->root, path);
}

/* The bytes of src in a new, synced file. */
static int copy_bytes(int src, int dst)
{
    static const size_t chunk = 64 * 1024;
    uint8_t *buf = vv_alloc(chunk);
    if (buf == NULL)
        return ENOMEM;
    int sys = 0;
    for (;;) {
        ssize_t n = read(src, buf, chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            sys = n < 0 ? errno : 0;
            break;
        }
        for (ssize_t done = 0; done < n && sys == 0;) {
            ssize_t w = write(dst, buf + done, (size_t)(n - done));
            if (w < 0 && errno != EINTR)
                sys = errno;
            done += w > 0 ? w : 0;
        }
        if (sys != 0)
            break;
    }
    if (sys == 0 && fdatasync(dst) != 0)
        sys = errno;
    vv_free(buf);
    return sys;
}

static int copy_file(int root, const char *from, const char *to)
{
    int sys = 0;
    int src = open_retry(root, from, O_RDONLY);
    if (src < 0)
        return errno;
    int dst = open_retry(root, to, O_WRONLY | O_CREAT | O_EXCL);
    if (dst < 0) {
        sys = errno;
    } else {
        sys = copy_bytes(src, dst);
        (void)close(dst);
        if (sys != 0)
            (void)unlinkat(root, to, 0);
    }
    (void)close(src);
    return sys;
}

static vv_status posix_link(vio *io, const char *from, const char *to, vv_error *err)
{
    posix_io *p = io_of(io);
    int root = -1;
    vv_status st = enter(p, "link", from, false, &root, err);
    if (st == VV_OK)
        st = enter(p, "link", to, false, &root, err);
    if (st != VV_OK)
        return st;
    int sys = linkat(root, from, root, to, 0) == 0 ? 0 : errno;
    if (sys == EXDEV || sys == EPERM || sys == EMLINK || sys == EOPNOTSUPP || sys == ENOSYS)
        sys = copy_file(root, from, to);
    if (sys == EEXIST)
        return vv_fail(err, VV_CONFLICT, "link '%s' to '%s': it is there already", from, to);
    if (sys != 0) {
        st = posix_fail_path(err, sys, "make", p->root, to);
        return vv_wrap(err, st, "link '%s'", from);
    }
    return VV_OK;
}

/* mkdir, telling "already there" apart. Returns errno; 0 when it was made. */
static int make_one(int dir_fd, const char *path)
{
    return mkdirat(dir_fd, path, DIR_MODE) == 0 ? 0 : errno;
}

static int sync_parent_of(const char *path)
{
    char parent[4096];
    (void)snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    const char *name = slash == NULL ? "." : slash == parent ? "/" : parent;
    if (slash != NULL && slash != parent)
        *slash = '\0';
    int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int sys = fsync(fd) == 0 ? 0 : errno;
    (void)close(fd);
    return sys == EINVAL ? 0 : sys; /* a parent that cannot be synced at all, as /proc */
}

/* The root with its parents. Each new name is made durable: a store in a directory that a power
 * cut takes away is a lost store. */
static vv_status make_root(posix_io *p, vv_error *err)
{
    char path[4096];
    size_t len = strlen(p->root);
    if (len >= sizeof path)
        return vv_fail(err, VV_INVALID, "root '%.60s...' is longer than %zu bytes", p->root,
                       sizeof path - 1);
    for (size_t i = 1; i <= len; i++) {
        if (i < len && p->root[i] != '/')
            continue;
        memcpy(path, p->root, i);
        path[i] = '\0';
        int sys = make_one(AT_FDCWD, path);
        if (sys == 0)
            sys = sync_parent_of(path);
        struct stat info;
        if (sys != 0 && (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)))
            return posix_fail_path(err, sys, "make directory", "", path);
    }
    return root_fd(p) >= 0 ? VV_OK : posix_fail_path(err, errno, "open directory", p->root, "");
}

static vv_status posix_mkdir(vio *io, const char *path, vv_error *err)
{
    posix_io *p = io_of(io);
    if (path[0] == '\0')
        return make_root(p, err);
    int root = -1;
    vv_status st = enter(p, "make directory", path, true, &root, err);
    if (st != VV_OK)
        return st;
    int sys = make_one(root, path);
    if (sys == EEXIST) {
        struct stat info;
        if (fstatat(root, path, &info, 0) == 0)
            sys = S_ISDIR(info.st_mode) ? 0 : ENOTDIR;
    }
    return sys == 0 ? VV_OK : posix_fail_path(err, sys, "make directory", p->root, path);
}

typedef struct name_list {
    char **names;
    size_t count;
    size_t cap;
} name_list;

static void names_free(name_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        vv_free(l->names[i]);
    vv_free(l->names);
}

static int names_add(name_list *l, const char *name)
{
    if (l->count == l->cap) {
        size_t cap = l->cap == 0 ? 32 : l->cap * 2;
        char **names = vv_realloc(l->names, cap * sizeof *names);
        if (names == NULL)
            return ENOMEM;
        l->names = names;
        l->cap = cap;
    }
    l->names[l->count] = vv_strdup(name);
    if (l->names[l->count] == NULL)
        return ENOMEM;
    l->count++;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int names_read(DIR *dir, name_list *l)
{
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(dir);
        if (e == NULL)
            return errno;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        int sys = names_add(l, e->d_name);
        if (sys != 0)
            return sys;
    }
}

static vv_status posix_list(vio *io, const char *path, void (*each)(void *ctx, const char *name),
                            void *ctx, vv_error *err)
{
    posix_io *p = io_of(io);
    int root = -1;
    vv_status st = enter(p, "list", path, true, &root, err);
    if (st != VV_OK)
        return st;
    int fd = open_dir(root, path);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        int sys = errno;
        if (fd >= 0)
            (void)close(fd);
        return posix_fail_path(err, sys, "list", p->root, path);
    }
    name_list list = {0};
    int sys = names_read(dir, &list);
    (void)closedir(dir);
    if (sys == 0 && list.count > 0) {
        qsort(list.names, list.count, sizeof *list.names, by_name);
        for (size_t i = 0; i < list.count; i++)
            each(ctx, list.names[i]);
    }
    names_free(&list);
    return sys == 0 ? VV_OK : posix_fail_path(err, sys, "list", p->root, path);
}

static vv_status posix_sync_dir(vio *io, const char *path, vv_error *err)
{
    posix_io *p = io_of(io);
    int root = -1;
    vv_status st = enter(p, "sync directory", path, true, &root, err);
    if (st != VV_OK)
        return st;
    int fd = open_dir(root, path);
    if (fd < 0)
        return posix_fail_path(err, errno, "sync directory", p->root, path);
    int sys = VV_BUG(6) || fsync(fd) == 0 ? 0 : errno;
    (void)close(fd);
    return sys == 0 ? VV_OK : posix_fail_path(err, sys, "sync directory", p->root, path);
}

/* Who holds the lock: the pid its holder wrote into the file; 0 when it cannot be read. */
static long lock_holder(int fd)
{
    char text[24] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    return n <= 0 ? 0 : strtol(text, NULL, 10);
}

static int lock_write_pid(int fd)
{
    char text[24];
    int len = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0)
        return errno;
    ssize_t n = pwrite(fd, text, (size_t)len, 0);
    return n == len ? 0 : n < 0 ? errno : ENOSPC;
}

/* flock and not fcntl: it belongs to the open file, so it also keeps out a second store of the
 * same process and does not end when some other descriptor of the file is closed. */
static vv_status posix_lock(vio *io, const char *path, vio_file **out, vv_error *err)
{
    vio_file *file = NULL;
    vv_status st = posix_open(io, path, VIO_READ | VIO_WRITE | VIO_CREATE, &file, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "lock");
    posix_file *f = posix_file_of(file);
    int rc;
    do
        rc = flock(f->fd, LOCK_EX | LOCK_NB);
    while (rc != 0 && errno == EINTR);
    if (rc != 0 && errno == EWOULDBLOCK) {
        long pid = lock_holder(f->fd);
        if (pid > 0)
            st = vv_fail(err, VV_BUSY, "lock '%s': process %ld holds it: stop that one first",
                         f->path, pid);
        else
            st = vv_fail(err, VV_BUSY, "lock '%s': another process holds it", f->path);
    } else {
        int sys = rc != 0 ? errno : lock_write_pid(f->fd);
        if (sys != 0)
            st = posix_fail_file(err, sys, "lock", f);
    }
    if (st != VV_OK) {
        posix_close(file);
        return st;
    }
    *out = file;
    return VV_OK;
}

static void posix_destroy(vio *io)
{
    posix_io *p = io_of(io);
    vio_queues_close_all(io);
    posix_pool_destroy(p->pool);
    int fd = atomic_load(&p->root_fd);
    if (fd >= 0)
        (void)close(fd);
    vio_sched_fini(&p->sched);
    posix_fds_fini(&p->fds);
    vv_free(p->root);
    vv_free(p);
}

/* ---- queues ---- */

void posix_run_request(vio_req *req)
{
    posix_transfer t = posix_transfer_of(req);
    req->status = posix_transfer_run(&t, &req->err);
    req->got = req->op == VIO_OP_READ ? t.moved : 0;
}

/* A thread that cannot have a ring (descriptors, locked memory) has a queue without one. */
static void note_refusal(posix_io *p, const vv_error *why)
{
    if (!atomic_exchange(&p->ring_refused, true))
        vv_log_to(p->log, VV_LOG_WARN, "io", "a thread has no ring: it reads with blocking calls",
                  VV_KV_S("error", why->msg));
}

static vv_status posix_queue_open(vio *io, unsigned depth, vio_queue **out, vv_error *err)
{
    posix_io *p = io_of(io);
    vv_error why;
    vv_status st = VV_UNSUPPORTED;
    if (p->backend == VIO_BACKEND_THREADS)
        return posix_pool_queue_open(io, depth, out, err);
    if (p->backend == VIO_BACKEND_RING)
        st = posix_ring_queue_open(io, depth, out, &why);
    if (st == VV_OK)
        return VV_OK;
    if (p->backend == VIO_BACKEND_RING)
        note_refusal(p, &why);
    return vio_queue_inline_open(io, depth, posix_run_request, out, err);
}

static const vio_ops posix_ops = {
    .name = "posix",
    .open = posix_open,
    .rename = posix_rename,
    .remove = posix_remove,
    .link = posix_link,
    .mkdir = posix_mkdir,
    .list = posix_list,
    .sync_dir = posix_sync_dir,
    .lock = posix_lock,
    .queue_open = posix_queue_open,
    .destroy = posix_destroy,
    .close = posix_close,
    .pread = posix_file_pread,
    .pwrite = posix_file_pwrite,
    .sync = posix_file_sync,
    .size = posix_file_size,
    .truncate = posix_file_truncate,
    .allocate = posix_file_allocate,
    .map = posix_file_map,
    .unmap = posix_file_unmap,
};

/* What is asked for, or what the kernel leaves of it. */
static vio_backend choose_backend(vio_backend asked, vv_log *log)
{
    if (asked != VIO_BACKEND_AUTO && asked != VIO_BACKEND_RING)
        return asked;
    vv_error why;
    if (posix_ring_probe(&why) == VV_OK)
        return VIO_BACKEND_RING;
    vv_log_to(log, asked == VIO_BACKEND_RING ? VV_LOG_WARN : VV_LOG_INFO, "io",
              "no io_uring here: reads go through a pool of threads", VV_KV_S("reason", why.msg));
    return VIO_BACKEND_THREADS;
}

void vio_posix_files(vio *io, vio_posix_file_stats *out)
{
    posix_fds *p = &io_of(io)->fds;
    vv_mutex_lock(&p->lock);
    *out = (vio_posix_file_stats){.held = p->held,
                                  .max = p->max,
                                  .given_up =
                                      atomic_load_explicit(&p->given_up, memory_order_relaxed)};
    vv_mutex_unlock(&p->lock);
}

vio_backend vio_posix_backend(vio *io)
{
    return io_of(io)->backend;
}

vv_status vio_posix_real_path(vio *io, const char *path, char *out, size_t size, vv_error *err)
{
    if (io->ops != &posix_ops)
        return vv_fail(err, VV_UNSUPPORTED, "'%s': the files of '%s' have no name for the system",
                       path, io->ops->name);
    int n = snprintf(out, size, "%s%s%s", io_of(io)->root, path[0] == '\0' ? "" : "/", path);
    if (n < 0 || (size_t)n >= size)
        return vv_fail(err, VV_INVALID, "'%s' below '%.100s...': the path is too long", path,
                       io_of(io)->root);
    return VV_OK;
}

const char *vio_backend_name(vio_backend backend)
{
    static const char *const names[] = {[VIO_BACKEND_AUTO] = "auto",
                                        [VIO_BACKEND_POSIX] = "posix",
                                        [VIO_BACKEND_THREADS] = "threads",
                                        [VIO_BACKEND_RING] = "io_uring"};
    return (size_t)backend < ARRAY_LEN(names) ? names[backend] : "unknown";
}

static void set_root(posix_io *p, const char *root)
{
    p->root = vv_strdup(root);
    size_t len = p->root == NULL ? 0 : strlen(p->root);
    while (len > 1 && p->root[len - 1] == '/')
        p->root[--len] = '\0';
}

static unsigned files_max(unsigned asked)
{
    struct rlimit limit;
    rlim_t most = getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur / 2 : 512;
    if (asked == 0)
        asked = most > 1u << 20 ? 1u << 20 : (unsigned)most;
    return asked < VIO_FILES_LEAST ? VIO_FILES_LEAST : asked;
}

vv_status vio_posix_open(const char *root, const vio_posix_options *opt, vio **out, vv_error *err)
{
    static const vio_posix_options defaults = {0};
    if (opt == NULL)
        opt = &defaults;
    if (root[0] == '\0')
        return vv_fail(err, VV_INVALID, "the root directory has no name");
    posix_io *p = vv_alloc(sizeof *p);
    if (p == NULL)
        return vv_fail(err, VV_NO_MEMORY, "root '%s': no memory", root);
    *p =
        (posix_io){.base = {.ops = &posix_ops, .sched = &p->sched}, .root_fd = -1, .log = opt->log};
    vio_sched_init(&p->sched, vv_clock_real());
    posix_fds_init(&p->fds, files_max(opt->files_max));
    p->backend = choose_backend(opt->backend, opt->log);
    set_root(p, root);
    vv_status st =
        p->root == NULL ? vv_fail(err, VV_NO_MEMORY, "root '%s': no memory", root) : VV_OK;
    if (st == VV_OK && p->backend == VIO_BACKEND_THREADS)
        st = posix_pool_create(&p->pool, err);
    if (st != VV_OK) {
        posix_destroy(&p->base);
        return st;
    }
    *out = &p->base;
    return VV_OK;
}

vv_status vio_posix_create(const char *root, vio **out, vv_error *err)
{
    return vio_posix_open(root, NULL, out, err);
}
