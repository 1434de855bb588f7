/*
 * btree_manifest_format.c - the bytes of manifest and archive files.
 *
 *     0       4      8      12     16         24
 *     | magic | sum  | len  | chain| synced   | payload ... | zeros to a multiple of 8 |
 *               sum of all that follows up to the payload's end
 *
 * Why chain: a record names the sum of the one before it, so a stale record of another history is
 * no continuation. Why synced: it tells a torn tail from damage. A record that does not check is an
 * unfinished write if nothing later was written knowing it to be durable; otherwise it is damage,
 * and cutting there would bring back an older root.
 */
#include <inttypes.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/util.h"
#include "base/varint.h"
#include "btree/btree_manifest.h"
#include "engine/mrecord.h"

#define MANIFEST_MAGIC "VARVETRE"
#define LSM_MAGIC "VARVEMAN"
#define RECORD_MAGIC UINT32_C(0x45525442)                /* "BTRE" */
#define SCAN_WORK_MAX (UINT64_C(4) * BTREE_MANIFEST_MAX) /* bytes summed behind damage */

/* Fields of a payload after its kind. */
enum {
    TAG_LAYOUT = 1,     /* page size, shift */
    TAG_LIMITS = 2,     /* file ids, page ids */
    TAG_CHECKPOINT = 3, /* and the history's version */
    TAG_ROOTS = 4,      /* main, history: id + 1 (0: none), level */
    TAG_MAP = 5,        /* count, then per page: id delta, place + 1 (0: gone), sum */
    TAG_ARCHIVES = 6,   /* count, then each; replaces what was there */
    TAG_DICT = 7,       /* length, bytes */
};

/* ---- states ---- */

btree_blob *btree_blob_create(size_t len, uint32_t count)
{
    btree_blob *b = vv_alloc_aligned(16, sizeof *b + len);
    if (b == NULL)
        return NULL;
    memset(b, 0, sizeof *b + len);
    atomic_init(&b->refs, 1);
    b->count = count;
    return b;
}

