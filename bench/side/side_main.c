/*
 * side_main.c - one group of rows on one engine: side_ENGINE --dir DIR --group NAME [options].
 *
 * The engine is the adapter it is linked with. bench/side/run.py runs them side by side.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "side_rows.h"

static side_run run;

void side_fail(const char *what, const char *format, ...)
{
    va_list args;
    (void)fflush(stdout);
    fprintf(stderr, "side_%s: %s: ", side_this.name, what);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    _exit(1); /* the engine's own end may wait for ever */
}

static void usage(void)
{
    fprintf(
        stderr,
        "usage: side_%s --dir DIR --group NAME [--keys N] [--value-size BYTES] [--cache BYTES]\n"
        "  [--row-s SECONDS] [--cap-s SECONDS] [--suffix TEXT] [--seed N] [--engine NAME]\n"
        "  [--tune NAME=VALUE,...] | --about\ngroups:\n",
        side_this.name);
    for (unsigned i = 0; i < side_group_count; i++)
        fprintf(stderr, "  %-12s %s\n", side_groups[i].name, side_groups[i].what);
    exit(2);
}

static void about(void)
{
    printf("{\"engine\":\"%s\",\"version\":\"%s\",\"settings\":\"%s\"}\n", side_this.name,
           side_this.version_of != NULL ? side_this.version_of() : side_this.version,
           side_this.settings);
}

typedef struct arguments {
    const char *group;
    uint64_t keys;
    uint64_t value_size;
    uint64_t seed;
} arguments;

static void set_option(arguments *a, const char *name, const char *text)
{
    if (strcmp(name, "--dir") == 0)
        run.setup.dir = text;
    else if (strcmp(name, "--group") == 0)
        a->group = text;
    else if (strcmp(name, "--engine") == 0)
        run.setup.engine = text;
    else if (strcmp(name, "--tune") == 0)
        run.setup.tune = text;
    else if (strcmp(name, "--suffix") == 0)
        run.suffix = text;
    else if (strcmp(name, "--keys") == 0)
        a->keys = strtoull(text, NULL, 10);
    else if (strcmp(name, "--value-size") == 0)
        a->value_size = strtoull(text, NULL, 10);
    else if (strcmp(name, "--seed") == 0)
        a->seed = strtoull(text, NULL, 10);
    else if (strcmp(name, "--cache") == 0)
        run.setup.cache_size = strtoull(text, NULL, 10);
    else if (strcmp(name, "--row-s") == 0)
        run.row_s = strtod(text, NULL);
    else if (strcmp(name, "--cap-s") == 0)
        run.cap_s = strtod(text, NULL);
    else
        usage();
}

int main(int argc, char **argv)
{
    arguments a = {.keys = 200000, .value_size = 100, .seed = 1};
    run.setup = (side_setup){.engine = "lsm", .cache_size = UINT64_C(1) << 30};
    run.suffix = "";
    run.row_s = 1;
    run.cap_s = 12;
    if (argc == 2 && strcmp(argv[1], "--about") == 0) {
        about();
        return 0;
    }
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc)
            usage();
        set_option(&a, argv[i], argv[i + 1]);
    }
    if (a.group == NULL || run.setup.dir == NULL || a.keys < 1000 || a.keys > UINT32_MAX ||
        a.value_size < SIDE_VALUE_MIN || a.value_size > SIDE_VALUE_MAX)
        usage();
    side_data_init(&run.data, a.keys, (uint32_t)a.value_size, a.seed);
    for (unsigned i = 0; i < side_group_count; i++) {
        if (strcmp(side_groups[i].name, a.group) == 0) {
            side_groups[i].run(&run);
            return 0;
        }
    }
    usage();
}
