/*
 * re_parse.c - the text of an expression into a program of states, by way of a tree.
 *
 *   alternation := sequence ('|' sequence)*
 *   sequence    := (atom repeat?)*
 *   atom        := char | '.' | class | '(' flags? alternation ')' | '^' | '$' | '\' escape
 *
 * Why a tree in between: x{2,5} writes x out up to five times. States are counted while that is
 * done, so that x{1000}{1000} is refused before it takes memory.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/re_int.h"
#include "base/util.h"

#define DEPTH_MAX 200u
#define REPEAT_MAX 1000u
#define CODE_MAX 0x10ffffu
#define RANGES_MAX 65536u
#define EMITS_MAX 100000u
#define UNBOUNDED UINT32_MAX
#define NO_GROUP UINT32_MAX

typedef enum node_kind {
    NODE_EMPTY,
    NODE_CHAR,
    NODE_CLASS,
    NODE_BEGIN,
    NODE_END,
    NODE_CAT,
    NODE_ALT,
    NODE_REPEAT,
    NODE_GROUP, /* the one that is asked for */
} node_kind;

typedef struct node node;
struct node {
    node_kind kind;
    uint32_t value; /* code point or class */
    uint32_t min;
    uint32_t max;
    bool is_lazy;
    node *left;
    node *right;
};

typedef struct parser {
    const uint8_t *begin;
    const uint8_t *p;
    const uint8_t *end;
    vv_arena nodes;
    regex_range *range;
    uint32_t range_count, range_cap;
    regex_class *class;
    uint32_t class_count, class_cap;
    regex_state *state;
    uint32_t state_count, state_cap;
    uint32_t depth;
    uint32_t emits;
    uint32_t group;       /* that is asked for; NO_GROUP: none is */
    uint32_t group_count; /* that began */
    bool ignores_case;
    bool dot_is_all;
    bool is_lazy;    /* (?U): repeats are, and '?' makes them greedy */
    bool is_literal; /* inside \Q...\E */
    vv_error *err;
    vv_status status;
} parser;

static vv_status refuse(parser *ps, const char *what)
{
    if (ps->status == VV_OK)
        ps->status = vv_fail(ps->err, VV_INVALID, "regular expression, byte %zu: %s",
                             (size_t)(ps->p - ps->begin), what);
    return ps->status;
}

static vv_status no_memory(parser *ps)
{
    if (ps->status == VV_OK)
        ps->status = vv_fail(ps->err, VV_NO_MEMORY, "no memory for a regular expression");
    return ps->status;
}

static node *new_node(parser *ps, node_kind kind, node *left, node *right)
{
    node *n = vv_arena_alloc(&ps->nodes, sizeof *n);
    if (n == NULL) {
        (void)no_memory(ps);
        return NULL;
    }
    *n = (node){.kind = kind, .left = left, .right = right};
    return n;
}

/* Room for one more of an array. */
static bool grow(parser *ps, void **array, uint32_t count, uint32_t *cap, size_t size, uint32_t max,
                 const char *too_many)
{
    if (count < *cap)
        return true;
    if (count >= max) {
        (void)refuse(ps, too_many);
        return false;
    }
    uint32_t more = *cap == 0 ? 16 : *cap * 2;
    void *bigger = vv_realloc(*array, more * size);
    if (bigger == NULL) {
        (void)no_memory(ps);
        return false;
    }
    *array = bigger;
    *cap = more;
    return true;
}

/* ---- classes ---- */

static void add_range(parser *ps, uint32_t first, uint32_t last)
{
    void *array = ps->range;
    if (!grow(ps, &array, ps->range_count, &ps->range_cap, sizeof *ps->range, RANGES_MAX,
              "too many ranges"))
        return;
    ps->range = array;
    ps->range[ps->range_count++] = (regex_range){first, last};
}

