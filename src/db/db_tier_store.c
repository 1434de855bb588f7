/*
 * db_tier_store.c - an object of the tier at its store: sent once, proved to be ours, read by
 * ranges, removed.
 *
 *   conditional put     put, create-once --taken, or unknown--> prove --ours----> stored
 *                                                                     --other's-> conflict
 *   without it          prove, then put, then prove
 *
 * To prove is to read what lies under the name from its end: its footer says which intent made it,
 * which offsets it holds and the sum of its bytes, and all of that has to be what was built here.
 * So neither a timeout after the put took effect, nor a crash before DONE, nor an earlier owner of
 * the partition that is still sending makes two objects of a batch, or a batch of somebody else's.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_tier_job.h"
#include "db/db_tier_read.h"

#define TRIES 3

/* ---- by ranges --------------------------------------------------------------------------------
 */

static vv_status read_range(void *ctx, uint64_t offset, void *out, size_t len, vv_error *err)
{
    const db_tier_source *s = ctx;
    return db_tier_get(s->objects, s->name, offset, out, len, err);
}

arch_source db_tier_source_of(db_tier_source *s, uint64_t size)
{
    return (arch_source){.read = read_range, .ctx = s, .size = size};
}

/* ---- is it ours? ------------------------------------------------------------------------------
 */

typedef enum proof {
    PROOF_ABSENT,  /* nothing has the name */
    PROOF_SAME,    /* it is what was built */
    PROOF_OURS,    /* the same intent of this store, with other bytes */
    PROOF_FOREIGN, /* anything else */
} proof;

static proof compare(const db_tier_build *b, const arch_reader *r)
{
    const arch_identity *who = arch_reader_who(r);
    const arch_summary *is = arch_reader_summary(r);
    const arch_summary *want = &b->holds;
    if (VV_BUG(96))
        return PROOF_SAME;
    if (who->intent != b->intent.intent ||
        memcmp(who->store_id, b->who.store_id, sizeof who->store_id) != 0)
        return PROOF_FOREIGN;
    return is->first == want->first && is->next == want->next && is->size == want->size &&
                   is->crc32c == want->crc32c
               ? PROOF_SAME
               : PROOF_OURS;
}

/* The end of what has a name. VV_NOT_FOUND: nothing has. Bytes that were damaged on their way are
 * whole at another try. */
static vv_status read_end(db_tier_source *source, arch_reader **out, vv_error *err)
{
    vv_object_info info = {.size = 0};
    vv_object_outcome oc = {.attempts = 0};
    *out = NULL;
    vv_status st = vv_object_head(source->objects, source->name, &info, &oc, err);
    if (st != VV_OK)
        return st;
    st = VV_CORRUPT;
    for (int i = 0; st == VV_CORRUPT && i < TRIES; i++)
        st = arch_reader_open(db_tier_source_of(source, info.size), 0, 0, out, err);
    return st;
}

/* What lies under the name. Bytes that are no object of ours are somebody's; an answer that did not
 * come is a failure. */
static vv_status prove(const db_tier_build *b, proof *out, vv_error *err)
{
    arch_reader *r = NULL;
    vv_error why = {0};
    db_tier_source source = {b->t->objects, b->intent.name};
    vv_status st = read_end(&source, &r, &why);
    *out = PROOF_ABSENT;
    if (st == VV_NOT_FOUND)
        return VV_OK;
    *out = st == VV_OK ? compare(b, r) : PROOF_FOREIGN;
    arch_reader_close(r);
    if (st == VV_OK || st == VV_CORRUPT || st == VV_UNSUPPORTED)
        return VV_OK;
    if (err != NULL)
        *err = why;
    return vv_wrap(err, st, "look at what has the name of an object");
}

/* ---- sending ----------------------------------------------------------------------------------
 */

static bool is_stopping(db_tier *t)
{
    vv_mutex_lock(&t->lock);
    bool stop = t->stop;
    vv_mutex_unlock(&t->lock);
    return stop;
}

