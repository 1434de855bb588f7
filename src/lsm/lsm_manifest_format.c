/*
 * lsm_manifest_format.c - the bytes of manifest records.
 *
 *     0       4      8      12     16         24
 *     | magic | sum  | len  | chain| synced   | payload ... | zeros to a multiple of 8 |
 *               sum of all that follows up to the payload's end
 *
 * Why chain: a record names the sum of the one before it, so a stale record of another history is
 * no continuation. Why synced: it tells a torn tail from damage. A record that does not check is an
 * unfinished write if nothing later was written knowing it to be durable; otherwise it is damage,
 * and cutting there would drop committed runs.
 */
#include <inttypes.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/util.h"
#include "base/varint.h"
#include "engine/mrecord.h"
#include "lsm/lsm_manifest.h"
#include "lsm/lsm_value.h"

#define MANIFEST_MAGIC "VARVEMAN"
#define RECORD_MAGIC UINT32_C(0x454d534c)              /* "LSME" */
#define SCAN_WORK_MAX (UINT64_C(4) * LSM_MANIFEST_MAX) /* bytes summed behind damage */

/* Fields of a payload after its kind; ID_LIMIT and CHECKPOINT at most once. */
enum {
    TAG_ID_LIMIT = 1,
    TAG_CHECKPOINT = 2,
    TAG_REMOVE = 3,
    TAG_ADD = 4,
    TAG_VALUES = 5, /* of the run before, as BORN */
    TAG_OBJECT = 6,
    TAG_FORGET = 7,
    TAG_BORN = 8,
};

uint32_t lsm_manifest_put_header(vv_buf *out, uint64_t number, uint32_t shard)
{
    uint8_t head[LSM_MANIFEST_HEAD] = {0};
    memcpy(head, (const uint8_t[8]){'V', 'A', 'R', 'V', 'E', 'M', 'A', 'N'}, 8);
    vv_put_le32(head + 8, LSM_MANIFEST_FORMAT);
    vv_put_le64(head + 48, number); /* 12: features, 16: key id, 24: nonce, all zero */
    vv_put_le32(head + 56, shard);
    uint32_t sum = vv_crc32c(0, head, 60);
    vv_put_le32(head + 60, sum);
    vv_buf_append(out, head, sizeof head);
    return sum;
}

static void put_bytes(vv_buf *out, vv_slice s)
{
    vv_buf_append_varint(out, s.len);
    vv_buf_append_slice(out, s);
}

static void put_meta(vv_buf *out, const lsm_meta *m)
{
    const uint64_t numbers[] = {m->id,
                                m->level,
                                m->group,
                                m->size,
                                m->entries,
                                m->deletes,
                                m->ranges,
                                m->raw_bytes,
                                (uint64_t)m->version_min,
                                (uint64_t)m->version_max,
                                m->table_count};
    vv_buf_append_varint(out, TAG_ADD);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        vv_buf_append_varint(out, numbers[i]);
    vv_buf_append_le64(out, m->footer_sum);
    put_bytes(out, m->lower);
    put_bytes(out, m->upper);
    if (m->values.len > 0) {
        vv_buf_append_varint(out, TAG_VALUES);
        put_bytes(out, m->values);
    }
    if (m->born_ns > 0) {
        vv_buf_append_varint(out, TAG_BORN);
        vv_buf_append_varint(out, (uint64_t)m->born_ns);
    }
}

static void put_object(vv_buf *out, const lsm_object *o)
{
    const uint64_t numbers[] = {o->id, o->is_values, (uint64_t)o->state, o->size,
                                (uint64_t)o->time_ns};
    vv_buf_append_varint(out, TAG_OBJECT);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        vv_buf_append_varint(out, numbers[i]);
    vv_buf_append_le32(out, o->crc);
    put_bytes(out, vv_slice_str(o->name));
}

static void put_payload(vv_buf *out, lsm_record_kind kind, const lsm_edit *edit, uint64_t id_limit)
{
    vv_buf_append_u8(out, (uint8_t)kind);
    if (kind == LSM_RECORD_SEAL)
        return;
    vv_buf_append_varint(out, TAG_ID_LIMIT);
    vv_buf_append_varint(out, id_limit);
    if (edit->checkpoint >= 0) {
        vv_buf_append_varint(out, TAG_CHECKPOINT);
        vv_buf_append_varint(out, (uint64_t)edit->checkpoint);
    }
    for (uint32_t i = 0; i < edit->remove_count; i++) {
        vv_buf_append_varint(out, TAG_REMOVE);
        vv_buf_append_varint(out, edit->remove[i]);
    }
    for (uint32_t i = 0; i < edit->add_count; i++)
        put_meta(out, &edit->add[i]);
    for (uint32_t i = 0; i < edit->forget_count; i++) {
        vv_buf_append_varint(out, TAG_FORGET);
        vv_buf_append_varint(out, edit->forget[i]);
    }
    for (uint32_t i = 0; i < edit->object_count; i++)
        put_object(out, &edit->objects[i]);
}

