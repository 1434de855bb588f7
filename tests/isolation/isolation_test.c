/*
 * isolation_test.c - threads append to lists in transactions of a real store; the checker of
 * iso_check.h judges what they saw.
 *
 *   snapshot       nothing but write skew, and write skew there must be: a load that cannot show it
 *                  would not show the rest
 *   serializable   nothing at all
 *
 * Beside transactions, some appends are compare-and-swaps and batches with a required version; some
 * transactions abort, some roll back to a savepoint; flushes and compactions go on underneath. The
 * reads of transactions that were refused are judged like the others. The I/O backends take turns.
 * VV_TXNS sets how many, VV_ENGINE_BTREE=1 takes that engine; a failure prints the seed of its
 * round and the first anomaly of each kind.
 */
#include "vv_test.h"

#include <ftw.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/rng.h"
#include "db/db.h"
#include "isolation/iso_check.h"
#include "varve/txn.h"

#define KEYS 8u
#define THREADS 8u
#define ROUND_TXNS 250u /* of each thread */
#define LIST_MAX 4096u

typedef struct op {
    bool is_read;
    uint32_t key;
    uint32_t value;
    uint32_t first; /* of lists */
    uint32_t count;
} op;

/* What a thread did: transactions end to end. */
typedef struct record {
    struct {
        iso_end end;
        uint32_t ops;
    } * txns;
    uint32_t txn_count, txn_cap;
    op *ops;
    uint32_t op_count, op_cap;
    uint32_t *lists;
    uint32_t list_count, list_cap;
} record;

typedef struct worker {
    vv_thread *thread;
    struct round *round;
    uint32_t id;
    vv_rng rng;
    record seen;
    uint32_t next_value;
    uint32_t conflicts;
    vv_error err;
} worker;

typedef struct round {
    vv_db *db;
    vv_table *table;
    vv_isolation isolation;
    uint64_t seed;
    worker workers[THREADS];
} round_state;

static char dir[64];

/* ---- recording ---- */

static void *grow(void *array, uint32_t *cap, uint32_t need, size_t size)
{
    if (need <= *cap)
        return array;
    *cap = need * 2 < 64 ? 64 : need * 2;
    array = realloc(array, *cap * size);
    assert_non_null(array);
    return array;
}

static void note_begin(record *r)
{
    r->txns = grow(r->txns, &r->txn_cap, r->txn_count + 1, sizeof *r->txns);
    r->txns[r->txn_count].ops = 0;
    r->txns[r->txn_count++].end = ISO_ABORTED;
}

static op *note_op(record *r, uint32_t key)
{
    r->ops = grow(r->ops, &r->op_cap, r->op_count + 1, sizeof *r->ops);
    r->txns[r->txn_count - 1].ops++;
    op *o = &r->ops[r->op_count++];
    *o = (op){.key = key};
    return o;
}

static void note_read(record *r, uint32_t key, vv_slice value)
{
    op *o = note_op(r, key);
    o->is_read = true;
    o->first = r->list_count;
    o->count = (uint32_t)(value.len / 4);
    r->lists = grow(r->lists, &r->list_cap, r->list_count + o->count + 1, sizeof *r->lists);
    for (uint32_t i = 0; i < o->count; i++)
        r->lists[r->list_count++] = vv_get_le32(value.data + 4 * (size_t)i);
}

static void note_append(record *r, uint32_t key, uint32_t value)
{
    note_op(r, key)->value = value;
}

static void note_end(record *r, vv_status st)
{
    r->txns[r->txn_count - 1].end = st == VV_OK ? ISO_COMMITTED : ISO_ABORTED;
}

static void fini_record(record *r)
{
    free(r->txns);
    free(r->ops);
    free(r->lists);
}

static void replay(const record *r, iso_history *h)
{
    uint32_t at = 0;
    for (uint32_t t = 0; t < r->txn_count; t++) {
        iso_txn(h, r->txns[t].end);
        for (uint32_t i = 0; i < r->txns[t].ops; i++, at++) {
            const op *o = &r->ops[at];
            if (o->is_read)
                iso_read(h, o->key, r->lists + o->first, o->count);
            else
                iso_append(h, o->key, o->value);
        }
    }
}