/* A piece of the budget and of memory for it. */
static vv_status take_piece(db_tier_job *j, uint64_t size, uint8_t **out, vv_error *err)
{
    *out = NULL;
    vv_status st = db_tier_memory_take(j, size, "send an object", err);
    if (st != VV_OK)
        return st;
    *out = vv_alloc(size);
    if (*out != NULL)
        return VV_OK;
    db_tier_memory_give(j, size);
    return vv_fail(err, VV_NO_MEMORY, "no memory for %" PRIu64 " bytes of an object", size);
}

static void give_piece(db_tier_job *j, uint64_t size, uint8_t *piece)
{
    if (piece == NULL)
        return;
    vv_free(piece);
    db_tier_memory_give(j, size);
}

/* A piece of the file. What fails here is this machine. */
static vv_status read_piece(db_tier_job *j, const db_tier_file *f, uint64_t at, uint8_t *piece,
                            size_t len, vv_error *err)
{
    j->store_failed = false;
    vv_status st = vio_pread_full(f->file, at, piece, len, err);
    j->store_failed = st == VV_OK; /* of what fails from here on */
    return st;
}

static vv_status send_whole(db_tier_job *j, const db_tier_file *f, const char *name, unsigned flags,
                            uint8_t *piece, vv_object_info *info, vv_object_outcome *oc,
                            vv_error *err)
{
    vv_slice slice = vv_slice_of(piece, (size_t)f->at);
    vv_status st = read_piece(j, f, 0, piece, (size_t)f->at, err);
    if (st != VV_OK)
        return st;
    return vv_object_put(f->t->objects, name, &slice, 1, flags, info, oc, err);
}

static vv_status send_parts(db_tier_job *j, const db_tier_file *f, vv_object_upload *up,
                            uint8_t *piece, uint64_t size, vv_object_outcome *oc, vv_error *err)
{
    vv_status st = VV_OK;
    uint32_t number = 1;
    for (uint64_t at = 0; st == VV_OK && at < f->at; at += size, number++) {
        size_t len = (size_t)vv_min_u64(size, f->at - at);
        vv_slice slice = vv_slice_of(piece, len);
        if (is_stopping(f->t))
            return vv_fail(err, VV_CLOSED, "the store is closing");
        st = read_piece(j, f, at, piece, len, err);
        if (st == VV_OK)
            st = vv_object_upload_part(up, number, &slice, 1, oc, err);
        VV_POINT("tier.after_part");
    }
    return st;
}

static vv_status send_large(db_tier_job *j, const db_tier_file *f, const char *name, unsigned flags,
                            uint8_t *piece, uint64_t size, vv_object_info *info,
                            vv_object_outcome *oc, vv_error *err)
{
    j->store_failed = true;
    vv_object_upload *up = NULL;
    vv_object_outcome aborted = {.attempts = 0};
    vv_status st = vv_object_upload_begin(f->t->objects, name, flags, &up, oc, err);
    if (st == VV_OK)
        st = send_parts(j, f, up, piece, size, oc, err);
    if (st == VV_OK) {
        st = vv_object_upload_complete(up, info, oc, err);
        if (st == VV_OK)
            return VV_OK;
    }
    if (up != NULL) /* parts that stay cost room until a rule of the bucket removes them */
        (void)vv_object_upload_abort(up, &aborted, NULL);
    return st;
}

/* The size of the pieces that a file is sent in. */
static uint64_t piece_size(const db_tier *t, uint64_t size)
{
    const vv_object_limits *l = &t->limits;
    uint64_t piece = vv_max_u64(t->buffer, l->part_size_min);
    if (l->part_count_max > 0)
        piece = vv_max_u64(piece, size / l->part_count_max + 1);
    if (l->part_size_max > 0)
        piece = vv_min_u64(piece, l->part_size_max);
    return piece;
}

static vv_status send(db_tier_job *j, const db_tier_file *f, const char *name, unsigned flags,
                      vv_object_info *info, vv_object_outcome *oc, vv_error *err)
{
    uint8_t *memory = NULL;
    uint64_t piece = vv_min_u64(piece_size(f->t, f->at), vv_max_u64(f->at, 1));
    j->store_failed = false;
    vv_status st = take_piece(j, piece, &memory, err);
    if (st == VV_OK && f->at <= piece)
        st = send_whole(j, f, name, flags, memory, info, oc, err);
    else if (st == VV_OK)
        st = send_large(j, f, name, flags, memory, piece, info, oc, err);
    give_piece(j, piece, memory);
    return st;
}