uint32_t lsm_manifest_put_record(vv_buf *out, lsm_record_kind kind, const lsm_edit *edit,
                                 uint64_t id_limit, uint32_t chain, uint64_t synced)
{
    size_t at = engine_mrecord_begin(out, RECORD_MAGIC, chain, synced);
    put_payload(out, kind, edit, id_limit);
    return engine_mrecord_end(out, at);
}

/* ---- reading ---- */

static vv_status check_header(vv_slice bytes, lsm_manifest_info *info, vv_error *err)
{
    const uint8_t *p = bytes.data;
    if (bytes.len < LSM_MANIFEST_HEAD || memcmp(p, MANIFEST_MAGIC, 8) != 0)
        return vv_fail(err, VV_CORRUPT, "no manifest: it does not begin with '%s'", MANIFEST_MAGIC);
    if (vv_crc32c(0, p, 60) != vv_get_le32(p + 60))
        return vv_fail(err, VV_CORRUPT, "header: its sum does not match");
    if (vv_get_le32(p + 8) != LSM_MANIFEST_FORMAT)
        return vv_fail(err, VV_UNSUPPORTED,
                       "format version %u, this build reads version %u: use the version of varve "
                       "that wrote it",
                       vv_get_le32(p + 8), LSM_MANIFEST_FORMAT);
    if (vv_get_le32(p + 12) != 0)
        return vv_fail(err, VV_UNSUPPORTED,
                       "feature bits %#x, which this build does not know: use the version of "
                       "varve that wrote it",
                       vv_get_le32(p + 12));
    for (size_t i = 16; i < 48; i++)
        if (p[i] != 0)
            return vv_fail(err, VV_UNSUPPORTED, "encrypted, which this version cannot read");
    info->number = vv_get_le64(p + 48);
    info->shard = vv_get_le32(p + 56);
    info->chain = vv_get_le32(p + 60);
    info->end = LSM_MANIFEST_HEAD;
    return VV_OK;
}

typedef struct edit_arrays {
    uint64_t *remove;
    lsm_meta *add;
    lsm_object *objects;
    uint64_t *forget;
    uint32_t remove_cap;
    uint32_t add_cap;
    uint32_t object_cap;
    uint32_t forget_cap;
} edit_arrays;

static const uint8_t *get_bytes(const uint8_t *p, const uint8_t *end, vv_slice *out)
{
    uint64_t len = 0;
    p = vv_varint_get(p, end, &len);
    if (p == NULL || len > LSM_BOUND_MAX || len > (uint64_t)(end - p))
        return NULL;
    *out = vv_slice_of(p, (size_t)len);
    return p + len;
}

static const uint8_t *get_uses(const uint8_t *p, const uint8_t *end, vv_slice *out)
{
    uint64_t len = 0;
    p = vv_varint_get(p, end, &len);
    if (p == NULL || len == 0 || len > (uint64_t)(end - p))
        return NULL;
    *out = vv_slice_of(p, (size_t)len);
    return lsm_value_uses_are_valid(*out) ? p + len : NULL;
}

static const uint8_t *get_meta(const uint8_t *p, const uint8_t *end, lsm_meta *m)
{
    uint64_t n[11];
    for (size_t i = 0; i < ARRAY_LEN(n); i++) {
        p = vv_varint_get(p, end, &n[i]);
        if (p == NULL)
            return NULL;
    }
    if (end - p < 8)
        return NULL;
    *m = (lsm_meta){.id = n[0],
                    .level = n[1] < LSM_LEVELS ? (uint32_t)n[1] : LSM_LEVELS,
                    .group = n[2],
                    .size = n[3],
                    .entries = n[4],
                    .deletes = n[5],
                    .ranges = n[6],
                    .raw_bytes = n[7],
                    .version_min = (int64_t)n[8],
                    .version_max = (int64_t)n[9],
                    .table_count = (uint32_t)vv_min_u64(n[10], UINT32_MAX),
                    .footer_sum = vv_get_le64(p)};
    p = get_bytes(p + 8, end, &m->lower);
    if (p != NULL)
        p = get_bytes(p, end, &m->upper);
    if (p == NULL || m->level == LSM_LEVELS || vv_slice_cmp(m->lower, m->upper) >= 0)
        return NULL;
    return p;
}

