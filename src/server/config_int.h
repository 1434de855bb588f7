/*
 * config_int.h - the key table, shared by config.c and the YAML reader.
 */
#ifndef VARVE_SERVER_CONFIG_INT_H
#define VARVE_SERVER_CONFIG_INT_H

#include "base/error.h"
#include "server/config.h"

typedef enum config_type {
    CONFIG_TEXT,
    CONFIG_BOOL,
    CONFIG_CHOICE,
    CONFIG_INT,
    CONFIG_SIZE,
    CONFIG_DURATION, /* kept as nanoseconds */
    CONFIG_MS,       /* kept as milliseconds, a plain number is of them */
    CONFIG_SECRET,   /* a text that is not printed */
} config_type;

typedef struct config_choice {
    const char *name; /* NULL ends the list */
    uint64_t value;
} config_choice;

typedef struct config_key {
    const char *name; /* "section.key" */
    config_type type;
    size_t offset; /* of the field in config */
    size_t size;
    const char *initial;
    uint64_t min;
    uint64_t max;
    const config_choice *choices;
    const char *doc;
} config_key;

extern const config_key config_keys[];
extern const size_t config_key_count;

/** NULL when there is no such key. */
const config_key *config_find(const char *name);
/** The valid key with the smallest edit distance. */
const char *config_nearest(const char *name);
/** Parse and store; the sentence starts with the key's name. */
VV_MUST_CHECK vv_status config_store(config *c, const config_key *key, const char *text,
                                     vv_error *err);

/* ---- config_tier.c ---- */

/* http:// or https://, a host, and no name or password before it: they would be in logs. */
bool config_is_url(const char *text);
/* For a refusal. */
const char *config_url_shown(const char *text);

#endif
