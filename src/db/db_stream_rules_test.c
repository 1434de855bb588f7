/*
 * db_stream_rules_test.c - tables with rules: attributes made on the way in, dead letters, replay,
 * and what retries and power cuts leave of them.
 */
#include "db/db_stream_test_util.h"

#include "base/alloc.h"

static const char rules[] = "id = json $.id int required\n"
                            "device = json $.device\n"
                            "at = json $.ts time -> event\n";

static vv_table *ruled_table(vv_db *db)
{
    vv_table_options opt = stream_options();
    opt.extract_rules = rules;
    return stream_table_with(db, &opt);
}

static vv_table *dead_table(vv_db *db)
{
    vv_error err = {0};
    vv_table *t = NULL;
    assert_ok(vv_table_open(db, "plant", "events.dead", &t, &err), err);
    return t;
}

static vv_stream_append_result append_some(vv_table *t, const char *const *texts, size_t count,
                                           const char *producer, uint64_t sequence)
{
    vv_error err = {0};
    vv_message m[32];
    vv_stream_append_result r;
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    assert_true(count <= ARRAY_LEN(m));
    for (size_t i = 0; i < count; i++)
        m[i] = text_message(texts[i]);
    opt.partition = 0;
    opt.producer = vv_slice_str(producer);
    opt.sequence = sequence;
    assert_ok(vv_stream_append(t, m, count, &opt, &r, &err), err);
    return r;
}
#define APPEND(t, producer, sequence, ...)                                                         \
    append_some(t, (const char *const[]){__VA_ARGS__},                                             \
                ARRAY_LEN(((const char *const[]){__VA_ARGS__})), producer, sequence)

static const vv_attribute *attribute(const vv_message *m, const char *name)
{
    for (size_t i = 0; i < m->attribute_count; i++)
        if (vv_slice_eq(m->attributes[i].name, vv_slice_str(name)))
            return &m->attributes[i];
    return NULL;
}

/* The message at an offset; its cursor has to be closed. */
static vv_stream_cursor *message_at(vv_table *t, uint64_t offset, vv_message *out)
{
    vv_error err = {0};
    vv_stream_cursor *c = NULL;
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    opt.start = (vv_stream_start){.from = VV_STREAM_OFFSET, .offset = offset};
    assert_ok(vv_stream_cursor_open(t, &opt, &c, &err), err);
    assert_ok(vv_stream_cursor_next(c, out, &err), err);
    return c;
}

static int count_rule(void *ctx, const vv_stream_rule_stats *rule)
{
    vv_buf *b = ctx;
    vv_buf_printf(b, "%.*s%s %d/%d/%d ", (int)rule->name.len, (const char *)rule->name.data,
                  rule->required ? "!" : "", (int)rule->found, (int)rule->absent,
                  (int)rule->errors);
    return 0;
}

