/*
 * btree_import_manifest.c - EloqStore's manifest: a snapshot of the page mapping, then changes.
 *
 *     record     sum u64 | root u32 | ttl root u32 | payload length u32 | payload
 *     snapshot   varint next file page | [varint dictionary length, dictionary]
 *                | [u32 mapping length] mapping: a varint for each page id from 0 | ...
 *     change     [u32 mapping length] pairs: varint page id, varint value | ...
 *
 * What is in brackets has generation 6 alone; there each record is padded to the page size of the
 * machine that wrote it, and the sum is mixed from those of pieces of 1 MiB. What follows the
 * mapping in generation 6 (branches, segment files) is not needed to read pages.
 *
 * A record that does not check is the torn end of the log if no record that checks follows it, and
 * damage otherwise. The length of a damaged record cannot be trusted to find the next, so the
 * search looks everywhere a record could begin.
 */
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/util.h"
#include "base/varint.h"
#include "btree/btree_import.h"
#include "btree/btree_page.h"

#define HEAD 20u
#define SUM_PIECE ((size_t)1 << 20)
#define SEARCH_MAX (256 * VV_MIB) /* bytes to hash in search of a record behind damage */
#define COUNT_SLACK 65536u        /* page ids beyond those that the manifest has room to name */

typedef struct record {
    vv_slice payload;
    size_t size; /* with its padding */
    uint32_t root;
} record;

uint64_t btree_import_sum(vv_slice bytes, int generation)
{
    if (generation == 1)
        return vv_hash64(bytes.data, bytes.len);
    uint64_t acc = 0;
    for (size_t at = 0; at < bytes.len; at += SUM_PIECE) {
        size_t n = bytes.len - at < SUM_PIECE ? bytes.len - at : SUM_PIECE;
        acc =
            ((acc << 1 | acc >> 63) ^ vv_hash64(bytes.data + at, n)) * UINT64_C(0x9e3779b97f4a7c15);
    }
    return acc;
}

/* Does a record that checks begin at `at`? *hashed grows by what that took. */
static bool look_at_record(vv_slice bytes, size_t at, int generation, uint32_t align, record *out,
                           uint64_t *hashed)
{
    size_t rest = bytes.len - at;
    const uint8_t *p = bytes.data + at;
    if (rest < HEAD)
        return false;
    size_t len = vv_get_le32(p + 16);
    if (len > rest - HEAD)
        return false;
    *hashed += HEAD + len;
    if (btree_import_sum(vv_slice_of(p + 8, HEAD - 8 + len), generation) != vv_get_le64(p))
        return false;
    size_t size = generation == 1 ? HEAD + len : (size_t)vv_align_up(HEAD + len, align);
    *out = (record){.payload = vv_slice_of(p + HEAD, len),
                    .size = size < rest ? size : rest, /* the last may lack its padding */
                    .root = vv_get_le32(p + 8)};
    return true;
}

/* Nothing that checks behind `at`: what is there is the torn end. */
static bool is_torn_end(vv_slice bytes, size_t at, int generation, uint32_t align)
{
    uint64_t hashed = 0;
    record r;
    size_t step = generation == 1 ? 1 : align;
    for (size_t next = at + step; next < bytes.len; next += step)
        if (hashed > SEARCH_MAX || look_at_record(bytes, next, generation, align, &r, &hashed))
            return false;
    return true;
}

/* ---- payloads ---- */

static vv_status bad_value(uint64_t page, uint64_t value, vv_error *err)
{
    return vv_fail(err, VV_CORRUPT, "the mapping of page %llu has the value %llx",
                   (unsigned long long)page, (unsigned long long)value);
}

static bool is_value(uint64_t value)
{
    unsigned tag = value & 7;
    return tag == BTREE_IMPORT_FILE_PAGE || tag == BTREE_IMPORT_FREE || tag == BTREE_IMPORT_INVALID;
}

/* The mapping's bytes: to the payload's end, or as long as a u32 says. */
static vv_status take_mapping(const uint8_t **p, const uint8_t **end, int generation, vv_error *err)
{
    if (generation == 1)
        return VV_OK;
    if (*end - *p < 4 || vv_get_le32(*p) > (size_t)(*end - *p) - 4)
        return vv_fail(err, VV_CORRUPT, "its mapping passes its end");
    size_t len = vv_get_le32(*p);
    *p += 4;
    *end = *p + len;
    return VV_OK;
}

static vv_status take_dict(const uint8_t **p, const uint8_t *end, btree_import_state *s,
                           vv_error *err)
{
    uint64_t len = 0;
    *p = vv_varint_get(*p, end, &len);
    if (*p == NULL || len > (uint64_t)(end - *p))
        return vv_fail(err, VV_CORRUPT, "its dictionary passes its end");
    s->dict = vv_slice_of(*p, (size_t)len);
    *p += len;
    return VV_OK;
}

