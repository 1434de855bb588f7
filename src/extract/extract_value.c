/*
 * extract_value.c - what a rule found, as an attribute of the rule's type; or why it is none.
 */
#include <math.h>

#include "base/decimal.h"
#include "base/time_text.h"
#include "base/utf8.h"
#include "extract/extract_int.h"

static void set(extract_slot *slot, vv_attribute_type type, int64_t i64, double f64)
{
    slot->state = EXTRACT_IS_FOUND;
    slot->value = (vv_attribute){.type = type, .i64 = i64, .f64 = f64};
}

static void set_bytes(extract_slot *slot, vv_attribute_type type, vv_slice bytes)
{
    if (bytes.len > EXTRACT_ATTRIBUTE_MAX) {
        extract_wrong(slot, "longer than an attribute may be");
        return;
    }
    slot->state = EXTRACT_IS_FOUND;
    slot->value = (vv_attribute){.type = type, .bytes = bytes};
}

static void set_string(extract_slot *slot, vv_slice text)
{
    if (!utf8_is_valid(text))
        extract_wrong(slot, "not UTF-8");
    else
        set_bytes(slot, VV_ATTRIBUTE_STRING, text);
}

/* Nanoseconds of the unit in which a type counts time; 0: it is none of time. */
static int64_t unit_of(extract_type type)
{
    switch (type) {
    case EXTRACT_TIME:
        return VV_NS_PER_S;
    case EXTRACT_TIME_MS:
        return VV_NS_PER_MS;
    case EXTRACT_TIME_US:
        return VV_NS_PER_US;
    case EXTRACT_TIME_NS:
        return 1;
    default:
        return 0;
    }
}

static void take_time_text(const extract_rule *rule, vv_slice text, extract_slot *slot)
{
    int64_t ns = 0;
    bool ok = rule->type == EXTRACT_TIME && time_text_parse(text, &ns);
    if (ok || time_text_parse_number(text, unit_of(rule->type), &ns))
        set(slot, VV_ATTRIBUTE_TIME, ns, 0);
    else
        extract_wrong(slot, "no time");
}

static void take_number_text(vv_slice text, extract_slot *slot)
{
    int64_t i64 = 0;
    double f64 = 0;
    if (vv_decimal_int(text, &i64))
        set(slot, VV_ATTRIBUTE_I64, i64, 0);
    else if (vv_decimal_double(text, &f64))
        set(slot, VV_ATTRIBUTE_F64, 0, f64);
    else
        extract_wrong(slot, "a number that is too large");
}

void extract_take_text(const extract_rule *rule, vv_slice text, bool is_number, extract_slot *slot)
{
    int64_t i64 = 0;
    double f64 = 0;
    switch (rule->type) {
    case EXTRACT_AUTO:
        if (is_number)
            take_number_text(text, slot);
        else
            set_string(slot, text);
        break;
    case EXTRACT_STRING:
        set_string(slot, text);
        break;
    case EXTRACT_RAW:
        set_bytes(slot, VV_ATTRIBUTE_BYTES, text);
        break;
    case EXTRACT_INT:
        if (vv_decimal_int(text, &i64))
            set(slot, VV_ATTRIBUTE_I64, i64, 0);
        else
            extract_wrong(slot, "no int");
        break;
    case EXTRACT_FLOAT:
        if (vv_decimal_double(text, &f64))
            set(slot, VV_ATTRIBUTE_F64, 0, f64);
        else
            extract_wrong(slot, "no float");
        break;
    case EXTRACT_BOOL:
        if (vv_slice_eq(text, vv_slice_str("true")) || vv_slice_eq(text, vv_slice_str("false")))
            set(slot, VV_ATTRIBUTE_BOOL, text.len == 4, 0);
        else
            extract_wrong(slot, "no bool");
        break;
    case EXTRACT_TIME:
    case EXTRACT_TIME_MS:
    case EXTRACT_TIME_US:
    case EXTRACT_TIME_NS:
        take_time_text(rule, text, slot);
        break;
    }
}

void extract_take_int(const extract_rule *rule, int64_t value, extract_slot *slot)
{
    int64_t unit = unit_of(rule->type);
    int64_t ns = 0;
    if (rule->type == EXTRACT_AUTO || rule->type == EXTRACT_INT)
        set(slot, VV_ATTRIBUTE_I64, value, 0);
    else if (rule->type == EXTRACT_FLOAT)
        set(slot, VV_ATTRIBUTE_F64, 0, (double)value);
    else if (unit == 0)
        extract_wrong(slot, "a number");
    else if (__builtin_mul_overflow(value, unit, &ns))
        extract_wrong(slot, "a time that is too far off");
    else
        set(slot, VV_ATTRIBUTE_TIME, ns, 0);
}

void extract_take_double(const extract_rule *rule, double value, extract_slot *slot)
{
    int64_t unit = unit_of(rule->type);
    int64_t ns = 0;
    if (rule->type == EXTRACT_AUTO || rule->type == EXTRACT_FLOAT)
        set(slot, VV_ATTRIBUTE_F64, 0, value);
    else if (unit == 0)
        extract_wrong(slot, "a float");
    else if (!time_from_seconds(value / ((double)VV_NS_PER_S / (double)unit), &ns))
        extract_wrong(slot, "a time that is too far off");
    else
        set(slot, VV_ATTRIBUTE_TIME, ns, 0);
}

void extract_take_bool(const extract_rule *rule, bool value, extract_slot *slot)
{
    if (rule->type == EXTRACT_AUTO || rule->type == EXTRACT_BOOL)
        set(slot, VV_ATTRIBUTE_BOOL, value, 0);
    else if (rule->type == EXTRACT_STRING)
        set_string(slot, vv_slice_str(value ? "true" : "false"));
    else
        extract_wrong(slot, "a bool");
}

void extract_take_bytes(const extract_rule *rule, vv_slice bytes, extract_slot *slot)
{
    if (rule->type == EXTRACT_AUTO || rule->type == EXTRACT_RAW)
        set_bytes(slot, VV_ATTRIBUTE_BYTES, bytes);
    else
        extract_take_text(rule, bytes, false, slot);
}

void extract_wrong_kind(extract_runner *r, extract_kind kind, const char *why)
{
    for (uint32_t i = 0; i < r->program->rule_count; i++)
        if (r->program->rule[i].kind == kind)
            extract_wrong(&r->slot[i], why);
}
