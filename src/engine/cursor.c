/*
 * cursor.c - the merge of sources into what one snapshot sees.
 *
 * Forward, each slot stands on the newest version <= snapshot of some key, the smallest at or after
 * the position that its source has one for; backward likewise with the greatest before it. A loser
 * tree names the slot that comes first: by key in the direction of travel, then the newest version,
 * then the newest source. That item decides its key alone: it is shown when it is live, and either
 * way every slot then leaves the key.
 *
 * A slot outside the bounds counts as exhausted at once, so all keys in play begin with what the
 * two bounds have in common. The slot keeps the next 8 bytes as an integer, and most comparisons
 * end there.
 *
 * Directions change by a seek of every source from the key in hand. With one source whose ops know
 * whole keys nothing is copied and nothing compared but the bound.
 */
#include "engine/cursor.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/point.h"
#include "base/util.h"
#include "engine/rangedel.h"

/* Versions of one key to step over before a seek is cheaper. */
#define STEPS_BEFORE_SEEK 8u

typedef struct slot {
    engine_source *src;
    uint64_t head;    /* 8 bytes of the key behind the common part */
    bool in_bounds;   /* stands on an item that is in play */
    uint8_t *key_buf; /* ENGINE_KEY_MAX bytes: a key to keep while the source moves */
} slot;

struct engine_cursor {
    engine_read read;
    bool valid;
    bool reverse;
    bool empty_range;
    size_t count;
    slot *slots;
    uint32_t *losers; /* [count]: [0] the winner, [i] the loser of the match at node i */
    slot *top;        /* the winner; valid: the current item is its source's, or `merged` */
    bool is_merged;
    engine_item merged; /* what a merge or a reference came to; borrows value */
    vv_buf value;
    engine_resolver resolver;
    size_t common; /* bytes that lower and upper begin with both */
    uint64_t lower_head;
    uint64_t upper_head;
    vv_slice lower;
    vv_slice upper;
    const engine_rangedels **sets;
    size_t set_count;
    uint8_t *key; /* the key in hand, ENGINE_KEY_MAX bytes */
    size_t key_len;
    uint64_t scanned;
    void (*release)(void *ctx);
    void *release_ctx;
};

/* Three-way comparison of keys that share the common part and whose heads are at hand. */
static inline int cmp_keys(size_t common, uint64_t a_head, vv_slice a, uint64_t b_head, vv_slice b)
{
    if (a_head != b_head)
        return a_head < b_head ? -1 : 1;
    return vv_slice_cmp(vv_slice_of(a.data + common, a.len - common),
                        vv_slice_of(b.data + common, b.len - common));
}

/* -- the loser tree -- */

static inline bool comes_first(const engine_cursor *c, uint32_t ai, uint32_t bi)
{
    const slot *a = &c->slots[ai];
    const slot *b = &c->slots[bi];
    if (!a->in_bounds || !b->in_bounds)
        return a->in_bounds || (!b->in_bounds && ai < bi);
    int d = cmp_keys(c->common, a->head, a->src->item.key, b->head, b->src->item.key);
    if (d != 0)
        return c->reverse ? d > 0 : d < 0;
    if (a->src->item.version != b->src->item.version)
        return a->src->item.version > b->src->item.version;
    return ai < bi;
}

/* Play all matches below node; returns the winner. Leaves are the nodes count .. 2 count - 1. */
static uint32_t play_all(engine_cursor *c, size_t node)
{
    if (node >= c->count)
        return (uint32_t)(node - c->count);
    uint32_t a = play_all(c, 2 * node);
    uint32_t b = play_all(c, 2 * node + 1);
    bool a_wins = comes_first(c, a, b);
    c->losers[node] = a_wins ? b : a;
    return a_wins ? a : b;
}

static void build_tree(engine_cursor *c)
{
    c->top = NULL;
    if (c->count == 0)
        return;
    c->losers[0] = play_all(c, 1);
    c->top = &c->slots[c->losers[0]];
}

/* The winner has moved: play its matches again on the way up. */
static inline void replay(engine_cursor *c)
{
    uint32_t winner = c->losers[0];
    for (size_t node = (winner + c->count) / 2; node > 0; node /= 2) {
        if (comes_first(c, c->losers[node], winner)) {
            uint32_t loser = winner;
            winner = c->losers[node];
            c->losers[node] = loser;
        }
    }
    c->losers[0] = winner;
    c->top = &c->slots[winner];
}

/* -- one slot -- */

/* Take in where the source stands now. */
static inline void look(engine_cursor *c, slot *s)
{
    s->in_bounds = false;
    if (!s->src->valid)
        return;
    assert(s->src->item.key.len <= ENGINE_KEY_MAX);
    c->scanned++;
    vv_slice key = s->src->item.key;
    if (key.len < c->common || memcmp(key.data, c->lower.data, c->common) != 0)
        return;
    s->head = engine_key_head(key, c->common);
    s->in_bounds = c->reverse ? cmp_keys(c->common, s->head, key, c->lower_head, c->lower) >= 0
                              : cmp_keys(c->common, s->head, key, c->upper_head, c->upper) < 0;
}

