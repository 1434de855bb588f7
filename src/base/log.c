#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/civil.h"
#include "base/error.h"
#include "base/util.h"

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void vv_log_init(vv_log *log, vv_log_level level, vv_log_form form, vv_clock *clock,
                 void (*write)(void *ctx, const char *line, size_t len), void *ctx)
{
    *log = (vv_log){.level = level, .form = form, .clock = clock, .write = write, .ctx = ctx};
    vv_mutex_init(&log->lock, VV_RANK_LEAF);
}

void vv_log_init_records(vv_log *log, vv_log_level level, const vv_log_rules *rules,
                         vv_clock *clock, void (*record)(void *ctx, const vv_log_record *record),
                         void *ctx)
{
    vv_log_init(log, level, VV_LOG_LOGFMT, clock, NULL, ctx);
    log->rules = rules;
    log->record = record;
}

const char *vv_log_level_name(vv_log_level level)
{
    return (size_t)level < ARRAY_LEN(level_names) ? level_names[level] : "unknown";
}

bool vv_log_wants(const vv_log *log, vv_log_level level, const char *module)
{
    if (log == NULL)
        return false;
    if (log->rules != NULL)
        for (size_t i = 0; i < log->rules->count; i++)
            if (strcmp(log->rules->rule[i].module, module) == 0)
                return level <= log->rules->rule[i].level;
    return level <= log->level;
}

void vv_log_fini(vv_log *log)
{
    vv_mutex_fini(&log->lock);
}

/* A fixed line buffer: logging must work when memory is short. */
typedef struct line {
    char *text; /* [VV_LOG_LINE_MAX] */
    size_t len;
} line;

static void put(line *l, char c)
{
    if (l->len < VV_LOG_LINE_MAX - 1) /* keep room for the newline */
        l->text[l->len++] = c;
}

static void put_text(line *l, const char *text)
{
    while (*text != '\0')
        put(l, *text++);
}

/* The bytes between quotes, as JSON has them; logfmt readers know the same escapes. */
static void put_quoted(line *l, vv_slice s)
{
    put(l, '"');
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.data[i];
        if (c == '"' || c == '\\') {
            put(l, '\\');
            put(l, (char)c);
        } else if (c == '\n') {
            put_text(l, "\\n");
        } else if (c < 0x20 || c == 0x7f) {
            char hex[8];
            (void)snprintf(hex, sizeof hex, "\\u%04x", c);
            put_text(l, hex);
        } else {
            put(l, (char)c);
        }
    }
    put(l, '"');
}

static bool is_bare(vv_slice s)
{
    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] <= ' ' || s.data[i] == '"' || s.data[i] == '=' || s.data[i] == '\\' ||
            s.data[i] == 0x7f)
            return false;
    return true;
}

static void put_pair(line *l, vv_log_form form, const char *key, vv_slice value, bool number)
{
    if (form == VV_LOG_JSON) {
        put(l, l->len == 0 ? '{' : ',');
        put_quoted(l, vv_slice_str(key));
        put(l, ':');
    } else {
        if (l->len > 0)
            put(l, ' ');
        put_text(l, key);
        put(l, '=');
    }
    if (number || (form == VV_LOG_LOGFMT && is_bare(value)))
        for (size_t i = 0; i < value.len; i++)
            put(l, (char)value.data[i]);
    else
        put_quoted(l, value);
}

const char *vv_kv_text(const vv_kv *kv, char number[VV_KV_NUMBER_MAX])
{
    switch (kv->type) {
    case VV_KV_STR:
        return kv->v.str == NULL ? "" : kv->v.str;
    case VV_KV_INT:
        (void)snprintf(number, VV_KV_NUMBER_MAX, "%" PRId64, kv->v.i);
        break;
    case VV_KV_UINT:
        (void)snprintf(number, VV_KV_NUMBER_MAX, "%" PRIu64, kv->v.u);
        break;
    case VV_KV_FLOAT:
        (void)snprintf(number, VV_KV_NUMBER_MAX, "%.6g", kv->v.f);
        break;
    }
    return number;
}

static void put_kv(line *l, vv_log_form form, const vv_kv *kv)
{
    char number[VV_KV_NUMBER_MAX] = "";
    put_pair(l, form, kv->key, vv_slice_str(vv_kv_text(kv, number)), kv->type != VV_KV_STR);
}

