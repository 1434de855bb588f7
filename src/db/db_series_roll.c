/*
 * db_series_roll.c - the job that makes rollups: in the background, a day of a series at a time.
 *
 *   queue   series whose newest sample closed a day     --> the next days, one a step
 *   pass    over all series: at first, and now and then --> the same, for what was not in memory
 *   marks   days that changed after they were rolled up --> their rows again, when they are at
 *           rest or have waited for long (db_series_dirty.h)
 *
 * A step holds no lock while it reads. It never waits for room in memory: when an entry finds none
 * the day is tried again later. A failure stays here: it is logged and counted, and samples answer
 * what rows do not.
 */
#include "db/db_series_roll.h"
#include "base/error.h"
#include "base/log.h"

#define LOOK_NS (60 * VV_NS_PER_S)
#define PASS_NS (6 * 3600 * VV_NS_PER_S)
#define IDS_A_STEP 64u

void db_rollup_fini(vv_db *db)
{
    if (db->rollup.work != NULL)
        vv_budget_release(&db->budget, VV_BUDGET_WORK, sizeof *db->rollup.work);
    db_roll_work_destroy(db->rollup.work);
    db->rollup.work = NULL;
}

/* ---- what comes next of a series ---- */

vv_status db_roll_read_now(db_roll_job *j, vv_error *err)
{
    vv_snapshot_release(j->at);
    j->at = NULL;
    j->now_ns = vv_clock_wall(j->db->env->clock);
    return vv_snapshot_create(j->db, &j->at, err);
}

static vv_status find_newest(db_roll_job *j, db_series_entry *e, vv_error *err)
{
    db_series_reader r;
    series_columns *c = &j->work->columns;
    vv_status st = db_series_reader_open(&r, j->table, NULL, err);
    if (st != VV_OK)
        return st;
    series_columns_clear(c);
    st = db_series_reader_last(&r, e, INT64_MIN, INT64_MAX, c, err);
    db_series_reader_close(&r);
    if (st != VV_OK && st != VV_NOT_FOUND)
        return st;
    vv_mutex_lock(&j->series->lock);
    if (st == VV_OK && c->time[0] > e->newest)
        e->newest = c->time[0];
    e->newest_known = true;
    vv_mutex_unlock(&j->series->lock);
    return VV_OK;
}

/* Time of a sample from W on, below the bound; or close before it. VV_NOT_FOUND: there is none. */
static vv_status find_next(db_roll_job *j, const db_series_entry *e, int64_t bound, int64_t *rolled,
                           int64_t *out, vv_error *err)
{
    db_series_reader r;
    db_series_piece piece;
    vv_status st = db_series_rolled_get(&j->part, j->at, e->id, rolled, err);
    int64_t from = *rolled > DB_SERIES_ROLL_MIN ? *rolled : DB_SERIES_ROLL_MIN;
    if (st != VV_OK || bound <= from)
        return st != VV_OK ? st : VV_NOT_FOUND;
    st = db_series_reader_open(&r, j->table, j->at, err);
    if (st != VV_OK)
        return st;
    db_series_reader_begin(&r, e, from, bound - 1);
    st = db_series_reader_next(&r, &piece, err);
    if (st == VV_OK)
        *out = piece.head.first_time > from ? piece.head.first_time : from;
    db_series_reader_close(&r);
    return st;
}

/* From now on appends mark what they write below the bound. False: some that were planned before
 * are still in flight. */
static bool claim(db_roll_job *j, db_series_entry *e, int64_t bound)
{
    db_series *s = j->series;
    bool is_ready = false;
    vv_mutex_lock(&j->db->series_lock); /* nobody reads W into a new entry meanwhile */
    vv_mutex_lock(&s->lock);
    bool is_behind = atomic_load_explicit(&e->rolled, memory_order_relaxed) < bound;
    if (is_behind && e->planned[!e->turn] == 0) {
        atomic_store_explicit(&e->rolled, bound, memory_order_relaxed);
        e->turn = !e->turn;
        s->roll.claims++;
        is_behind = false;
    }
    is_ready = !is_behind && e->planned[!e->turn] == 0;
    vv_mutex_unlock(&s->lock);
    vv_mutex_unlock(&j->db->series_lock);
    return is_ready;
}

