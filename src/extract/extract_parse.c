/*
 * extract_parse.c - the text of rules, one a line, into a program.
 *
 *   line   := name '=' what type? ( '->' 'event' | 'required' )*       # comments, empty lines
 *   what   := json PATH | protobuf MESSAGE FIELD | kv KEY | regex "PATTERN" GROUP? | const VALUE
 *           | field NAME
 *   type   := string | bytes | int | float | bool | time | time_ms | time_us | time_ns
 *
 * Words stand between blanks; what holds one, or a '#', is put in double quotes, in which \" is a
 * quote and every other backslash stands for itself, so that expressions are written as they are.
 */
#include "base/alloc.h"
#include "base/decimal.h"
#include "base/error.h"
#include "base/nearest.h"
#include "base/utf8.h"
#include "extract/extract_int.h"

#define WORDS_MAX 12u
#define SHOW(s) (int)vv_min_u64((s).len, 60), (const char *)(s).data

typedef struct line {
    extract_word word[WORDS_MAX];
    size_t count;
    size_t at; /* the next word to be read */
} line;

typedef struct named {
    const char *name;
    int value;
} named;

static const named kinds[] = {{"json", EXTRACT_JSON},   {"protobuf", EXTRACT_PROTOBUF},
                              {"kv", EXTRACT_KV},       {"regex", EXTRACT_REGEX},
                              {"const", EXTRACT_CONST}, {"field", EXTRACT_FIELD}};
static const named types[] = {
    {"string", EXTRACT_STRING},   {"bytes", EXTRACT_RAW},       {"int", EXTRACT_INT},
    {"float", EXTRACT_FLOAT},     {"bool", EXTRACT_BOOL},       {"time", EXTRACT_TIME},
    {"time_ms", EXTRACT_TIME_MS}, {"time_us", EXTRACT_TIME_US}, {"time_ns", EXTRACT_TIME_NS}};
static const named fields[] = {
    {"value_size", EXTRACT_FIELD_SIZE}, {"key_size", EXTRACT_FIELD_KEY_SIZE},
    {"hash", EXTRACT_FIELD_HASH},       {"content_type", EXTRACT_FIELD_CONTENT_TYPE},
    {"tenant", EXTRACT_FIELD_TENANT},   {"table", EXTRACT_FIELD_TABLE},
    {"source", EXTRACT_FIELD_SOURCE},   {"key", EXTRACT_FIELD_KEY}};

static bool find_named(const named *all, size_t count, vv_slice name, int *out)
{
    for (size_t i = 0; i < count; i++)
        if (vv_slice_eq(vv_slice_str(all[i].name), name)) {
            *out = all[i].value;
            return true;
        }
    return false;
}

/* The one that was meant; NULL: none is near. */
static const char *nearest(const named *all, size_t count, vv_slice name)
{
    const char *best = NULL;
    unsigned least = 3;
    for (size_t i = 0; i < count; i++) {
        unsigned d = vv_name_distance(vv_slice_str(all[i].name), name, least);
        if (d < least) {
            least = d;
            best = all[i].name;
        }
    }
    return best;
}

static vv_status fail_unknown(const char *what, const named *all, size_t count, vv_slice name,
                              const char *say, vv_error *err)
{
    const char *meant = nearest(all, count, name);
    if (meant != NULL)
        return vv_fail(err, VV_INVALID, "'%.*s' is no %s: '%s' is", SHOW(name), what, meant);
    return vv_fail(err, VV_INVALID, "'%.*s' is no %s: %s", SHOW(name), what, say);
}

/* ---- words ---- */

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Between quotes; p is behind the first. NULL: there is no other. */
static const uint8_t *take_quoted(extract_program *p, const uint8_t *at, const uint8_t *end,
                                  vv_slice *out)
{
    uint8_t *copy = vv_arena_alloc(&p->arena, (size_t)(end - at) + 1);
    size_t len = 0;
    *out = (vv_slice){NULL, 0};
    if (copy == NULL)
        return at; /* with data NULL: no memory */
    while (at < end && *at != '"') {
        if (*at == '\\' && end - at > 1 && at[1] == '"')
            at++;
        copy[len++] = *at++;
    }
    *out = vv_slice_of(copy, len);
    return at < end ? at + 1 : NULL;
}

