/*
 * btree_compress.c - values compressed one by one, with a dictionary that the store learns once.
 *
 *     stored   varint raw length | zstd frame
 *
 * As in EloqStore's stores: values below 100 bytes stay as they are, above 10 MiB they have no use
 * for a dictionary. The first flush that sees enough values trains it; the manifest keeps it for
 * ever, because pages refer to it. A value that saves less than an eighth stays as it is.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "base/varint.h"
#include "btree/btree_job_int.h"

#define VALUE_MIN 100u
#define DICT_VALUE_MAX (10 * VV_MIB)
#define TRAIN_BYTES (100 * CODEC_DICT_MAX)
#define TRAIN_SAMPLES 16384u
#define SAMPLE_MAX (128 * VV_KIB)

/* ---- contexts ---- */

static vv_status take_ctx(btree_store *s, codec_dict_ctx **out, vv_error *err)
{
    *out = NULL;
    vv_mutex_lock(&s->lock);
    for (size_t i = 0; *out == NULL && i < ARRAY_LEN(s->codecs); i++) {
        *out = s->codecs[i];
        s->codecs[i] = NULL;
    }
    vv_mutex_unlock(&s->lock);
    return *out != NULL ? VV_OK : codec_dict_ctx_create(out, err);
}

static void give_ctx(btree_store *s, codec_dict_ctx *ctx)
{
    vv_mutex_lock(&s->lock);
    for (size_t i = 0; ctx != NULL && i < ARRAY_LEN(s->codecs); i++) {
        if (s->codecs[i] == NULL) {
            s->codecs[i] = ctx;
            ctx = NULL;
        }
    }
    vv_mutex_unlock(&s->lock);
    codec_dict_ctx_destroy(ctx);
}

/* ---- the dictionary ---- */

vv_status btree_dict_adopt(btree_store *s, btree_blob *bytes, vv_error *err)
{
    codec_dict *dict = NULL;
    vv_status st = codec_dict_create(vv_slice_of(bytes->bytes, bytes->count), &dict, err);
    if (st != VV_OK)
        return st;
    btree_blob_ref(bytes);
    s->dict_bytes = bytes;
    /* Pairs with the acquire load of readers: they meet pages that need it only later. */
    atomic_store_explicit(&s->dict, dict, memory_order_release);
    return VV_OK;
}

/* Values of a memtable one behind the other, until there are enough. */
static vv_status gather_samples(engine_memtable *mem, vv_buf *bytes, size_t *sizes, unsigned *count,
                                vv_error *err)
{
    engine_source *src = NULL;
    vv_status st = engine_memtable_source(mem, &src, err);
    if (st == VV_OK)
        st = engine_source_seek(src, vv_slice_str(""), INT64_MAX, err);
    while (st == VV_OK && src->valid && bytes->len < TRAIN_BYTES && *count < TRAIN_SAMPLES) {
        vv_slice value = src->item.value;
        if (src->item.kind == ENGINE_PUT && value.len >= VALUE_MIN && value.len <= SAMPLE_MAX) {
            vv_buf_append_slice(bytes, value);
            sizes[(*count)++] = value.len;
        }
        st = engine_source_next(src, err);
    }
    engine_source_close(src);
    if (st == VV_OK && bytes->status != VV_OK)
        st = vv_fail(err, VV_NO_MEMORY, "no memory for the samples of a dictionary");
    return st;
}

/* The dictionary of what the memtables hold; VV_NOT_FOUND: too little to learn from. */
static vv_status learn(btree_job *job, vv_buf *bytes, size_t *sizes, btree_blob *blob,
                       vv_error *err)
{
    unsigned count = 0;
    size_t len = 0;
    vv_status st = VV_OK;
    for (uint32_t i = 0; st == VV_OK && i < job->mem_count; i++)
        st =
            gather_samples(job->view->mem[job->view->mem_count - 1 - i], bytes, sizes, &count, err);
    if (st == VV_OK && bytes->len < TRAIN_BYTES / 4)
        return VV_NOT_FOUND;
    if (st == VV_OK)
        st = codec_dict_train(vv_buf_slice(bytes), sizes, count, blob->bytes, &len, err);
    if (st != VV_OK)
        return st;
    blob->count = (uint32_t)len;
    return btree_dict_adopt(&job->e->store, blob, err);
}

