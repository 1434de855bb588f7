/*
 * cat_test.c - records of tables, names, suggestions, and the steps of create and drop over a
 * commit path that can fail at each of them.
 */
#include "vv_test.h"

#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "catalog/cat_int.h"

/* ---- records ---- */

static cat_table sample(void)
{
    return (cat_table){.state = CAT_READY,
                       .kind = VV_TABLE_RECORD,
                       .id = 300,
                       .index_id = 301,
                       .shard = 2,
                       .partition_count = 1,
                       .version_retention_ns = 5,
                       .created_ns = -1,
                       .engine = "lsm",
                       .tenant = "a",
                       .name = "b.c"};
}

static void a_record_has_these_bytes(void **state)
{
    (void)state;
    static const uint8_t golden[] = {
        1,    2,    2,    0,    0xac, 2,    0xad, 2, 2,   5,   0,   0, 0,   0, 0,   0,   0,  0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 3, 'l', 's', 'm', 1, 'a', 3, 'b', '.', 'c'};
    uint8_t bytes[CAT_RECORD_MAX];
    cat_table t = sample();
    assert_int_equal(cat_record_encode(&t, bytes), sizeof golden);
    assert_memory_equal(bytes, golden, sizeof golden);
    uint8_t key[CAT_KEY_MAX];
    assert_int_equal(cat_record_key("a", "b.c", key), 6);
    assert_memory_equal(key, "Ta\0b.c", 6);
}

/* A choice of form stands behind the names; without one the bytes are those above. */
static void a_record_with_options_has_these_bytes(void **state)
{
    (void)state;
    static const uint8_t tail[] = {'b', '.', 'c', 1, 1, 3};
    uint8_t bytes[CAT_RECORD_MAX];
    uint8_t plain[CAT_RECORD_MAX];
    static cat_table back;
    cat_table t = sample();
    size_t plain_len = cat_record_encode(&t, plain);
    t.compression = VV_COMPRESSION_ZSTD;
    size_t len = cat_record_encode(&t, bytes);
    assert_int_equal(len, plain_len + 3);
    assert_int_equal(bytes[3], 1);
    bytes[3] = 0;
    assert_memory_equal(bytes, plain, plain_len);
    bytes[3] = 1;
    assert_memory_equal(bytes + len - sizeof tail, tail, sizeof tail);
    assert_int_equal(cat_record_decode(vv_slice_of(bytes, len), &back, NULL), VV_OK);
    assert_int_equal(back.compression, VV_COMPRESSION_ZSTD);
    bytes[len - 1] = 0; /* a default is not written */
    assert_status(VV_CORRUPT, cat_record_decode(vv_slice_of(bytes, len), &back, NULL));
    bytes[len - 1] = 4;
    assert_status(VV_CORRUPT, cat_record_decode(vv_slice_of(bytes, len), &back, NULL));
    bytes[len - 2] = 200; /* an option of a later version */
    assert_status(VV_UNSUPPORTED, cat_record_decode(vv_slice_of(bytes, len), &back, NULL));
}

static void a_record_of_series_says_what_rollups_it_has(void **state)
{
    (void)state;
    uint8_t bytes[CAT_RECORD_MAX];
    static cat_table back;
    cat_table t = sample();
    t.kind = VV_TABLE_SERIES;
    t.index_id = 0;
    t.out_of_order_ns = CAT_OUT_OF_ORDER_DEFAULT_NS;
    t.future_ns = CAT_FUTURE_DEFAULT_NS;
    t.no_rollups = true;
    t.rollup_retention_ns[0] = 5;
    t.rollup_retention_ns[1] = INT64_MAX;
    size_t len = cat_record_encode(&t, bytes);
    assert_int_equal(cat_record_decode(vv_slice_of(bytes, len), &back, NULL), VV_OK);
    assert_true(back.no_rollups);
    assert_int_equal(cat_rollup_retention(&back, 0), 5);
    assert_int_equal(cat_rollup_retention(&back, 1), 0);
    t.rollup_retention_ns[0] = t.rollup_retention_ns[1] = 0;
    len = cat_record_encode(&t, bytes);
    assert_memory_equal(bytes + len - 3, ((uint8_t[]){1, 7, 1}), 3);
    bytes[len - 1] = 2;
    assert_status(VV_CORRUPT, cat_record_decode(vv_slice_of(bytes, len), &back, NULL));
}