static void queue_again(db_roll_job *j, db_series_entry *e)
{
    vv_mutex_lock(&j->series->lock);
    db_series_roll_queue(j->series, e);
    vv_mutex_unlock(&j->series->lock);
}

static vv_status advance_entry(db_roll_job *j, db_series_entry *e, vv_error *err)
{
    int64_t rolled;
    int64_t next = 0;
    vv_status st = VV_OK;
    vv_mutex_lock(&j->series->lock);
    bool is_known = e->newest_known;
    vv_mutex_unlock(&j->series->lock);
    if (!is_known)
        st = find_newest(j, e, err);
    vv_mutex_lock(&j->series->lock);
    j->now_ns = vv_clock_wall(j->db->env->clock);
    int64_t bound = db_series_roll_bound(j->table->cat, e->retention_ns, e->newest, j->now_ns);
    bool is_done = bound <= e->roll_done;
    vv_mutex_unlock(&j->series->lock);
    if (st != VV_OK || is_done)
        return st != VV_OK ? st : VV_NOT_FOUND;
    st = db_roll_read_now(j, err);
    if (st == VV_OK)
        st = find_next(j, e, bound, &rolled, &next, err);
    if (st == VV_OK && !claim(j, e, bound)) {
        queue_again(j, e);
        return VV_NOT_FOUND;
    }
    if (st == VV_OK) /* what was in flight until the claim stood is in this one */
        st = db_roll_read_now(j, err);
    if (st == VV_OK)
        st = find_next(j, e, bound, &rolled, &next, err);
    if (st == VV_NOT_FOUND) {
        vv_mutex_lock(&j->series->lock);
        e->roll_done = bound;
        vv_mutex_unlock(&j->series->lock);
        return st;
    }
    if (st != VV_OK)
        return st;
    int64_t begin = db_series_round_down(next, SERIES_DAY);
    int64_t end = bound - begin > SERIES_DAY ? begin + SERIES_DAY : bound;
    st = db_roll_day(j, e, begin, end, end, err);
    if (st == VV_OK)
        queue_again(j, e);
    return st;
}

vv_status db_roll_load(db_roll_job *j, uint64_t id, db_series_entry **out, vv_error *err)
{
    j->part = db_series_part_at(j->table, id);
    vv_mutex_lock(&j->db->series_lock); /* so that it is the one that appends have */
    vv_status st = db_series_load(j->series, j->table, NULL, id, out, err);
    vv_mutex_unlock(&j->db->series_lock);
    return st;
}

/* The next day of a series. VV_NOT_FOUND: there is none now. */
static vv_status advance(db_roll_job *j, uint64_t id, vv_error *err)
{
    db_series_entry *e = NULL;
    vv_status st = db_roll_load(j, id, &e, err);
    if (st != VV_OK)
        return st;
    st = advance_entry(j, e, err);
    if (st == VV_CONFLICT) { /* it was marked anew: once more */
        queue_again(j, e);
        st = VV_NOT_FOUND;
    }
    db_series_unref(j->series, e);
    return st;
}

/* ---- where work comes from ---- */

static bool pop(db_roll_job *j, uint64_t *id)
{
    db_series *s = j->series;
    db_series_roll *r = &s->roll;
    vv_mutex_lock(&s->lock);
    bool found = r->count > 0;
    if (found) {
        *id = r->queue[r->head];
        r->head = (r->head + 1) % DB_SERIES_QUEUE;
        r->count--;
        db_series_entry *e = db_series_find_id(s, *id);
        if (e != NULL)
            e->is_queued = false;
    }
    vv_mutex_unlock(&s->lock);
    return found;
}

static vv_status step_queue(db_roll_job *j, vv_error *err)
{
    uint64_t id = 0;
    vv_status st = VV_NOT_FOUND;
    vv_mutex_lock(&j->series->lock);
    uint32_t left = j->series->roll.count; /* what is queued again waits for the next step */
    vv_mutex_unlock(&j->series->lock);
    if (left > IDS_A_STEP)
        atomic_store_explicit(&j->db->rollup.wanted, true, memory_order_release);
    left = left < IDS_A_STEP ? left : IDS_A_STEP;
    for (; st == VV_NOT_FOUND && left > 0 && pop(j, &id); left--)
        st = advance(j, id, err);
    return st;
}

