/*
 * cmd_stream.c - messages of a server or of a store that no server has open: append, read, tail,
 * positions.
 *
 * append takes a message from each line. With --producer the lines are numbered from 0, so a file
 * that was broken off in the middle, or has grown, is simply given again.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/time_text.h"
#include "base/util.h"
#include "import.h"
#include "message_out.h"
#include "out.h"
#include "place_text.h"
#include "store.h"
#include "tier_store.h"

#define APPEND_MESSAGES 500u
#define APPEND_BYTES (1024u * 1024)
#define TAIL_DEFAULT 10u

typedef struct args {
    uint64_t partition;
    uint64_t limit;
    const char *from;
    const char *key;
    const char *content_type;
    const char *source;
    const char *producer;
    const char *position;
    bool follow;
    tier_args tier;
} args;

static const cmd_opt opts[] = {
    {"partition", 'p', CMD_COUNT, offsetof(args, partition), "N",
     "default 0; of append: that of the key"},
    {"from", 'f', CMD_TEXT, offsetof(args, from), "PLACE",
     "an offset, a time, earliest, latest, or a position as @NAME; default earliest"},
    {"limit", 'n', CMD_COUNT, offsetof(args, limit), "N", "messages at most; of tail, default 10"},
    {"key", 'k', CMD_TEXT, offsetof(args, key), "KEY", "of append: of every message"},
    {"content-type", 0, CMD_TEXT, offsetof(args, content_type), "TYPE", "of append: likewise"},
    {"source", 0, CMD_TEXT, offsetof(args, source), "NAME", "of append: likewise"},
    {"producer", 0, CMD_TEXT, offsetof(args, producer), "ID",
     "of append: lines are numbered from 0, and as many as it sent before are left out"},
    {"commit", 0, CMD_TEXT, offsetof(args, position), "NAME",
     "of read: commit how far it read; begins where the position stands"},
    {"follow", 0, CMD_FLAG, offsetof(args, follow), NULL,
     "of tail: go on and print what comes, until it is broken off or --limit is reached"},
    TIER_OPTS(args, tier),
};

typedef struct job {
    cmd_ctx *ctx;
    const args *a;
    store *s;
    vv_stream_start start;
    uint32_t partition;
    out_writer out;
} job;

/* ---- reading ---- */

static int print_one(void *ctx, const vv_message *m)
{
    job *j = ctx;
    message_out_row(&j->out, m);
    if (j->a->follow)
        (void)fflush(stdout);
    return 0;
}

static vv_status print_from(job *j, const vv_stream_start *start, uint64_t limit, bool follows,
                            uint64_t *end, vv_error *err)
{
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    opt.partition = j->partition;
    opt.start = *start;
    opt.messages_max = limit;
    message_out_begin(&j->out, j->ctx->common.format);
    vv_status st = j->s->ops->stream->read(j->s, &opt, follows, print_one, j, end, err);
    out_end(&j->out);
    return st;
}

typedef struct place {
    const char *name;
    uint32_t partition;
    bool found;
    uint64_t offset;
} place;

static int find_position(void *ctx, const vv_stream_position *p)
{
    place *at = ctx;
    if (p->partition != at->partition || strcmp(p->name, at->name) != 0)
        return 0;
    at->found = true;
    at->offset = p->offset;
    return 1;
}

/* With --commit from where the position stands, where it does. */
static vv_status read_some(job *j, vv_error *err)
{
    const args *a = j->a;
    uint64_t end = 0;
    place at = {.name = a->position, .partition = j->partition};
    vv_status st = VV_OK;
    if (a->position != NULL && a->from == NULL)
        st = j->s->ops->stream->positions(j->s, find_position, &at, err);
    if (st != VV_OK)
        return st;
    if (at.found)
        j->start = (vv_stream_start){.from = VV_STREAM_OFFSET, .offset = at.offset};
    st = print_from(j, &j->start, a->limit, false, &end, err);
    if (st == VV_OK && a->position != NULL)
        st = j->s->ops->stream->commit(j->s, j->partition, vv_slice_str(a->position), end, err);
    return st;
}

typedef struct newest {
    uint32_t partition;
    bool found;
    vv_stream_stats stats;
} newest;

