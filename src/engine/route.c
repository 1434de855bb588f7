/*
 * route.c - the engine table over several engines.
 *
 *   entry --> by table --> part of A --> A         checkpoint(A) --.
 *                     `--> part of B --> B         checkpoint(B) ---+--> the oldest --> log
 *
 * Readers ask the home what is visible, and it is told last: what they may see is visible in every
 * engine by then. An entry that touches one engine goes there as it is; else each gets a payload of
 * its own operations, whose memory prepare took.
 */
#include "engine/route_int.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"

#define PART_KEPT_MAX VV_MIB /* a longer part gives its memory back */
#define ENTRY_HEAD 16u       /* format and count of a payload, at most */

static uint32_t next_slot(uint32_t *slots)
{
    uint32_t slot = (uint32_t)__builtin_ctz(*slots);
    *slots &= *slots - 1;
    return slot;
}

static inline engine *engine_of_key(route *r, vv_slice key)
{
    if (!route_is_split(r))
        return r->home;
    return atomic_load_explicit(&r->by_slot[route_slot(r, key)], memory_order_acquire);
}

/* From the slot of lower to that of upper, which is out of it when upper is where it begins. */
static uint32_t slots_between(const route *r, vv_slice lower, vv_slice upper)
{
    uint64_t from = engine_key_head(lower, 0) >> 32;
    uint64_t to = engine_key_head(upper, 0) >> 32;
    if (upper.len <= ENGINE_TABLE_PREFIX && to > from)
        to--;
    from >>= r->kinds.shift;
    to >>= r->kinds.shift;
    uint32_t slots = 0;
    for (uint64_t s = from; s <= to && s < ENGINE_ROUTE_SLOTS; s++)
        slots |= r->kinds.kind[s] == NULL ? ENGINE_ROUTE_HOME : UINT32_C(1) << s;
    return to >= ENGINE_ROUTE_SLOTS ? slots | ENGINE_ROUTE_HOME : slots;
}

uint32_t route_slots_between(const route *r, vv_slice lower, vv_slice upper)
{
    return slots_between(r, lower, upper) & route_live(r);
}

static uint32_t slots_of_op(const route *r, const engine_op *op)
{
    return op->kind == ENGINE_RANGE_DELETE ? slots_between(r, op->key, op->value)
                                           : UINT32_C(1) << route_slot(r, op->key);
}

bool engine_route_is_split(engine *e)
{
    return route_is_split(route_of(e));
}

uint32_t engine_route_slots(engine *e, vv_slice payload)
{
    const route *r = route_of(e);
    engine_entry_iter it;
    engine_op op;
    uint32_t slots = 0;
    vv_status st = engine_entry_open(payload, &it, NULL);
    while (st == VV_OK && (st = engine_entry_next(&it, &op, NULL)) == VV_OK)
        slots |= slots_of_op(r, &op);
    return slots;
}

engine *engine_route_member(engine *e, uint32_t slot)
{
    route *r = route_of(e);
    return slot < ENGINE_ROUTE_SLOTS && (route_live(r) >> slot & 1) != 0 ? r->member[slot].eng
                                                                         : NULL;
}

engine *engine_route_of(engine *e, uint32_t table_id)
{
    uint8_t key[ENGINE_TABLE_PREFIX];
    vv_put_be32(key, table_id);
    return engine_of_key(route_of(e), vv_slice_of(key, sizeof key));
}

/* ---- hooks of the members ---- */

static vv_status hook_ensure_durable(void *ctx, int64_t version, vv_error *err)
{
    const engine_hooks *up = &((route_member *)ctx)->r->opt.hooks;
    return up->ensure_durable == NULL ? VV_OK : up->ensure_durable(up->ctx, version, err);
}

int64_t route_checkpoint_locked(const route *r)
{
    int64_t oldest = r->coming;
    for (uint32_t slots = route_live(r); slots != 0;) {
        int64_t version = route_member_checkpoint(&r->member[next_slot(&slots)]);
        oldest = version < oldest ? version : oldest;
    }
    return oldest;
}

/* The log hears of the oldest. Who is behind without having anything to flush is taken along with
 * the next entry. */
