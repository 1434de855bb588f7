/*
 * lsm_dump.c - runs and manifests as text.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "lsm/lsm_int.h"
#include "lsm/lsm_run_format.h"
#include "lsm/lsm_value_int.h"

typedef struct printer {
    void (*line)(void *ctx, const char *text);
    void *ctx;
} printer;

static void print(const printer *p, const char *fmt, ...) VV_PRINTF(2, 3);

static void print(const printer *p, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    p->line(p->ctx, text);
}

/* Printable bytes as they are, the rest as \xNN; cut with "..." where it is long. */
static const char *quote(char out[132], vv_slice s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (n > 120) {
            (void)snprintf(out + n, 132 - n, "...");
            return out;
        }
        uint8_t c = s.data[i];
        if (c >= 0x20 && c < 0x7f && c != '\\')
            out[n++] = (char)c;
        else
            n += (size_t)snprintf(out + n, 132 - n, "\\x%02x", c);
    }
    out[n] = '\0';
    return out;
}

/* ---- runs ---- */

static void print_meta(const printer *p, const lsm_run *run)
{
    const lsm_meta *m = &run->meta;
    char lower[132];
    char upper[132];
    print(p, "run %" PRIu64 " level %u group %" PRIu64 " size %" PRIu64 " blocks %u of %u bytes",
          m->id, m->level, m->group, m->size, run->block_count, run->block_size);
    print(p,
          "entries %" PRIu64 " deletes %" PRIu64 " ranges %" PRIu64 " raw %" PRIu64
          " tables %u versions %" PRId64 "..%" PRId64,
          m->entries, m->deletes, m->ranges, m->raw_bytes, m->table_count, m->version_min,
          m->version_max);
    if (run->features != 0)
        print(p, "features %#x", run->features);
    if (run->dict != NULL)
        print(p, "dictionary %u of %zu bytes", codec_block_dict_id(run->dict),
              codec_block_dict_bytes(run->dict).len);
    print(p, "bounds [%s, %s)", quote(lower, m->lower), quote(upper, m->upper));
    for (size_t i = 0; i < engine_rangedels_count(run->rangedels); i++) {
        const engine_range *r = engine_rangedels_at(run->rangedels, i);
        print(p, "range [%s, %s) version %" PRId64, quote(lower, r->start), quote(upper, r->end),
              r->version);
    }
}

static vv_status print_block(const printer *p, lsm_run *run, uint32_t block, vv_error *err)
{
    pgc_frame *frame = NULL;
    vv_status st = lsm_run_read_block(run, block, &frame, err);
    if (st != VV_OK)
        return st;
    const uint8_t *b = pgc_data(frame);
    uint8_t key[LSM_KEY_BUF];
    char text[132];
    print(p, "block %u at %" PRIu64 " stored %u %s raw %u entries %u", block,
          lsm_run_block_offset(run, block), lsm_run_block_stored(run, block),
          run->codec[block] == LSM_CODEC_DICTIONARY ? "zstd with dictionary"
                                                    : codec_kind_name(run->codec[block]),
          lsm_block_used(b), lsm_block_count(b));
    lsm_block_load_prefix(b, key);
    for (unsigned i = 0; i < lsm_block_count(b); i++) {
        engine_item item;
        lsm_block_item(b, i, key, &item);
        const char *kind = item.kind == ENGINE_DELETE  ? "delete"
                           : item.kind == ENGINE_MERGE ? "merge"
                           : item.kind == ENGINE_APART ? "put apart"
                                                       : "put";
        if (item.kind == ENGINE_APART) {
            lsm_value_ref ref = lsm_value_ref_of(item.value);
            print(p, "  %s %s @%" PRId64 " value %u bytes in val-%012" PRIu64 " at %" PRIu64, kind,
                  quote(text, item.key), item.version, ref.len, ref.file, ref.offset);
        } else if (item.expires_ns != 0)
            print(p, "  %s %s @%" PRId64 " expires %" PRId64 " value %zu bytes", kind,
                  quote(text, item.key), item.version, item.expires_ns, item.value.len);
        else
            print(p, "  %s %s @%" PRId64 " value %zu bytes", kind, quote(text, item.key),
                  item.version, item.value.len);
        lsm_dump_samples(&item, p->line, p->ctx);
    }
    pgc_unpin(frame);
    return VV_OK;
}

/* "<dir>/run-<id>" in its parts. */
static vv_status split_path(const char *path, char dir[VIO_PATH_MAX], uint64_t *id, vv_error *err)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    size_t len = slash == NULL ? 0 : (size_t)(slash - path);
    char *end = NULL;
    bool named = strncmp(name, "run-", 4) == 0 && name[4] >= '0' && name[4] <= '9';
    *id = named ? strtoull(name + 4, &end, 10) : 0;
    if (!named || *end != '\0' || len >= VIO_PATH_MAX)
        return vv_fail(err, VV_INVALID, "'%s' is no run: its name is run-<number>", path);
    memcpy(dir, path, len);
    dir[len] = '\0';
    return VV_OK;
}