/* Forward: past the versions that the snapshot does not see. */
static vv_status skip_unseen(engine_cursor *c, slot *s, vv_error *err)
{
    engine_source *src = s->src;
    for (unsigned steps = 1; src->valid && src->item.version > c->read.version; steps++) {
        c->scanned++;
        vv_status st;
        if (steps % STEPS_BEFORE_SEEK == 0) {
            vv_slice key = src->item.key;
            memcpy(s->key_buf, key.data, key.len);
            st = engine_source_seek(src, vv_slice_of(s->key_buf, key.len), c->read.version, err);
        } else {
            st = engine_source_next(src, err);
        }
        if (st != VV_OK)
            return st;
    }
    return VV_OK;
}

static vv_status slot_seek(engine_cursor *c, slot *s, vv_slice key, int64_t version, vv_error *err)
{
    vv_status st = engine_source_seek(s->src, key, version, err);
    if (st == VV_OK)
        st = skip_unseen(c, s, err);
    look(c, s);
    return st;
}

/* Forward: leave the key the slot stands on. */
static vv_status slot_next_key(engine_cursor *c, slot *s, vv_error *err)
{
    engine_source *src = s->src;
    vv_status st;
    if (VV_LIKELY(src->ops->next_key != NULL)) {
        st = src->ops->next_key(src, c->read.version, err);
        look(c, s);
        return st;
    }
    vv_slice key = vv_slice_of(s->key_buf, src->item.key.len);
    memcpy(s->key_buf, src->item.key.data, key.len);
    unsigned steps = 0;
    do {
        st = ++steps % STEPS_BEFORE_SEEK == 0 ? engine_source_seek(src, key, -1, err)
                                              : engine_source_next(src, err);
        c->scanned++;
    } while (st == VV_OK && src->valid && vv_slice_eq(src->item.key, key));
    if (st == VV_OK)
        st = skip_unseen(c, s, err);
    look(c, s);
    return st;
}

/*
 * Backward, for a source that knows single versions only. It stands on the oldest version of its
 * key. The newest seen one is found from the front: step back to the key before, then forward.
 */
static vv_status settle_back(engine_cursor *c, slot *s, vv_error *err)
{
    engine_source *src = s->src;
    vv_status st = VV_OK;
    while (src->valid) {
        vv_slice key = vv_slice_of(s->key_buf, src->item.key.len);
        memcpy(s->key_buf, src->item.key.data, key.len);
        bool seen = src->item.version <= c->read.version;
        c->scanned++;
        unsigned steps = 0;
        do
            st = ++steps % STEPS_BEFORE_SEEK == 0 ? engine_source_seek_below(src, key, err)
                                                  : engine_source_prev(src, err);
        while (st == VV_OK && src->valid && vv_slice_eq(src->item.key, key));
        if (st != VV_OK)
            return st;
        if (!seen)
            continue; /* the whole key is newer than the snapshot */
        if (!src->valid || steps > 1)
            return engine_source_seek(src, key, c->read.version, err);
        st = engine_source_next(src, err); /* the one version it has, unless a newer one came */
        if (st == VV_OK && (!src->valid || src->item.version > c->read.version))
            st = engine_source_seek(src, key, c->read.version, err);
        return st;
    }
    return st;
}

static vv_status slot_seek_below(engine_cursor *c, slot *s, vv_slice key, vv_error *err)
{
    vv_status st;
    if (s->src->ops->seek_below_at != NULL) {
        st = s->src->ops->seek_below_at(s->src, key, c->read.version, err);
    } else {
        st = engine_source_seek_below(s->src, key, err);
        if (st == VV_OK)
            st = settle_back(c, s, err);
    }
    look(c, s);
    return st;
}

/* Backward: leave the key the slot stands on. */
static vv_status slot_prev_key(engine_cursor *c, slot *s, vv_error *err)
{
    engine_source *src = s->src;
    vv_status st;
    if (VV_LIKELY(src->ops->prev_key != NULL)) {
        st = src->ops->prev_key(src, c->read.version, err);
        look(c, s);
        return st;
    }
    vv_slice key = vv_slice_of(s->key_buf, src->item.key.len);
    memcpy(s->key_buf, src->item.key.data, key.len);
    unsigned steps = 0;
    do
        st = ++steps % STEPS_BEFORE_SEEK == 0 ? engine_source_seek_below(src, key, err)
                                              : engine_source_prev(src, err);
    while (st == VV_OK && src->valid && vv_slice_eq(src->item.key, key));
    if (st == VV_OK)
        st = settle_back(c, s, err);
    look(c, s);
    return st;
}