static const uint8_t *get_object(const uint8_t *p, const uint8_t *end, lsm_object *o)
{
    uint64_t n[5];
    vv_slice name;
    for (size_t i = 0; i < ARRAY_LEN(n); i++) {
        p = vv_varint_get(p, end, &n[i]);
        if (p == NULL)
            return NULL;
    }
    if (end - p < 4)
        return NULL;
    *o = (lsm_object){.id = n[0],
                      .is_values = n[1] == 1,
                      .state = (lsm_object_state)vv_min_u64(n[2], LSM_OBJECT_DYING + 1),
                      .size = n[3],
                      .time_ns = (int64_t)vv_min_u64(n[4], INT64_MAX),
                      .crc = vv_get_le32(p)};
    p = get_bytes(p + 4, end, &name);
    if (p == NULL || n[1] > 1 || n[2] < LSM_OBJECT_INTENT || n[2] > LSM_OBJECT_DYING ||
        name.len == 0 || name.len > LSM_OBJECT_NAME_MAX || memchr(name.data, 0, name.len) != NULL)
        return NULL;
    memcpy(o->name, name.data, name.len);
    return p;
}

/* Room for one more of size bytes; count is a power of two when the array is full. */
static vv_status make_room(void **array, uint32_t *cap, uint32_t count, size_t size, vv_error *err)
{
    if (count < *cap)
        return VV_OK;
    uint32_t more = *cap == 0 ? 8 : *cap * 2;
    void *grown = vv_realloc(*array, more * size);
    if (grown == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %u runs", more);
    *array = grown;
    *cap = more;
    return VV_OK;
}

/* What is said of objects: TAG_OBJECT and TAG_FORGET. */
static vv_status decode_object(uint64_t tag, const uint8_t **at, const uint8_t *end,
                               lsm_record *record, edit_arrays *arrays, vv_error *err)
{
    lsm_edit *edit = &record->edit;
    vv_status st = tag == TAG_OBJECT ? make_room((void **)&arrays->objects, &arrays->object_cap,
                                                 edit->object_count, sizeof *arrays->objects, err)
                                     : make_room((void **)&arrays->forget, &arrays->forget_cap,
                                                 edit->forget_count, sizeof *arrays->forget, err);
    if (st != VV_OK)
        return st;
    if (tag == TAG_OBJECT)
        *at = get_object(*at, end, &arrays->objects[edit->object_count++]);
    else
        *at = vv_varint_get(*at, end, &arrays->forget[edit->forget_count++]);
    return VV_OK;
}

static vv_status decode_field(uint64_t tag, const uint8_t **at, const uint8_t *end,
                              lsm_record *record, edit_arrays *arrays, vv_error *err)
{
    const uint8_t *p = *at;
    uint64_t number = 0;
    vv_status st = VV_OK;
    switch (tag) {
    case TAG_ID_LIMIT:
        p = vv_varint_get(p, end, &record->id_limit);
        break;
    case TAG_CHECKPOINT:
        p = vv_varint_get(p, end, &number);
        if (number > INT64_MAX)
            p = NULL;
        record->edit.checkpoint = (int64_t)number;
        break;
    case TAG_REMOVE:
        st = make_room((void **)&arrays->remove, &arrays->remove_cap, record->edit.remove_count,
                       sizeof *arrays->remove, err);
        if (st != VV_OK)
            return st;
        p = vv_varint_get(p, end, &number);
        if (arrays->remove != NULL) /* always: there is room */
            arrays->remove[record->edit.remove_count++] = number;
        break;
    case TAG_VALUES: { /* of the run before */
        lsm_meta *m = record->edit.add_count == 0 ? NULL : &arrays->add[record->edit.add_count - 1];
        p = m == NULL || m->values.len > 0 ? NULL : get_uses(p, end, &m->values);
        break;
    }
    case TAG_BORN: {
        lsm_meta *m = record->edit.add_count == 0 ? NULL : &arrays->add[record->edit.add_count - 1];
        p = m == NULL || m->born_ns > 0 ? NULL : vv_varint_get(p, end, &number);
        if (p != NULL && (number == 0 || number > INT64_MAX))
            p = NULL;
        if (p != NULL)
            m->born_ns = (int64_t)number;
        break;
    }
    case TAG_OBJECT:
    case TAG_FORGET:
        st = decode_object(tag, &p, end, record, arrays, err);
        if (st != VV_OK)
            return st;
        break;
    case TAG_ADD:
        st = make_room((void **)&arrays->add, &arrays->add_cap, record->edit.add_count,
                       sizeof *arrays->add, err);
        if (st != VV_OK)
            return st;
        p = get_meta(p, end, &arrays->add[record->edit.add_count++]);
        break;
    default:
        return vv_fail(err, VV_UNSUPPORTED,
                       "field %" PRIu64 " is not known here: written by a newer version?", tag);
    }
    if (p == NULL)
        return vv_fail(err, VV_CORRUPT, "field %" PRIu64 " is broken", tag);
    *at = p;
    return VV_OK;
}

/* A record whose sum is right. */
static vv_status decode_payload(vv_slice payload, lsm_record *record, edit_arrays *arrays,
                                vv_error *err)
{
    const uint8_t *p = payload.data;
    const uint8_t *end = p + payload.len;
    record->kind = (lsm_record_kind)*p++;
    record->edit = (lsm_edit){.checkpoint = -1};
    record->id_limit = 0;
    if (record->kind != LSM_RECORD_STATE && record->kind != LSM_RECORD_EDIT &&
        record->kind != LSM_RECORD_SEAL)
        return vv_fail(err, VV_UNSUPPORTED,
                       "record kind %u is not known here: written by a newer version?",
                       (unsigned)record->kind);
    while (p < end) {
        uint64_t tag = 0;
        p = vv_varint_get(p, end, &tag);
        if (p == NULL)
            return vv_fail(err, VV_CORRUPT, "a field is broken");
        vv_status st = decode_field(tag, &p, end, record, arrays, err);
        if (st != VV_OK)
            return st;
    }
    record->edit.remove = arrays->remove;
    record->edit.add = arrays->add;
    record->edit.objects = arrays->objects;
    record->edit.forget = arrays->forget;
    return VV_OK;
}

static vv_status parse_record(vv_slice bytes, lsm_manifest_info *info, edit_arrays *arrays,
                              vv_status (*each)(void *ctx, const lsm_record *record, vv_error *err),
                              void *ctx, vv_error *err)
{
    uint64_t at = info->end;
    const uint8_t *head = bytes.data + at;
    lsm_record record = {
        .offset = at, .synced = vv_get_le64(head + 16), .sum = vv_get_le32(head + 4)};
    bool first = at == LSM_MANIFEST_HEAD;
    vv_status st = decode_payload(engine_mrecord_payload(bytes, at), &record, arrays, err);
    if (st == VV_OK && first != (record.kind == LSM_RECORD_STATE))
        st = vv_fail(err, VV_CORRUPT, "a state record stands at the start and nowhere else");
    if (st == VV_OK)
        st = each(ctx, &record, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "record at offset %" PRIu64, at);
    info->chain = record.sum;
    info->end = engine_mrecord_next(bytes, at);
    return VV_OK;
}

vv_status lsm_manifest_parse(vv_slice bytes, lsm_manifest_info *info,
                             vv_status (*each)(void *ctx, const lsm_record *record, vv_error *err),
                             void *ctx, vv_error *err)
{
    vv_status st = check_header(bytes, info, err);
    edit_arrays arrays = {0};
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
        st = parse_record(bytes, info, &arrays, each, ctx, err);
    }
    vv_free(arrays.remove);
    vv_free(arrays.add);
    vv_free(arrays.objects);
    vv_free(arrays.forget);
    if (st == VV_OK && info->end == LSM_MANIFEST_HEAD)
        return vv_fail(err, VV_CORRUPT, "it has no state record");
    return st;
}