static vv_status train(btree_job *job, vv_error *err)
{
    vv_buf bytes;
    vv_buf_init(&bytes, 2 * TRAIN_BYTES + SAMPLE_MAX);
    size_t *sizes = vv_calloc(TRAIN_SAMPLES, sizeof *sizes);
    btree_blob *blob = btree_blob_create(CODEC_DICT_MAX, 0);
    vv_status st = sizes == NULL || blob == NULL
                       ? vv_fail(err, VV_NO_MEMORY, "no memory for a dictionary")
                       : learn(job, &bytes, sizes, blob, err);
    btree_blob_unref(blob);
    vv_buf_fini(&bytes);
    vv_free(sizes);
    return st == VV_NOT_FOUND ? VV_OK : st; /* later, with more values */
}

vv_status btree_compress_begin(btree_job *job, vv_error *err)
{
    btree_store *s = &job->e->store;
    if (!job->e->opt.value_compression || job->mem_count == 0)
        return VV_OK;
    vv_status st = VV_OK;
    if (s->dict_bytes == NULL)
        st = train(job, err);
    if (st == VV_OK && s->dict_bytes != NULL && job->writer.next.dict == NULL) {
        btree_blob_ref(s->dict_bytes);
        job->writer.next.dict = s->dict_bytes;
    }
    return st;
}

/* ---- values ---- */

vv_status btree_compress_value(btree_job *job, vv_slice *value, uint8_t *flags, vv_error *err)
{
    btree_store *s = &job->e->store;
    if (!job->e->opt.value_compression || value->len < VALUE_MIN)
        return VV_OK;
    const codec_dict *dict =
        value->len > DICT_VALUE_MAX ? NULL : atomic_load_explicit(&s->dict, memory_order_relaxed);
    size_t head = vv_varint_len(value->len);
    size_t cap = value->len - value->len / 8 - head;
    vv_buf_reset(&job->packed);
    uint8_t *out = vv_buf_reserve(&job->packed, head + cap);
    if (out == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory to compress %zu bytes", value->len);
    codec_dict_ctx *ctx = NULL;
    size_t len = 0;
    vv_status st = take_ctx(s, &ctx, err);
    if (st == VV_OK)
        st = codec_dict_compress(ctx, dict, *value, out + head, cap, &len, err);
    give_ctx(s, ctx);
    if (st == VV_NO_SPACE)
        return VV_OK; /* not worth it */
    if (st != VV_OK)
        return st;
    (void)vv_varint_put(out, value->len);
    *value = vv_slice_of(out, head + len);
    *flags |= dict != NULL ? BTREE_CODEC_DICT : BTREE_CODEC_ZSTD;
    return VV_OK;
}

vv_status btree_decompress_value(btree_store *s, uint32_t flags, vv_slice stored, pgc_frame **frame,
                                 vv_error *err)
{
    const codec_dict *dict = NULL;
    uint64_t raw_len = 0;
    const uint8_t *p = vv_varint_get(stored.data, stored.data + stored.len, &raw_len);
    if (p == NULL || raw_len > ENGINE_VALUE_MAX + VV_MIB)
        return vv_fail(err, VV_CORRUPT, "a compressed value of %llu bytes",
                       (unsigned long long)raw_len);
    if ((flags & BTREE_CODEC_MASK) == BTREE_CODEC_DICT) {
        dict = atomic_load_explicit(&s->dict, memory_order_acquire);
        if (dict == NULL)
            return vv_fail(err, VV_CORRUPT, "a value needs the dictionary, which is not there");
    }
    codec_dict_ctx *ctx = NULL;
    vv_status st = pgc_frame_create(s->cache, (size_t)raw_len, frame, err);
    if (st != VV_OK)
        return st;
    st = take_ctx(s, &ctx, err);
    if (st == VV_OK)
        st =
            codec_dict_decompress(ctx, dict, vv_slice_of(p, (size_t)(stored.data + stored.len - p)),
                                  pgc_data(*frame), (size_t)raw_len, err);
    give_ctx(s, ctx);
    if (st != VV_OK) {
        pgc_unpin(*frame);
        *frame = NULL;
    }
    return st;
}
