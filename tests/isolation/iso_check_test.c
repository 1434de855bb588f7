/*
 * iso_check_test.c - the checker is checked: hand-made histories, each with one anomaly, and good
 * ones with none. A checker that finds nothing proves nothing.
 *
 * "a1.2" appends value 2 to key 1, "r1.23" reads key 1 as [2, 3]; a transaction ends with "c", "x"
 * (aborted) or "?" (unknown).
 */
#include "vv_test.h"

#include <string.h>

#include "base/rng.h"
#include "isolation/iso_check.h"

/* One transaction a string. */
static void add_txn(iso_history *h, const char *text)
{
    char end = text[strlen(text) - 1];
    iso_txn(h, end == 'c' ? ISO_COMMITTED : end == 'x' ? ISO_ABORTED : ISO_UNKNOWN);
    for (const char *p = text; *p == 'a' || *p == 'r'; p += strcspn(p, " "), p += *p == ' ') {
        uint32_t key = (uint32_t)(p[1] - '0');
        uint32_t list[16];
        size_t n = 0;
        for (const char *v = p + 3; *v >= '0' && *v <= '9'; v++)
            list[n++] = (uint32_t)(*v - '0');
        if (*p == 'a')
            iso_append(h, key, list[0]);
        else
            iso_read(h, key, list, n);
    }
}

#define TXNS_MAX 6

static const struct {
    const char *name;
    const char *txn[TXNS_MAX];
    uint32_t want;
} cases[] = {
    {"nothing at all", {NULL}, 0},
    {"one after the other", {"r0. a0.1 c", "r0.1 a0.2 c", "r0.12 c"}, 0},
    {"own appends are read", {"r0. a0.1 r0.1 a0.2 r0.12 c", "r0.12 c"}, 0},
    {"an aborted one leaves nothing", {"r0. a0.1 x", "r0. a0.2 c", "r0.2 c"}, 0},
    {"an unknown one may be there", {"a0.1 ?", "r0.1 c"}, 0},
    {"an unknown one may be gone", {"a0.1 ?", "r0. c"}, 0},
    {"two readers of prefixes", {"a0.1 c", "r0.1 a0.2 c", "r0. c", "r0.1 c", "r0.12 c"}, 0},
    {"G0: two keys, two orders", {"a0.1 a1.3 c", "a0.2 a1.4 c", "r0.12 c", "r1.43 c"}, ISO_G0},
    {"G1a: of an aborted one", {"a0.1 x", "r0.1 c"}, ISO_G1A},
    {"G1a: in the middle of a list", {"a0.1 x", "a0.2 c", "r0.12 c"}, ISO_G1A},
    /* It misses the second append and sees the first: read skew, too. */
    {"G1b: between two appends", {"a0.1 a0.2 c", "r0.1 c", "r0.12 c"}, ISO_G1B | ISO_READ_SKEW},
    {"G1c: each sees the other", {"a0.1 r1.2 c", "a1.2 r0.1 c"}, ISO_G1C},
    {"lost update: both built on nothing", {"r0. a0.1 c", "r0. a0.2 c", "r0.2 c"}, ISO_LOST_UPDATE},
    {"lost update: the append is gone", {"a0.1 c", "a0.2 c", "r0.2 c"}, ISO_LOST_UPDATE},
    /* Both appends are kept, but one was made without knowing the other. */
    {"lost update: both kept",
     {"r0. a0.1 c", "r0. a0.2 c", "r0.12 c"},
     ISO_LOST_UPDATE | ISO_READ_SKEW},
    {"read skew: half of a transaction", {"a0.1 a1.2 c", "r0.1 r1. c", "r1.2 c"}, ISO_READ_SKEW},
    {"read skew: over a third", {"a0.1 c", "r0.1 a1.2 c", "r1.2 r0. c"}, ISO_READ_SKEW},
    {"read skew of an aborted reader", {"a0.1 a1.2 c", "r0.1 r1. x", "r1.2 c"}, ISO_READ_SKEW},
    {"long fork: two readers, two orders",
     {"a0.1 c", "a1.2 c", "r0.1 r1. c", "r0. r1.2 c"},
     ISO_LONG_FORK},
    {"write skew: each misses the other",
     {"r0. r1. a0.1 c", "r0. r1. a1.2 c", "r0.1 r1.2 c"},
     ISO_WRITE_SKEW},
    {"write skew of three",
     {"r1. a0.1 c", "r2. a1.2 c", "r0. a2.3 c", "r0.1 r1.2 r2.3 c"},
     ISO_WRITE_SKEW},
    {"two orders of one list", {"a0.1 c", "a0.2 c", "r0.12 c", "r0.21 c"}, ISO_ORDER},
    {"an own append is not read", {"a0.1 r0. c", "r0.1 c"}, ISO_INTERNAL},
    {"a read does not repeat", {"a0.1 c", "r0. r0.1 c"}, ISO_INTERNAL},
    {"a value from nowhere", {"a0.1 c", "r0.19 c"}, ISO_GARBAGE},
    {"a value of another key", {"a1.1 c", "r0.1 c"}, ISO_GARBAGE},
    {"a value twice", {"a0.1 c", "r0.11 c"}, ISO_GARBAGE},
};

