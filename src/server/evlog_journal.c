/*
 * evlog_journal.c - the native protocol of systemd's journal, without its library: a datagram of
 * fields, each "NAME=text\n", or where the text has a newline
 *
 *     NAME \n | u64 length, little-endian | text | \n
 *
 * The values become VARVE_<KEY>, so that `journalctl VARVE_MODULE=object` finds them.
 */
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/util.h"
#include "server/evlog_socket.h"

#define FIELD_NAME_MAX 64u

typedef struct writer {
    char *out;
    size_t len;
} writer;

static char *put_bytes(char *at, vv_slice bytes)
{
    if (bytes.len > 0)
        memcpy(at, bytes.data, bytes.len);
    return at + bytes.len;
}

/* A whole field or none of it: half of one would make the datagram unreadable. */
static void put_field(writer *w, const char *name, const char *text)
{
    vv_slice key = vv_slice_str(name);
    vv_slice value = vv_slice_str(text);
    bool has_newline = strchr(text, '\n') != NULL;
    if (key.len + value.len + 16 > EVLOG_DATAGRAM_MAX - w->len)
        return;
    char *at = put_bytes(w->out + w->len, key);
    *at++ = has_newline ? '\n' : '=';
    if (has_newline) {
        vv_put_le64((uint8_t *)at, value.len);
        at += 8;
    }
    at = put_bytes(at, value);
    *at++ = '\n';
    w->len = (size_t)(at - w->out);
}

/* Capitals, digits and '_' are what field names have. */
static void field_name(const char *key, char out[FIELD_NAME_MAX + 1])
{
    size_t n = 0;
    for (const char *p = "VARVE_"; *p != '\0'; p++)
        out[n++] = *p;
    for (; *key != '\0' && n < FIELD_NAME_MAX; key++) {
        char c = *key;
        if (c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        bool is_good = (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        out[n++] = (char)(is_good ? c : '_');
    }
    out[n] = '\0';
}

static void put_kv(writer *w, const vv_kv *kv)
{
    char name[FIELD_NAME_MAX + 1];
    char number[VV_KV_NUMBER_MAX];
    field_name(kv->key, name);
    put_field(w, name, vv_kv_text(kv, number));
}

size_t evlog_journal_format(const vv_log_record *r, const evlog_origin *from, char *out)
{
    static const char *const priorities[] = {"3", "4", "6", "7"};
    writer w = {.out = out};
    put_field(&w, "MESSAGE", r->msg);
    put_field(&w, "PRIORITY",
              (size_t)r->level < ARRAY_LEN(priorities) ? priorities[r->level] : "6");
    put_field(&w, "SYSLOG_IDENTIFIER", from->app);
    put_field(&w, "VARVE_MODULE", r->module);
    for (size_t i = 0; i < r->count; i++)
        put_kv(&w, &r->kvs[i]);
    return w.len;
}

static size_t format(const vv_log_record *r, const evlog_origin *from, unsigned arg, char *out)
{
    (void)arg;
    return evlog_journal_format(r, from, out);
}

vv_status evlog_journal_create(const evlog_options *opt, evlog_sink **out, vv_error *err)
{
    return evlog_socket_create(opt->journal_socket, format, 0, out, err);
}