/* ---- the state ---- */

void lsm_state_fini(lsm_state *state)
{
    for (uint32_t i = 0; i < state->count; i++)
        lsm_meta_fini(&state->runs[i]);
    vv_free(state->runs);
    vv_free(state->objects);
    *state = (lsm_state){0};
}

static uint32_t find_run(const lsm_state *state, uint64_t id)
{
    uint32_t i = 0;
    while (i < state->count && state->runs[i].id != id)
        i++;
    return i;
}

static bool is_removed(const lsm_edit *edit, uint64_t id)
{
    for (uint32_t i = 0; i < edit->remove_count; i++)
        if (edit->remove[i] == id)
            return true;
    return false;
}

static vv_status check_edit(const lsm_state *state, const lsm_edit *edit, vv_error *err)
{
    for (uint32_t i = 0; i < edit->remove_count; i++)
        if (find_run(state, edit->remove[i]) == state->count)
            return vv_fail(err, VV_CORRUPT, "run %" PRIu64 " is removed but not there",
                           edit->remove[i]);
    for (uint32_t i = 0; i < edit->add_count; i++) {
        uint64_t id = edit->add[i].id;
        bool there = find_run(state, id) < state->count && !is_removed(edit, id);
        for (uint32_t j = 0; j < i; j++)
            there |= edit->add[j].id == id;
        if (there)
            return vv_fail(err, VV_CORRUPT, "run %" PRIu64 " is added twice", id);
    }
    for (uint32_t i = 0; i < edit->object_count; i++)
        for (uint32_t j = 0; j < i; j++)
            if (edit->objects[i].id == edit->objects[j].id)
                return vv_fail(err, VV_CORRUPT, "file %" PRIu64 " has two objects",
                               edit->objects[i].id);
    return VV_OK;
}

