/*
 * db_tier_attach.c - a store out of the objects alone: its stream tables, with the entries of what
 * is archived of them.
 *
 *   list every object --> of each its footer and index --> by table, partition and offset
 *      --> the store, as VARVE.part --> tables --> entries, where they begin and end --> VARVE
 *
 * An object tells in its index whose messages it holds. What does not is none of ours and passed
 * over, names that do not end as ours do without a look. Of tables that had one name, one after
 * the other, the newest counts: their offsets all begin at 0. Of objects that hold the same
 * messages, as a merge that was broken off leaves them, the wider range counts. Offsets that no
 * object holds are a hole: it is told, and reading them says so.
 *
 * A look is two reads over a network, so that many are under way at once where there are threads.
 *
 * While it is made the store's identity has another name, under which nobody opens it: it is whole
 * or it is not there. It says then that the store is to be read alone: a trim in it would remove
 * objects of the store that wrote them.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_capture.h"
#include "db/db_tier_job.h"
#include "db/db_tier_read.h"

#define PART_FILE DB_IDENTITY_FILE ".part"
#define MEMORY (64 * VV_MIB)
#define LOG_SEGMENT (1u << 20)
#define ENTRIES_EACH 500u /* in one entry of the log */
#define OBJECTS_MAX 10000000u
#define LOOKERS_MAX 15u     /* threads beside the caller's */
#define OBJECTS_A_LOOKER 8u /* at least */

/* A table of the objects. */
typedef struct owner {
    char tenant[VV_NAME_MAX + 1];
    char table[VV_NAME_MAX + 1];
    uint8_t store_id[16]; /* of the table as the next two say it */
    uint32_t table_id;    /* of those that had the name the newest; 0: no object says one */
    int64_t table_made_ns;
    uint32_t partition_count;
    uint64_t older; /* objects of those before */
    bool is_mixed;  /* objects of several stores */
} owner;

typedef struct found {
    uint32_t owner;
    uint32_t partition;
    uint32_t partition_count;
    uint32_t table_id;
    int64_t table_made_ns;
    uint64_t intent;
    int64_t made_ns;
    vv_tier_codec codec;
    vv_tier_form also;
    arch_summary holds;
    bool is_ours;
    char *name;
    char *why; /* it is passed over, in a sentence; NULL: without a word */
} found;

typedef struct attacher {
    vv_env *env;
    vv_object_store *store;
    void (*finding)(void *ctx, const char *text);
    void *ctx;
    found *object;
    size_t object_count, object_cap;
    char last[VV_OBJECT_NAME_MAX + 1]; /* of the listing */
    vv_status status;                  /* of its callback */

    _Atomic size_t next; /* object to be looked at */
    vv_mutex lock;       /* rank VV_RANK_LEAF: guards what follows while lookers run */
    owner *owner;
    size_t owner_count, owner_cap;
    vv_status failed; /* of a look: the first */
    vv_error why;
} attacher;

static void VV_PRINTF(2, 3) tell(const attacher *a, const char *fmt, ...)
{
    char text[1100];
    va_list args;
    if (a->finding == NULL)
        return;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    a->finding(a->ctx, text);
}

/* Room for one more of size bytes. NULL: no memory. */
static void *grow(void **all, size_t count, size_t *cap, size_t size)
{
    if (count < *cap)
        return *all;
    size_t more = *cap == 0 ? 64 : *cap * 2;
    void *bytes = vv_realloc(*all, more * size);
    if (bytes == NULL)
        return NULL;
    *all = bytes;
    *cap = more;
    return bytes;
}

/* ---- listing ---- */

static bool ends_in(const char *name, const char *suffix)
{
    size_t len = strlen(name);
    size_t end = strlen(suffix);
    return end > 0 && len > end && strcmp(name + len - end, suffix) == 0;
}

static bool note_object(void *ctx, const char *name, const vv_object_info *info)
{
    attacher *a = ctx;
    (void)snprintf(a->last, sizeof a->last, "%s", name);
    if (info->size < ARCH_FOOTER_SIZE || !ends_in(name, DB_TIER_SUFFIX))
        return true;
    if (a->object_count == OBJECTS_MAX ||
        grow((void **)&a->object, a->object_count, &a->object_cap, sizeof *a->object) == NULL) {
        a->status = VV_NO_MEMORY;
        return false;
    }
    found *f = &a->object[a->object_count];
    *f = (found){.holds.size = info->size, .name = vv_strdup(name)};
    a->status = f->name == NULL ? VV_NO_MEMORY : VV_OK;
    a->object_count += f->name != NULL;
    return f->name != NULL;
}

