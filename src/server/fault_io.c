/*
 * fault_io.c - see fault_io.h.
 */
#include "server/fault_io.h"

#include <errno.h>
#include <stdatomic.h>

#include "base/error.h"

static struct {
    vio_ops ops; /* fixed after fault_io_begin, as was */
    const vio_ops *was;
    _Atomic int kind;
    _Atomic uint64_t at; /* 0: none fails */
    _Atomic uint64_t count;
} fault;

/* Whether a call fails; takes says that it needs space. */
static bool is_hit(bool takes, vv_status *st, vv_error *err)
{
    const int kind = atomic_load(&fault.kind);
    const uint64_t at = atomic_load(&fault.at);
    if (kind == FAULT_IO_FULL && !takes)
        return false;
    const uint64_t n = atomic_fetch_add(&fault.count, 1) + 1;
    if (at == 0 || n < at || (kind == FAULT_IO_ONCE && n > at))
        return false;
    if (kind == FAULT_IO_FULL)
        *st = vv_fail_sys(err, VV_NO_SPACE, ENOSPC, "call %llu of the test", (unsigned long long)n);
    else
        *st = vv_fail_sys(err, VV_IO, EIO, "call %llu of the test", (unsigned long long)n);
    return true;
}

static vv_status on_open(vio *io, const char *path, unsigned flags, vio_file **out, vv_error *err)
{
    vv_status st;
    if (is_hit((flags & VIO_CREATE) != 0, &st, err))
        return st;
    st = fault.was->open(io, path, flags, out, err);
    if (st == VV_OK)
        (*out)->ops = &fault.ops;
    return st;
}

static vv_status on_rename(vio *io, const char *from, const char *to, vv_error *err)
{
    vv_status st;
    return is_hit(false, &st, err) ? st : fault.was->rename(io, from, to, err);
}

static vv_status on_remove(vio *io, const char *path, vv_error *err)
{
    vv_status st;
    return is_hit(false, &st, err) ? st : fault.was->remove(io, path, err);
}

static vv_status on_sync_dir(vio *io, const char *path, vv_error *err)
{
    vv_status st;
    return is_hit(false, &st, err) ? st : fault.was->sync_dir(io, path, err);
}

static vv_status on_pread(vio_file *file, uint64_t offset, void *buf, size_t len, size_t *got,
                          vv_error *err)
{
    vv_status st;
    return is_hit(false, &st, err) ? st : fault.was->pread(file, offset, buf, len, got, err);
}

static vv_status on_pwrite(vio_file *file, uint64_t offset, const void *buf, size_t len,
                           vv_error *err)
{
    vv_status st;
    uint64_t size = 0;
    const bool grows = fault.was->size(file, &size, NULL) != VV_OK || offset + len > size;
    return is_hit(grows, &st, err) ? st : fault.was->pwrite(file, offset, buf, len, err);
}

static vv_status on_sync(vio_file *file, vv_error *err)
{
    vv_status st;
    return is_hit(false, &st, err) ? st : fault.was->sync(file, err);
}

static vv_status on_truncate(vio_file *file, uint64_t size, vv_error *err)
{
    vv_status st;
    return is_hit(true, &st, err) ? st : fault.was->truncate(file, size, err);
}

static vv_status on_allocate(vio_file *file, uint64_t size, vv_error *err)
{
    vv_status st;
    return is_hit(true, &st, err) ? st : fault.was->allocate(file, size, err);
}

void fault_io_begin(vv_env *env)
{
    fault.was = env->io->ops;
    fault.ops = *env->io->ops;
    fault.ops.open = on_open;
    fault.ops.rename = on_rename;
    fault.ops.remove = on_remove;
    fault.ops.sync_dir = on_sync_dir;
    fault.ops.pread = on_pread;
    fault.ops.pwrite = on_pwrite;
    fault.ops.sync = on_sync;
    fault.ops.truncate = on_truncate;
    fault.ops.allocate = on_allocate;
    fault.ops.queue_open = NULL;
    env->io->ops = &fault.ops;
    fault_io_set(FAULT_IO_ONCE, 0);
}

void fault_io_set(fault_io_kind kind, uint64_t n)
{
    atomic_store(&fault.at, 0);
    atomic_store(&fault.kind, (int)kind);
    atomic_store(&fault.count, 0);
    atomic_store(&fault.at, n);
}

uint64_t fault_io_count(void)
{
    return atomic_load(&fault.count);
}
