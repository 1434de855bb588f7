/*
 * varved - the server: configuration, one store, the services, until SIGTERM.
 *
 *     varved --config FILE --data DIR --set key=value ...
 *
 * Standard output carries two lines, once it serves: "listening ingest HOST:PORT" and "listening
 * query HOST:PORT". Everything else is structured log lines on standard error, and where log.sinks
 * says.
 *
 * Exit codes: 0 stopped as asked, 1 failed while running, 2 bad usage or configuration (a port that
 * is busy, too), 3 the store could not be opened.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/util.h"
#include "io/env.h"
#include "server/config.h"
#include "server/daemon.h"
#include "server/evlog.h"

extern char **environ;

enum { EXIT_USAGE = 2, EXIT_STORE = 3 };

typedef struct arguments {
    const char *config_path;
    const char *data;
    const char **sets; /* borrowed from argv */
    size_t set_count;
    bool check_config;
    bool print_config;
} arguments;

static void usage(FILE *to)
{
    (void)fputs("usage: varved [--config FILE] [--data DIR] [--set KEY=VALUE]...\n"
                "              [--check-config] [--print-config] [--version] [--help]\n"
                "\n"
                "  --config FILE    read a YAML configuration; without it that of CONFIG_FILE\n"
                "  --data DIR       the store (storage.data_directory), default ./varve-data\n"
                "  --set KEY=VALUE  set one key, over file and environment (VARVE_SECTION_KEY)\n"
                "  --check-config   check the configuration and exit: 0 good, 2 not\n"
                "  --print-config   print the effective configuration and exit\n"
                "\n"
                "By default it listens on 127.0.0.1, ports 8080 (ingest) and 8081 (query); port 0\n"
                "takes a free one. Stop it with SIGTERM or Ctrl-C: open calls finish first.\n",
                to);
}

/* Returns -1 to go on, otherwise the exit code. */
static int parse_arguments(int argc, char **argv, arguments *out)
{
    enum { OPT_SET = 256, OPT_CHECK, OPT_PRINT, OPT_VERSION };
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"data", required_argument, NULL, 'd'},
                                            {"set", required_argument, NULL, OPT_SET},
                                            {"check-config", no_argument, NULL, OPT_CHECK},
                                            {"print-config", no_argument, NULL, OPT_PRINT},
                                            {"version", no_argument, NULL, OPT_VERSION},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "c:d:h", options, NULL)) != -1;) {
        switch (c) {
        case 'c':
            out->config_path = optarg;
            break;
        case 'd':
            out->data = optarg;
            break;
        case OPT_SET:
            out->sets[out->set_count++] = optarg;
            break;
        case OPT_CHECK:
            out->check_config = true;
            break;
        case OPT_PRINT:
            out->print_config = true;
            break;
        case OPT_VERSION:
            (void)printf("varved %s\n", vv_version());
            return EXIT_SUCCESS;
        case 'h':
            usage(stdout);
            return EXIT_SUCCESS;
        default:
            usage(stderr);
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        (void)fprintf(stderr, "varved: '%s' is no option; see varved --help\n", argv[optind]);
        return EXIT_USAGE;
    }
    return -1;
}

#define CONFIG_FILE_MAX (1024u * 1024)

static vv_status load_file(config *c, const char *path, vv_error *err)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return vv_fail_sys(err, VV_INVALID, errno, "configuration %s", path);
    char *text = vv_alloc(CONFIG_FILE_MAX);
    vv_status st = text == NULL ? vv_fail(err, VV_NO_MEMORY, "configuration %s", path) : VV_OK;
    size_t len = text == NULL ? 0 : fread(text, 1, CONFIG_FILE_MAX, f);
    if (st == VV_OK && ferror(f))
        st = vv_fail_sys(err, VV_INVALID, errno, "configuration %s", path);
    if (st == VV_OK && len == CONFIG_FILE_MAX)
        st = vv_fail(err, VV_INVALID, "configuration %s: over %u bytes", path, CONFIG_FILE_MAX);
    if (st == VV_OK)
        st = config_load_yaml(c, path, vv_slice_of(text, len), err);
    vv_free(text);
    (void)fclose(f);
    return st;
}