static vv_status list(attacher *a, vv_error *err)
{
    bool more = true;
    vv_status st = VV_OK;
    while (st == VV_OK && more) {
        char after[VV_OBJECT_NAME_MAX + 1];
        vv_object_outcome outcome = {.attempts = 0};
        (void)snprintf(after, sizeof after, "%s", a->last);
        st = vv_object_list(a->store, "", after, VV_OBJECT_LIST_MAX, note_object, a, &more,
                            &outcome, err);
        if (a->status != VV_OK)
            return vv_fail(err, a->status, "no memory for the list of objects");
        if (strcmp(after, a->last) == 0)
            more = false;
    }
    return st;
}

/* ---- what they are ---- */

/* Did who's table come after the one that the owner has? A store numbers its tables in a row. */
static bool is_newer(const owner *o, const arch_identity *who)
{
    if (who->table_id == 0 || o->table_id == 0)
        return who->table_id != 0;
    if (memcmp(o->store_id, who->store_id, sizeof o->store_id) == 0)
        return cat_sequence(who->table_id) > cat_sequence(o->table_id);
    return who->table_made_ns > o->table_made_ns;
}

static vv_status find_owner(attacher *a, const arch_identity *who, uint32_t *out, vv_error *err)
    VV_REQUIRES(a->lock)
{
    size_t i = 0;
    while (i < a->owner_count && (strcmp(a->owner[i].tenant, who->tenant) != 0 ||
                                  strcmp(a->owner[i].table, who->table) != 0))
        i++;
    if (i == a->owner_count) {
        if (grow((void **)&a->owner, i, &a->owner_cap, sizeof *a->owner) == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for the tables of objects");
        a->owner[i] = (owner){.partition_count = 0};
        memcpy(a->owner[i].tenant, who->tenant, sizeof who->tenant);
        memcpy(a->owner[i].table, who->table, sizeof who->table);
        memcpy(a->owner[i].store_id, who->store_id, sizeof who->store_id);
        a->owner_count++;
    }
    owner *o = &a->owner[i];
    o->is_mixed |= memcmp(o->store_id, who->store_id, sizeof o->store_id) != 0;
    if (is_newer(o, who)) {
        memcpy(o->store_id, who->store_id, sizeof who->store_id);
        o->table_id = who->table_id;
        o->table_made_ns = who->table_made_ns;
    }
    *out = (uint32_t)i;
    return VV_OK;
}

static vv_status VV_PRINTF(3, 4) pass_over(found *f, vv_error *err, const char *fmt, ...)
{
    char text[1100];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    f->why = vv_strdup(text);
    return f->why == NULL ? vv_fail(err, VV_NO_MEMORY, "no memory for a sentence") : VV_OK;
}

static vv_status take_identity(attacher *a, found *f, const arch_reader *r, vv_error *err)
{
    const arch_identity *who = arch_reader_who(r);
    if (who->partition_count > WAL_SHARD_MAX)
        return pass_over(f, err, "'%s' is of partition %u of %u: it is passed over", f->name,
                         who->partition, who->partition_count);
    f->holds = *arch_reader_summary(r);
    f->intent = who->intent;
    f->partition = who->partition;
    f->partition_count = who->partition_count;
    f->table_id = who->table_id;
    f->table_made_ns = who->table_made_ns;
    f->made_ns = who->made_ns;
    f->codec = arch_reader_codec(r);
    vv_mutex_lock(&a->lock);
    vv_status st = find_owner(a, who, &f->owner, err);
    vv_mutex_unlock(&a->lock);
    f->is_ours = st == VV_OK;
    return st;
}

static vv_status look_at(attacher *a, found *f, vv_error *err)
{
    db_tier_source from = {.objects = a->store, .name = f->name};
    arch_reader *r = NULL;
    vv_error why = {0};
    vv_status st = arch_reader_open(db_tier_source_of(&from, f->holds.size), 0, 0, &r, &why);
    if (st == VV_NOT_FOUND) /* it went meanwhile */
        return VV_OK;
    if (st == VV_CORRUPT || st == VV_UNSUPPORTED)
        return pass_over(f, err, "'%s' is no object of messages, or damaged: %s", f->name, why.msg);
    if (st != VV_OK)
        return vv_fail(err, st, "object '%s': %s", f->name, why.msg);
    st = take_identity(a, f, r, err);
    arch_reader_close(r);
    return st;
}

/* One object after another, until there is none or a look failed. */
static void run_looker(void *arg)
{
    attacher *a = arg;
    vv_status st = VV_OK;
    while (st == VV_OK) {
        vv_error why = {0};
        size_t i = atomic_fetch_add_explicit(&a->next, 1, memory_order_relaxed);
        if (i >= a->object_count)
            return;
        st = look_at(a, &a->object[i], &why);
        vv_mutex_lock(&a->lock);
        if (st != VV_OK && a->failed == VV_OK) {
            a->failed = st;
            a->why = why;
        }
        st = a->failed;
        vv_mutex_unlock(&a->lock);
    }
}

static vv_status look_at_all(attacher *a, vv_error *err)
{
    const vv_threads *threads = a->env->threads;
    vv_thread *thread[LOOKERS_MAX];
    size_t want = threads == NULL ? 0 : a->object_count / OBJECTS_A_LOOKER;
    size_t count = 0;
    while (count < want && count < LOOKERS_MAX &&
           threads->create("varve-attach", VV_THREAD_NORMAL, run_looker, a, &thread[count], NULL) ==
               VV_OK)
        count++;
    run_looker(a);
    while (count > 0)
        threads->join(thread[--count]);
    if (a->failed != VV_OK && err != NULL)
        *err = a->why;
    return a->failed;
}

/* Objects that do not say a table are of versions that knew none: what was made before the newest
 * table of the name was, is not its. */
static bool is_of_newest(const owner *o, const found *f)
{
    if (f->table_id == 0)
        return f->made_ns >= o->table_made_ns;
    return f->table_id == o->table_id && f->table_made_ns == o->table_made_ns;
}

/* What counts stays on the list; of the rest it is told. */
static void sort_out(attacher *a)
{
    size_t kept = 0;
    for (size_t i = 0; i < a->object_count; i++) {
        found *f = &a->object[i];
        owner *o = f->is_ours ? &a->owner[f->owner] : NULL;
        if (f->why != NULL)
            tell(a, "%s", f->why);
        if (o != NULL && is_of_newest(o, f)) {
            if (f->partition_count > o->partition_count)
                o->partition_count = f->partition_count;
            a->object[kept++] = *f;
            continue;
        }
        if (o != NULL)
            o->older++;
        vv_free(f->name);
        vv_free(f->why);
    }
    a->object_count = kept;
}

static void tell_of_owners(const attacher *a)
{
    for (size_t i = 0; i < a->owner_count; i++) {
        const owner *o = &a->owner[i];
        if (o->is_mixed)
            tell(a,
                 "table '%s' of tenant '%s' has objects of several stores, of a copy perhaps: "
                 "where they hold the same offsets, the wider range counts",
                 o->table, o->tenant);
        if (o->older > 0)
            tell(a,
                 "table '%s' of tenant '%s' was dropped and made again: %llu objects of a table "
                 "that had its name before are passed over",
                 o->table, o->tenant, (unsigned long long)o->older);
    }
}

/* Of one partition by offset; of those that begin at one, the widest first, then the newest. */
static int by_place(const void *x, const void *y)
{
    const found *a = x;
    const found *b = y;
    if (a->owner != b->owner)
        return a->owner < b->owner ? -1 : 1;
    if (a->partition != b->partition)
        return a->partition < b->partition ? -1 : 1;
    if (a->holds.first != b->holds.first)
        return a->holds.first < b->holds.first ? -1 : 1;
    if (a->holds.next != b->holds.next)
        return a->holds.next > b->holds.next ? -1 : 1;
    return (a->made_ns < b->made_ns) - (a->made_ns > b->made_ns);
}

/* ---- writing ---- */

/* Where a partition stands after the objects so far. */
typedef struct placing {
    uint64_t first;
    uint64_t next;
    uint64_t bytes;
    int64_t receive_ns;
    int64_t event_max;
} placing;

static vv_status put_entry(vv_batch *batch, const vv_table *part, const found *f, placing *at,
                           vv_buf *scratch, vv_error *err)
{
    uint8_t key[ARCH_KEY_SIZE];
    arch_entry entry = {.intent = f->intent,
                        .codec = f->codec,
                        .also = f->also,
                        .made_ns = f->made_ns,
                        .stored_ns = f->made_ns,
                        .holds = f->holds,
                        .bytes_before = at->bytes};
    (void)snprintf(entry.name, sizeof entry.name, "%s", f->name);
    vv_buf_reset(scratch);
    arch_entry_encode(&entry, scratch);
    arch_key(ARCH_KEY_ENTRY, f->holds.first, key);
    if (scratch->status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "no memory for an entry");
    at->next = f->holds.next;
    at->bytes += f->holds.raw_bytes;
    if (f->holds.receive_last_ns > at->receive_ns)
        at->receive_ns = f->holds.receive_last_ns;
    int64_t event =
        f->holds.event_max_ns == STREAM_NO_TIME ? f->holds.receive_last_ns : f->holds.event_max_ns;
    if (event > at->event_max)
        at->event_max = event;
    return db_batch_add(batch, ENGINE_PUT, part->cat->id, vv_slice_of(key, sizeof key),
                        vv_buf_slice(scratch), 0, err);
}

static vv_status put_head(vv_batch *batch, const vv_table *part, uint8_t kind,
                          const stream_head *head, vv_error *err)
{
    uint8_t bytes[STREAM_HEAD_SIZE];
    stream_head_encode(head, bytes);
    return db_batch_add(batch, ENGINE_PUT, part->cat->id, vv_slice_of(&kind, 1),
                        vv_slice_of(bytes, sizeof bytes), 0, err);
}

/* The last of a partition: where it begins, and that nothing of it is in blocks. */
static vv_status put_ends(vv_batch *batch, const vv_table *part, const placing *at, vv_error *err)
{
    stream_head head = {.first = at->first, .event_max = STREAM_NO_TIME};
    stream_head local = {at->next, at->bytes, at->receive_ns, at->event_max};
    vv_status st = put_head(batch, part, STREAM_KEY_HEAD, &head, err);
    return st == VV_OK ? put_head(batch, part, STREAM_KEY_LOCAL, &local, err) : st;
}

static void tell_hole(const attacher *a, const found *f, const placing *at)
{
    const owner *o = &a->owner[f->owner];
    if (f->holds.first > at->next)
        tell(a, "table '%s' of tenant '%s', partition %u: offsets %llu to %llu are in no object",
             o->table, o->tenant, f->partition, (unsigned long long)at->next,
             (unsigned long long)f->holds.first);
}

/* The objects from `begin` on that are of one partition; *end is behind them. */
static vv_status write_partition(attacher *a, vv_table *table, size_t begin, size_t *end,
                                 vv_error *err)
{
    const found *f = &a->object[begin];
    vv_table part = db_part_at(table, f->partition);
    placing at = {.first = f->holds.first, .next = f->holds.first, .event_max = STREAM_NO_TIME};
    vv_batch batch;
    vv_buf scratch;
    size_t waiting = 0;
    db_batch_init(&batch, table->db, NULL, 0);
    vv_buf_init(&scratch, VV_KIB * 4);
    vv_status st = db_batch_bind(&batch, &part, err);
    size_t i = begin;
    for (; st == VV_OK && i < a->object_count && a->object[i].owner == f->owner &&
           a->object[i].partition == f->partition;
         i++) {
        if (i > begin && a->object[i].holds.next <= at.next) /* a wider one has its messages */
            continue;
        tell_hole(a, &a->object[i], &at);
        st = put_entry(&batch, &part, &a->object[i], &at, &scratch, err);
        if (st == VV_OK && ++waiting == ENTRIES_EACH) {
            st = vv_write(table->db, &batch, VV_DURABLE_OS, NULL, err);
            db_batch_fini(&batch);
            db_batch_init(&batch, table->db, NULL, 0);
            waiting = 0;
            if (st == VV_OK)
                st = db_batch_bind(&batch, &part, err);
        }
    }
    if (st == VV_OK)
        st = put_ends(&batch, &part, &at, err);
    if (st == VV_OK)
        st = vv_write(table->db, &batch, VV_DURABLE_SYNC, NULL, err);
    db_batch_fini(&batch);
    vv_buf_fini(&scratch);
    *end = i;
    return st;
}

static vv_status write_tables(attacher *a, vv_db *db, vv_error *err)
{
    vv_status st = VV_OK;
    for (size_t i = 0; st == VV_OK && i < a->object_count;) {
        uint32_t number = a->object[i].owner;
        const owner *o = &a->owner[number];
        vv_table *table = NULL;
        vv_table_options opt = VV_TABLE_OPTIONS_INIT;
        opt.kind = VV_TABLE_STREAM;
        opt.partitions = o->partition_count;
        st = vv_table_create(db, o->tenant, o->table, &opt, &table, err);
        while (st == VV_OK && i < a->object_count && a->object[i].owner == number)
            st = write_partition(a, table, i, &i, err);
        vv_table_close(table);
    }
    return st;
}

static vv_status rename_identity(vio *io, const char *from, const char *to, vv_error *err)
{
    vv_status st = vio_rename(io, from, to, err);
    return st == VV_OK ? vio_sync_dir(io, "", err) : st;
}

/* From now on it is a store. */
static vv_status end_store(vio *io, db_identity *id, vv_error *err)
{
    id->is_attached = true;
    vv_status st = db_identity_write_at(io, PART_FILE, id, err);
    return st == VV_OK ? rename_identity(io, PART_FILE, DB_IDENTITY_FILE, err) : st;
}

static void note_any(void *ctx, const char *name)
{
    char *first = ctx;
    if (first[0] == '\0')
        (void)snprintf(first, 100, "%s", name);
}

static vv_status check_empty(vio *io, vv_error *err)
{
    char name[100] = "";
    vv_status st = vio_mkdir(io, "", err);
    if (st == VV_OK)
        st = vio_list(io, "", note_any, name, err);
    if (st == VV_OK && name[0] != '\0')
        st =
            vv_fail(err, VV_CONFLICT,
                    "the directory is not empty (it holds '%s'): name an empty or a new one", name);
    return st;
}

static vv_status write_store(attacher *a, vv_error *err)
{
    vio *io = a->env->io;
    vv_db *db = NULL;
    db_identity id = {.shard_count = 0};
    vv_options opt = VV_OPTIONS_INIT;
    opt.shard_count = 1;
    opt.memory_limit = MEMORY;
    opt.log_segment_size = LOG_SEGMENT; /* as it is made: an open makes its own */
    opt.log_ring_size = LOG_SEGMENT;
    for (size_t i = 0; i < a->owner_count; i++)
        if (a->owner[i].partition_count > opt.shard_count)
            opt.shard_count = a->owner[i].partition_count;
    vv_status st = db_open_env(a->env, &opt, &db, err);
    if (st == VV_OK)
        st = rename_identity(io, DB_IDENTITY_FILE, PART_FILE, err);
    if (st == VV_OK)
        st = write_tables(a, db, err);
    if (db != NULL) {
        id = db->identity;
        vv_status closed = vv_db_close(db, st == VV_OK ? err : NULL);
        st = st == VV_OK ? closed : st;
    }
    if (st == VV_OK)
        st = end_store(io, &id, err);
    if (st != VV_OK)
        db_build_discard(io, "");
    return st;
}

/* ---- the call ---- */

vv_status db_tier_attach(vv_env *env, vv_object_store *objects,
                         void (*finding)(void *ctx, const char *text), void *ctx, vv_error *err)
{
    attacher a = {.env = env, .store = objects, .finding = finding, .ctx = ctx};
    vv_mutex_init(&a.lock, VV_RANK_LEAF);
    vv_status st = check_empty(env->io, err);
    if (st == VV_OK)
        st = list(&a, err);
    if (st == VV_OK)
        st = look_at_all(&a, err);
    if (st == VV_OK) {
        sort_out(&a);
        tell_of_owners(&a);
    }
    if (st == VV_OK && a.object_count == 0)
        st = vv_fail(err, VV_NOT_FOUND, "%s has no object of messages: look at bucket and prefix",
                     vv_object_store_name(objects));
    if (st == VV_OK) {
        qsort(a.object, a.object_count, sizeof *a.object, by_place);
        st = write_store(&a, err);
    }
    for (size_t i = 0; i < a.object_count; i++) {
        vv_free(a.object[i].name);
        vv_free(a.object[i].why);
    }
    vv_free(a.object);
    vv_free(a.owner);
    vv_mutex_fini(&a.lock);
    return st;
}

vv_status vv_tier_attach(const char *dir, vv_object_store *objects,
                         void (*finding)(void *ctx, const char *text), void *ctx, vv_error *err)
{
    db_world *world = NULL;
    if (dir == NULL || dir[0] == '\0')
        return vv_fail(err, VV_INVALID, "attach: the directory's name is empty");
    if (objects == NULL)
        return vv_fail(err, VV_INVALID, "attach '%s': no object store is given", dir);
    vv_error why = {0};
    vv_status st = db_world_create(dir, NULL, &world, &why);
    if (st == VV_OK)
        st = db_tier_attach(db_world_env(world), objects, finding, ctx, &why);
    db_world_destroy(world);
    if (st == VV_OK)
        return VV_OK;
    if (err != NULL)
        *err = why;
    return vv_wrap(err, st, "attach '%s'", dir);
}
