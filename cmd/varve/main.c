/*
 * varve - the command line of Varve: talks to a server or opens a store that no server has open.
 *
 *     varve [common options] COMMAND [options] [arguments]
 *
 * Exit codes: 0 done, 1 failed, 2 bad usage, 3 nobody answers, 4 other credentials are wanted,
 * 5 not there.
 */
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "cmd.h"

const cmd_command *const cmd_commands[] = {
    &cmd_put,     &cmd_get,    &cmd_del,     &cmd_scan,  &cmd_import, &cmd_import_eloqstore,
    &cmd_query,   &cmd_status, &cmd_compact, &cmd_table, &cmd_series, &cmd_stream,
    &cmd_archive, &cmd_check,  &cmd_backup,  &cmd_dump,  &cmd_bench,  &cmd_completion,
    &cmd_version,
};
const size_t cmd_command_count = ARRAY_LEN(cmd_commands);

static void usage(FILE *to)
{
    (void)fputs("usage: varve COMMAND [options] [arguments]\n\n", to);
    for (size_t i = 0; i < cmd_command_count; i++)
        (void)fprintf(to, "  %-17s %s\n", cmd_commands[i]->name, cmd_commands[i]->summary);
    (void)fputs(
        "\n`varve COMMAND --help` explains a command. Without --data a command talks to the\n"
        "server at --server HOST:PORT, by default $VARVE_SERVER or 127.0.0.1:8080.\n\n"
        "exit codes: 0 done, 1 failed, 2 bad usage, 3 nobody answers, 4 other credentials\n"
        "are wanted, 5 the key, record or table is not there\n",
        to);
}

static const cmd_command *find(const char *name)
{
    for (size_t i = 0; i < cmd_command_count; i++)
        if (strcmp(cmd_commands[i]->name, name) == 0)
            return cmd_commands[i];
    return NULL;
}

#define WORD_MAX 20u

/* Insertions, deletions, replacements and swaps of neighbours that make one word the other. */
static size_t distance(const char *a, const char *b)
{
    size_t d[WORD_MAX + 1][WORD_MAX + 1];
    size_t n = strlen(a);
    size_t m = strlen(b);
    if (n > WORD_MAX || m > WORD_MAX)
        return WORD_MAX;
    for (size_t i = 0; i <= n; i++) {
        for (size_t j = 0; j <= m; j++) {
            size_t best = i + j;
            if (i > 0 && j > 0) {
                best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
                best = vv_min_u64(best, vv_min_u64(d[i - 1][j], d[i][j - 1]) + 1);
            }
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = vv_min_u64(best, d[i - 2][j - 2] + 1);
            d[i][j] = best;
        }
    }
    return d[n][m];
}

static const cmd_command *nearest(const char *name)
{
    const cmd_command *best = NULL;
    size_t least = 3;
    for (size_t i = 0; i < cmd_command_count; i++) {
        size_t far = distance(name, cmd_commands[i]->name);
        if (far < least) {
            best = cmd_commands[i];
            least = far;
        }
    }
    return best;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return CMD_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        const cmd_command *about = argc > 2 ? find(argv[2]) : NULL;
        if (about != NULL)
            cmd_help(about, stdout);
        else
            usage(stdout);
        return CMD_OK;
    }
    /* varve --server HOST:PORT get KEY: the command goes in front of what came before it. */
    int at = strcmp(argv[1], "--version") == 0 ? 1 : cmd_word_index(argc, argv);
    if (at == argc) {
        (void)fprintf(stderr, "varve: no command behind '%s'; see varve --help\n", argv[1]);
        return CMD_USAGE;
    }
    char *word = argv[at];
    memmove(argv + 2, argv + 1, (size_t)(at - 1) * sizeof *argv);
    argv[1] = word;
    const char *name = strcmp(word, "--version") == 0 ? "version" : word;
    const cmd_command *command = find(name);
    if (command == NULL) {
        const cmd_command *guess = nearest(name);
        (void)fprintf(stderr, "varve: there is no command '%s'%s%s%s; see varve --help\n", name,
                      guess == NULL ? "" : ", did you mean '", guess == NULL ? "" : guess->name,
                      guess == NULL ? "" : "'?");
        return CMD_USAGE;
    }
    return cmd_run(command, argc - 1, argv + 1);
}
