/*
 * btree_dump.c - manifest, archive and data files as text. Which page of a data file is in force
 * only the mapping of a manifest tells.
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

static void print_page_of_file(const printer *p, uint64_t at, const uint8_t *page)
{
    static const char *const types[] = {"index", "index above leaves", "leaf", "overflow"};
    if (btree_page_verify(page, BTREE_PAGE_SIZE, NULL) != VV_OK)
        print(p, "offset %" PRIu64 " no whole page", at);
    else
        print(p, "offset %" PRIu64 " %s sum %08x", at,
              btree_page_type_of(page) < ARRAY_LEN(types) ? types[btree_page_type_of(page)]
                                                          : "of another kind",
              (unsigned)btree_page_stored_sum(page));
}

vv_status btree_dump_data(vv_env *env, const char *path, void (*line)(void *ctx, const char *text),
                          void *ctx, vv_error *err)
{
    printer p = {line, ctx};
    vio_file *file = NULL;
    uint64_t size = 0;
    uint8_t *page = vv_alloc(BTREE_PAGE_SIZE);
    if (page == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a page");
    vv_status st = vio_open(env->io, path, VIO_READ, &file, err);
    if (st == VV_OK)
        st = vio_size(file, &size, err);
    if (st == VV_OK)
        print(&p, "data file, %" PRIu64 " bytes: pages of %u bytes; a manifest says which are used",
              size, BTREE_PAGE_SIZE);
    for (uint64_t at = 0; st == VV_OK && at < size; at += BTREE_PAGE_SIZE) {
        size_t got = 0;
        st = vio_pread(file, at, page, BTREE_PAGE_SIZE, &got, err);
        if (st == VV_OK && got == BTREE_PAGE_SIZE)
            print_page_of_file(&p, at, page);
        else if (st == VV_OK)
            print(&p, "offset %" PRIu64 " %zu bytes are no whole page", at, got);
    }
    vio_close(file);
    vv_free(page);
    return st;
}