/* ---- one transaction ---- */

static vv_slice key_of(uint32_t k, char out[8])
{
    (void)snprintf(out, 8, "key%u", k);
    return vv_slice_str(out);
}

static void must(worker *w, vv_status st)
{
    if (st == VV_OK)
        return;
    (void)fprintf(stderr, "worker %u: %s: %s\n", w->id, vv_status_name(st), w->err.msg);
    abort();
}

static vv_status get_list(worker *w, vv_txn *t, uint32_t k, uint8_t *out, size_t *len)
{
    char text[8];
    vv_value v = {0};
    vv_slice key = key_of(k, text);
    vv_status st = t != NULL ? vv_txn_get(t, w->round->table, key, &v, &w->err)
                             : vv_get(w->round->table, NULL, key, &v, &w->err);
    *len = 0;
    if (st == VV_NOT_FOUND)
        return VV_OK;
    if (st == VV_OK) {
        assert(v.data.len <= 4 * (size_t)LIST_MAX);
        memcpy(out, v.data.data, v.data.len);
        *len = v.data.len;
        vv_value_release(&v);
    }
    return st;
}

static uint32_t any_key(worker *w)
{
    return (uint32_t)vv_rng_below(&w->rng, KEYS);
}

static void do_read(worker *w, vv_txn *t)
{
    static _Thread_local uint8_t list[4 * LIST_MAX];
    size_t len;
    uint32_t k = any_key(w);
    must(w, get_list(w, t, k, list, &len));
    note_read(&w->seen, k, vv_slice_of(list, len));
}

static void do_append(worker *w, vv_txn *t, bool noted)
{
    static _Thread_local uint8_t list[4 * LIST_MAX + 4];
    char text[8];
    size_t len;
    uint32_t k = any_key(w);
    uint32_t value = w->next_value++;
    must(w, get_list(w, t, k, list, &len));
    if (noted)
        note_read(&w->seen, k, vv_slice_of(list, len));
    vv_put_le32(list + len, value);
    must(w,
         vv_txn_put(t, w->round->table, key_of(k, text), vv_slice_of(list, len + 4), 0, &w->err));
    if (noted)
        note_append(&w->seen, k, value);
}

/* All keys, forward or back: absent ones were seen to be empty. */
static void do_scan(worker *w, vv_txn *t)
{
    vv_cursor *c = NULL;
    bool up = vv_rng_one_in(&w->rng, 2);
    bool found[KEYS] = {false};
    must(w, vv_txn_scan(t, w->round->table, NULL, &c, &w->err));
    must(w, up ? vv_cursor_seek(c, vv_slice_of(NULL, 0), &w->err)
               : vv_cursor_seek_below(c, vv_slice_of(NULL, 0), &w->err));
    while (vv_cursor_valid(c)) {
        uint32_t k = (uint32_t)(vv_cursor_key(c).data[3] - '0');
        found[k] = true;
        note_read(&w->seen, k, vv_cursor_value(c));
        must(w, up ? vv_cursor_next(c, &w->err) : vv_cursor_prev(c, &w->err));
    }
    vv_cursor_close(c);
    for (uint32_t k = 0; k < KEYS; k++)
        if (!found[k])
            note_read(&w->seen, k, vv_slice_of(NULL, 0));
}

static void do_undone(worker *w, vv_txn *t)
{
    uint64_t savepoint;
    must(w, vv_txn_savepoint(t, &savepoint, &w->err));
    do_append(w, t, false);
    must(w, vv_txn_rollback_to(t, savepoint, &w->err));
}

static vv_durability any_durability(worker *w)
{
    return vv_rng_one_in(&w->rng, 30)  ? VV_DURABLE_SYNC
           : vv_rng_one_in(&w->rng, 2) ? VV_DURABLE_OS
                                       : VV_DURABLE_NONE;
}

