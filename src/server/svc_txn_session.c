/*
 * svc_txn_session.c - the transactions that clients hold open: found by name, bounded in number,
 * ended when nobody uses them.
 *
 *              acquire                    end
 *   IDLE <----------------> BUSY  ---------------------> FREE
 *     |        release                                    ^
 *     +--- idle for too long: the reaper acquires, ends --+
 *
 * A name is the slot and 96 random bits: nobody finds a transaction by trying, and a name of one
 * that is over never meets its successor.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/lock.h"
#include "base/point.h"
#include "base/util.h"
#include "server/svc_txn.h"

#define NAME_BYTES 16u
#define OPEN_MAX_DEFAULT 1000u
#define CONNECTION_MAX_DEFAULT 100u
#define IDLE_DEFAULT (10 * VV_NS_PER_S)
#define REAP_MIN_NS (10 * VV_NS_PER_MS)

typedef enum slot_state { FREE, IDLE, BUSY } slot_state;

typedef struct slot {
    slot_state state;
    uint8_t name[NAME_BYTES];
    int64_t expires_ns; /* monotonic; under IDLE */
    svc_txn_session session;
} slot;

struct svc_txn_table {
    vv_mutex lock; /* rank VV_RANK_SERVER; over all below */
    vv_cond wake;  /* the reaper, and who waits for the last to leave */
    slot *slots;
    uint32_t slot_count;
    uint32_t open;
    uint32_t inside; /* jobs and commits on their way */
    bool stop;
    vv_thread *reaper;
};

static void end_slot(struct svc_txn_table *t, slot *s) VV_REQUIRES(t->lock)
{
    vv_txn *txn = s->session.txn;
    s->session.txn = NULL;
    vv_mutex_unlock(&t->lock);
    vv_txn_abort(txn);
    vv_mutex_lock(&t->lock);
    s->state = FREE;
    t->open--;
}

/* End what expired; returns when the next will, at most a second from now. */
static int64_t reap(struct svc_txn_table *t, int64_t now) VV_REQUIRES(t->lock)
{
    int64_t next = now + VV_NS_PER_S;
    for (uint32_t i = 0; t->open > 0 && i < t->slot_count; i++) {
        slot *s = &t->slots[i];
        if (s->state != IDLE || VV_BUG(60))
            continue;
        if (s->expires_ns > now) {
            next = s->expires_ns < next ? s->expires_ns : next;
            continue;
        }
        s->state = BUSY;
        end_slot(t, s);
    }
    return next;
}

static void reaper_main(void *arg)
{
    node *n = arg;
    struct svc_txn_table *t = n->txns;
    vv_mutex_lock(&t->lock);
    while (!t->stop) {
        int64_t now = vv_clock_mono(n->env.clock);
        int64_t pause = reap(t, now) - now;
        if (!t->stop)
            (void)vv_cond_wait_for(&t->wake, &t->lock, pause < REAP_MIN_NS ? REAP_MIN_NS : pause);
    }
    vv_mutex_unlock(&t->lock);
}