/* ---- exactly once -----------------------------------------------------------------------------
 */

/* What the store told of what it took has to be what was sent. */
static vv_status check_told(const db_tier_build *b, const vv_object_info *info, vv_error *err)
{
    if (info->size == b->holds.size && (!info->has_crc || info->crc32c == b->holds.crc32c))
        return VV_OK;
    return vv_fail(err, VV_CORRUPT, "%s took %" PRIu64 " bytes as '%s', and %" PRIu64 " were sent",
                   vv_object_store_name(b->t->objects), info->size, b->intent.name, b->holds.size);
}

/* What lies there decides. */
static vv_status settle(const db_tier_build *b, bool *is_there, bool *is_ours, vv_error *err)
{
    proof what = PROOF_ABSENT;
    vv_status st = prove(b, &what, err);
    *is_there = st == VV_OK && what == PROOF_SAME;
    *is_ours = what == PROOF_OURS;
    if (st != VV_OK || what == PROOF_ABSENT || what == PROOF_SAME)
        return st;
    return vv_fail(err, VV_CONFLICT, "'%s' at %s is another object: %s", b->intent.name,
                   vv_object_store_name(b->t->objects),
                   what == PROOF_OURS ? "of this intent, with other bytes" : "of somebody else");
}

static vv_status put_fenced(db_tier_job *j, const db_tier_build *b, bool *is_ours, vv_error *err)
{
    db_tier *t = j->t;
    vv_object_info info = {.size = 0};
    vv_object_outcome oc = {.attempts = 0};
    bool is_there = false;
    vv_status st = settle(b, &is_there, is_ours, err);
    if (st == VV_OK && is_there) {
        atomic_fetch_add_explicit(&t->counters.settled, 1, memory_order_relaxed);
        return VV_OK;
    }
    if (st == VV_OK)
        st = send(j, &b->file, b->intent.name, VV_OBJECT_REPLACE, &info, &oc, err);
    if (st != VV_OK)
        return st;
    VV_POINT("tier.after_put");
    st = settle(b, &is_there, is_ours, err);
    if (st == VV_OK && !is_there)
        st = vv_fail(err, VV_IO, "'%s' was stored at %s, and is not there", b->intent.name,
                     vv_object_store_name(t->objects));
    return st;
}

static vv_status put_once(db_tier_job *j, const db_tier_build *b, bool *is_ours, vv_error *err)
{
    db_tier *t = j->t;
    vv_object_info info = {.size = 0};
    vv_object_outcome oc = {.attempts = 0};
    vv_error why = {0};
    bool is_there = false;
    vv_status st = send(j, &b->file, b->intent.name, VV_OBJECT_CREATE, &info, &oc, &why);
    VV_POINT("tier.after_put");
    if (st == VV_UNSUPPORTED && oc.fault == VV_OBJECT_FAULT_UNSUPPORTED) {
        atomic_store_explicit(&t->no_condition, true, memory_order_relaxed);
        return put_fenced(j, b, is_ours, err);
    }
    if (st == VV_OK)
        return check_told(b, &info, err);
    if (VV_BUG(97) && oc.unknown)
        return VV_OK;
    if (st != VV_CONFLICT && !oc.unknown) {
        if (err != NULL)
            *err = why;
        return st;
    }
    j->store_failed = true;
    vv_status found = settle(b, &is_there, is_ours, err);
    if (found == VV_OK && is_there) {
        atomic_fetch_add_explicit(&t->counters.settled, 1, memory_order_relaxed);
        return VV_OK;
    }
    if (found == VV_OK && err != NULL) /* it is not there: what was said of the put stands */
        *err = why;
    return found == VV_OK ? (st == VV_CONFLICT ? VV_IO : st) : found;
}

/* After the object itself, whose name is proved to be ours then: what lies under this one is so
 * too. The bytes come from the messages alone: whoever writes it again writes the same. */
