/*
 * re_int.h - what the parser of re.h hands to the matcher: a program of states.
 */
#ifndef VARVE_BASE_RE_INT_H
#define VARVE_BASE_RE_INT_H

#include "base/re.h"

typedef struct regex_range {
    uint32_t first;
    uint32_t last;
} regex_range;

/* Ranges of code points, a part of vv_regex.range. */
typedef struct regex_class {
    uint32_t begin;
    uint32_t count;
    bool is_negated;
} regex_class;

typedef enum regex_op {
    REGEX_CHAR,  /* code point a, then next */
    REGEX_CLASS, /* one of class a, then next */
    REGEX_SPLIT, /* next and also a; what next leads to is preferred */
    REGEX_BEGIN, /* at the beginning of the text: next */
    REGEX_END,
    REGEX_JUMP, /* next */
    REGEX_MARK, /* the group begins here (a is 0) or ends (1): next */
    REGEX_MATCH,
} regex_op;

typedef struct regex_state {
    regex_op op;
    uint32_t a;
    uint32_t next;
} regex_state;

/* A set of states that remembers the order in which they came. */
typedef struct regex_list {
    uint32_t *dense;
    uint32_t *sparse;
    uint32_t count;
} regex_list;

#define REGEX_UNSET SIZE_MAX

/* Where the group begins and ends in the text; REGEX_UNSET: not seen. */
typedef struct regex_span {
    size_t begin;
    size_t end;
} regex_span;

/* A state that vv_regex_find has still to add. */
typedef struct regex_todo {
    uint32_t state;
    regex_span span;
} regex_todo;

struct vv_regex {
    regex_state *state;
    uint32_t state_count;
    regex_range *range;
    regex_class *class;
    regex_list now;
    regex_list then;
    uint32_t *stack;
    regex_span *now_span; /* beside the lists' dense; of expressions with a group, like the next */
    regex_span *then_span;
    regex_todo *todo;
};

/* The next code point of [p, end), which is not empty; *used its bytes. */
uint32_t regex_decode(const uint8_t *p, const uint8_t *end, size_t *used);

/* Does a state take this code point? Adds what it cost to look. */
bool regex_accepts(const vv_regex *re, const regex_state *s, uint32_t code, uint64_t *cost);
bool regex_list_has(const regex_list *l, uint32_t state);

#endif