static int take_newest(void *ctx, uint32_t partition, const vv_stream_stats *stats)
{
    newest *n = ctx;
    if (partition == n->partition) {
        n->found = true;
        n->stats = *stats;
    }
    return 0;
}

/* The newest messages; with --follow also what comes. */
static vv_status tail(job *j, vv_error *err)
{
    uint64_t end = 0;
    newest n = {.partition = j->partition};
    const bool follows = j->a->follow;
    const uint64_t limit = j->a->limit == 0 ? TAIL_DEFAULT : j->a->limit;
    vv_status st = j->s->ops->stream->status(j->s, take_newest, &n, err);
    if (st == VV_OK && !n.found)
        st = vv_fail(err, VV_INVALID, "there is no partition %u", j->partition);
    if (st != VV_OK)
        return st;
    vv_stream_start from = {.from = VV_STREAM_OFFSET,
                            .offset = n.stats.messages > limit ? n.stats.next_offset - limit
                                                               : n.stats.first_offset};
    if (j->a->from != NULL)
        from = j->start;
    return print_from(j, &from, follows ? j->a->limit : limit, follows, &end, err);
}

static int print_position(void *ctx, const vv_stream_position *p)
{
    job *j = ctx;
    char time[TIME_TEXT_MAX];
    time_text_format(p->committed_ns, time);
    out_row(&j->out, (const out_cell[]){out_text(p->name), out_uint(p->partition),
                                        out_uint(p->offset), out_uint(p->lag), out_text(time)});
    return 0;
}

static vv_status positions(job *j, vv_error *err)
{
    static const char *const names[] = {"name", "partition", "offset", "lag", "committed"};
    out_init_names(&j->out, j->ctx->common.format, names, ARRAY_LEN(names));
    vv_status st = j->s->ops->stream->positions(j->s, print_position, j, err);
    out_end(&j->out);
    return st;
}

static vv_status reset(job *j, const char *name, vv_error *err)
{
    uint64_t offset = 0;
    vv_status st =
        j->s->ops->stream->reset(j->s, j->partition, vv_slice_str(name), &j->start, &offset, err);
    if (st == VV_OK)
        (void)printf("%s stands at offset %llu\n", name, (unsigned long long)offset);
    return st;
}

static int print_status(void *ctx, uint32_t partition, const vv_stream_stats *s)
{
    job *j = ctx;
    char last[TIME_TEXT_MAX] = "";
    if (s->messages > 0)
        time_text_format(s->last_receive_ns, last);
    out_row(&j->out,
            (const out_cell[]){out_uint(partition), out_uint(s->first_offset),
                               out_uint(s->next_offset), out_uint(s->messages), out_uint(s->bytes),
                               out_text(last), out_uint(s->producers), out_uint(s->positions)});
    return 0;
}

static vv_status status(job *j, vv_error *err)
{
    static const char *const names[] = {"partition", "first", "next",      "messages",
                                        "bytes",     "last",  "producers", "positions"};
    out_init_names(&j->out, j->ctx->common.format, names, ARRAY_LEN(names));
    vv_status st = j->s->ops->stream->status(j->s, print_status, j, err);
    out_end(&j->out);
    return st;
}

static vv_status replay(job *j, vv_error *err)
{
    vv_stream_replay_result r = {0};
    vv_status st = j->s->ops->stream->replay(j->s, &r, err);
    if (st == VV_OK)
        (void)printf("replayed %llu messages, %llu were refused again\n",
                     (unsigned long long)r.replayed, (unsigned long long)r.dead);
    return st;
}

static int print_rule(void *ctx, const vv_stream_rule_stats *rule)
{
    job *j = ctx;
    out_row(&j->out, (const out_cell[]){out_bytes(rule->name), out_bool(rule->required),
                                        out_uint(rule->found), out_uint(rule->absent),
                                        out_uint(rule->errors)});
    return 0;
}

static vv_status print_rules(job *j, vv_error *err)
{
    static const char *const names[] = {"rule", "required", "found", "absent", "errors"};
    out_init_names(&j->out, j->ctx->common.format, names, ARRAY_LEN(names));
    vv_status st = j->s->ops->stream->rules(j->s, print_rule, j, err);
    out_end(&j->out);
    return st;
}

