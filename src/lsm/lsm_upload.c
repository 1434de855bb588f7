/*
 * lsm_upload.c - a local file becomes an object, and is believed to be one only when the store says
 * so: its size, its sum, and its last bytes read back.
 *
 *   is it there already? --yes, and it is ours--> done
 *        | no, or not ours            (an earlier try, or one whose answer was lost)
 *        v
 *   put, only where the name is free --taken--> is it ours? --no--> put over it
 *        |                                          | yes
 *        v                                          v
 *   size, sum, last bytes ----------------------> done
 *
 * The name has the store's id, the file's id, which is never used twice, and the sum of its bytes:
 * whatever stands under it is this file, or what is left of a try to store it. So a store without
 * conditional put is as good here: to write the same bytes twice harms nothing.
 */
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/util.h"
#include "engine/engine.h"
#include "lsm/lsm_remote.h"

#define PART_SIZE (8 * VV_MIB)
#define PIECE_SIZE (1 * VV_MIB)
#define BACK_SIZE 4096u /* bytes read back */

/* One file on its way. */
typedef struct upload {
    lsm_store *store;
    vv_object_store *objects;
    const lsm_object *object;
    vio_file *file;
    uint8_t *buf;
    size_t buf_size;
    uint32_t crc; /* of what was read for the store so far */
} upload;

/* Memory that the budget knows. */
static uint8_t *take_buffer(lsm_store *s, size_t size, vv_error *err)
{
    uint8_t *buf = vv_alloc(size);
    if (buf == NULL)
        (void)vv_fail(err, VV_NO_MEMORY, "no memory for a piece of %zu bytes", size);
    else
        vv_budget_take(s->budget, VV_BUDGET_WORK, size);
    return buf;
}

static void give_buffer(lsm_store *s, uint8_t *buf, size_t size)
{
    if (buf != NULL)
        vv_budget_release(s->budget, VV_BUDGET_WORK, size);
    vv_free(buf);
}

vv_status lsm_upload_sum(lsm_store *s, vio_file *file, uint64_t size, uint32_t *crc, vv_error *err)
{
    size_t piece = (size_t)vv_min_u64(PIECE_SIZE, vv_max_u64(size, 1));
    uint8_t *buf = take_buffer(s, piece, err);
    if (buf == NULL)
        return VV_NO_MEMORY;
    uint32_t sum = 0;
    vv_status st = VV_OK;
    for (uint64_t at = 0; st == VV_OK && at < size;) {
        size_t len = (size_t)vv_min_u64(piece, size - at);
        st = vio_pread_full(file, at, buf, len, err);
        if (st == VV_OK)
            sum = vv_crc32c(sum, buf, len);
        at += len;
    }
    give_buffer(s, buf, piece);
    *crc = sum;
    return st;
}

/* ---- verifying ---- */

static vv_status read_exactly(vv_object_store *objects, const lsm_object *o, uint64_t at,
                              uint8_t *buf, size_t len, vv_error *err)
{
    size_t got = 0;
    vv_status st = vv_object_get(objects, o->name, at, buf, len, &got, NULL, NULL, err);
    if (st == VV_NOT_FOUND)
        return vv_wrap(err, VV_CORRUPT, "it is missing");
    if (st == VV_OK && got < len)
        return vv_fail(err, VV_CORRUPT, "object '%s': it ends at %" PRIu64, o->name, at + got);
    return st;
}

/* Every byte of the object. */
static vv_status check_bytes(lsm_store *s, vv_object_store *objects, const lsm_object *o,
                             vv_error *err)
{
    size_t piece = (size_t)vv_min_u64(PIECE_SIZE, vv_max_u64(o->size, 1));
    uint8_t *buf = take_buffer(s, piece, err);
    if (buf == NULL)
        return VV_NO_MEMORY;
    uint32_t crc = 0;
    vv_status st = VV_OK;
    for (uint64_t at = 0; st == VV_OK && at < o->size;) {
        size_t len = (size_t)vv_min_u64(piece, o->size - at);
        st = read_exactly(objects, o, at, buf, len, err);
        if (st == VV_OK)
            crc = vv_crc32c(crc, buf, len);
        at += len;
    }
    give_buffer(s, buf, piece);
    if (st == VV_OK && crc != o->crc)
        st = vv_fail(err, VV_CORRUPT, "object '%s': its bytes have the sum %08x, not %08x", o->name,
                     crc, o->crc);
    return st;
}

/* Size and sum as the store has them; a store that keeps no sum is read. */
static vv_status check_head(lsm_store *s, vv_object_store *objects, const lsm_object *o, bool whole,
                            vv_error *err)
{
    vv_object_info info = {0};
    vv_status st = vv_object_head(objects, o->name, &info, NULL, err);
    if (st == VV_NOT_FOUND)
        return vv_wrap(err, VV_CORRUPT, "it is missing");
    if (st != VV_OK)
        return st;
    if (info.size != o->size)
        return vv_fail(err, VV_CORRUPT, "object '%s': %" PRIu64 " bytes instead of %" PRIu64,
                       o->name, info.size, o->size);
    if (info.has_crc && info.crc32c != o->crc)
        return vv_fail(err, VV_CORRUPT, "object '%s': its sum is %08x, not %08x", o->name,
                       info.crc32c, o->crc);
    return whole || !info.has_crc ? check_bytes(s, objects, o, err) : VV_OK;
}

