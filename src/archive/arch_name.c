/*
 * arch_name.c - names of objects from a template.
 *
 * What is put in for {..} is data: of tenants, of tables, of messages. It cannot make a part of its
 * own, leave its part, begin one with '.' or be mistaken for something else: every byte that names
 * do not have, '/' and '=' themselves, and '.' at the beginning of a part are written as =XX. So no
 * name leaves the store's prefix, and two values never give one name. A long value is cut and its
 * hash put behind.
 *
 * A template is held against the longest values there are when a table gets it, so that no message
 * can make a name too long later.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "archive/arch_int.h"
#include "base/civil.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/point.h"
#include "base/util.h"

#define VALUE_MAX 72u   /* bytes of an attribute in a name */
#define VALUE_KEPT 48u  /* of a longer one, before its hash */
#define SUFFIX_MAX 16u  /* of the forms that lie beside an object */
#define NAME_ROOM 1024u /* while a name is made; what is over VV_OBJECT_NAME_MAX is refused */

typedef struct maker {
    char out[NAME_ROOM];
    size_t len;
    bool is_long; /* it did not fit */
    const arch_identity *who;
    const vv_message *first; /* NULL: the longest values there are */
    bool has_first;
    bool has_intent;
} maker;

/* ---- bytes ---- */

static void put_byte(maker *k, char c)
{
    if (k->len + 1 >= sizeof k->out) {
        k->is_long = true;
        return;
    }
    k->out[k->len++] = c;
}

static void put_text(maker *k, const char *text)
{
    for (; *text != '\0'; text++)
        put_byte(k, *text);
}

static bool is_plain(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("_.+,@:~!-", c) != NULL);
}

/* A byte of data as it stands in a name: itself, or =XX. */
static size_t escape(uint8_t c, bool begins_part, char out[4])
{
    static const char hex[] = "0123456789ABCDEF";
    if ((is_plain(c) && !(c == '.' && begins_part)) || (c == '/' && VV_BUG(122))) {
        out[0] = (char)c;
        out[1] = '\0';
        return 1;
    }
    out[0] = '=';
    out[1] = hex[c >> 4];
    out[2] = hex[c & 15];
    out[3] = '\0';
    return 3;
}

static bool begins_part(const maker *k)
{
    return k->len == 0 || k->out[k->len - 1] == '/';
}

/* At most max bytes, else the beginning and "=~" and a hash of all. */
static void put_data(maker *k, vv_slice data, size_t max)
{
    char one[4];
    size_t len = 0;
    bool begins = begins_part(k);
    for (size_t i = 0; i < data.len && len <= max; i++)
        len += escape(data.data[i], begins && i == 0, one);
    size_t room = len <= max ? max : VALUE_KEPT;
    size_t used = 0;
    for (size_t i = 0; i < data.len; i++) {
        used += escape(data.data[i], begins && i == 0, one);
        if (used > room)
            break;
        put_text(k, one);
    }
    if (len > max) {
        char hash[20];
        (void)snprintf(hash, sizeof hash, "=~%016" PRIx64, vv_hash64(data.data, data.len));
        put_text(k, hash);
    }
}

/* ---- what stands for {..} ---- */

static void put_attribute(maker *k, const vv_attribute *a)
{
    char number[32];
    switch (a->type) {
    case VV_ATTRIBUTE_STRING:
    case VV_ATTRIBUTE_BYTES:
        if (a->bytes.len == 0)
            put_text(k, "=_");
        put_data(k, a->bytes, VALUE_MAX);
        return;
    case VV_ATTRIBUTE_BOOL:
        put_text(k, a->i64 != 0 ? "true" : "false");
        return;
    case VV_ATTRIBUTE_F64:
        (void)snprintf(number, sizeof number, "%.17g", a->f64);
        break;
    case VV_ATTRIBUTE_I64:
    case VV_ATTRIBUTE_TIME:
        (void)snprintf(number, sizeof number, "%" PRId64, a->i64);
        break;
    }
    put_data(k, vv_slice_str(number), VALUE_MAX);
}

static void put_named(maker *k, vv_slice name)
{
    if (k->first == NULL) {
        for (unsigned i = 0; i < VALUE_MAX; i++)
            put_byte(k, 'x');
        return;
    }
    for (size_t i = 0; i < k->first->attribute_count; i++)
        if (vv_slice_eq(k->first->attributes[i].name, name)) {
            put_attribute(k, &k->first->attributes[i]);
            return;
        }
    put_text(k, "=-"); /* no value is written so */
}

