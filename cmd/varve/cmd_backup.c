/*
 * cmd_backup.c - backups: make one here or on the server, look at them, verify, restore, drop.
 */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "backup/backup.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/time_text.h"
#include "base/util.h"
#include "client/client.h"
#include "codec/protowire.h"
#include "out.h"

#define REPLY_MAX (64u * 1024 * 1024)
#define BAR_STEP_NS (VV_NS_PER_S / 10)

typedef struct args {
    const char *repo;
    const char *to;
    const char *at_version;
    const char *at_time;
    uint64_t shard;
    uint64_t keep;
    bool archive_log;
    bool log_only;
    bool quiet;
} args;

static const cmd_opt opts[] = {
    {"repo", 'r', CMD_TEXT, offsetof(args, repo), "DIR", "the repository of backups"},
    {"to", 0, CMD_TEXT, offsetof(args, to), "DIR", "restore: an empty or a new directory"},
    {"at-version", 0, CMD_TEXT, offsetof(args, at_version), "V",
     "restore: the state right behind this version"},
    {"shard", 0, CMD_COUNT, offsetof(args, shard), "N", "restore: whose version; default 0"},
    {"at-time", 0, CMD_TEXT, offsetof(args, at_time), "TIME",
     "restore: the state at this moment (RFC 3339)"},
    {"archive-log", 0, CMD_FLAG, offsetof(args, archive_log), NULL,
     "create with --data: keep the log since the backup before"},
    {"log-only", 0, CMD_FLAG, offsetof(args, log_only), NULL,
     "create: the log since the backup before, and no files"},
    {"keep", 0, CMD_COUNT, offsetof(args, keep), "N", "prune: full backups to keep"},
    {"quiet", 'q', CMD_FLAG, offsetof(args, quiet), NULL, "no progress"},
};

/* ---- progress ---- */

typedef struct bar {
    backup_progress base;
    bool shown;
    bool drawn;
    int64_t last_ns;
} bar;

static void draw(void *ctx, const char *what, uint64_t done, uint64_t total)
{
    bar *b = ctx;
    int64_t now = vv_clock_mono(vv_clock_real());
    if (!b->shown || (now - b->last_ns < BAR_STEP_NS && done < total))
        return;
    char have[32];
    char all[32];
    char line[41];
    unsigned filled = total == 0 ? 40 : (unsigned)vv_min_u64(40, done * 40 / total);
    b->last_ns = now;
    b->drawn = true;
    memset(line, '.', 40);
    memset(line, '#', filled);
    line[40] = '\0';
    out_size_text(done, have, sizeof have);
    out_size_text(total, all, sizeof all);
    (void)fprintf(stderr, "\r%-8s [%s] %s of %s ", what, line, have, all);
}

static void bar_init(bar *b, const args *a)
{
    *b = (bar){.base = {draw, b}, .shown = !a->quiet && isatty(STDERR_FILENO) == 1};
}

static void bar_end(const bar *b)
{
    if (b->drawn)
        (void)fputc('\n', stderr);
}

/* ---- rows ---- */

static const char *const columns[] = {"id",    "kind",      "time",  "versions",
                                      "bytes", "new_bytes", "files", "damage"};

typedef struct row {
    uint64_t id, bytes, new_bytes, files;
    int64_t time_ns;
    vv_slice kind;
    char versions[64 * 21];
    vv_slice damage;
} row;

static void print_row(out_writer *o, const row *r)
{
    char time[TIME_TEXT_MAX] = "";
    if (r->time_ns != 0)
        time_text_format(r->time_ns, time);
    out_row(o, (const out_cell[]){out_uint(r->id), out_bytes(r->kind), out_text(time),
                                  out_text(r->versions), out_uint(r->bytes), out_uint(r->new_bytes),
                                  out_uint(r->files), out_bytes(r->damage)});
}

static void add_version(row *r, uint64_t version)
{
    size_t len = strlen(r->versions);
    (void)snprintf(r->versions + len, sizeof r->versions - len, "%s%" PRIu64, len == 0 ? "" : " ",
                   version);
}

