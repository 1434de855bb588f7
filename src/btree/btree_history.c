/*
 * btree_history.c - the keys of the history tree.
 *
 *     key with 00 as 00 FF | 00 01 | ~version, big-endian | 0 put, 1 deletion
 *
 * The escape keeps the order of keys, a prefix before its extensions; the complement puts newer
 * versions first, as sources do.
 */
#include "base/bytes.h"
#include "base/util.h"
#include "btree/btree_int.h"

#define TAIL 9u

_Static_assert(2 * ENGINE_KEY_MAX + 2 + TAIL <= BTREE_KEY_MAX, "every history key fits");

size_t btree_history_floor(uint8_t *out, vv_slice key)
{
    size_t n = 0;
    for (size_t i = 0; i < key.len; i++) {
        out[n++] = key.data[i];
        if (key.data[i] == 0)
            out[n++] = 0xff;
    }
    out[n++] = 0;
    out[n++] = 1;
    return n;
}

size_t btree_history_key(uint8_t *out, vv_slice key, int64_t version, engine_kind kind)
{
    size_t n = btree_history_floor(out, key);
    vv_put_be64(out + n, ~(uint64_t)version);
    out[n + 8] = kind == ENGINE_DELETE;
    return n + TAIL;
}

bool btree_history_parse(vv_slice in, uint8_t *key, size_t *key_len, int64_t *version,
                         engine_kind *kind)
{
    if (in.len < TAIL + 2)
        return false;
    size_t end = in.len - TAIL - 2;
    if (in.data[end] != 0 || in.data[end + 1] != 1 || in.data[in.len - 1] > 1)
        return false;
    size_t n = 0;
    for (size_t i = 0; i < end; i++) {
        if (n == ENGINE_KEY_MAX)
            return false;
        key[n++] = in.data[i];
        if (in.data[i] == 0 && (i + 1 == end || in.data[++i] != 0xff))
            return false;
    }
    *key_len = n;
    *version = (int64_t)~vv_get_be64(in.data + end + 2);
    *kind = in.data[in.len - 1] == 0 ? ENGINE_PUT : ENGINE_DELETE;
    return *version >= 0;
}
