/* health_test.c - each outcome of background work in each state: what writes are told then. */
#include "vv_test.h"

#include "engine/health.h"

static void every_outcome_in_every_state(void **state)
{
    (void)state;
    static const struct {
        vv_status before, outcome;
        bool is_idle;
        vv_status after; /* what a write is told */
    } rows[] = {
        {VV_OK, VV_OK, false, VV_OK},
        {VV_OK, VV_NOT_FOUND, true, VV_OK},
        {VV_OK, VV_BUSY, false, VV_OK},
        {VV_OK, VV_NO_MEMORY, false, VV_OK},
        {VV_OK, VV_NO_SPACE, false, VV_NO_SPACE},
        {VV_OK, VV_CORRUPT, false, VV_IO},
        {VV_NO_SPACE, VV_NOT_FOUND, false, VV_NO_SPACE}, /* another thread has it */
        {VV_NO_SPACE, VV_NOT_FOUND, true, VV_OK},
        {VV_NO_SPACE, VV_NO_MEMORY, false, VV_NO_SPACE},
        {VV_NO_SPACE, VV_NO_SPACE, false, VV_NO_SPACE},
        {VV_NO_SPACE, VV_OK, false, VV_OK},
        {VV_NO_SPACE, VV_IO, false, VV_IO},
        {VV_IO, VV_OK, false, VV_IO}, /* what latched stays */
        {VV_IO, VV_NOT_FOUND, true, VV_IO},
        {VV_IO, VV_NO_SPACE, false, VV_IO},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        engine_health h;
        vv_error err = {0};
        engine_health_init(&h);
        if (rows[i].before != VV_OK)
            engine_health_note(&h, rows[i].before, false, &(vv_error){.msg = "the first"});
        engine_health_note(&h, rows[i].outcome, rows[i].is_idle, &(vv_error){.msg = "the second"});
        assert_int_equal(engine_health_is_good(&h), rows[i].after == VV_OK);
        if (rows[i].after != VV_OK)
            assert_int_equal(engine_health_refuse(&h, &err), rows[i].after);
        if (rows[i].before == VV_IO || rows[i].after == VV_IO) {
            vv_status why = rows[i].before == VV_IO ? VV_IO : rows[i].outcome;
            const char *says = rows[i].before == VV_IO ? "the first" : "the second";
            assert_non_null(strstr(err.msg, says));
            assert_status(why, engine_health_latched(&h, &err));
            assert_string_equal(err.msg, says);
        } else {
            assert_ok(engine_health_latched(&h, &err), err);
        }
        engine_health_fini(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_outcome_in_every_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