static void rules_make_attributes(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_message m;
    vv_table *t = ruled_table(w->db);
    vv_stream_append_result r =
        APPEND(t, NULL, 0, "{\"id\":1,\"device\":\"a\",\"ts\":\"1970-01-01T00:00:05Z\"}",
               "{\"id\":2,\"ts\":\"never\"}");
    assert_true(r.count == 2 && r.dead == 0);
    for (int pass = 0; pass < 2; pass++) {
        vv_stream_cursor *c = message_at(t, 0, &m);
        assert_int_equal(attribute(&m, "id")->i64, 1);
        assert_true(vv_slice_eq(attribute(&m, "device")->bytes, S("a")));
        assert_int_equal(m.event_time_ns, 5 * SEC);
        assert_true(vv_slice_eq(m.content_type, S("application/json")));
        assert_ok(vv_stream_cursor_next(c, &m, &err), err);
        assert_true(vv_slice_eq(attribute(&m, "_errors")->bytes, S("at: no time")));
        assert_null(attribute(&m, "device"));
        char entity[64];
        assert_int_equal(vv_stream_entity(t, &m, entity, sizeof entity), 12);
        assert_string_equal(entity, "plant:events");
        vv_stream_cursor_close(c);
        vv_table_close(t);
        if (pass == 0)
            sim_check_and_reopen(w);
        t = ruled_table(w->db);
    }
    vv_table_info info;
    assert_ok(vv_table_identify(t, &info, &err), err);
    assert_string_equal(info.extract_rules, rules);
    assert_int_equal(info.extract_schema.len, 0);

    r = APPEND(t, NULL, 0, "{\"id\":3,\"device\":\"b\",\"ts\":7}", "no", "{\"id\":4,\"ts\":true}");
    assert_true(r.count == 2 && r.dead == 1 && r.first_offset == 2);
    vv_buf b;
    vv_buf_init(&b, 4096);
    assert_ok(vv_stream_rules_read(t, count_rule, &b, &err), err);
    vv_buf_append_u8(&b, 0);
    assert_string_equal((const char *)b.data, "id! 2/0/1 device 1/1/1 at 1/0/2 ");
    vv_buf_fini(&b);
    vv_stream_stats s = stats_of(t, 0);
    assert_int_equal(s.rule_errors, 4);
    assert_int_equal(s.dead_letters, 1);
    vv_table_close(t);
}

static void what_is_refused_keeps_its_bytes_and_says_why(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_message m;
    vv_table *t = ruled_table(w->db);
    vv_table *none = NULL;
    assert_status(VV_NOT_FOUND, vv_table_open(w->db, "plant", "events.dead", &none, &err));
    vv_attribute own = {.name = S("mine"), .type = VV_ATTRIBUTE_I64, .i64 = 9};
    vv_message in = {.key = S("k"),
                     .value = S("bad"),
                     .source = S("gw"),
                     .content_type = S("x/y"),
                     .event_time_ns = 77,
                     .attributes = &own,
                     .attribute_count = 1};
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    vv_stream_append_result r;
    opt.partition = 0;
    opt.producer = S("p");
    opt.sequence = 41;
    assert_ok(vv_stream_append(t, &in, 1, &opt, &r, &err), err);
    assert_true(r.count == 0 && r.dead == 1 && r.first_offset == VV_STREAM_OFFSET_GONE);
    vv_table_close(t);
    sim_check_and_reopen(w);
    t = ruled_table(w->db);
    vv_table *dead = dead_table(w->db);
    vv_stream_cursor *c = message_at(dead, 0, &m);
    assert_true(vv_slice_eq(m.key, S("k")) && vv_slice_eq(m.value, S("bad")) &&
                vv_slice_eq(m.source, S("gw")) && vv_slice_eq(m.content_type, S("x/y")) &&
                m.event_time_ns == 77);
    assert_int_equal(m.attribute_count, 4);
    assert_int_equal(attribute(&m, "mine")->i64, 9);
    assert_true(vv_slice_eq(attribute(&m, "_dead_reason")->bytes, S("rule 'id': not JSON")));
    assert_true(vv_slice_eq(attribute(&m, "_dead_producer")->bytes, S("p")));
    assert_int_equal(attribute(&m, "_dead_sequence")->i64, 41);
    vv_stream_cursor_close(c);
    vv_table_close(dead);
    /* Marks that a message brings itself are refused. */
    own.name = S("_dead_reason");
    opt.producer = S("");
    assert_status(VV_INVALID, vv_stream_append(t, &in, 1, &opt, &r, &err));
    assert_non_null(strstr(err.msg, "_dead_"));
    vv_table_close(t);
}

