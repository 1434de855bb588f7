/*
 * objs_suite.c - what every object store must do, as laws on the public interface alone.
 */
#include "vv_test.h"

#include "object/objs_suite.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/lock.h"
#include "base/rng.h"

static vv_error err;
static vv_object_outcome oc;

static void fill(uint8_t *out, size_t len, uint64_t seed)
{
    vv_rng rng;
    vv_rng_init(&rng, seed);
    vv_rng_bytes(&rng, out, len);
}

static void put_text(vv_object_store *s, const char *name, const char *text)
{
    vv_slice piece = vv_slice_str(text);
    assert_ok(vv_object_put(s, name, &piece, 1, VV_OBJECT_REPLACE, NULL, &oc, &err), err);
}

static void expect_text(vv_object_store *s, const char *name, const char *text)
{
    char buf[256];
    size_t got = 0;
    vv_object_info info;
    assert_ok(vv_object_get(s, name, 0, buf, sizeof buf, &got, &info, &oc, &err), err);
    assert_int_equal(got, strlen(text));
    assert_memory_equal(buf, text, got);
    assert_int_equal(info.size, got);
}

/* ---- laws ---------------------------------------------------------------------------------- */

static void what_was_put_comes_back(vv_object_store *s, const objs_suite_traits *t)
{
    static const size_t sizes[] = {0, 1, 100, 65535, 65536, 65537, 300000};
    uint8_t *bytes = vv_alloc(300000);
    uint8_t *back = vv_alloc(300001);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char name[64];
        size_t n = sizes[i];
        size_t got = 77;
        vv_object_info put;
        vv_object_info head;
        fill(bytes, n, i);
        (void)snprintf(name, sizeof name, "size/%zu", n);
        vv_slice pieces[3] = {vv_slice_of(bytes, n / 3), vv_slice_of(bytes + n / 3, 0),
                              vv_slice_of(bytes + n / 3, n - n / 3)};
        assert_ok(vv_object_put(s, name, pieces, 3, VV_OBJECT_REPLACE, &put, &oc, &err), err);
        assert_int_equal(put.size, n);
        assert_int_equal(put.crc32c, vv_crc32c(0, bytes, n));
        assert_int_equal(oc.fault, VV_OBJECT_FAULT_NONE);
        assert_ok(vv_object_head(s, name, &head, &oc, &err), err);
        assert_int_equal(head.size, n);
        assert_true(head.etag[0] != '\0');
        assert_string_equal(head.etag, put.etag);
        if (t->keeps_crc) {
            assert_true(head.has_crc);
            assert_int_equal(head.crc32c, put.crc32c);
        }
        assert_true(head.mtime_ns > 0);
        assert_ok(vv_object_get(s, name, 0, back, n + 1, &got, NULL, &oc, &err), err);
        assert_int_equal(got, n);
        assert_memory_equal(back, bytes, n);
        assert_ok(vv_object_remove(s, name, &oc, &err), err);
    }
    vv_free(bytes);
    vv_free(back);
}

static void prop_a_range_is_a_part_of_the_whole(vv_object_store *s, const objs_suite_traits *t)
{
    enum { SIZE = 200000, RANGES = 40 };
    (void)t;
    uint8_t *bytes = vv_alloc(SIZE);
    uint8_t *back = vv_alloc(SIZE + 100);
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(0x0b1));
    fill(bytes, SIZE, 5);
    vv_slice piece = vv_slice_of(bytes, SIZE);
    assert_ok(vv_object_put(s, "range", &piece, 1, VV_OBJECT_REPLACE, NULL, &oc, &err), err);
    for (int i = 0; i < RANGES; i++) {
        uint64_t offset = vv_rng_below(&rng, SIZE + 50);
        size_t len = vv_rng_one_in(&rng, 4) ? 1 : (size_t)vv_rng_below(&rng, SIZE);
        size_t got = 0;
        vv_object_info info;
        size_t want = offset >= SIZE ? 0 : (size_t)vv_min_u64(len, SIZE - offset);
        assert_ok(vv_object_get(s, "range", offset, back, len, &got, &info, &oc, &err), err);
        assert_int_equal(got, want);
        if (got != 0)
            assert_memory_equal(back, bytes + offset, got);
        if (want != 0)
            assert_int_equal(info.size, SIZE);
    }
    size_t got = 9;
    assert_ok(vv_object_get(s, "range", 10, back, 0, &got, NULL, &oc, &err), err);
    assert_int_equal(got, 0);
    assert_ok(vv_object_remove(s, "range", &oc, &err), err);
    vv_free(bytes);
    vv_free(back);
}