static void hook_on_checkpoint(void *ctx, int64_t version)
{
    route_member *m = ctx;
    route *r = m->r;
    const engine_hooks *up = &r->opt.hooks;
    vv_mutex_lock(&r->lock);
    int64_t oldest = route_checkpoint_locked(r);
    if (oldest < version)
        atomic_store_explicit(&r->lagging, true, memory_order_relaxed);
    if (oldest > r->reported) {
        r->reported = oldest;
        if (up->on_checkpoint != NULL)
            up->on_checkpoint(up->ctx, oldest);
    }
    vv_mutex_unlock(&r->lock);
}

static void hook_on_work(void *ctx)
{
    const engine_hooks *up = &((route_member *)ctx)->r->opt.hooks;
    up->on_work(up->ctx);
}

static engine_floor hook_floor(void *ctx, uint32_t table_id)
{
    const engine_hooks *up = &((route_member *)ctx)->r->opt.hooks;
    return up->floor(up->ctx, table_id);
}

static engine_form hook_form(void *ctx, uint32_t table_id)
{
    const engine_hooks *up = &((route_member *)ctx)->r->opt.hooks;
    return up->form(up->ctx, table_id);
}

engine_hooks route_hooks(route_member *m)
{
    const engine_hooks *up = &m->r->opt.hooks;
    return (engine_hooks){.ctx = m,
                          .ensure_durable = hook_ensure_durable,
                          .on_checkpoint = hook_on_checkpoint,
                          .on_work = up->on_work == NULL ? NULL : hook_on_work,
                          .floor = up->floor == NULL ? NULL : hook_floor,
                          .form = up->form == NULL ? NULL : hook_form};
}

/* ---- writing ---- */

static void cancel_slots(route *r, uint32_t slots)
{
    while (slots != 0) {
        engine *eng = r->member[next_slot(&slots)].eng;
        if (eng->ops->cancel != NULL)
            eng->ops->cancel(eng);
    }
}

static vv_status apply_to(route *r, uint32_t slot, int64_t version, int64_t commit_time_ns,
                          vv_slice payload, vv_error *err)
{
    route_member *m = &r->member[slot];
    if (version > m->touched)
        m->touched = version;
    return m->eng->ops->apply(m->eng, version, commit_time_ns, payload, err);
}

/* An entry of nothing brings a member to version, and a flush of it the member's checkpoint. */
static vv_status freeze_member(route *r, uint32_t slot, vv_error *err)
{
    route_member *m = &r->member[slot];
    uint8_t bytes[ENTRY_HEAD];
    vv_buf empty = {.data = bytes, .cap = sizeof bytes, .max = sizeof bytes};
    int64_t version = atomic_load_explicit(&r->applied, memory_order_relaxed);
    vv_status st = VV_OK;
    engine_entry_finish(&empty, engine_entry_begin(&empty), 0);
    if (m->touched < version) {
        st = m->eng->ops->prepare(m->eng, empty.len, 0, err);
        if (st == VV_OK)
            st = apply_to(r, slot, version, 0, vv_buf_slice(&empty), err);
    }
    return st == VV_OK ? m->eng->ops->freeze(m->eng, err) : st;
}

/* Every write to the member is in its files, and another's checkpoint is above its own. Not while
 * an entry has its room in a memtable and is not applied. */
static void take_along(route *r)
{
    int64_t newest = 0;
    for (uint32_t slots = route_live(r); slots != 0;) {
        int64_t version = route_member_checkpoint(&r->member[next_slot(&slots)]);
        newest = version > newest ? version : newest;
    }
    for (uint32_t slots = route_live(r); slots != 0;) {
        uint32_t slot = next_slot(&slots);
        const route_member *m = &r->member[slot];
        int64_t version = m->eng->ops->checkpoint(m->eng);
        if (m->touched <= version && version < newest)
            (void)!freeze_member(r, slot, NULL); /* no memory now: the next checkpoint asks again */
    }
}