/* The same answer, whatever of the append was refused, and nothing is there twice. */
static void a_retry_with_poison_gives_the_same_answer(void **state)
{
    sim_world *w = *state;
    static const char *const good = "{\"id\":1}";
    static const char *const bad = "{}";
    const char *const cases[][4] = {{good, bad, good, good},  {bad, good, good, bad},
                                    {bad, bad, bad, bad},     {good, good, bad, bad},
                                    {good, good, good, good}, {bad, bad, good, bad}};
    vv_stream_append_result first[ARRAY_LEN(cases)];
    vv_table *t = ruled_table(w->db);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        first[i] = append_some(t, cases[i], 4, "p", 4 * i);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            vv_stream_append_result again = append_some(t, cases[i], 4, "p", 4 * i);
            assert_true(again.duplicate);
            assert_true(again.first_offset == first[i].first_offset);
            assert_true(again.count == first[i].count && again.dead == first[i].dead);
        }
        vv_table *dead = dead_table(w->db);
        assert_int_equal(stats_of(t, 0).messages, 12);
        assert_int_equal(stats_of(dead, 0).messages, 12);
        vv_table_close(dead);
        vv_table_close(t);
        if (pass == 0)
            sim_check_and_reopen(w);
        t = ruled_table(w->db);
    }
    vv_table_close(t);
}

static void a_replay_goes_through_the_rules(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_stream_replay_result r;
    vv_table *t = ruled_table(w->db);
    assert_ok(vv_stream_replay(t, VV_DURABLE_SYNC, &r, &err), err);
    assert_true(r.replayed == 0 && r.dead == 0);
    (void)APPEND(t, "p", 0, "{\"id\":1}", "bad", "{\"id\":\"x\"}");
    assert_ok(vv_stream_replay(t, VV_DURABLE_SYNC, &r, &err), err);
    assert_true(r.replayed == 0 && r.dead == 2);
    vv_table *dead = dead_table(w->db);
    assert_int_equal(stats_of(dead, 0).messages, 4);
    /* What the rules take now is brought back; who puts letters there is not asked. */
    const vv_attribute own = {
        .name = S("_dead_note"), .type = VV_ATTRIBUTE_STRING, .bytes = S("mine")};
    const vv_message letter = {.value = S("{\"id\":7}"), .attributes = &own, .attribute_count = 1};
    assert_ok(vv_stream_append(dead, &letter, 1, NULL, NULL, &err), err);
    assert_ok(vv_stream_replay(t, VV_DURABLE_SYNC, &r, &err), err);
    assert_true(r.replayed == 1 && r.dead == 2);
    EXPECT_TEXTS(t, 0, 0, "{\"id\":1}", "{\"id\":7}");
    vv_message m;
    vv_stream_cursor *c = message_at(t, 1, &m);
    assert_int_equal(m.attribute_count, 2); /* no marks are left, but its own attribute is */
    vv_stream_cursor_close(c);
    /* The producer's own retry is known still. */
    assert_true(APPEND(t, "p", 0, "{\"id\":1}", "bad", "{\"id\":\"x\"}").duplicate);
    vv_stream_position at;
    assert_ok(vv_stream_position_get(dead, 0, S("replay"), &at, &err), err);
    assert_int_equal(at.offset, 5);
    assert_int_equal(at.lag, 2);
    vv_table_close(dead);
    vv_table_close(t);
    sim_check_and_reopen(w);
}

/* A letter that the table takes in no case any more keeps those behind it back no longer. */
static void a_letter_that_is_never_taken_is_passed(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_stream_replay_result r;
    vv_message m;
    static char large[3000];
    vv_table *t = ruled_table(w->db);
    (void)APPEND(t, "p", 0, "bad");
    vv_table *dead = dead_table(w->db);
    memset(large, 'x', sizeof large);
    const vv_message letters[] = {text_message("{\"id\":2}"),
                                  {.value = vv_slice_of(large, sizeof large)},
                                  text_message("{\"id\":3}"),
                                  text_message("{\"id\":4}")};
    assert_ok(
        vv_stream_append(dead, letters, ARRAY_LEN(letters),
                         &(vv_stream_append_options){.size = sizeof(vv_stream_append_options)},
                         NULL, &err),
        err);
    vv_table_options to = VV_TABLE_OPTIONS_INIT;
    to.message_size_max = 2000;
    assert_ok(vv_table_alter(w->db, "plant", "events", &to, VV_CHANGE_MESSAGE_SIZE, &err), err);
    assert_ok(vv_stream_replay(t, VV_DURABLE_SYNC, &r, &err), err);
    assert_true(r.replayed == 3 && r.dead == 2);
    EXPECT_TEXTS(t, 0, 0, "{\"id\":2}", "{\"id\":3}", "{\"id\":4}");
    assert_int_equal(stats_of(dead, 0).next_offset, 7);
    uint64_t at = 5;
    vv_stream_cursor *c = message_at(dead, at, &m);
    while (m.value.len != sizeof large) {
        vv_stream_cursor_close(c);
        c = message_at(dead, ++at, &m);
    }
    assert_non_null(attribute(&m, "_dead_reason"));
    assert_true(attribute(&m, "_dead_reason")->bytes.len > 0);
    vv_stream_cursor_close(c);
    vv_table_close(dead);
    vv_table_close(t);
    sim_check_and_reopen(w);
}

