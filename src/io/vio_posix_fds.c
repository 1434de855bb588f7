/*
 * vio_posix_fds.c - a bounded number of descriptors over any number of immutable files.
 *
 *   open(VIO_IDLE) --> held <--acquire, release--> in use
 *                       | the clock hand: idle since its last pass
 *                       v
 *                     closed --acquire: opened again by its name--> in use
 *
 * A store may have more files than the process may have descriptors. A file opened with VIO_IDLE
 * only promises to be read, and its name stays until it is closed; so its descriptor may go while
 * nobody reads and come back with the next read, at the price of one open (some microseconds, no
 * device). That is the one place where runs, value files and pages are bounded, whatever engine and
 * backend read them.
 *
 * Use without a lock: a reader first counts itself (users), then looks at the descriptor; the hand
 * first takes the descriptor out, then looks at the users and puts it back when there are some. All
 * four are sequentially consistent, so one of the two sees the other. A reader that looks in
 * between finds none and waits for the hand's lock (posix_fd_of).
 *
 * The bound is passed only while more files than it allows are being read at once.
 */
#include "io/vio_posix_int.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/point.h"

void posix_fds_init(posix_fds *p, unsigned max)
{
    *p = (posix_fds){.max = max};
    vv_mutex_init(&p->lock, VV_RANK_LEAF);
}

void posix_fds_fini(posix_fds *p)
{
    assert(p->hand == NULL);
    vv_mutex_fini(&p->lock);
}

static void insert(posix_fds *p, posix_file *f) VV_REQUIRES(p->lock)
{
    if (p->hand == NULL) {
        f->prev = f->next = f;
        p->hand = f;
    } else { /* behind the hand: a whole round to be used again */
        f->next = p->hand;
        f->prev = p->hand->prev;
        f->prev->next = f;
        f->next->prev = f;
    }
    p->held++;
}

static void drop(posix_fds *p, posix_file *f) VV_REQUIRES(p->lock)
{
    if (f->next == f) {
        p->hand = NULL;
    } else {
        f->prev->next = f->next;
        f->next->prev = f->prev;
        if (p->hand == f)
            p->hand = f->next;
    }
    f->next = f->prev = NULL;
    p->held--;
}

/* The descriptor of an idle file, which is no longer held; -1 when all are in use. */
static int take_idle(posix_fds *p) VV_REQUIRES(p->lock)
{
    for (unsigned steps = 2 * p->held; steps > 0 && p->hand != NULL; steps--) {
        posix_file *f = p->hand;
        p->hand = f->next;
        if (atomic_exchange_explicit(&f->was_used, false, memory_order_relaxed))
            continue;
        int fd = atomic_exchange(&f->fd, -1);
        VV_POINT("vio.fds.taken");
        if (atomic_load(&f->users) == 0) {
            drop(p, f);
            atomic_fetch_add_explicit(&p->given_up, 1, memory_order_relaxed);
            return fd;
        }
        atomic_store(&f->fd, fd); /* somebody may be reading it already */
    }
    return -1;
}

/* Close one idle descriptor; with over, only when more than the bound are held. False: none. */
static bool give_up_one(posix_fds *p, bool over)
{
    int fd = -1;
    vv_mutex_lock(&p->lock);
    if (!over || p->held > p->max)
        fd = take_idle(p);
    vv_mutex_unlock(&p->lock);
    if (fd >= 0)
        (void)close(fd);
    return fd >= 0;
}

bool posix_fds_relieve(posix_fds *p)
{
    return give_up_one(p, false);
}

void posix_fds_hold(posix_fds *p, posix_file *f, int fd)
{
    vv_mutex_lock(&p->lock);
    if (atomic_load(&f->fd) < 0) {
        atomic_store_explicit(&f->was_used, true, memory_order_relaxed);
        atomic_store(&f->fd, fd);
        insert(p, f);
        fd = -1;
    }
    vv_mutex_unlock(&p->lock);
    if (fd >= 0)
        (void)close(fd); /* another reader was first */
    while (give_up_one(p, true)) {
    }
}

int posix_fds_forget(posix_fds *p, posix_file *f)
{
    vv_mutex_lock(&p->lock);
    assert(atomic_load(&f->users) == 0);
    int fd = atomic_exchange(&f->fd, -1);
    if (fd >= 0)
        drop(p, f);
    vv_mutex_unlock(&p->lock);
    return fd;
}

static vv_status open_again(posix_file *f, vv_error *err)
{
    int fd = posix_reopen(f);
    if (fd == -ENOENT) /* not "absent", which would be an answer */
        return vv_fail(err, VV_CORRUPT, "open '%s' again: it is not there any more", f->path);
    if (fd < 0)
        return posix_fail_file(err, -fd, "open again", f);
    struct stat info;
    if (fstat(fd, &info) != 0 || info.st_dev != f->dev || info.st_ino != f->ino) {
        (void)close(fd);
        return vv_fail(err, VV_CORRUPT, "open '%s' again: another file has its name now", f->path);
    }
    posix_fds_hold(f->fds, f, fd);
    return VV_OK;
}

vv_status posix_fd_acquire(posix_file *f, vv_error *err)
{
    if (f->fds == NULL)
        return VV_OK;
    atomic_fetch_add(&f->users, 1); /* from here on the hand leaves a descriptor that is there */
    if (!atomic_load_explicit(&f->was_used, memory_order_relaxed))
        atomic_store_explicit(&f->was_used, true, memory_order_relaxed);
    if (atomic_load(&f->fd) >= 0)
        return VV_OK;
    /* The hand may have taken it out for a look, under the lock. */
    vv_mutex_lock(&f->fds->lock);
    bool there = atomic_load(&f->fd) >= 0;
    vv_mutex_unlock(&f->fds->lock);
    vv_status st = there ? VV_OK : open_again(f, err);
    if (st != VV_OK)
        posix_fd_release(f);
    return st;
}

int posix_fd_of(posix_file *f)
{
    int fd = atomic_load(&f->fd);
    if (VV_LIKELY(fd >= 0) || f->fds == NULL)
        return fd;
    /* The hand has it out to look whether anybody reads, which the caller does: it comes back. */
    vv_mutex_lock(&f->fds->lock);
    fd = atomic_load(&f->fd);
    vv_mutex_unlock(&f->fds->lock);
    assert(fd >= 0);
    return fd;
}

void posix_fd_release(posix_file *f)
{
    if (f->fds == NULL)
        return;
    uint32_t before = atomic_fetch_sub(&f->users, 1);
    assert(before > 0);
    (void)before;
}
