/*
 * config_yaml.c - reads the two-level YAML of a configuration with libyaml's events, which carry
 * the line and column that every complaint names.
 *
 *   stream -> document -> mapping { section: mapping { key: scalar ... } ... }
 *
 * Anything else (lists, anchors, a third level, a second document, a repeated key) is refused.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/util.h"
#include "server/config_int.h"

#define KEYS_MAX 256u

typedef struct reader {
    yaml_parser_t parser;
    yaml_event_t event;
    bool have_event;
    const char *name;
    config *c;
    bool seen[KEYS_MAX]; /* by row of config_keys: a key may stand once */
    vv_error *err;
} reader;

static vv_status refuse(reader *r, const char *what)
{
    return vv_fail(r->err, VV_INVALID, "%s:%zu:%zu: %s", r->name, r->event.start_mark.line + 1,
                   r->event.start_mark.column + 1, what);
}

static vv_status next_event(reader *r)
{
    if (r->have_event)
        yaml_event_delete(&r->event);
    r->have_event = false;
    if (!yaml_parser_parse(&r->parser, &r->event))
        return vv_fail(r->err, VV_INVALID, "%s:%zu:%zu: not YAML: %s", r->name,
                       r->parser.problem_mark.line + 1, r->parser.problem_mark.column + 1,
                       r->parser.problem == NULL ? "unreadable" : r->parser.problem);
    r->have_event = true;
    return VV_OK;
}

/* The text of the scalar at hand, without NUL bytes inside. */
static vv_status scalar_text(reader *r, char *out, size_t out_size)
{
    if (r->event.type != YAML_SCALAR_EVENT)
        return refuse(r, "expected a plain value here");
    const char *text = (const char *)r->event.data.scalar.value;
    size_t len = r->event.data.scalar.length;
    if (len >= out_size)
        return refuse(r, "this text is too long");
    if (memchr(text, '\0', len) != NULL)
        return refuse(r, "a NUL byte in the text");
    memcpy(out, text, len);
    out[len] = '\0';
    return VV_OK;
}

static vv_status read_key(reader *r, const char *section)
{
    char key_name[64];
    char full[160];
    vv_status st = scalar_text(r, key_name, sizeof key_name);
    if (st != VV_OK)
        return st;
    (void)snprintf(full, sizeof full, "%s.%s", section, key_name);
    const config_key *key = config_find(full);
    if (key == NULL) {
        char what[256];
        (void)snprintf(what, sizeof what, "unknown key '%s'; did you mean '%s'?", full,
                       config_nearest(full));
        return refuse(r, what);
    }
    size_t row = (size_t)(key - config_keys);
    if (r->seen[row])
        return refuse(r, "this key stands a second time");
    r->seen[row] = true;

    char value[CONFIG_LONG_MAX];
    st = next_event(r);
    if (st == VV_OK)
        st = scalar_text(r, value, sizeof value);
    if (st != VV_OK)
        return st;
    vv_error why;
    st = config_store(r->c, key, value, &why);
    return st == VV_OK ? st : refuse(r, why.msg);
}

static bool is_section(const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < config_key_count; i++)
        if (strncmp(config_keys[i].name, name, len) == 0 && config_keys[i].name[len] == '.')
            return true;
    return false;
}

static vv_status read_section(reader *r)
{
    char section[64];
    vv_status st = scalar_text(r, section, sizeof section);
    if (st != VV_OK)
        return st;
    if (!is_section(section)) {
        char what[160];
        (void)snprintf(what, sizeof what, "unknown section '%s'; did you mean a key like '%s'?",
                       section, config_nearest(section));
        return refuse(r, what);
    }
    st = next_event(r);
    if (st != VV_OK)
        return st;
    /* "server:" with nothing under it is an empty scalar: no key is set, nothing is wrong. */
    if (r->event.type == YAML_SCALAR_EVENT && r->event.data.scalar.length == 0)
        return VV_OK;
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return refuse(r, "expected the keys of the section, indented below it");
    for (;;) {
        st = next_event(r);
        if (st != VV_OK || r->event.type == YAML_MAPPING_END_EVENT)
            return st;
        st = read_key(r, section);
        if (st != VV_OK)
            return st;
    }
}

static vv_status read_document(reader *r)
{
    vv_status st;
    bool any = false;
    for (;;) {
        st = next_event(r);
        if (st != VV_OK)
            return st;
        switch (r->event.type) {
        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_END_EVENT:
            continue;
        case YAML_STREAM_END_EVENT:
            return VV_OK;
        case YAML_DOCUMENT_START_EVENT:
            if (any)
                return refuse(r, "a second document");
            any = true;
            continue;
        case YAML_SCALAR_EVENT:
            if (r->event.data.scalar.length == 0)
                continue; /* a file of comments alone */
            return refuse(r, "expected sections such as 'server:'");
        case YAML_MAPPING_START_EVENT:
            for (;;) {
                st = next_event(r);
                if (st != VV_OK)
                    return st;
                if (r->event.type == YAML_MAPPING_END_EVENT)
                    break;
                st = read_section(r);
                if (st != VV_OK)
                    return st;
            }
            continue;
        default:
            return refuse(r, "expected sections such as 'server:'");
        }
    }
}

vv_status config_load_yaml(config *c, const char *name, vv_slice text, vv_error *err)
{
    assert(config_key_count <= KEYS_MAX);
    reader r = {.name = name, .c = c, .err = err};
    if (!yaml_parser_initialize(&r.parser))
        return vv_fail(err, VV_NO_MEMORY, "%s: YAML parser", name);
    yaml_parser_set_input_string(&r.parser, text.data, text.len);
    vv_status st = read_document(&r);
    if (r.have_event)
        yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    return st;
}