static bool go_on_once(void *ctx)
{
    int *left = ctx;
    return (*left)-- > 0;
}

static void a_replay_ends_when_it_is_told_and_goes_on_later(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_stream_replay_result r;
    int left = 1;
    vv_table *t = ruled_table(w->db);
    (void)APPEND(t, "p", 0, "bad");
    vv_table *dead = dead_table(w->db);
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    opt.partition = 0;
    const vv_message letter = text_message("{\"id\":2}");
    for (int i = 0; i < 1100; i++)
        assert_ok(vv_stream_append(dead, &letter, 1, &opt, NULL, &err), err);
    assert_status(VV_CLOSED, vv_stream_replay_while(t, VV_DURABLE_OS, go_on_once, &left, &r, &err));
    assert_true(r.replayed == 1023 && r.dead == 1);
    assert_ok(vv_stream_replay_while(t, VV_DURABLE_OS, NULL, NULL, &r, &err), err);
    assert_int_equal(stats_of(t, 0).messages, 1100);
    vv_table_close(dead);
    vv_table_close(t);
}

/* What lies where dead letters are to be is told when the rules are given, not by every append. */
static void a_table_in_the_place_of_letters_is_refused(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = NULL;
    vv_table_options kv = VV_TABLE_OPTIONS_INIT;
    vv_table_options ruled = stream_options();
    ruled.extract_rules = rules;
    assert_ok(vv_table_create(w->db, "plant", "a.dead", &kv, &t, &err), err);
    vv_table_close(t);
    assert_status(VV_CONFLICT, vv_table_create(w->db, "plant", "a", &ruled, NULL, &err));
    assert_non_null(strstr(err.msg, "'a.dead'"));
    ruled.extract_rules = "id = json $.id int\n"; /* which makes no letters */
    assert_ok(vv_table_create(w->db, "plant", "a", &ruled, NULL, &err), err);
    ruled.extract_rules = rules;
    assert_status(VV_CONFLICT,
                  vv_table_alter(w->db, "plant", "a", &ruled, VV_CHANGE_EXTRACT, &err));
    assert_ok(vv_table_create(w->db, "plant", "b", &ruled, NULL, &err), err);
    assert_status(VV_CONFLICT, vv_table_create(w->db, "plant", "b.dead", &kv, NULL, &err));
    assert_non_null(strstr(err.msg, "'b'"));
    const vv_table_options letters = stream_options();
    assert_ok(vv_table_create(w->db, "plant", "b.dead", &letters, NULL, &err), err);
    assert_ok(vv_table_create(w->db, "plant", "b", &ruled, NULL, &err), err); /* if not there */
}

static vv_status give_rules(vv_db *db, const char *text, vv_error *err)
{
    vv_table_options to = VV_TABLE_OPTIONS_INIT;
    to.extract_rules = text;
    return vv_table_alter(db, "plant", "events", &to, VV_CHANGE_EXTRACT, err);
}

static const char *rules_told(vv_table *t)
{
    vv_error err = {0};
    vv_table_info info;
    assert_ok(vv_table_identify(t, &info, &err), err);
    return info.extract_rules;
}

