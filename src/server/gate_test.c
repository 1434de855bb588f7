#include "server/gate.h"

#include <string.h>

#include "db/db_test_util.h"

/* A gate over a store on the simulated disk. */
typedef struct fixture {
    sim_world world;
    gate *gate;
} fixture;

static const gate_identity local = {.loopback = true};
static const gate_identity remote = {.loopback = false};

static void begin(fixture *f, bool auto_create, bool allow_anonymous)
{
    vv_error err = {0};
    *f = (fixture){.world.opt = SIM_TINY_OPTIONS, .world.ops = &engine_memory_ops};
    sim_start(&f->world);
    gate_options opt = {
        .db = f->world.db, .auto_create = auto_create, .allow_anonymous = allow_anonymous};
    assert_ok(gate_create(&opt, &f->gate, &err), err);
}

static void end(fixture *f)
{
    vv_error err = {0};
    gate_destroy(f->gate);
    assert_ok(vv_db_close(f->world.db, &err), err);
    sim_off(&f->world);
    vio_sim_disk_destroy(f->world.disk);
}

static gate_op op_of(gate_kind kind, const char *tenant, const char *table)
{
    return (gate_op){.kind = kind, .tenant = vv_slice_str(tenant), .table = vv_slice_str(table)};
}

/* ---- who may ---- */

static void test_every_kind_for_every_identity(void **state)
{
    (void)state;
    const gate_identity remote_token = {.token = vv_slice_str("Bearer secret")};
    const gate_identity local_token = {.loopback = true, .token = vv_slice_str("Bearer secret")};
    const struct {
        const char *name;
        const gate_identity *who;
        bool allow_anonymous;
        vv_status want;
    } rows[] = {
        {"loopback", &local, false, VV_OK},
        {"loopback with a header that means nothing", &local_token, false, VV_OK},
        {"loopback, others allowed", &local, true, VV_OK},
        {"remote", &remote, false, VV_UNSUPPORTED},
        {"remote with a credential", &remote_token, false, VV_UNSUPPORTED},
        {"remote, allowed", &remote, true, VV_OK},
        {"remote with a credential, allowed", &remote_token, true, VV_OK},
    };
    for (int allow = 0; allow <= 1; allow++) {
        fixture f;
        begin(&f, true, allow);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
            for (int kind = 0; kind < GATE_KINDS && rows[i].allow_anonymous == allow; kind++) {
                gate_op op = op_of((gate_kind)kind, "t", "x");
                gate_grant grant = {0};
                vv_error err = {0};
                vv_status st = gate_authorize(f.gate, rows[i].who, &op, 1, &grant, &err);
                if (st != rows[i].want)
                    fail_msg("%s, kind %d: %s", rows[i].name, kind, vv_status_name(st));
                assert_int_equal(grant.count, st == VV_OK ? 1 : 0);
                if (st != VV_OK && strstr(err.msg, "server.allow_anonymous") == NULL)
                    fail_msg("%s, kind %d: no next step in: %s", rows[i].name, kind, err.msg);
            }
        }
        end(&f);
    }
}

static void test_unknown_kinds_are_refused(void **state)
{
    (void)state;
    fixture f;
    begin(&f, true, true);
    const int kinds[] = {GATE_KINDS, GATE_KINDS + 1, -1, 1000};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        gate_op op = op_of((gate_kind)kinds[i], "t", "x");
        gate_grant grant;
        assert_status(VV_UNSUPPORTED, gate_authorize(f.gate, &local, &op, 1, &grant, NULL));
    }
    end(&f);
}

static void test_one_refused_operation_refuses_the_list(void **state)
{
    (void)state;
    fixture f;
    begin(&f, true, false);
    gate_op ops[3] = {op_of(GATE_READ, "t", "x"), op_of(GATE_WRITE, "t", "x"),
                      op_of(GATE_WRITE, "t", "no/slash")};
    gate_grant grant = {0};
    vv_error err = {0};
    assert_status(VV_INVALID, gate_authorize(f.gate, &local, ops, 3, &grant, &err));
    assert_non_null(strstr(err.msg, "operation 2"));
    assert_non_null(strstr(err.msg, "0x2f"));
    assert_null(grant.gate);
    end(&f);
}

/* A refusal must not tell whether the table is there. */
static void test_a_refusal_tells_nothing_about_the_store(void **state)
{
    (void)state;
    fixture f;
    begin(&f, true, false);
    vv_error err = {0}, there = {0}, absent = {0};
    gate_grant grant;
    assert_ok(vv_table_create(f.world.db, "t", "here", NULL, NULL, &err), err);
    gate_op a = op_of(GATE_READ, "t", "here");
    gate_op b = op_of(GATE_READ, "t", "gone");
    assert_status(VV_UNSUPPORTED, gate_authorize(f.gate, &remote, &a, 1, &grant, &there));
    assert_status(VV_UNSUPPORTED, gate_authorize(f.gate, &remote, &b, 1, &grant, &absent));
    char *name = strstr(there.msg, "here");
    assert_non_null(name);
    memcpy(name, "gone", 4);
    assert_string_equal(there.msg, absent.msg);
    end(&f);
}

