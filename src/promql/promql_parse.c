/*
 * promql_parse.c - words to a tree, by precedence climbing; types are checked on the way.
 *
 *   lowest   == != > < >= <=      then + -      then * / %      then unary + -      highest ^
 *
 * All but ^ group to the left.
 */
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "promql/promql_int.h"

#define ARENA_MAX (1024u * 1024)

typedef struct parser {
    promql_lexer lexer;
    promql_token token; /* not taken yet */
    vv_arena *arena;
    unsigned depth;
} parser;

static vv_status parse_expr(parser *p, unsigned lowest, promql_node **out, vv_error *err);

/* ---- help ---- */

static vv_status advance(parser *p, vv_error *err)
{
    return promql_next_token(&p->lexer, &p->token, err);
}

static bool is_sign(const parser *p, promql_sign sign)
{
    return p->token.kind == PROMQL_SIGN && p->token.sign == sign;
}

static bool is_word(const parser *p, const char *word)
{
    return p->token.kind == PROMQL_NAME && vv_slice_eq(p->token.text, vv_slice_str(word));
}

static vv_status fail_here(const parser *p, vv_error *err, const char *wanted)
{
    if (p->token.kind == PROMQL_END)
        return vv_fail(err, VV_INVALID, "character %zu: the query ends where %s should stand",
                       p->token.at, wanted);
    return vv_fail(err, VV_INVALID, "character %zu: '%.*s' where %s should stand", p->token.at,
                   (int)vv_min_u64(p->token.text.len, 40), (const char *)p->token.text.data,
                   wanted);
}

static vv_status expect(parser *p, promql_sign sign, const char *wanted, vv_error *err)
{
    return is_sign(p, sign) ? advance(p, err) : fail_here(p, err, wanted);
}

static vv_status new_node(parser *p, promql_kind kind, promql_type type, promql_node **out,
                          vv_error *err)
{
    promql_node *node = vv_arena_alloc(p->arena, sizeof *node);
    if (node == NULL)
        return vv_fail(err, VV_NO_MEMORY, "query: no memory for its tree");
    *node = (promql_node){.kind = kind, .type = type, .at = p->token.at};
    *out = node;
    return VV_OK;
}

static const char *type_name(promql_type type)
{
    return type == PROMQL_SCALAR   ? "a number"
           : type == PROMQL_VECTOR ? "an instant vector"
                                   : "a range";
}

static vv_status require_type(const promql_node *node, promql_type type, const char *of,
                              vv_error *err)
{
    if (node->type == type)
        return VV_OK;
    return vv_fail(err, VV_INVALID, "character %zu: %s takes %s, this is %s", node->at, of,
                   type_name(type), type_name(node->type));
}

/* ---- selectors ---- */

static vv_status add_matcher(parser *p, promql_node *node, vv_match op, vv_slice name,
                             vv_slice value, vv_error *err)
{
    if (node->matcher_count == PROMQL_LIST_MAX)
        return vv_fail(err, VV_INVALID, "character %zu: over %u matchers", p->token.at,
                       PROMQL_LIST_MAX);
    if (node->matchers == NULL)
        node->matchers = vv_arena_alloc(p->arena, PROMQL_LIST_MAX * sizeof *node->matchers);
    if (node->matchers == NULL)
        return vv_fail(err, VV_NO_MEMORY, "query: no memory for a selector");
    node->matchers[node->matcher_count++] = (vv_matcher){.op = op, .name = name, .value = value};
    return VV_OK;
}

static vv_status parse_matcher(parser *p, promql_node *node, vv_error *err)
{
    if (p->token.kind != PROMQL_NAME)
        return fail_here(p, err, "the name of a label");
    vv_slice name = p->token.text;
    vv_status st = advance(p, err);
    if (st != VV_OK)
        return st;
    vv_match op = VV_MATCH_EQ;
    if (is_sign(p, PROMQL_NE))
        op = VV_MATCH_NE;
    else if (is_sign(p, PROMQL_RE))
        op = VV_MATCH_RE;
    else if (is_sign(p, PROMQL_NOT_RE))
        op = VV_MATCH_NRE;
    else if (!is_sign(p, PROMQL_ASSIGN))
        return fail_here(p, err, "one of = != =~ !~");
    st = advance(p, err);
    if (st == VV_OK && p->token.kind != PROMQL_STRING)
        return fail_here(p, err, "a text in quotes");
    if (st == VV_OK)
        st = add_matcher(p, node, op, name, p->token.text, err);
    return st == VV_OK ? advance(p, err) : st;
}