/* What its dead letters would take at once is bounded; of messages extract_test has it. */
static void an_append_that_makes_too_much_is_told_so(void **state)
{
    sim_world *w = *state;
    enum { COUNT = 6000, WIDE = 200 };
    vv_error err = {0};
    vv_attribute own[WIDE];
    char names[WIDE][8];
    vv_message *m = calloc(COUNT, sizeof *m);
    assert_non_null(m);
    vv_table *t = ruled_table(w->db);
    for (size_t i = 0; i < WIDE; i++) {
        (void)snprintf(names[i], sizeof names[i], "n%zu", i);
        own[i] = (vv_attribute){.name = vv_slice_str(names[i]), .type = VV_ATTRIBUTE_BOOL};
    }
    for (size_t i = 0; i < COUNT; i++)
        m[i] = (vv_message){.value = S("poison"), .attributes = own, .attribute_count = WIDE};
    assert_status(VV_INVALID, vv_stream_append(t, m, COUNT, NULL, NULL, &err));
    assert_non_null(strstr(err.msg, "append fewer messages at once"));
    assert_int_equal(stats_of(t, 0).next_offset, 0);
    assert_ok(vv_stream_append(t, m, 100, NULL, NULL, &err), err);
    vv_table_close(t);
    free(m);
}

/* Rules hold for what is appended behind them; those that cannot be leave the old ones. */
static void rules_change_under_a_table(void **state)
{
    sim_world *w = *state;
    static const char *const text = "{\"id\":1,\"device\":\"a\"}";
    static const char next[] = "device = json $.id int\nnew = const \"x\"\n";
    vv_error err = {0};
    vv_message m;
    vv_table *t = ruled_table(w->db);
    (void)APPEND(t, NULL, 0, text, "{\"id\":\"no\"}");
    const uint64_t errors = stats_of(t, 0).rule_errors;
    assert_status(VV_INVALID, give_rules(w->db, "x = json a", &err));
    assert_non_null(strstr(err.msg,
                           "alter table 'events' of tenant 'plant': extract_rules: line 1: "
                           "rule 'x': a path of JSON begins with $"));
    vv_table_options to = VV_TABLE_OPTIONS_INIT;
    to.extract_schema = S("schema");
    assert_status(VV_INVALID,
                  vv_table_alter(w->db, "plant", "events", &to, VV_CHANGE_EXTRACT, &err));
    assert_non_null(strstr(err.msg, "extract_schema without extract_rules"));
    const char *before = rules_told(t);
    assert_string_equal(before, rules);
    assert_ok(give_rules(w->db, next, &err), err);
    assert_string_equal(before, rules); /* borrowed of the handle: it stays */
    (void)APPEND(t, NULL, 0, text);
    for (int pass = 0; pass < 2; pass++) {
        assert_string_equal(rules_told(t), next);
        vv_stream_cursor *c = message_at(t, 0, &m); /* as it was made */
        assert_int_equal(attribute(&m, "device")->type, VV_ATTRIBUTE_STRING);
        assert_null(attribute(&m, "new"));
        vv_stream_cursor_close(c);
        c = message_at(t, 1, &m);
        assert_int_equal(attribute(&m, "device")->i64, 1);
        assert_true(vv_slice_eq(attribute(&m, "new")->bytes, S("x")));
        vv_stream_cursor_close(c);
        assert_int_equal(stats_of(t, 0).rule_errors, pass == 0 ? errors : 0);
        assert_int_equal(stats_of(t, 0).dead_letters, pass == 0 ? 1 : 0);
        vv_table_close(t);
        if (pass == 0)
            sim_check_and_reopen(w);
        t = ruled_table(w->db);
    }
    assert_ok(give_rules(w->db, NULL, &err), err); /* none */
    assert_string_equal(rules_told(t), "");
    (void)APPEND(t, NULL, 0, text);
    vv_stream_cursor *c = message_at(t, 2, &m);
    assert_int_equal(m.attribute_count, 0);
    vv_stream_cursor_close(c);
    vv_table_close(t);
    sim_check_and_reopen(w);
}

