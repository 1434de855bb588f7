/*
 * btree_dump.c - manifest and archive files as text. Pages need the mapping to be told apart, so
 * data files are shown by btree_check alone.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "btree/btree_int.h"

typedef struct printer {
    void (*line)(void *ctx, const char *text);
    void *ctx;
} printer;

static void print(const printer *p, const char *fmt, ...) VV_PRINTF(2, 3);

static void print(const printer *p, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    p->line(p->ctx, text);
}

static void print_root(const printer *p, const char *name, const btree_root *r)
{
    if (r->id == BTREE_NO_PAGE)
        print(p, "  %s empty", name);
    else
        print(p, "  %s root page %u levels %u", name, r->id, r->level);
}

static void print_record(void *ctx, uint64_t offset, btree_record_kind kind,
                         const btree_state *state)
{
    const printer *p = ctx;
    if (kind == BTREE_RECORD_SEAL) {
        print(p, "seal at %" PRIu64, offset);
        return;
    }
    print(p, "%s at %" PRIu64 " pages %" PRIu64 " checkpoint %" PRId64,
          kind == BTREE_RECORD_STATE ? "state" : "change", offset, state->map.count,
          state->checkpoint);
    print_root(p, "main", &state->main);
    print_root(p, "history", &state->history);
    for (uint32_t i = 0; i < btree_archive_count(state); i++) {
        const btree_archive_meta *a = &btree_archives(state)[i];
        print(p, "  archive %" PRIu64 " '%s' version %" PRId64 " time %" PRId64 "%s", a->id,
              a->name, a->version, a->time_ns, a->periodic ? " periodic" : "");
    }
}

static vv_status print_page(void *ctx, uint32_t id, btree_place place)
{
    const printer *p = ctx;
    print(p, "page %u at %#" PRIx64 " sum %08x", id, place.at, place.sum);
    return VV_OK;
}

vv_status btree_dump_manifest(vv_env *env, const char *path,
                              void (*line)(void *ctx, const char *text), void *ctx, vv_error *err)
{
    printer p = {line, ctx};
    uint8_t *bytes = NULL;
    size_t len = 0;
    vv_status st = vio_read_file(env->io, path, BTREE_MANIFEST_MAX, &bytes, &len, err);
    if (st != VV_OK)
        return st;
    btree_state state;
    btree_state_init(&state, NULL);
    btree_manifest_info info = {0};
    st = btree_manifest_parse(vv_slice_of(bytes, len), &info, &state, print_record, &p, err);
    vv_free(bytes);
    if (st == VV_OK) {
        print(&p, "manifest %" PRIu64 " shard %u records %u page size %u, %u pages a file",
              info.number, info.shard, info.records, state.page_size, 1u << state.shift);
        st = btree_map_diff(NULL, &state.map, print_page, &p);
    } else {
        (void)vv_wrap(err, st, "'%s'", path);
    }
    btree_state_fini(&state);
    return st;
}