static void a_record_of_a_stream_says_what_it_keeps(void **state)
{
    (void)state;
    uint8_t bytes[CAT_RECORD_MAX];
    static cat_table back;
    cat_table t = sample();
    t.kind = VV_TABLE_STREAM;
    t.index_id = 0;
    t.message_size_max = CAT_MESSAGE_DEFAULT;
    t.producer_retention_ns = CAT_PRODUCER_DEFAULT_NS;
    t.producers_max = CAT_PRODUCERS_DEFAULT;
    size_t len = cat_record_encode(&t, bytes);
    assert_int_equal(bytes[3], 0);
    assert_int_equal(cat_record_decode(vv_slice_of(bytes, len), &back, NULL), VV_OK);
    assert_int_equal(back.producers_max, CAT_PRODUCERS_DEFAULT);
    t.retention_ns = 5;
    t.retention_bytes = UINT64_MAX;
    t.message_size_max = 7;
    t.producer_retention_ns = INT64_MAX;
    t.producers_max = 9;
    len = cat_record_encode(&t, bytes);
    assert_int_equal(cat_record_decode(vv_slice_of(bytes, len), &back, NULL), VV_OK);
    assert_true(back.retention_ns == 5 && back.retention_bytes == UINT64_MAX);
    assert_true(back.message_size_max == 7 && back.producer_retention_ns == INT64_MAX);
    assert_int_equal(back.producers_max, 9);
    bytes[len - 1] = 0;
    assert_status(VV_CORRUPT, cat_record_decode(vv_slice_of(bytes, len), &back, NULL));
    bytes[2] = VV_TABLE_KV;
    bytes[len - 1] = 9;
    assert_status(VV_CORRUPT, cat_record_decode(vv_slice_of(bytes, len), &back, NULL));
}

static void a_record_with_partitions_says_so(void **state)
{
    (void)state;
    uint8_t bytes[CAT_RECORD_MAX];
    static cat_table back;
    cat_table t = sample();
    t.partition_count = 64;
    size_t len = cat_record_encode(&t, bytes);
    assert_int_equal(bytes[3], 1);
    assert_memory_equal(bytes + len - 3, ((uint8_t[]){1, 3, 64}), 3);
    assert_int_equal(cat_record_decode(vv_slice_of(bytes, len), &back, NULL), VV_OK);
    assert_int_equal(back.partition_count, 64);
    static const uint8_t bad[] = {0, 1, 65, 127};
    for (size_t i = 0; i < sizeof bad; i++) {
        bytes[len - 1] = bad[i];
        assert_status(VV_CORRUPT, cat_record_decode(vv_slice_of(bytes, len), &back, NULL));
    }
    t.partition_count = 1; /* as every record without the option */
    len = cat_record_encode(&t, bytes);
    assert_int_equal(bytes[3], 0);
    assert_int_equal(cat_record_decode(vv_slice_of(bytes, len), &back, NULL), VV_OK);
    assert_int_equal(back.partition_count, 1);
}

/* Rules stand behind the options, up to the end. */
static void a_record_with_rules_has_these_bytes(void **state)
{
    (void)state;
    static const uint8_t tail[] = {'c', 2, 0, 7, 1, 'x', 1, 'y', 4, 0, 1, 'z', 0};
    const vv_keep_rule rules[] = {
        {{VV_MATCH_EQ, vv_slice_str("x"), vv_slice_str("y")}, 7},
        {{VV_MATCH_PREFIX, vv_slice_str("z"), vv_slice_str("")}, 0},
    };
    uint8_t bytes[CAT_RECORD_MAX];
    static cat_table back;
    vv_error err = {0};
    cat_table t = sample();
    t.kind = VV_TABLE_SERIES;
    t.index_id = 0;
    t.out_of_order_ns = CAT_OUT_OF_ORDER_DEFAULT_NS;
    t.future_ns = CAT_FUTURE_DEFAULT_NS;
    cat_keep *keep = NULL;
    assert_ok(cat_keep_make(rules, 2, &keep, &err), err);
    cat_keep_set(&t, keep);
    size_t len = cat_record_encode(&t, bytes);
    assert_int_equal(bytes[3], 2);
    assert_memory_equal(bytes + len - sizeof tail, tail, sizeof tail);
    assert_ok(cat_record_decode(vv_slice_of(bytes, len), &back, &err), err);
    assert_true(vv_slice_eq(back.keep_bytes, t.keep_bytes));
    vv_free(keep);
    assert_ok(cat_keep_read(back.keep_bytes, &keep, &err), err);
    assert_int_equal(keep->count, 2);
    assert_true(keep->rule[0].retention_ns == 7 && keep->rule[1].match.op == VV_MATCH_PREFIX);
    vv_free(keep);
    for (size_t cut = 1; cut < sizeof tail; cut++)
        assert_status(VV_CORRUPT, cat_record_decode(vv_slice_of(bytes, len - cut), &back, NULL));
    uint8_t *rule = bytes + len - sizeof tail + 1;
    rule[0] = 17;
    assert_status(VV_CORRUPT, cat_record_decode(vv_slice_of(bytes, len), &back, NULL));
    rule[0] = 2;
    rule[1] = 5; /* no matcher */
    assert_status(VV_CORRUPT, cat_record_decode(vv_slice_of(bytes, len), &back, NULL));
    rule[1] = 0;
    bytes[2] = VV_TABLE_KV;
    assert_status(VV_CORRUPT, cat_record_decode(vv_slice_of(bytes, len), &back, NULL));
}