vv_status svc_txn_start(node *n, const svc_txn_limits *limits, vv_error *err)
{
    struct svc_txn_table *t = vv_calloc(1, sizeof *t);
    n->txn_limits = *limits;
    if (n->txn_limits.open_max == 0)
        n->txn_limits.open_max = OPEN_MAX_DEFAULT;
    if (n->txn_limits.connection_max == 0)
        n->txn_limits.connection_max = CONNECTION_MAX_DEFAULT;
    if (n->txn_limits.idle_ns == 0)
        n->txn_limits.idle_ns = IDLE_DEFAULT;
    if (t == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for transactions");
    t->slot_count = n->txn_limits.open_max;
    t->slots = vv_calloc(t->slot_count, sizeof *t->slots);
    if (t->slots == NULL) {
        vv_free(t);
        return vv_fail(err, VV_NO_MEMORY, "no memory for %u transactions", n->txn_limits.open_max);
    }
    vv_mutex_init(&t->lock, VV_RANK_SERVER);
    vv_cond_init(&t->wake);
    n->txns = t;
    vv_status st =
        n->env.threads->create("vv-txn", VV_THREAD_NORMAL, reaper_main, n, &t->reaper, err);
    if (st != VV_OK)
        svc_txn_stop(n);
    return st;
}

void svc_txn_stop(node *n)
{
    struct svc_txn_table *t = n->txns;
    if (t == NULL)
        return;
    vv_mutex_lock(&t->lock);
    t->stop = true;
    vv_cond_broadcast(&t->wake);
    while (t->inside > 0)
        vv_cond_wait(&t->wake, &t->lock);
    vv_mutex_unlock(&t->lock);
    if (t->reaper != NULL)
        n->env.threads->join(t->reaper);
    for (uint32_t i = 0; i < t->slot_count; i++)
        vv_txn_abort(t->slots[i].session.txn);
    vv_cond_fini(&t->wake);
    vv_mutex_fini(&t->lock);
    vv_free(t->slots);
    vv_free(t);
    n->txns = NULL;
}

bool svc_txn_enter(node *n)
{
    struct svc_txn_table *t = n->txns;
    vv_mutex_lock(&t->lock);
    bool ok = !t->stop;
    t->inside += ok;
    vv_mutex_unlock(&t->lock);
    return ok;
}

void svc_txn_leave(node *n)
{
    struct svc_txn_table *t = n->txns;
    vv_mutex_lock(&t->lock);
    t->inside--;
    if (t->stop)
        vv_cond_broadcast(&t->wake);
    vv_mutex_unlock(&t->lock);
}

uint64_t svc_txn_open_count(node *n)
{
    struct svc_txn_table *t = n->txns;
    if (t == NULL)
        return 0;
    vv_mutex_lock(&t->lock);
    uint64_t open = t->open;
    vv_mutex_unlock(&t->lock);
    return open;
}

/* ---- names ---- */

static void put_name(vv_buf *out, const uint8_t name[NAME_BYTES])
{
    for (size_t i = 0; i < NAME_BYTES; i++)
        vv_buf_printf(out, "%02x", name[i]);
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse_name(const char *text, uint8_t out[NAME_BYTES])
{
    if (strlen(text) != 2 * (size_t)NAME_BYTES)
        return false;
    for (size_t i = 0; i < NAME_BYTES; i++) {
        int high = digit(text[2 * i]);
        int low = digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* Without a hint, by its time, of where two names part. */
static bool same_name(const uint8_t *a, const uint8_t *b)
{
    uint8_t diff = 0;
    for (size_t i = 0; i < NAME_BYTES; i++)
        diff |= a[i] ^ b[i];
    return diff == 0;
}

static uint64_t token_hash(const srv_call *call)
{
    vv_slice token = srv_call_header(call, "authorization");
    return token.len == 0 ? 0 : vv_hash64(token.data, token.len);
}

static slot *slot_of(svc_txn_session *s)
{
    return VV_CONTAINER_OF(s, slot, session);
}

/* ---- life ---- */

static vv_status find_free(const svc_txn_limits *limits, struct svc_txn_table *t,
                           uint64_t connection, slot **out, vv_error *err) VV_REQUIRES(t->lock)
{
    uint32_t same = 0;
    *out = NULL;
    for (uint32_t i = 0; i < t->slot_count; i++) {
        if (t->slots[i].state == FREE)
            *out = &t->slots[i];
        else
            same += t->slots[i].session.connection == connection;
    }
    if (same >= limits->connection_max)
        return vv_fail(err, VV_BUSY,
                       "the connection has %u open transactions, transactions.max_per_connection: "
                       "end one first",
                       same);
    if (*out == NULL)
        return vv_fail(err, VV_BUSY,
                       "%u transactions are open, transactions.max_open: retry after a pause",
                       t->open);
    return VV_OK;
}

vv_status svc_txn_session_create(node *n, srv_call *call, int64_t idle_ns, svc_txn_session **out,
                                 vv_buf *name, vv_error *err)
{
    struct svc_txn_table *t = n->txns;
    uint8_t bytes[NAME_BYTES];
    slot *s = NULL;
    vv_status st = vv_random_bytes(bytes, sizeof bytes, err);
    if (st != VV_OK)
        return st;
    vv_mutex_lock(&t->lock);
    st = find_free(&n->txn_limits, t, srv_call_connection(call), &s, err);
    if (st == VV_OK) {
        assert(s != NULL);
        vv_put_le32(bytes, (uint32_t)(s - t->slots));
        memcpy(s->name, bytes, sizeof bytes);
        s->state = BUSY;
        s->session = (svc_txn_session){.from_loopback = srv_call_from_loopback(call),
                                       .token_hash = token_hash(call),
                                       .connection = srv_call_connection(call),
                                       .idle_ns = idle_ns};
        t->open++;
    }
    vv_mutex_unlock(&t->lock);
    if (st != VV_OK)
        return st;
    put_name(name, bytes);
    *out = &s->session;
    return VV_OK;
}

vv_status svc_txn_session_acquire(node *n, const srv_call *call, const char *name,
                                  svc_txn_session **out, vv_error *err)
{
    struct svc_txn_table *t = n->txns;
    uint8_t bytes[NAME_BYTES] = {0};
    vv_status st = VV_NOT_FOUND;
    bool parsed = parse_name(name, bytes);
    uint32_t index = vv_get_le32(bytes);
    vv_mutex_lock(&t->lock);
    if (parsed && index < t->slot_count) {
        slot *s = &t->slots[index];
        bool is_it = s->state != FREE && same_name(s->name, bytes) &&
                     s->session.from_loopback == srv_call_from_loopback(call) &&
                     s->session.token_hash == token_hash(call);
        if (is_it && s->state == IDLE && s->expires_ns <= vv_clock_mono(n->env.clock)) {
            s->state = BUSY;
            end_slot(t, s);
        } else if (is_it) {
            st = s->state == BUSY ? VV_BUSY : VV_OK;
        }
        if (st == VV_OK) {
            s->state = BUSY;
            *out = &s->session;
        }
    }
    vv_mutex_unlock(&t->lock);
    if (st == VV_BUSY)
        return vv_fail(err, st, "another request of this transaction is on its way");
    if (st != VV_OK)
        return vv_fail(
            err, st,
            "no such transaction: it was committed or aborted, or nobody used it for its "
            "idle_timeout");
    return VV_OK;
}

void svc_txn_session_release(node *n, svc_txn_session *session)
{
    struct svc_txn_table *t = n->txns;
    slot *s = slot_of(session);
    vv_mutex_lock(&t->lock);
    s->expires_ns = vv_clock_mono(n->env.clock) + session->idle_ns;
    s->state = IDLE;
    vv_mutex_unlock(&t->lock);
}

void svc_txn_session_end(node *n, svc_txn_session *session)
{
    struct svc_txn_table *t = n->txns;
    vv_mutex_lock(&t->lock);
    end_slot(t, slot_of(session));
    vv_mutex_unlock(&t->lock);
}
