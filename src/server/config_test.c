#include "vv_test.h"

#include <string.h>

#include "server/config.h"

static void defaults_pass_their_own_check(void **state)
{
    (void)state;
    config c;
    vv_error err;
    config_init(&c);
    assert_ok(config_check(&c, &err), err);
    assert_int_equal(c.server_port, 8080);
    assert_int_equal(c.storage_memtable_size, 64 << 20);
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
    assert_ok(config_check(&c, &err), err);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_pass_their_own_check),
        cmocka_unit_test(yaml_sets_keys_and_names_the_place_of_mistakes),
        cmocka_unit_test(the_environment_wins_over_the_file_and_set_over_both),
        cmocka_unit_test(an_open_address_needs_to_be_asked_for_by_name),
        cmocka_unit_test(prop_printed_configuration_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