vv_status lsm_upload_verify(lsm_store *s, const lsm_object *object, bool whole, vv_error *err)
{
    vv_object_store *objects = lsm_remote_objects(s);
    assert(objects != NULL);
    return check_head(s, objects, object, whole, err);
}

/* And the last bytes are those of the file. */
static vv_status verify(const upload *u, vv_error *err)
{
    uint8_t here[BACK_SIZE] = {0};
    uint8_t there[BACK_SIZE] = {0};
    const lsm_object *o = u->object;
    size_t len = (size_t)vv_min_u64(BACK_SIZE, o->size);
    vv_status st = check_head(u->store, u->objects, o, false, err);
    if (st == VV_OK)
        st = vio_pread_full(u->file, o->size - len, here, len, err);
    if (st == VV_OK)
        st = read_exactly(u->objects, o, o->size - len, there, len, err);
    if (st == VV_OK && memcmp(here, there, len) != 0)
        st = vv_fail(err, VV_CORRUPT, "object '%s': its last %zu bytes are not those of the file",
                     o->name, len);
    return st;
}

/* ---- storing ---- */

static vv_status next_piece(upload *u, uint64_t at, size_t len, vv_error *err)
{
    vv_status st = vio_pread_full(u->file, at, u->buf, len, err);
    if (st == VV_OK)
        u->crc = vv_crc32c(u->crc, u->buf, len);
    return st;
}

/* What is sent is what was summed: the name says so. */
static vv_status check_sent(const upload *u, vv_error *err)
{
    if (u->crc == u->object->crc)
        return VV_OK;
    return vv_fail(err, VV_CORRUPT, "the file reads differently now: its sum was %08x and is %08x",
                   u->object->crc, u->crc);
}

static vv_status put_whole(upload *u, unsigned flags, vv_error *err)
{
    size_t len = (size_t)u->object->size;
    vv_slice piece = vv_slice_of(u->buf, len);
    u->crc = 0;
    vv_status st = next_piece(u, 0, len, err);
    if (st == VV_OK)
        st = check_sent(u, err);
    if (st == VV_OK)
        st = vv_object_put(u->objects, u->object->name, &piece, 1, flags, NULL, NULL, err);
    return st;
}

static vv_status put_parts(upload *u, unsigned flags, vv_error *err)
{
    const lsm_object *o = u->object;
    vv_object_upload *parts = NULL;
    u->crc = 0;
    vv_status st = vv_object_upload_begin(u->objects, o->name, flags, &parts, NULL, err);
    if (st != VV_OK)
        return st;
    uint32_t number = 1;
    for (uint64_t at = 0; st == VV_OK && at < o->size; number++) {
        size_t len = (size_t)vv_min_u64(u->buf_size, o->size - at);
        vv_slice piece = vv_slice_of(u->buf, len);
        st = next_piece(u, at, len, err);
        if (st == VV_OK)
            st = vv_object_upload_part(parts, number, &piece, 1, NULL, err);
        at += len;
    }
    if (st == VV_OK)
        st = check_sent(u, err);
    if (st == VV_OK)
        st = vv_object_upload_complete(parts, NULL, NULL, err);
    if (st != VV_OK)
        (void)vv_object_upload_abort(parts, NULL, NULL);
    return st;
}

static vv_status put(upload *u, unsigned flags, vv_error *err)
{
    return u->object->size <= u->buf_size ? put_whole(u, flags, err) : put_parts(u, flags, err);
}

/* Something stands under the name, or may: ours, or to be replaced. */
static vv_status accept_or_replace(upload *u, vv_error *err)
{
    vv_error why = {0};
    vv_status st = verify(u, &why);
    if (st != VV_CORRUPT) {
        if (st != VV_OK && err != NULL)
            *err = why;
        return st;
    }
    st = put(u, VV_OBJECT_REPLACE, err);
    return st == VV_OK ? verify(u, err) : st;
}

static vv_status store(upload *u, bool is_begun, vv_error *err)
{
    vv_object_limits limits;
    vv_object_store_limits(u->objects, &limits);
    if (is_begun || !limits.conditional_put)
        return accept_or_replace(u, err);
    vv_status st = put(u, VV_OBJECT_CREATE, err);
    if (st == VV_CONFLICT || st == VV_UNSUPPORTED)
        return accept_or_replace(u, err);
    return st == VV_OK ? verify(u, err) : st;
}

/* Parts as the store wants them: not too small, not too many. */
static size_t part_size(vv_object_store *objects, const engine_tier *tier, uint64_t size)
{
    vv_object_limits limits;
    vv_object_store_limits(objects, &limits);
    uint64_t part =
        vv_max_u64(tier->part_size == 0 ? PART_SIZE : tier->part_size, limits.part_size_min);
    if (limits.part_count_max > 0)
        part = vv_max_u64(part, size / limits.part_count_max + 1);
    return (size_t)vv_min_u64(part, vv_max_u64(size, 1));
}

vv_status lsm_upload(lsm_store *s, vio_file *file, const lsm_object *object,
                     const engine_tier *tier, bool is_begun, vv_error *err)
{
    upload u = {.store = s, .objects = tier->objects, .object = object, .file = file};
    u.buf_size = part_size(u.objects, tier, object->size);
    u.buf = take_buffer(s, u.buf_size, err);
    if (u.buf == NULL)
        return VV_NO_MEMORY;
    vv_status st = store(&u, is_begun, err);
    give_buffer(s, u.buf, u.buf_size);
    return st == VV_NOT_FOUND ? vv_wrap(err, VV_IO, "upload of '%s'", object->name) : st;
}