/* -- the whole cursor -- */

bool engine_item_is_live(const engine_item *item, int64_t cover, const engine_read *read)
{
    return item->kind != ENGINE_DELETE && cover <= item->version &&
           (item->expires_ns == 0 || item->expires_ns > read->now_ns);
}

static inline bool is_live(const engine_cursor *c, const engine_item *item)
{
    int64_t cover = -1;
    for (size_t i = 0; i < c->set_count; i++) {
        int64_t v = engine_rangedels_cover(c->sets[i], item->key, c->read.version);
        if (v > cover)
            cover = v;
    }
    return engine_item_is_live(item, cover, &c->read);
}

static inline void save_key(engine_cursor *c)
{
    vv_slice key = c->top->src->item.key;
    memcpy(c->key, key.data, key.len);
    c->key_len = key.len;
}

static inline vv_status step_top(engine_cursor *c, vv_error *err)
{
    vv_status st = c->reverse ? slot_prev_key(c, c->top, err) : slot_next_key(c, c->top, err);
    if (c->count > 1)
        replay(c);
    return st;
}

/* A planted mistake: an expired put gives way to the version beneath it. */
static bool resurrect(engine_cursor *c, vv_error *err)
{
    if (!VV_BUG(20))
        return false;
    const engine_item *item = &c->top->src->item;
    if (item->kind != ENGINE_PUT || item->expires_ns == 0 || item->expires_ns > c->read.now_ns ||
        item->version == 0)
        return false;
    save_key(c);
    vv_slice key = vv_slice_of(c->key, c->key_len);
    vv_status st = engine_source_seek(c->top->src, key, item->version - 1, err);
    return st == VV_OK && c->top->src->valid && vv_slice_eq(c->top->src->item.key, key);
}

/* Every slot leaves the key that the top stands on. */
static inline vv_status leave_key(engine_cursor *c, vv_error *err)
{
    if (c->count == 1)
        return step_top(c, err);
    save_key(c);
    uint64_t head = c->top->head;
    vv_slice key = vv_slice_of(c->key, c->key_len);
    vv_status st;
    do
        st = step_top(c, err);
    while (st == VV_OK && c->top->in_bounds && c->top->head == head &&
           vv_slice_eq(c->top->src->item.key, key));
    return st;
}

/* The top stands on a merge or a reference: the item is what it comes to. */
static vv_status show_merged(engine_cursor *c, vv_error *err)
{
    assert(c->resolver.resolve != NULL);
    vv_buf_reset(&c->value);
    c->merged = c->top->src->item;
    vv_status st = c->resolver.resolve(c->resolver.ctx, &c->merged, &c->read, &c->value, err);
    c->merged.kind = ENGINE_PUT;
    c->merged.value = vv_buf_slice(&c->value);
    c->is_merged = true;
    c->valid = st == VV_OK;
    return st;
}

/* On to the first key from here that the snapshot sees. */
static inline vv_status find_live(engine_cursor *c, vv_error *err)
{
    c->is_merged = false;
    while (c->top != NULL && c->top->in_bounds) {
        if (VV_LIKELY(is_live(c, &c->top->src->item)) || resurrect(c, err)) {
            if (VV_UNLIKELY(c->top->src->item.kind != ENGINE_PUT))
                return show_merged(c, err);
            c->valid = true;
            return VV_OK;
        }
        vv_status st = leave_key(c, err);
        if (st != VV_OK)
            return st;
    }
    return VV_OK;
}

static vv_status seek_all(engine_cursor *c, vv_slice key, int64_t version, vv_error *err)
{
    c->valid = false;
    c->reverse = false;
    for (size_t i = 0; i < c->count; i++) {
        vv_status st = slot_seek(c, &c->slots[i], key, version, err);
        if (st != VV_OK)
            return st;
    }
    build_tree(c);
    return find_live(c, err);
}

static vv_status seek_below_all(engine_cursor *c, vv_slice key, vv_error *err)
{
    c->valid = false;
    c->reverse = true;
    for (size_t i = 0; i < c->count; i++) {
        vv_status st = slot_seek_below(c, &c->slots[i], key, err);
        if (st != VV_OK)
            return st;
    }
    build_tree(c);
    return find_live(c, err);
}

vv_status engine_cursor_seek(engine_cursor *c, vv_slice key, vv_error *err)
{
    if (vv_slice_cmp(key, c->lower) < 0)
        key = c->lower;
    if (c->empty_range || vv_slice_cmp(key, c->upper) >= 0) {
        c->valid = false;
        return VV_OK;
    }
    return seek_all(c, key, c->read.version, err);
}