vv_status db_roll_open_at(db_roll_job *j, const uint8_t *prefix, size_t prefix_len,
                          const uint8_t *from, size_t len, vv_cursor **out, vv_error *err)
{
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.prefix = vv_slice_of(prefix, prefix_len);
    vv_status st = vv_cursor_open(j->table, &opt, out, err);
    return st == VV_OK ? vv_cursor_seek(*out, vv_slice_of(from, len), err) : st;
}

/* The ids from pass_next on. */
static vv_status list_ids(db_roll_job *j, uint64_t id[IDS_A_STEP], unsigned *count, vv_error *err)
{
    static const uint8_t kind = DB_SERIES_RECORD;
    uint8_t from[9];
    vv_cursor *c = NULL;
    *count = 0;
    size_t len = db_series_id_key(DB_SERIES_RECORD, j->series->roll.pass_next, from);
    vv_status st = db_roll_open_at(j, &kind, 1, from, len, &c, err);
    while (st == VV_OK && vv_cursor_valid(c) && *count < IDS_A_STEP) {
        vv_slice key = vv_cursor_key(c);
        if (key.len == 9)
            id[(*count)++] = vv_get_be64(key.data + 1);
        st = vv_cursor_next(c, err);
    }
    vv_cursor_close(c);
    return st;
}

/* Look at some series of the pass that is under way, or that is due. */
static vv_status step_pass(db_roll_job *j, vv_error *err)
{
    db_series_roll *r = &j->series->roll;
    uint64_t id[IDS_A_STEP];
    unsigned count = 0;
    vv_mutex_lock(&j->series->lock);
    if (r->wants_pass && !r->in_pass) {
        r->wants_pass = false;
        r->in_pass = true;
        r->pass_next = 0;
    }
    bool is_under_way = r->in_pass;
    vv_mutex_unlock(&j->series->lock);
    if (!is_under_way)
        return VV_NOT_FOUND;
    vv_status st = list_ids(j, id, &count, err);
    if (st == VV_OK && count == 0) {
        vv_mutex_lock(&j->series->lock);
        r->in_pass = false;
        vv_mutex_unlock(&j->series->lock);
        return VV_NOT_FOUND;
    }
    for (unsigned i = 0; st == VV_OK && i < count; i++) {
        r->pass_next = id[i] + 1; /* first: what fails does not stop the pass */
        vv_status one = advance(j, id[i], err);
        if (one != VV_NOT_FOUND)
            return one;
    }
    return st;
}

static vv_status step(db_roll_job *j, vv_error *err)
{
    static vv_status (*const kinds[])(db_roll_job *, vv_error *) = {step_queue, db_roll_repair,
                                                                    step_pass};
    vv_status st = VV_NOT_FOUND;
    uint32_t turn = j->series->roll.turn++;
    for (uint32_t i = 0; st == VV_NOT_FOUND && i < ARRAY_LEN(kinds); i++)
        st = kinds[(turn + i) % ARRAY_LEN(kinds)](j, err);
    return st;
}

/* ---- tables ---- */

/* A pass is due at first, and then now and then. */
static void time_pass(db_roll_job *j)
{
    db_series_roll *r = &j->series->roll;
    int64_t now = vv_clock_mono(j->db->env->clock);
    int64_t every = PASS_NS;
    if (r->pass_at_ns != 0 && now < r->pass_at_ns)
        return;
    int64_t keep_ns = cat_keep_shortest(j->table->cat);
    if (keep_ns > 0 && keep_ns / 8 < every)
        every = keep_ns / 8;
    r->wants_pass = true;
    r->wants_walk |= r->pass_at_ns == 0;
    r->pass_at_ns = now + (every > LOOK_NS ? every : LOOK_NS);
}

static bool begin_step(db_roll_job *j)
{
    db_series *s = j->series;
    vv_mutex_lock(&s->lock);
    bool may = s->roll.erasing == 0;
    s->roll.is_running = may;
    if (may)
        time_pass(j);
    vv_mutex_unlock(&s->lock);
    return may;
}

static void end_step(db_roll_job *j)
{
    db_series *s = j->series;
    vv_mutex_lock(&s->lock);
    s->roll.is_running = false;
    vv_cond_broadcast(&s->idle);
    vv_mutex_unlock(&s->lock);
    vv_snapshot_release(j->at);
}