static vv_status prepare_slots(route *r, uint32_t slots, size_t payload_len, uint32_t op_count,
                               vv_error *err)
{
    uint32_t missing = slots & ~route_live(r);
    if (missing != 0)
        return vv_fail(err, VV_CORRUPT,
                       "directory '%s': the engine '%s' of a table is missing: restore from a "
                       "backup",
                       r->dir, r->kinds.kind[next_slot(&missing)]->name);
    if (r->pending_done) /* what was held ready and not asked for */
        cancel_slots(r, r->prepared);
    r->prepared = r->pending_done ? 0 : r->prepared;
    r->pending_done = false;
    if (r->prepared == 0 && atomic_exchange_explicit(&r->lagging, false, memory_order_relaxed))
        take_along(r);
    vv_buf_reset(&r->part);
    if ((slots & (slots - 1)) != 0 && vv_buf_reserve(&r->part, payload_len + ENTRY_HEAD) == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory to divide %zu bytes", payload_len);
    uint32_t done = 0;
    vv_status st = VV_OK;
    for (uint32_t left = slots; st == VV_OK && left != 0;) {
        uint32_t slot = next_slot(&left);
        engine *eng = r->member[slot].eng;
        st = eng->ops->prepare(eng, payload_len, op_count, err);
        done |= st == VV_OK ? UINT32_C(1) << slot : 0;
    }
    if (st != VV_OK)
        cancel_slots(r, done & ~r->prepared);
    else
        r->prepared |= slots;
    return st;
}

vv_status engine_route_prepare(engine *e, uint32_t slots, size_t payload_len, uint32_t op_count,
                               vv_error *err)
{
    route *r = route_of(e);
    if (!route_is_split(r) && (slots & ~ENGINE_ROUTE_HOME) == 0)
        return r->home->ops->prepare(r->home, payload_len, op_count, err);
    return prepare_slots(r, slots, payload_len, op_count, err);
}

static vv_status route_prepare(engine *e, size_t payload_len, uint32_t op_count, vv_error *err)
{
    route *r = route_of(e);
    if (!route_is_split(r))
        return r->home->ops->prepare(r->home, payload_len, op_count, err);
    return prepare_slots(r, route_live(r), payload_len, op_count, err);
}

static void route_cancel(engine *e)
{
    route *r = route_of(e);
    cancel_slots(r, r->prepared | ENGINE_ROUTE_HOME);
    r->prepared = 0;
    r->pending_done = false;
}

/* The operations of an entry that are a slot's. */
static vv_status take_part(route *r, uint32_t slot, vv_slice payload, vv_error *err)
{
    engine_entry_iter it;
    engine_op op;
    uint32_t count = 0;
    vv_buf_reset(&r->part);
    size_t at = engine_entry_begin(&r->part);
    vv_status st = engine_entry_open(payload, &it, err);
    while (st == VV_OK) {
        const uint8_t *from = it.next;
        st = engine_entry_next(&it, &op, err);
        if (st != VV_OK || (slots_of_op(r, &op) >> slot & 1) == 0)
            continue;
        vv_buf_append(&r->part, from, (size_t)(it.next - from));
        count++;
    }
    engine_entry_finish(&r->part, at, count);
    if (st == VV_NOT_FOUND)
        st = r->part.status == VV_OK ? VV_OK : vv_fail(err, VV_NO_MEMORY, "no memory for an entry");
    return st;
}

static vv_status apply_split(route *r, int64_t version, int64_t commit_time_ns, vv_slice payload,
                             vv_error *err)
{
    uint32_t slots = engine_route_slots(&r->base, payload);
    vv_status st = VV_OK;
    r->pending_done = true;
    if ((slots & ~route_live(r)) != 0)
        return vv_fail(err, VV_CORRUPT, "version %lld is for an engine that is not there",
                       (long long)version);
    r->prepared &= ~slots;
    if ((slots & (slots - 1)) == 0) {
        uint32_t slot = slots == 0 ? 0 : next_slot(&slots);
        st = apply_to(r, slot, version, commit_time_ns, payload, err);
    }
    while (st == VV_OK && slots != 0) {
        uint32_t slot = next_slot(&slots);
        st = take_part(r, slot, payload, err);
        if (st == VV_OK)
            st = apply_to(r, slot, version, commit_time_ns, vv_buf_slice(&r->part), err);
    }
    if (r->part.cap > PART_KEPT_MAX)
        vv_buf_fini(&r->part);
    return st;
}

static vv_status route_apply(engine *e, int64_t version, int64_t commit_time_ns, vv_slice payload,
                             vv_error *err)
{
    route *r = route_of(e);
    atomic_store_explicit(&r->applied, version, memory_order_seq_cst);
    if (route_is_split(r))
        return apply_split(r, version, commit_time_ns, payload, err);
    r->member[0].touched = version;
    return r->home->ops->apply(r->home, version, commit_time_ns, payload, err);
}

static void route_publish(engine *e, int64_t version)
{
    route *r = route_of(e);
    for (uint32_t slots = route_live(r) & ~ENGINE_ROUTE_HOME; VV_UNLIKELY(slots != 0);) {
        engine *eng = r->member[next_slot(&slots)].eng;
        eng->ops->publish(eng, version);
    }
    r->home->ops->publish(r->home, version);
}

static int64_t route_visible(engine *e)
{
    engine *home = route_of(e)->home;
    return home->ops->visible(home);
}

static int64_t route_checkpoint(engine *e)
{
    route *r = route_of(e);
    if (!route_is_split(r))
        return r->home->ops->checkpoint(r->home);
    vv_mutex_lock(&r->lock);
    int64_t version = route_checkpoint_locked(r);
    vv_mutex_unlock(&r->lock);
    return version;
}

static int64_t route_last_version(engine *e, vv_slice key, int64_t *floor)
{
    engine *eng = engine_of_key(route_of(e), key);
    return eng->ops->last_version(eng, key, floor);
}

static vv_status route_touched(engine *e, vv_slice lower, vv_slice upper, int64_t since,
                               engine_touch *out, vv_error *err)
{
    route *r = route_of(e);
    uint32_t slots = route_is_split(r) ? route_slots_between(r, lower, upper) : ENGINE_ROUTE_HOME;
    vv_status st = VV_NOT_FOUND;
    bool forgot = false;
    while (st == VV_NOT_FOUND && slots != 0) {
        engine *eng = r->member[next_slot(&slots)].eng;
        st = eng->ops->touched(eng, lower, upper, since, out, err);
        if (st != VV_UNSUPPORTED)
            continue;
        forgot = true;
        st = VV_NOT_FOUND;
    }
    return st == VV_NOT_FOUND && forgot ? VV_UNSUPPORTED : st;
}

/* ---- reading ---- */

static vv_status route_get(engine *e, vv_slice key, const engine_read *read, engine_value *out,
                           vv_error *err)
{
    engine *eng = engine_of_key(route_of(e), key);
    return eng->ops->get(eng, key, read, out, err);
}

static vv_status route_multi_get(engine *e, const vv_slice *keys, size_t count,
                                 const engine_read *read, engine_value *out, vv_status *status,
                                 vv_error *err)
{
    route *r = route_of(e);
    if (!route_is_split(r))
        return engine_multi_get(r->home, keys, count, read, out, status, err);
    vv_status first = VV_OK;
    for (size_t from = 0, to = 0; from < count; from = to) { /* neighbours of one engine */
        engine *eng = engine_of_key(r, keys[from]);
        to = from + 1;
        while (to < count && engine_of_key(r, keys[to]) == eng)
            to++;
        vv_status st = engine_multi_get(eng, keys + from, to - from, read, out + from,
                                        status + from, first == VV_OK ? err : NULL);
        first = first == VV_OK ? st : first;
    }
    return first;
}

static vv_status route_cursor(engine *e, const engine_cursor_options *opt, engine_cursor **out,
                              vv_error *err)
{
    route *r = route_of(e);
    uint32_t slots =
        route_is_split(r) ? route_slots_between(r, opt->lower, opt->upper) : ENGINE_ROUTE_HOME;
    if ((slots & (slots - 1)) != 0)
        return route_cursor_over(r, slots, opt, out, err);
    engine *eng = slots == 0 ? r->home : r->member[next_slot(&slots)].eng;
    return eng->ops->cursor(eng, opt, out, err);
}

/* The engines that a pin of version matters to: one that joined later has nothing below. */
static uint32_t slots_with(const route *r, int64_t version)
{
    uint32_t with = ENGINE_ROUTE_HOME;
    for (uint32_t slots = route_live(r) & ~ENGINE_ROUTE_HOME; VV_UNLIKELY(slots != 0);) {
        uint32_t slot = next_slot(&slots);
        if (version > atomic_load(&r->member[slot].joined))
            with |= UINT32_C(1) << slot;
    }
    return with;
}

static vv_status route_pin(engine *e, int64_t version, int64_t time_ns, vv_error *err)
{
    route *r = route_of(e);
    vv_status st = VV_OK;
    uint32_t done = 0;
    for (uint32_t slots = slots_with(r, version); st == VV_OK && slots != 0;) {
        uint32_t slot = next_slot(&slots);
        engine *eng = r->member[slot].eng;
        st = eng->ops->pin(eng, version, time_ns, err);
        done |= st == VV_OK ? UINT32_C(1) << slot : 0;
    }
    while (st != VV_OK && done != 0) {
        engine *eng = r->member[next_slot(&done)].eng;
        eng->ops->unpin(eng, version, time_ns);
    }
    return st;
}

static void route_unpin(engine *e, int64_t version, int64_t time_ns)
{
    route *r = route_of(e);
    for (uint32_t slots = slots_with(r, version); slots != 0;) {
        engine *eng = r->member[next_slot(&slots)].eng;
        eng->ops->unpin(eng, version, time_ns);
    }
}

/* ---- background ---- */

static vv_status route_freeze(engine *e, vv_error *err)
{
    route *r = route_of(e);
    if (!route_is_split(r))
        return r->home->ops->freeze(r->home, err);
    vv_status first = VV_OK;
    for (uint32_t slots = route_live(r); slots != 0;) {
        vv_status st = freeze_member(r, next_slot(&slots), first == VV_OK ? err : NULL);
        first = first == VV_OK ? st : first;
    }
    return first;
}

/* An engine that does not divide its work does all of it as the rest. */
static vv_status member_work(engine *e, engine_work kind, vv_error *err)
{
    if (e->ops->work_on != NULL)
        return e->ops->work_on(e, kind, err);
    return kind == ENGINE_WORK_FLUSH ? VV_NOT_FOUND : e->ops->work(e, err);
}

/* A piece of one engine's work; each comes first in its turn. */
static vv_status route_work_on(engine *e, engine_work kind, vv_error *err)
{
    route *r = route_of(e);
    uint32_t live = route_live(r);
    if (live == ENGINE_ROUTE_HOME)
        return member_work(r->home, kind, err);
    uint32_t turn = atomic_fetch_add_explicit(&r->turn, 1, memory_order_relaxed);
    for (uint32_t i = 0; i < ENGINE_ROUTE_SLOTS; i++) {
        uint32_t slot = (turn + i) % ENGINE_ROUTE_SLOTS;
        if ((live >> slot & 1) == 0)
            continue;
        engine *eng = r->member[slot].eng;
        vv_status st = member_work(eng, kind, err);
        if (st != VV_NOT_FOUND)
            return st;
    }
    return VV_NOT_FOUND;
}

static vv_status route_work(engine *e, vv_error *err)
{
    return route_work_on(e, ENGINE_WORK_ANY, err);
}

static vv_status route_compact_range(engine *e, vv_slice lower, vv_slice upper, vv_error *err)
{
    route *r = route_of(e);
    vv_status st = VV_OK;
    for (uint32_t slots = route_slots_between(r, lower, upper); st == VV_OK && slots != 0;) {
        engine *eng = r->member[next_slot(&slots)].eng;
        st = eng->ops->compact_range(eng, lower, upper, err);
    }
    return st;
}

static void route_settle(engine *e)
{
    route *r = route_of(e);
    for (uint32_t slots = route_live(r); slots != 0;) {
        engine *eng = r->member[next_slot(&slots)].eng;
        if (eng->ops->settle != NULL)
            eng->ops->settle(eng);
    }
}

/* Every engine has its turn until one has something to do; the first failure otherwise. */
static vv_status route_tier_work(engine *e, vv_error *err)
{
    route *r = route_of(e);
    vv_status first = VV_NOT_FOUND;
    for (uint32_t slots = route_live(r); slots != 0;) {
        engine *eng = r->member[next_slot(&slots)].eng;
        vv_error why = {0};
        vv_status st = eng->ops->tier_work == NULL ? VV_NOT_FOUND : eng->ops->tier_work(eng, &why);
        if (st == VV_OK)
            return VV_OK;
        if (first == VV_NOT_FOUND && st != VV_NOT_FOUND) {
            first = st;
            if (err != NULL)
                *err = why;
        }
    }
    return first;
}

static int64_t route_throttle_ns(engine *e, size_t bytes)
{
    route *r = route_of(e);
    int64_t longest = 0;
    for (uint32_t slots = route_live(r); slots != 0;) {
        engine *eng = r->member[next_slot(&slots)].eng;
        int64_t ns = eng->ops->throttle_ns(eng, bytes);
        longest = ns > longest ? ns : longest;
    }
    return longest;
}

/* ---- figures ---- */

/* memtable_count and checkpoint say what the shard's log waits for; the rest adds up. */
static void add_stats(engine_stats *sum, const engine_stats *s)
{
    sum->memtable_bytes += s->memtable_bytes;
    sum->memtable_count = vv_max_u64(sum->memtable_count, s->memtable_count);
    sum->memtable_items += s->memtable_items;
    sum->level_count = vv_max_u64(sum->level_count, s->level_count);
    for (size_t i = 0; i < ARRAY_LEN(sum->level_runs); i++) {
        sum->level_runs[i] += s->level_runs[i];
        sum->level_bytes[i] += s->level_bytes[i];
        sum->level_reads[i] += s->level_reads[i];
        sum->level_compaction_read[i] += s->level_compaction_read[i];
        sum->level_compaction_write[i] += s->level_compaction_write[i];
    }
    sum->disk_bytes += s->disk_bytes;
    sum->remote_files += s->remote_files;
    sum->remote_bytes += s->remote_bytes;
    sum->remote_reads += s->remote_reads;
    sum->index_bytes += s->index_bytes;
    sum->flushes += s->flushes;
    sum->flush_bytes += s->flush_bytes;
    sum->compactions += s->compactions;
    sum->compaction_read_bytes += s->compaction_read_bytes;
    sum->compaction_write_bytes += s->compaction_write_bytes;
    sum->cache_hits += s->cache_hits;
    sum->cache_misses += s->cache_misses;
    sum->cache_bytes += s->cache_bytes;
    sum->filter_skips += s->filter_skips;
    sum->filter_fails += s->filter_fails;
    sum->bulk_loads += s->bulk_loads;
    sum->bulk_bytes += s->bulk_bytes;
    sum->range_pending |= s->range_pending;
    sum->range_deletes += s->range_deletes;
    sum->value_files += s->value_files;
    sum->value_bytes += s->value_bytes;
    sum->value_garbage += s->value_garbage;
    sum->compaction_debt += s->compaction_debt;
    sum->write_delay_ps = vv_max_u64(sum->write_delay_ps, s->write_delay_ps);
    sum->failed |= s->failed;
}

static void route_stats(engine *e, engine_stats *out)
{
    route *r = route_of(e);
    r->home->ops->stats(r->home, out);
    for (uint32_t slots = route_live(r) & ~ENGINE_ROUTE_HOME; slots != 0;) {
        engine *eng = r->member[next_slot(&slots)].eng;
        engine_stats s;
        eng->ops->stats(eng, &s);
        add_stats(out, &s);
    }
    out->checkpoint = route_checkpoint(e);
}

static vv_status route_check(engine *e, void (*finding)(void *ctx, const char *text), void *ctx,
                             vv_error *err)
{
    route *r = route_of(e);
    vv_status first = VV_OK;
    for (uint32_t slots = route_live(r); slots != 0;) {
        engine *eng = r->member[next_slot(&slots)].eng;
        vv_status st = eng->ops->check(eng, finding, ctx, first == VV_OK ? err : NULL);
        first = first == VV_OK ? st : first;
    }
    return first;
}

static uint64_t route_approximate_size(engine *e, vv_slice lower, vv_slice upper)
{
    route *r = route_of(e);
    uint64_t bytes = 0;
    for (uint32_t slots = route_slots_between(r, lower, upper); slots != 0;) {
        engine *eng = r->member[next_slot(&slots)].eng;
        bytes += eng->ops->approximate_size(eng, lower, upper);
    }
    return bytes;
}

const engine_ops engine_route_ops = {
    .name = "route",
    .open = NULL,
    .close = route_close,
    .prepare = route_prepare,
    .cancel = route_cancel,
    .apply = route_apply,
    .publish = route_publish,
    .visible = route_visible,
    .checkpoint = route_checkpoint,
    .last_version = route_last_version,
    .touched = route_touched,
    .get = route_get,
    .multi_get = route_multi_get,
    .cursor = route_cursor,
    .pin = route_pin,
    .unpin = route_unpin,
    .freeze = route_freeze,
    .work = route_work,
    .work_on = route_work_on,
    .compact_range = route_compact_range,
    .settle = route_settle,
    .tier_work = route_tier_work,
    .throttle_ns = route_throttle_ns,
    .stats = route_stats,
    .check = route_check,
    .hold_files = route_hold_files,
    .release_files = route_release_files,
    .list_files = route_list_files,
    .approximate_size = route_approximate_size,
};
