/*
 * readers.c - who still reads what: pinned snapshots, and the floor below which nobody reads.
 *
 * A job asks for a table's floor first and copies the pins afterwards, so that a pin it does not
 * see is at or above the floor. It does so anew for each table it comes to.
 */
#include "engine/readers.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"
#include "base/util.h"

void engine_pins_init(engine_pins *p)
{
    *p = (engine_pins){0};
    vv_mutex_init(&p->lock, VV_RANK_LEAF);
}

void engine_pins_fini(engine_pins *p)
{
    vv_free(p->pins);
    vv_mutex_fini(&p->lock);
}

/* First pin at or after (version, time). */
static uint32_t find_pin(const engine_pins *p, int64_t version, int64_t time_ns)
    VV_REQUIRES(p->lock)
{
    uint32_t lo = 0;
    uint32_t hi = p->count;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        const engine_pin *pin = &p->pins[mid];
        if (pin->version < version || (pin->version == version && pin->time_ns < time_ns))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool is_pin(const engine_pins *p, uint32_t i, int64_t version, int64_t time_ns)
    VV_REQUIRES(p->lock)
{
    return i < p->count && p->pins[i].version == version && p->pins[i].time_ns == time_ns;
}

static vv_status add_locked(engine_pins *p, int64_t version, int64_t time_ns, vv_error *err)
    VV_REQUIRES(p->lock)
{
    uint32_t i = find_pin(p, version, time_ns);
    if (is_pin(p, i, version, time_ns)) {
        p->pins[i].count++;
        return VV_OK;
    }
    if (p->count == p->cap) {
        uint32_t cap = p->cap == 0 ? 16 : p->cap * 2;
        engine_pin *pins = vv_realloc(p->pins, cap * sizeof *pins);
        if (pins == NULL)
            return vv_fail(err, VV_NO_MEMORY, "snapshot: no memory to pin version %lld",
                           (long long)version);
        p->pins = pins;
        p->cap = cap;
    }
    memmove(p->pins + i + 1, p->pins + i, (p->count - i) * sizeof *p->pins);
    p->pins[i] = (engine_pin){.version = version, .time_ns = time_ns, .count = 1};
    p->count++;
    return VV_OK;
}

vv_status engine_pins_add(engine_pins *p, int64_t version, int64_t time_ns, vv_error *err)
{
    vv_mutex_lock(&p->lock);
    vv_status st = add_locked(p, version, time_ns, err);
    vv_mutex_unlock(&p->lock);
    return st;
}

void engine_pins_remove(engine_pins *p, int64_t version, int64_t time_ns)
{
    vv_mutex_lock(&p->lock);
    uint32_t i = find_pin(p, version, time_ns);
    assert(is_pin(p, i, version, time_ns));
    if (--p->pins[i].count == 0) {
        p->count--;
        memmove(p->pins + i, p->pins + i + 1, (p->count - i) * sizeof *p->pins);
    }
    vv_mutex_unlock(&p->lock);
}

/* ---- readers ---- */

void engine_readers_init(engine_readers *r, engine_pins *pins, const engine_hooks *hooks,
                         const _Atomic int64_t *visible)
{
    *r = (engine_readers){.pins_of = pins, .hooks = hooks, .visible = visible};
}

void engine_readers_fini(engine_readers *r)
{
    vv_free(r->pins);
    *r = (engine_readers){0};
}

static vv_status copy_pins(engine_pins *p, engine_readers *r, vv_error *err) VV_REQUIRES(p->lock)
{
    if (p->count > r->pin_cap || r->pins == NULL) {
        size_t cap = p->count + 16u;
        int64_t *pins = vv_realloc(r->pins, cap * sizeof *pins);
        if (pins == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for %u pins", p->count);
        r->pins = pins;
        r->pin_cap = cap;
    }
    r->pin_count = 0;
    r->pin_time = INT64_MAX;
    for (uint32_t i = 0; i < p->count; i++) {
        const engine_pin *pin = &p->pins[i];
        if (r->pin_count == 0 || r->pins[r->pin_count - 1] != pin->version)
            r->pins[r->pin_count++] = pin->version;
        if (pin->time_ns < r->pin_time)
            r->pin_time = pin->time_ns;
    }
    if (VV_BUG(10))
        r->pin_count = 0;
    return VV_OK;
}

vv_status engine_readers_enter(engine_readers *r, uint32_t table, vv_error *err)
{
    if (r->has_table && r->table == table)
        return VV_OK;
    const engine_hooks *hooks = r->hooks;
    /* Without a floor to ask for, versions below the newest visible one need a pin. */
    engine_floor floor = {.version = atomic_load_explicit(r->visible, memory_order_acquire)};
    if (hooks->floor != NULL)
        floor = hooks->floor(hooks->ctx, table);
    vv_mutex_lock(&r->pins_of->lock);
    vv_status st = copy_pins(r->pins_of, r, err);
    vv_mutex_unlock(&r->pins_of->lock);
    r->has_table = st == VV_OK;
    r->table = table;
    r->floor = floor;
    return st;
}

bool engine_readers_need(const engine_readers *r, int64_t version, int64_t newer)
{
    return engine_version_is_needed(version, newer, r->pins, r->pin_count, r->floor.version);
}

bool engine_readers_are_above(const engine_readers *r, int64_t version)
{
    return r->floor.version >= version && (r->pin_count == 0 || r->pins[0] >= version);
}
