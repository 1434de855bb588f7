/*
 * feed_nats_test.c - what needs no server: the numbers in a reply, and options that are refused.
 * The rest is in tests/nats.
 */
#include "feeds/feed_nats.h"

#include <nats/nats.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "vv_test.h"

static void test_numbers_of_a_reply(void **state)
{
    (void)state;
    const struct {
        const char *in;
        bool good;
    } cases[] = {
        {"$JS.ACK.EVENTS.varve.1.42.7.1700000000000000005.9", true},
        {"$JS.ACK.hub.ABCDEF.EVENTS.varve.1.42.7.1700000000000000005.9.x7", true},
        {"$JS.ACK.hub.ABCDEF.EVENTS.varve.1.42.7.1700000000000000005.9", true},
        {"$JS.ACK.hub.ABCDEF.EVENTS.varve.1.42.7.1700000000000000005.9.x7.more.tokens", true},
        {"", false},
        {"$JS.ACK", false},
        {"_INBOX.abc.1", false},
        {"$JS.NAK.EVENTS.varve.1.42.7.1700000000000000005.9", false},
        {"$JS.ACK.EVENTS.varve.1.42.7.1700000000000000005", false},
        {"$JS.ACK.a.EVENTS.varve.1.42.7.1700000000000000005.9", false},
        {"$JS.ACK.EVENTS.varve.1.0.7.1700000000000000005.9", false},
        {"$JS.ACK.EVENTS.varve.1.42.0.1700000000000000005.9", false},
        {"$JS.ACK.EVENTS.varve.1.-42.7.1700000000000000005.9", false},
        {"$JS.ACK.EVENTS.varve.1..7.1700000000000000005.9", false},
        {"$JS.ACK.EVENTS.varve.1.99999999999999999999.7.1700000000000000005.9", false},
        {"$JS.ACK.EVENTS.varve.1.4x.7.1700000000000000005.9", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        feed_nats_meta m = {0};
        if (feed_nats_read_meta(vv_slice_str(cases[i].in), &m) != cases[i].good)
            fail_msg("'%s'", cases[i].in);
        if (cases[i].good && (m.sequence != 42 || m.delivery != 7 || m.waiting != 9 ||
                              m.published_ns != 1700000000000000005))
            fail_msg("numbers of '%s'", cases[i].in);
    }
}

static void prop_any_bytes_are_read_or_refused(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(0x4a75));
    const char good[] = "$JS.ACK.EVENTS.varve.1.42.7.1700000000000000005.9";
    for (int i = 0; i < 20000; i++) {
        size_t len = vv_rng_below(&rng, sizeof good);
        uint8_t *copy = malloc(len == 0 ? 1 : len); /* exact, for the address sanitizer */
        feed_nats_meta m = {0};
        memcpy(copy, good, len);
        for (size_t k = 0; len > 0 && k < 1 + vv_rng_below(&rng, 3); k++)
            copy[vv_rng_below(&rng, len)] = (uint8_t)vv_rng_next(&rng);
        if (feed_nats_read_meta(vv_slice_of(copy, len), &m))
            assert_true(m.sequence > 0 && m.delivery > 0 && m.published_ns >= 0);
        free(copy);
    }
}

static void test_options_that_are_refused(void **state)
{
    (void)state;
    const struct {
        const char *name;
        feed_nats_options options;
        const char *want;
    } cases[] = {
        {"a batch too large", {.batch = FEED_NATS_BATCH_MAX + 1}, "nats.batch"},
        {"no server in the url", {.url = " , "}, "nats.url"},
        {"no such authority", {.tls_ca = "/nowhere/ca.pem"}, "nats.tls"},
        {"no such certificate",
         {.tls_cert = "/nowhere/c.pem", .tls_key = "/nowhere/k.pem"},
         "nats.tls"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        feed_broker *broker = NULL;
        vv_error err = {0};
        if (feed_nats_create(&cases[i].options, &broker, &err) == VV_OK ||
            strstr(err.msg, cases[i].want) == NULL || broker != NULL)
            fail_msg("%s: %s", cases[i].name, err.msg);
    }
}

/* Nobody listens: open fails with a sentence, close is harmless, and so it goes again. */
static void test_no_server(void **state)
{
    (void)state;
    for (unsigned is_core = 0; is_core < 2; is_core++) {
        feed_broker *broker = NULL;
        feed_stream stream;
        vv_error err = {0};
        const feed_nats_options options = {.url = "nats://127.0.0.1:1", .is_core = is_core == 1};
        assert_ok(feed_nats_create(&options, &broker, &err), err);
        for (int i = 0; i < 2; i++) {
            assert_int_not_equal(broker->ops->open(broker, &stream, &err), VV_OK);
            assert_non_null(strstr(err.msg, "nats: connect"));
            assert_int_equal(broker->ops->dropped(broker), 0);
            broker->ops->close(broker);
        }
        feed_nats_destroy(broker);
    }
    feed_nats_destroy(NULL);
}

static void prop_every_allocation_may_fail(void **state)
{
    (void)state;
    vv_status st = VV_NO_MEMORY;
    for (int64_t n = 0; st != VV_OK; n++) {
        feed_broker *broker = NULL;
        vv_alloc_fail_after(n, 0);
        st = feed_nats_create(&(feed_nats_options){.is_core = true, .token = "t"}, &broker, NULL);
        vv_alloc_fail_after(-1, 0);
        assert_true(st == VV_OK || st == VV_NO_MEMORY);
        feed_nats_destroy(broker);
    }
}

static void test_subjects(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *subject;
        bool is_match;
    } cases[] = {
        {"enterprise.>", "enterprise.a", true},
        {"enterprise.>", "enterprise.a.b.c", true},
        {"enterprise.>", "enterprise", false},
        {"enterprise.>", "enterprises.a", false},
        {">", "a", true},
        {"a.*.c", "a.b.c", true},
        {"a.*.c", "a.b.d", false},
        {"a.*", "a.b.c", false},
        {"a.*", "a", false},
        {"a.b", "a.b", true},
        {"a.b", "a.bc", false},
        {"a.b", "a", false},
        {"a", "a.b", false},
        {"*.*", "a.b", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (feed_nats_is_match(cases[i].pattern, cases[i].subject) != cases[i].is_match)
            fail_msg("%s of %s", cases[i].subject, cases[i].pattern);
}

static int close_library(void **state)
{
    (void)state;
    nats_Close();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_of_a_reply),
        cmocka_unit_test(prop_any_bytes_are_read_or_refused),
        cmocka_unit_test(test_options_that_are_refused),
        cmocka_unit_test(test_no_server),
        cmocka_unit_test(test_subjects),
        cmocka_unit_test(prop_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, close_library);
}