static void note_failure(db_roll_job *j, vv_status st, const vv_error *why)
{
    if (st == VV_BUSY) /* it is no failure, and soon over */
        atomic_store_explicit(&j->db->rollup.wanted, true, memory_order_release);
    else
        atomic_fetch_add_explicit(&j->db->counters.rollup_failures, 1, memory_order_relaxed);
    vv_mutex_lock(&j->series->lock);
    j->series->roll.wants_pass = true;
    j->series->roll.wants_walk = true;
    vv_mutex_unlock(&j->series->lock);
    if (st != VV_BUSY)
        vv_log_to(j->db->env->log, VV_LOG_WARN, "db", "rollup failed: it is tried again later",
                  VV_KV_S("table", j->table->cat->name), VV_KV_S("status", vv_status_name(st)),
                  VV_KV_S("error", why->msg));
}

static vv_status step_table(vv_db *db, cat_table *cat)
{
    vv_error why = {0};
    vv_table table = db_table_of(db, cat);
    db_roll_job j = {
        .db = db, .series = db_series_attached(cat), .table = &table, .work = db->rollup.work};
    if (j.series == NULL || !cat_has_rollups(cat) ||
        atomic_load_explicit(&cat->is_dropping, memory_order_acquire))
        return VV_NOT_FOUND;
    if (!begin_step(&j)) { /* erase_end says when to look again */
        return VV_NOT_FOUND;
    }
    vv_status st = step(&j, &why);
    end_step(&j);
    if (st != VV_OK && st != VV_NOT_FOUND)
        note_failure(&j, st, &why);
    return st == VV_OK ? VV_OK : VV_NOT_FOUND;
}

void db_rollup_waiting(vv_db *db, uint64_t *days, uint64_t *lag_ns)
{
    cat_table **tables = NULL;
    size_t count = 0;
    int64_t now = vv_clock_mono(db->env->clock);
    int64_t since = now;
    *days = 0;
    if (cat_list(db->cat, NULL, &tables, &count, NULL) == VV_OK) {
        for (size_t i = 0; i < count; i++) {
            db_series *s =
                tables[i]->kind == VV_TABLE_SERIES ? db_series_attached(tables[i]) : NULL;
            if (s == NULL)
                continue;
            vv_mutex_lock(&s->lock);
            *days += s->roll.dirty.count;
            since = db_series_dirty_since(&s->roll.dirty, since);
            vv_mutex_unlock(&s->lock);
        }
    }
    if (tables != NULL)
        cat_list_free(tables, count);
    *lag_ns = (uint64_t)(now - since);
}

static vv_status step_any(vv_db *db)
{
    cat_table **tables = NULL;
    size_t count = 0;
    vv_status st = VV_NOT_FOUND;
    if (cat_list(db->cat, NULL, &tables, &count, NULL) != VV_OK)
        return VV_NOT_FOUND;
    uint32_t first = db->rollup.next_table++;
    for (size_t i = 0; st == VV_NOT_FOUND && i < count; i++) {
        cat_table *cat = tables[(first + i) % count];
        if (cat->kind == VV_TABLE_SERIES)
            st = step_table(db, cat);
    }
    if (tables != NULL)
        cat_list_free(tables, count);
    return st;
}

static bool is_due(vv_db *db)
{
    db_rollup *r = &db->rollup;
    int64_t now = vv_clock_mono(db->env->clock);
    bool wanted = atomic_exchange_explicit(&r->wanted, false, memory_order_acquire);
    if (!wanted && (r->work == NULL || now < r->look_at_ns)) /* NULL: no table was used yet */
        return false;
    r->look_at_ns = now + LOOK_NS;
    if (r->work == NULL) {
        r->work = db_roll_work_create();
        if (r->work != NULL)
            vv_budget_take(&db->budget, VV_BUDGET_WORK, sizeof *r->work);
    }
    return r->work != NULL;
}

vv_status db_rollup_step(vv_db *db)
{
    db_rollup *r = &db->rollup;
    vv_status st = VV_NOT_FOUND;
    if (atomic_exchange_explicit(&r->busy, true, memory_order_acquire))
        return st;
    if (db_check_writable(db, NULL) == VV_OK && is_due(db))
        st = step_any(db);
    if (st == VV_OK)
        atomic_store_explicit(&r->wanted, true, memory_order_release);
    atomic_store_explicit(&r->busy, false, memory_order_release);
    return st;
}
