/*
 * engine_suite.c - runs the conformance tests on a subject, each in a bed of its own.
 */
#include "engine/engine_suite_int.h"

#define TESTS_MAX 96u

typedef struct run_state {
    const engine_suite_subject *subject;
    const suite_test *test;
} run_state;

static void run_one(void **state)
{
    const run_state *run = *state;
    bed *b = bed_create(run->subject);
    run->test->fn(b);
    expect_clean(b);
    bed_destroy(b);
}

static void run_model(void **state)
{
    run_state *run = *state;
    void *subject = (void *)(uintptr_t)run->subject;
    suite_prop_agrees_with_the_model(&subject);
}

int engine_suite_run(const engine_suite_subject *subject)
{
    static const suite_test *const groups[] = {suite_write_tests, suite_cursor_tests,
                                               suite_work_tests};
    struct CMUnitTest tests[TESTS_MAX];
    run_state runs[TESTS_MAX];
    size_t count = 0;
    for (size_t g = 0; g < ARRAY_LEN(groups); g++) {
        for (const suite_test *t = groups[g]; t->fn != NULL; t++) {
            runs[count] = (run_state){subject, t};
            tests[count] = (struct CMUnitTest){
                .name = t->name, .test_func = run_one, .initial_state = &runs[count]};
            count++;
        }
    }
    runs[count] = (run_state){subject, NULL};
    tests[count] = (struct CMUnitTest){.name = "prop_agrees_with_the_model",
                                       .test_func = run_model,
                                       .initial_state = &runs[count]};
    count++;
    assert(count <= TESTS_MAX);
    return _cmocka_run_group_tests(subject->name, tests, count, NULL, NULL);
}