/* ---- appending ---- */

typedef struct appender {
    job *job;
    vv_message message[APPEND_MESSAGES];
    size_t begin[APPEND_MESSAGES]; /* of its value in bytes */
    size_t count;
    vv_buf bytes;
    uint64_t sequence; /* of the first of them */
    uint64_t known;    /* lines that the producer sent before */
    uint64_t appended;
    uint64_t dead; /* refused by rules of the table */
} appender;

static vv_status flush(appender *ap, vv_error *err)
{
    const args *a = ap->job->a;
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    if (ap->count == 0)
        return VV_OK;
    for (size_t i = 0; i < ap->count; i++)
        ap->message[i].value.data = ap->bytes.data + ap->begin[i];
    if (cmd_given(ap->job->ctx, "partition"))
        opt.partition = ap->job->partition;
    opt.durability = VV_DURABLE_SYNC;
    opt.producer = vv_slice_str(a->producer);
    opt.sequence = ap->sequence;
    store *s = ap->job->s;
    uint64_t dead = 0;
    vv_status st = s->ops->stream->append(s, ap->message, ap->count, &opt, &dead, err);
    if (st != VV_OK)
        return st;
    ap->sequence += ap->count;
    ap->appended += ap->count - dead;
    ap->dead += dead;
    ap->count = 0;
    vv_buf_reset(&ap->bytes);
    return VV_OK;
}

