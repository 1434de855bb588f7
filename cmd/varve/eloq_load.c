/*
 * eloq_load.c - the entries of EloqStore's partitions into tables, through the public library.
 *
 *     DIR                 a partition itself, <table>.<number>, or any directory with a manifest
 *     DIR/<table>.<n>     a store: its partitions one after the other
 *
 * Entries come in the order of keys and are written in batches that are durable one by one. A
 * partition is not written back and not locked: EloqStore must not have it open.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "btree/btree_import.h"
#include "eloq.h"
#include "io/env.h"
#include "varve/varve.h"

#define BATCH_BYTES (1024u * 1024)
#define BATCH_COUNT 1000u
#define PARTITIONS_MAX 65536u

typedef struct partitions {
    char **names;
    size_t count;
    bool failed;
} partitions;

typedef struct load {
    const eloq_job *job;
    eloq_progress *at;
    vv_db *db;
    vv_table *table;
    vv_batch *batch;
} load;

/* Bytes of the table's name in "<table>.<number>"; 0 when it is none. */
static size_t table_part(const char *name)
{
    const char *dot = strrchr(name, '.');
    size_t len = dot == NULL ? 0 : (size_t)(dot - name);
    if (len == 0 || dot[1] == '\0' || strspn(dot + 1, "0123456789") != strlen(dot + 1))
        return 0;
    return len <= VV_NAME_MAX ? len : 0;
}

static void see_name(void *ctx, const char *name)
{
    partitions *p = ctx;
    if (table_part(name) == 0 || p->failed)
        return;
    char **more =
        p->count < PARTITIONS_MAX ? vv_realloc(p->names, (p->count + 1) * sizeof *p->names) : NULL;
    if (more != NULL)
        p->names = more;
    char *copy = more == NULL ? NULL : vv_strdup(name);
    p->failed = copy == NULL;
    if (!p->failed)
        p->names[p->count++] = copy;
}

static void drop_names(partitions *p)
{
    for (size_t i = 0; i < p->count; i++)
        vv_free(p->names[i]);
    vv_free(p->names);
}

static vv_status find_partitions(const char *dir, partitions *out, vv_error *err)
{
    vio *io = NULL;
    vv_status st = vio_posix_create(dir, &io, err);
    if (st == VV_OK)
        st = vio_list(io, "", see_name, out, err);
    vio_destroy(io);
    if (st == VV_OK && out->failed)
        st = vv_fail(err, VV_NO_MEMORY, "%s: the names of its partitions", dir);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "%s", dir);
}

/* ---- writing ---- */

static vv_status flush(load *l, vv_error *err)
{
    size_t count = vv_batch_count(l->batch);
    vv_status st = vv_write(l->db, l->batch, VV_DURABLE_SYNC, NULL, err);
    if (st != VV_OK)
        return st;
    vv_batch_clear(l->batch);
    l->at->entries += count;
    if (l->job->progress != NULL)
        l->job->progress(l->job->ctx, l->at);
    return VV_OK;
}

static vv_status put(load *l, const btree_import_entry *e, vv_error *err)
{
    size_t count = vv_batch_count(l->batch);
    size_t bytes = vv_batch_bytes(l->batch) + e->key.len + e->value.len;
    vv_status st = VV_OK;
    if (count > 0 && (count >= BATCH_COUNT || bytes > BATCH_BYTES))
        st = flush(l, err);
    if (st == VV_OK)
        st = vv_batch_put(l->batch, l->table, e->key, e->value, e->expires_ns, err);
    return st;
}

