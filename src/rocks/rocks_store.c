/*
 * rocks_store.c - a shard's directory with RocksDB in it.
 *
 *     CURRENT     names IDENTITY: that is how every engine's directory tells what it is
 *     IDENTITY    magic, form, shard, and a checkpoint that was reached
 *     rocksdb/    RocksDB's own files
 *     flush-*     a sorted file that is not ingested yet; after a crash it is removed
 *     copy-N/     links to RocksDB's files of a moment, while a backup is made; likewise
 *
 * CURRENT is written last: where it is missing, nothing was ever flushed. RocksDB takes damage at
 * the end of its manifest for a write that a crash cut short, and opens as it was before. The
 * checkpoint in IDENTITY, from before the log was let go, is what tells the two apart.
 */
#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "rocks/rocks_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FORM 1u
#define LEVEL_BASE 4u /* files of the target size in the first level */

static const uint8_t magic[8] = {'V', 'A', 'R', 'V', 'E', 'R', 'O', 'C'};

/* ---- what RocksDB says ---- */

static vv_status status_of(const char *message)
{
    if (strncmp(message, "Corruption", 10) == 0)
        return VV_CORRUPT;
    if (strstr(message, "No space left") != NULL)
        return VV_NO_SPACE;
    if (strncmp(message, "Result incomplete", 17) == 0)
        return VV_BUSY; /* a read that may only look into the cache */
    if (strstr(message, "lock ") != NULL && strstr(message, "LOCK") != NULL)
        return VV_BUSY;
    return VV_IO;
}

vv_status rocks_fail(char *message, const char *what, vv_error *err)
{
    if (message == NULL)
        return VV_OK;
    vv_status st = vv_fail(err, status_of(message), "%s: RocksDB: %s", what, message);
    rocksdb_free(message);
    return st;
}

vv_status rocks_iter_status(rocksdb_iterator_t *it, vv_error *err)
{
    char *message = NULL;
    rocksdb_iter_get_error(it, &message);
    return rocks_fail(message, "read", err);
}

/* ---- the two small files ---- */

static void path_of(char out[VIO_PATH_MAX], const rocks_store *s, const char *name)
{
    (void)snprintf(out, VIO_PATH_MAX, "%s%s%s", s->dir, s->dir[0] == '\0' ? "" : "/", name);
}

size_t rocks_store_current(char out[ROCKS_CURRENT_MAX])
{
    int n = snprintf(out, ROCKS_CURRENT_MAX, "IDENTITY ");
    uint32_t sum = vv_crc32c(0, out, (size_t)n);
    return (size_t)n + (size_t)snprintf(out + n, ROCKS_CURRENT_MAX - (size_t)n, "%08x\n", sum);
}

void rocks_store_identity(const rocks_store *s, int64_t checkpoint,
                          uint8_t out[ROCKS_IDENTITY_SIZE])
{
    memcpy(out, magic, sizeof magic);
    vv_put_le32(out + 8, FORM);
    vv_put_le32(out + 12, s->shard);
    vv_put_le64(out + 16, (uint64_t)checkpoint);
    vv_put_le32(out + 24, vv_crc32c(0, out, 24));
}

/* VV_NOT_FOUND in a new directory. */
static vv_status read_current(const rocks_store *s, vv_error *err)
{
    char path[VIO_PATH_MAX];
    char want[ROCKS_CURRENT_MAX];
    uint8_t *text = NULL;
    size_t len = 0;
    path_of(path, s, "CURRENT");
    vv_status st = vio_read_file(s->env->io, path, ROCKS_CURRENT_MAX, &text, &len, err);
    if (st != VV_OK)
        return st;
    size_t want_len = rocks_store_current(want);
    bool same = len == want_len && memcmp(text, want, len) == 0;
    bool other = len > 9 && memcmp(text, "manifest-", 9) == 0;
    vv_free(text);
    if (other)
        return vv_fail(err, VV_UNSUPPORTED,
                       "'%s' names a manifest: the directory belongs to another engine", path);
    return same ? VV_OK
                : vv_fail(err, VV_CORRUPT, "'%s' is damaged: it does not name IDENTITY", path);
}

static vv_status read_identity(const rocks_store *s, int64_t *reached, vv_error *err)
{
    char path[VIO_PATH_MAX];
    uint8_t *p = NULL;
    size_t len = 0;
    path_of(path, s, "IDENTITY");
    vv_status st = vio_read_file(s->env->io, path, ROCKS_IDENTITY_SIZE, &p, &len, err);
    if (st == VV_NOT_FOUND)
        return vv_fail(err, VV_CORRUPT, "'%s' is missing", path);
    if (st != VV_OK)
        return st;
    uint32_t form = len == ROCKS_IDENTITY_SIZE ? vv_get_le32(p + 8) : 0;
    if (len != ROCKS_IDENTITY_SIZE || memcmp(p, magic, sizeof magic) != 0 ||
        vv_crc32c(0, p, 24) != vv_get_le32(p + 24))
        st = vv_fail(err, VV_CORRUPT, "'%s' is damaged", path);
    else if (form != FORM)
        st = vv_fail(err, VV_UNSUPPORTED,
                     "'%s' has version %u, this program knows version %u: use the version of "
                     "varve that wrote it",
                     path, form, FORM);
    else if (vv_get_le32(p + 12) != s->shard)
        st = vv_fail(err, VV_CORRUPT, "'%s': it belongs to shard %u", path, vv_get_le32(p + 12));
    else
        *reached = (int64_t)vv_get_le64(p + 16);
    vv_free(p);
    return st;
}