static void print_info(out_writer *o, const backup_info *info, const char *damage)
{
    row r = {.id = info->id,
             .bytes = info->bytes,
             .new_bytes = info->new_bytes,
             .files = info->file_count,
             .time_ns = info->time_ns,
             .kind = vv_slice_str(info->kind == BACKUP_LOG    ? "log"
                                  : info->kind == BACKUP_FULL ? "full"
                                                              : ""),
             .damage = vv_slice_str(damage)};
    for (uint32_t i = 0; i < info->shard_count; i++)
        add_version(&r, (uint64_t)info->shard[i].version);
    print_row(o, &r);
}

static bool take_versions(row *r, const wire_field *f)
{
    uint64_t v = 0;
    if (f->type == WIRE_VARINT)
        add_version(r, f->value);
    const uint8_t *p = f->bytes.data;
    const uint8_t *end = f->type == WIRE_BYTES ? p + f->bytes.len : p;
    while (p != NULL && p < end) {
        p = vv_varint_get(p, end, &v);
        if (p != NULL)
            add_version(r, v);
    }
    return p != NULL || f->type != WIRE_BYTES;
}

/* A BackupInfo of a server. */
static void print_message(out_writer *o, vv_slice message)
{
    row got = {0};
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    bool good = true;
    while (good && wire_next(&r, &f) > 0) {
        switch (f.number) {
        case 1:
            got.id = f.value;
            break;
        case 2:
            got.kind = f.bytes;
            break;
        case 3:
            got.time_ns = (int64_t)f.value;
            break;
        case 4:
            good = take_versions(&got, &f);
            break;
        case 5:
            got.bytes = f.value;
            break;
        case 6:
            got.new_bytes = f.value;
            break;
        case 7:
            got.files = f.value;
            break;
        case 8:
            got.damage = f.bytes;
            break;
        default:
            break;
        }
    }
    print_row(o, &got);
}

static void rows_begin(const cmd_ctx *ctx, out_writer *o)
{
    out_init_names(o, ctx->common.format, columns, ARRAY_LEN(columns));
}

/* ---- the repository ---- */

static vv_status open_repo(const args *a, bool write, vv_env *env, backup_repo **out, vv_error *err)
{
    vv_status st = env_posix_init(env, a->repo, NULL, err);
    if (st == VV_OK)
        st = backup_repo_open(env, write, out, err);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "'%s'", a->repo);
}

static int finish(const cmd_ctx *ctx, vv_env *env, backup_repo *repo, vv_status st,
                  const vv_error *err)
{
    backup_repo_close(repo);
    vio_destroy(env->io);
    return st == VV_OK ? CMD_OK : cmd_fail(ctx, st, err);
}

/* ---- create and list ---- */

typedef struct server_call {
    cli_conn *conn;
    vv_buf request;
    vv_buf reply;
} server_call;

static vv_status call_open(const cmd_ctx *ctx, const args *a, server_call *c, vv_error *err)
{
    *c = (server_call){0};
    vv_buf_init(&c->request, 64);
    vv_buf_init(&c->reply, REPLY_MAX);
    if (a != NULL && a->log_only)
        wire_put_varint(&c->request, 1, 1);
    return cli_open(ctx->common.server, NULL, &c->conn, err);
}

static void call_close(server_call *c)
{
    cli_close(c->conn);
    vv_buf_fini(&c->request);
    vv_buf_fini(&c->reply);
}

/* Draw a BackupProgress. *backup: the BackupInfo in it, which only the last one has. */
static void take_progress(vv_slice message, bar *b, vv_slice *backup)
{
    char step[16] = "";
    uint64_t done = 0;
    uint64_t total = 0;
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    while (wire_next(&r, &f) > 0) {
        if (f.number == 1 && f.type == WIRE_BYTES)
            (void)snprintf(step, sizeof step, "%.*s", (int)vv_min_u64(f.bytes.len, 15),
                           (const char *)f.bytes.data);
        else if (f.number == 2)
            done = f.value;
        else if (f.number == 3)
            total = f.value;
        else if (f.number == 4 && f.type == WIRE_BYTES)
            *backup = f.bytes;
    }
    if (backup->data == NULL)
        draw(b, step, done, total);
}

