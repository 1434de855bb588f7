/*
 * ingest_threads_test.c - many producers on threads of their own feed a real store.
 */
#include "ingest/ingest_test_suite.h"

#include "io/env.h"

#define PRODUCERS 4
#define EACH 2000

typedef struct counted {
    bed *bed;
    ingest_producer *producer;
    _Atomic unsigned settled;
    _Atomic unsigned wrong;
    _Atomic unsigned closed;
} counted;

static vv_status counted_resolve(void *ctx, vv_slice tenant, vv_slice table, vv_table **out,
                                 vv_error *err)
{
    counted *c = ctx;
    recorder r = {.bed = c->bed};
    (void)tenant;
    (void)table;
    return recorder_resolve(&r, vv_slice_str("default"), vv_slice_str("records"), out, err);
}

static void counted_settled(void *ctx, const ingest_item *item)
{
    counted *c = ctx;
    ingest_outcome o;
    ingest_item_outcome(item, &o);
    unsigned n = atomic_fetch_add(&c->settled, 1);
    char want[16];
    (void)snprintf(want, sizeof want, "%u", n);
    if (o.event == INGEST_EVENT_END) {
        if (n != EACH)
            atomic_fetch_add(&c->wrong, 1);
        return;
    }
    const ingest_result *r = ingest_item_result(item, 0);
    if (r->status != VV_OK || !vv_slice_eq(r->id, vv_slice_str(want)))
        atomic_fetch_add(&c->wrong, 1);
}

static void counted_closed(void *ctx)
{
    counted *c = ctx;
    atomic_fetch_add(&c->closed, 1);
}

static const ingest_producer_ops counted_ops = {
    .resolve = counted_resolve, .settled = counted_settled, .closed = counted_closed};

typedef struct feeding {
    counted *c;
    vv_thread *thread;
} feeding;

static void free_copy(ingest_message *message)
{
    free(message->owner[1]);
}

static void feed(void *arg)
{
    feeding *f = arg;
    recorder r = {.bed = f->c->bed, .producer = f->c->producer};
    for (unsigned i = 0; i < EACH; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "%u", i);
        vv_buf b;
        vv_buf_init(&b, 4096);
        put_record(&b, &(rec_spec){.entity = id, .number = i});
        wire_wrap(&b, 0, 2);
        uint8_t *copy = malloc(b.len);
        if (copy == NULL)
            abort();
        memcpy(copy, b.data, b.len);
        ingest_message m = {
            .data = vv_slice_of(copy, b.len), .owner = {NULL, copy}, .release = free_copy};
        if (ingest_submit(r.producer, INGEST_STREAM, &m, NULL) != VV_OK)
            atomic_fetch_add(&f->c->wrong, 1);
        vv_buf_fini(&b);
    }
    if (ingest_submit(r.producer, INGEST_END, NULL, NULL) != VV_OK)
        atomic_fetch_add(&f->c->wrong, 1);
    ingest_producer_close(r.producer);
}

static void many_threads_feed_a_real_store(void **state)
{
    (void)state;
    char dir[] = "/tmp/ingest_test.XXXXXX", command[64];
    assert_non_null(mkdtemp(dir));
    bed b = {.auto_create = true};
    vv_error err;
    vv_options opt = VV_OPTIONS_INIT;
    opt.memory_limit = 64u << 20;
    opt.durability = VV_DURABLE_OS;
    assert_ok(vv_db_open(dir, &opt, &b.db, &err), err);
    ingest_options io = {.db = b.db,
                         .clock = vv_clock_real(),
                         .threads = vv_threads_real(),
                         .budget = db_budget(b.db),
                         .workers = 2,
                         .queue_bytes = 64 << 10};
    assert_ok(ingest_create(&io, &b.p, &err), err);
    static counted c[PRODUCERS];
    feeding f[PRODUCERS];
    for (size_t i = 0; i < PRODUCERS; i++) {
        c[i] = (counted){.bed = &b};
        assert_ok(ingest_producer_open(b.p, &counted_ops, &c[i], vv_slice_of(NULL, 0),
                                       &c[i].producer, &err),
                  err);
        f[i].c = &c[i];
        assert_ok(
            vv_threads_real()->create("feed", VV_THREAD_NORMAL, feed, &f[i], &f[i].thread, &err),
            err);
    }
    for (size_t i = 0; i < PRODUCERS; i++)
        vv_threads_real()->join(f[i].thread);
    ingest_destroy(b.p); /* settles what is on its way */
    for (size_t i = 0; i < PRODUCERS; i++) {
        assert_int_equal(c[i].wrong, 0);
        assert_int_equal(c[i].settled, EACH + 1);
        assert_int_equal(c[i].closed, 1);
    }
    assert_ok(vv_db_close(b.db, &err), err);
    (void)snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_threads_feed_a_real_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
