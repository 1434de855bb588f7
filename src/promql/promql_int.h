/*
 * promql_int.h - the tree of an expression, shared by reading and evaluating it.
 */
#ifndef VARVE_PROMQL_PROMQL_INT_H
#define VARVE_PROMQL_PROMQL_INT_H

#include <stdbool.h>

#include "promql/promql.h"

#define PROMQL_DEPTH_MAX 64u
#define PROMQL_LIST_MAX 64u /* matchers of a selector, labels of a by */

/* ---- promql_lex.c ---- */

typedef enum promql_token_kind {
    PROMQL_END,
    PROMQL_NAME,     /* letters, digits, '_' and ':' */
    PROMQL_NUMBER,   /* value */
    PROMQL_DURATION, /* nanoseconds */
    PROMQL_STRING,   /* text, escapes undone */
    PROMQL_SIGN,     /* sign */
} promql_token_kind;

typedef enum promql_sign {
    PROMQL_LEFT_PAREN,
    PROMQL_RIGHT_PAREN,
    PROMQL_LEFT_BRACE,
    PROMQL_RIGHT_BRACE,
    PROMQL_LEFT_BRACKET,
    PROMQL_RIGHT_BRACKET,
    PROMQL_COMMA,
    PROMQL_COLON,
    PROMQL_AT,
    PROMQL_ASSIGN, /* = */
    PROMQL_RE,     /* =~ */
    PROMQL_NOT_RE, /* !~ */
    PROMQL_ADD,    /* from here on: binary operators */
    PROMQL_SUB,
    PROMQL_MUL,
    PROMQL_DIV,
    PROMQL_MOD,
    PROMQL_POW,
    PROMQL_EQ, /* from here on: comparisons */
    PROMQL_NE,
    PROMQL_GT,
    PROMQL_LT,
    PROMQL_GE,
    PROMQL_LE,
} promql_sign;

typedef struct promql_token {
    promql_token_kind kind;
    promql_sign sign;
    size_t at; /* offset in the text */
    vv_slice text;
    double value;
    int64_t duration_ns;
} promql_token;

typedef struct promql_lexer {
    vv_slice text;
    size_t at;
    vv_arena *arena; /* of strings */
} promql_lexer;

VV_MUST_CHECK vv_status promql_next_token(promql_lexer *lexer, promql_token *out, vv_error *err);

/* ---- the tree ---- */

typedef enum promql_kind {
    PROMQL_NODE_NUMBER,
    PROMQL_NODE_SELECTOR,
    PROMQL_NODE_OVER_RANGE, /* a function of a range selector */
    PROMQL_NODE_MATH,       /* a function of each value */
    PROMQL_NODE_TIME,       /* time() */
    PROMQL_NODE_VECTOR,     /* vector(scalar) */
    PROMQL_NODE_AGGREGATE,
    PROMQL_NODE_BINARY,
} promql_kind;

typedef struct promql_node promql_node;

/* What is known of a function over a range: promql_func.c. */
typedef struct promql_window {
    const int64_t *time_ns; /* [count] ascending, in [start_ns, end_ns] */
    const double *value;
    size_t count;
    int64_t start_ns;
    int64_t end_ns;
    double *sorted; /* room for count values */
} promql_window;

typedef struct promql_range_function {
    const char *name;
    bool has_parameter; /* a number before the range */
    bool keeps_name;
    /* False: nothing at this instant. */
    bool (*apply)(const promql_window *w, double parameter, double *out);
} promql_range_function;

typedef struct promql_math_function {
    const char *name;
    double (*apply)(double v);
} promql_math_function;

struct promql_node {
    promql_kind kind;
    promql_type type;
    size_t at; /* offset in the text */
    double number;

    vv_matcher *matchers; /* of a selector */
    size_t matcher_count;
    int64_t range_ns; /* 0: an instant */
    int64_t offset_ns;

    const promql_range_function *over; /* child[0] is the range selector, child[1] the parameter */
    const promql_math_function *math;
    promql_sign op; /* of a binary */
    bool is_bool;
    vv_aggregate aggregate;
    bool is_without;
    vv_slice *labels; /* of by and without */
    size_t label_count;
    promql_node *child[2];
};

struct promql_expr {
    vv_arena arena; /* of everything, the text's copy included */
    vv_slice text;
    promql_node *root;
};

/* ---- promql_func.c ---- */

/** NULL where there is none of the name. */
const promql_range_function *promql_range_function_of(vv_slice name);
const promql_math_function *promql_math_function_of(vv_slice name);
/** True for a name that PromQL has and this subset has not. */
bool promql_is_known_elsewhere(vv_slice name);
/** The marker that a series has ended, a NaN of its own. */
bool promql_is_stale(double v);

#endif
