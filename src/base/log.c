#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/util.h"

#define LOG_LINE_MAX 4096u /* longer lines lose their tail, never their newline */

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void vv_log_init(vv_log *log, vv_log_level level, vv_log_form form, vv_clock *clock,
                 void (*write)(void *ctx, const char *line, size_t len), void *ctx)
{
    *log = (vv_log){.level = level, .form = form, .clock = clock, .write = write, .ctx = ctx};
    vv_mutex_init(&log->lock, VV_RANK_LEAF);
}

void vv_log_fini(vv_log *log)
{
    vv_mutex_fini(&log->lock);
}

/* A fixed line buffer: logging must work when memory is short. */
typedef struct line {
    char text[LOG_LINE_MAX];
    size_t len;
} line;

static void put(line *l, char c)
{
    if (l->len < sizeof l->text - 1) /* keep room for the newline */
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

static void put_kv(line *l, vv_log_form form, const vv_kv *kv)
{
    char num[40];
    switch (kv->type) {
    case VV_KV_STR:
        put_pair(l, form, kv->key, vv_slice_str(kv->v.str == NULL ? "" : kv->v.str), false);
        return;
    case VV_KV_INT:
        (void)snprintf(num, sizeof num, "%" PRId64, kv->v.i);
        break;
    case VV_KV_UINT:
        (void)snprintf(num, sizeof num, "%" PRIu64, kv->v.u);
        break;
    case VV_KV_FLOAT:
        (void)snprintf(num, sizeof num, "%.6g", kv->v.f);
        break;
    }
    put_pair(l, form, kv->key, vv_slice_str(num), true);
}

/* RFC 3339 in UTC with milliseconds, computed here: gmtime_r takes a lock for the zone. */
static void put_time(line *l, vv_log_form form, int64_t wall_ns)
{
    int64_t ms = wall_ns / VV_NS_PER_MS;
    int64_t days = ms / 86400000;
    int64_t rest = ms % 86400000;
    /* Civil date from days since 1970: Howard Hinnant's algorithm (chrono-compatible, public). */
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    int64_t day = doy - (153 * mp + 2) / 5 + 1;
    int64_t month = mp < 10 ? mp + 3 : mp - 9;
    int64_t year = yoe + era * 400 + (month <= 2);
    char text[64];
    (void)snprintf(text, sizeof text,
                   "%04" PRId64 "-%02" PRId64 "-%02" PRId64 "T%02" PRId64 ":%02" PRId64
                   ":%02" PRId64 ".%03" PRId64 "Z",
                   year, month, day, rest / 3600000, rest / 60000 % 60, rest / 1000 % 60,
                   rest % 1000);
    put_pair(l, form, "ts", vv_slice_str(text), false);
}

void vv_log_line(vv_log *log, vv_log_level level, const char *module, const char *msg,
                 const vv_kv *kvs, size_t count)
{
    if (log == NULL || level > log->level)
        return;
    line l;
    l.len = 0;
    if (log->clock != NULL)
        put_time(&l, log->form, vv_clock_wall(log->clock));
    put_pair(&l, log->form, "level", vv_slice_str(level_names[level]), false);
    put_pair(&l, log->form, "module", vv_slice_str(module), false);
    put_pair(&l, log->form, "msg", vv_slice_str(msg), false);
    for (size_t i = 0; i < count; i++)
        put_kv(&l, log->form, &kvs[i]);
    if (log->form == VV_LOG_JSON)
        put(&l, '}');
    l.text[l.len++] = '\n';
    vv_mutex_lock(&log->lock);
    log->write(log->ctx, l.text, l.len);
    vv_mutex_unlock(&log->lock);
}