static vv_status split(extract_program *p, vv_slice text, line *out, vv_error *err)
{
    const uint8_t *at = text.data, *end = text.data + text.len;
    *out = (line){.count = 0};
    for (;;) {
        while (at < end && is_blank(*at))
            at++;
        if (at == end || *at == '#')
            return VV_OK;
        if (out->count == WORDS_MAX)
            return vv_fail(err, VV_INVALID, "a rule has at most %u words", WORDS_MAX);
        extract_word *w = &out->word[out->count++];
        w->is_quoted = *at == '"';
        if (w->is_quoted) {
            at = take_quoted(p, at + 1, end, &w->text);
            if (at == NULL)
                return vv_fail(err, VV_INVALID, "a quote is not closed");
            if (w->text.data == NULL)
                return vv_fail(err, VV_NO_MEMORY, "no memory for rules");
            continue;
        }
        const uint8_t *from = at;
        while (at < end && !is_blank(*at))
            at++;
        w->text = vv_slice_of(from, (size_t)(at - from));
    }
}

static bool has_word(const line *l)
{
    return l->at < l->count;
}

static vv_status next_word(line *l, const char *what, vv_slice *out, vv_error *err)
{
    *out = (vv_slice){NULL, 0};
    if (!has_word(l))
        return vv_fail(err, VV_INVALID, "%s is missing", what);
    *out = l->word[l->at++].text;
    return VV_OK;
}

/* ---- one rule ---- */

static bool is_name_byte(uint8_t c, bool is_first)
{
    bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return is_letter ||
           (!is_first && ((c >= '0' && c <= '9') || (c != 0 && strchr("_.-/:", c) != NULL)));
}

static vv_status take_name(extract_program *p, line *l, extract_rule *rule, vv_error *err)
{
    vv_slice name, sign;
    vv_status st = next_word(l, "the name", &name, err);
    if (st != VV_OK)
        return st;
    if (name.len == 0 || name.len > EXTRACT_NAME_MAX)
        return vv_fail(err, VV_INVALID, "a name has 1 to %u bytes", EXTRACT_NAME_MAX);
    for (size_t i = 0; i < name.len; i++)
        if (!is_name_byte(name.data[i], i == 0))
            return vv_fail(err, VV_INVALID,
                           "the name '%.*s': a letter, then letters, digits and _.-/: are allowed",
                           SHOW(name));
    for (uint32_t i = 0; i < p->rule_count; i++)
        if (vv_slice_eq(p->rule[i].name, name))
            return vv_fail(err, VV_INVALID, "there are two rules '%.*s'", SHOW(name));
    st = next_word(l, "'='", &sign, err);
    if (st == VV_OK && !vv_slice_eq(sign, vv_slice_str("=")))
        st = vv_fail(err, VV_INVALID, "'=' is expected behind '%.*s'", SHOW(name));
    if (st != VV_OK)
        return st;
    rule->name = vv_arena_dup(&p->arena, name);
    if (vv_slice_eq(name, vv_slice_str("entity")))
        rule->target = EXTRACT_TO_ENTITY;
    return rule->name.data != NULL ? VV_OK : vv_fail(err, VV_NO_MEMORY, "no memory for rules");
}

static vv_status keep_text(extract_program *p, vv_slice text, vv_slice *out, vv_error *err)
{
    *out = vv_arena_dup(&p->arena, text);
    return out->data != NULL ? VV_OK : vv_fail(err, VV_NO_MEMORY, "no memory for rules");
}

static vv_status take_regex(extract_program *p, line *l, extract_rule *rule, vv_slice text,
                            vv_error *err)
{
    vv_regex *re = NULL;
    int64_t group = 0;
    if (has_word(l) && vv_decimal_int(l->word[l->at].text, &group)) {
        l->at++;
        if (group < 0 || group > 1000)
            return vv_fail(err, VV_INVALID, "a group is a number from 0 to 1000");
    }
    rule->group = (uint32_t)group;
    vv_status st = vv_regex_create_group(text, rule->group, &re, err);
    if (st != VV_OK)
        return st;
    vv_regex_destroy(re);
    return keep_text(p, text, &rule->text, err);
}

static vv_status take_field(extract_rule *rule, vv_slice name, vv_error *err)
{
    int value = 0;
    if (!find_named(fields, ARRAY_LEN(fields), name, &value))
        return fail_unknown("field of a message", fields, ARRAY_LEN(fields), name,
                            "value_size, key_size, hash, content_type, tenant, table, source and "
                            "key are",
                            err);
    rule->field = (extract_field)value;
    return VV_OK;
}