static vv_status create_told(server_call *c, bar *b, vv_slice *backup, vv_error *err)
{
    cli_stream *stream = NULL;
    vv_status st = cli_stream_open(c->conn, "/varve.v1.Admin/StreamBackup", 0, &stream, err);
    if (st == VV_OK)
        st = cli_stream_send(stream, vv_buf_slice(&c->request), err);
    if (st == VV_OK)
        cli_stream_half_close(stream);
    while (st == VV_OK && backup->data == NULL) {
        st = cli_stream_receive(stream, true, &c->reply, err);
        if (st == VV_OK)
            take_progress(vv_buf_slice(&c->reply), b, backup);
    }
    if (st == VV_NOT_FOUND && cli_stream_result(stream)->code == 0)
        st = vv_fail(err, VV_IO, "the answer ends without a backup");
    cli_stream_close(stream);
    bar_end(b);
    return st;
}

/* With a bar where there is one to look at it. */
static int create_on_server(cmd_ctx *ctx, const args *a)
{
    vv_error err = {0};
    vv_slice backup = {0};
    server_call c;
    bar b;
    bar_init(&b, a);
    vv_status st = call_open(ctx, a, &c, &err);
    if (st == VV_OK && b.shown) {
        st = create_told(&c, &b, &backup, &err);
    } else if (st == VV_OK) {
        cli_result result = {0};
        st = cli_unary(c.conn, "/varve.v1.Admin/CreateBackup", vv_buf_slice(&c.request), 0,
                       &c.reply, &result, &err);
        backup = vv_buf_slice(&c.reply);
    }
    if (st == VV_OK) {
        out_writer o;
        rows_begin(ctx, &o);
        print_message(&o, backup);
        out_end(&o);
    }
    call_close(&c);
    return st == VV_OK ? CMD_OK : cmd_fail(ctx, st, &err);
}

static int list_of_server(cmd_ctx *ctx)
{
    vv_error err = {0};
    cli_result result = {0};
    server_call c;
    vv_status st = call_open(ctx, NULL, &c, &err);
    if (st == VV_OK)
        st = cli_unary(c.conn, "/varve.v1.Admin/ListBackups", vv_buf_slice(&c.request), 0, &c.reply,
                       &result, &err);
    if (st == VV_OK) {
        out_writer o;
        rows_begin(ctx, &o);
        wire_reader r = wire_reader_of(vv_buf_slice(&c.reply));
        wire_field f = {0};
        while (wire_next(&r, &f) > 0)
            if (f.number == 1 && f.type == WIRE_BYTES)
                print_message(&o, f.bytes);
        out_end(&o);
    }
    call_close(&c);
    return st == VV_OK ? CMD_OK : cmd_fail(ctx, st, &err);
}

static int create(cmd_ctx *ctx, const args *a)
{
    if (ctx->common.data == NULL && a->repo != NULL)
        return cmd_usage(ctx, "a server has its own repository, backup.dir: leave --repo out, or "
                              "name a closed store with --data");
    if (ctx->common.data == NULL)
        return create_on_server(ctx, a);
    if (a->repo == NULL)
        return cmd_usage(ctx, "--repo DIR is needed");
    vv_error err = {0};
    vv_env env = {0};
    backup_repo *repo = NULL;
    vv_db *db = NULL;
    backup_info info = {0};
    bar b;
    bar_init(&b, a);
    vv_options db_opt = VV_OPTIONS_INIT;
    db_opt.create_if_missing = false;
    db_opt.archive_log = a->archive_log || a->log_only; /* nothing of it goes before it is stored */
    backup_create_options opt = {
        .archive_log = a->archive_log, .log_only = a->log_only, .progress = &b.base};
    vv_status st = vv_db_open(ctx->common.data, &db_opt, &db, &err);
    if (st == VV_OK)
        st = open_repo(a, true, &env, &repo, &err);
    if (st == VV_OK)
        st = backup_create(repo, db, &opt, &info, &err);
    bar_end(&b);
    if (db != NULL) {
        vv_error close_err = {0};
        vv_status closed = vv_db_close(db, &close_err);
        if (st == VV_OK && closed != VV_OK) {
            st = closed;
            err = close_err;
        }
    }
    if (st == VV_OK) {
        out_writer o;
        rows_begin(ctx, &o);
        print_info(&o, &info, "");
        out_end(&o);
    }
    return finish(ctx, &env, repo, st, &err);
}

static void list_one(void *ctx, const backup_info *info, vv_status st, const char *why)
{
    print_info(ctx, info, st == VV_OK ? "" : why);
}