/* A producer's retry is answered by what became of its messages, not by what rules say now. */
static void a_retry_after_other_rules_gives_the_same_answer(void **state)
{
    sim_world *w = *state;
    static const char *const good = "{\"id\":1}";
    static const char *const bad = "{}";
    vv_error err = {0};
    vv_table *t = ruled_table(w->db);
    const char *const cases[][3] = {{bad, good, good}, {good, bad, good}, {bad, bad, bad}};
    vv_stream_append_result first[ARRAY_LEN(cases)];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        first[i] = append_some(t, cases[i], 3, "p", 3 * i);
    static const char *const later[] = {"never = json $.x required", NULL,
                                        "all = const 1 required"};
    for (size_t l = 0; l < ARRAY_LEN(later); l++) {
        assert_ok(give_rules(w->db, later[l], &err), err);
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            vv_stream_append_result again = append_some(t, cases[i], 3, "p", 3 * i);
            assert_true(again.duplicate && again.first_offset == first[i].first_offset);
            assert_true(again.count == first[i].count && again.dead == first[i].dead);
        }
    }
    assert_int_equal(stats_of(t, 0).messages, 4);
    vv_table_close(t);
}

static void rules_are_refused_by_name(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = NULL;
    vv_table_options opt = stream_options();
    opt.extract_rules = "x = json a";
    assert_status(VV_INVALID, vv_table_create(w->db, "plant", "events", &opt, &t, &err));
    assert_non_null(strstr(err.msg, "line 1: rule 'x': a path of JSON begins with $"));
    opt.kind = VV_TABLE_KV;
    assert_status(VV_INVALID, vv_table_create(w->db, "plant", "events", &opt, &t, &err));
    assert_non_null(strstr(err.msg, "of stream tables alone"));
    opt.kind = VV_TABLE_STREAM;
    opt.extract_rules = NULL;
    opt.extract_schema = S("x");
    assert_status(VV_INVALID, vv_table_create(w->db, "plant", "events", &opt, &t, &err));
    assert_non_null(strstr(err.msg, "without extract_rules"));
    opt.extract_schema = S("");
    opt.extract_rules = "x = kv x required";
    char name[VV_NAME_MAX + 1];
    memset(name, 'n', VV_NAME_MAX);
    name[VV_NAME_MAX] = '\0';
    assert_status(VV_INVALID, vv_table_create(w->db, "plant", name, &opt, &t, &err));
    assert_non_null(strstr(err.msg, "at most 123 bytes"));
    assert_null(t);
    assert_status(VV_INVALID, vv_stream_rules_check("x", S(""), &err));
    assert_ok(vv_stream_rules_check(rules, S(""), &err), err);
}

static void a_table_in_the_way_of_letters_is_named(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = ruled_table(w->db);
    vv_table_options kv = VV_TABLE_OPTIONS_INIT;
    kv.partitions = test_partitions;
    assert_status(VV_CONFLICT, vv_table_create(w->db, "plant", "events.dead", &kv, NULL, &err));
    assert_non_null(strstr(err.msg, "events.dead"));
    (void)APPEND(t, NULL, 0, "bad");
    assert_ok(vv_table_drop(w->db, "plant", "events.dead", &err), err);
    (void)APPEND(t, NULL, 0, "bad", "{\"id\":1}");
    assert_int_equal(stats_of(t, 0).messages, 1);
    vv_table_close(t);
}

static void note(void *ctx, vv_status status, const vv_stream_append_result *r, const vv_error *err)
{
    vv_buf *b = ctx;
    (void)err;
    vv_buf_printf(b, "%s %d+%d%s ", vv_status_name(status), r == NULL ? 0 : (int)r->count,
                  r == NULL ? 0 : (int)r->dead, r != NULL && r->duplicate ? "d" : "");
}

