/*
 * cmd_import_eloqstore.c - read what EloqStore wrote into tables of a store.
 */
#include <inttypes.h>

#include "base/util.h"
#include "cmd.h"
#include "eloq.h"
#include "io/env.h"

#define LINE_NS (2 * VV_NS_PER_S)

typedef struct args {
    uint64_t page_size;
    uint64_t file_size;
    uint64_t align;
    const char *manifest;
    const char *branch;
    bool quiet;
} args;

static const cmd_opt opts[] = {
    {"page-size", 0, CMD_SIZE, offsetof(args, page_size), "SIZE",
     "the store's data_page_size; default 4K"},
    {"file-size", 0, CMD_SIZE, offsetof(args, file_size), "SIZE",
     "the size of a full data file: page size times 2^pages_per_file_shift; default 2^18 pages"},
    {"host-page-size", 0, CMD_SIZE, offsetof(args, align), "SIZE",
     "the page size of the machine that wrote it; default 4K"},
    {"manifest", 0, CMD_TEXT, offsetof(args, manifest), "NAME",
     "this file of the directory, an archive for instance; default the newest"},
    {"branch", 0, CMD_TEXT, offsetof(args, branch), "NAME", "default main"},
    {"quiet", 'q', CMD_FLAG, offsetof(args, quiet), NULL,
     "no progress, and the number of durable entries alone at the end"},
};

typedef struct teller {
    vv_clock *clock;
    int64_t told_ns;
} teller;

static void tell(void *ctx, const eloq_progress *at)
{
    teller *t = ctx;
    int64_t now = vv_clock_mono(t->clock);
    if (now - t->told_ns < LINE_NS)
        return;
    t->told_ns = now;
    (void)fprintf(stderr, "%s: page %" PRIu64 " of %" PRIu64 ", %" PRIu64 " entries\n",
                  at->partition, at->pages_read, at->pages, at->entries);
}

/* log2 of the pages in a file; false when it is no power of two from 2 on. */
static bool shift_of(const args *a, uint32_t *out)
{
    uint64_t page_size = a->page_size == 0 ? 4096 : a->page_size;
    uint64_t pages = a->file_size / page_size;
    *out = 0;
    if (a->file_size == 0)
        return true;
    if (a->file_size % page_size != 0 || pages < 2 || (pages & (pages - 1)) != 0)
        return false;
    *out = (uint32_t)__builtin_ctzll(pages);
    return true;
}

static void summarize(const args *a, const eloq_progress *at, double seconds)
{
    if (a->quiet) {
        (void)printf("%" PRIu64 "\n", at->entries);
        return;
    }
    (void)printf("imported %" PRIu64 " entries of %" PRIu64 " partition%s in %.2f s", at->entries,
                 at->partitions, at->partitions == 1 ? "" : "s", seconds);
    if (at->expired > 0)
        (void)printf(", %" PRIu64 " expired ones skipped", at->expired);
    (void)printf("\n");
}

static int run(cmd_ctx *ctx, const void *opaque, int argc, char **argv)
{
    const args *a = opaque;
    vv_error err = {0};
    teller t = {.clock = vv_clock_real()};
    int64_t begin = t.told_ns = vv_clock_mono(t.clock);
    eloq_progress at;
    eloq_job job = {.manifest = a->manifest,
                    .branch = a->branch,
                    .tenant = ctx->common.tenant,
                    .table = ctx->common.table,
                    .data = ctx->common.data,
                    .page_size = (uint32_t)vv_min_u64(a->page_size, UINT32_MAX),
                    .record_align = (uint32_t)vv_min_u64(a->align, UINT32_MAX),
                    .progress = a->quiet ? NULL : tell,
                    .ctx = &t};
    if (argc != 1)
        return cmd_usage(ctx, "one DIR of EloqStore's is needed");
    if (job.data == NULL)
        return cmd_usage(ctx, "--data DIR is needed: the store that is written");
    if (!shift_of(a, &job.file_shift))
        return cmd_usage(ctx, "--file-size is a power of two of pages, at least two");
    job.dir = argv[0];
    vv_status st = eloq_load(&job, &at, &err);
    if (st == VV_OK || at.entries > 0)
        summarize(a, &at, (double)(vv_clock_mono(t.clock) - begin) / 1e9);
    if (at.dropped_bytes > 0)
        (void)fprintf(stderr,
                      "varve import-eloqstore: the last manifest record is damaged and was left "
                      "out, as EloqStore does (%" PRIu64 " bytes)\n",
                      at.dropped_bytes);
    return st == VV_OK ? CMD_OK : cmd_fail(ctx, st, &err);
}

const cmd_command cmd_import_eloqstore = {
    .name = "import-eloqstore",
    .summary = "load what EloqStore wrote: generations 1 and 6 of its files",
    .synopsis = "DIR",
    .details =
        "DIR is a partition (TABLE.NUMBER, with a manifest) or a store with such directories. It\n"
        "is only read; EloqStore must not have it open. Each table goes into one of the same "
        "name,\n"
        "or into --table. Expired entries are skipped. Damage stops the import with file, page "
        "and\n"
        "reason (exit code 1) after everything before it is durable; importing again replaces the\n"
        "same keys. The files do not say how they are laid out: give the sizes when they are not\n"
        "the defaults.\n\n"
        "  varve import-eloqstore --data /var/lib/varve /var/lib/eloqstore\n",
    .with = CMD_WITH_DATA | CMD_WITH_TENANT | CMD_WITH_TABLE,
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .args_size = sizeof(args),
    .run = run,
};