/* Likewise those of messages. */
static void a_record_with_rules_of_messages_has_these_bytes(void **state)
{
    (void)state;
    static const uint8_t tail[] = {'c', 3, 'x', '=', 'y', 2, 7, 8};
    static const uint8_t schema[] = {7, 8};
    uint8_t bytes[CAT_RECORD_MAX];
    static cat_table back;
    vv_error err = {0};
    cat_table t = sample();
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    t.kind = opt.kind = VV_TABLE_STREAM;
    t.index_id = 0;
    t.message_size_max = CAT_MESSAGE_DEFAULT;
    t.producer_retention_ns = CAT_PRODUCER_DEFAULT_NS;
    t.producers_max = CAT_PRODUCERS_DEFAULT;
    opt.extract_rules = "x=y";
    opt.extract_schema = vv_slice_of(schema, sizeof schema);
    assert_ok(cat_extract_check(&opt, &err), err);
    cat_extract *given = NULL;
    assert_ok(cat_extract_make(&opt, &given, &err), err);
    cat_extract_set(&t, given);
    size_t len = cat_record_encode(&t, bytes);
    assert_int_equal(bytes[3], 8);
    assert_memory_equal(bytes + len - sizeof tail, tail, sizeof tail);
    assert_ok(cat_record_decode(vv_slice_of(bytes, len), &back, &err), err);
    assert_true(vv_slice_eq(back.extract_bytes, t.extract_bytes));
    cat_extract *read = NULL;
    assert_ok(cat_extract_read(back.extract_bytes, &read, &err), err);
    assert_string_equal(read->rules, "x=y");
    assert_true(vv_slice_eq(read->schema, opt.extract_schema));
    cat_extract_set(&t, read); /* what was given before stays, and is counted */
    assert_true(t.extract_retired == given);
    assert_int_equal(cat_extract_size(&t), 2 * cat_extract_size_of(read));
    vv_free(read);
    vv_free(given);
    for (size_t cut = 1; cut < sizeof tail; cut++)
        assert_status(VV_CORRUPT, cat_record_decode(vv_slice_of(bytes, len - cut), &back, NULL));
    bytes[len - sizeof tail + 2] = 0; /* a NUL in the rules */
    assert_status(VV_CORRUPT, cat_record_decode(vv_slice_of(bytes, len), &back, NULL));
    bytes[len - sizeof tail + 2] = 'x';
    bytes[2] = VV_TABLE_KV;
    assert_status(VV_CORRUPT, cat_record_decode(vv_slice_of(bytes, len), &back, NULL));
}