static void run_txn(worker *w)
{
    vv_txn *t = NULL;
    vv_txn_options opt = VV_TXN_OPTIONS_INIT;
    opt.isolation = w->round->isolation;
    opt.durability = any_durability(w);
    must(w, vv_txn_begin(w->round->db, &opt, &t, &w->err));
    note_begin(&w->seen);
    for (uint64_t n = 1 + vv_rng_below(&w->rng, 4); n > 0; n--) {
        uint64_t what = vv_rng_below(&w->rng, 20);
        if (what < 9)
            do_read(w, t);
        else if (what < 16)
            do_append(w, t, true);
        else if (what < 18)
            do_scan(w, t);
        else
            do_undone(w, t);
        if (vv_rng_one_in(&w->rng, 3))
            (void)sched_yield();
    }
    if (vv_rng_one_in(&w->rng, 12)) {
        vv_txn_abort(t);
        return;
    }
    vv_status st = vv_txn_commit(t, NULL, &w->err);
    if (st != VV_CONFLICT)
        must(w, st);
    w->conflicts += st == VV_CONFLICT;
    note_end(&w->seen, st);
}

/* An append without a transaction: a compare-and-swap, or a batch that requires a version. */
static void run_single(worker *w)
{
    static _Thread_local uint8_t list[4 * LIST_MAX + 4];
    char text[8];
    uint32_t k = any_key(w);
    uint32_t value = w->next_value++;
    vv_slice key = key_of(k, text);
    vv_value v = {0};
    vv_status st = vv_get(w->round->table, NULL, key, &v, &w->err);
    if (st != VV_NOT_FOUND)
        must(w, st);
    bool found = st == VV_OK;
    size_t len = found ? v.data.len : 0;
    int64_t version = found ? v.version : 0;
    if (found)
        memcpy(list, v.data.data, len);
    vv_value_release(&v);
    note_begin(&w->seen);
    note_read(&w->seen, k, vv_slice_of(list, len));
    note_append(&w->seen, k, value);
    vv_put_le32(list + len, value);
    vv_slice old = vv_slice_of(list, len);
    vv_slice new = vv_slice_of(list, len + 4);
    if (vv_rng_one_in(&w->rng, 2)) {
        st = vv_compare_and_swap(w->round->table, key, found, old, new, 0, any_durability(w), NULL,
                                 &w->err);
    } else {
        vv_batch *b = vv_batch_create(w->round->db);
        must(w, vv_batch_require(b, w->round->table, key, version, &w->err));
        must(w, vv_batch_put(b, w->round->table, key, new, 0, &w->err));
        st = vv_write(w->round->db, b, any_durability(w), NULL, &w->err);
        vv_batch_destroy(b);
    }
    if (st != VV_CONFLICT)
        must(w, st);
    note_end(&w->seen, st);
}

static void worker_main(void *arg)
{
    worker *w = arg;
    for (unsigned i = 0; i < ROUND_TXNS; i++) {
        if (vv_rng_one_in(&w->rng, 8))
            run_single(w);
        else
            run_txn(w);
        if (w->id == 0 && i % 50 == 25)
            must(w, vv_checkpoint(w->round->db, &w->err));
    }
}

/* ---- rounds ---- */

