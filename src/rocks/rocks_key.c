/*
 * rocks_key.c - what a version is called in RocksDB, and what it looks like there. Bytes:
 * docs/format/rocks.md.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "rocks/rocks_int.h"

/* Keys have any length, so the version cannot simply follow them in one bytewise order: "a" at some
 * version would come between "a..." and "a...". */
static size_t split(size_t len)
{
    return len < ROCKS_SUFFIX ? 0 : len - ROCKS_SUFFIX;
}

static int compare(void *state, const char *a, size_t a_len, const char *b, size_t b_len)
{
    (void)state;
    size_t a_key = split(a_len);
    size_t b_key = split(b_len);
    int c = vv_slice_cmp(vv_slice_of(a, a_key), vv_slice_of(b, b_key));
    if (c != 0)
        return c;
    return vv_slice_cmp(vv_slice_of(a + a_key, a_len - a_key),
                        vv_slice_of(b + b_key, b_len - b_key));
}

static const char *comparator_name(void *state)
{
    (void)state;
    return "varve.key.version.1"; /* RocksDB refuses a store of another: frozen */
}

static void nothing_to_destroy(void *state)
{
    (void)state;
}

rocksdb_comparator_t *rocks_comparator_create(void)
{
    return rocksdb_comparator_create(NULL, nothing_to_destroy, compare, comparator_name);
}

static char *prefix_of(void *state, const char *key, size_t len, size_t *out_len)
{
    (void)state;
    *out_len = split(len);
    return (char *)(uintptr_t)key;
}

static unsigned char every_key(void *state, const char *key, size_t len)
{
    (void)state;
    (void)key;
    return len >= ROCKS_SUFFIX;
}

static const char *prefix_name(void *state)
{
    (void)state;
    return "varve.key.1";
}

rocksdb_slicetransform_t *rocks_prefix_create(void)
{
    return rocksdb_slicetransform_create(NULL, nothing_to_destroy, prefix_of, every_key, every_key,
                                         prefix_name);
}

size_t rocks_key_put(uint8_t *out, vv_slice key, int64_t version)
{
    assert(key.len <= ENGINE_KEY_MAX);
    memcpy(out, key.data, key.len);
    vv_put_be64(out + key.len, (uint64_t)INT64_MAX - (uint64_t)version); /* -1: behind all */
    return key.len + ROCKS_SUFFIX;
}

bool rocks_key_parse(vv_slice stored, vv_slice *key, int64_t *version)
{
    if (stored.len < ROCKS_SUFFIX + ENGINE_TABLE_PREFIX || stored.len > ROCKS_KEY_MAX)
        return false;
    *key = vv_slice_of(stored.data, stored.len - ROCKS_SUFFIX);
    *version = (int64_t)((uint64_t)INT64_MAX - vv_get_be64(stored.data + key->len));
    return *version >= 0;
}

void rocks_value_put(vv_buf *out, engine_kind kind, int64_t expires_ns, vv_slice value)
{
    uint8_t head[ROCKS_HEAD];
    head[0] = (uint8_t)kind;
    vv_put_le64(head + 1, (uint64_t)expires_ns);
    vv_buf_append(out, head, sizeof head);
    vv_buf_append(out, value.data, value.len);
}

bool rocks_value_parse(vv_slice stored, engine_item *item)
{
    if (stored.len < ROCKS_HEAD)
        return false;
    item->kind = (engine_kind)stored.data[0];
    item->expires_ns = (int64_t)vv_get_le64(stored.data + 1);
    item->value = vv_slice_of(stored.data + ROCKS_HEAD, stored.len - ROCKS_HEAD);
    return item->kind == ENGINE_PUT ||
           (item->kind == ENGINE_DELETE && item->value.len == 0 && item->expires_ns == 0);
}

vv_status rocks_iter_item(const rocksdb_iterator_t *it, engine_item *item, vv_error *err)
{
    if (rocks_key_parse(rocks_iter_key(it), &item->key, &item->version) &&
        rocks_value_parse(rocks_iter_value(it), item))
        return VV_OK;
    return vv_fail(err, VV_CORRUPT,
                   "RocksDB gives a record that no flush wrote: run `varve check`");
}

void rocks_iter_seek(rocksdb_iterator_t *it, vv_slice key, int64_t version)
{
    uint8_t stored[ROCKS_KEY_MAX];
    size_t len = rocks_key_put(stored, key, version);
    rocksdb_iter_seek(it, (const char *)stored, len);
}
