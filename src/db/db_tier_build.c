/*
 * db_tier_build.c - messages become an object in a part file, with its name and its number; where
 * the rule asks for it, another form of them beside.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/point.h"
#include "db/db_tier_job.h"

/* Tables of the compression and ranges of attributes, which arch_writer_memory does not count; and
 * with blocks as they come and go, and a dictionary. */
#define WRITER_APART (3u * ARCH_BLOCK_TARGET)
#define WRITER_MEMORY (6u * ARCH_BLOCK_TARGET)
#define JSONL_APART (1024u * 1024)
#define PARQUET_APART (1024u * 1024)
#define PARQUET_MEMORY (9u * 1024 * 1024) /* its rows, and a page of them */
#define LARGE (ARCH_BLOCK_TARGET / 4)     /* a message that is a block by itself, or almost */
#define COUNT_EACH 256u                   /* messages */
#define COPIES 3u                         /* of a large message, in each form: raw, packed, tried */

/* Random and never 0: it is in the name, so two tries of different batches never meet. */
static uint64_t new_intent(db_tier *t)
{
    uint64_t id = 0;
    vv_mutex_lock(&t->lock);
    while (id == 0)
        id = vv_rng_next(&t->rng);
    vv_mutex_unlock(&t->lock);
    return id;
}

static void identify(const db_tier_job *j, const arch_intent *in, arch_identity *out)
{
    const cat_table *cat = j->table->cat;
    *out = (arch_identity){.intent = in->intent,
                           .partition = j->partition,
                           .partition_count = cat->partition_count,
                           .made_ns = in->made_ns,
                           .table_id = cat->id,
                           .table_made_ns = cat->created_ns};
    memcpy(out->store_id, j->t->db->identity.uuid, sizeof out->store_id);
    (void)snprintf(out->tenant, sizeof out->tenant, "%s", cat->tenant);
    (void)snprintf(out->table, sizeof out->table, "%s", cat->name);
}

/* ---- memory -----------------------------------------------------------------------------------
 */

static uint64_t least_of(vv_tier_form also)
{
    uint64_t beside = also == VV_TIER_PARQUET ? PARQUET_MEMORY
                      : also == VV_TIER_JSONL ? JSONL_APART + 4 * ARCH_BLOCK_TARGET
                                              : 0;
    return WRITER_MEMORY + beside;
}

/* What it has, and at least what one without large messages comes to. */
static uint64_t memory_of(const db_tier_build *b)
{
    uint64_t bytes = WRITER_APART + arch_writer_memory(b->writer);
    if (b->form != NULL)
        bytes += (b->intent.also == VV_TIER_PARQUET ? PARQUET_APART : JSONL_APART) +
                 arch_form_memory(b->form);
    return vv_max_u64(bytes, least_of(b->intent.also));
}

static vv_status hold_memory(db_tier_build *b, uint64_t bytes, vv_error *err)
{
    if (bytes <= b->held)
        return VV_OK;
    vv_status st = db_tier_memory_take(b->job, bytes - b->held, "make an object", err);
    if (st == VV_OK)
        b->held = bytes;
    return st;
}

/* Room for a large message before it is copied. */
static vv_status hold_message(db_tier_build *b, uint64_t size, vv_error *err)
{
    uint64_t forms = b->form == NULL ? 1 : 2;
    return hold_memory(b, memory_of(b) + forms * COPIES * size, err);
}

/* What it came to. */
static void count_memory(db_tier_build *b)
{
    uint64_t bytes = memory_of(b);
    if (bytes > b->held)
        db_tier_memory_count(b->job, bytes - b->held);
    else if (bytes < b->held)
        db_tier_memory_give(b->job, b->held - bytes);
    b->held = bytes;
}

static void give_memory(db_tier_build *b)
{
    if (b->held > 0)
        db_tier_memory_give(b->job, b->held);
    b->held = 0;
}

/* ---- building ---------------------------------------------------------------------------------
 */