static vv_status parse_braces(parser *p, promql_node *node, vv_error *err)
{
    vv_status st = advance(p, err);
    while (st == VV_OK && !is_sign(p, PROMQL_RIGHT_BRACE)) {
        st = parse_matcher(p, node, err);
        if (st == VV_OK && is_sign(p, PROMQL_COMMA))
            st = advance(p, err);
        else if (st == VV_OK && !is_sign(p, PROMQL_RIGHT_BRACE))
            return fail_here(p, err, "',' or '}'");
    }
    return st == VV_OK ? advance(p, err) : st;
}

static vv_status parse_range(parser *p, promql_node *node, vv_error *err)
{
    vv_status st = advance(p, err);
    if (st != VV_OK)
        return st;
    if (p->token.kind != PROMQL_DURATION)
        return fail_here(p, err, "a duration like 5m");
    node->range_ns = p->token.duration_ns;
    node->type = PROMQL_RANGE;
    if (node->range_ns <= 0)
        return vv_fail(err, VV_INVALID, "character %zu: a range must be longer than nothing",
                       p->token.at);
    st = advance(p, err);
    if (st == VV_OK && is_sign(p, PROMQL_COLON))
        return vv_fail(err, VV_UNSUPPORTED, "character %zu: subqueries are not supported",
                       p->token.at);
    return st == VV_OK ? expect(p, PROMQL_RIGHT_BRACKET, "']'", err) : st;
}

static vv_status parse_offset(parser *p, promql_node *node, vv_error *err)
{
    vv_status st = advance(p, err);
    bool is_negative = st == VV_OK && is_sign(p, PROMQL_SUB);
    if (is_negative)
        st = advance(p, err);
    if (st != VV_OK)
        return st;
    if (p->token.kind != PROMQL_DURATION)
        return fail_here(p, err, "a duration like 1h");
    node->offset_ns = is_negative ? -p->token.duration_ns : p->token.duration_ns;
    return advance(p, err);
}

/* What may follow a selector. */
static vv_status parse_selector_end(parser *p, promql_node *node, vv_error *err)
{
    vv_status st = VV_OK;
    if (is_sign(p, PROMQL_LEFT_BRACKET))
        st = parse_range(p, node, err);
    if (st == VV_OK && is_word(p, "offset"))
        st = parse_offset(p, node, err);
    if (st == VV_OK && is_sign(p, PROMQL_AT))
        return vv_fail(err, VV_UNSUPPORTED, "character %zu: the modifier @ is not supported",
                       p->token.at);
    return st;
}

/* A selector that matches everything would read the whole table. */
static vv_status check_matchers(const promql_node *node, vv_error *err)
{
    for (size_t i = 0; i < node->matcher_count; i++) {
        const vv_matcher *m = &node->matchers[i];
        bool needs = m->op == VV_MATCH_EQ ? m->value.len > 0
                     : m->op == VV_MATCH_RE
                         ? m->value.len > 0 && !vv_slice_eq(m->value, vv_slice_str(".*"))
                         : m->op == VV_MATCH_NE && m->value.len == 0;
        if (needs)
            return VV_OK;
    }
    return vv_fail(err, VV_INVALID,
                   "character %zu: a selector needs a matcher that does not match the empty text",
                   node->at);
}

/* name is empty for a selector that begins with its braces. */
static vv_status parse_selector(parser *p, size_t at, vv_slice name, promql_node **out,
                                vv_error *err)
{
    promql_node *node = NULL;
    vv_status st = new_node(p, PROMQL_NODE_SELECTOR, PROMQL_VECTOR, &node, err);
    if (st != VV_OK)
        return st;
    assert(node != NULL);
    node->at = at;
    if (name.len > 0)
        st = add_matcher(p, node, VV_MATCH_EQ, vv_slice_str(PROMQL_LABEL_NAME), name, err);
    if (st == VV_OK && is_sign(p, PROMQL_LEFT_BRACE))
        st = parse_braces(p, node, err);
    if (st == VV_OK)
        st = check_matchers(node, err);
    if (st == VV_OK)
        st = parse_selector_end(p, node, err);
    *out = node;
    return st;
}