vv_status rocks_store_note(const rocks_store *s, int64_t checkpoint, vv_error *err)
{
    char path[VIO_PATH_MAX];
    uint8_t identity[ROCKS_IDENTITY_SIZE];
    rocks_store_identity(s, checkpoint, identity);
    path_of(path, s, "IDENTITY");
    return vio_write_file_atomic(s->env->io, path, vv_slice_of(identity, sizeof identity), err);
}

static vv_status write_current(const rocks_store *s, vv_error *err)
{
    char path[VIO_PATH_MAX];
    char current[ROCKS_CURRENT_MAX];
    size_t len = rocks_store_current(current);
    vv_status st = rocks_store_note(s, 0, err);
    path_of(path, s, "CURRENT");
    if (st == VV_OK)
        st = vio_write_file_atomic(s->env->io, path, vv_slice_of(current, len), err);
    return st;
}

/* ---- opening ---- */

static vv_status make_directory(const rocks_store *s, vv_error *err)
{
    vio *io = s->env->io;
    vv_status st = vio_mkdir(io, s->dir, err);
    if (st != VV_OK || s->dir[0] == '\0')
        return st;
    char parent[VIO_PATH_MAX];
    const char *slash = strrchr(s->dir, '/');
    (void)snprintf(parent, sizeof parent, "%.*s", slash == NULL ? 0 : (int)(slash - s->dir),
                   s->dir);
    return vio_sync_dir(io, parent, err);
}

static void set_table(rocks_store *s, const engine_options *opt)
{
    s->table = rocksdb_block_based_options_create();
    s->cache = rocksdb_cache_create_lru(opt->cache_size);
    rocksdb_block_based_options_set_block_cache(s->table, s->cache);
    rocksdb_block_based_options_set_block_size(s->table,
                                               opt->block_size == 0 ? 4096 : opt->block_size);
    rocksdb_block_based_options_set_filter_policy(s->table,
                                                  rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_block_based_options_set_whole_key_filtering(s->table, 0);
    rocksdb_block_based_options_set_format_version(s->table, 5);
    rocksdb_options_set_block_based_table_factory(s->options, s->table);
}

static void set_options(rocks_store *s, const engine_options *opt)
{
    rocksdb_options_t *o = s->options = rocksdb_options_create();
    s->comparator = rocks_comparator_create();
    rocksdb_options_set_comparator(o, s->comparator);
    rocksdb_options_set_prefix_extractor(o, rocks_prefix_create());
    rocksdb_options_set_compression(o, opt->compress ? rocksdb_lz4_compression
                                                     : rocksdb_no_compression);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 1);
    rocksdb_options_set_target_file_size_base(o, opt->target_file_size);
    rocksdb_options_set_max_bytes_for_level_base(o, LEVEL_BASE * opt->target_file_size);
    /* Each flush ingests two files, one of them the checkpoint. */
    rocksdb_options_set_level0_file_num_compaction_trigger(o, 2 * (int)opt->level0_runs_max);
    rocksdb_options_set_write_buffer_size(o, VV_MIB); /* stays empty */
    rocksdb_options_set_max_background_jobs(o, 2);
    rocksdb_options_set_max_open_files(o, (int)vv_min_u64(opt->max_open_files, INT32_MAX));
    rocksdb_options_set_paranoid_checks(o, 1);
    rocksdb_options_set_use_direct_reads(o, opt->direct_io);
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    rocksdb_options_set_stats_persist_period_sec(o, 0);
    rocksdb_options_set_info_log_level(o, 2); /* warnings */
    rocksdb_options_set_keep_log_file_num(o, 2);
    rocksdb_options_set_max_log_file_size(o, VV_MIB);
    if (s->read_only) /* a place where it can write none */
        rocksdb_options_set_db_log_dir(o, "/dev/null");
    set_table(s, opt);
    s->env_options = rocksdb_envoptions_create();
    s->ingest = rocksdb_ingestexternalfileoptions_create();
    rocksdb_ingestexternalfileoptions_set_move_files(s->ingest, 1);
}