static int list(cmd_ctx *ctx, const args *a)
{
    if (a->repo == NULL)
        return list_of_server(ctx);
    vv_error err = {0};
    vv_env env = {0};
    backup_repo *repo = NULL;
    out_writer o;
    rows_begin(ctx, &o);
    vv_status st = open_repo(a, false, &env, &repo, &err);
    if (st == VV_OK)
        st = backup_list(repo, list_one, &o, &err);
    if (st == VV_OK)
        out_end(&o);
    return finish(ctx, &env, repo, st, &err);
}

/* ---- verify, restore, drop ---- */

static void tell(void *ctx, const char *text)
{
    (void)ctx;
    out_sentence(text);
}

static int verify(cmd_ctx *ctx, const args *a, uint64_t id)
{
    vv_error err = {0};
    vv_env env = {0};
    backup_repo *repo = NULL;
    bar b;
    bar_init(&b, a);
    vv_status st = open_repo(a, false, &env, &repo, &err);
    if (st == VV_OK)
        st = backup_verify(repo, id, &b.base, tell, NULL, &err);
    bar_end(&b);
    if (st == VV_OK && ctx->common.output == NULL)
        (void)printf("%s: no damage found\n", a->repo);
    return finish(ctx, &env, repo, st, &err);
}

static int read_goal(const cmd_ctx *ctx, const args *a, backup_restore_options *opt)
{
    uint64_t version = 0;
    if (a->at_version != NULL && a->at_time != NULL)
        return cmd_usage(ctx, "one of --at-version and --at-time, not both");
    if (a->at_version != NULL) {
        if (!cmd_parse_count(a->at_version, &version) || version > INT64_MAX)
            return cmd_usage(ctx, "--at-version '%s' is no version", a->at_version);
        opt->goal = BACKUP_AT_VERSION;
        opt->version = (int64_t)version;
        opt->shard = (uint32_t)vv_min_u64(a->shard, UINT32_MAX);
    }
    if (a->at_time != NULL) {
        if (!time_text_parse(vv_slice_str(a->at_time), &opt->time_ns))
            return cmd_usage(ctx, "--at-time '%s' is no moment: 2026-07-01T12:30:00Z", a->at_time);
        opt->goal = BACKUP_AT_TIME;
    }
    return CMD_OK;
}

/* The oldest full backup, and when what it holds was last written. */
typedef struct oldest {
    uint64_t id;
    int64_t time_ns;
} oldest;

static void note_oldest(void *ctx, const backup_info *info, vv_status st, const char *why)
{
    oldest *o = ctx;
    (void)why;
    if (st != VV_OK || info->kind != BACKUP_FULL || (o->id != 0 && o->id < info->id))
        return;
    *o = (oldest){.id = info->id};
    for (uint32_t i = 0; i < info->shard_count; i++)
        if (info->shard[i].commit_time_ns > o->time_ns)
            o->time_ns = info->shard[i].commit_time_ns;
}

/* No backup reaches the moment that was asked for: both moments, as people write them. */
static void tell_times(backup_repo *repo, int64_t asked_ns, vv_error *err)
{
    char asked[TIME_TEXT_MAX];
    char held[TIME_TEXT_MAX];
    oldest o = {0};
    time_text_format(asked_ns, asked);
    if (repo == NULL || backup_list(repo, note_oldest, &o, NULL) != VV_OK || o.id == 0)
        return;
    time_text_format(o.time_ns, held);
    if (asked_ns < o.time_ns)
        (void)vv_fail(err, VV_NOT_FOUND,
                      "%s lies before the oldest backup, %" PRIu64
                      ", whose last change is of %s: name that moment or a later one",
                      asked, o.id, held);
    else
        (void)vv_wrap(err, VV_NOT_FOUND, "--at-time %s", asked);
}

static int restore(cmd_ctx *ctx, const args *a, uint64_t id)
{
    vv_error err = {0};
    vv_env env = {0};
    vv_env to = {0};
    backup_repo *repo = NULL;
    backup_info info = {0};
    bar b;
    bar_init(&b, a);
    backup_restore_options opt = {.id = id, .progress = &b.base};
    int code = read_goal(ctx, a, &opt);
    if (code != CMD_OK)
        return code;
    if (a->to == NULL)
        return cmd_usage(ctx, "--to DIR is needed: an empty or a new directory");
    vv_status st = open_repo(a, false, &env, &repo, &err);
    if (st == VV_OK)
        st = env_posix_init(&to, a->to, NULL, &err);
    if (st == VV_OK)
        st = backup_restore(repo, &opt, &to, &info, &err);
    bar_end(&b);
    if (st == VV_NOT_FOUND && opt.goal == BACKUP_AT_TIME && id == 0)
        tell_times(repo, opt.time_ns, &err);
    vio_destroy(to.io);
    if (st == VV_OK && ctx->common.output == NULL)
        (void)printf("%s: restored from backup %" PRIu64 "\n", a->to, info.id);
    return finish(ctx, &env, repo, st, &err);
}