/* ---- shape ---- */

static void test_names_and_keys_are_checked(void **state)
{
    (void)state;
    static uint8_t long_key[VV_KEY_MAX + 1];
    char most[VV_NAME_MAX + 2];
    memset(most, 'a', sizeof most);
    fixture f;
    begin(&f, true, false);
    const struct {
        const char *name;
        gate_op op;
        vv_status want;
    } rows[] = {
        {"defaults", {.kind = GATE_READ}, VV_OK},
        {"the longest name", {.tenant = vv_slice_of(most, VV_NAME_MAX)}, VV_OK},
        {"one byte more", {.tenant = vv_slice_of(most, VV_NAME_MAX + 1)}, VV_INVALID},
        {"one byte more of the table", {.table = vv_slice_of(most, VV_NAME_MAX + 1)}, VV_INVALID},
        {"all that is allowed", {.table = vv_slice_str("_a-Z.9")}, VV_OK},
        {"begins with a dot", {.table = vv_slice_str(".x")}, VV_INVALID},
        {"begins with a dash", {.tenant = vv_slice_str("-x")}, VV_INVALID},
        {"a way out of a directory", {.table = vv_slice_str("a/../b")}, VV_INVALID},
        {"a NUL inside", {.tenant = vv_slice_of("a\0b", 3)}, VV_INVALID},
        {"UTF-8", {.tenant = vv_slice_str("caf\xc3\xa9")}, VV_INVALID},
        {"the longest key", {.key_begin = vv_slice_of(long_key, VV_KEY_MAX)}, VV_OK},
        {"a key too long", {.key_begin = vv_slice_of(long_key, VV_KEY_MAX + 1)}, VV_INVALID},
        {"a bound too long", {.key_end = vv_slice_of(long_key, VV_KEY_MAX + 1)}, VV_INVALID},
        {"two ends", {.key_end = vv_slice_str("z"), .to_last = true}, VV_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        gate_grant grant;
        vv_status st = gate_authorize(f.gate, &local, &rows[i].op, 1, &grant, NULL);
        if (st != rows[i].want)
            fail_msg("%s: %s", rows[i].name, vv_status_name(st));
    }
    end(&f);
}

static void test_ranges(void **state)
{
    (void)state;
    fixture f;
    begin(&f, true, false);
    const struct {
        const char *name;
        const char *begin, *end;
        bool to_last, some;
    } rows[] = {
        {"all", "", "", false, true},        {"from the first", "", "m", false, true},
        {"a range", "c", "m", false, true},  {"to the last", "c", "", true, true},
        {"nothing", "m", "m", false, false}, {"the wrong way round", "m", "c", false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        gate_op op = {.kind = GATE_READ,
                      .key_begin = vv_slice_str(rows[i].begin),
                      .key_end = vv_slice_str(rows[i].end),
                      .to_last = rows[i].to_last};
        gate_grant grant;
        vv_error err = {0};
        vv_slice lower, upper;
        assert_ok(gate_authorize(f.gate, &local, &op, 1, &grant, &err), err);
        if (gate_range(&grant, 0, &lower, &upper) != rows[i].some)
            fail_msg("%s", rows[i].name);
        assert_true(vv_slice_eq(lower, op.key_begin) && vv_slice_eq(upper, op.key_end));
        assert_false(gate_range(&grant, 1, &lower, &upper));
    }
    end(&f);
}

/* ---- tables ---- */

static vv_status open_one(fixture *f, gate_kind what, const char *name, vv_table_kind kind,
                          vv_error *err)
{
    gate_op op = op_of(what, "t", name);
    gate_grant grant;
    vv_table *table = NULL;
    assert_ok(gate_authorize(f->gate, &local, &op, 1, &grant, err), *err);
    vv_status st = gate_open_table(&grant, 0, kind, &table, err);
    assert_true((st == VV_OK) == (table != NULL));
    vv_table_close(table);
    return st;
}

static void test_a_first_write_creates_the_table(void **state)
{
    (void)state;
    fixture f;
    vv_error err = {0};
    begin(&f, true, false);
    assert_status(VV_NOT_FOUND, open_one(&f, GATE_READ, "new", VV_TABLE_KV, &err));
    gate_op op = op_of(GATE_WRITE, "t", "new");
    gate_grant grant;
    vv_table *table = NULL;
    assert_ok(gate_authorize(f.gate, &local, &op, 1, &grant, &err), err);
    assert_status(VV_NOT_FOUND, gate_find_table(&grant, 0, VV_TABLE_KV, &table, &err));
    assert_true(gate_may_create(&grant, 0));
    assert_ok(gate_open_table(&grant, 0, VV_TABLE_KV, &table, &err), err);
    assert_int_equal(vv_table_kind_of(table), VV_TABLE_KV);
    vv_table_close(table);
    assert_ok(open_one(&f, GATE_READ, "new", VV_TABLE_KV, &err), err);
    assert_ok(open_one(&f, GATE_WRITE, "rec", VV_TABLE_RECORD, &err), err);
    assert_ok(open_one(&f, GATE_TABLE, "rec", VV_TABLE_RECORD, &err), err);
    end(&f);
}

static void test_without_auto_create_the_refusal_says_what_to_do(void **state)
{
    (void)state;
    fixture f;
    vv_error err = {0};
    begin(&f, false, false);
    assert_status(VV_NOT_FOUND, open_one(&f, GATE_WRITE, "new", VV_TABLE_KV, &err));
    assert_non_null(strstr(err.msg, "create it first"));
    assert_non_null(strstr(err.msg, "'new'"));
    assert_status(VV_NOT_FOUND, open_one(&f, GATE_READ, "new", VV_TABLE_KV, &err));
    end(&f);
}

static void test_the_other_kind_is_read_but_not_written(void **state)
{
    (void)state;
    fixture f;
    vv_error err = {0};
    begin(&f, true, false);
    assert_ok(open_one(&f, GATE_WRITE, "kv", VV_TABLE_KV, &err), err);
    assert_ok(open_one(&f, GATE_WRITE, "rec", VV_TABLE_RECORD, &err), err);
    assert_ok(open_one(&f, GATE_READ, "kv", VV_TABLE_RECORD, &err), err);
    assert_ok(open_one(&f, GATE_READ, "rec", VV_TABLE_KV, &err), err);
    assert_status(VV_INVALID, open_one(&f, GATE_WRITE, "rec", VV_TABLE_KV, &err));
    assert_non_null(strstr(err.msg, "'rec'"));
    assert_status(VV_INVALID, open_one(&f, GATE_WRITE, "kv", VV_TABLE_RECORD, &err));
    assert_non_null(strstr(err.msg, "'kv'"));
    end(&f);
}

static void test_a_grant_covers_its_operations_only(void **state)
{
    (void)state;
    fixture f;
    vv_error err = {0};
    begin(&f, true, false);
    gate_op ops[2] = {op_of(GATE_WRITE, "t", "x"), {.kind = GATE_STATUS}};
    gate_grant grant;
    vv_table *table = NULL;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    assert_ok(gate_authorize(f.gate, &local, ops, 2, &grant, &err), err);
    assert_status(VV_INVALID, gate_open_table(&grant, 1, VV_TABLE_KV, &table, &err));
    assert_status(VV_INVALID, gate_open_table(&grant, 2, VV_TABLE_KV, &table, &err));
    assert_status(VV_INVALID, gate_open_table(&grant, SIZE_MAX, VV_TABLE_KV, &table, &err));
    assert_status(VV_INVALID, gate_create_table(&grant, 0, &opt, &table, &err));
    assert_status(VV_INVALID, gate_drop_table(&grant, 0, &err));
    assert_status(VV_INVALID, gate_drop_table(&grant, 7, &err));
    assert_false(gate_may_create(&grant, 1));
    assert_false(gate_may_create(&grant, 2));
    assert_null(table);
    end(&f);
}

static void test_tables_are_managed_through_a_grant(void **state)
{
    (void)state;
    fixture f;
    vv_error err = {0};
    begin(&f, false, false);
    gate_op op = op_of(GATE_TABLE, "", "");
    gate_grant grant;
    vv_table *table = NULL;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    assert_ok(gate_authorize(f.gate, &local, &op, 1, &grant, &err), err);
    assert_ok(gate_create_table(&grant, 0, &opt, &table, &err), err);
    vv_table_info info;
    assert_ok(vv_table_describe(table, &info, &err), err);
    assert_string_equal(info.tenant, GATE_NAME_DEFAULT);
    assert_string_equal(info.name, GATE_NAME_DEFAULT);
    vv_table_close(table);
    assert_status(VV_CONFLICT, gate_create_table(&grant, 0, &opt, &table, &err));
    assert_ok(gate_drop_table(&grant, 0, &err), err);
    assert_status(VV_NOT_FOUND, gate_drop_table(&grant, 0, &err));
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_for_every_identity),
        cmocka_unit_test(test_unknown_kinds_are_refused),
        cmocka_unit_test(test_one_refused_operation_refuses_the_list),
        cmocka_unit_test(test_a_refusal_tells_nothing_about_the_store),
        cmocka_unit_test(test_names_and_keys_are_checked),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_a_first_write_creates_the_table),
        cmocka_unit_test(test_without_auto_create_the_refusal_says_what_to_do),
        cmocka_unit_test(test_the_other_kind_is_read_but_not_written),
        cmocka_unit_test(test_a_grant_covers_its_operations_only),
        cmocka_unit_test(test_tables_are_managed_through_a_grant),
    };
    return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}