static vv_status put_also(db_tier_job *j, const db_tier_build *b, vv_error *err)
{
    char name[VV_OBJECT_NAME_MAX + 1];
    vv_object_info info = {.size = 0};
    vv_object_outcome oc = {.attempts = 0};
    if (b->intent.also == VV_TIER_ALONE)
        return VV_OK;
    vv_status st = db_tier_also_name(b->intent.name, b->intent.also, name, err);
    if (st == VV_OK)
        st = send(j, &b->also_file, name, VV_OBJECT_REPLACE, &info, &oc, err);
    return st;
}

vv_status db_tier_put(db_tier_job *j, db_tier_build *b, bool *is_ours, vv_error *err)
{
    db_tier *t = j->t;
    int64_t start = vv_clock_mono(t->db->env->clock);
    bool fenced =
        !t->limits.conditional_put || atomic_load_explicit(&t->no_condition, memory_order_relaxed);
    *is_ours = false;
    j->store_failed = true;
    if (t->opt.uploads > 1)
        db_tier_wake(t->db); /* another thread looks at the other partitions meanwhile */
    atomic_fetch_add_explicit(&t->counters.uploading, 1, memory_order_relaxed);
    vv_status st = is_stopping(t) ? vv_fail(err, VV_CLOSED, "the store is closing") : VV_OK;
    VV_POINT("tier.before_put");
    if (st == VV_OK)
        st = fenced ? put_fenced(j, b, is_ours, err) : put_once(j, b, is_ours, err);
    if (st == VV_OK)
        st = put_also(j, b, err);
    atomic_fetch_sub_explicit(&t->counters.uploading, 1, memory_order_relaxed);
    if (st != VV_OK)
        return st == VV_NOT_FOUND ? VV_IO : st;
    j->store_failed = false;
    db_tier_note_success(t);
    vv_mutex_lock(&t->lock);
    vv_hist_add(&t->counters.upload_ns, (uint64_t)(vv_clock_mono(t->db->env->clock) - start));
    vv_mutex_unlock(&t->lock);
    return VV_OK;
}

/* ---- names and removal ------------------------------------------------------------------------
 */

vv_status db_tier_also_name(const char *name, vv_tier_form also, char out[VV_OBJECT_NAME_MAX + 1],
                            vv_error *err)
{
    int len = snprintf(out, VV_OBJECT_NAME_MAX + 1, "%s%s", name, arch_form_suffix(also));
    if (len <= (int)VV_OBJECT_NAME_MAX)
        return VV_OK;
    return vv_fail(
        err, VV_INVALID,
        "the name of the form beside '%s' is too long: give the table a shorter template", name);
}

/* Did this store make it? Not so of what an original store made whose copy, restored from a backup,
 * this is: they share objects, and each removes its own. */
static vv_status is_own(db_tier *t, const char *name, bool *out, vv_error *err)
{
    arch_reader *r = NULL;
    vv_error why = {0};
    db_tier_source source = {t->objects, name};
    const uint8_t *id = t->db->identity.uuid;
    vv_status st = read_end(&source, &r, &why);
    *out = st == VV_NOT_FOUND || (st == VV_OK && memcmp(arch_reader_who(r)->store_id, id,
                                                        sizeof t->db->identity.uuid) == 0);
    arch_reader_close(r);
    if (st == VV_OK || st == VV_NOT_FOUND)
        return VV_OK;
    if (st == VV_CORRUPT || st == VV_UNSUPPORTED) {
        vv_log_to(t->db->env->log, VV_LOG_WARN, "tier",
                  "an object that nothing refers to is left: whose it is cannot be read",
                  VV_KV_S("object", name), VV_KV_S("error", why.msg));
        return VV_OK;
    }
    if (err != NULL)
        *err = why;
    return st;
}

vv_status db_tier_remove(db_tier *t, const char *name, vv_tier_form also, vv_error *err)
{
    char beside[VV_OBJECT_NAME_MAX + 1];
    vv_object_outcome oc = {.attempts = 0};
    bool own = false;
    vv_status st = is_own(t, name, &own, err);
    if (st != VV_OK || !own)
        return st;
    st = vv_object_remove(t->objects, name, &oc, err);
    if (st != VV_OK || also == VV_TIER_ALONE)
        return st;
    st = db_tier_also_name(name, also, beside, err);
    return st == VV_OK ? vv_object_remove(t->objects, beside, &oc, err) : st;
}
