/*
 * cmd.h - the CLI's own small frame: a table of commands, each with a table of options, from which
 * parsing, --help and the shell completions come.
 */
#ifndef VARVE_CMD_VARVE_CMD_H
#define VARVE_CMD_VARVE_CMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "varve/slice.h"
#include "varve/status.h"

/* Exit codes; docs/man/varve.1 lists them. */
enum {
    CMD_OK = 0,
    CMD_ERROR = 1,       /* it was tried and failed */
    CMD_USAGE = 2,       /* it was not tried: a wrong option, argument or input form */
    CMD_UNAVAILABLE = 3, /* nobody answers there, or not in time */
    CMD_DENIED = 4,      /* the server wants other credentials */
    CMD_NOT_FOUND = 5,   /* the key, record or table is not there */
};

typedef enum cmd_format { CMD_TABLE, CMD_JSON, CMD_CSV } cmd_format;

struct tier_args; /* tier_store.h */

/* Options that commands share. */
typedef struct cmd_common {
    const char *server; /* "HOST:PORT" */
    const char *data;   /* a directory; NULL: talk to the server */
    const char *tenant;
    const char *table; /* NULL: the command's default */
    const char *output;
    cmd_format format;
    int64_t timeout_ns;
    bool archive_log; /* in data: log and bulk loads are kept for a backup; set by a command */
    const struct tier_args *tier; /* of data: its object store, set by a command; NULL: none */
    bool help;
} cmd_common;

typedef enum cmd_opt_type {
    CMD_FLAG,     /* bool */
    CMD_TEXT,     /* const char * */
    CMD_CHOICE,   /* const char *, one of meta "a|b|c" */
    CMD_LIST,     /* cmd_list: may be repeated */
    CMD_COUNT,    /* uint64_t */
    CMD_SIZE,     /* uint64_t bytes: 100, 64K, 1M, 2G */
    CMD_DURATION, /* int64_t nanoseconds: 10 (seconds), 1.5s, 200ms, 5m, 2h, 1d */
} cmd_opt_type;

#define CMD_LIST_MAX 64
typedef struct cmd_list {
    const char *item[CMD_LIST_MAX];
    size_t count;
} cmd_list;

typedef struct cmd_opt {
    const char *name;
    char letter; /* 0: none */
    cmd_opt_type type;
    size_t offset;    /* in the command's arguments */
    const char *meta; /* what --help calls the value */
    const char *help;
} cmd_opt;

/* Which common options a command takes. */
enum {
    CMD_WITH_SERVER = 1,
    CMD_WITH_DATA = 2,
    CMD_WITH_TENANT = 4,
    CMD_WITH_TABLE = 8,
    CMD_WITH_OUTPUT = 16,
    CMD_WITH_STORE = CMD_WITH_SERVER | CMD_WITH_DATA | CMD_WITH_TENANT | CMD_WITH_OUTPUT,
};

typedef struct cmd_command cmd_command;

typedef struct cmd_ctx {
    cmd_common common;
    const cmd_command *command;
    uint64_t given; /* bit i: option i of cmd_option_at was on the command line */
} cmd_ctx;

struct cmd_command {
    const char *name;
    const char *summary;  /* one line of `varve --help` */
    const char *synopsis; /* what follows "varve NAME [options] " */
    const char *details;  /* paragraphs of --help, may be NULL */
    unsigned with;
    const cmd_opt *opts;
    size_t opt_count;
    size_t args_size;         /* of the struct the offsets point into; zeroed, then filled */
    const char *const *words; /* first positional words, for completion; NULL-terminated or NULL */
    int (*run)(cmd_ctx *ctx, const void *args, int argc, char **argv);
};

/** Every command, in the order of --help. */
extern const cmd_command *const cmd_commands[];
extern const size_t cmd_command_count;

/** Options of a command: those of its own, then the common ones it takes. index from 0; NULL at the
 * end. *common says which kind it is. */
const cmd_opt *cmd_option_at(const cmd_command *command, size_t index, bool *common);

/** Parse and run. Returns the exit code. */
int cmd_run(const cmd_command *command, int argc, char **argv);
void cmd_help(const cmd_command *command, FILE *to);

/** "varve put: sentence" on standard error; returns the exit code that belongs to the status. */
int cmd_fail(const cmd_ctx *ctx, vv_status st, const vv_error *err);
/** Whether an option was on the command line, whatever its value. */
bool cmd_given(const cmd_ctx *ctx, const char *name);
/** A wrong argument: the sentence, where to read more, CMD_USAGE. */
int cmd_usage(const cmd_ctx *ctx, const char *fmt, ...) VV_PRINTF(2, 3);

/** Which of the command's words this is. -1, and the sentence with the nearest was printed: none.
 */
int cmd_word_of(const cmd_ctx *ctx, const char *word);

/** Where the command stands in argv: behind common options with their values. argc: nowhere. */
int cmd_word_index(int argc, char **argv);

bool cmd_parse_count(const char *text, uint64_t *out);
bool cmd_parse_size(const char *text, uint64_t *out);
bool cmd_parse_duration(const char *text, int64_t *out_ns);

extern const cmd_command cmd_put, cmd_get, cmd_del, cmd_scan, cmd_import, cmd_import_eloqstore,
    cmd_query, cmd_status, cmd_compact, cmd_table, cmd_series, cmd_stream, cmd_archive, cmd_check,
    cmd_backup, cmd_dump, cmd_bench, cmd_completion, cmd_version;

#endif