/* RFC 3339 in UTC with milliseconds. */
void vv_log_time(int64_t wall_ns, char out[VV_LOG_TIME_MAX])
{
    int64_t ms = wall_ns / VV_NS_PER_MS;
    int64_t days = ms / 86400000;
    int64_t rest = ms % 86400000;
    const vv_civil date = vv_civil_of_days(days);
    (void)snprintf(out, VV_LOG_TIME_MAX,
                   "%04" PRId64 "-%02" PRId64 "-%02" PRId64 "T%02" PRId64 ":%02" PRId64
                   ":%02" PRId64 ".%03" PRId64 "Z",
                   date.year, date.month, date.day, rest / 3600000, rest / 60000 % 60,
                   rest / 1000 % 60, rest % 1000);
}

size_t vv_log_format(const vv_log_record *r, vv_log_form form, char *out)
{
    line l = {.text = out};
    if (r->wall_ns != 0) {
        char text[VV_LOG_TIME_MAX];
        vv_log_time(r->wall_ns, text);
        put_pair(&l, form, "ts", vv_slice_str(text), false);
    }
    put_pair(&l, form, "level", vv_slice_str(vv_log_level_name(r->level)), false);
    put_pair(&l, form, "module", vv_slice_str(r->module), false);
    put_pair(&l, form, "msg", vv_slice_str(r->msg), false);
    for (size_t i = 0; i < r->count; i++)
        put_kv(&l, form, &r->kvs[i]);
    if (form == VV_LOG_JSON)
        put(&l, '}');
    l.text[l.len++] = '\n';
    return l.len;
}

void vv_log_line(vv_log *log, vv_log_level level, const char *module, const char *msg,
                 const vv_kv *kvs, size_t count)
{
    if (!vv_log_wants(log, level, module))
        return;
    const vv_log_record r = {.wall_ns = log->clock == NULL ? 0 : vv_clock_wall(log->clock),
                             .level = level,
                             .module = module,
                             .msg = msg,
                             .kvs = kvs,
                             .count = count};
    if (log->record != NULL) {
        log->record(log->ctx, &r);
        return;
    }
    char text[VV_LOG_LINE_MAX];
    size_t len = vv_log_format(&r, log->form, text);
    vv_mutex_lock(&log->lock);
    log->write(log->ctx, text, len);
    vv_mutex_unlock(&log->lock);
}

/* ---- levels of modules --------------------------------------------------------------------- */

static bool is_module(vv_slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((s.data[i] < 'a' || s.data[i] > 'z') && (s.data[i] < '0' || s.data[i] > '9') &&
            s.data[i] != '_')
            return false;
    return s.len > 0 && s.len < VV_LOG_MODULE_MAX;
}

static bool find_level(vv_slice name, vv_log_level *out)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++)
        if (vv_slice_eq(name, vv_slice_str(level_names[i]))) {
            *out = (vv_log_level)i;
            return true;
        }
    return false;
}

static vv_status read_rule(vv_slice part, vv_log_rules *out, vv_error *err)
{
    const uint8_t *eq = memchr(part.data, '=', part.len);
    size_t name_len = eq == NULL ? 0 : (size_t)(eq - part.data);
    vv_slice name = vv_slice_of(part.data, name_len);
    vv_log_level level;
    if (!is_module(name))
        return vv_fail(err, VV_INVALID, "'%.*s' is not module=level, as wal=debug",
                       (int)vv_min_u64(part.len, 60), (const char *)part.data);
    if (!find_level(vv_slice_of(eq + 1, part.len - name_len - 1), &level))
        return vv_fail(err, VV_INVALID, "'%.*s': the level is none of: error, warn, info, debug",
                       (int)vv_min_u64(part.len, 60), (const char *)part.data);
    for (size_t i = 0; i < out->count; i++)
        if (vv_slice_eq(name, vv_slice_str(out->rule[i].module)))
            return vv_fail(err, VV_INVALID, "module '%s' stands a second time",
                           out->rule[i].module);
    if (out->count == VV_LOG_RULES_MAX)
        return vv_fail(err, VV_INVALID, "over %u modules", VV_LOG_RULES_MAX);
    vv_log_rule *r = &out->rule[out->count++];
    memcpy(r->module, name.data, name.len);
    r->module[name.len] = '\0';
    r->level = level;
    return VV_OK;
}

vv_status vv_log_rules_parse(const char *text, vv_log_rules *out, vv_error *err)
{
    out->count = 0;
    for (const char *at = text;;) {
        at += strspn(at, ", \t");
        if (*at == '\0')
            return VV_OK;
        size_t len = strcspn(at, ", \t");
        vv_status st = read_rule(vv_slice_of(at, len), out, err);
        if (st != VV_OK)
            return st;
        at += len;
    }
}