static int drop(cmd_ctx *ctx, const args *a, uint64_t id)
{
    vv_error err = {0};
    vv_env env = {0};
    backup_repo *repo = NULL;
    vv_status st = open_repo(a, true, &env, &repo, &err);
    if (st == VV_OK)
        st = backup_drop(repo, id, &err);
    if (st == VV_OK && ctx->common.output == NULL)
        (void)printf("dropped backup %" PRIu64 "\n", id);
    return finish(ctx, &env, repo, st, &err);
}

static int prune(cmd_ctx *ctx, const args *a)
{
    vv_error err = {0};
    vv_env env = {0};
    backup_repo *repo = NULL;
    uint32_t dropped = 0;
    if (a->keep == 0 || a->keep > UINT32_MAX)
        return cmd_usage(ctx, "--keep N is needed: how many full backups stay, at least 1");
    vv_status st = open_repo(a, true, &env, &repo, &err);
    if (st == VV_OK)
        st = backup_prune(repo, (uint32_t)a->keep, &dropped, &err);
    if (st == VV_OK && ctx->common.output == NULL)
        (void)printf("dropped %u\n", dropped);
    return finish(ctx, &env, repo, st, &err);
}

/* ---- the command ---- */

static const char *const words[] = {"create", "list", "verify", "restore", "drop", "prune", NULL};
enum { CREATE, LIST, VERIFY, RESTORE, DROP, PRUNE };

static int run(cmd_ctx *ctx, const void *opaque, int argc, char **argv)
{
    const args *a = opaque;
    uint64_t id = 0;
    if (argc == 0)
        return cmd_usage(ctx, "one of create, list, verify, restore, drop and prune is needed");
    int verb = cmd_word_of(ctx, argv[0]);
    if (verb < 0)
        return CMD_USAGE;
    bool takes_id = verb == VERIFY || verb == RESTORE || verb == DROP;
    if (argc > (takes_id ? 2 : 1))
        return cmd_usage(ctx, "'%s' is one argument too many", argv[takes_id ? 2 : 1]);
    if (argc == 2 && (!cmd_parse_count(argv[1], &id) || id == 0))
        return cmd_usage(ctx, "'%s' is no id of a backup", argv[1]);
    if (verb == DROP && id == 0)
        return cmd_usage(ctx, "the id of a backup is needed");
    if (verb == CREATE)
        return create(ctx, a);
    if (verb == LIST)
        return list(ctx, a);
    if (a->repo == NULL)
        return cmd_usage(ctx, "--repo DIR is needed");
    return verb == VERIFY    ? verify(ctx, a, id)
           : verb == RESTORE ? restore(ctx, a, id)
           : verb == DROP    ? drop(ctx, a, id)
                             : prune(ctx, a);
}

const cmd_command cmd_backup = {
    .name = "backup",
    .summary = "make, list, verify, restore and drop backups",
    .synopsis = "create | list | verify [ID] | restore [ID] --to DIR | drop ID | prune --keep N",
    .details =
        "create asks the server to back up its store, while it is used, into the repository its\n"
        "backup.dir names; with --data and --repo it backs up a store that no server has open.\n"
        "Content that an earlier backup holds is not stored again. list asks the server, or\n"
        "looks into --repo; the others work on --repo, without a server.\n\n"
        "restore makes a store in an empty directory, from the newest backup or from ID. With\n"
        "--at-version or --at-time it goes on from the newest backup before that, through the\n"
        "log that later ones hold (--archive-log, backup.archive_log, --log-only), and says what\n"
        "is possible when the log does not reach. A damaged backup is refused with its file "
        "named.\n",
    .with = CMD_WITH_SERVER | CMD_WITH_DATA | CMD_WITH_OUTPUT,
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .args_size = sizeof(args),
    .words = words,
    .run = run,
};