static vv_status load_config(config *c, const arguments *args, vv_error *err)
{
    config_init(c);
    const char *path = args->config_path != NULL ? args->config_path : getenv("CONFIG_FILE");
    vv_status st = path == NULL || path[0] == '\0' ? VV_OK : load_file(c, path, err);
    if (st == VV_OK)
        st = config_load_env(c, environ, err);
    for (size_t i = 0; st == VV_OK && i < args->set_count; i++)
        st = config_set(c, args->sets[i], err);
    if (st == VV_OK && args->data != NULL) {
        if (strlen(args->data) >= sizeof c->storage_data_directory)
            return vv_fail(err, VV_INVALID, "--data: over %zu bytes",
                           sizeof c->storage_data_directory - 1);
        memcpy(c->storage_data_directory, args->data, strlen(args->data) + 1);
    }
    if (st == VV_OK)
        st = config_check(c, err);
    return st == VV_OK ? config_fit_memory(c, err) : st;
}

/* Serve until a signal asks to stop. Signals are blocked in every thread and waited for here. */
static int serve(const config *c, const sigset_t *signals, vv_log *log)
{
    vv_error err = {0};
    varve_daemon *d = NULL;
    vv_status st = daemon_start(c, log, &d, &err);
    if (st != VV_OK) {
        vv_log_to(log, VV_LOG_ERROR, "varved", "cannot start",
                  VV_KV_S("status", vv_status_name(st)), VV_KV_S("error", err.msg));
        return daemon_is_misconfigured(&err) ? EXIT_USAGE : EXIT_STORE;
    }
    (void)printf("listening ingest %s:%u\nlistening query %s:%u\n", c->server_host,
                 daemon_port(d, 0), c->server_host, daemon_port(d, 1));
    (void)fflush(stdout);

    int signal_number = 0;
    while (sigwait(signals, &signal_number) != 0 || signal_number == SIGHUP)
        if (signal_number == SIGHUP) /* a terminal that goes away, a manager that means "reload" */
            vv_log_to(log, VV_LOG_WARN, "varved",
                      "SIGHUP ignored: the configuration is read at the start only");
    vv_log_to(log, VV_LOG_INFO, "varved", "stopping",
              VV_KV_S("signal", signal_number == SIGTERM ? "SIGTERM" : "SIGINT"));
    st = daemon_stop(d, &err);
    if (st != VV_OK) {
        vv_log_to(log, VV_LOG_ERROR, "varved", "stopped with an error",
                  VV_KV_S("status", vv_status_name(st)), VV_KV_S("error", err.msg));
        return EXIT_FAILURE;
    }
    vv_log_to(log, VV_LOG_INFO, "varved", "stopped", VV_KV_S("status", "OK"));
    return EXIT_SUCCESS;
}

/* The event log is there before the first part of the server, and goes after the last. */
static int log_and_serve(const config *c)
{
    evlog_options opt;
    evlog *events = NULL;
    vv_error err = {0};
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL); /* its threads have the mask, too */
    (void)signal(SIGPIPE, SIG_IGN);
    vv_status st = config_log_options(c, &opt, &err);
    opt.clock = vv_clock_real();
    opt.threads = vv_threads_real();
    if (st == VV_OK)
        st = evlog_open(&opt, &events, &err);
    if (st != VV_OK) {
        (void)fprintf(stderr, "varved: %s\n", err.msg);
        return EXIT_USAGE;
    }
    int code = serve(c, &signals, evlog_log(events));
    evlog_close(events);
    return code;
}

int main(int argc, char **argv)
{
    env_malloc_settle();
    arguments args = {.sets = vv_calloc((size_t)argc, sizeof(char *))};
    if (args.sets == NULL)
        return EXIT_FAILURE;
    static config c;
    vv_error err = {0};
    int code = parse_arguments(argc, argv, &args);
    if (code >= 0)
        goto out;
    if (load_config(&c, &args, &err) != VV_OK ||
        (args.check_config && daemon_check(&c, &err) != VV_OK)) {
        (void)fprintf(stderr, "varved: %s\n", err.msg);
        code = EXIT_USAGE;
        goto out;
    }
    if (args.print_config) {
        vv_buf text;
        vv_buf_init(&text, CONFIG_FILE_MAX);
        config_print(&c, &text);
        (void)fwrite(text.data, 1, text.len, stdout);
        vv_buf_fini(&text);
    }
    if (args.check_config)
        (void)fprintf(args.print_config ? stderr : stdout, "configuration is good\n");
    if (args.check_config || args.print_config) {
        code = EXIT_SUCCESS;
        goto out;
    }
    code = log_and_serve(&c);
out:
    vv_free(args.sets);
    return code;
}