static void one_creates_a_name(vv_object_store *s, const objs_suite_traits *t)
{
    vv_slice first = vv_slice_str("first");
    vv_slice second = vv_slice_str("second");
    vv_status st = vv_object_put(s, "once/a", &first, 1, VV_OBJECT_CREATE, NULL, &oc, &err);
    if (!t->create) {
        assert_status(VV_UNSUPPORTED, st);
        assert_false(oc.unknown);
        assert_status(VV_NOT_FOUND, vv_object_head(s, "once/a", NULL, &oc, &err));
        return;
    }
    assert_ok(st, err);
    assert_status(VV_CONFLICT,
                  vv_object_put(s, "once/a", &second, 1, VV_OBJECT_CREATE, NULL, &oc, &err));
    assert_int_equal(oc.fault, VV_OBJECT_FAULT_EXISTS);
    assert_false(oc.unknown);
    expect_text(s, "once/a", "first");
    put_text(s, "once/a", "third");
    expect_text(s, "once/a", "third");
    assert_ok(vv_object_remove(s, "once/a", &oc, &err), err);
    assert_ok(vv_object_put(s, "once/a", &second, 1, VV_OBJECT_CREATE, NULL, &oc, &err), err);
    expect_text(s, "once/a", "second");
    assert_ok(vv_object_remove(s, "once/a", &oc, &err), err);
}

static void what_is_not_there_is_not_found(vv_object_store *s, const objs_suite_traits *t)
{
    char buf[8];
    size_t got;
    (void)t;
    assert_status(VV_NOT_FOUND, vv_object_head(s, "none/at/all", NULL, &oc, &err));
    assert_int_equal(oc.fault, VV_OBJECT_FAULT_MISSING);
    assert_non_null(strstr(err.msg, "none/at/all"));
    assert_non_null(strstr(err.msg, vv_object_store_name(s)));
    assert_status(VV_NOT_FOUND, vv_object_get(s, "none", 0, buf, 8, &got, NULL, &oc, &err));
    assert_ok(vv_object_remove(s, "none", &oc, &err), err);
}

/* ---- lists --------------------------------------------------------------------------------- */

typedef struct listed {
    char last[VV_OBJECT_NAME_MAX + 1];
    unsigned count;
    unsigned stop_at;
    bool ordered;
} listed;

static bool count_one(void *ctx, const char *name, const vv_object_info *info)
{
    listed *l = ctx;
    l->ordered = l->ordered && strcmp(name, l->last) > 0 && info->size == strlen(name);
    (void)snprintf(l->last, sizeof l->last, "%s", name);
    l->count++;
    return l->stop_at == 0 || l->count < l->stop_at;
}

static void a_list_pages_in_order(vv_object_store *s, const objs_suite_traits *t)
{
    static const char *const odd[] = {"l/a-b",   "l/a/b", "l/a.b", "l/ab",  "l/A",
                                      "l/a/c/d", "l/a0",  "l2",    "l/a/b0"};
    unsigned n = t->objects;
    char name[64];
    bool more = false;
    for (size_t i = 0; i < ARRAY_LEN(odd); i++)
        put_text(s, odd[i], odd[i]);
    for (unsigned i = 0; i < n; i++) {
        (void)snprintf(name, sizeof name, "many/%03u/%u", i % 7, i);
        put_text(s, name, name);
    }
    listed all = {.ordered = true};
    assert_ok(vv_object_list(s, "", NULL, VV_OBJECT_LIST_MAX, count_one, &all, &more, &oc, &err),
              err);
    assert_int_equal(all.count, n + ARRAY_LEN(odd));
    assert_true(all.ordered);
    assert_false(more);
    listed paged = {.ordered = true};
    do {
        char after[VV_OBJECT_NAME_MAX + 1];
        (void)snprintf(after, sizeof after, "%s", paged.last);
        assert_ok(vv_object_list(s, "", after, 4, count_one, &paged, &more, &oc, &err), err);
    } while (more);
    assert_int_equal(paged.count, all.count);
    assert_true(paged.ordered);
    static const struct {
        const char *prefix;
        const char *after;
        unsigned want;
    } cases[] = {{"l/", "", 8},       {"l", "", 9},   {"l/a/", "", 3},        {"l/a/", "l/a/b", 2},
                 {"l/a", "l/a.b", 5}, {"l/z", "", 0}, {"many/000/", "zz", 0}, {"", "zzz", 0}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        listed l = {.ordered = true};
        assert_ok(vv_object_list(s, cases[i].prefix, cases[i].after, 1000, count_one, &l, &more,
                                 &oc, &err),
                  err);
        if (l.count != cases[i].want)
            fail_msg("list '%s' after '%s': %u, not %u", cases[i].prefix, cases[i].after, l.count,
                     cases[i].want);
    }
    listed stopped = {.ordered = true, .stop_at = 2};
    assert_ok(vv_object_list(s, "", NULL, 100, count_one, &stopped, &more, &oc, &err), err);
    assert_int_equal(stopped.count, 2);
    assert_true(more);
    for (size_t i = 0; i < ARRAY_LEN(odd); i++)
        assert_ok(vv_object_remove(s, odd[i], &oc, &err), err);
    for (unsigned i = 0; i < n; i++) {
        (void)snprintf(name, sizeof name, "many/%03u/%u", i % 7, i);
        assert_ok(vv_object_remove(s, name, &oc, &err), err);
    }
}

