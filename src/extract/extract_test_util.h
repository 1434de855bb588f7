/*
 * extract_test_util.h - short ways to compile rules and to run them over a message in tests.
 */
#ifndef VARVE_EXTRACT_EXTRACT_TEST_UTIL_H
#define VARVE_EXTRACT_EXTRACT_TEST_UTIL_H

#include "vv_test.h"

#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "extract/extract.h"
#include "stream/stream.h"

#define S(text) vv_slice_str(text)

/* Rules, a runner, and what it made of the last message. */
typedef struct bed {
    extract_program *program;
    extract_runner *runner;
    extract_result result;
} bed;

static inline bed bed_of(const char *rules, vv_slice schema)
{
    vv_error err = {0};
    bed b = {.program = NULL};
    assert_ok(extract_compile(S(rules), schema, &b.program, &err), err);
    assert_ok(extract_runner_create(b.program, &b.runner, &err), err);
    return b;
}

static inline void bed_end(bed *b)
{
    extract_runner_destroy(b->runner);
    extract_program_destroy(b->program);
}

static inline extract_place any_place(void)
{
    return (extract_place){S("acme"), S("orders"), VV_STREAM_MESSAGE_MAX};
}

static inline const vv_message *run_on(bed *b, vv_slice value)
{
    vv_error err = {0};
    extract_place place = any_place();
    vv_message m = {.value = value, .source = vv_slice_str("gw-1")};
    extract_runner_reset(b->runner);
    assert_ok(extract_run(b->runner, &place, &m, &b->result, &err), err);
    return &b->result.message;
}

/* NULL: it is not there. */
static inline const vv_attribute *attribute(const vv_message *m, const char *name)
{
    for (size_t i = 0; i < m->attribute_count; i++)
        if (vv_slice_eq(m->attributes[i].name, S(name)))
            return &m->attributes[i];
    return NULL;
}

static inline void expect_text(const vv_message *m, const char *name, const char *want)
{
    const vv_attribute *a = attribute(m, name);
    if (want == NULL && a != NULL)
        fail_msg("'%s' is there: '%.*s'", name, (int)a->bytes.len, (const char *)a->bytes.data);
    if (want == NULL)
        return;
    if (a == NULL)
        fail_msg("'%s' is not there", name);
    assert_non_null(a);
    assert_int_equal(a->type, VV_ATTRIBUTE_STRING);
    if (!vv_slice_eq(a->bytes, S(want)))
        fail_msg("'%s' is '%.*s', not '%s'", name, (int)a->bytes.len, (const char *)a->bytes.data,
                 want);
}

static inline void expect_i64(const vv_message *m, const char *name, vv_attribute_type type,
                              int64_t want)
{
    const vv_attribute *a = attribute(m, name);
    if (a == NULL)
        fail_msg("'%s' is not there", name);
    assert_non_null(a);
    assert_int_equal(a->type, type);
    assert_int_equal(a->i64, want);
}

static inline void expect_f64(const vv_message *m, const char *name, double want)
{
    const vv_attribute *a = attribute(m, name);
    if (a == NULL)
        fail_msg("'%s' is not there", name);
    assert_non_null(a);
    assert_int_equal(a->type, VV_ATTRIBUTE_F64);
    assert_true(a->f64 == want);
}

#endif