vv_status lsm_dump_run(vv_env *env, const char *path, void (*line)(void *ctx, const char *text),
                       void *ctx, vv_error *err)
{
    printer p = {line, ctx};
    char dir[VIO_PATH_MAX];
    uint64_t id = 0;
    vv_status st = split_path(path, dir, &id, err);
    if (st != VV_OK)
        return st;
    lsm_store *store = vv_alloc_aligned(64, sizeof *store);
    if (store == NULL)
        return vv_fail(err, VV_NO_MEMORY, "dump '%s': no memory", path);
    st = lsm_store_init(store, env, dir, 0, VV_MIB, NULL, err);
    lsm_run *run = NULL;
    if (st == VV_OK)
        st = lsm_run_open(store, id, NULL, &run, err);
    if (st == VV_OK)
        print_meta(&p, run);
    for (uint32_t b = 0; st == VV_OK && b < run->block_count; b++)
        st = print_block(&p, run, b, err);
    lsm_run_unref(run);
    lsm_store_fini(store);
    vv_free(store);
    return st;
}

/* ---- value files ---- */

vv_status lsm_dump_values(vv_env *env, const char *path, void (*line)(void *ctx, const char *text),
                          void *ctx, vv_error *err)
{
    printer p = {line, ctx};
    uint8_t head[LSM_VALUE_START];
    vio_file *file = NULL;
    uint64_t size = 0;
    vv_status st = vio_open(env->io, path, VIO_READ, &file, err);
    if (st == VV_OK)
        st = vio_size(file, &size, err);
    if (st == VV_OK)
        st = vio_pread_full(file, 0, head, sizeof head, err);
    uint64_t id = st == VV_OK ? vv_get_le64(head + 48) : 0;
    if (st == VV_OK && lsm_value_header_sum(head, id) != vv_get_le64(head + VALUE_SUM_AT))
        st = vv_fail(err, VV_CORRUPT, "header: its sum does not match");
    if (st == VV_OK)
        print(&p, "value file %" PRIu64 " of shard %u format %u size %" PRIu64, id,
              vv_get_le32(head + 56), vv_get_le32(head + 8), size);
    for (uint64_t at = LSM_VALUE_START; st == VV_OK && at + LSM_VALUE_HEAD <= size;) {
        uint8_t record[LSM_VALUE_HEAD];
        st = vio_pread_full(file, at, record, sizeof record, err);
        uint32_t len = vv_get_le32(record + 8);
        if (st != VV_OK || (len == 0 && vv_get_le64(record) == 0))
            break; /* the zeros behind the last one */
        print(&p, "  at %" PRIu64 " %u bytes sum %016" PRIx64, at, len, vv_get_le64(record));
        at += lsm_value_size(len);
    }
    vio_close(file);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "value file '%s'", path);
}

/* ---- manifests ---- */

static vv_status print_record(void *ctx, const lsm_record *record, vv_error *err)
{
    static const char *const kinds[] = {"?", "state", "edit", "seal"};
    const printer *p = ctx;
    (void)err;
    print(p, "%s at %" PRIu64 " sum %08x synced %" PRIu64, kinds[record->kind], record->offset,
          record->sum, record->synced);
    if (record->id_limit != 0)
        print(p, "  ids below %" PRIu64, record->id_limit);
    if (record->edit.checkpoint >= 0)
        print(p, "  checkpoint %" PRId64, record->edit.checkpoint);
    for (uint32_t i = 0; i < record->edit.remove_count; i++)
        print(p, "  remove run %" PRIu64, record->edit.remove[i]);
    for (uint32_t i = 0; i < record->edit.add_count; i++) {
        const lsm_meta *m = &record->edit.add[i];
        char lower[132];
        char upper[132];
        print(p,
              "  add run %" PRIu64 " level %u group %" PRIu64 " size %" PRIu64 " entries %" PRIu64
              " ranges %" PRIu64 " versions %" PRId64 "..%" PRId64 " [%s, %s)",
              m->id, m->level, m->group, m->size, m->entries, m->ranges, m->version_min,
              m->version_max, quote(lower, m->lower), quote(upper, m->upper));
        vv_slice uses = m->values;
        lsm_value_use use;
        while (lsm_value_use_next(&uses, &use))
            print(p, "    refers to value file %" PRIu64 " with %" PRIu64 " bytes", use.file,
                  use.bytes);
        if (m->born_ns > 0)
            print(p, "    born %" PRId64, m->born_ns);
    }
    for (uint32_t i = 0; i < record->edit.forget_count; i++)
        print(p, "  forget object of file %" PRIu64, record->edit.forget[i]);
    for (uint32_t i = 0; i < record->edit.object_count; i++) {
        static const char *const states[] = {"?", "intent", "remote", "dying"};
        const lsm_object *o = &record->edit.objects[i];
        print(p, "  object of %s %" PRIu64 " %s size %" PRIu64 " crc32c %08x at %" PRId64 " '%s'",
              o->is_values ? "value file" : "run", o->id, states[o->state], o->size, o->crc,
              o->time_ns, o->name);
    }
    return VV_OK;
}

vv_status lsm_dump_manifest(vv_env *env, const char *path,
                            void (*line)(void *ctx, const char *text), void *ctx, vv_error *err)
{
    printer p = {line, ctx};
    uint8_t *bytes = NULL;
    size_t len = 0;
    vv_status st = vio_read_file(env->io, path, LSM_MANIFEST_MAX, &bytes, &len, err);
    if (st != VV_OK)
        return st;
    lsm_manifest_info info = {0};
    st = lsm_manifest_parse(vv_slice_of(bytes, len), &info, print_record, &p, err);
    if (st == VV_OK)
        print(&p,
              "manifest %" PRIu64 " of shard %u: %" PRIu64 " bytes of records, %" PRIu64
              " behind them",
              info.number, info.shard, info.end, len - info.end);
    vv_free(bytes);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "manifest '%s'", path);
}
