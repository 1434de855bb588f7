/*
 * bench_extract.c - what rules cost a message, one JSON line.
 *
 *     bench_extract [seconds]
 *
 * A message of 256 bytes of JSON, four rules of which one is a time that becomes the event time, on
 * one thread; beside it the same without rules, and with the hash and an expression. It backs the
 * claim that rules cost about a microsecond a message.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "extract/extract.h"
#include "io/env.h"

#define SIZE 256u

static const char four[] = "device = json $.meta.device string\n"
                           "temp = json $.t float\n"
                           "at = json $.ts time -> event\n"
                           "state = json $.state\n";
static const char six[] = "device = json $.meta.device string\n"
                          "temp = json $.t float\n"
                          "at = json $.ts time -> event\n"
                          "state = json $.state\n"
                          "hash = field hash\n"
                          "site = regex \"\\\"site\\\":\\\"(\\w+)\\\"\" 1\n";

static void must(vv_status st, const vv_error *err)
{
    if (st == VV_OK)
        return;
    (void)fprintf(stderr, "bench_extract: %s\n", err->msg);
    exit(1);
}

/* Nanoseconds a message. */
static double measure(const char *rules, const vv_message *m, double seconds)
{
    vv_error err = {0};
    extract_program *program = NULL;
    extract_runner *runner = NULL;
    extract_result result;
    extract_place place = {vv_slice_str("plant"), vv_slice_str("events"), VV_STREAM_MESSAGE_MAX};
    vv_clock *clock = vv_clock_real();
    must(extract_compile(vv_slice_str(rules), vv_slice_of(NULL, 0), &program, &err), &err);
    must(extract_runner_create(program, &runner, &err), &err);
    int64_t begin = vv_clock_mono(clock), now = begin;
    uint64_t count = 0;
    while ((double)(now - begin) < seconds * 1e9) {
        for (unsigned i = 0; i < 1000; i++) {
            extract_runner_reset(runner);
            must(extract_run(runner, &place, m, &result, &err), &err);
        }
        count += 1000;
        now = vv_clock_mono(clock);
    }
    extract_runner_destroy(runner);
    extract_program_destroy(program);
    return (double)(now - begin) / (double)count;
}

int main(int argc, char **argv)
{
    char text[SIZE + 1];
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 1;
    int n = snprintf(text, sizeof text,
                     "{\"meta\":{\"device\":\"oven-3\",\"site\":\"ham\",\"firmware\":\"4.17.2\"},"
                     "\"ts\":\"2026-07-01T12:30:00.25Z\",\"t\":231.25,\"state\":\"heating\","
                     "\"door\":false,\"note\":\"");
    memset(text + n, 'x', SIZE - (size_t)n);
    memcpy(text + SIZE - 2, "\"}", 3);
    vv_message m = {.value = vv_slice_of(text, SIZE)};
    double none = measure("# none", &m, seconds);
    double some = measure(four, &m, seconds);
    double more = measure(six, &m, seconds);
    (void)printf("{\"bench\":\"extract\",\"bytes\":%u,\"seconds\":%g,\"ns_without_rules\":%.0f,"
                 "\"ns_four_rules\":%.0f,\"ns_six_rules\":%.0f}\n",
                 SIZE, seconds, none, some, more);
    return 0;
}
