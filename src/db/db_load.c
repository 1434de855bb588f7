/*
 * db_load.c - the content of a bulk load as one file beside the log: docs/format/load.md.
 *
 *   bulk/part-<n>  --sync, rename-->  bulk/<shard>-<sum>  --entry that names it-->  a part of the
 * log
 *
 * The entry of a load says a version and no data. With archive_log it also names this file, which
 * is durable before the entry is, and then the two together are the load: a replay that finds the
 * entry and no trace of the load in the engine's files installs it from here. So an archive that
 * has log and file brings a store to every version, past loads too. The name has the sum of the
 * bytes, and the entry too: what is installed is what was loaded.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"
#include "db/db_capture.h"
#include "db/db_int.h"
#include "engine/entry.h"

#define MAGIC "VARVEBLK"
#define VERSION 1u
#define HEAD 64u
#define PAIR 16u /* bytes before a key: length of key and value, expiry */
#define CHUNK (256u << 10)
#define ENTRY_KEY_BARE 13u /* letter, table id, count */
#define ENTRY_KEY_KEPT 29u /* and size and sum of the content */

/* ---- what an entry says ---------------------------------------------------------------------- */

size_t db_load_key(const db_load *load, uint8_t out[DB_LOAD_KEY_MAX])
{
    out[0] = CAT_SYSTEM_BULK;
    vv_put_be32(out + 1, load->table_id);
    vv_put_be64(out + 5, load->count);
    if (load->size == 0)
        return ENTRY_KEY_BARE;
    vv_put_be64(out + 13, load->size);
    vv_put_be64(out + 21, load->sum);
    return ENTRY_KEY_KEPT;
}

bool db_load_of(const wal_record *rec, db_load *out)
{
    engine_entry_iter it;
    engine_op op;
    if (rec->kind != WAL_ENTRY || engine_entry_open(rec->payload, &it, NULL) != VV_OK ||
        it.left != 1 || engine_entry_next(&it, &op, NULL) != VV_OK)
        return false;
    const uint8_t *key = op.key.data + ENGINE_TABLE_PREFIX;
    size_t len = op.key.len - ENGINE_TABLE_PREFIX;
    if (op.kind != ENGINE_DELETE || engine_key_table(op.key) != CAT_TABLE_SYSTEM ||
        (len != ENTRY_KEY_BARE && len != ENTRY_KEY_KEPT) || key[0] != CAT_SYSTEM_BULK)
        return false;
    *out = (db_load){
        .shard = rec->shard, .table_id = vv_get_be32(key + 1), .count = vv_get_be64(key + 5)};
    if (len == ENTRY_KEY_KEPT) {
        out->size = vv_get_be64(key + 13);
        out->sum = vv_get_be64(key + 21);
    }
    return true;
}

void db_load_path(const db_load *load, char out[DB_LOAD_PATH_SIZE])
{
    (void)snprintf(out, DB_LOAD_PATH_SIZE, DB_LOAD_DIR "/%03u-%016" PRIx64, load->shard % 1000,
                   load->sum);
}

/* ---- writing --------------------------------------------------------------------------------- */

struct db_load_writer {
    vv_db *db;
    vio_file *file;
    vv_buf buf;
    uint64_t written;
    XXH3_state_t *sum;
    db_load load;
    char path[DB_LOAD_PATH_SIZE]; /* of the part file, then of the content; "": none */
};

static vv_status write_out(db_load_writer *w, vv_error *err)
{
    if (w->buf.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "no memory to keep the content of a bulk load");
    vv_status st = vio_pwrite(w->file, w->written, w->buf.data, w->buf.len, err);
    (void)XXH3_64bits_update(w->sum, w->buf.data, w->buf.len);
    w->written += w->buf.len;
    vv_buf_reset(&w->buf);
    return st;
}