static vv_status open_rocksdb(rocks_store *s, bool is_new, vv_error *err)
{
    char *message = NULL;
    size_t len = strlen(s->path) + sizeof "/rocksdb";
    char *path = vv_alloc(len);
    if (path == NULL)
        return vv_fail(err, VV_NO_MEMORY, "open: no memory");
    (void)snprintf(path, len, "%s/rocksdb", s->path);
    rocksdb_options_set_create_if_missing(s->options, is_new);
    if (s->read_only)
        s->db = rocksdb_open_for_read_only(s->options, path, 0, &message);
    else
        s->db = rocksdb_open(s->options, path, &message);
    vv_free(path);
    /* A store that was there and has lost a file is damaged. */
    bool lost =
        message != NULL && !is_new &&
        (strstr(message, "No such file") != NULL || strstr(message, "does not exist") != NULL);
    vv_status st = rocks_fail(message, "open", err);
    return lost ? vv_wrap(err, VV_CORRUPT, "a file is missing") : st;
}

static vv_status load_checkpoint(rocks_store *s, vv_error *err)
{
    char *message = NULL;
    size_t len = 0;
    rocksdb_readoptions_t *read = rocksdb_readoptions_create();
    char *p = rocksdb_get(s->db, read, ROCKS_CHECKPOINT_KEY, ROCKS_SUFFIX, &len, &message);
    rocksdb_readoptions_destroy(read);
    vv_status st = rocks_fail(message, "checkpoint", err);
    if (st != VV_OK || p == NULL)
        return st;
    const uint8_t *value = (const uint8_t *)p;
    if (len != ROCKS_CHECKPOINT_SIZE || vv_get_le32(value) != FORM ||
        vv_get_le32(value + 12) != vv_crc32c(0, value, 12))
        st = vv_fail(err, VV_CORRUPT, "the checkpoint in RocksDB is damaged");
    else
        s->checkpoint = (int64_t)vv_get_le64(value + 4);
    rocksdb_free(p);
    return st;
}

static void remove_unfinished(void *ctx, const char *name)
{
    const rocks_store *s = ctx;
    char path[VIO_PATH_MAX];
    path_of(path, s, name);
    if (strncmp(name, "flush-", 6) == 0)
        (void)!vio_remove(s->env->io, path, NULL);
    else if (strncmp(name, ROCKS_COPY_PREFIX, strlen(ROCKS_COPY_PREFIX)) == 0)
        rocks_remove_copy(s->env->io, path);
}

static vv_status open_with_options(rocks_store *s, vv_error *err)
{
    vv_status st = s->read_only ? VV_OK : make_directory(s, err);
    if (st != VV_OK)
        return st;
    int64_t reached = 0;
    st = read_current(s, err);
    bool is_new = st == VV_NOT_FOUND;
    if (is_new && s->read_only)
        return VV_OK;
    if (st == VV_OK)
        st = read_identity(s, &reached, err);
    else if (is_new)
        st = VV_OK;
    if (st == VV_OK)
        st = open_rocksdb(s, is_new, err);
    if (st == VV_OK)
        st = load_checkpoint(s, err);
    if (st == VV_OK && is_new && s->checkpoint > 0)
        st = vv_fail(err, VV_CORRUPT, "CURRENT is missing: RocksDB has everything up to %" PRId64,
                     s->checkpoint);
    if (st == VV_OK && s->checkpoint < reached)
        st = vv_fail(err, VV_CORRUPT,
                     "RocksDB has everything up to %" PRId64 ", and had it up to %" PRId64
                     ": its manifest is damaged at the end",
                     s->checkpoint, reached);
    if (st == VV_OK && is_new)
        st = write_current(s, err);
    if (st == VV_OK && !s->read_only)
        st = vio_list(s->env->io, s->dir, remove_unfinished, s, err);
    return st;
}

vv_status rocks_store_open(rocks_store *s, const engine_options *opt, vv_error *err)
{
    char path[4096];
    s->env = opt->env;
    s->shard = opt->shard;
    s->read_only = opt->read_only;
    (void)snprintf(s->dir, sizeof s->dir, "%s", opt->dir);
    vv_status st = vio_posix_real_path(opt->env->io, opt->dir, path, sizeof path, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "the engine rocksdb reads and writes files itself");
    s->path = vv_alloc(strlen(path) + 1);
    if (s->path == NULL)
        return vv_fail(err, VV_NO_MEMORY, "open: no memory");
    memcpy(s->path, path, strlen(path) + 1);
    set_options(s, opt);
    return open_with_options(s, err);
}

void rocks_store_close(rocks_store *s)
{
    if (s->db != NULL)
        rocksdb_close(s->db);
    if (s->options != NULL) {
        rocksdb_ingestexternalfileoptions_destroy(s->ingest);
        rocksdb_envoptions_destroy(s->env_options);
        rocksdb_options_destroy(s->options);
        rocksdb_block_based_options_destroy(s->table);
        rocksdb_cache_destroy(s->cache);
        rocksdb_comparator_destroy(s->comparator);
    }
    vv_free(s->path);
    *s = (rocks_store){0};
}
