/*
 * arch_test_util.h - objects in memory, and messages of every shape for the tests of archive/.
 */
#ifndef VARVE_ARCHIVE_ARCH_TEST_UTIL_H
#define VARVE_ARCHIVE_ARCH_TEST_UTIL_H

#include "vv_test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "archive/archive.h"
#include "base/rng.h"

#define ARCH_TEST_FIRST 1000u
#define ARCH_TEST_TIME INT64_C(1782000000000000000) /* in June 2026 */

static inline arch_identity arch_test_who(void)
{
    arch_identity who = {.intent = 0x1122334455667788,
                         .tenant = "plant",
                         .table = "events",
                         .partition = 2,
                         .partition_count = 4,
                         .made_ns = ARCH_TEST_TIME};
    memcpy(who.store_id, "sixteen bytes id", 16);
    return who;
}

/* ---- bytes of an object: a sink and a source ---- */

typedef struct arch_bytes {
    uint8_t *data;
    size_t len;
    size_t cap;
    unsigned reads;
    uint64_t read_bytes;
    int64_t fail_in; /* calls until one fails; negative: never */
} arch_bytes;

static inline vv_status arch_bytes_write(void *ctx, const void *data, size_t len, vv_error *err)
{
    arch_bytes *b = ctx;
    if (b->fail_in >= 0 && b->fail_in-- == 0)
        return vv_fail(err, VV_IO, "the sink is broken");
    if (b->len + len > b->cap) {
        size_t cap = (b->len + len) * 2;
        uint8_t *more = realloc(b->data, cap);
        if (more == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for the test");
        b->data = more;
        b->cap = cap;
    }
    memcpy(b->data + b->len, data, len);
    b->len += len;
    return VV_OK;
}

static inline vv_status arch_bytes_read(void *ctx, uint64_t offset, void *out, size_t len,
                                        vv_error *err)
{
    arch_bytes *b = ctx;
    if (b->fail_in >= 0 && b->fail_in-- == 0)
        return vv_fail(err, VV_IO, "the source is broken");
    if (offset > b->len || len > b->len - offset)
        return vv_fail(err, VV_IO, "a read behind the end");
    memcpy(out, b->data + offset, len);
    b->reads++;
    b->read_bytes += len;
    return VV_OK;
}

static inline arch_sink arch_bytes_sink(arch_bytes *b)
{
    return (arch_sink){.write = arch_bytes_write, .ctx = b};
}

static inline arch_source arch_bytes_source(arch_bytes *b)
{
    return (arch_source){.read = arch_bytes_read, .ctx = b, .size = b->len};
}

/* ---- messages, told by their number alone ---- */

typedef struct arch_test_message {
    vv_message m;
    vv_attribute attribute[8];
    char text[8][64];
    uint8_t value[2048];
} arch_test_message;

static inline void arch_test_attribute(arch_test_message *t, unsigned which, vv_rng *rng)
{
    static const char *const names[] = {"device", "raw", "n", "x", "ok", "when", "level", "long"};
    vv_attribute *a = &t->attribute[t->m.attribute_count];
    char *text = t->text[t->m.attribute_count];
    *a = (vv_attribute){.name = vv_slice_str(names[which])};
    switch (which) {
    case 0:
    case 6:
        a->type = VV_ATTRIBUTE_STRING;
        a->bytes = vv_slice_of(text, (size_t)snprintf(text, 64, "%s-%03u", names[which],
                                                      (unsigned)vv_rng_below(rng, 200)));
        break;
    case 1:
    case 7:
        a->type = VV_ATTRIBUTE_BYTES;
        vv_rng_bytes(rng, text, 60);
        if (which == 7)
            memset(text, 'l', 30);
        a->bytes = vv_slice_of(text, vv_rng_below(rng, 60));
        break;
    case 2:
        a->type = VV_ATTRIBUTE_I64;
        a->i64 = (int64_t)vv_rng_next(rng);
        a->i64 >>= vv_rng_below(rng, 64);
        break;
    case 3:
        a->type = VV_ATTRIBUTE_F64;
        a->f64 = vv_rng_one_in(rng, 200) ? (double)NAN : (double)vv_rng_below(rng, 1000) / 8 - 60;
        break;
    case 4:
        a->type = VV_ATTRIBUTE_BOOL;
        a->i64 = (int64_t)vv_rng_below(rng, 2);
        break;
    default:
        a->type = VV_ATTRIBUTE_TIME;
        a->i64 = ARCH_TEST_TIME + (int64_t)vv_rng_below(rng, 1000000);
        break;
    }
    t->m.attribute_count++;
}

/* Message number i of a seed: offset, times, and anything else or nothing. */
static inline void arch_test_message_of(uint64_t seed, uint64_t i, arch_test_message *t)
{
    vv_rng rng;
    vv_rng_init(&rng, seed * 1000003 + i);
    memset(&t->m, 0, sizeof t->m);
    t->m.offset = ARCH_TEST_FIRST + i;
    t->m.partition = 2;
    t->m.receive_time_ns = ARCH_TEST_TIME + (int64_t)(i / 7) * 1000;
    t->m.attributes = t->attribute;
    uint64_t what = vv_rng_next(&rng);
    if ((what & 1) != 0)
        t->m.key = vv_slice_str("a key");
    if ((what & 2) != 0)
        t->m.content_type = vv_slice_str("application/json");
    if ((what & 4) != 0)
        t->m.source = vv_slice_str("plant/7");
    if ((what & 24) != 0)
        t->m.event_time_ns = t->m.receive_time_ns - (int64_t)vv_rng_below(&rng, 5000);
    for (unsigned k = 0; k < 8; k++)
        if ((what >> (8 + k) & 1) != 0)
            arch_test_attribute(t, k, &rng);
    size_t len = vv_rng_below(&rng, sizeof t->value);
    if ((what & 0x10000) != 0) { /* words repeat, numbers do not */
        const unsigned degrees = (unsigned)vv_rng_below(&rng, 4000);
        const unsigned version = (unsigned)vv_rng_below(&rng, 9);
        len = (size_t)snprintf((char *)t->value, sizeof t->value,
                               "{\"temperature\":%u,\"state\":\"running\",\"firmware\":\"v1.%u\"}",
                               degrees, version);
    } else if ((what & 0x20000) != 0) {
        memset(t->value, 'v', len);
    } else {
        vv_rng_bytes(&rng, t->value, len);
    }
    t->m.value = vv_slice_of(t->value, len);
}

static inline void arch_test_same(const vv_message *a, const vv_message *b)
{
    assert_true(a->offset == b->offset && a->receive_time_ns == b->receive_time_ns);
    assert_true(a->event_time_ns == b->event_time_ns && a->partition == b->partition);
    assert_true(vv_slice_eq(a->key, b->key) && vv_slice_eq(a->value, b->value));
    assert_true(vv_slice_eq(a->content_type, b->content_type) && vv_slice_eq(a->source, b->source));
    assert_int_equal(a->attribute_count, b->attribute_count);
    for (size_t i = 0; i < a->attribute_count; i++) {
        const vv_attribute *x = &a->attributes[i];
        const vv_attribute *y = &b->attributes[i];
        assert_true(vv_slice_eq(x->name, y->name) && x->type == y->type);
        assert_true(vv_slice_eq(x->bytes, y->bytes) && x->i64 == y->i64);
        assert_memory_equal(&x->f64, &y->f64, sizeof x->f64);
    }
}

/* An object of count messages of a seed into *out, which the test frees. */
static inline arch_summary arch_test_write(const arch_writer_options *opt, uint64_t seed,
                                           uint64_t count, arch_bytes *out)
{
    static arch_test_message t;
    vv_error err = {0};
    arch_writer *w = NULL;
    arch_summary sum;
    *out = (arch_bytes){.fail_in = -1};
    assert_ok(arch_writer_open(opt, arch_bytes_sink(out), &w, &err), err);
    for (uint64_t i = 0; i < count; i++) {
        arch_test_message_of(seed, i, &t);
        assert_ok(arch_writer_add(w, &t.m, &err), err);
    }
    assert_int_equal(arch_writer_count(w), count);
    assert_ok(arch_writer_finish(w, &sum, &err), err);
    arch_writer_close(w);
    return sum;
}

#endif
