/*
 * store_rule.c - how a stream is archived, as text: what `table create --archive` takes and `table
 * describe` shows.
 *
 *   off|on | codec=zstd|lz4|none | also=jsonl|parquet|none | size=64M | count=N|any | age=5m |
 * local=1h|now | local-size=1G|any | key=TEMPLATE, which is the last: it may have commas
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "store.h"

#define WORD_MAX 32u

static const char *const codecs[] = {"", "zstd", "lz4", "none"}; /* by vv_tier_codec */
static const char *const forms[] = {"none", "jsonl", "parquet"}; /* by vv_tier_form */

static bool find_word(const char *const *words, size_t count, const char *text, int *out)
{
    for (size_t i = 0; i < count; i++)
        if (words[i][0] != '\0' && strcmp(words[i], text) == 0) {
            *out = (int)i;
            return true;
        }
    return false;
}

static bool take_pair(const char *name, const char *value, vv_archive_rule *out)
{
    int at = 0;
    bool ok = true;
    if (strcmp(name, "codec") == 0) {
        ok = find_word(codecs, ARRAY_LEN(codecs), value, &at);
        out->codec = (vv_tier_codec)at;
    } else if (strcmp(name, "also") == 0) {
        ok = find_word(forms, ARRAY_LEN(forms), value, &at);
        out->also = (vv_tier_form)at;
        out->said |= at == 0 ? VV_ARCHIVE_SAYS_ALSO : 0;
    } else if (strcmp(name, "size") == 0) {
        ok = cmd_parse_size(value, &out->batch_bytes) && out->batch_bytes > 0;
    } else if (strcmp(name, "count") == 0 && strcmp(value, "any") == 0) {
        out->batch_messages = 0;
        out->said |= VV_ARCHIVE_SAYS_MESSAGES;
    } else if (strcmp(name, "count") == 0) {
        ok = cmd_parse_count(value, &out->batch_messages) && out->batch_messages > 0;
    } else if (strcmp(name, "age") == 0) {
        ok = cmd_parse_duration(value, &out->batch_age_ns) && out->batch_age_ns > 0;
    } else if (strcmp(name, "local") == 0 && strcmp(value, "now") == 0) {
        out->local_ns = -1;
    } else if (strcmp(name, "local") == 0) {
        ok = cmd_parse_duration(value, &out->local_ns) && out->local_ns > 0;
    } else if (strcmp(name, "local-size") == 0 && strcmp(value, "any") == 0) {
        out->local_bytes = 0;
        out->said |= VV_ARCHIVE_SAYS_LOCAL_BYTES;
    } else if (strcmp(name, "local-size") == 0) {
        ok = cmd_parse_size(value, &out->local_bytes) && out->local_bytes > 0;
    } else {
        ok = false;
    }
    return ok;
}

bool store_rule_parse(const char *text, vv_archive_rule *out)
{
    *out = (vv_archive_rule){.off = false};
    while (*text != '\0') {
        char name[WORD_MAX];
        char value[WORD_MAX];
        if (strncmp(text, "key=", 4) == 0) {
            out->key = text + 4;
            return out->key[0] != '\0';
        }
        size_t len = strcspn(text, ",");
        size_t name_len = strcspn(text, "=,");
        size_t value_len = name_len < len ? len - name_len - 1 : 0;
        if (name_len >= sizeof name || value_len >= sizeof value)
            return false;
        (void)snprintf(name, sizeof name, "%.*s", (int)name_len, text);
        (void)snprintf(value, sizeof value, "%.*s", (int)value_len,
                       text + (name_len < len ? name_len + 1 : len));
        if (strcmp(name, "off") == 0 && name_len == len)
            out->off = true;
        else if (strcmp(name, "on") == 0 && name_len == len)
            out->said |= VV_ARCHIVE_SAYS_OFF;
        else if (!take_pair(name, value, out))
            return false;
        text += len;
        text += *text == ',';
    }
    return true;
}

/* ---- the other way ---- */

/* Behind a comma, unless it is the first. */
static void put(char out[STORE_RULE_TEXT], const char *name, const char *value)
{
    const size_t at = strlen(out);
    (void)snprintf(out + at, STORE_RULE_TEXT - at, "%s%s%s", at > 0 ? "," : "", name, value);
}

static void put_uint(char out[STORE_RULE_TEXT], const char *name, uint64_t value)
{
    char number[24];
    (void)snprintf(number, sizeof number, "%" PRIu64, value);
    put(out, name, number);
}

static void put_span(char out[STORE_RULE_TEXT], const char *name, int64_t ns)
{
    char span[32];
    if (ns % VV_NS_PER_S == 0)
        (void)snprintf(span, sizeof span, "%" PRId64 "s", ns / VV_NS_PER_S);
    else if (ns % VV_NS_PER_MS == 0)
        (void)snprintf(span, sizeof span, "%" PRId64 "ms", ns / VV_NS_PER_MS);
    else
        (void)snprintf(span, sizeof span, "%" PRId64 "ns", ns);
    put(out, name, span);
}

void store_rule_text(const vv_archive_rule *rule, char out[STORE_RULE_TEXT])
{
    out[0] = '\0';
    if (rule == NULL)
        return;
    if (rule->off)
        put(out, "off", "");
    else if ((rule->said & VV_ARCHIVE_SAYS_OFF) != 0)
        put(out, "on", "");
    if (rule->codec != 0 && (size_t)rule->codec < ARRAY_LEN(codecs))
        put(out, "codec=", codecs[rule->codec]);
    if (rule->also != 0 && (size_t)rule->also < ARRAY_LEN(forms))
        put(out, "also=", forms[rule->also]);
    else if ((rule->said & VV_ARCHIVE_SAYS_ALSO) != 0)
        put(out, "also=none", "");
    if (rule->batch_bytes != 0)
        put_uint(out, "size=", rule->batch_bytes);
    if (rule->batch_messages != 0)
        put_uint(out, "count=", rule->batch_messages);
    else if ((rule->said & VV_ARCHIVE_SAYS_MESSAGES) != 0)
        put(out, "count=any", "");
    if (rule->batch_age_ns != 0)
        put_span(out, "age=", rule->batch_age_ns);
    if (rule->local_ns < 0)
        put(out, "local=now", "");
    else if (rule->local_ns != 0)
        put_span(out, "local=", rule->local_ns);
    if (rule->local_bytes != 0)
        put_uint(out, "local-size=", rule->local_bytes);
    else if ((rule->said & VV_ARCHIVE_SAYS_LOCAL_BYTES) != 0)
        put(out, "local-size=any", "");
    if (rule->key != NULL)
        put(out, "key=", rule->key);
}