static void prop_no_changed_byte_is_taken_for_another_table(void **state)
{
    (void)state;
    uint8_t bytes[CAT_RECORD_MAX + 1];
    uint8_t again[CAT_RECORD_MAX];
    static cat_table back;
    cat_table t = sample();
    t.compression = VV_COMPRESSION_LZ4;
    size_t len = cat_record_encode(&t, bytes);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_not_equal(cat_record_decode(vv_slice_of(bytes, cut), &back, NULL), VV_OK);
    bytes[len] = 0;
    assert_int_equal(cat_record_decode(vv_slice_of(bytes, len + 1), &back, NULL), VV_CORRUPT);
    for (size_t bit = 0; bit < len * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        vv_status st = cat_record_decode(vv_slice_of(bytes, len), &back, NULL);
        /* A field may change to another legal value; then it must say exactly what it says. */
        if (st == VV_OK) {
            assert_int_equal(cat_record_encode(&back, again), len);
            assert_memory_equal(again, bytes, len);
        }
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* What says how a stream is archived comes back, and what is changed in it is refused or seen. */
static void prop_rules_of_the_archive_come_back(void **state)
{
    (void)state;
    static const vv_archive_rule rules[] = {
        {.off = true},
        {.off = true, .said = CAT_ARCHIVE_SAID},
        {.said = VV_ARCHIVE_SAYS_ALSO},
        {.codec = VV_TIER_PLAIN, .also = VV_TIER_PARQUET, .local_ns = -1},
        {.batch_bytes = UINT64_MAX, .batch_messages = 300, .batch_age_ns = INT64_MAX - 1},
        {.local_ns = 1, .local_bytes = 5, .key = "{first}{intent}"},
        {.local_ns = INT64_MAX - 1}};
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        uint8_t bytes[CAT_RECORD_MAX];
        uint8_t again[CAT_RECORD_MAX];
        static cat_table back;
        cat_archive *rule = NULL;
        vv_error err = {0};
        cat_table t = sample();
        t.kind = VV_TABLE_STREAM;
        t.index_id = 0;
        t.message_size_max = CAT_MESSAGE_DEFAULT;
        t.producer_retention_ns = CAT_PRODUCER_DEFAULT_NS;
        t.producers_max = CAT_PRODUCERS_DEFAULT;
        assert_ok(cat_archive_make(&rules[i], &rule, &err), err);
        t.archive_bytes = vv_slice_of(rule->bytes, rule->len);
        assert_true(rule->rule.off == rules[i].off && rule->rule.said == rules[i].said &&
                    rule->rule.codec == rules[i].codec && rule->rule.also == rules[i].also &&
                    rule->rule.local_ns == rules[i].local_ns &&
                    rule->rule.local_bytes == rules[i].local_bytes &&
                    rule->rule.batch_bytes == rules[i].batch_bytes &&
                    rule->rule.batch_messages == rules[i].batch_messages &&
                    rule->rule.batch_age_ns == rules[i].batch_age_ns);
        assert_int_equal(rule->rule.key != NULL, rules[i].key != NULL);
        size_t len = cat_record_encode(&t, bytes);
        for (size_t bit = 0; bit < len * 8; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            if (cat_record_decode(vv_slice_of(bytes, len), &back, NULL) == VV_OK) {
                assert_int_equal(cat_record_encode(&back, again), len);
                assert_memory_equal(again, bytes, len);
            }
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        assert_ok(cat_record_decode(vv_slice_of(bytes, len), &back, &err), err);
        assert_true(vv_slice_eq(back.archive_bytes, t.archive_bytes));
        vv_free(rule);
    }
}

static void what_a_newer_version_wrote_is_refused(void **state)
{
    (void)state;
    uint8_t bytes[CAT_RECORD_MAX];
    static cat_table back;
    cat_table t = sample();
    size_t len = cat_record_encode(&t, bytes);
    bytes[0] = 2;
    assert_status(VV_UNSUPPORTED, cat_record_decode(vv_slice_of(bytes, len), &back, NULL));
    bytes[0] = 1;
    bytes[3] = 0x80;
    assert_status(VV_UNSUPPORTED, cat_record_decode(vv_slice_of(bytes, len), &back, NULL));
}

static void names_are_checked(void **state)
{
    (void)state;
    static char long_name[VV_NAME_MAX + 2];
    memset(long_name, 'x', VV_NAME_MAX + 1);
    const struct {
        const char *name;
        vv_status want;
    } cases[] = {{"a", VV_OK},
                 {"_x", VV_OK},
                 {"9-a.b_C", VV_OK},
                 {long_name + 1, VV_OK},
                 {long_name, VV_INVALID},
                 {"", VV_INVALID},
                 {NULL, VV_INVALID},
                 {".a", VV_INVALID},
                 {"-a", VV_INVALID},
                 {"a b", VV_INVALID},
                 {"a/b", VV_INVALID},
                 {"../x", VV_INVALID},
                 {"\xc3\xa4", VV_INVALID}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (cat_name_check("table", cases[i].name, NULL) != cases[i].want)
            fail_msg("'%s'", cases[i].name);
}

/* ---- the steps, over a commit path of the test ---- */

typedef struct fake {
    engine *shard[3];
    int64_t version[3];
    vv_clock *clock;
    catalog *cat;
    int fail_at; /* the n-th commit from now fails; 0: none */
    int commits;
} fake;

static vv_status fake_commit(void *ctx, uint32_t shard, vv_slice payload, uint32_t op_count,
                             cat_table *dropped, vv_error *err)
{
    fake *f = ctx;
    engine *e = f->shard[shard];
    f->commits++;
    if (f->fail_at > 0 && --f->fail_at == 0)
        return vv_fail(err, VV_NO_SPACE, "the test says so");
    vv_status st = e->ops->prepare(e, payload.len, op_count, err);
    if (st == VV_OK)
        st = e->ops->apply(e, ++f->version[shard], 1, payload, err);
    if (st != VV_OK)
        return st;
    e->ops->publish(e, f->version[shard]);
    if (dropped != NULL)
        atomic_store(&dropped->is_dropped, true);
    return VV_OK;
}

static int64_t fake_time(vv_clock *clock)
{
    (void)clock;
    return 1234;
}

static void fake_sleep(vv_clock *clock, int64_t ns)
{
    (void)clock;
    (void)ns;
}

static void open_catalog(fake *f)
{
    vv_error err = {0};
    cat_options opt = {.door = {.ctx = f, .commit = fake_commit, .engine = NULL},
                       .clock = f->clock,
                       .engine = {"memory"},
                       .shard_count = 3};
    assert_ok(cat_open(&opt, &f->cat, &err), err);
    assert_ok(cat_load(f->cat, f->shard[0], &err), err);
}

static int setup(void **state)
{
    static const vv_clock_ops ops = {fake_time, fake_time, fake_sleep};
    static vv_clock clock = {&ops};
    fake *f = calloc(1, sizeof *f);
    assert_non_null(f);
    vv_error err = {0};
    f->clock = &clock;
    for (int i = 0; i < 3; i++)
        assert_ok(engine_memory_ops.open(&(engine_options){0}, &f->shard[i], &err), err);
    open_catalog(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fake *f = *state;
    cat_close(f->cat);
    for (int i = 0; i < 3; i++)
        engine_memory_ops.close(f->shard[i]);
    free(f);
    return 0;
}

static void reopen(fake *f)
{
    vv_error err = {0};
    cat_close(f->cat);
    open_catalog(f);
    assert_ok(cat_resume(f->cat, &err), err);
    for (uint32_t i = 0; i < 3; i++)
        assert_ok(cat_check(f->cat, i, f->shard[i], NULL, NULL, &err), err);
}

/* Tenants "a", "b", "c" ...: some lie on shard 0, some elsewhere. */
static void resume_every_failed_step(fake *f, uint32_t partitions)
{
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = VV_TABLE_RECORD;
    opt.partitions = partitions;
    uint32_t last_id = 0;
    int most = 0;
    for (char tenant[2] = "a"; tenant[0] <= 'f'; tenant[0]++) {
        for (int fail_at = 1; fail_at <= 2 + (int)partitions; fail_at++) {
            vv_error err = {0};
            cat_table *t = NULL;
            f->fail_at = fail_at;
            f->commits = 0;
            vv_status st = cat_table_create(f->cat, tenant, "x", &opt, 0, &t, &err);
            most = f->commits > most ? f->commits : most;
            if (st == VV_OK) {
                cat_table_unref(t);
            } else {
                assert_int_equal(st, VV_NO_SPACE);
                assert_status(VV_NOT_FOUND, cat_table_find(f->cat, tenant, "x", &t, &err));
            }
            f->fail_at = 0;
            if (fail_at % 2 == 0)
                reopen(f);
            opt.if_not_exists = true;
            assert_ok(cat_table_create(f->cat, tenant, "x", &opt, 0, &t, &err), err);
            opt.if_not_exists = false;
            assert_true(t->id > last_id && t->index_id == t->id + 1);
            last_id = t->id;
            f->fail_at = fail_at;
            st = cat_table_drop(f->cat, tenant, "x", &err);
            f->fail_at = 0;
            if (fail_at % 2 == 1)
                reopen(f);
            if (st != VV_OK && fail_at > 1) { /* the first step was logged: it is gone already */
                cat_table *u = NULL;
                assert_status(VV_NOT_FOUND, cat_table_find(f->cat, tenant, "x", &u, &err));
            } else if (st != VV_OK) {
                assert_ok(cat_table_drop(f->cat, tenant, "x", &err), err);
            }
            reopen(f);
            assert_int_equal(cat_count(f->cat), 0);
            cat_table_unref(t);
        }
    }
    assert_int_equal(most, 2 + (int)partitions); /* of two entries around those of the shards */
}

static void every_failed_step_can_be_resumed(void **state)
{
    resume_every_failed_step(*state, 1);
}

static void every_failed_step_of_partitions_can_be_resumed(void **state)
{
    resume_every_failed_step(*state, 2);
    resume_every_failed_step(*state, 3);
}

static void many_tables_are_found_listed_and_suggested(void **state)
{
    fake *f = *state;
    vv_error err = {0};
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    char name[16];
    cat_table *t = NULL;
    for (int i = 0; i < 500; i++) {
        (void)snprintf(name, sizeof name, "table-%03d", i);
        opt.version_retention_ns = i;
        assert_ok(cat_table_create(f->cat, "t", name, &opt, 0, &t, &err), err);
        assert_int_equal(cat_retention(f->cat, t->id), i);
        cat_table_unref(t);
    }
    reopen(f);
    cat_table **list = NULL;
    size_t count = 0;
    assert_ok(cat_list(f->cat, "t", &list, &count, &err), err);
    assert_int_equal(count, 500);
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(name, sizeof name, "table-%03zu", i);
        assert_string_equal(list[i]->name, name);
    }
    assert_int_equal(cat_retention_max(f->cat, list[0]->shard), 499);
    cat_list_free(list, count);
    assert_status(VV_NOT_FOUND, cat_table_find(f->cat, "t", "tabel-077", &t, &err));
    assert_non_null(strstr(err.msg, "'table-077'"));
    assert_status(VV_NOT_FOUND, cat_table_find(f->cat, "t", "entirely_else", &t, &err));
    assert_null(strstr(err.msg, "did you mean"));
}

static void count_finding(void *ctx, const char *text)
{
    (void)text;
    (*(int *)ctx)++;
}

static void check_sees_an_open_record_without_a_table(void **state)
{
    fake *f = *state;
    vv_error err = {0};
    uint8_t key[5] = {CAT_SYSTEM_OPEN, 0, 0, 1, 44};
    uint8_t value[CAT_RECORD_MAX];
    cat_table t = sample();
    vv_buf buf;
    vv_buf_init(&buf, 4096);
    size_t begin = engine_entry_begin(&buf);
    engine_entry_add_key(&buf, ENGINE_PUT, CAT_TABLE_SYSTEM, vv_slice_of(key, 5),
                         vv_slice_of(value, cat_record_encode(&t, value)), 0);
    engine_entry_finish(&buf, begin, 1);
    assert_ok(fake_commit(f, 2, vv_buf_slice(&buf), 1, NULL, &err), err);
    vv_buf_fini(&buf);
    int found = 0;
    assert_status(VV_CORRUPT, cat_check(f->cat, 2, f->shard[2], count_finding, &found, &err));
    assert_true(found > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_has_these_bytes),
        cmocka_unit_test(a_record_with_options_has_these_bytes),
        cmocka_unit_test(a_record_of_series_says_what_rollups_it_has),
        cmocka_unit_test(a_record_of_a_stream_says_what_it_keeps),
        cmocka_unit_test(a_record_with_partitions_says_so),
        cmocka_unit_test(a_record_with_rules_has_these_bytes),
        cmocka_unit_test(a_record_with_rules_of_messages_has_these_bytes),
        cmocka_unit_test(prop_no_changed_byte_is_taken_for_another_table),
        cmocka_unit_test(prop_rules_of_the_archive_come_back),
        cmocka_unit_test(what_a_newer_version_wrote_is_refused),
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test_setup_teardown(every_failed_step_can_be_resumed, setup, teardown),
        cmocka_unit_test_setup_teardown(every_failed_step_of_partitions_can_be_resumed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(many_tables_are_found_listed_and_suggested, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(check_sees_an_open_record_without_a_table, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