static void appends_that_do_not_wait_have_rules_too(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_buf b;
    vv_buf_init(&b, 4096);
    vv_table *t = ruled_table(w->db);
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    opt.partition = 0;
    opt.producer = S("p");
    static const uint64_t sequences[] = {0, 2, 2, 0};
    for (size_t i = 0; i < ARRAY_LEN(sequences); i++) {
        vv_message m[2] = {text_message("{\"id\":1}"), text_message("bad")};
        opt.sequence = sequences[i];
        assert_ok(vv_stream_append_async(t, m, 2, &opt, note, &b, &err), err);
    }
    vv_buf_append_u8(&b, 0);
    assert_string_equal((const char *)b.data, "OK 1+1 OK 1+1 OK 1+1d OK 1+1d ");
    vv_buf_fini(&b);
    vv_table_close(t);
}

/* ---- what a power cut leaves ------------------------------------------------------------------
 */

#define CUT_APPENDS 12u
#define CUT_MESSAGES 4u

/* Which messages of an append are bad: by its number. */
static vv_message cut_message(size_t append, size_t i, char text[32])
{
    bool is_bad = (append >> i & 1) != 0;
    (void)snprintf(text, 32, is_bad ? "bad %zu.%zu" : "{\"id\":1%zu%zu}", append, i);
    return text_message(text);
}

static vv_status cut_append(vv_table *t, size_t append, vv_stream_append_result *r)
{
    char text[CUT_MESSAGES][32];
    vv_message m[CUT_MESSAGES];
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    opt.partition = 0;
    opt.producer = S("p");
    opt.sequence = append * CUT_MESSAGES;
    for (size_t i = 0; i < CUT_MESSAGES; i++)
        m[i] = cut_message(append, i, text[i]);
    return vv_stream_append(t, m, CUT_MESSAGES, &opt, r, NULL);
}

static vv_status cut_workload(sim_world *w, size_t *acked)
{
    vv_error err = {0};
    vv_table *t = NULL;
    vv_stream_append_result r;
    vv_table_options opt = stream_options();
    opt.extract_rules = rules;
    vv_status st = vv_table_create(w->db, "plant", "events", &opt, &t, &err);
    for (size_t i = 0; st == VV_OK && i < CUT_APPENDS; i++) {
        st = cut_append(t, i, &r);
        if (st == VV_OK)
            *acked = i + 1;
        if (st == VV_OK && i % 4 == 3)
            st = vv_stream_replay(t, VV_DURABLE_SYNC, NULL, NULL);
    }
    vv_table_close(t);
    return st;
}

/* Every message of the acknowledged appends is once in the one table or (again and again, for each
 * replay) in the other, and what is sent again is known. */
static void expect_all(sim_world *w, size_t acked)
{
    vv_stream_append_result r;
    vv_table *t = ruled_table(w->db);
    for (size_t i = 0; i < acked; i++) {
        assert_int_equal(cut_append(t, i, &r), VV_OK);
        assert_true(r.duplicate);
    }
    uint64_t good = 0;
    for (size_t i = 0; i < CUT_APPENDS; i++) {
        assert_int_equal(cut_append(t, i, &r), VV_OK);
        good += CUT_MESSAGES - (size_t)__builtin_popcount((unsigned)(i & 15));
    }
    assert_int_equal(stats_of(t, 0).messages, good);
    vv_table_close(t);
}

