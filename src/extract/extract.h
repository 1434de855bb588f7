/*
 * extract.h - what messages say of themselves: typed attributes by the rules of a table.
 *
 *   rules, a text --extract_compile, once--> extract_program --a runner for each thread-->
 *   extract_run(message): the same message with attributes, an event time and a content type;
 *   or poison, with the reason
 *
 * The rules are described for users in docs/extract.md. Pure functions over bytes: no table, no
 * clock, no lock. Rules and messages come from anywhere: whatever they hold costs a bounded time
 * and memory, told by the constants below, and what a rule cannot make of a message is counted and
 * noted in the message, never a failure of it.
 *
 * Threads: a program may be used by any number at once; a runner belongs to one at a time.
 */
#ifndef VARVE_EXTRACT_EXTRACT_H
#define VARVE_EXTRACT_EXTRACT_H

#include <stdbool.h>
#include <stdint.h>

#include "varve/stream.h"

#define EXTRACT_NAME_MAX 64u            /* bytes of the name of a rule */
#define EXTRACT_STEPS_DEEP 8u           /* names and indexes in a path of protobuf */
#define EXTRACT_PATH_MAX 16u            /* the same of JSON */
#define EXTRACT_JSON_DEPTH_MAX 64u      /* values inside values of a message */
#define EXTRACT_ATTRIBUTE_MAX 16384u    /* bytes of an attribute that a rule makes */
#define EXTRACT_BYTES_MAX 65536u        /* of all of them in a message */
#define EXTRACT_REGEX_STEPS_MAX 200000u /* of all expressions on one message */
#define EXTRACT_SCRATCH_MAX (8u << 20)  /* of JSON strings with escapes in a message */
#define EXTRACT_MADE_MAX (64u << 20)    /* that is made of messages until the runner's reset */
#define EXTRACT_OWN_MAX 4u              /* attributes that a dead letter gets */

/* Attributes that no rule and no producer gives: those of varve itself. */
#define EXTRACT_ERRORS "_errors"
#define EXTRACT_DEAD_REASON "_dead_reason"
#define EXTRACT_DEAD_PRODUCER "_dead_producer"
#define EXTRACT_DEAD_SEQUENCE "_dead_sequence"

typedef struct extract_program extract_program;
typedef struct extract_runner extract_runner;

/** Compile rules, and the FileDescriptorSet that those of kind protobuf name fields of. VV_INVALID
 * names line, rule and what is wrong. Copies what it needs. Gives *out: extract_program_destroy. */
VV_MUST_CHECK vv_status extract_compile(vv_slice rules, vv_slice descriptors, extract_program **out,
                                        vv_error *err);
void extract_program_destroy(extract_program *program); /* accepts NULL; no runner is left */
uint32_t extract_rule_count(const extract_program *program);
/** Whether a rule is `required`: then there may be dead letters. */
bool extract_has_required(const extract_program *program);
/** Bytes of memory that it takes. */
size_t extract_program_size(const extract_program *program);

/* What became of a rule, since the program was compiled. */
typedef struct extract_counts {
    vv_slice name; /* borrowed of the program */
    bool is_required;
    uint64_t found;
    uint64_t absent; /* what it looks for is not in the message */
    uint64_t errors; /* it is, and is not what the rule says; or the message cannot be read */
} extract_counts;
void extract_counts_read(const extract_program *program, uint32_t rule, extract_counts *out);
/** Messages whose attributes did not fit beside what they brought. */
uint64_t extract_overflows(const extract_program *program);

VV_MUST_CHECK vv_status extract_runner_create(extract_program *program, extract_runner **out,
                                              vv_error *err);
void extract_runner_destroy(extract_runner *runner); /* accepts NULL */
/** Forget what extract_run made. */
void extract_runner_reset(extract_runner *runner);

typedef struct extract_place {
    vv_slice tenant;
    vv_slice table;
    uint64_t size_max; /* of a message with its attributes, as stream_message_size counts */
} extract_place;

typedef struct extract_result {
    vv_message message; /* borrows the message given and the runner until its reset */
    uint32_t errors;    /* rules that could not make of it what they say */
    bool is_poison;     /* message is as it came; reason says why it cannot be among the others */
    char reason[200];
} extract_result;

/** Apply the rules. VV_INVALID: the message has more attributes of its own than
 * VV_STREAM_ATTRIBUTES_MAX less EXTRACT_OWN_MAX, or those since the reset come to more than
 * EXTRACT_MADE_MAX, which one alone never does. VV_NO_MEMORY. */
VV_MUST_CHECK vv_status extract_run(extract_runner *runner, const extract_place *place,
                                    const vv_message *message, extract_result *out, vv_error *err);

/** What a value looks like by its first bytes: "application/json", "image/png", "text/plain", ...;
 * "application/octet-stream" for everything else, and "" for an empty one. */
const char *extract_sniff(vv_slice value);

/** Whether text is "namespace:type": letters, digits and "_-./" on both sides of one colon. */
bool extract_is_entity(vv_slice text);

#endif