/* false: it is no part of a time. */
static bool put_time(maker *k, vv_slice word)
{
    char number[24];
    int64_t ns = k->first == NULL ? 0 : k->first->receive_time_ns;
    const int64_t seconds = ns / VV_NS_PER_S - (ns % VV_NS_PER_S < 0);
    const int64_t days = seconds / 86400 - (seconds % 86400 < 0);
    const vv_civil date = vv_civil_of_days(days);
    if (vv_slice_eq(word, vv_slice_str("yyyy")))
        (void)snprintf(number, sizeof number, "%04" PRId64, date.year);
    else if (vv_slice_eq(word, vv_slice_str("mm")))
        (void)snprintf(number, sizeof number, "%02" PRId64, date.month);
    else if (vv_slice_eq(word, vv_slice_str("dd")))
        (void)snprintf(number, sizeof number, "%02" PRId64, date.day);
    else if (vv_slice_eq(word, vv_slice_str("hh")))
        (void)snprintf(number, sizeof number, "%02" PRId64, (seconds - days * 86400) / 3600);
    else
        return false;
    put_text(k, number);
    return true;
}

static bool put_identity(maker *k, vv_slice word)
{
    char number[24];
    if (vv_slice_eq(word, vv_slice_str("tenant"))) {
        put_data(k, vv_slice_str(k->who->tenant), VV_NAME_MAX);
        return true;
    }
    if (vv_slice_eq(word, vv_slice_str("table"))) {
        put_data(k, vv_slice_str(k->who->table), VV_NAME_MAX);
        return true;
    }
    if (vv_slice_eq(word, vv_slice_str("partition")))
        (void)snprintf(number, sizeof number, "%04" PRIu32, k->who->partition);
    else if (vv_slice_eq(word, vv_slice_str("first"))) {
        k->has_first = true;
        (void)snprintf(number, sizeof number, "%020" PRIu64,
                       k->first == NULL ? 0 : k->first->offset);
    } else if (vv_slice_eq(word, vv_slice_str("intent"))) {
        k->has_intent = true;
        (void)snprintf(number, sizeof number, "%016" PRIx64, k->who->intent);
    } else
        return false;
    put_text(k, number);
    return true;
}

static vv_status put_word(maker *k, vv_slice word, vv_error *err)
{
    vv_slice attr = vv_slice_str("attr:");
    if (vv_slice_has_prefix(word, attr)) {
        vv_slice name = vv_slice_of(word.data + attr.len, word.len - attr.len);
        if (name.len == 0)
            return vv_fail(err, VV_INVALID, "key template: {attr:} names no attribute");
        put_named(k, name);
        return VV_OK;
    }
    if (put_identity(k, word) || put_time(k, word))
        return VV_OK;
    return vv_fail(err, VV_INVALID,
                   "key template: {%.*s} is not known: tenant, table, partition, first, intent, "
                   "yyyy, mm, dd, hh, attr:NAME",
                   (int)vv_min_u64(word.len, 40), (const char *)word.data);
}

/* ---- templates ---- */

static vv_status make(maker *k, const char *text, const char *suffix, vv_error *err)
{
    for (const char *p = text; *p != '\0';) {
        if (*p != '{') {
            put_byte(k, *p++);
            continue;
        }
        const char *end = strchr(p, '}');
        if (end == NULL)
            return vv_fail(err, VV_INVALID, "key template: '{' at byte %td is not closed",
                           p - text);
        vv_status st = put_word(k, vv_slice_of(p + 1, (size_t)(end - p - 1)), err);
        if (st != VV_OK)
            return st;
        p = end + 1;
    }
    put_text(k, suffix);
    k->out[k->len] = '\0';
    if (k->is_long)
        return vv_fail(err, VV_INVALID, "key template: names may have %zu bytes, %u are allowed",
                       k->len, VV_OBJECT_NAME_MAX);
    vv_status st = vv_object_name_check(k->out, err);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "key template");
}

vv_status arch_template_check(const char *text, vv_error *err)
{
    assert(text != NULL);
    arch_identity longest = {.partition_count = 1};
    char suffix[SUFFIX_MAX + 1];
    maker k = {.who = &longest};
    maker alone = {.who = &longest};
    if (strlen(text) > ARCH_TEMPLATE_MAX)
        return vv_fail(err, VV_INVALID, "key template: %zu bytes, at most %u are allowed",
                       strlen(text), ARCH_TEMPLATE_MAX);
    memset(longest.tenant, 'x', VV_NAME_MAX);
    memset(longest.table, 'x', VV_NAME_MAX);
    memset(suffix, 'x', SUFFIX_MAX);
    suffix[SUFFIX_MAX] = '\0';
    vv_status st = make(&alone, text, "", err);
    if (st == VV_OK)
        st = make(&k, text, suffix, err);
    if (st == VV_OK && !(k.has_first && k.has_intent))
        st = vv_fail(err, VV_INVALID,
                     "key template: {first} and {intent} must be in it, or two objects would share "
                     "a name");
    return st;
}

vv_status arch_name_make(const char *text, const arch_identity *who, const vv_message *first,
                         const char *suffix, char out[VV_OBJECT_NAME_MAX + 1], vv_error *err)
{
    assert(text != NULL && who != NULL && first != NULL && suffix != NULL);
    maker k = {.who = who, .first = first};
    vv_status st = make(&k, text, suffix, err);
    if (st == VV_OK)
        memcpy(out, k.out, k.len + 1);
    return st;
}