/* ---- calls ---- */

/* The arguments of a call, whose '(' is next. */
static vv_status parse_arguments(parser *p, promql_node *arg[2], unsigned *count, vv_error *err)
{
    *count = 0;
    vv_status st = expect(p, PROMQL_LEFT_PAREN, "'('", err);
    while (st == VV_OK && !is_sign(p, PROMQL_RIGHT_PAREN)) {
        if (*count == 2)
            return fail_here(p, err, "')'");
        st = parse_expr(p, 0, &arg[(*count)++], err);
        if (st == VV_OK && is_sign(p, PROMQL_COMMA))
            st = advance(p, err);
        else if (st == VV_OK && !is_sign(p, PROMQL_RIGHT_PAREN))
            return fail_here(p, err, "',' or ')'");
    }
    return st == VV_OK ? advance(p, err) : st;
}

static vv_status require_count(const promql_node *node, vv_slice name, unsigned have,
                               unsigned wanted, vv_error *err)
{
    if (have == wanted)
        return VV_OK;
    return vv_fail(err, VV_INVALID, "character %zu: %.*s takes %u argument%s, here are %u",
                   node->at, (int)name.len, (const char *)name.data, wanted, wanted == 1 ? "" : "s",
                   have);
}

static vv_status finish_over_range(promql_node *node, vv_slice name, promql_node *arg[2],
                                   unsigned count, vv_error *err)
{
    bool more = node->over->has_parameter;
    vv_status st = require_count(node, name, count, more ? 2 : 1, err);
    if (st == VV_OK)
        st = require_type(arg[more], PROMQL_RANGE, node->over->name, err);
    if (st == VV_OK && more)
        st = require_type(arg[0], PROMQL_SCALAR, node->over->name, err);
    if (st != VV_OK)
        return st;
    node->child[0] = arg[more];
    node->child[1] = more ? arg[0] : NULL;
    return VV_OK;
}

static vv_status parse_call(parser *p, size_t at, vv_slice name, promql_node **out, vv_error *err)
{
    promql_node *node = NULL;
    promql_node *arg[2] = {NULL, NULL};
    unsigned count = 0;
    vv_status st = new_node(p, PROMQL_NODE_MATH, PROMQL_VECTOR, &node, err);
    if (st != VV_OK)
        return st;
    node->at = at;
    node->over = promql_range_function_of(name);
    node->math = promql_math_function_of(name);
    bool is_time = vv_slice_eq(name, vv_slice_str("time"));
    bool is_vector = vv_slice_eq(name, vv_slice_str("vector"));
    if (node->over == NULL && node->math == NULL && !is_time && !is_vector)
        return vv_fail(err, promql_is_known_elsewhere(name) ? VV_UNSUPPORTED : VV_INVALID,
                       "character %zu: the function %.*s is not supported", at,
                       (int)vv_min_u64(name.len, 60), (const char *)name.data);
    st = parse_arguments(p, arg, &count, err);
    if (st != VV_OK)
        return st;
    *out = node;
    if (node->over != NULL) {
        node->kind = PROMQL_NODE_OVER_RANGE;
        return finish_over_range(node, name, arg, count, err);
    }
    if (is_time) {
        node->kind = PROMQL_NODE_TIME;
        node->type = PROMQL_SCALAR;
        return require_count(node, name, count, 0, err);
    }
    if (is_vector)
        node->kind = PROMQL_NODE_VECTOR;
    st = require_count(node, name, count, 1, err);
    if (st == VV_OK)
        st = require_type(arg[0], is_vector ? PROMQL_SCALAR : PROMQL_VECTOR,
                          is_vector ? "vector" : node->math->name, err);
    node->child[0] = arg[0];
    return st;
}

/* ---- aggregates ---- */