static vv_status take_snapshot(vv_slice payload, int generation, btree_import_state *s,
                               size_t count_max, vv_error *err)
{
    const uint8_t *end = payload.data + payload.len;
    uint64_t next_file_page = 0;
    const uint8_t *p = vv_varint_get(payload.data, end, &next_file_page);
    if (p == NULL)
        return vv_fail(err, VV_CORRUPT, "its next file page passes its end");
    vv_status st = generation == 1 ? VV_OK : take_dict(&p, end, s, err);
    if (st == VV_OK)
        st = take_mapping(&p, &end, generation, err);
    if (st != VV_OK)
        return st;
    while (p < end) {
        uint64_t value = 0;
        p = vv_varint_get(p, end, &value);
        if (p == NULL)
            return vv_fail(err, VV_CORRUPT, "the mapping of page %zu passes its end", s->count);
        if (!is_value(value))
            return bad_value(s->count, value, err);
        assert(s->count < count_max); /* a byte at least for each */
        (void)count_max;
        s->map[s->count++] = value;
    }
    return VV_OK;
}

static vv_status take_change(vv_slice payload, int generation, btree_import_state *s,
                             size_t count_max, vv_error *err)
{
    const uint8_t *p = payload.data;
    const uint8_t *end = p + payload.len;
    vv_status st = take_mapping(&p, &end, generation, err);
    if (st != VV_OK)
        return st;
    while (p < end) {
        uint64_t page = 0;
        uint64_t value = 0;
        p = vv_varint_get(p, end, &page);
        p = p == NULL ? NULL : vv_varint_get(p, end, &value);
        if (p == NULL)
            return vv_fail(err, VV_CORRUPT, "its mapping ends in the middle of a pair");
        if (page >= count_max)
            return vv_fail(err, VV_CORRUPT, "it maps page %llu, of %zu", (unsigned long long)page,
                           s->count);
        if (!is_value(value))
            return bad_value(page, value, err);
        while (s->count <= page)
            s->map[s->count++] = BTREE_IMPORT_INVALID;
        s->map[page] = value;
    }
    return VV_OK;
}

/* ---- the whole ---- */

/* A first record that does not check: it may be sound in another generation. */
static vv_status no_snapshot(vv_slice bytes, int generation, uint32_t align, vv_error *err)
{
    record r;
    uint64_t hashed = 0;
    int other = generation == 1 ? 6 : 1;
    if (look_at_record(bytes, 0, other, align, &r, &hashed))
        return vv_fail(err, VV_UNSUPPORTED,
                       "its records have the sums of another generation than its name: only "
                       "generations 1 and 6 are read; let EloqStore's newest release rewrite it");
    return vv_fail(err, VV_CORRUPT, "the record at offset 0: its sum does not match its %zu bytes",
                   bytes.len);
}

vv_status btree_import_parse(vv_slice bytes, int generation, uint32_t align,
                             btree_import_state *out, vv_error *err)
{
    /* Every page id in a manifest takes a byte of it, but for holes that a change may leave. */
    size_t count_max = bytes.len + COUNT_SLACK;
    btree_import_state s = {.root = BTREE_NO_PAGE, .map = vv_alloc(count_max * sizeof(uint64_t))};
    if (s.map == NULL)
        return vv_fail(err, VV_NO_MEMORY, "a mapping of up to %zu pages", count_max);
    vv_status st = VV_OK;
    size_t at = 0;
    while (st == VV_OK && at < bytes.len) {
        record r;
        uint64_t hashed = 0;
        if (!look_at_record(bytes, at, generation, align, &r, &hashed)) {
            if (at == 0)
                st = no_snapshot(bytes, generation, align, err);
            else if (!is_torn_end(bytes, at, generation, align))
                st = vv_fail(err, VV_CORRUPT,
                             "the record at offset %zu: its sum does not match, and sound records "
                             "follow",
                             at);
            s.dropped_bytes = bytes.len - at;
            break;
        }
        st = at == 0 ? take_snapshot(r.payload, generation, &s, count_max, err)
                     : take_change(r.payload, generation, &s, count_max, err);
        if (st != VV_OK)
            (void)vv_wrap(err, st, "the record at offset %zu", at);
        s.root = r.root;
        at += r.size;
    }
    if (st == VV_OK && bytes.len == 0)
        st = vv_fail(err, VV_CORRUPT, "it is empty");
    if (st != VV_OK) {
        vv_free(s.map);
        return st;
    }
    *out = s;
    return VV_OK;
}