vv_status db_tier_build_open(db_tier_job *j, const arch_intent *in, bool is_known, db_tier_build *b,
                             vv_error *err)
{
    *b = (db_tier_build){.job = j, .t = j->t, .intent = *in, .is_known = is_known};
    if (!is_known)
        b->intent.intent = new_intent(j->t);
    identify(j, &b->intent, &b->who);
    arch_writer_options opt = {.who = b->who, .codec = b->intent.codec};
    vv_status st = hold_memory(b, least_of(in->also), err);
    if (st == VV_OK)
        st = db_tier_file_open(j->t, b->intent.intent, 'o', &b->file, err);
    if (st == VV_OK)
        st = arch_writer_open(&opt, db_tier_file_sink(&b->file), &b->writer, err);
    if (st == VV_OK && in->also != VV_TIER_ALONE) {
        st = db_tier_file_open(j->t, b->intent.intent, 'f', &b->also_file, err);
        if (st == VV_OK)
            st = arch_form_open(in->also, &b->who, 0, db_tier_file_sink(&b->also_file), &b->form,
                                err);
    }
    if (st != VV_OK)
        db_tier_build_close(b);
    return st;
}

vv_status db_tier_build_add(db_tier_job *j, db_tier_build *b, const vv_message *m, vv_error *err)
{
    const uint64_t size = stream_message_size(m);
    vv_status st = size < LARGE ? VV_OK : hold_message(b, size, err);
    if (st == VV_OK && !b->is_known && arch_writer_count(b->writer) == 0)
        st = arch_name_make(j->rule.key, &b->who, m, DB_TIER_SUFFIX, b->intent.name, err);
    if (b->looked_at < DB_TRACE_LOOKED) {
        db_trace_list_message(&b->traces, m);
        b->looked_at++;
    }
    if (st == VV_OK)
        st = arch_writer_add(b->writer, m, err);
    if (st == VV_OK && b->form != NULL)
        st = arch_form_add(b->form, m, err);
    if (size >= LARGE || arch_writer_count(b->writer) % COUNT_EACH == 0)
        count_memory(b);
    return st;
}

vv_status db_tier_build_finish(db_tier_build *b, vv_error *err)
{
    uint64_t size = 0;
    vv_status st = arch_writer_finish(b->writer, &b->holds, err);
    if (st == VV_OK)
        st = db_tier_file_flush(&b->file, err);
    if (st == VV_OK && b->form != NULL)
        st = arch_form_finish(b->form, &size, err);
    if (st == VV_OK && b->form != NULL)
        st = db_tier_file_flush(&b->also_file, err);
    if (st != VV_OK)
        return st;
    if (b->holds.size != b->file.at || (b->form != NULL && size != b->also_file.at))
        return vv_fail(err, VV_CORRUPT,
                       "an object of %" PRIu64 " bytes has %" PRIu64 " in its file", b->holds.size,
                       b->file.at);
    if (b->is_known && (b->holds.first != b->intent.first || b->holds.next != b->intent.next))
        return vv_fail(err, VV_CORRUPT,
                       "the intent of offsets %" PRIu64 " to %" PRIu64 " was built from %" PRIu64
                       " to %" PRIu64,
                       b->intent.first, b->intent.next, b->holds.first, b->holds.next);
    b->intent.next = b->holds.next;
    arch_writer_close(b->writer); /* its memory is the upload's from here on */
    arch_form_close(b->form);
    b->writer = NULL;
    b->form = NULL;
    give_memory(b);
    VV_POINT("tier.built");
    return VV_OK;
}

void db_tier_build_close(db_tier_build *b)
{
    if (b->job == NULL)
        return;
    arch_writer_close(b->writer);
    arch_form_close(b->form);
    db_tier_file_close(&b->file);
    db_tier_file_close(&b->also_file);
    give_memory(b);
    *b = (db_tier_build){.held = 0};
}
