/*
 * extract_run.c - all rules over one message, and the message that comes of it.
 *
 *   each slot absent --json, kv: one walk for all rules; others one by one--> found | wrong
 *   a required rule without a result: poison, the message as it was
 *   otherwise: own attributes, those of rules (which replace own ones of their name), _errors
 *
 * What does not fit is left out and counted, never the message: attributes over their number, their
 * bytes or the table's bound of a message.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/point.h"
#include "extract/extract_int.h"
#include "stream/stream.h"

#define ERRORS_MAX 512u /* bytes of _errors */

static bool is_side(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != 0 && strchr("_-./", c) != NULL);
}

bool extract_is_entity(vv_slice text)
{
    size_t colon = 0, colons = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == ':') {
            colon = i;
            colons++;
        } else if (!is_side(text.data[i])) {
            return false;
        }
    }
    return colons == 1 && colon > 0 && colon + 1 < text.len;
}

/* ---- a runner ---- */

static vv_status make_regexes(extract_runner *r, vv_error *err)
{
    const extract_program *p = r->program;
    if (p->of_kind[EXTRACT_REGEX] == 0)
        return VV_OK;
    r->regex = vv_calloc(p->rule_count, sizeof(vv_regex *));
    if (r->regex == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for rules");
    for (uint32_t i = 0; i < p->rule_count; i++) {
        const extract_rule *rule = &p->rule[i];
        if (rule->kind != EXTRACT_REGEX)
            continue;
        vv_status st = vv_regex_create_group(rule->text, rule->group, &r->regex[i], err);
        if (st != VV_OK)
            return st;
    }
    return VV_OK;
}

vv_status extract_runner_create(extract_program *program, extract_runner **out, vv_error *err)
{
    extract_runner *r = vv_calloc(1, sizeof *r);
    if (r == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for rules");
    r->program = program;
    vv_arena_init(&r->arena, EXTRACT_MADE_MAX);
    vv_status st = make_regexes(r, err);
    if (st != VV_OK) {
        extract_runner_destroy(r);
        return st;
    }
    *out = r;
    return VV_OK;
}

void extract_runner_destroy(extract_runner *r)
{
    if (r == NULL)
        return;
    for (uint32_t i = 0; r->regex != NULL && i < r->program->rule_count; i++)
        vv_regex_destroy(r->regex[i]);
    vv_free(r->regex);
    vv_arena_fini(&r->arena);
    vv_free(r);
}

void extract_runner_reset(extract_runner *r)
{
    vv_arena_reset(&r->arena);
    r->is_full = false;
}

/* ---- rules ---- */

static vv_slice printed(extract_runner *r, const char *fmt, unsigned long long value)
{
    char text[24];
    int len = snprintf(text, sizeof text, fmt, value);
    return extract_dup(r, vv_slice_of(text, (size_t)len));
}

static vv_status run_field(extract_runner *r, const extract_place *place, const vv_message *m,
                           vv_slice content_type, uint32_t i)
{
    const extract_rule *rule = &r->program->rule[i];
    extract_slot *slot = &r->slot[i];
    vv_slice text = {NULL, 0};
    switch (rule->field) {
    case EXTRACT_FIELD_SIZE:
        extract_take_int(rule, (int64_t)m->value.len, slot);
        return VV_OK;
    case EXTRACT_FIELD_KEY_SIZE:
        extract_take_int(rule, (int64_t)m->key.len, slot);
        return VV_OK;
    case EXTRACT_FIELD_HASH:
        text = printed(r, "%016llx", vv_hash64(m->value.data, m->value.len));
        if (text.data == NULL)
            return VV_NO_MEMORY;
        break;
    case EXTRACT_FIELD_CONTENT_TYPE:
        text = content_type;
        break;
    case EXTRACT_FIELD_TENANT:
        text = place->tenant;
        break;
    case EXTRACT_FIELD_TABLE:
        text = place->table;
        break;
    case EXTRACT_FIELD_SOURCE:
        text = m->source;
        break;
    case EXTRACT_FIELD_KEY:
        text = m->key;
        break;
    }
    if (text.len > 0)
        extract_take_text(rule, text, false, slot);
    return VV_OK;
}

/* An entity that names only its type is of the tenant's namespace. */
static vv_status finish_entity(extract_runner *r, const extract_place *place, extract_slot *slot)
{
    vv_slice type = slot->value.bytes;
    if (type.len > 0 && memchr(type.data, ':', type.len) == NULL) {
        size_t len = place->tenant.len + 1 + type.len;
        uint8_t *full = extract_alloc(r, len);
        if (full == NULL)
            return VV_NO_MEMORY;
        memcpy(full, place->tenant.data, place->tenant.len);
        full[place->tenant.len] = ':';
        memcpy(full + place->tenant.len + 1, type.data, type.len);
        slot->value.bytes = vv_slice_of(full, len);
    }
    if (!extract_is_entity(slot->value.bytes))
        extract_wrong(slot, "no entity, namespace:type");
    return VV_OK;
}

/* The rules that look for themselves. */
static vv_status run_one(extract_runner *r, const extract_place *place, const vv_message *m,
                         vv_slice content_type, uint32_t i)
{
    const extract_rule *rule = &r->program->rule[i];
    extract_slot *slot = &r->slot[i];
    vv_status st = VV_OK;
    if (rule->kind == EXTRACT_PROTOBUF)
        extract_proto(rule, m->value, slot);
    else if (rule->kind == EXTRACT_REGEX)
        extract_regex(r, i, m->value);
    else if (rule->kind == EXTRACT_FIELD)
        st = run_field(r, place, m, content_type, i);
    else if (rule->kind == EXTRACT_CONST)
        *slot = (extract_slot){.state = EXTRACT_IS_FOUND, .value = rule->fixed};
    if (st == VV_OK && rule->target == EXTRACT_TO_ENTITY && slot->state == EXTRACT_IS_FOUND)
        st = finish_entity(r, place, slot);
    return st;
}

static void count(extract_rule *rule, const extract_slot *slot)
{
    _Atomic uint64_t *counter = slot->state == EXTRACT_IS_FOUND    ? &rule->found
                                : slot->state == EXTRACT_IS_ABSENT ? &rule->absent
                                                                   : &rule->errors;
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static vv_status run_rules(extract_runner *r, const extract_place *place, const vv_message *m,
                           vv_slice content_type)
{
    extract_program *p = r->program;
    vv_status st = VV_OK;
    r->steps = EXTRACT_REGEX_STEPS_MAX;
    r->scratch = 0;
    for (uint32_t i = 0; i < p->rule_count; i++)
        r->slot[i].state = EXTRACT_IS_ABSENT;
    if (p->of_kind[EXTRACT_JSON] > 0)
        st = extract_json(r, m->value);
    if (p->of_kind[EXTRACT_KV] > 0)
        extract_kv(r, m->value);
    for (uint32_t i = 0; st == VV_OK && i < p->rule_count; i++)
        st = run_one(r, place, m, content_type, i);
    return st;
}

/* ---- the message that comes of it ---- */

/* Why the message is poison; false: it is none. */
static bool find_poison(const extract_runner *r, extract_result *out)
{
    const extract_program *p = r->program;
    for (uint32_t i = 0; p->has_required && i < p->rule_count; i++) {
        const extract_rule *rule = &p->rule[i];
        const extract_slot *slot = &r->slot[i];
        if (!rule->is_required || slot->state == EXTRACT_IS_FOUND ||
            (VV_BUG(147) && slot->state == EXTRACT_IS_ABSENT)) /* the bug: absent is no poison */
            continue;
        (void)snprintf(out->reason, sizeof out->reason, "rule '%.*s': %s", (int)rule->name.len,
                       (const char *)rule->name.data,
                       slot->state == EXTRACT_IS_ABSENT ? "it finds nothing" : slot->why);
        return true;
    }
    return false;
}

/* Those that rules make, or varve itself, are not taken from the producer. */
static bool is_replaced(const extract_runner *r, vv_slice name)
{
    const extract_program *p = r->program;
    if (vv_slice_eq(name, vv_slice_str(EXTRACT_ERRORS)))
        return true;
    for (uint32_t i = 0; i < p->rule_count; i++)
        if (r->slot[i].state == EXTRACT_IS_FOUND && p->rule[i].target != EXTRACT_TO_EVENT &&
            vv_slice_eq(p->rule[i].name, name))
            return true;
    return false;
}

/* "temp: no float; at: no time". Empty: nothing was wrong. */
static vv_status add_errors(extract_runner *r, vv_attribute *out, size_t *count)
{
    char text[ERRORS_MAX];
    size_t at = 0;
    const extract_program *p = r->program;
    for (uint32_t i = 0; i < p->rule_count && at < sizeof text; i++)
        if (r->slot[i].state == EXTRACT_IS_WRONG)
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%.*s: %s", at > 0 ? "; " : "",
                                   (int)p->rule[i].name.len, (const char *)p->rule[i].name.data,
                                   r->slot[i].why);
    if (at == 0)
        return VV_OK;
    size_t len = at < sizeof text ? at : sizeof text - 1;
    vv_slice copy = extract_dup(r, vv_slice_of(text, len));
    if (copy.data == NULL)
        return VV_NO_MEMORY;
    out[(*count)++] = (vv_attribute){
        .name = vv_slice_str(EXTRACT_ERRORS), .type = VV_ATTRIBUTE_STRING, .bytes = copy};
    return VV_OK;
}

/* Attributes of the rules behind n of its own; those over a bound are wrong from here on. */
static size_t add_found(extract_runner *r, vv_attribute *out, size_t n, vv_message *m)
{
    extract_program *p = r->program;
    size_t bytes = 0;
    for (uint32_t i = 0; i < p->rule_count; i++) {
        extract_slot *slot = &r->slot[i];
        if (slot->state != EXTRACT_IS_FOUND)
            continue;
        if (p->rule[i].target == EXTRACT_TO_EVENT) {
            m->event_time_ns = slot->value.i64;
            continue;
        }
        bytes += slot->value.bytes.len;
        if (n + EXTRACT_OWN_MAX >= VV_STREAM_ATTRIBUTES_MAX || bytes > EXTRACT_BYTES_MAX) {
            extract_wrong(slot, "more attributes than a message may have");
            continue;
        }
        out[n] = slot->value;
        out[n++].name = p->rule[i].name;
    }
    return n;
}

static vv_status build(extract_runner *r, const extract_place *place, const vv_message *in,
                       vv_message *out)
{
    size_t n = 0;
    size_t found = 0;
    for (uint32_t i = 0; i < r->program->rule_count; i++)
        found += r->slot[i].state == EXTRACT_IS_FOUND;
    vv_attribute *all = extract_alloc(r, (in->attribute_count + found + 1) * sizeof *all);
    if (all == NULL)
        return VV_NO_MEMORY;
    for (size_t i = 0; i < in->attribute_count; i++)
        if (!is_replaced(r, in->attributes[i].name))
            all[n++] = in->attributes[i];
    n = add_found(r, all, n, out);
    vv_status st = add_errors(r, all, &n);
    if (st != VV_OK)
        return st;
    vv_message before = *out;
    out->attributes = all;
    out->attribute_count = n;
    if (stream_message_size(out) > place->size_max) {
        atomic_fetch_add_explicit(&r->program->overflows, 1, memory_order_relaxed);
        *out = before;
        out->content_type = in->content_type;
        out->event_time_ns = in->event_time_ns;
    }
    return VV_OK;
}

vv_status extract_run(extract_runner *r, const extract_place *place, const vv_message *message,
                      extract_result *out, vv_error *err)
{
    extract_program *p = r->program;
    out->is_poison = false;
    out->message = *message;
    if (message->attribute_count > VV_STREAM_ATTRIBUTES_MAX - EXTRACT_OWN_MAX)
        return vv_fail(err, VV_INVALID,
                       "the message has %zu attributes: where a table has rules it may bring %u: "
                       "put the others into its value",
                       message->attribute_count, VV_STREAM_ATTRIBUTES_MAX - EXTRACT_OWN_MAX);
    vv_slice content_type = message->content_type.len > 0
                                ? message->content_type
                                : vv_slice_str(extract_sniff(message->value));
    vv_status st = run_rules(r, place, message, content_type);
    if (st == VV_OK) {
        out->is_poison = find_poison(r, out);
        out->message.content_type = out->is_poison ? message->content_type : content_type;
        if (!out->is_poison)
            st = build(r, place, message, &out->message);
    }
    if (st == VV_NO_MEMORY && r->is_full)
        return vv_fail(err, VV_INVALID,
                       "the attributes of the messages up to here take more than the %u MiB of one "
                       "append: append fewer messages at once",
                       EXTRACT_MADE_MAX >> 20);
    if (st != VV_OK)
        return vv_fail(err, st, "no memory for the attributes of a message");
    out->errors = 0;
    for (uint32_t i = 0; i < p->rule_count; i++) {
        count(&p->rule[i], &r->slot[i]);
        out->errors += r->slot[i].state == EXTRACT_IS_WRONG;
    }
    return VV_OK;
}

/* ---- figures ---- */

void extract_counts_read(const extract_program *program, uint32_t rule, extract_counts *out)
{
    assert(rule < program->rule_count);
    const extract_rule *of = &program->rule[rule];
    *out = (extract_counts){
        .name = of->name,
        .is_required = of->is_required,
        .found = atomic_load_explicit(&of->found, memory_order_relaxed),
        .absent = atomic_load_explicit(&of->absent, memory_order_relaxed),
        .errors = atomic_load_explicit(&of->errors, memory_order_relaxed),
    };
}

uint64_t extract_overflows(const extract_program *program)
{
    return atomic_load_explicit(&program->overflows, memory_order_relaxed);
}
