#include "vv_test.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/util.h"
#include "db/db.h"
#include "server/config.h"
#include "server/config_int.h"

static void defaults_pass_their_own_check(void **state)
{
    (void)state;
    config c;
    vv_error err;
    config_init(&c);
    assert_ok(config_check(&c, &err), err);
    assert_int_equal(c.server_port, 8080);
    assert_ok(config_fit_memory(&c, &err), err);
    assert_int_equal(c.storage_memtable_size, 64 << 20);
    assert_int_equal(c.storage_cache_size, 128 << 20);
    assert_int_equal(c.server_max_message_size, 64 << 20);
    assert_false(c.server_allow_anonymous);
}

static void yaml_sets_keys_and_names_the_place_of_mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *want; /* NULL: accepted; else a part of the message */
    } cases[] = {
        {"", NULL},
        {"# nothing\n", NULL},
        {"server:\n  port: 9000\nstorage:\n  memtable_size: 32MB\n", NULL},
        {"server:\n", NULL},
        {"server:\n  prot: 1\n",
         "f.yaml:2:3: unknown key 'server.prot'; did you mean 'server.port'?"},
        {"sever:\n  port: 1\n", "f.yaml:1:1: unknown section 'sever'"},
        {"server:\n  port: eighty\n", "f.yaml:2:9: server.port: 'eighty' is not a whole number"},
        {"server:\n  port: 70000\n", "f.yaml:2:9: server.port: 70000 is outside 0..65535"},
        {"server:\n  port: 1\n  port: 2\n", "f.yaml:3:3: this key stands a second time"},
        {"server: [1]\n", "f.yaml:1:9: expected the keys"},
        {"server:\n  port: [1]\n", "f.yaml:2:9: expected a plain value"},
        {"- server\n", "f.yaml:1:1: expected sections"},
        {"server:\n  port: 1\n---\nserver:\n  port: 2\n", "f.yaml:3:1: a second document"},
        {"server:\n\tport: 1\n", "f.yaml:2:1: not YAML"},
        {"storage:\n  engine: foo\n",
         "f.yaml:2:11: storage.engine: 'foo' is none of: auto, lsm, btree, rocksdb"},
        {"storage:\n  memory_limit: 1KB\n",
         "f.yaml:2:17: storage.memory_limit: 1KB is outside 16MB..1024GB"},
        {"server:\n  idle_timeout: 10ms\n",
         "f.yaml:2:17: server.idle_timeout: 10ms is outside 1s..24h"},
        {"storage:\n  durability: maybe\n", "f.yaml:2:15: storage.durability: 'maybe' is none of"},
        {"storage:\n  memtable_size: 99999999999GB\n", "is not a size"},
        {"storage:\n  memtable_size: -1\n", "is not a size"},
        {"storage:\n  compression: yes\n", "is not true or false"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        config c;
        vv_error err = {0};
        config_init(&c);
        vv_status st = config_load_yaml(&c, "f.yaml", vv_slice_str(cases[i].text), &err);
        if (cases[i].want == NULL && st != VV_OK)
            fail_msg("%s: %s", cases[i].text, err.msg);
        if (cases[i].want != NULL && (st != VV_INVALID || strstr(err.msg, cases[i].want) == NULL))
            fail_msg("%s: got '%s'", cases[i].text, err.msg);
    }
}

static void the_environment_wins_over_the_file_and_set_over_both(void **state)
{
    (void)state;
    config c;
    vv_error err;
    config_init(&c);
    assert_ok(config_load_yaml(&c, "f", vv_slice_str("server:\n  port: 1\n"), &err), err);
    char *env[] = {"PATH=/bin", "VARVE_SERVER_PORT=2", NULL};
    assert_ok(config_load_env(&c, env, &err), err);
    assert_int_equal(c.server_port, 2);
    assert_ok(config_set(&c, "server.port=3", &err), err);
    assert_int_equal(c.server_port, 3);
    assert_status(VV_INVALID, config_set(&c, "server.pot=3", &err));
    assert_non_null(strstr(err.msg, "did you mean 'server.port'"));
    assert_status(VV_INVALID, config_set(&c, "server.port", &err));
    char *foreign[] = {"VARVE_SERVICE_HOST=10.0.0.1", "VARVE_PORT=tcp://10.0.0.1:80", NULL};
    assert_ok(config_load_env(&c, foreign, &err), err);
    char *typo[] = {"VARVE_SERVER_PROT=2", NULL};
    assert_status(VV_INVALID, config_load_env(&c, typo, &err));
    assert_non_null(strstr(err.msg, "VARVE_SERVER_PORT"));
}

