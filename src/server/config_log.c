/*
 * config_log.c - what the log keys must be together.
 */
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/util.h"
#include "server/config.h"
#include "server/config_int.h"
#include "server/evlog.h"

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

/* The next word of a list with commas, without spaces around it. False: there is none. */
static bool next_word(const char **at, vv_slice *out)
{
    const char *p = *at;
    while (is_space(*p) || *p == ',')
        p++;
    if (*p == '\0')
        return false;
    size_t len = strcspn(p, ",");
    *at = p + len;
    while (len > 0 && is_space(p[len - 1]))
        len--;
    *out = vv_slice_of(p, len);
    return true;
}

vv_status config_log_sinks(const config *c, unsigned *out, vv_error *err)
{
    unsigned set = 0;
    vv_slice word;
    for (const char *at = c->log_sinks; next_word(&at, &word);) {
        unsigned kind = 0;
        while (kind < EVLOG_KINDS && !vv_slice_eq(word, vv_slice_str(evlog_kind_name(kind))))
            kind++;
        if (kind == EVLOG_KINDS)
            return vv_fail(err, VV_INVALID,
                           "log.sinks: '%.*s' is none of: stderr, file, syslog, journal, otlp",
                           (int)vv_min_u64(word.len, 60), (const char *)word.data);
        set |= 1u << kind;
    }
    if (set == 0)
        return vv_fail(err, VV_INVALID,
                       "log.sinks: it names none of: stderr, file, syslog, journal, otlp");
    *out = set;
    return VV_OK;
}

static bool has(unsigned set, evlog_kind kind)
{
    return (set & 1u << kind) != 0;
}

static vv_status check_socket(const char *key, const char *path, vv_error *err)
{
    if (path[0] == '/' && strlen(path) < EVLOG_SOCKET_PATH_MAX)
        return VV_OK;
    return vv_fail(err, VV_INVALID, "%s: '%.120s' is no absolute path of less than %u bytes", key,
                   path, EVLOG_SOCKET_PATH_MAX);
}

static vv_status check_otlp(const config *c, vv_error *err)
{
    const char *at = c->log_otlp_endpoint;
    if (!config_is_url(at))
        return vv_fail(err, VV_INVALID,
                       "log.otlp_endpoint: '%.100s' is not such as http://127.0.0.1:4318/v1/logs",
                       config_url_shown(at));
    return VV_OK;
}

vv_status config_check_log(const config *c, vv_error *err)
{
    unsigned sinks = 0;
    vv_log_rules rules;
    vv_status st = vv_log_rules_parse(c->log_levels, &rules, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "log.levels");
    st = config_log_sinks(c, &sinks, err);
    if (st == VV_OK && has(sinks, EVLOG_FILE) && c->log_file[0] == '\0')
        st = vv_fail(err, VV_INVALID, "log.file: log.sinks has file, and there is no path for it");
    if (st == VV_OK && c->log_file[0] != '\0' && c->log_file[strlen(c->log_file) - 1] == '/')
        st = vv_fail(err, VV_INVALID, "log.file: '%.120s' is a directory", c->log_file);
    if (st == VV_OK && has(sinks, EVLOG_SYSLOG))
        st = check_socket("log.syslog_socket", c->log_syslog_socket, err);
    if (st == VV_OK && has(sinks, EVLOG_JOURNAL))
        st = check_socket("log.journal_socket", c->log_journal_socket, err);
    if (st == VV_OK && has(sinks, EVLOG_OTLP))
        st = check_otlp(c, err);
    /* Of pushed metrics too; nothing of it is repeated. */
    char names[EVLOG_HEADERS_MAX][EVLOG_HEADER_MAX];
    size_t count = 0;
    return st == VV_OK ? evlog_headers_parse(c->log_otlp_headers, names, &count, err) : st;
}

vv_status config_log_options(const config *c, evlog_options *out, vv_error *err)
{
    *out = (evlog_options){.level = (vv_log_level)c->log_level,
                           .form = (vv_log_form)c->log_format,
                           .limit_lines = (uint32_t)c->log_rate_limit,
                           .limit_span_ns = c->log_rate_interval_ns,
                           .queue_bytes = c->log_queue_size,
                           .file = c->log_file,
                           .file_size = c->log_file_size,
                           .file_count = (uint32_t)c->log_file_count,
                           .syslog_socket = c->log_syslog_socket,
                           .syslog_facility = (unsigned)c->log_syslog_facility,
                           .journal_socket = c->log_journal_socket,
                           .otlp_endpoint = c->log_otlp_endpoint,
                           .otlp_headers = c->log_otlp_headers,
                           .otlp_ca_file = c->log_otlp_ca_file};
    vv_status st = vv_log_rules_parse(c->log_levels, &out->rules, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "log.levels");
    return config_log_sinks(c, &out->sinks, err);
}