static bool aggregate_of(vv_slice name, vv_aggregate *out)
{
    static const struct {
        const char *name;
        vv_aggregate aggregate;
    } known[] = {{"sum", VV_AGG_SUM},
                 {"avg", VV_AGG_AVG},
                 {"min", VV_AGG_MIN},
                 {"max", VV_AGG_MAX},
                 {"count", VV_AGG_COUNT}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (vv_slice_eq(name, vv_slice_str(known[i].name))) {
            *out = known[i].aggregate;
            return true;
        }
    return false;
}

static vv_status parse_grouping(parser *p, promql_node *node, vv_error *err)
{
    node->is_without = is_word(p, "without");
    node->labels = vv_arena_alloc(p->arena, PROMQL_LIST_MAX * sizeof *node->labels);
    if (node->labels == NULL)
        return vv_fail(err, VV_NO_MEMORY, "query: no memory for labels");
    vv_status st = advance(p, err);
    if (st == VV_OK)
        st = expect(p, PROMQL_LEFT_PAREN, "'('", err);
    while (st == VV_OK && !is_sign(p, PROMQL_RIGHT_PAREN)) {
        if (p->token.kind != PROMQL_NAME)
            return fail_here(p, err, "the name of a label");
        if (node->label_count == PROMQL_LIST_MAX)
            return vv_fail(err, VV_INVALID, "character %zu: over %u labels", p->token.at,
                           PROMQL_LIST_MAX);
        node->labels[node->label_count++] = p->token.text;
        st = advance(p, err);
        if (st == VV_OK && is_sign(p, PROMQL_COMMA))
            st = advance(p, err);
        else if (st == VV_OK && !is_sign(p, PROMQL_RIGHT_PAREN))
            return fail_here(p, err, "',' or ')'");
    }
    return st == VV_OK ? advance(p, err) : st;
}

static bool is_grouping(const parser *p)
{
    return is_word(p, "by") || is_word(p, "without");
}

static vv_status parse_aggregate(parser *p, size_t at, vv_aggregate aggregate, promql_node **out,
                                 vv_error *err)
{
    promql_node *node = NULL;
    vv_status st = new_node(p, PROMQL_NODE_AGGREGATE, PROMQL_VECTOR, &node, err);
    if (st != VV_OK)
        return st;
    node->at = at;
    node->aggregate = aggregate;
    bool has_grouping = is_grouping(p);
    if (has_grouping)
        st = parse_grouping(p, node, err);
    promql_node *arg[2] = {NULL, NULL};
    unsigned count = 0;
    if (st == VV_OK)
        st = parse_arguments(p, arg, &count, err);
    if (st == VV_OK)
        st = require_count(node, vv_slice_str("an aggregation"), count, 1, err);
    if (st == VV_OK)
        st = require_type(arg[0], PROMQL_VECTOR, "an aggregation", err);
    if (st == VV_OK && !has_grouping && is_grouping(p))
        st = parse_grouping(p, node, err);
    node->child[0] = arg[0];
    *out = node;
    return st;
}

/* ---- expressions ---- */

/* A word: a call, an aggregation, or the name of a metric. */
static vv_status parse_word(parser *p, promql_node **out, vv_error *err)
{
    size_t at = p->token.at;
    vv_slice name = p->token.text;
    vv_aggregate aggregate = VV_AGG_NONE;
    vv_status st = advance(p, err);
    if (st != VV_OK)
        return st;
    if (is_sign(p, PROMQL_LEFT_PAREN) || is_grouping(p)) {
        if (aggregate_of(name, &aggregate))
            return parse_aggregate(p, at, aggregate, out, err);
        if (is_sign(p, PROMQL_LEFT_PAREN))
            return parse_call(p, at, name, out, err);
        return vv_fail(err, promql_is_known_elsewhere(name) ? VV_UNSUPPORTED : VV_INVALID,
                       "character %zu: the aggregation %.*s is not supported", at,
                       (int)vv_min_u64(name.len, 60), (const char *)name.data);
    }
    bool is_inf = name.len == 3 && strncasecmp((const char *)name.data, "inf", 3) == 0;
    bool is_nan = name.len == 3 && strncasecmp((const char *)name.data, "nan", 3) == 0;
    if (is_inf || is_nan) {
        st = new_node(p, PROMQL_NODE_NUMBER, PROMQL_SCALAR, out, err);
        if (st == VV_OK)
            (*out)->number = is_inf ? __builtin_inf() : __builtin_nan("");
        return st;
    }
    return parse_selector(p, at, name, out, err);
}

static vv_status parse_primary(parser *p, promql_node **out, vv_error *err)
{
    vv_status st = VV_OK;
    if (p->token.kind == PROMQL_NUMBER) {
        st = new_node(p, PROMQL_NODE_NUMBER, PROMQL_SCALAR, out, err);
        if (st != VV_OK)
            return st;
        (*out)->number = p->token.value;
        return advance(p, err);
    }
    if (p->token.kind == PROMQL_NAME)
        return parse_word(p, out, err);
    if (is_sign(p, PROMQL_LEFT_BRACE))
        return parse_selector(p, p->token.at, (vv_slice){0}, out, err);
    if (!is_sign(p, PROMQL_LEFT_PAREN))
        return fail_here(p, err, "a selector, a function or a number");
    st = advance(p, err);
    if (st == VV_OK)
        st = parse_expr(p, 0, out, err);
    if (st == VV_OK)
        st = expect(p, PROMQL_RIGHT_PAREN, "')'", err);
    if (st == VV_OK && is_sign(p, PROMQL_LEFT_BRACKET))
        return vv_fail(err, VV_UNSUPPORTED, "character %zu: subqueries are not supported",
                       p->token.at);
    return st;
}

/* Precedences: of binary operators, from 1. */
#define UNARY 4u
static unsigned precedence_of(promql_sign sign)
{
    if (sign >= PROMQL_EQ)
        return 1;
    if (sign == PROMQL_ADD || sign == PROMQL_SUB)
        return 2;
    return sign == PROMQL_POW ? 5 : 3;
}

static vv_status make_binary(parser *p, promql_token op, bool is_bool, promql_node *left,
                             promql_node *right, promql_node **out, vv_error *err)
{
    promql_node *node = NULL;
    vv_status st = new_node(p, PROMQL_NODE_BINARY, PROMQL_SCALAR, &node, err);
    if (st != VV_OK)
        return st;
    assert(node != NULL && left != NULL && right != NULL);
    node->at = op.at;
    node->op = op.sign;
    node->is_bool = is_bool;
    node->child[0] = left;
    node->child[1] = right;
    if (left->type == PROMQL_RANGE || right->type == PROMQL_RANGE)
        return vv_fail(err, VV_INVALID, "character %zu: a range cannot be calculated with", op.at);
    if (left->type == PROMQL_VECTOR && right->type == PROMQL_VECTOR)
        return vv_fail(err, VV_UNSUPPORTED,
                       "character %zu: operators between two vectors are not supported", op.at);
    if (left->type == PROMQL_VECTOR || right->type == PROMQL_VECTOR)
        node->type = PROMQL_VECTOR;
    else if (op.sign >= PROMQL_EQ && !is_bool)
        return vv_fail(err, VV_INVALID, "character %zu: a comparison of two numbers needs bool",
                       op.at);
    *out = node;
    return VV_OK;
}

/* -x is 0 - x, but for the sign of a zero: -1 * x. */
static vv_status parse_unary(parser *p, promql_node **out, vv_error *err)
{
    promql_token op = p->token;
    promql_node *minus = NULL;
    vv_status st = new_node(p, PROMQL_NODE_NUMBER, PROMQL_SCALAR, &minus, err);
    if (st == VV_OK)
        st = advance(p, err);
    promql_node *operand = NULL;
    if (st == VV_OK)
        st = parse_expr(p, UNARY, &operand, err);
    if (st != VV_OK)
        return st;
    assert(minus != NULL);
    minus->number = op.sign == PROMQL_SUB ? -1 : 1;
    op.sign = PROMQL_MUL;
    return make_binary(p, op, false, minus, operand, out, err);
}

static vv_status refuse_word(const parser *p, vv_error *err)
{
    static const char *const words[] = {"and",      "or",         "unless",     "on",
                                        "ignoring", "group_left", "group_right"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (is_word(p, words[i]))
            return vv_fail(err, VV_UNSUPPORTED, "character %zu: '%s' is not supported", p->token.at,
                           words[i]);
    return VV_OK;
}

/* The operators that follow an operand, down to a precedence. */
static vv_status parse_operators(parser *p, unsigned lowest, promql_node **out, vv_error *err)
{
    vv_status st = refuse_word(p, err);
    while (st == VV_OK && p->token.kind == PROMQL_SIGN && p->token.sign >= PROMQL_ADD &&
           precedence_of(p->token.sign) >= lowest) {
        promql_token op = p->token;
        unsigned precedence = precedence_of(op.sign);
        st = advance(p, err);
        bool is_bool = st == VV_OK && is_word(p, "bool");
        if (is_bool && op.sign < PROMQL_EQ)
            return vv_fail(err, VV_INVALID, "character %zu: bool is for comparisons", p->token.at);
        if (is_bool)
            st = advance(p, err);
        if (st == VV_OK)
            st = refuse_word(p, err);
        promql_node *right = NULL;
        if (st == VV_OK)
            st = parse_expr(p, op.sign == PROMQL_POW ? precedence : precedence + 1, &right, err);
        if (st == VV_OK)
            st = make_binary(p, op, is_bool, *out, right, out, err);
        if (st == VV_OK)
            st = refuse_word(p, err);
    }
    return st;
}

static vv_status parse_expr(parser *p, unsigned lowest, promql_node **out, vv_error *err)
{
    if (p->depth == PROMQL_DEPTH_MAX)
        return vv_fail(err, VV_INVALID, "character %zu: the query is nested over %u deep",
                       p->token.at, PROMQL_DEPTH_MAX);
    p->depth++;
    bool is_unary = is_sign(p, PROMQL_ADD) || is_sign(p, PROMQL_SUB);
    vv_status st = is_unary ? parse_unary(p, out, err) : parse_primary(p, out, err);
    if (st == VV_OK)
        st = parse_operators(p, lowest, out, err);
    p->depth--;
    return st;
}

/* ---- the door ---- */

static vv_status parse_all(promql_expr *expr, vv_error *err)
{
    parser p = {.lexer = {.text = expr->text, .arena = &expr->arena}, .arena = &expr->arena};
    vv_status st = advance(&p, err);
    if (st == VV_OK)
        st = parse_expr(&p, 0, &expr->root, err);
    if (st == VV_OK && p.token.kind != PROMQL_END)
        st = fail_here(&p, err, "the end of the query");
    return st;
}

vv_status promql_parse(vv_slice text, promql_expr **out, vv_error *err)
{
    if (text.len > PROMQL_TEXT_MAX)
        return vv_fail(err, VV_INVALID, "query: %zu bytes, at most %u are taken", text.len,
                       PROMQL_TEXT_MAX);
    promql_expr *expr = vv_calloc(1, sizeof *expr);
    if (expr == NULL)
        return vv_fail(err, VV_NO_MEMORY, "query: no memory");
    vv_arena_init(&expr->arena, ARENA_MAX);
    expr->text = vv_arena_dup(&expr->arena, text);
    vv_status st = expr->text.data == NULL ? vv_fail(err, VV_NO_MEMORY, "query: no memory")
                                           : parse_all(expr, err);
    if (st != VV_OK) {
        promql_free(expr);
        return st;
    }
    *out = expr;
    return VV_OK;
}

void promql_free(promql_expr *expr)
{
    if (expr == NULL)
        return;
    vv_arena_fini(&expr->arena);
    vv_free(expr);
}

promql_type promql_type_of(const promql_expr *expr)
{
    return expr->root->type;
}

vv_status promql_selector_of(const promql_expr *expr, const vv_matcher **out, size_t *count,
                             vv_error *err)
{
    const promql_node *node = expr->root;
    if (node->kind != PROMQL_NODE_SELECTOR || node->range_ns != 0 || node->offset_ns != 0)
        return vv_fail(err, VV_INVALID, "'%.*s' is no selector",
                       (int)vv_min_u64(expr->text.len, 100), (const char *)expr->text.data);
    *out = node->matchers;
    *count = node->matcher_count;
    return VV_OK;
}