static void each_anomaly_is_found_and_no_other(void **state)
{
    (void)state;
    char why[2048];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        iso_history *h = iso_create();
        for (size_t t = 0; t < TXNS_MAX && cases[i].txn[t] != NULL; t++)
            add_txn(h, cases[i].txn[t]);
        uint32_t got = iso_check(h, why, sizeof why);
        if (got != cases[i].want) {
            char want[128];
            (void)snprintf(want, sizeof want, "%s", iso_names(cases[i].want));
            fail_msg("%s: '%s' instead of '%s'\n%s", cases[i].name, iso_names(got), want, why);
        }
        if (got != 0)
            assert_true(strlen(why) > 10);
        iso_destroy(h);
    }
}

/* A serial execution shows nothing, in whatever order its transactions are written down; with two
 * neighbours' reads swapped for older ones it shows something now and then. */
static void prop_a_serial_history_is_clean(void **state)
{
    (void)state;
    enum { KEYS = 6, TXNS = 300 };
    char why[2048];
    vv_rng rng;
    unsigned broken = 0;
    vv_rng_init(&rng, vv_test_seed(0x150));
    for (int round = 0; round < 60; round++) {
        static uint32_t list[KEYS][TXNS * 4];
        size_t len[KEYS] = {0};
        uint32_t value = 0;
        bool stale = round % 2 == 1;
        iso_history *h = iso_create();
        for (int t = 0; t < TXNS; t++) {
            bool abort = vv_rng_one_in(&rng, 5);
            size_t before[KEYS];
            memcpy(before, len, sizeof len);
            iso_txn(h, abort ? ISO_ABORTED : ISO_COMMITTED);
            for (uint64_t n = 1 + vv_rng_below(&rng, 4); n > 0; n--) {
                uint32_t k = (uint32_t)vv_rng_below(&rng, KEYS);
                size_t seen = len[k];
                if (stale && before[k] == len[k] && len[k] > 0 && vv_rng_one_in(&rng, 50))
                    seen--;
                iso_read(h, k, list[k], seen);
                if (vv_rng_one_in(&rng, 2)) {
                    list[k][len[k]++] = ++value;
                    iso_append(h, k, value);
                }
            }
            if (abort)
                memcpy(len, before, sizeof len);
        }
        iso_txn(h, ISO_COMMITTED);
        for (uint32_t k = 0; k < KEYS; k++)
            iso_read(h, k, list[k], len[k]);
        uint32_t got = iso_check(h, why, sizeof why);
        if (!stale && got != 0)
            fail_msg("round %d: %s\n%s", round, iso_names(got), why);
        broken += got != 0;
        iso_destroy(h);
    }
    assert_true(broken > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_anomaly_is_found_and_no_other),
        cmocka_unit_test(prop_a_serial_history_is_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