void btree_blob_unref(btree_blob *b)
{
    if (b != NULL && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
        vv_free(b);
}

void btree_state_init(btree_state *s, vv_budget *budget)
{
    *s = (btree_state){.main = {.id = BTREE_NO_PAGE}, .history = {.id = BTREE_NO_PAGE}};
    btree_map_init(&s->map, budget);
}

void btree_state_fini(btree_state *s)
{
    btree_map_fini(&s->map);
    btree_blob_unref(s->archives);
    btree_blob_unref(s->dict);
    btree_state_init(s, s->map.budget);
}

void btree_state_share(const btree_state *s, btree_state *out)
{
    *out = *s;
    btree_map_share(&s->map, &out->map);
    btree_blob_ref(s->archives);
    btree_blob_ref(s->dict);
}

/* ---- writing ---- */

uint32_t btree_manifest_put_header(vv_buf *out, uint64_t number, uint32_t shard)
{
    uint8_t head[BTREE_MANIFEST_HEAD] = {0};
    memcpy(head, (const uint8_t[8]){'V', 'A', 'R', 'V', 'E', 'T', 'R', 'E'}, 8);
    vv_put_le32(head + 8, BTREE_MANIFEST_FORMAT);
    vv_put_le64(head + 48, number); /* 12: features, 16: key id, 24: nonce, all zero */
    vv_put_le32(head + 56, shard);
    uint32_t sum = vv_crc32c(0, head, 60);
    vv_put_le32(head + 60, sum);
    vv_buf_append(out, head, sizeof head);
    return sum;
}

typedef struct map_writer {
    vv_buf *out;
    uint64_t count;
    uint32_t last;
} map_writer;

static vv_status count_page(void *ctx, uint32_t id, btree_place place)
{
    (void)id;
    (void)place;
    ((map_writer *)ctx)->count++;
    return VV_OK;
}

static vv_status put_page(void *ctx, uint32_t id, btree_place place)
{
    map_writer *w = ctx;
    vv_buf_append_varint(w->out, id - w->last);
    w->last = id;
    vv_buf_append_varint(w->out, place.at + 1);
    if (place.at != BTREE_NOWHERE)
        vv_buf_append_le32(w->out, place.sum);
    return w->out->status;
}

static void put_map(vv_buf *out, const btree_map *old, const btree_map *now)
{
    map_writer w = {.out = out};
    (void)btree_map_diff(old, now, count_page, &w);
    if (w.count == 0)
        return;
    vv_buf_append_varint(out, TAG_MAP);
    vv_buf_append_varint(out, w.count);
    (void)btree_map_diff(old, now, put_page, &w);
}

static void put_root(vv_buf *out, const btree_root *r)
{
    vv_buf_append_varint(out, r->id == BTREE_NO_PAGE ? 0 : (uint64_t)r->id + 1);
    vv_buf_append_varint(out, r->level);
}

static void put_archives(vv_buf *out, const btree_state *now)
{
    vv_buf_append_varint(out, TAG_ARCHIVES);
    vv_buf_append_varint(out, btree_archive_count(now));
    for (uint32_t i = 0; i < btree_archive_count(now); i++) {
        const btree_archive_meta *a = &btree_archives(now)[i];
        size_t len = strnlen(a->name, sizeof a->name);
        vv_buf_append_varint(out, a->id);
        vv_buf_append_varint(out, (uint64_t)a->version);
        vv_buf_append_varint(out, (uint64_t)a->time_ns);
        vv_buf_append_varint(out, a->periodic);
        vv_buf_append_varint(out, len);
        vv_buf_append(out, a->name, len);
    }
}

static void put_payload(vv_buf *out, btree_record_kind kind, const btree_state *old,
                        const btree_state *now)
{
    vv_buf_append_u8(out, (uint8_t)kind);
    if (kind == BTREE_RECORD_SEAL)
        return;
    if (old == NULL) {
        vv_buf_append_varint(out, TAG_LAYOUT);
        vv_buf_append_varint(out, now->page_size);
        vv_buf_append_varint(out, now->shift);
    }
    vv_buf_append_varint(out, TAG_LIMITS);
    vv_buf_append_varint(out, now->id_limit);
    vv_buf_append_varint(out, now->page_limit);
    vv_buf_append_varint(out, TAG_CHECKPOINT);
    vv_buf_append_varint(out, (uint64_t)now->checkpoint);
    vv_buf_append_varint(out, (uint64_t)now->history_version);
    put_map(out, old == NULL ? NULL : &old->map, &now->map);
    vv_buf_append_varint(out, TAG_ROOTS);
    put_root(out, &now->main);
    put_root(out, &now->history);
    if (now->archives != (old == NULL ? NULL : old->archives))
        put_archives(out, now);
    if (now->dict != NULL && now->dict != (old == NULL ? NULL : old->dict)) {
        vv_buf_append_varint(out, TAG_DICT);
        vv_buf_append_varint(out, now->dict->count);
        vv_buf_append(out, now->dict->bytes, now->dict->count);
    }
}

uint32_t btree_manifest_put_record(vv_buf *out, btree_record_kind kind, const btree_state *old,
                                   const btree_state *now, uint32_t chain, uint64_t synced)
{
    size_t at = engine_mrecord_begin(out, RECORD_MAGIC, chain, synced);
    put_payload(out, kind, old, now);
    return engine_mrecord_end(out, at);
}

/* ---- reading ---- */

static vv_status check_header(vv_slice bytes, btree_manifest_info *info, vv_error *err)
{
    const uint8_t *p = bytes.data;
    if (bytes.len >= 8 && memcmp(p, LSM_MAGIC, 8) == 0)
        return vv_fail(err, VV_UNSUPPORTED,
                       "it is a manifest of the engine 'lsm': open the store with that");
    if (bytes.len < BTREE_MANIFEST_HEAD || memcmp(p, MANIFEST_MAGIC, 8) != 0)
        return vv_fail(err, VV_CORRUPT, "no manifest: it does not begin with '%s'", MANIFEST_MAGIC);
    if (vv_crc32c(0, p, 60) != vv_get_le32(p + 60))
        return vv_fail(err, VV_CORRUPT, "header: its sum does not match");
    if (vv_get_le32(p + 8) != BTREE_MANIFEST_FORMAT || vv_get_le32(p + 12) != 0)
        return vv_fail(err, VV_UNSUPPORTED,
                       "format version %u, feature bits %#x; this build reads version %u: use the "
                       "version of varve that wrote it",
                       vv_get_le32(p + 8), vv_get_le32(p + 12), BTREE_MANIFEST_FORMAT);
    for (size_t i = 16; i < 48; i++)
        if (p[i] != 0)
            return vv_fail(err, VV_UNSUPPORTED, "encrypted, which this version cannot read");
    *info = (btree_manifest_info){.number = vv_get_le64(p + 48),
                                  .shard = vv_get_le32(p + 56),
                                  .chain = vv_get_le32(p + 60),
                                  .end = BTREE_MANIFEST_HEAD};
    return VV_OK;
}

/* The bytes of a payload that are left; failed once a field did not fit. */
typedef struct fields {
    const uint8_t *p;
    const uint8_t *end;
    bool failed;
} fields;

static uint64_t get_number(fields *f, uint64_t max)
{
    uint64_t v = 0;
    const uint8_t *p = f->failed ? NULL : vv_varint_get(f->p, f->end, &v);
    if (p == NULL || v > max) {
        f->failed = true;
        return 0;
    }
    f->p = p;
    return v;
}

static const uint8_t *get_bytes(fields *f, uint64_t len)
{
    const uint8_t *p = f->p;
    if (f->failed || len > (uint64_t)(f->end - p)) {
        f->failed = true;
        return NULL;
    }
    f->p += len;
    return p;
}

static vv_status get_map(fields *f, btree_state *s, vv_error *err)
{
    uint64_t count = get_number(f, UINT32_MAX);
    uint64_t id = 0;
    for (uint64_t i = 0; i < count && !f->failed; i++) {
        uint64_t delta = get_number(f, UINT32_MAX);
        id += delta;
        if (id >= BTREE_NO_PAGE || (delta == 0 && i > 0))
            f->failed = true;
        btree_place place = {.at = get_number(f, UINT64_C(1) << 62) - 1};
        const uint8_t *sum = place.at == BTREE_NOWHERE ? NULL : get_bytes(f, 4);
        if (f->failed)
            break;
        if (sum != NULL)
            place.sum = vv_get_le32(sum);
        vv_status st = btree_map_set(&s->map, (uint32_t)id, place, err);
        if (st != VV_OK)
            return st;
    }
    return VV_OK;
}

static void get_root(fields *f, btree_root *r)
{
    uint64_t id = get_number(f, BTREE_NO_PAGE);
    r->id = id == 0 ? BTREE_NO_PAGE : (uint32_t)id - 1;
    r->level = (uint32_t)get_number(f, 32);
    if ((id == 0) != (r->level == 0))
        f->failed = true;
}

static vv_status get_archives(fields *f, btree_state *s, vv_error *err)
{
    uint32_t count = (uint32_t)get_number(f, BTREE_ARCHIVES_MAX);
    btree_blob *blob = NULL;
    if (count > 0 && !f->failed) {
        blob = btree_blob_create(count * sizeof(btree_archive_meta), count);
        if (blob == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for %u archives", count);
    }
    btree_archive_meta *all = blob == NULL ? NULL : (btree_archive_meta *)(void *)blob->bytes;
    for (uint32_t i = 0; all != NULL && i < count && !f->failed; i++) {
        btree_archive_meta *a = &all[i];
        a->id = get_number(f, UINT64_MAX);
        a->version = (int64_t)get_number(f, INT64_MAX);
        a->time_ns = (int64_t)get_number(f, INT64_MAX);
        a->periodic = get_number(f, 1) == 1;
        uint64_t len = get_number(f, BTREE_ARCHIVE_NAME_MAX - 1);
        const uint8_t *name = get_bytes(f, len);
        if (name != NULL)
            memcpy(a->name, name, len);
    }
    btree_blob_unref(s->archives);
    s->archives = blob;
    return VV_OK;
}

static vv_status get_dict(fields *f, btree_state *s, vv_error *err)
{
    uint32_t len = (uint32_t)get_number(f, BTREE_DICT_MAX);
    const uint8_t *bytes = get_bytes(f, len);
    if (bytes == NULL)
        return VV_OK;
    btree_blob *blob = btree_blob_create(len, len);
    if (blob == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for the dictionary");
    memcpy(blob->bytes, bytes, len);
    btree_blob_unref(s->dict);
    s->dict = blob;
    return VV_OK;
}

static vv_status get_field(uint64_t tag, fields *f, btree_state *s, vv_error *err)
{
    vv_status st = VV_OK;
    switch (tag) {
    case TAG_LAYOUT:
        s->page_size = (uint32_t)get_number(f, BTREE_PAGE_SIZE_MAX);
        s->shift = (uint32_t)get_number(f, 30);
        break;
    case TAG_LIMITS:
        s->id_limit = get_number(f, UINT64_MAX);
        s->page_limit = (uint32_t)get_number(f, BTREE_NO_PAGE);
        break;
    case TAG_CHECKPOINT:
        s->checkpoint = (int64_t)get_number(f, INT64_MAX);
        s->history_version = (int64_t)get_number(f, INT64_MAX);
        break;
    case TAG_ROOTS:
        get_root(f, &s->main);
        get_root(f, &s->history);
        break;
    case TAG_MAP:
        st = get_map(f, s, err);
        break;
    case TAG_ARCHIVES:
        st = get_archives(f, s, err);
        break;
    case TAG_DICT:
        st = get_dict(f, s, err);
        break;
    default:
        return vv_fail(err, VV_UNSUPPORTED,
                       "field %" PRIu64 " is not known here: written by a newer version?", tag);
    }
    if (st == VV_OK && f->failed)
        st = vv_fail(err, VV_CORRUPT, "field %" PRIu64 " is broken", tag);
    return st;
}

static bool is_page_size(uint32_t size)
{
    return size >= 512 && size <= BTREE_PAGE_SIZE_MAX && (size & (size - 1)) == 0;
}

/* A record whose sum is right. */
static vv_status apply_payload(vv_slice payload, btree_record_kind *kind, btree_state *s,
                               vv_error *err)
{
    fields f = {.p = payload.data + 1, .end = payload.data + payload.len};
    *kind = (btree_record_kind)payload.data[0];
    if (*kind != BTREE_RECORD_STATE && *kind != BTREE_RECORD_CHANGE && *kind != BTREE_RECORD_SEAL)
        return vv_fail(err, VV_UNSUPPORTED,
                       "record kind %u is not known here: written by a newer version?",
                       (unsigned)*kind);
    while (f.p < f.end) {
        uint64_t tag = get_number(&f, UINT64_MAX);
        if (f.failed)
            return vv_fail(err, VV_CORRUPT, "a field is broken");
        vv_status st = get_field(tag, &f, s, err);
        if (st != VV_OK)
            return st;
    }
    if (!is_page_size(s->page_size))
        return vv_fail(err, VV_CORRUPT, "page size %u", s->page_size);
    return VV_OK;
}

static vv_status parse_record(vv_slice bytes, btree_manifest_info *info, btree_state *state,
                              btree_record_kind *kind, vv_error *err)
{
    uint64_t at = info->end;
    const uint8_t *head = bytes.data + at;
    bool first = at == BTREE_MANIFEST_HEAD;
    vv_status st = apply_payload(engine_mrecord_payload(bytes, at), kind, state, err);
    if (st == VV_OK && first != (*kind == BTREE_RECORD_STATE))
        st = vv_fail(err, VV_CORRUPT, "a state record stands at the start and nowhere else");
    if (st != VV_OK)
        return vv_wrap(err, st, "record at offset %" PRIu64, at);
    info->chain = vv_get_le32(head + 4);
    info->end = engine_mrecord_next(bytes, at);
    info->records++;
    return VV_OK;
}

vv_status btree_manifest_parse(vv_slice bytes, btree_manifest_info *info, btree_state *state,
                               void (*each)(void *ctx, uint64_t offset, btree_record_kind kind,
                                            const btree_state *state),
                               void *ctx, vv_error *err)
{
    vv_status st = check_header(bytes, info, err);
    uint64_t work = 0;
    while (st == VV_OK && info->end < bytes.len) {
        uint64_t at = info->end;
        if (!engine_mrecord_is_whole(bytes, at, RECORD_MAGIC, &work) ||
            vv_get_le32(bytes.data + at + 12) != info->chain) {
            if (engine_mrecord_is_damage(bytes, at, RECORD_MAGIC, SCAN_WORK_MAX))
                st = vv_fail(err, VV_CORRUPT,
                             "damaged at offset %" PRIu64
                             ", below what is known to be written: restore it from a copy",
                             at);
            break;
        }
        btree_record_kind kind = BTREE_RECORD_SEAL;
        st = parse_record(bytes, info, state, &kind, err);
        if (st == VV_OK && each != NULL)
            each(ctx, at, kind, state);
    }
    if (st == VV_OK && info->end == BTREE_MANIFEST_HEAD)
        return vv_fail(err, VV_CORRUPT, "it has no state record");
    return st;
}
