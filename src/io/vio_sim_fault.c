/*
 * vio_sim_fault.c - which call is hit, and the record of it.
 *
 * Every call that a fault could hit is a site of it, counted from the moment the power came on. A
 * test walks the sites: fault_at = 1, 2, ... until a run ends with fewer sites than fault_at.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "io/vio_sim_int.h"

#define TRACE_LINE_MAX 512

const char *sim_op_name(sim_op op)
{
    static const char *const names[] = {
        [SIM_OPEN] = "open",         [SIM_RENAME] = "rename", [SIM_REMOVE] = "remove",
        [SIM_LINK] = "link",         [SIM_MKDIR] = "mkdir",   [SIM_LIST] = "list",
        [SIM_SYNC_DIR] = "sync_dir", [SIM_LOCK] = "lock",     [SIM_READ] = "read",
        [SIM_WRITE] = "write",       [SIM_SYNC] = "sync",     [SIM_SIZE] = "size",
        [SIM_TRUNCATE] = "truncate", [SIM_MAP] = "map",       [SIM_ALLOCATE] = "allocate",
        [SIM_PUBLISH] = "publish",
    };
    return names[op];
}

/* A line that finds no memory or no room is left out: the trace must never change the run. */
void sim_trace(vio_sim_disk *disk, const char *fmt, ...)
{
    char line[TRACE_LINE_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    size_t len = n < 0 ? 0 : vv_min_u64((uint64_t)n, sizeof line - 1);
    if (vv_buf_reserve(&disk->trace, len + 1) == NULL) {
        disk->trace.status = VV_OK;
        return;
    }
    vv_buf_append(&disk->trace, line, len);
    disk->trace.data[disk->trace.len] = '\0';
}

void sim_note_bytes(vio_sim_disk *disk, const void *data, size_t len)
{
    disk->hash = vv_hash64_seed(data, len, disk->hash);
}

void sim_note(vio_sim_disk *disk, sim_op op, const char *path, uint64_t a, uint64_t b,
              vv_status status)
{
    const uint64_t event[] = {(uint64_t)op, a, b, (uint64_t)status};
    sim_note_bytes(disk, event, sizeof event);
    sim_note_bytes(disk, path, strlen(path));
}

static bool repeats(vio_sim_fault fault)
{
    return fault == VIO_SIM_EIO_STICKY || fault == VIO_SIM_ENOSPC;
}

bool sim_fault_hits(vio_sim_disk *disk, vio_sim_fault fault)
{
    uint64_t site = ++disk->sites[fault];
    if (disk->opt.fault != fault || disk->opt.fault_at == 0 || disk->healed)
        return false;
    return site == disk->opt.fault_at || (site > disk->opt.fault_at && repeats(fault));
}

bool sim_cut_hits(vio_sim_disk *disk)
{
    for (sim_image *img = disk->mapped; img != NULL; img = img->next_mapped)
        sim_map_age(disk, img);
    return ++disk->writes == disk->opt.cut_after_writes;
}

void sim_power_off(vio_sim_disk *disk)
{
    for (sim_image *img = disk->mapped; img != NULL;) {
        sim_image *next = img->next_mapped; /* freezing moves img to the front */
        sim_map_freeze(disk, img);
        img = next;
    }
    disk->off = true;
    disk->settled = false;
    disk->life++;
}

vv_status sim_fail_off(vv_error *err, sim_op op, const char *path)
{
    return vv_fail(err, VV_IO, "%s '%s': power is off", sim_op_name(op), path);
}

vv_status sim_fail_memory(vv_error *err, sim_op op, const char *path)
{
    return vv_fail(err, VV_NO_MEMORY, "%s '%s': no memory", sim_op_name(op), path);
}

vv_status sim_fail_injected(vv_error *err, sim_op op, const char *path, int sys)
{
    return vv_fail_sys(err, vv_status_of_errno(sys), sys, "%s '%s' (injected)", sim_op_name(op),
                       path);
}
