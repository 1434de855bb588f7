/*
 * ingest_stats.c - what went through, in total and for each tenant, and how fast of late.
 *
 * The writer thread alone counts; any thread reads.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "ingest/ingest_int.h"

static void add(ingest_counts *c, int64_t now_ns, uint64_t records, uint64_t bytes, uint64_t failed)
{
    atomic_fetch_add_explicit(&c->failed, failed, memory_order_relaxed);
    if (records == 0)
        return;
    atomic_fetch_add_explicit(&c->records, records, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->bytes, bytes, memory_order_relaxed);
    vv_rate_add(&c->record_rate, now_ns, records);
    vv_rate_add(&c->byte_rate, now_ns, bytes);
}

static size_t rec_bytes(const ingest_rec *r)
{
    return r->result.id.len + r->body.len + r->metadata.len;
}

/* Each tenant in a run of records of its own. */
static void count_tenants(const ingest_item *item, int64_t now_ns)
{
    for (uint32_t i = 0; i < item->count;) {
        ingest_tenant *tenant = item->recs[i].table == NULL ? NULL : item->recs[i].table->tenant;
        uint64_t good = 0, bad = 0, bytes = 0;
        for (; i < item->count; i++) {
            const ingest_rec *r = &item->recs[i];
            if ((r->table == NULL ? NULL : r->table->tenant) != tenant)
                break;
            if (r->result.status != VV_OK) {
                bad++;
                continue;
            }
            good++;
            bytes += rec_bytes(r);
        }
        if (tenant != NULL)
            add(&tenant->counts, now_ns, good, bytes, bad);
    }
}

void ingest_count_item(ingest_pipeline *p, const ingest_item *item, int64_t now_ns)
{
    if (item->count == 0)
        return;
    add(&p->counts, now_ns, item->count - item->failed, item->message.data.len, item->failed);
    count_tenants(item, now_ns);
    vv_hist_add(&p->latency, (uint64_t)(now_ns - item->arrival_ns));
}

static ingest_tenant *find(const ingest_tenants *t, vv_slice name, uint64_t hash)
{
    ingest_tenant *at = t->bucket[hash % INGEST_TENANT_BUCKETS];
    while (at != NULL && !vv_slice_eq(vv_slice_str(at->name), name))
        at = at->next;
    return at;
}

ingest_tenant *ingest_tenant_get(ingest_pipeline *p, vv_slice name)
{
    ingest_tenants *t = &p->tenants;
    uint64_t hash = vv_hash64(name.data, name.len);
    if (name.len > VV_NAME_MAX)
        return NULL;
    vv_mutex_lock(&t->lock);
    ingest_tenant *tenant = find(t, name, hash);
    if (tenant == NULL && t->count < INGEST_TENANTS_MAX &&
        (tenant = vv_calloc(1, sizeof *tenant)) != NULL) {
        memcpy(tenant->name, name.data, name.len);
        tenant->next = t->bucket[hash % INGEST_TENANT_BUCKETS];
        t->bucket[hash % INGEST_TENANT_BUCKETS] = tenant;
        t->count++;
    }
    vv_mutex_unlock(&t->lock);
    return tenant;
}

void ingest_tenants_fini(ingest_tenants *t)
{
    for (uint32_t i = 0; i < INGEST_TENANT_BUCKETS; i++)
        for (ingest_tenant *at = t->bucket[i], *next; at != NULL; at = next) {
            next = at->next;
            vv_free(at);
        }
    vv_mutex_fini(&t->lock);
}

static void read_counts(const ingest_counts *c, int64_t now_ns, ingest_stats *out)
{
    out->records = atomic_load_explicit(&c->records, memory_order_relaxed);
    out->bytes = atomic_load_explicit(&c->bytes, memory_order_relaxed);
    out->failed = atomic_load_explicit(&c->failed, memory_order_relaxed);
    out->records_per_s = vv_rate_read(&c->record_rate, now_ns);
    out->bytes_per_s = vv_rate_read(&c->byte_rate, now_ns);
}

void ingest_stats_read(ingest_pipeline *p, vv_slice tenant, ingest_stats *out)
{
    int64_t now_ns = vv_clock_mono(p->opt.clock);
    *out = (ingest_stats){.pending = atomic_load(&p->pending),
                          .queue_bytes = atomic_load(&p->bytes),
                          .queue_limit = p->opt.queue_bytes,
                          .waiting_bytes = atomic_load(&p->parked_bytes),
                          .streams = atomic_load(&p->stream_count),
                          .batches = atomic_load(&p->batches),
                          .messages = atomic_load(&p->messages)};
    if (tenant.len == 0) {
        read_counts(&p->counts, now_ns, out);
        return;
    }
    vv_mutex_lock(&p->tenants.lock);
    const ingest_tenant *t = find(&p->tenants, tenant, vv_hash64(tenant.data, tenant.len));
    vv_mutex_unlock(&p->tenants.lock); /* tenants stay until the end */
    if (t != NULL)
        read_counts(&t->counts, now_ns, out);
}

const vv_hist *ingest_latency(const ingest_pipeline *p)
{
    return &p->latency;
}
