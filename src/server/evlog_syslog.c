/*
 * evlog_syslog.c - RFC 5424 over the socket of the local service:
 *
 *     <30>1 2026-05-06T07:08:09.123Z host varved 4711 wal [varve@32473 entries="7"] recovered
 *
 * The module is the MSGID, the values are one structured element. 32473 is the number that RFC 5612
 * keeps for those who have none of their own.
 */
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "server/evlog_socket.h"

#define PARAM_NAME_MAX 32u

typedef struct writer {
    char *out;
    size_t len;
} writer;

static void put(writer *w, char c)
{
    if (w->len < EVLOG_DATAGRAM_MAX)
        w->out[w->len++] = c;
}

static void put_text(writer *w, const char *text)
{
    while (*text != '\0')
        put(w, *text++);
}

/* A field of the head: printable, without spaces, at most max bytes; "-" when nothing is left. */
static void put_word(writer *w, const char *text, size_t max)
{
    size_t n = 0;
    put(w, ' ');
    for (; *text != '\0' && n < max; text++)
        if (*text > ' ' && *text < 0x7f) {
            put(w, *text);
            n++;
        }
    if (n == 0)
        put(w, '-');
}

static void put_name(writer *w, const char *key)
{
    size_t n = 0;
    put(w, ' ');
    for (; *key != '\0' && n < PARAM_NAME_MAX; key++, n++) {
        bool is_good = *key > ' ' && *key < 0x7f && strchr("=]\"", *key) == NULL;
        put(w, (char)(is_good ? *key : '_'));
    }
    if (n == 0)
        put(w, '_');
}

/* Control bytes would break lines of those who write them to files. */
static void put_byte(writer *w, char c)
{
    uint8_t b = (uint8_t)c;
    put(w, (char)(b < 0x20 || b == 0x7f ? ' ' : c));
}

static void put_value(writer *w, const char *text)
{
    put_text(w, "=\"");
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\' || *text == ']')
            put(w, '\\');
        put_byte(w, *text);
    }
    put(w, '"');
}

static void put_kv(writer *w, const vv_kv *kv)
{
    char number[VV_KV_NUMBER_MAX];
    put_name(w, kv->key);
    put_value(w, vv_kv_text(kv, number));
}

/* error 3, warning 4, informational 6, debug 7 */
static unsigned severity(vv_log_level level)
{
    static const unsigned severities[] = {3, 4, 6, 7};
    return (size_t)level < ARRAY_LEN(severities) ? severities[level] : 6;
}

size_t evlog_syslog_format(const vv_log_record *r, const evlog_origin *from, unsigned facility,
                           char *out)
{
    writer w = {.out = out};
    char head[48];
    char time[VV_LOG_TIME_MAX] = "-";
    if (r->wall_ns != 0)
        vv_log_time(r->wall_ns, time);
    (void)snprintf(head, sizeof head, "<%u>1 ", facility * 8 + severity(r->level));
    put_text(&w, head);
    put_text(&w, time);
    put_word(&w, from->host, 255);
    put_word(&w, from->app, 48);
    (void)snprintf(head, sizeof head, "%ld", from->pid);
    put_word(&w, head, 128);
    put_word(&w, r->module, 32);
    put(&w, ' ');
    if (r->count == 0)
        put(&w, '-');
    if (r->count > 0)
        put_text(&w, "[varve@32473");
    for (size_t i = 0; i < r->count; i++)
        put_kv(&w, &r->kvs[i]);
    if (r->count > 0)
        put(&w, ']');
    put(&w, ' ');
    for (const char *p = r->msg; *p != '\0'; p++)
        put_byte(&w, *p);
    return w.len;
}

vv_status evlog_syslog_create(const evlog_options *opt, evlog_sink **out, vv_error *err)
{
    return evlog_socket_create(opt->syslog_socket, evlog_syslog_format, opt->syslog_facility, out,
                               err);
}
