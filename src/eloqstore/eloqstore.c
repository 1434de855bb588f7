/*
 * eloqstore.c - the C interface of EloqStore's Rust port over the public interface of Varve.
 *
 * A handle keeps its options from new to free and a store from start to stop. Tables are looked up
 * by name at each call: that is a hash look-up, and a handle kept longer would have to be told of
 * dropped tables.
 */
#include "eloqstore.h"

#include "base/alloc.h"
#include "base/util.h"
#include "varve/varve.h"

#define TENANT "default"
#define PAGE_SIZE ((uint64_t)4096)
#define CACHE_PAGES ((uint64_t)32768)
#define REST_OF_MEMORY                                                                             \
    (256 * VV_MIB) /* memtables, queues, log: beside the cache and its own rest */

struct EloqStoreHandle {
    EloqStoreKvOptions options; /* data_dir is its own */
    vv_db *db;                  /* NULL: not started */
};

static int result_of(vv_status st)
{
    return -(int)st;
}

EloqStoreHandle *eloqstore_new(const char *data_dir)
{
    EloqStoreKvOptions options = ELOQSTORE_KV_OPTIONS_INIT(data_dir);
    return eloqstore_new_with_options(&options);
}

EloqStoreHandle *eloqstore_new_with_options(const EloqStoreKvOptions *options)
{
    if (options == NULL || options->data_dir == NULL || options->data_dir[0] == '\0')
        return NULL;
    EloqStoreHandle *store = vv_alloc(sizeof *store);
    char *dir = vv_strdup(options->data_dir);
    if (store == NULL || dir == NULL) {
        vv_free(store);
        vv_free(dir);
        return NULL;
    }
    *store = (EloqStoreHandle){.options = *options};
    store->options.data_dir = dir;
    return store;
}

static vv_status translate(const EloqStoreKvOptions *from, vv_options *to)
{
    uint64_t pages = from->cache_size != 0 ? from->cache_size : CACHE_PAGES;
    if (from->num_shards > UINT32_MAX || pages > (UINT64_MAX >> 16) ||
        from->max_open_files > UINT32_MAX)
        return VV_INVALID;
    if ((from->page_size != 0 && from->page_size != PAGE_SIZE))
        return VV_UNSUPPORTED;
    to->engine = VV_ENGINE_BTREE;
    to->shard_count = (uint32_t)from->num_shards;
    to->cache_size = pages * PAGE_SIZE;
    to->memory_limit = 2 * to->cache_size + REST_OF_MEMORY;
    to->max_open_files = (uint32_t)from->max_open_files;
    to->value_compression = from->compression;
    to->durability = from->sync_writes ? VV_DURABLE_SYNC : VV_DURABLE_OS;
    return VV_OK;
}

int eloqstore_start(EloqStoreHandle *store)
{
    if (store == NULL)
        return result_of(VV_INVALID);
    if (store->db != NULL)
        return 0;
    vv_options options = VV_OPTIONS_INIT;
    vv_status st = translate(&store->options, &options);
    if (st == VV_OK)
        st = vv_db_open(store->options.data_dir, &options, &store->db, NULL);
    return result_of(st);
}

/* The table's name with its NUL. */
static vv_status take_name(const char *table, size_t len, char name[VV_NAME_MAX + 1])
{
    if (table == NULL || len == 0 || len > VV_NAME_MAX || memchr(table, '\0', len) != NULL)
        return VV_INVALID;
    memcpy(name, table, len);
    name[len] = '\0';
    return VV_OK;
}

/* A missing table is made over all shards: this interface writes key by key, so nothing would be
 * gained by keeping its keys together. */
static vv_status open_for_write(vv_db *db, const char *name, vv_table **out)
{
    vv_status st = vv_table_open(db, TENANT, name, out, NULL);
    if (st != VV_NOT_FOUND)
        return st;
    vv_table_options options = VV_TABLE_OPTIONS_INIT;
    vv_stats stats = {.size = sizeof stats};
    vv_stats_read(db, &stats);
    options.if_not_exists = true;
    options.partitions = stats.shards; /* of the store, whatever this handle asked for */
    return vv_table_create(db, TENANT, name, &options, out, NULL);
}

int eloqstore_write(EloqStoreHandle *store, const char *table, size_t table_len, const void *key,
                    size_t key_len, const void *value, size_t value_len)
{
    char name[VV_NAME_MAX + 1];
    vv_table *t = NULL;
    if (store == NULL || key == NULL || (value == NULL && value_len > 0) ||
        take_name(table, table_len, name) != VV_OK)
        return result_of(VV_INVALID);
    if (store->db == NULL)
        return result_of(VV_CLOSED);
    vv_status st = open_for_write(store->db, name, &t);
    if (st == VV_OK)
        st = vv_put(t, vv_slice_of(key, key_len), vv_slice_of(value, value_len), NULL);
    vv_table_close(t);
    return result_of(st);
}

static vv_status copy_value(vv_table *table, vv_slice key, void *buffer, size_t *len)
{
    vv_value value;
    vv_status st = vv_get(table, NULL, key, &value, NULL);
    if (st != VV_OK)
        return st;
    if (value.data.len > *len)
        st = VV_NO_SPACE;
    else if (value.data.len > 0)
        memcpy(buffer, value.data.data, value.data.len);
    *len = value.data.len;
    vv_value_release(&value);
    return st;
}

int eloqstore_read(EloqStoreHandle *store, const char *table, size_t table_len, const void *key,
                   size_t key_len, void *buffer, size_t *len)
{
    char name[VV_NAME_MAX + 1];
    vv_table *t = NULL;
    if (store == NULL || key == NULL || len == NULL || (buffer == NULL && *len > 0) ||
        take_name(table, table_len, name) != VV_OK)
        return result_of(VV_INVALID);
    if (store->db == NULL)
        return result_of(VV_CLOSED);
    vv_status st = vv_table_open(store->db, TENANT, name, &t, NULL);
    if (st == VV_OK)
        st = copy_value(t, vv_slice_of(key, key_len), buffer, len);
    vv_table_close(t);
    return result_of(st);
}

int eloqstore_stop(EloqStoreHandle *store)
{
    if (store == NULL)
        return result_of(VV_INVALID);
    vv_db *db = store->db;
    store->db = NULL;
    return result_of(vv_db_close(db, NULL));
}

void eloqstore_free(EloqStoreHandle *store)
{
    if (store == NULL)
        return;
    (void)eloqstore_stop(store);
    vv_free((void *)store->options.data_dir);
    vv_free(store);
}