/* What is behind '=', but for the path of protobuf, which needs the type. */
static vv_status take_what(extract_program *p, line *l, extract_rule *rule, vv_slice first,
                           vv_error *err)
{
    switch (rule->kind) {
    case EXTRACT_JSON:
        return extract_trie_add(p, p->rule_count, first, err);
    case EXTRACT_REGEX:
        return take_regex(p, l, rule, first, err);
    case EXTRACT_KV:
        if (first.len == 0)
            return vv_fail(err, VV_INVALID, "a key is empty");
        return keep_text(p, first, &rule->text, err);
    case EXTRACT_CONST:
        return keep_text(p, first, &rule->text, err);
    case EXTRACT_FIELD:
        return take_field(rule, first, err);
    case EXTRACT_PROTOBUF:
        break;
    }
    return VV_OK;
}

static vv_status take_options(line *l, extract_rule *rule, vv_error *err)
{
    int type = 0;
    if (has_word(l) && find_named(types, ARRAY_LEN(types), l->word[l->at].text, &type)) {
        rule->type = (extract_type)type;
        l->at++;
    }
    while (has_word(l)) {
        vv_slice word = l->word[l->at++].text, target;
        if (vv_slice_eq(word, vv_slice_str("required"))) {
            rule->is_required = true;
            continue;
        }
        if (!vv_slice_eq(word, vv_slice_str("->")))
            return fail_unknown("type", types, ARRAY_LEN(types), word,
                                "string, bytes, int, float, bool and time are; behind it there may "
                                "be 'required' and '-> event'",
                                err);
        vv_status st = next_word(l, "what '->' points to", &target, err);
        if (st != VV_OK)
            return st;
        if (!vv_slice_eq(target, vv_slice_str("event")))
            return vv_fail(err, VV_INVALID, "'-> %.*s': only '-> event' is known", SHOW(target));
        rule->target = EXTRACT_TO_EVENT;
    }
    return VV_OK;
}

/* Types that go with where the result goes. */
static vv_status check_target(extract_rule *rule, vv_error *err)
{
    if (rule->target == EXTRACT_TO_EVENT) {
        if (rule->type == EXTRACT_AUTO)
            rule->type = EXTRACT_TIME;
        if (rule->type < EXTRACT_TIME)
            return vv_fail(err, VV_INVALID, "an event time is of type time, time_ms, ...");
    }
    if (rule->target == EXTRACT_TO_ENTITY) {
        if (rule->type == EXTRACT_AUTO)
            rule->type = EXTRACT_STRING;
        if (rule->type != EXTRACT_STRING)
            return vv_fail(err, VV_INVALID, "an entity is of type string");
    }
    return VV_OK;
}

/* A constant is what it is for every message. */
static vv_status fix_const(extract_rule *rule, bool is_quoted, vv_error *err)
{
    extract_slot slot = {.state = EXTRACT_IS_ABSENT};
    if (rule->kind != EXTRACT_CONST)
        return VV_OK;
    if (rule->type == EXTRACT_AUTO && !is_quoted &&
        (vv_slice_eq(rule->text, vv_slice_str("true")) ||
         vv_slice_eq(rule->text, vv_slice_str("false"))))
        rule->type = EXTRACT_BOOL;
    double number = 0;
    bool is_number = !is_quoted && vv_decimal_double(rule->text, &number);
    extract_take_text(rule, rule->text, is_number, &slot);
    if (slot.state != EXTRACT_IS_FOUND)
        return vv_fail(err, VV_INVALID, "'%.*s' is %s", SHOW(rule->text), slot.why);
    if (rule->target == EXTRACT_TO_ENTITY && memchr(rule->text.data, ':', rule->text.len) != NULL &&
        !extract_is_entity(rule->text))
        return vv_fail(err, VV_INVALID, "'%.*s' is no entity: namespace:type", SHOW(rule->text));
    rule->fixed = slot.value;
    return VV_OK;
}