static bool is_replaced(const lsm_edit *edit, uint64_t id)
{
    for (uint32_t i = 0; i < edit->forget_count; i++)
        if (edit->forget[i] == id)
            return true;
    for (uint32_t i = 0; i < edit->object_count; i++)
        if (edit->objects[i].id == id)
            return true;
    return false;
}

vv_status lsm_state_merge_objects(const lsm_state *state, const lsm_edit *edit, lsm_object **out,
                                  uint32_t *count, vv_error *err)
{
    size_t total = (size_t)state->object_count + edit->object_count;
    lsm_object *all = vv_calloc(total, sizeof *all);
    if (all == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %zu objects", total);
    uint32_t n = 0;
    for (uint32_t i = 0; i < state->object_count; i++)
        if (!is_replaced(edit, state->objects[i].id))
            all[n++] = state->objects[i];
    for (uint32_t i = 0; i < edit->object_count; i++)
        all[n++] = edit->objects[i];
    *out = all;
    *count = n;
    return VV_OK;
}

vv_status lsm_state_apply(lsm_state *state, const lsm_edit *edit, vv_error *err)
{
    vv_status st = check_edit(state, edit, err);
    uint32_t total = state->count + edit->add_count;
    lsm_meta *copies = NULL;
    lsm_object *objects = NULL;
    uint32_t object_count = 0;
    bool has_objects = edit->object_count + edit->forget_count > 0;
    if (st == VV_OK && edit->add_count > 0) {
        copies = vv_calloc(edit->add_count, sizeof *copies);
        if (copies == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for %u runs", edit->add_count);
    }
    if (st == VV_OK && has_objects)
        st = lsm_state_merge_objects(state, edit, &objects, &object_count, err);
    for (uint32_t i = 0; st == VV_OK && i < edit->add_count; i++)
        st = lsm_meta_copy(&edit->add[i], &copies[i], err);
    if (st == VV_OK && total > state->cap) {
        uint32_t cap = total + total / 2;
        lsm_meta *runs = vv_realloc(state->runs, cap * sizeof *runs);
        if (runs == NULL)
            st = vv_fail(err, VV_NO_MEMORY, "no memory for %u runs", cap);
        else
            state->cap = cap;
        state->runs = runs == NULL ? state->runs : runs;
    }
    if (st != VV_OK) {
        for (uint32_t i = 0; copies != NULL && i < edit->add_count; i++)
            lsm_meta_fini(&copies[i]);
        vv_free(copies);
        vv_free(objects);
        return st;
    }
    if (has_objects) {
        vv_free(state->objects);
        state->objects = objects;
        state->object_count = object_count;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < state->count; i++) {
        if (is_removed(edit, state->runs[i].id))
            lsm_meta_fini(&state->runs[i]);
        else
            state->runs[kept++] = state->runs[i];
    }
    if (edit->add_count > 0)
        memcpy(state->runs + kept, copies, edit->add_count * sizeof *copies);
    vv_free(copies);
    state->count = kept + edit->add_count;
    if (edit->checkpoint >= 0)
        state->checkpoint = edit->checkpoint;
    return VV_OK;
}