/* ---- uploads ------------------------------------------------------------------------------- */

static void parts_become_one_object(vv_object_store *s, const objs_suite_traits *t)
{
    size_t size = t->part_size * 2 + 1234;
    uint8_t *bytes = vv_alloc(size);
    uint8_t *back = vv_alloc(size);
    vv_object_upload *u = NULL;
    vv_object_limits limits;
    vv_object_info info;
    size_t got = 0;
    fill(bytes, size, 9);
    vv_object_store_limits(s, &limits);
    assert_ok(vv_object_upload_begin(s, "up/large", VV_OBJECT_REPLACE, &u, &oc, &err), err);
    assert_status(VV_INVALID, vv_object_upload_complete(u, &info, &oc, &err));
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t number = limits.parallel_parts ? (i + 2) % 3 + 1 : i + 1; /* 3, 1, 2 */
        size_t at = (number - 1) * t->part_size;
        size_t n = number == 3 ? 1234 : t->part_size;
        vv_slice piece[2] = {vv_slice_of(bytes + at, n / 2),
                             vv_slice_of(bytes + at + n / 2, n - n / 2)};
        assert_ok(vv_object_upload_part(u, number, piece, 2, &oc, &err), err);
        if (limits.parallel_parts && i == 1) /* 2 is missing yet */
            assert_status(VV_INVALID, vv_object_upload_complete(u, &info, &oc, &err));
    }
    assert_status(VV_NOT_FOUND, vv_object_head(s, "up/large", NULL, &oc, &err));
    assert_ok(vv_object_upload_complete(u, &info, &oc, &err), err);
    assert_int_equal(info.size, size);
    assert_ok(vv_object_get(s, "up/large", 0, back, size, &got, &info, &oc, &err), err);
    assert_int_equal(got, size);
    assert_memory_equal(back, bytes, size);
    if (info.has_crc)
        assert_int_equal(info.crc32c, vv_crc32c(0, bytes, size));
    /* A name that is taken, at the begin. */
    assert_status(VV_CONFLICT,
                  vv_object_upload_begin(s, "up/large", VV_OBJECT_CREATE, &u, &oc, &err));
    assert_ok(vv_object_remove(s, "up/large", &oc, &err), err);
    vv_free(bytes);
    vv_free(back);
}

static void an_upload_can_be_dropped(vv_object_store *s, const objs_suite_traits *t)
{
    vv_object_upload *u = NULL;
    vv_slice piece = vv_slice_str("of no use");
    (void)t;
    assert_ok(vv_object_upload_begin(s, "up/dropped", VV_OBJECT_REPLACE, &u, &oc, &err), err);
    assert_ok(vv_object_upload_part(u, 1, &piece, 1, &oc, &err), err);
    assert_ok(vv_object_upload_abort(u, &oc, &err), err);
    assert_status(VV_NOT_FOUND, vv_object_head(s, "up/dropped", NULL, &oc, &err));
    assert_ok(vv_object_upload_begin(s, "up/dropped", VV_OBJECT_REPLACE, &u, &oc, &err), err);
    assert_ok(vv_object_upload_abort(u, &oc, &err), err);
    if (!t->create_upload)
        return;
    assert_ok(vv_object_upload_begin(s, "up/raced", VV_OBJECT_CREATE, &u, &oc, &err), err);
    assert_ok(vv_object_upload_part(u, 1, &piece, 1, &oc, &err), err);
    put_text(s, "up/raced", "the winner");
    assert_status(VV_CONFLICT, vv_object_upload_complete(u, NULL, &oc, &err));
    assert_ok(vv_object_upload_abort(u, &oc, &err), err);
    expect_text(s, "up/raced", "the winner");
    assert_ok(vv_object_remove(s, "up/raced", &oc, &err), err);
}