static vv_status take_rule(extract_program *p, line *l, extract_rule *rule, vv_slice descriptors,
                           vv_error *err)
{
    int kind = 0;
    vv_slice word, first, path = {NULL, 0};
    vv_status st = take_name(p, l, rule, err);
    if (st == VV_OK)
        st = next_word(l, "json, protobuf, kv, regex, const or field", &word, err);
    if (st != VV_OK)
        return st;
    if (!find_named(kinds, ARRAY_LEN(kinds), word, &kind))
        return fail_unknown("kind of rule", kinds, ARRAY_LEN(kinds), word,
                            "json, protobuf, kv, regex, const and field are", err);
    rule->kind = (extract_kind)kind;
    bool is_quoted = has_word(l) && l->word[l->at].is_quoted;
    st = next_word(l, "what it looks for", &first, err);
    if (st == VV_OK && rule->kind == EXTRACT_PROTOBUF)
        st = next_word(l, "the path of a field", &path, err);
    if (st == VV_OK)
        st = take_what(p, l, rule, first, err);
    if (st == VV_OK)
        st = take_options(l, rule, err);
    if (st == VV_OK)
        st = check_target(rule, err);
    if (st == VV_OK && rule->kind == EXTRACT_PROTOBUF)
        st = extract_schema_resolve(p, rule, descriptors, first, path, err);
    return st == VV_OK ? fix_const(rule, is_quoted, err) : st;
}

/* ---- all of them ---- */

static vv_status add_line(extract_program *p, vv_slice text, vv_slice descriptors, vv_error *err)
{
    line l;
    vv_status st = split(p, text, &l, err);
    if (st != VV_OK || l.count == 0)
        return st;
    if (p->rule_count == VV_EXTRACT_RULES_MAX)
        return vv_fail(err, VV_INVALID, "a table has at most %u rules", VV_EXTRACT_RULES_MAX);
    extract_rule *rule = &p->rule[p->rule_count];
    st = take_rule(p, &l, rule, descriptors, err);
    if (st != VV_OK)
        return rule->name.len > 0 ? vv_wrap(err, st, "rule '%.*s'", SHOW(rule->name)) : st;
    p->rule_count++;
    p->of_kind[rule->kind]++;
    p->has_required |= rule->is_required;
    return VV_OK;
}

/* Steps of paths that there can be: room for the tree, before it is built. */
static uint32_t count_nodes(vv_slice rules)
{
    uint32_t n = 2;
    for (size_t i = 0; i < rules.len; i++)
        n += rules.data[i] == '.' || rules.data[i] == '[';
    return n < EXTRACT_NODES_MAX ? n : EXTRACT_NODES_MAX;
}

static vv_status parse(extract_program *p, vv_slice rules, vv_slice descriptors, vv_error *err)
{
    unsigned number = 0;
    p->node_cap = count_nodes(rules);
    while (rules.len > 0) {
        const uint8_t *newline = memchr(rules.data, '\n', rules.len);
        size_t len = newline == NULL ? rules.len : (size_t)(newline - rules.data);
        number++;
        vv_status st = add_line(p, vv_slice_of(rules.data, len), descriptors, err);
        if (st != VV_OK)
            return vv_wrap(err, st, "line %u", number);
        size_t used = newline == NULL ? len : len + 1;
        rules = vv_slice_of(rules.data + used, rules.len - used);
    }
    return VV_OK;
}

vv_status extract_compile(vv_slice rules, vv_slice descriptors, extract_program **out,
                          vv_error *err)
{
    if (rules.len > VV_EXTRACT_TEXT_MAX)
        return vv_fail(err, VV_INVALID, "rules of %zu bytes: %u are allowed", rules.len,
                       VV_EXTRACT_TEXT_MAX);
    if (descriptors.len > VV_EXTRACT_SCHEMA_MAX)
        return vv_fail(err, VV_INVALID,
                       "descriptors of %zu bytes: %u are allowed: give those of the messages that "
                       "rules name alone",
                       descriptors.len, VV_EXTRACT_SCHEMA_MAX);
    if (!utf8_is_valid(rules) || (rules.len > 0 && memchr(rules.data, '\0', rules.len) != NULL))
        return vv_fail(err, VV_INVALID, "rules are text in UTF-8");
    extract_program *p = vv_calloc(1, sizeof *p);
    if (p == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for rules");
    vv_arena_init(&p->arena, EXTRACT_ARENA_MAX);
    vv_status st = parse(p, rules, descriptors, err);
    if (st != VV_OK) {
        extract_program_destroy(p);
        return st;
    }
    *out = p;
    return VV_OK;
}

void extract_program_destroy(extract_program *program)
{
    if (program == NULL)
        return;
    vv_arena_fini(&program->arena);
    vv_free(program);
}

uint32_t extract_rule_count(const extract_program *program)
{
    return program->rule_count;
}

bool extract_has_required(const extract_program *program)
{
    return program->has_required;
}

size_t extract_program_size(const extract_program *program)
{
    return sizeof *program + program->arena.used;
}