static void add_letters(parser *ps, uint32_t first, uint32_t last, uint32_t from, uint32_t to,
                        uint32_t other)
{
    uint32_t lo = first > from ? first : from;
    uint32_t hi = last < to ? last : to;
    if (lo <= hi)
        add_range(ps, lo - from + other, hi - from + other);
}

/* With the other case of ASCII letters under (?i). */
static void add_cased(parser *ps, uint32_t first, uint32_t last)
{
    add_range(ps, first, last);
    if (!ps->ignores_case)
        return;
    add_letters(ps, first, last, 'a', 'z', 'A');
    add_letters(ps, first, last, 'A', 'Z', 'a');
}

typedef struct named_class {
    const char *name;
    uint8_t range[8]; /* pairs, to a 0 */
} named_class;

static const named_class named[] = {
    {"d", "09"},          {"w", "09AZ__az"},    {"s", "\t\n\f\r  "},   {"alpha", "AZaz"},
    {"alnum", "09AZaz"},  {"upper", "AZ"},      {"lower", "az"},       {"digit", "09"},
    {"xdigit", "09AFaf"}, {"word", "09AZ__az"}, {"space", "\t\r  "},   {"blank", "\t\t  "},
    {"print", " ~"},      {"graph", "!~"},      {"punct", "!/:@[`{~"},
};

static const named_class *find_class(const char *name, size_t len)
{
    for (size_t i = 0; i < ARRAY_LEN(named); i++)
        if (strlen(named[i].name) == len && memcmp(named[i].name, name, len) == 0)
            return &named[i];
    return NULL;
}

static void add_named(parser *ps, const named_class *c, bool is_negated)
{
    uint32_t from = 0;
    for (size_t i = 0; i < sizeof c->range && c->range[i] != 0; i += 2) {
        if (!is_negated)
            add_cased(ps, c->range[i], c->range[i + 1]);
        else if (c->range[i] > from)
            add_range(ps, from, c->range[i] - 1u);
        from = c->range[i + 1] + 1u;
    }
    if (is_negated)
        add_range(ps, from, CODE_MAX);
}

static node *end_class(parser *ps, uint32_t begin, bool is_negated)
{
    void *array = ps->class;
    if (!grow(ps, &array, ps->class_count, &ps->class_cap, sizeof *ps->class, RANGES_MAX,
              "too many classes"))
        return NULL;
    ps->class = array;
    ps->class[ps->class_count] = (regex_class){begin, ps->range_count - begin, is_negated};
    node *n = new_node(ps, NODE_CLASS, NULL, NULL);
    if (n != NULL)
        n->value = ps->class_count++;
    return n;
}

/* ---- characters ---- */

static bool at(const parser *ps, char c)
{
    return ps->p < ps->end && *ps->p == (uint8_t)c;
}