static void an_open_address_needs_to_be_asked_for_by_name(void **state)
{
    (void)state;
    config c;
    vv_error err;
    config_init(&c);
    assert_ok(config_set(&c, "server.host=0.0.0.0", &err), err);
    assert_status(VV_INVALID, config_check(&c, &err));
    assert_non_null(strstr(err.msg, "server.allow_anonymous"));
    assert_ok(config_set(&c, "server.allow_anonymous=true", &err), err);
    static const char *const names[] = {"server.host=localhost", "server.host=127.1.2",
                                        "server.host=", "server.host=::2::"};
    for (size_t n = 0; n < ARRAY_LEN(names); n++) {
        assert_ok(config_set(&c, names[n], &err), err);
        assert_status(VV_INVALID, config_check(&c, &err));
        assert_non_null(strstr(err.msg, "not a numeric address"));
    }
    assert_ok(config_set(&c, "server.host=0.0.0.0", &err), err);
    assert_ok(config_check(&c, &err), err);
}

static void the_log_of_backups_needs_a_place_for_them(void **state)
{
    (void)state;
    config c;
    vv_error err;
    config_init(&c);
    assert_ok(config_set(&c, "backup.archive_log=true", &err), err);
    assert_status(VV_INVALID, config_check(&c, &err));
    assert_non_null(strstr(err.msg, "backup.archive_log"));
    assert_non_null(strstr(err.msg, "backup.dir"));
    assert_ok(config_set(&c, "backup.dir=/backups", &err), err);
    assert_ok(config_check(&c, &err), err);
}

/* What one engine alone heeds says so where the key is explained. */
static void keys_of_one_engine_name_it(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        const char *begin;
    } rows[] = {
        {"storage.direct_io", "lsm and rocksdb: "}, {"storage.compaction_budget", "lsm: "},
        {"storage.archive_interval", "btree: "},    {"storage.num_retained_archives", "btree: "},
        {"storage.file_amplify_factor", "btree: "}, {"storage.value_compression", "btree: "},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const config_key *key = config_find(rows[i].key);
        assert_non_null(key);
        if (strncmp(key->doc, rows[i].begin, strlen(rows[i].begin)) != 0)
            fail_msg("%s: %s", rows[i].key, key->doc);
    }
}

static void prop_printed_configuration_reads_back(void **state)
{
    (void)state;
    config a;
    config b;
    vv_error err;
    config_init(&a);
    assert_ok(config_set(&a, "storage.data_directory=/a \"b\"\\c", &err), err);
    assert_ok(config_set(&a, "server.drain_timeout=1500ms", &err), err);
    assert_ok(config_set(&a, "storage.log_limit=3000000", &err), err);
    assert_ok(config_set(&a, "log.level=debug", &err), err);
    vv_buf out;
    vv_buf_init(&out, 1 << 20);
    config_print(&a, &out);
    config_init(&b);
    assert_ok(config_load_yaml(&b, "printed", vv_buf_slice(&out), &err), err);
    assert_memory_equal(&a, &b, sizeof a);
    vv_buf_fini(&out);
}

/* What nobody may pass, whatever was derived or set. */
static void check_parts(const config *c)
{
    vv_options opt = VV_OPTIONS_INIT;
    opt.memory_limit = c->storage_memory_limit;
    opt.memtable_size = c->storage_memtable_size;
    opt.cache_size = c->storage_cache_size;
    opt.process_memory = config_process_memory(c);
    uint64_t room = db_memory_free(&opt); /* 0: vv_db_open would refuse */
    assert_true(room >= VV_MIB);
    assert_true(CONFIG_MESSAGE_COPIES * c->server_max_message_size <= room);
    assert_true(c->ingest_queue_size >= VV_MIB && c->ingest_queue_size <= room);
    assert_true(c->query_memory_limit >= VV_MIB && c->query_memory_limit <= room);
    assert_true(c->storage_memtable_size <= c->storage_memory_limit / 4);
    assert_true(c->storage_cache_size >= VV_MIB);
}

/* A limit alone: whole parts that fit, no part shrinks as the limit grows, and what was printed
 * reads back and stays. */