/* Returns the anomalies; the last transaction reads everything there is. */
static uint32_t run_round(vv_db *db, vv_table *table, vv_isolation isolation, uint64_t seed,
                          uint64_t *conflicts)
{
    static round_state r;
    static char why[4096];
    const vv_threads *threads = vv_threads_real();
    r = (round_state){.db = db, .table = table, .isolation = isolation, .seed = seed};
    for (uint32_t i = 0; i < THREADS; i++) {
        worker *w = &r.workers[i];
        *w = (worker){.round = &r, .id = i, .next_value = 1 + i * 100000};
        vv_rng_init(&w->rng, seed * THREADS + i);
        assert_ok(threads->create("iso", VV_THREAD_NORMAL, worker_main, w, &w->thread, &w->err),
                  w->err);
    }
    iso_history *h = iso_create();
    for (uint32_t i = 0; i < THREADS; i++)
        threads->join(r.workers[i].thread);
    worker last = {.round = &r};
    note_begin(&last.seen);
    note_end(&last.seen, VV_OK);
    static uint8_t list[4 * LIST_MAX];
    for (uint32_t k = 0; k < KEYS; k++) {
        size_t len;
        must(&last, get_list(&last, NULL, k, list, &len));
        note_read(&last.seen, k, vv_slice_of(list, len));
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        replay(&r.workers[i].seen, h);
        fini_record(&r.workers[i].seen);
        *conflicts += r.workers[i].conflicts;
    }
    replay(&last.seen, h);
    fini_record(&last.seen);
    uint32_t found = iso_check(h, why, sizeof why);
    iso_destroy(h);
    uint32_t allowed = isolation == VV_ISOLATION_SNAPSHOT ? ISO_SNAPSHOT_ALLOWS : 0;
    if ((found & ~allowed) != 0)
        fail_msg("VV_SEED=0x%llx %s: %s\n%s", (unsigned long long)seed,
                 isolation == VV_ISOLATION_SNAPSHOT ? "snapshot" : "serializable",
                 iso_names(found & ~allowed), why);
    return found;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static const struct {
    const char *name;
    vv_io_backend io;
} backends[] = {{"posix", VV_IO_POSIX}, {"threads", VV_IO_THREADS}, {"io_uring", VV_IO_URING}};

typedef struct totals {
    uint64_t rounds;
    uint64_t txns;
    uint64_t skews;
    uint64_t conflicts[2];
} totals;

/* Rounds on one backend until so many transactions were judged. */
static void run_rounds(vv_options *opt, uint64_t until, totals *t)
{
    vv_error err = {0};
    vv_db *db = NULL;
    uint64_t seed = vv_test_seed(0x150);
    assert_ok(vv_db_open(dir, opt, &db, &err), err);
    for (; t->txns < until; t->rounds++) {
        char name[32];
        vv_table *table = NULL;
        uint64_t n = t->rounds;
        (void)snprintf(name, sizeof name, "round-%llu", (unsigned long long)n);
        assert_ok(vv_table_create(db, "iso", name, NULL, &table, &err), err);
        vv_isolation isolation = (vv_isolation)(n % 2);
        uint32_t found = run_round(db, table, isolation, seed + n, &t->conflicts[n % 2]);
        t->skews += isolation == VV_ISOLATION_SNAPSHOT && (found & ISO_WRITE_SKEW) != 0;
        t->txns += THREADS * ROUND_TXNS;
        vv_table_close(table);
        assert_ok(vv_table_drop(db, "iso", name, &err), err);
    }
    assert_ok(vv_db_close(db, &err), err);
}

static void say_refusal(void *ctx, int level, const char *line, size_t len)
{
    (void)ctx;
    (void)level;
    if (memmem(line, len, "no io_uring here", 16) != NULL)
        print_message("SKIPPED: the rounds of io_uring ran on threads: the kernel refuses rings\n");
}

/* The store lives on from backend to backend. */
static void prop_isolation_is_as_named(void **state)
{
    (void)state;
    uint64_t want = vv_test_share("VV_TXNS", 100000);
    totals t = {0};
    vv_options opt = VV_OPTIONS_INIT;
    opt.memory_limit = 64u << 20;
    opt.memtable_size = 1u << 20;
    opt.log_segment_size = 1u << 20;
    opt.log = say_refusal;
    if (getenv("VV_ENGINE_BTREE") != NULL)
        opt.engine = VV_ENGINE_BTREE;
    (void)snprintf(dir, sizeof dir, "/tmp/varve-iso-XXXXXX");
    assert_non_null(mkdtemp(dir));
    for (size_t b = 0; b < ARRAY_LEN(backends); b++) {
        uint64_t before = t.txns;
        opt.io_backend = backends[b].io;
        run_rounds(&opt, want * (b + 1) / ARRAY_LEN(backends), &t);
        print_message("%s: %llu transactions\n", backends[b].name,
                      (unsigned long long)(t.txns - before));
    }
    (void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    print_message(
        "%llu transactions; conflicts %llu under snapshot, %llu under serializable; write "
        "skew in %llu rounds under snapshot, in none under serializable\n",
        (unsigned long long)t.txns, (unsigned long long)t.conflicts[0],
        (unsigned long long)t.conflicts[1], (unsigned long long)t.skews);
    assert_true(t.skews > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_isolation_is_as_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