vv_status engine_cursor_seek_below(engine_cursor *c, vv_slice key, vv_error *err)
{
    if (key.len == 0 || vv_slice_cmp(key, c->upper) > 0)
        key = c->upper;
    if (c->empty_range || vv_slice_cmp(key, c->lower) <= 0) {
        c->valid = false;
        return VV_OK;
    }
    return seek_below_all(c, key, err);
}

vv_status engine_cursor_next(engine_cursor *c, vv_error *err)
{
    assert(c->valid);
    c->valid = false;
    if (VV_UNLIKELY(c->reverse)) {
        save_key(c);
        return seek_all(c, vv_slice_of(c->key, c->key_len), -1, err);
    }
    vv_status st = leave_key(c, err);
    return st == VV_OK ? find_live(c, err) : st;
}

vv_status engine_cursor_prev(engine_cursor *c, vv_error *err)
{
    assert(c->valid);
    c->valid = false;
    if (VV_UNLIKELY(!c->reverse)) {
        save_key(c);
        return seek_below_all(c, vv_slice_of(c->key, c->key_len), err);
    }
    vv_status st = leave_key(c, err);
    return st == VV_OK ? find_live(c, err) : st;
}

bool engine_cursor_valid(const engine_cursor *c)
{
    return c->valid;
}

const engine_item *engine_cursor_item(const engine_cursor *c)
{
    assert(c->valid);
    return VV_UNLIKELY(c->is_merged) ? &c->merged : &c->top->src->item;
}

uint64_t engine_cursor_scanned(const engine_cursor *c)
{
    return c->scanned;
}

/* -- life -- */

static void set_bounds(engine_cursor *c, const engine_cursor_options *opt, uint8_t *bytes)
{
    memcpy(bytes, opt->lower.data, opt->lower.len);
    memcpy(bytes + opt->lower.len, opt->upper.data, opt->upper.len);
    c->lower = vv_slice_of(bytes, opt->lower.len);
    c->upper = vv_slice_of(bytes + opt->lower.len, opt->upper.len);
    size_t min = c->lower.len < c->upper.len ? c->lower.len : c->upper.len;
    while (c->common < min && c->lower.data[c->common] == c->upper.data[c->common])
        c->common++;
    c->empty_range = vv_slice_cmp(c->lower, c->upper) >= 0;
    c->lower_head = engine_key_head(c->lower, c->common);
    c->upper_head = engine_key_head(c->upper, c->common);
}

vv_status engine_cursor_create(engine_source **sources, size_t count,
                               const engine_cursor_options *opt, void (*release)(void *ctx),
                               void *ctx, engine_cursor **out, vv_error *err)
{
    assert(opt->lower.len > 0 && opt->upper.len > 0);
    /* One block: the cursor, its arrays in order of alignment, then bytes. */
    engine_cursor *c =
        vv_alloc(sizeof *c + count * (sizeof(slot) + sizeof(void *) + sizeof(uint32_t)) +
                 (count + 1) * ENGINE_KEY_MAX + opt->lower.len + opt->upper.len);
    if (c == NULL) {
        for (size_t i = 0; i < count; i++)
            engine_source_close(sources[i]);
        return vv_fail(err, VV_NO_MEMORY, "cursor over %zu sources: no memory", count);
    }
    slot *slots = (slot *)(c + 1);
    *c = (engine_cursor){.read = opt->read, .count = count, .slots = slots};
    c->sets = (const engine_rangedels **)(void *)(slots + count);
    c->losers = (uint32_t *)(void *)(c->sets + count);
    c->key = (uint8_t *)(c->losers + count);
    uint8_t *bytes = c->key + ENGINE_KEY_MAX;
    for (size_t i = 0; i < count; i++) {
        slots[i] = (slot){.src = sources[i], .key_buf = bytes};
        bytes += ENGINE_KEY_MAX;
        if (sources[i]->rangedels != NULL)
            c->sets[c->set_count++] = sources[i]->rangedels;
    }
    set_bounds(c, opt, bytes);
    vv_buf_init(&c->value, ENGINE_VALUE_MAX);
    c->resolver = opt->resolver;
    c->release = release;
    c->release_ctx = ctx;
    *out = c;
    return VV_OK;
}

void engine_cursor_close(engine_cursor *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->count; i++)
        engine_source_close(c->slots[i].src);
    if (c->release != NULL)
        c->release(c->release_ctx);
    vv_buf_fini(&c->value);
    vv_free(c);
}

bool engine_version_is_needed(int64_t version, int64_t newer_version, const int64_t *pins,
                              size_t pin_count, int64_t floor)
{
    if (newer_version < 0 || newer_version > floor)
        return true; /* a read at max(version, floor) sees it */
    size_t lo = 0;
    size_t hi = pin_count;
    while (lo < hi) { /* the first pin at or above version */
        size_t mid = lo + (hi - lo) / 2;
        if (pins[mid] < version)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < pin_count && pins[lo] < newer_version;
}