/* Two loads of the same have different bytes: a file has one entry that names it. */
static void put_head(db_load_writer *w, uint64_t number)
{
    static const uint8_t zeros[24];
    vv_buf_append(&w->buf, MAGIC, 8);
    vv_buf_append_le32(&w->buf, VERSION);
    vv_buf_append_le32(&w->buf, 0);
    vv_buf_append_le32(&w->buf, w->load.shard);
    vv_buf_append_le32(&w->buf, w->load.table_id);
    vv_buf_append_le64(&w->buf, (uint64_t)vv_clock_wall(w->db->env->clock));
    vv_buf_append_le64(&w->buf, number);
    vv_buf_append(&w->buf, zeros, sizeof zeros);
}

vv_status db_load_begin(vv_db *db, uint32_t shard, uint32_t table_id, db_load_writer **out,
                        vv_error *err)
{
    vio *io = db->env->io;
    uint64_t number = atomic_fetch_add_explicit(&db->kept.begun, 1, memory_order_relaxed);
    db_load_writer *w = vv_calloc(1, sizeof *w);
    if (w == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory to keep the content of a bulk load");
    w->db = db;
    w->load = (db_load){.shard = shard, .table_id = table_id};
    vv_buf_init(&w->buf, CHUNK + VV_VALUE_MAX + VV_KEY_MAX + PAIR + HEAD);
    w->sum = vv_alloc_aligned(64, sizeof *w->sum);
    vv_status st = w->sum != NULL
                       ? VV_OK
                       : vv_fail(err, VV_NO_MEMORY, "no memory to keep the content of a bulk load");
    if (st == VV_OK)
        st = vio_mkdir(io, DB_LOAD_DIR, err);
    char part[DB_LOAD_PATH_SIZE];
    (void)snprintf(part, sizeof part, DB_LOAD_DIR "/part-%" PRIu64, number);
    if (st == VV_OK)
        st = vio_open(io, part, VIO_WRITE | VIO_CREATE | VIO_EXCL, &w->file, err);
    if (st != VV_OK) {
        db_load_abort(w);
        return st;
    }
    memcpy(w->path, part, sizeof part);
    (void)XXH3_64bits_reset(w->sum);
    put_head(w, number);
    *out = w;
    return VV_OK;
}

vv_status db_load_put(db_load_writer *w, vv_slice key, vv_slice value, int64_t expires_ns,
                      vv_error *err)
{
    uint8_t head[PAIR];
    vv_put_le32(head, (uint32_t)key.len);
    vv_put_le32(head + 4, (uint32_t)value.len);
    vv_put_le64(head + 8, (uint64_t)expires_ns);
    vv_buf_append(&w->buf, head, sizeof head);
    vv_buf_append_slice(&w->buf, key);
    vv_buf_append_slice(&w->buf, value);
    w->load.count++;
    return w->buf.len >= CHUNK || w->buf.status != VV_OK ? write_out(w, err) : VV_OK;
}

vv_status db_load_end(db_load_writer *w, db_load *out, vv_error *err)
{
    vio *io = w->db->env->io;
    char path[DB_LOAD_PATH_SIZE];
    vv_status st = write_out(w, err);
    if (st == VV_OK)
        st = vio_sync(w->file, err);
    w->load.size = w->written;
    w->load.sum = XXH3_64bits_digest(w->sum);
    db_load_path(&w->load, path);
    vio_close(w->file);
    w->file = NULL;
    if (st == VV_OK)
        st = vio_rename(io, w->path, path, err);
    if (st == VV_OK)
        memcpy(w->path, path, sizeof path);
    if (st == VV_OK)
        st = vio_sync_dir(io, DB_LOAD_DIR, err);
    if (st == VV_OK) /* the directory may be a new one */
        st = vio_sync_dir(io, "", err);
    *out = w->load;
    return st;
}

void db_load_abort(db_load_writer *w)
{
    if (w == NULL)
        return;
    vio_close(w->file);
    if (w->path[0] != '\0') /* left behind, the next open removes it */
        (void)!vio_remove(w->db->env->io, w->path, NULL);
    db_load_free(w);
}

void db_load_free(db_load_writer *w)
{
    if (w == NULL)
        return;
    vv_buf_fini(&w->buf);
    vv_free(w->sum);
    vv_free(w);
}

/* ---- reading --------------------------------------------------------------------------------- */

typedef struct reader {
    vio_file *file;
    uint64_t size;
    uint64_t read; /* of the file */
    vv_buf buf;
    size_t at; /* in buf */
    XXH3_state_t *sum;
} reader;

/* The next n bytes, or NULL: the file ends before. They stay until the next call. */
static vv_status take(reader *r, size_t n, const uint8_t **out, vv_error *err)
{
    size_t left = r->buf.len - r->at;
    if (left < n) {
        if (n - left > r->size - r->read)
            return vv_fail(err, VV_CORRUPT, "it ends within a pair");
        size_t more = (size_t)vv_min_u64(vv_max_u64(CHUNK, n - left), r->size - r->read);
        if (left > 0)
            memmove(r->buf.data, r->buf.data + r->at, left);
        r->buf.len = left;
        r->at = 0;
        uint8_t *to = vv_buf_reserve(&r->buf, more);
        if (to == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory to read the content of a bulk load");
        vv_status st = vio_pread_full(r->file, r->read, to, more, err);
        if (st != VV_OK)
            return st;
        (void)XXH3_64bits_update(r->sum, to, more);
        vv_buf_advance(&r->buf, more);
        r->read += more;
    }
    *out = r->buf.data + r->at;
    r->at += n;
    return VV_OK;
}

static vv_status read_head(reader *r, const db_load *load, vv_error *err)
{
    const uint8_t *p = NULL;
    vv_status st = take(r, HEAD, &p, err);
    if (st != VV_OK)
        return st;
    if (memcmp(p, MAGIC, 8) != 0)
        return vv_fail(err, VV_CORRUPT, "it is no content of a bulk load");
    if (vv_get_le32(p + 8) != VERSION || vv_get_le32(p + 12) != 0)
        return vv_fail(err, VV_UNSUPPORTED,
                       "format version %u with feature bits %#x, this build reads version %u "
                       "without any: use the version of varve that wrote it",
                       vv_get_le32(p + 8), vv_get_le32(p + 12), VERSION);
    if (vv_get_le32(p + 16) != load->shard || vv_get_le32(p + 20) != load->table_id)
        return vv_fail(err, VV_CORRUPT, "it is the content of another load");
    return VV_OK;
}

typedef vv_status (*pair_fn)(void *ctx, vv_slice key, vv_slice value, int64_t expires_ns,
                             vv_error *err);

static vv_status read_pair(reader *r, pair_fn each, void *ctx, vv_error *err)
{
    const uint8_t *p = NULL;
    vv_status st = take(r, PAIR, &p, err);
    if (st != VV_OK)
        return st;
    size_t key_len = vv_get_le32(p);
    size_t value_len = vv_get_le32(p + 4);
    int64_t expires_ns = (int64_t)vv_get_le64(p + 8);
    if (key_len == 0 || key_len > VV_KEY_MAX || value_len > VV_VALUE_MAX || expires_ns < 0)
        return vv_fail(err, VV_CORRUPT, "a pair in it is malformed");
    st = take(r, key_len + value_len, &p, err);
    if (st != VV_OK || each == NULL)
        return st;
    return each(ctx, vv_slice_of(p, key_len), vv_slice_of(p + key_len, value_len), expires_ns, err);
}

static vv_status read_all(reader *r, const db_load *load, pair_fn each, void *ctx, vv_error *err)
{
    vv_status st = vio_size(r->file, &r->size, err);
    if (st == VV_OK && r->size != load->size)
        st = vv_fail(err, VV_CORRUPT, "it has %" PRIu64 " of %" PRIu64 " bytes", r->size,
                     load->size);
    if (st == VV_OK)
        st = read_head(r, load, err);
    for (uint64_t i = 0; st == VV_OK && i < load->count; i++)
        st = read_pair(r, each, ctx, err);
    if (st == VV_OK && (r->read != r->size || r->at != r->buf.len))
        st = vv_fail(err, VV_CORRUPT, "bytes follow its pairs");
    if (st == VV_OK && XXH3_64bits_digest(r->sum) != load->sum)
        st = vv_fail(err, VV_CORRUPT, "it fails its sum");
    return st;
}

/* Each pair in order. That the bytes are the right ones is known at the end alone. */
static vv_status read_load(vio *io, const db_load *load, pair_fn each, void *ctx, vv_error *err)
{
    char path[DB_LOAD_PATH_SIZE];
    reader r = {0};
    db_load_path(load, path);
    vv_buf_init(&r.buf, CHUNK + VV_KEY_MAX + VV_VALUE_MAX);
    r.sum = vv_alloc_aligned(64, sizeof *r.sum);
    if (r.sum == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory to read the content of a bulk load");
    (void)XXH3_64bits_reset(r.sum);
    vv_status st = vio_open(io, path, VIO_READ, &r.file, err);
    if (st == VV_OK)
        st = read_all(&r, load, each, ctx, err);
    vio_close(r.file);
    vv_buf_fini(&r.buf);
    vv_free(r.sum);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "the content of a bulk load, '%s'", path);
}

/* ---- checking -------------------------------------------------------------------------------- */

typedef struct checking {
    vio *io;
    void (*finding)(void *ctx, const char *text);
    void *ctx;
    vv_status st;
    vv_error *err;
} checking;

static vv_status sum_file(vio_file *file, XXH3_state_t *state, uint8_t *buf, vv_error *err)
{
    uint64_t size = 0;
    vv_status st = vio_size(file, &size, err);
    (void)XXH3_64bits_reset(state);
    for (uint64_t at = 0; st == VV_OK && at < size; at += CHUNK) {
        size_t n = (size_t)vv_min_u64(CHUNK, size - at);
        st = vio_pread_full(file, at, buf, n, err);
        if (st == VV_OK)
            (void)XXH3_64bits_update(state, buf, n);
    }
    return st;
}

static vv_status sum_of(vio *io, const char *path, uint64_t *sum, vv_error *err)
{
    vio_file *file = NULL;
    XXH3_state_t *state = vv_alloc_aligned(64, sizeof *state);
    uint8_t *buf = vv_alloc(CHUNK);
    vv_status st;
    if (state == NULL || buf == NULL)
        st = vv_fail(err, VV_NO_MEMORY, "no memory to check '%s'", path);
    else if ((st = vio_open(io, path, VIO_READ, &file, err)) == VV_OK &&
             (st = sum_file(file, state, buf, err)) == VV_OK)
        *sum = XXH3_64bits_digest(state);
    vio_close(file);
    vv_free(buf);
    vv_free(state);
    return st;
}

/* The name has the sum. Files with another kind of name are leftovers: the next open removes them.
 */
static void check_file(void *ctx, const char *name)
{
    checking *c = ctx;
    char path[DB_LOAD_PATH_SIZE];
    char again[DB_LOAD_PATH_SIZE];
    char text[160];
    db_load named = {0};
    uint64_t sum = 0;
    if (c->st != VV_OK || sscanf(name, "%3" SCNu32 "-%16" SCNx64, &named.shard, &named.sum) != 2 ||
        strlen(name) != 20)
        return;
    (void)snprintf(path, sizeof path, DB_LOAD_DIR "/%s", name);
    db_load_path(&named, again);
    if (strcmp(path, again) != 0)
        return;
    c->st = sum_of(c->io, path, &sum, c->err);
    if (c->st != VV_OK || sum == named.sum)
        return;
    (void)snprintf(text, sizeof text, "the content of a bulk load, '%s': it fails its sum", path);
    c->finding(c->ctx, text);
}

vv_status db_load_check_dir(vio *io, void (*finding)(void *ctx, const char *text), void *ctx,
                            vv_error *err)
{
    checking c = {.io = io, .finding = finding, .ctx = ctx, .err = err};
    vv_status st = vio_list(io, DB_LOAD_DIR, check_file, &c, err);
    return st == VV_OK ? c.st : st == VV_NOT_FOUND ? VV_OK : st;
}

/* ---- replay ---------------------------------------------------------------------------------- */

typedef struct redo {
    const engine_bulk_ops *ops;
    engine_bulk *run;
    uint64_t count;
    uint8_t key[ENGINE_KEY_MAX];
    size_t key_len;
} redo;

static vv_status redo_pair(void *ctx, vv_slice key, vv_slice value, int64_t expires_ns,
                           vv_error *err)
{
    redo *r = ctx;
    vv_slice last = vv_slice_of(r->key + ENGINE_TABLE_PREFIX, r->key_len - ENGINE_TABLE_PREFIX);
    if (r->count++ > 0 && vv_slice_cmp(key, last) <= 0)
        return vv_fail(err, VV_CORRUPT, "its keys are not in order");
    memcpy(r->key + ENGINE_TABLE_PREFIX, key.data, key.len);
    r->key_len = ENGINE_TABLE_PREFIX + key.len;
    return r->ops->put(r->run, vv_slice_of(r->key, r->key_len), value, expires_ns, err);
}

/* What was replayed so far goes to runs, so that the load lies above all of it. */
static vv_status clear_memtables(vv_db *db, db_shard *shard, const redo *r, vv_error *err)
{
    vv_status st = VV_OK;
    while (st == VV_OK && !r->ops->is_clear(r->run)) {
        st = db->ops->freeze(shard->eng, err);
        if (st == VV_OK || st == VV_BUSY)
            st = db->ops->work(shard->eng, err);
        if (st == VV_NOT_FOUND)
            st = vv_fail(err, VV_IO, "nothing is left to flush before a bulk load");
    }
    return st;
}

static vv_status install(vv_db *db, db_shard *shard, engine *eng, const db_load *load,
                         int64_t version, vv_error *err)
{
    redo r = {.ops = eng->ops->bulk, .key_len = ENGINE_TABLE_PREFIX};
    vv_put_be32(r.key, load->table_id);
    vv_status st = r.ops->begin(eng, &r.run, err);
    if (st != VV_OK)
        return st;
    st = read_load(db->env->io, load, redo_pair, &r, err);
    if (st == VV_OK)
        st = r.ops->seal(r.run, err);
    if (st == VV_OK)
        st = clear_memtables(db, shard, &r, err);
    if (st == VV_OK)
        st = r.ops->install(r.run, version, err);
    r.ops->destroy(r.run);
    return st;
}

vv_status db_load_replay(vv_db *db, db_shard *shard, const db_load *load, int64_t version,
                         vv_error *err)
{
    engine *eng = engine_route_of(shard->eng, load->table_id);
    char path[DB_LOAD_PATH_SIZE];
    vio_file *file = NULL;
    if (load->size == 0 || (eng->ops->bulk != NULL && eng->ops->bulk->is_past(eng, version)))
        return VV_OK;
    db_load_path(load, path);
    if (eng->ops->bulk == NULL)
        return vv_fail(err, VV_CORRUPT, "a bulk load into table %u, whose engine %s takes none",
                       load->table_id, eng->ops->name);
    vv_status st = vio_open(db->env->io, path, VIO_READ, &file, err);
    vio_close(file);
    if (st == VV_NOT_FOUND)
        return vv_fail(err, VV_CORRUPT, "the content of a bulk load, '%s', is missing", path);
    if (st == VV_OK && db->opt.read_only)
        return vv_fail(err, VV_BUSY,
                       "a bulk load is still in '%s' alone: open the store once for writing", path);
    if (st == VV_OK)
        st = install(db, shard, eng, load, version, err);
    if (st == VV_OK)
        vv_log_to(db->env->log, VV_LOG_INFO, "db", "bulk load installed from its content",
                  VV_KV_S("file", path), VV_KV_U("shard", shard->id), VV_KV_I("version", version));
    return st;
}