/* ---- threads ------------------------------------------------------------------------------- */

typedef struct worker {
    vv_object_store *store;
    unsigned index;
    unsigned won;
} worker;

#define RACES 6u

static void work(void *arg)
{
    worker *w = arg;
    for (unsigned i = 0; i < RACES; i++) {
        char name[64];
        char text[32];
        char back[32];
        size_t got = 0;
        vv_object_outcome o;
        (void)snprintf(name, sizeof name, "race/%u", i);
        (void)snprintf(text, sizeof text, "by %u", w->index);
        vv_slice piece = vv_slice_str(text);
        vv_status st = vv_object_put(w->store, name, &piece, 1, VV_OBJECT_CREATE, NULL, &o, NULL);
        VV_CHECK(st == VV_OK || st == VV_CONFLICT);
        w->won += st == VV_OK;
        st = vv_object_get(w->store, name, 0, back, sizeof back, &got, NULL, &o, NULL);
        VV_CHECK(st == VV_OK && got == strlen(text));
        (void)snprintf(name, sizeof name, "own/%u/%u", w->index, i);
        VV_CHECK(vv_object_put(w->store, name, &piece, 1, VV_OBJECT_REPLACE, NULL, &o, NULL) ==
                 VV_OK);
        VV_CHECK(vv_object_remove(w->store, name, &o, NULL) == VV_OK);
    }
}

static void a_race_has_one_winner(vv_object_store *s, const objs_suite_traits *t)
{
    worker w[8];
    vv_thread *thread[8];
    unsigned won = 0;
    assert_true(t->threads <= ARRAY_LEN(w));
    for (unsigned i = 0; i < t->threads; i++) {
        w[i] = (worker){.store = s, .index = i};
        assert_ok(
            vv_threads_real()->create("suite", VV_THREAD_NORMAL, work, &w[i], &thread[i], &err),
            err);
    }
    for (unsigned i = 0; i < t->threads; i++) {
        vv_threads_real()->join(thread[i]);
        won += w[i].won;
    }
    assert_int_equal(vv_check_failures(), 0);
    assert_int_equal(won, RACES);
    for (unsigned i = 0; i < RACES; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "race/%u", i);
        assert_ok(vv_object_remove(s, name, &oc, &err), err);
    }
}

static void figures_count_what_was_done(vv_object_store *s)
{
    vv_object_stats before = {.size = sizeof before};
    vv_object_stats after = {.size = sizeof after};
    vv_object_store_stats(s, &before);
    put_text(s, "figures", "123456789");
    expect_text(s, "figures", "123456789");
    assert_ok(vv_object_remove(s, "figures", &oc, &err), err);
    vv_object_store_stats(s, &after);
    assert_int_equal(after.op[VV_OBJECT_OP_PUT].calls, before.op[VV_OBJECT_OP_PUT].calls + 1);
    assert_int_equal(after.op[VV_OBJECT_OP_PUT].bytes, before.op[VV_OBJECT_OP_PUT].bytes + 9);
    assert_int_equal(after.op[VV_OBJECT_OP_GET].bytes, before.op[VV_OBJECT_OP_GET].bytes + 9);
    assert_true(after.op[VV_OBJECT_OP_GET].max_ns > 0);
    assert_int_equal(after.in_flight, 0);
    assert_int_equal(after.consecutive_failures, 0);
    assert_true(after.last_success_ns > 0);
}

void objs_suite_run(vv_object_store *store, const objs_suite_traits *traits)
{
    what_was_put_comes_back(store, traits);
    prop_a_range_is_a_part_of_the_whole(store, traits);
    one_creates_a_name(store, traits);
    what_is_not_there_is_not_found(store, traits);
    a_list_pages_in_order(store, traits);
    parts_become_one_object(store, traits);
    an_upload_can_be_dropped(store, traits);
    if (traits->threads != 0 && traits->create)
        a_race_has_one_winner(store, traits);
    figures_count_what_was_done(store);
}