static vv_status copy_entries(load *l, btree_import *im, vv_error *err)
{
    uint64_t expired = l->at->expired;
    btree_import_entry e;
    vv_status st;
    while ((st = btree_import_next(im, &e, err)) == VV_OK) {
        btree_import_info info;
        btree_import_info_read(im, &info);
        l->at->pages = info.pages;
        l->at->pages_read = info.pages_read;
        st = put(l, &e, err);
        if (st != VV_OK)
            return vv_wrap(err, st, "entry %llu, a key of %zu bytes and a value of %zu",
                           (unsigned long long)info.entries, e.key.len, e.value.len);
    }
    btree_import_info info;
    btree_import_info_read(im, &info);
    l->at->expired = expired + info.expired;
    l->at->dropped_bytes += info.dropped_bytes;
    /* What came before damage is sound and is kept. */
    vv_error flush_err = {0};
    vv_status flushed = vv_batch_count(l->batch) == 0 ? VV_OK : flush(l, &flush_err);
    if (st == VV_NOT_FOUND && flushed != VV_OK) {
        *err = flush_err;
        return flushed;
    }
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* ---- partitions ---- */

static vv_status open_table(load *l, const char *name, vv_error *err)
{
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.if_not_exists = true;
    return vv_table_create(l->db, l->job->tenant, name, &opt, &l->table, err);
}

static vv_status load_from(load *l, vio *io, const char *table, vv_error *err)
{
    const eloq_job *job = l->job;
    btree_import *im = NULL;
    const btree_import_options opt = {.page_size = job->page_size,
                                      .file_shift = job->file_shift,
                                      .record_align = job->record_align,
                                      .manifest = job->manifest,
                                      .branch = job->branch,
                                      .now_ms = vv_clock_wall(vv_clock_real()) / VV_NS_PER_MS};
    vv_status st = btree_import_open(io, &opt, &im, err);
    if (st == VV_OK)
        st = open_table(l, table, err);
    if (st == VV_OK)
        st = copy_entries(l, im, err);
    btree_import_close(im);
    vv_table_close(l->table);
    l->table = NULL;
    vv_batch_clear(l->batch);
    return st;
}

static vv_status load_partition(load *l, const char *path, const char *name, vv_error *err)
{
    char table[VV_NAME_MAX + 1];
    vio *io = NULL;
    size_t len = table_part(name);
    if (l->job->table != NULL)
        (void)snprintf(table, sizeof table, "%s", l->job->table);
    else if (len > 0)
        (void)snprintf(table, sizeof table, "%.*s", (int)len, name);
    else
        return vv_fail(err, VV_INVALID,
                       "%s is not called TABLE.NUMBER: name the table with --table", path);
    l->at->partition = name;
    vv_status st = vio_posix_create(path, &io, err);
    if (st == VV_OK)
        st = load_from(l, io, table, err);
    vio_destroy(io);
    if (st != VV_OK)
        return vv_wrap(err, st, "%s", name);
    l->at->partitions++;
    return VV_OK;
}

/* One name for several tables would let the keys of one replace those of another. */
static vv_status check_one_table(const eloq_job *job, const partitions *p, vv_error *err)
{
    for (size_t i = 1; job->table != NULL && i < p->count; i++) {
        size_t len = table_part(p->names[0]);
        if (table_part(p->names[i]) != len || memcmp(p->names[0], p->names[i], len) != 0)
            return vv_fail(err, VV_INVALID,
                           "%s holds %s and %s: with --table name the directory of one of them",
                           job->dir, p->names[0], p->names[i]);
    }
    return VV_OK;
}

static vv_status load_all(load *l, const partitions *p, vv_error *err)
{
    const char *dir = l->job->dir;
    if (p->count == 0) {
        char *real = realpath(dir, NULL);
        const char *slash = real == NULL ? NULL : strrchr(real, '/');
        vv_status st = load_partition(l, dir, slash == NULL ? dir : slash + 1, err);
        l->at->partition = dir;
        free(real); /* of realpath */
        return st;
    }
    for (size_t i = 0; i < p->count; i++) {
        char path[4096];
        int n = snprintf(path, sizeof path, "%s/%s", dir, p->names[i]);
        if (n < 0 || (size_t)n >= sizeof path)
            return vv_fail(err, VV_INVALID, "the path of %s is too long", p->names[i]);
        vv_status st = load_partition(l, path, p->names[i], err);
        if (st != VV_OK)
            return st;
    }
    return VV_OK;
}

static vv_status load_into(load *l, const partitions *p, vv_error *err)
{
    vv_options opt = VV_OPTIONS_INIT;
    vv_error close_err = {0};
    vv_status st = vv_db_open(l->job->data, &opt, &l->db, err);
    if (st != VV_OK)
        return st;
    l->batch = vv_batch_create(l->db);
    st = l->batch == NULL ? vv_fail(err, VV_NO_MEMORY, "a batch") : load_all(l, p, err);
    vv_batch_destroy(l->batch);
    vv_status closed = vv_db_close(l->db, &close_err);
    if (st == VV_OK && closed != VV_OK) {
        *err = close_err;
        return closed;
    }
    return st;
}

vv_status eloq_load(const eloq_job *job, eloq_progress *out, vv_error *err)
{
    *out = (eloq_progress){.partition = job->dir};
    load l = {.job = job, .at = out};
    partitions p = {0};
    vv_status st = find_partitions(job->dir, &p, err);
    if (st == VV_OK)
        st = check_one_table(job, &p, err);
    if (st == VV_OK)
        st = load_into(&l, &p, err);
    drop_names(&p);
    out->partition = job->dir;
    return st;
}
