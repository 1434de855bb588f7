/*
 * config_nats.c - what the nats keys must be together. What only libnats can tell is found when it
 * is asked (svc_nats_check).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "feeds/feed_nats.h"
#include "server/config.h"

#define NKEY_LEN 56u /* of a public key */

static bool is_name(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        bool is_word =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        if (!is_word && (i == 0 || (c != '-' && c != '.')))
            return false;
    }
    return len > 0 && len <= VV_NAME_MAX;
}

vv_status config_nats_table(const config *c, char tenant[VV_NAME_MAX + 1],
                            char table[VV_NAME_MAX + 1], vv_error *err)
{
    static const char suffix[] = "-dead"; /* of the other table's name */
    const char *text = c->nats_table;
    const char *slash = strchr(text, '/');
    size_t tenant_len = slash == NULL ? 0 : (size_t)(slash - text);
    const char *rest = slash == NULL ? "" : slash + 1;
    size_t table_len = strlen(rest);
    if (!is_name(text, tenant_len) || !is_name(rest, table_len) ||
        table_len + sizeof suffix - 1 > VV_NAME_MAX)
        return vv_fail(err, VV_INVALID,
                       "nats.table: '%.100s' is not tenant/table, such as default/sensors", text);
    memcpy(tenant, text, tenant_len);
    tenant[tenant_len] = '\0';
    memcpy(table, rest, table_len + 1);
    return VV_OK;
}

/* A stream or a consumer is one token of a subject. */
static vv_status check_token(const char *key, const char *text, vv_error *err)
{
    if (text[0] != '\0' && strlen(text) <= CONFIG_NATS_NAME_MAX &&
        strpbrk(text, " \t.*>/\\") == NULL)
        return VV_OK;
    return vv_fail(err, VV_INVALID,
                   "%s: '%.80s' is no name: 1 to %u bytes without spaces, '.', '*', '>' or slashes",
                   key, text, CONFIG_NATS_NAME_MAX);
}

/* One of the servers: [scheme://][user[:password]@]host[:port]. It is not repeated in the refusal,
 * for it may hold a password. */
static bool is_server(const char *text, size_t len)
{
    char copy[CONFIG_TEXT_MAX];
    memcpy(copy, text, len);
    copy[len] = '\0';
    char *scheme = strstr(copy, "://"), *host = scheme == NULL ? copy : scheme + 3;
    char *at = strrchr(host, '@');
    if (scheme != NULL) {
        *scheme = '\0';
        if (strcmp(copy, "nats") != 0 && strcmp(copy, "tls") != 0)
            return false;
    }
    host = at == NULL ? host : at + 1;
    char *end = host[0] == '[' ? strchr(host, ']') : host + strcspn(host, ":");
    if (end == NULL || end == host)
        return false;
    end += *end == ']';
    size_t digits = *end == ':' ? strspn(end + 1, "0123456789") : 0;
    if (*end == '\0')
        return true;
    return *end == ':' && digits >= 1 && digits <= 5 && end[1 + digits] == '\0' &&
           strtoul(end + 1, NULL, 10) - 1 < 65535;
}

static vv_status check_url(const char *url, vv_error *err)
{
    unsigned count = 0;
    for (const char *p = url; *p != '\0';) {
        p += strspn(p, ", ");
        size_t len = strcspn(p, ", ");
        if (len > 0 && !is_server(p, len))
            return vv_fail(err, VV_INVALID,
                           "nats.url: server %u is not of the form nats://host:port or "
                           "tls://host:port",
                           count + 1);
        count += len > 0;
        p += len;
    }
    if (count >= 1 && count <= FEED_NATS_SERVERS_MAX)
        return VV_OK;
    return vv_fail(err, VV_INVALID, "nats.url: %u servers, 1 to %u are taken", count,
                   FEED_NATS_SERVERS_MAX);
}

static vv_status check_file(const char *key, const char *path, vv_error *err)
{
    if (path[0] == '\0' || access(path, R_OK) == 0)
        return VV_OK;
    return vv_fail_sys(err, VV_INVALID, errno, "%s: %.120s", key, path);
}

static bool is_empty(const char *text)
{
    return text[0] == '\0';
}

static vv_status check_identity(const config *c, vv_error *err)
{
    vv_status st = check_file("nats.credentials", c->nats_credentials, err);
    if (st == VV_OK)
        st = check_file("nats.nkey_seed", c->nats_nkey_seed, err);
    if (st != VV_OK)
        return st;
    if (is_empty(c->nats_nkey) != is_empty(c->nats_nkey_seed))
        return vv_fail(err, VV_INVALID, "nats.nkey: it and nats.nkey_seed need each other");
    if (is_empty(c->nats_nkey))
        return VV_OK;
    if (!is_empty(c->nats_credentials))
        return vv_fail(err, VV_INVALID, "nats.nkey: with nats.credentials: a user has one of them");
    /* What else stands there may be a seed: it is not repeated. */
    if (c->nats_nkey[0] != 'U' || strlen(c->nats_nkey) != NKEY_LEN)
        return vv_fail(err, VV_INVALID,
                       "nats.nkey: it is no public key of a user: %u letters and digits "
                       "that begin with U",
                       NKEY_LEN);
    return VV_OK;
}

static vv_status check_tls(const config *c, vv_error *err)
{
    vv_status st = check_file("nats.tls_ca", c->nats_tls_ca, err);
    if (st == VV_OK)
        st = check_file("nats.tls_cert", c->nats_tls_cert, err);
    if (st == VV_OK)
        st = check_file("nats.tls_key", c->nats_tls_key, err);
    if (st == VV_OK && is_empty(c->nats_tls_cert) != is_empty(c->nats_tls_key))
        st = vv_fail(err, VV_INVALID, "nats.tls_cert: it and nats.tls_key need each other");
    return st;
}

vv_status config_check_nats(const config *c, vv_error *err)
{
    char tenant[VV_NAME_MAX + 1], table[VV_NAME_MAX + 1];
    if (!c->nats_enabled)
        return VV_OK;
    vv_status st = config_nats_table(c, tenant, table, err);
    if (st == VV_OK)
        st = check_url(c->nats_url, err);
    if (st == VV_OK)
        st = check_token("nats.stream", c->nats_stream, err);
    if (st == VV_OK)
        st = check_token("nats.durable", c->nats_durable, err);
    if (st == VV_OK && (c->nats_subject[0] == '\0' || strpbrk(c->nats_subject, " \t") != NULL))
        st = vv_fail(err, VV_INVALID, "nats.subject: '%.80s' is no subject, such as enterprise.>",
                     c->nats_subject);
    if (st == VV_OK)
        st = check_identity(c, err);
    return st == VV_OK ? check_tls(c, err) : st;
}