static void prop_every_limit_from_the_least_on_divides(void **state)
{
    (void)state;
    config before = {0};
    vv_error err;
    for (uint64_t limit = 16 * VV_MIB; limit < 4096 * VV_GIB; limit += 1 + limit / 37) {
        config c;
        config_init(&c);
        c.storage_memory_limit = limit;
        assert_ok(config_fit_memory(&c, &err), err);
        check_parts(&c);
        assert_true(c.server_max_message_size >= VV_MIB);
        assert_true(c.storage_cache_size >= before.storage_cache_size);
        assert_true(c.storage_memtable_size >= before.storage_memtable_size);
        assert_true(c.server_max_message_size >= before.server_max_message_size);
        assert_true(c.ingest_queue_size >= before.ingest_queue_size);
        assert_true(c.query_memory_limit >= before.query_memory_limit);
        before = c;
        assert_ok(config_fit_memory(&c, &err), err);
        assert_memory_equal(&before, &c, sizeof c);
    }
}

/* The number behind "at most " of a refusal. */
static uint64_t largest_of(const vv_error *err)
{
    const char *at = strstr(err->msg, "at most ");
    assert_non_null(at);
    return strtoull(at + strlen("at most "), NULL, 10);
}

typedef struct sized {
    const char *name;
    size_t offset;
} sized;

/* Where in config the key is that a refusal begins with. */
static size_t refused_key(const sized *keys, size_t count, const vv_error *err)
{
    for (size_t k = 0; k < count; k++)
        if (strncmp(err->msg, keys[k].name, strlen(keys[k].name)) == 0)
            return keys[k].offset;
    fail_msg("no key: %s", err->msg);
    return 0;
}

/* Keys set at random, in random combinations: what is accepted fits, and of what is refused the
 * largest that the sentence names is not refused again, while a KiB more is. */
static void prop_a_refused_size_names_the_largest_that_fits(void **state)
{
    (void)state;
    static const sized keys[] = {
        {"storage.memtable_size", offsetof(config, storage_memtable_size)},
        {"storage.cache_size", offsetof(config, storage_cache_size)},
        {"server.max_message_size", offsetof(config, server_max_message_size)},
        {"ingest.queue_size", offsetof(config, ingest_queue_size)},
        {"query.memory_limit", offsetof(config, query_memory_limit)}};
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(1));
    unsigned refused = 0;
    for (unsigned round = 0; round < 20000; round++) {
        config asked;
        config_init(&asked);
        asked.storage_memory_limit = 16 * VV_MIB << vv_rng_below(&rng, 8);
        for (size_t k = 0; k < ARRAY_LEN(keys); k++) {
            uint64_t value = VV_MIB + vv_rng_below(&rng, asked.storage_memory_limit);
            if (vv_rng_one_in(&rng, 3))
                memcpy((char *)&asked + keys[k].offset, &value, sizeof value);
        }
        vv_error err = {0};
        for (unsigned tries = 0; tries <= ARRAY_LEN(keys); tries++) {
            config c = asked;
            if (config_fit_memory(&c, &err) == VV_OK) {
                check_parts(&c);
                break;
            }
            assert_true(tries < ARRAY_LEN(keys)); /* each key is refused once at most */
            refused++;
            size_t offset = refused_key(keys, ARRAY_LEN(keys), &err);
            uint64_t largest = largest_of(&err);
            uint64_t more = largest + VV_KIB;
            c = asked;
            memcpy((char *)&c + offset, &more, sizeof more);
            assert_status(VV_INVALID, config_fit_memory(&c, &err));
            memcpy((char *)&asked + offset, &largest, sizeof largest);
        }
    }
    assert_true(refused > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_pass_their_own_check),
        cmocka_unit_test(yaml_sets_keys_and_names_the_place_of_mistakes),
        cmocka_unit_test(the_environment_wins_over_the_file_and_set_over_both),
        cmocka_unit_test(an_open_address_needs_to_be_asked_for_by_name),
        cmocka_unit_test(the_log_of_backups_needs_a_place_for_them),
        cmocka_unit_test(keys_of_one_engine_name_it),
        cmocka_unit_test(prop_printed_configuration_reads_back),
        cmocka_unit_test(prop_every_limit_from_the_least_on_divides),
        cmocka_unit_test(prop_a_refused_size_names_the_largest_that_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