static bool take(parser *ps, const char *text)
{
    size_t len = strlen(text);
    if ((size_t)(ps->end - ps->p) < len || memcmp(ps->p, text, len) != 0)
        return false;
    ps->p += len;
    return true;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Behind \x: two digits or a number in braces. */
static uint32_t take_hex(parser *ps)
{
    uint32_t v = 0;
    bool has_braces = take(ps, "{");
    unsigned digits = 0;
    while (ps->p < ps->end && hex_digit(*ps->p) >= 0 && digits < (has_braces ? 6u : 2u)) {
        v = v << 4 | (uint32_t)hex_digit(*ps->p++);
        digits++;
    }
    if (digits == 0 || (!has_braces && digits != 2) || (has_braces && !take(ps, "}")) ||
        v > CODE_MAX)
        (void)refuse(ps, "\\x wants two digits, or a code point in braces");
    return v;
}

/* The character an escape stands for; p is behind the backslash and its letter c. */
static uint32_t escaped_char(parser *ps, uint8_t c)
{
    switch (c) {
    case 'n':
        return '\n';
    case 't':
        return '\t';
    case 'r':
        return '\r';
    case 'f':
        return '\f';
    case 'v':
        return '\v';
    case 'a':
        return '\a';
    case 'x':
        return take_hex(ps);
    default:
        if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z')
            (void)refuse(ps, "this escape is not supported");
        else if (c >= '0' && c <= '9')
            (void)refuse(ps, "backreferences are not supported");
        return c;
    }
}

static uint32_t take_code(parser *ps)
{
    size_t used;
    uint32_t code = regex_decode(ps->p, ps->end, &used);
    ps->p += used;
    return code;
}

/* A class that an escape stands for; NULL: the escape is none. p is behind the backslash. */
static const named_class *escaped_class(const parser *ps, bool *is_negated)
{
    char lower = ps->p < ps->end ? (char)(*ps->p | 0x20) : 0;
    if (lower != 'd' && lower != 'w' && lower != 's')
        return NULL;
    *is_negated = (*ps->p & 0x20) == 0;
    return find_class(&lower, 1);
}

/* One end of a range in brackets. */
static uint32_t take_bracket_code(parser *ps)
{
    if (ps->p >= ps->end) {
        (void)refuse(ps, "the bracket is not closed");
        return 0;
    }
    if (!take(ps, "\\"))
        return take_code(ps);
    if (ps->p >= ps->end) {
        (void)refuse(ps, "a backslash at the end");
        return 0;
    }
    uint8_t c = *ps->p++;
    return c < 0x80 ? escaped_char(ps, c) : c;
}

/* [:name:] or \d inside brackets. */
static bool take_bracket_class(parser *ps)
{
    bool is_negated = false;
    const named_class *c = NULL;
    if (at(ps, '\\') && ps->p + 1 < ps->end) {
        ps->p++;
        c = escaped_class(ps, &is_negated);
        ps->p += c != NULL ? 1 : -1;
    } else if (take(ps, "[:")) {
        is_negated = take(ps, "^");
        const uint8_t *name = ps->p;
        while (ps->p < ps->end && *ps->p != ':')
            ps->p++;
        c = find_class((const char *)name, (size_t)(ps->p - name));
        if (c == NULL || !take(ps, ":]")) {
            (void)refuse(ps, "this class is not known");
            return true;
        }
    }
    if (c != NULL)
        add_named(ps, c, is_negated);
    return c != NULL;
}

/* Behind '['. */
static node *parse_bracket(parser *ps)
{
    uint32_t begin = ps->range_count;
    bool is_negated = take(ps, "^");
    bool is_first = true;
    while (ps->status == VV_OK && (is_first || !at(ps, ']'))) {
        is_first = false;
        if (take_bracket_class(ps))
            continue;
        uint32_t first = take_bracket_code(ps);
        uint32_t last = first;
        if (at(ps, '-') && ps->p + 1 < ps->end && ps->p[1] != ']') {
            ps->p++;
            last = take_bracket_code(ps);
        }
        if (last < first)
            (void)refuse(ps, "a range that ends before it begins");
        add_cased(ps, first, last);
    }
    if (ps->status == VV_OK)
        ps->p++;
    return ps->status == VV_OK ? end_class(ps, begin, is_negated) : NULL;
}

static node *parse_char(parser *ps, uint32_t code)
{
    if (ps->ignores_case && (code | 0x20) >= 'a' && (code | 0x20) <= 'z') {
        uint32_t begin = ps->range_count;
        add_cased(ps, code, code);
        return ps->status == VV_OK ? end_class(ps, begin, false) : NULL;
    }
    node *n = new_node(ps, NODE_CHAR, NULL, NULL);
    if (n != NULL)
        n->value = code;
    return n;
}

static node *parse_dot(parser *ps)
{
    uint32_t begin = ps->range_count;
    if (!ps->dot_is_all)
        add_range(ps, '\n', '\n');
    return ps->status == VV_OK ? end_class(ps, begin, true) : NULL;
}

/* Behind the backslash. */
static node *parse_escape(parser *ps)
{
    bool is_negated = false;
    const named_class *c = escaped_class(ps, &is_negated);
    if (c != NULL) {
        uint32_t begin = ps->range_count;
        ps->p++;
        add_named(ps, c, is_negated);
        return ps->status == VV_OK ? end_class(ps, begin, false) : NULL;
    }
    if (ps->p >= ps->end) {
        (void)refuse(ps, "a backslash at the end");
        return NULL;
    }
    if (take(ps, "A"))
        return new_node(ps, NODE_BEGIN, NULL, NULL);
    if (take(ps, "z"))
        return new_node(ps, NODE_END, NULL, NULL);
    if (take(ps, "Q")) {
        ps->is_literal = true;
        return new_node(ps, NODE_EMPTY, NULL, NULL);
    }
    if (*ps->p >= 0x80)
        return parse_char(ps, take_code(ps));
    uint8_t letter = *ps->p++;
    uint32_t code = escaped_char(ps, letter);
    return ps->status == VV_OK ? parse_char(ps, code) : NULL;
}

/* ---- structure ---- */

static node *parse_alternation(parser *ps);

/* Behind "(?": flags, or what kind of a group it is. *is_flags: the group is flags alone. */
static void parse_flags(parser *ps, bool *is_flags, bool *is_counted)
{
    bool sets = true;
    *is_flags = false;
    *is_counted = take(ps, "P<");
    if (*is_counted) {
        while (ps->p < ps->end && *ps->p != '>')
            ps->p++;
        if (!take(ps, ">"))
            (void)refuse(ps, "the name of a group is not closed");
        return;
    }
    while (ps->p < ps->end && *ps->p != ':' && *ps->p != ')') {
        uint8_t c = *ps->p++;
        if (c == '-')
            sets = false;
        else if (c == 'i')
            ps->ignores_case = sets;
        else if (c == 's')
            ps->dot_is_all = sets;
        else if (c == 'U')
            ps->is_lazy = sets;
        else {
            (void)refuse(ps, "this kind of a group is not supported");
            return;
        }
    }
    *is_flags = at(ps, ')');
    if (ps->p >= ps->end)
        (void)refuse(ps, "the group is not closed");
    else
        ps->p++;
}

/* Behind '('. */
static node *parse_group(parser *ps)
{
    bool ignores_case = ps->ignores_case;
    bool dot_is_all = ps->dot_is_all;
    bool is_lazy = ps->is_lazy;
    bool is_flags = false;
    bool is_counted = true;
    if (take(ps, "?"))
        parse_flags(ps, &is_flags, &is_counted);
    if (ps->status != VV_OK)
        return NULL;
    if (is_flags) /* they last until the end of the group around */
        return new_node(ps, NODE_EMPTY, NULL, NULL);
    if (++ps->depth > DEPTH_MAX) {
        (void)refuse(ps, "groups are nested too deep");
        return NULL;
    }
    bool is_wanted = is_counted && ++ps->group_count == ps->group;
    node *n = parse_alternation(ps);
    if (is_wanted && n != NULL)
        n = new_node(ps, NODE_GROUP, n, NULL);
    ps->depth--;
    ps->ignores_case = ignores_case;
    ps->dot_is_all = dot_is_all;
    ps->is_lazy = is_lazy;
    if (ps->status == VV_OK && !take(ps, ")"))
        (void)refuse(ps, "the group is not closed");
    return n;
}

static node *parse_atom(parser *ps)
{
    if (ps->is_literal)
        return parse_char(ps, take_code(ps));
    if (take(ps, "\\"))
        return parse_escape(ps);
    if (take(ps, "["))
        return parse_bracket(ps);
    if (take(ps, "("))
        return parse_group(ps);
    if (take(ps, "."))
        return parse_dot(ps);
    if (take(ps, "^"))
        return new_node(ps, NODE_BEGIN, NULL, NULL);
    if (take(ps, "$"))
        return new_node(ps, NODE_END, NULL, NULL);
    if (at(ps, '*') || at(ps, '+') || at(ps, '?')) {
        (void)refuse(ps, "there is nothing to repeat");
        return NULL;
    }
    return parse_char(ps, take_code(ps));
}

static bool take_number(parser *ps, uint32_t *out)
{
    uint32_t v = 0;
    const uint8_t *from = ps->p;
    while (ps->p < ps->end && *ps->p >= '0' && *ps->p <= '9' && v <= REPEAT_MAX)
        v = v * 10 + (uint32_t)(*ps->p++ - '0');
    *out = v;
    return ps->p > from;
}

/* {n}, {n,}, {n,m}; anything else behind '{' is a brace. */
static bool take_braces(parser *ps, uint32_t *min, uint32_t *max)
{
    const uint8_t *from = ps->p;
    bool ok = take(ps, "{") && take_number(ps, min);
    *max = *min;
    if (ok && take(ps, ",") && !take_number(ps, max))
        *max = UNBOUNDED;
    ok = ok && take(ps, "}");
    if (!ok) {
        ps->p = from;
        return false;
    }
    if (*min > REPEAT_MAX || (*max != UNBOUNDED && (*max > REPEAT_MAX || *max < *min)))
        (void)refuse(ps, "a repeat goes from 0 to 1000");
    return true;
}

static bool take_repeat(parser *ps, uint32_t *min, uint32_t *max, bool *is_lazy)
{
    *min = at(ps, '+') ? 1 : 0;
    *max = at(ps, '?') ? 1 : UNBOUNDED;
    if (!take(ps, "*") && !take(ps, "+") && !take(ps, "?") && !take_braces(ps, min, max))
        return false;
    *is_lazy = take(ps, "?") != ps->is_lazy;
    return true;
}

static node *parse_repeated(parser *ps)
{
    node *n = parse_atom(ps);
    uint32_t min;
    uint32_t max;
    bool is_lazy;
    while (ps->status == VV_OK && !ps->is_literal && take_repeat(ps, &min, &max, &is_lazy)) {
        if (++ps->depth > DEPTH_MAX) /* each is a level of the tree */
            (void)refuse(ps, "repeats are nested too deep");
        n = new_node(ps, NODE_REPEAT, n, NULL);
        if (n != NULL) {
            n->min = min;
            n->max = max;
            n->is_lazy = is_lazy;
        }
    }
    return n;
}

static node *parse_sequence(parser *ps)
{
    node *first = new_node(ps, NODE_EMPTY, NULL, NULL);
    node *last = first;
    while (ps->status == VV_OK && ps->p < ps->end) {
        if (ps->is_literal && take(ps, "\\E")) {
            ps->is_literal = false;
            continue;
        }
        if (!ps->is_literal && (at(ps, '|') || at(ps, ')')))
            break;
        uint32_t depth = ps->depth;
        node *n = parse_repeated(ps);
        ps->depth = depth;
        /* To the right, so that a long text is walked in a loop. */
        node *link = n == NULL || last == NULL ? NULL : new_node(ps, NODE_CAT, n, NULL);
        if (link == NULL)
            break;
        last->right = link;
        last = link;
    }
    return first;
}

static node *parse_alternation(parser *ps)
{
    node *first = new_node(ps, NODE_ALT, parse_sequence(ps), NULL);
    node *last = first;
    while (ps->status == VV_OK && last != NULL && take(ps, "|")) {
        node *link = new_node(ps, NODE_ALT, parse_sequence(ps), NULL);
        last->right = link;
        last = link;
    }
    return first;
}

/* ---- the program ---- */

/* A state; its place, or 0 with the status set. */
static uint32_t add_state(parser *ps, regex_op op, uint32_t a, uint32_t next)
{
    void *array = ps->state;
    if (ps->status != VV_OK ||
        !grow(ps, &array, ps->state_count, &ps->state_cap, sizeof *ps->state, VV_REGEX_STATES_MAX,
              "it is too large when its repeats are written out"))
        return 0;
    ps->state = array;
    ps->state[ps->state_count] = (regex_state){op, a, next};
    return ps->state_count++;
}

static uint32_t emit(parser *ps, const node *n, uint32_t next);

/* Go into the body of a repeat, or past it. */
static regex_state choose(const node *n, uint32_t body, uint32_t past)
{
    return n->is_lazy ? (regex_state){REGEX_SPLIT, body, past}
                      : (regex_state){REGEX_SPLIT, past, body};
}

/* x{min,max} in front of next. */
static uint32_t emit_repeat(parser *ps, const node *n, uint32_t next)
{
    uint32_t at_end = next;
    if (n->max == UNBOUNDED) {
        uint32_t loop = add_state(ps, REGEX_SPLIT, next, next);
        uint32_t body = emit(ps, n->left, loop);
        if (ps->status == VV_OK)
            ps->state[loop] = choose(n, body, next);
        at_end = n->min > 0 ? body : loop; /* x+ has x once */
    }
    uint32_t copies = n->max == UNBOUNDED && n->min > 0 ? n->min - 1 : n->min;
    for (uint32_t i = n->min; n->max != UNBOUNDED && i < n->max && ps->status == VV_OK; i++) {
        regex_state s = choose(n, emit(ps, n->left, at_end), next);
        at_end = add_state(ps, s.op, s.a, s.next);
    }
    for (uint32_t i = 0; i < copies && ps->status == VV_OK; i++)
        at_end = emit(ps, n->left, at_end);
    return at_end;
}

/* A sequence, from its end: links are turned around for the walk and back. */
static uint32_t emit_sequence(parser *ps, const node *n, uint32_t next)
{
    size_t count = 0;
    for (const node *l = n->right; l != NULL; l = l->right)
        count++;
    if (count == 0)
        return next;
    const node **part = vv_arena_alloc(&ps->nodes, count * sizeof(node *));
    if (part == NULL) {
        (void)no_memory(ps);
        return next;
    }
    size_t i = 0;
    for (const node *l = n->right; l != NULL; l = l->right)
        part[i++] = l->left;
    while (i-- > 0 && ps->status == VV_OK)
        next = emit(ps, part[i], next);
    return next;
}

static uint32_t emit_alternation(parser *ps, const node *n, uint32_t next)
{
    uint32_t into = emit(ps, n->left, next);
    for (const node *l = n->right; l != NULL && ps->status == VV_OK; l = l->right)
        into = add_state(ps, REGEX_SPLIT, emit(ps, l->left, next), into);
    return into;
}

static uint32_t emit_group(parser *ps, const node *n, uint32_t next)
{
    uint32_t end = add_state(ps, REGEX_MARK, 1, next);
    return add_state(ps, REGEX_MARK, 0, emit(ps, n->left, end));
}

/* The states of n in front of next; where they begin. */
static uint32_t emit(parser *ps, const node *n, uint32_t next)
{
    if (n == NULL || ps->status != VV_OK)
        return next;
    if (++ps->emits > EMITS_MAX) {
        (void)refuse(ps, "its repeats are too many when they are written out");
        return next;
    }
    switch (n->kind) {
    case NODE_CHAR:
        return add_state(ps, REGEX_CHAR, n->value, next);
    case NODE_CLASS:
        return add_state(ps, REGEX_CLASS, n->value, next);
    case NODE_BEGIN:
        return add_state(ps, REGEX_BEGIN, 0, next);
    case NODE_END:
        return add_state(ps, REGEX_END, 0, next);
    case NODE_REPEAT:
        return emit_repeat(ps, n, next);
    case NODE_GROUP:
        return emit_group(ps, n, next);
    case NODE_ALT:
        return emit_alternation(ps, n, next);
    case NODE_EMPTY:
    case NODE_CAT:
        return emit_sequence(ps, n, next);
    }
    return next;
}

static bool list_init(regex_list *l, uint32_t count)
{
    l->dense = vv_calloc(count, sizeof *l->dense);
    l->sparse = vv_calloc(count, sizeof *l->sparse);
    return l->dense != NULL && l->sparse != NULL;
}

/* What vv_regex_find needs beside the lists. */
static bool spans_init(vv_regex *re)
{
    re->now_span = vv_calloc(re->state_count, sizeof *re->now_span);
    re->then_span = vv_calloc(re->state_count, sizeof *re->then_span);
    re->todo = vv_calloc(2 * (size_t)re->state_count, sizeof *re->todo);
    return re->now_span != NULL && re->then_span != NULL && re->todo != NULL;
}

static node *parse_all(parser *ps)
{
    node *tree = parse_alternation(ps);
    if (ps->status == VV_OK && ps->p < ps->end)
        (void)refuse(ps, "a ')' without its '('");
    if (ps->status == VV_OK && ps->group != NO_GROUP && ps->group > ps->group_count)
        (void)refuse(ps, "it has fewer groups than the one that is asked for");
    return ps->status == VV_OK && ps->group == 0 ? new_node(ps, NODE_GROUP, tree, NULL) : tree;
}

static vv_status build(parser *ps, vv_regex **out)
{
    node *tree = parse_all(ps);
    uint32_t match = add_state(ps, REGEX_MATCH, 0, 0);
    uint32_t begin = emit(ps, tree, match);
    (void)add_state(ps, REGEX_JUMP, 0, begin); /* the last one: where a match begins */
    vv_regex *re = ps->status == VV_OK ? vv_calloc(1, sizeof *re) : NULL;
    if (re == NULL)
        return no_memory(ps);
    re->state_count = ps->state_count;
    re->stack = vv_calloc(2 * (size_t)ps->state_count, sizeof *re->stack);
    bool ok = list_init(&re->now, ps->state_count) && list_init(&re->then, ps->state_count) &&
              re->stack != NULL && (ps->group == NO_GROUP || spans_init(re));
    re->state = ps->state;
    re->range = ps->range;
    re->class = ps->class;
    ps->state = NULL;
    ps->range = NULL;
    ps->class = NULL;
    if (!ok) {
        vv_regex_destroy(re);
        return no_memory(ps);
    }
    *out = re;
    return VV_OK;
}

static vv_status create(vv_slice pattern, uint32_t group, vv_regex **out, vv_error *err)
{
    static const uint8_t nothing[1];
    if (pattern.len > VV_REGEX_PATTERN_MAX)
        return vv_fail(err, VV_INVALID, "regular expression of %zu bytes: %u are allowed",
                       pattern.len, VV_REGEX_PATTERN_MAX);
    const uint8_t *p = pattern.len == 0 ? nothing : pattern.data;
    parser ps = {.begin = p, .p = p, .end = p + pattern.len, .group = group, .err = err};
    vv_arena_init(&ps.nodes, 64u << 20);
    vv_status st = build(&ps, out);
    vv_arena_fini(&ps.nodes);
    vv_free(ps.state);
    vv_free(ps.range);
    vv_free(ps.class);
    return st;
}

vv_status vv_regex_create(vv_slice pattern, vv_regex **out, vv_error *err)
{
    return create(pattern, NO_GROUP, out, err);
}

vv_status vv_regex_create_group(vv_slice pattern, uint32_t group, vv_regex **out, vv_error *err)
{
    if (group == NO_GROUP)
        return vv_fail(err, VV_INVALID, "regular expression: it has fewer groups than %u", group);
    return create(pattern, group, out, err);
}

void vv_regex_destroy(vv_regex *re)
{
    if (re == NULL)
        return;
    vv_free(re->state);
    vv_free(re->range);
    vv_free(re->class);
    vv_free(re->now.dense);
    vv_free(re->now.sparse);
    vv_free(re->then.dense);
    vv_free(re->then.sparse);
    vv_free(re->stack);
    vv_free(re->now_span);
    vv_free(re->then_span);
    vv_free(re->todo);
    vv_free(re);
}