static vv_status add_line(appender *ap, const uint8_t *line, size_t len, vv_error *err)
{
    const args *a = ap->job->a;
    vv_status st = VV_OK;
    if (ap->count == APPEND_MESSAGES || (ap->count > 0 && ap->bytes.len + len > APPEND_BYTES))
        st = flush(ap, err);
    if (st != VV_OK)
        return st;
    ap->begin[ap->count] = ap->bytes.len;
    vv_buf_append(&ap->bytes, line, len);
    if (ap->bytes.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a line of %zu bytes", len);
    ap->message[ap->count++] = (vv_message){.key = vv_slice_str(a->key),
                                            .value = {.len = len},
                                            .content_type = vv_slice_str(a->content_type),
                                            .source = vv_slice_str(a->source)};
    return VV_OK;
}

/* Where the producer goes on: it is one, so nobody else numbers its lines meanwhile. */
static vv_status find_known(appender *ap, vv_error *err)
{
    const job *j = ap->job;
    const args *a = j->a;
    const uint32_t partition = cmd_given(j->ctx, "partition") ? j->partition : VV_STREAM_BY_KEY;
    vv_status st = VV_OK;
    if (a->producer != NULL)
        st = j->s->ops->stream->producer_next(j->s, partition, vv_slice_str(a->key),
                                              vv_slice_str(a->producer), &ap->known, err);
    ap->sequence = ap->known;
    return st;
}

static vv_status append(job *j, const char *path, vv_error *err)
{
    uint64_t lines = 0;
    import_input in;
    uint8_t *line = NULL;
    size_t len = 0;
    vv_status st = import_input_open(&in, path, err);
    if (st != VV_OK)
        return st;
    appender *ap = calloc(1, sizeof *ap);
    if (ap == NULL) {
        import_input_close(&in);
        return vv_fail(err, VV_NO_MEMORY, "no memory");
    }
    ap->job = j;
    vv_buf_init(&ap->bytes, VV_BATCH_MAX);
    st = find_known(ap, err);
    while (st == VV_OK && (st = import_next_line(&in, false, &line, &len, err)) == VV_OK)
        if (lines++ >= ap->known)
            st = add_line(ap, line, len, err);
    if (st == VV_NOT_FOUND)
        st = flush(ap, err);
    (void)printf("appended %llu messages", (unsigned long long)ap->appended);
    if (ap->known > 0) /* what they hold is not compared */
        (void)printf(
            "; left out the first %llu lines: producer '%s' has sent %llu before, and they are "
            "known by their number",
            (unsigned long long)vv_min_u64(ap->known, lines), j->a->producer,
            (unsigned long long)ap->known);
    if (ap->dead > 0)
        (void)printf("; %llu were refused by rules", (unsigned long long)ap->dead);
    (void)printf("\n");
    import_input_close(&in);
    vv_buf_fini(&ap->bytes);
    free(ap);
    return st;
}

/* ---- the command ---- */

static const char *const words[] = {"append", "read",   "tail",  "positions", "reset",
                                    "status", "replay", "rules", NULL};
enum { APPEND, READ, TAIL, POSITIONS, RESET, STATUS, REPLAY, RULES };

static vv_status do_verb(job *j, size_t verb, char **argv, vv_error *err)
{
    switch (verb) {
    case APPEND:
        return append(j, argv[1], err);
    case READ:
        return read_some(j, err);
    case TAIL:
        return tail(j, err);
    case POSITIONS:
        return positions(j, err);
    case RESET:
        return reset(j, argv[1], err);
    case REPLAY:
        return replay(j, err);
    case RULES:
        return print_rules(j, err);
    default:
        return status(j, err);
    }
}

/* What makes the table that is not there. */
static void add_hint(const cmd_ctx *ctx, vv_error *err)
{
    char why[sizeof err->msg];
    (void)snprintf(why, sizeof why, "%s", err->msg);
    (void)vv_fail(err, VV_NOT_FOUND, "%s; varve table create %s --kind stream makes it", why,
                  ctx->common.table == NULL ? "messages" : ctx->common.table);
}

static int run(cmd_ctx *ctx, const void *opaque, int argc, char **argv)
{
    job j = {.ctx = ctx, .a = opaque};
    vv_error err = {0};
    if (argc == 0)
        return cmd_usage(ctx, "one of append, read, tail, positions, reset, status, replay and "
                              "rules is needed");
    int verb = cmd_word_of(ctx, argv[0]);
    if (verb < 0)
        return CMD_USAGE;
    if (verb == APPEND && cmd_given(ctx, "limit"))
        return cmd_usage(ctx, "--limit is of read and tail: append takes all lines of the file");
    if (argc != (verb == APPEND || verb == RESET ? 2 : 1))
        return cmd_usage(ctx,
                         verb == APPEND  ? "one FILE is needed; - is standard input"
                         : verb == RESET ? "the NAME of one position is needed"
                                         : "stream %s takes no arguments",
                         words[verb]);
    if (!place_text_parse(j.a->from, &j.start))
        return cmd_usage(ctx, "'%s' is no offset, time, earliest, latest or @NAME", j.a->from);
    if (j.a->follow && verb != TAIL)
        return cmd_usage(ctx, "--follow is of tail");
    if (tier_args_take(ctx, &j.a->tier) != CMD_OK)
        return CMD_USAGE;
    j.partition = (uint32_t)vv_min_u64(j.a->partition, UINT32_MAX);
    const bool writes = verb == APPEND || verb == RESET || verb == REPLAY || j.a->position != NULL;
    vv_status st = store_open(ctx, "messages", writes ? STORE_CHANGE : STORE_READ, &j.s, &err);
    if (st == VV_OK)
        st = do_verb(&j, (size_t)verb, argv, &err);
    store_close(j.s);
    if (st == VV_NOT_FOUND && strstr(err.msg, "does not exist") != NULL)
        add_hint(ctx, &err);
    return st == VV_OK ? CMD_OK : cmd_fail(ctx, st, &err);
}

const cmd_command cmd_stream = {
    .name = "stream",
    .summary = "append and read messages, look at positions",
    .synopsis = "append FILE | read | tail | positions | reset NAME | status | replay | rules",
    .details =
        "A message is a line of the FILE, without its end and not empty; - is standard input.\n"
        "With --producer, as many lines as it sent before are left out: a file may be given\n"
        "again, longer. Lines are known by their number: another file needs another producer.\n"
        "read gives messages from --from on, tail the newest. With --commit, read goes on where\n"
        "the position stands and commits how far it got; reset puts a position to --from.\n"
        "replay appends what rules of the table refused, NAME.dead, again. The table is\n"
        "messages unless --table names another; varve table create --kind stream makes one.\n"
        "tail --follow goes on with what comes to a server. What is archived of a directory is\n"
        "read from the object store of --backend and --bucket.\n",
    .with = CMD_WITH_STORE | CMD_WITH_TABLE,
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .args_size = sizeof(args),
    .words = words,
    .run = run,
};