static void prop_a_power_cut_leaves_each_message_once(void **state)
{
    sim_world *w = *state;
    uint64_t seed = vv_test_seed(29);
    bool cut = true;
    sim_end(w);
    for (uint64_t at = 1; cut; at += vv_test_count("VV_CRASH_STEP", 1)) {
        size_t acked = 0;
        vv_error err = {0};
        w->disk = vio_sim_disk_create();
        vio_sim_options sim = {.seed = seed + at, .cut_after_writes = at, .tear = true};
        assert_ok(sim_on(w, &sim, &err), err);
        vv_status st = sim_open_db(w, &err);
        if (st == VV_OK)
            st = cut_workload(w, &acked);
        cut = st != VV_OK;
        db_abandon(w->db);
        sim_off(w);
        assert_ok(sim_on(w, &(vio_sim_options){.seed = seed}, &err), err);
        assert_ok(sim_open_db(w, &err), err);
        expect_all(w, acked);
        sim_close(w);
        assert_ok(sim_on(w, &(vio_sim_options){.seed = 1}, &err), err);
        assert_ok(db_check_env(&w->env, print_finding, NULL, &err), err);
        sim_off(w);
        sim_end(w);
    }
}

/* The log failed: only a reopening goes on from there. */
static vv_table *begin_again(sim_world *w, vv_table *t)
{
    vv_table_close(t);
    db_abandon(w->db);
    sim_off(w);
    sim_start(w);
    return ruled_table(w->db);
}

static bool is_short_of_memory(vv_status st)
{
    return st == VV_NO_MEMORY || st == VV_BUSY || st == VV_IO;
}

static vv_status append_six(vv_table *t, uint64_t sequence)
{
    const char *const texts[] = {"{\"id\":1}", "bad", "{\"id\":2}", "bad", "{\"id\":3}", "{}"};
    vv_message m[ARRAY_LEN(texts)];
    vv_stream_append_result r;
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        m[i] = text_message(texts[i]);
    opt.partition = 0;
    opt.producer = S("p");
    opt.sequence = sequence;
    return vv_stream_append(t, m, ARRAY_LEN(texts), &opt, &r, NULL);
}

static void walk_every_allocation_may_fail(void **state)
{
    sim_world *w = *state;
    vv_table *t = ruled_table(w->db);
    unsigned failures = 0;
    for (uint64_t n = 0; n < 120; n++) {
        vv_alloc_fail_after((int64_t)(n % 60), 0);
        vv_status st = append_six(t, 6 * n);
        vv_alloc_fail_after(-1, 0);
        failures += st != VV_OK;
        assert_true(st == VV_OK || is_short_of_memory(st));
        if (st == VV_IO)
            t = begin_again(w, t);
        assert_int_equal(append_six(t, 6 * n), VV_OK); /* what went through is known */
    }
    vv_table *dead = dead_table(w->db);
    assert_int_equal(stats_of(t, 0).messages, 3 * 120);
    assert_int_equal(stats_of(dead, 0).messages, 3 * 120);
    vv_table_close(dead);
    for (int64_t n = 0; n < 60; n++) {
        vv_alloc_fail_after(n, 0);
        vv_status st = vv_stream_replay(t, VV_DURABLE_SYNC, NULL, NULL);
        vv_alloc_fail_after(-1, 0);
        failures += st != VV_OK;
        assert_true(st == VV_OK || is_short_of_memory(st));
        if (st == VV_IO)
            t = begin_again(w, t);
    }
    assert_true(failures > 40);
    assert_int_equal(stats_of(t, 0).messages, 3 * 120);
    vv_table_close(t);
    sim_check_and_reopen(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TP(rules_make_attributes),
        TP(what_is_refused_keeps_its_bytes_and_says_why),
        TP(a_retry_with_poison_gives_the_same_answer),
        TP(a_replay_goes_through_the_rules),
        TP(a_letter_that_is_never_taken_is_passed),
        TP(a_replay_ends_when_it_is_told_and_goes_on_later),
        TP(a_table_in_the_place_of_letters_is_refused),
        TP(an_append_that_makes_too_much_is_told_so),
        TP(rules_change_under_a_table),
        TP(a_retry_after_other_rules_gives_the_same_answer),
        TP(rules_are_refused_by_name),
        TP(a_table_in_the_way_of_letters_is_named),
        TP(appends_that_do_not_wait_have_rules_too),
        TP(prop_a_power_cut_leaves_each_message_once),
        TP(walk_every_allocation_may_fail),
    };
    return run_on_each(tests, ARRAY_LEN(tests));
}
