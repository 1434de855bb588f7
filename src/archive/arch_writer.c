/*
 * arch_writer.c - messages in, an object out.
 *
 *     add --> raw block --full--> packed --> sink          finish: index and footer
 *        `--> receive times, ranges of attributes ----------------^
 *
 * A raw block: the messages as stream_message_encode makes them, one behind the other; then runs of
 * receive times (varint messages, varint nanoseconds above the run before); then the runs' length.
 *
 * Why the first blocks are small: what waits for its block counts by an estimate, so it must stay
 * small beside what is written already, or objects are cut at the wrong size. A block is at most an
 * eighth of the object so far, at least 16 KiB. Why a dictionary is tried before it is used: what
 * it saves depends on the data, and packing with it is slower. It is trained on the first messages,
 * the next block is packed both ways, and it stays where it saves a twentieth, and its own size
 * within 4 MiB of such messages. Blocks of twice that size try again.
 *
 * Memory: one block, raw and packed, the index so far, the ranges; at first 128 KiB of samples. A
 * message that is larger than a block is one by itself, and its buffers go with it.
 */
#include "archive/arch_int.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/util.h"
#include "base/varint.h"

#define BLOCK_FIRST (16u * 1024)
#define BLOCK_PART 8u /* a block is at most this part of the object so far */
#define BLOCK_OPTION_MAX (4u * 1024 * 1024)
#define MESSAGE_MAX (ARCH_BLOCK_MAX - 64) /* bytes of a message, its length in front */
#define RUN_MAX (2 * VV_VARINT_MAX)
#define TRAILER 4u
#define SAMPLES_LEN (128u * 1024)
#define SAMPLES_MAX 4096u
#define SAMPLE_LEN_MAX (8u * 1024) /* of one message */
#define DICTIONARY_LEN (16u * 1024)
#define PAYS_PART 20u
#define KEPT_BLOCKS 4u /* a buffer of more blocks than that is not kept */
#define PAYS_RAW (4u * 1024 * 1024)
#define ENTRIES_MAX                                                                                \
    (ARCH_INDEX_MAX - 2 * ARCH_COLUMN_BYTES_MAX - ARCH_DICTIONARY_MAX - ARCH_HEADER_MAX)

typedef enum dict_state {
    DICT_NEVER,    /* without one */
    DICT_SAMPLING, /* collecting messages to train one */
    DICT_TRIAL,    /* there is one: does it pay for blocks of this size? */
    DICT_USED,
    DICT_GIVEN, /* used without a question */
} dict_state;

struct arch_writer {
    arch_sink sink;
    arch_identity who;
    vv_tier_codec codec;
    uint32_t block_bytes;
    arch_pack *pack;
    arch_columns *columns;
    uint8_t header[ARCH_HEADER_MAX];
    size_t header_len;
    vv_status failed;    /* latched */
    uint64_t at;         /* bytes written */
    uint32_t crc;        /* of them */
    uint64_t packed_raw; /* of the last block: what the ratio is taken from */
    uint64_t packed_len;
    arch_summary sum;
    vv_buf entries;
    uint32_t block_count;
    /* the block that is being filled */
    arch_block block;
    vv_buf raw;
    vv_buf times;
    vv_buf packed;
    int64_t run_ns;    /* receive time of the last run */
    int64_t run_above; /* that of the run before */
    uint64_t run_count;
    /* the dictionary */
    dict_state dict;
    bool has_dictionary; /* a block is packed with it */
    size_t tried;        /* bytes of the block it was tried on last */
    vv_buf samples;
    vv_buf trial; /* the block with it */
    size_t *sample_size;
    unsigned sample_count;
};

static size_t pending(const arch_writer *w)
{
    return w->raw.len + w->times.len + RUN_MAX + TRAILER;
}

static vv_status latch(arch_writer *w, vv_status st)
{
    w->failed = st;
    return st;
}

/* ---- opening and closing ---- */

void arch_writer_close(arch_writer *w)
{
    if (w == NULL)
        return;
    arch_pack_destroy(w->pack);
    arch_columns_destroy(w->columns);
    vv_buf_fini(&w->entries);
    vv_buf_fini(&w->raw);
    vv_buf_fini(&w->times);
    vv_buf_fini(&w->packed);
    vv_buf_fini(&w->samples);
    vv_buf_fini(&w->trial);
    vv_free(w->sample_size);
    vv_free(w);
}

static vv_status check_options(const arch_writer_options *opt, vv_error *err)
{
    if (opt->block_bytes > BLOCK_OPTION_MAX)
        return vv_fail(err, VV_INVALID, "blocks of %" PRIu32 " bytes: at most %u", opt->block_bytes,
                       BLOCK_OPTION_MAX);
    if (opt->who.tenant[0] == '\0' || opt->who.table[0] == '\0' ||
        opt->who.partition >= opt->who.partition_count)
        return vv_fail(err, VV_INVALID,
                       "an object of partition %" PRIu32 " of %" PRIu32
                       " of table '%s' of tenant '%s': there is none",
                       opt->who.partition, opt->who.partition_count, opt->who.table,
                       opt->who.tenant);
    if (opt->dictionary.len > 0 && opt->codec > VV_TIER_ZSTD)
        return vv_fail(err, VV_INVALID, "a dictionary is for zstd alone");
    return VV_OK;
}

static vv_status prepare_dictionary(arch_writer *w, const arch_writer_options *opt, vv_error *err)
{
    if (w->codec != VV_TIER_ZSTD)
        return VV_OK;
    if (opt->dictionary.len > 0) {
        w->dict = DICT_GIVEN;
        w->has_dictionary = true;
        return arch_pack_dictionary(w->pack, opt->dictionary, err);
    }
    w->dict = DICT_SAMPLING;
    w->sample_size = vv_alloc(SAMPLES_MAX * sizeof *w->sample_size);
    return w->sample_size != NULL ? VV_OK : vv_fail(err, VV_NO_MEMORY, "no memory for samples");
}

vv_status arch_writer_open(const arch_writer_options *opt, arch_sink sink, arch_writer **out,
                           vv_error *err)
{
    assert(opt != NULL && out != NULL && sink.write != NULL);
    vv_status st = check_options(opt, err);
    if (st != VV_OK)
        return st;
    arch_writer *w = vv_calloc(1, sizeof *w);
    if (w == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for the writer of an object");
    w->sink = sink;
    w->who = opt->who;
    w->codec = opt->codec == 0 ? VV_TIER_ZSTD : opt->codec;
    w->block_bytes = opt->block_bytes == 0 ? ARCH_BLOCK_TARGET : opt->block_bytes;
    w->sum.event_min_ns = STREAM_NO_TIME;
    w->sum.event_max_ns = STREAM_NO_TIME;
    vv_buf_init(&w->entries, ENTRIES_MAX);
    vv_buf_init(&w->raw, ARCH_BLOCK_MAX);
    vv_buf_init(&w->times, ARCH_BLOCK_MAX);
    vv_buf_init(&w->packed, ARCH_BLOCK_MAX);
    vv_buf_init(&w->samples, SAMPLES_LEN + SAMPLE_LEN_MAX);
    vv_buf_init(&w->trial, ARCH_BLOCK_MAX);
    st = arch_pack_create(w->codec, opt->level, &w->pack, err);
    if (st == VV_OK)
        st = arch_columns_create(&w->columns, err);
    if (st == VV_OK)
        st = prepare_dictionary(w, opt, err);
    if (st != VV_OK) {
        arch_writer_close(w);
        return st;
    }
    *out = w;
    return VV_OK;
}

/* ---- blocks ---- */

static vv_status put(arch_writer *w, vv_slice bytes, vv_error *err)
{
    if (bytes.len == 0)
        return VV_OK;
    vv_status st = w->sink.write(w->sink.ctx, bytes.data, bytes.len, err);
    if (st != VV_OK)
        return latch(w, vv_wrap(err, st, "object: offset %" PRIu64, w->at));
    w->crc = vv_crc32c(w->crc, bytes.data, bytes.len);
    w->at += bytes.len;
    return VV_OK;
}

static void begin_block(arch_writer *w)
{
    w->block = (arch_block){.first = w->sum.next,
                            .at = w->at,
                            .event_min_ns = STREAM_NO_TIME,
                            .event_max_ns = STREAM_NO_TIME};
    vv_buf_reset(&w->raw);
    vv_buf_reset(&w->times);
    w->run_count = 0;
}

static void end_run(arch_writer *w)
{
    if (w->run_count == 0)
        return;
    vv_buf_append_varint(&w->times, w->run_count);
    vv_buf_append_varint(&w->times, (uint64_t)w->run_ns - (uint64_t)w->run_above);
    w->run_above = w->run_ns;
    w->run_count = 0;
}

static void drop_samples(arch_writer *w, dict_state next)
{
    vv_buf_fini(&w->samples);
    vv_buf_init(&w->samples, 0);
    vv_free(w->sample_size);
    w->sample_size = NULL;
    w->dict = next;
}

static bool has_samples(const arch_writer *w)
{
    return w->sample_count == SAMPLES_MAX || w->samples.len >= SAMPLES_LEN;
}

/* The samples are enough: a dictionary, to be tried on the next block. */
static vv_status train(arch_writer *w, vv_error *err)
{
    size_t len = 0;
    uint8_t *bytes = vv_alloc(DICTIONARY_LEN);
    if (bytes == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory to train a dictionary");
    vv_status st = codec_block_dict_train(w->samples.data, w->sample_size, w->sample_count, bytes,
                                          DICTIONARY_LEN, &len);
    if (st == VV_OK)
        st = arch_pack_dictionary(w->pack, vv_slice_of(bytes, len), err);
    vv_free(bytes);
    drop_samples(w, st == VV_OK ? DICT_TRIAL : DICT_NEVER);
    return st == VV_NO_MEMORY ? st : VV_OK; /* what gives no dictionary goes without */
}

static bool pays(const arch_writer *w, size_t without, size_t with)
{
    size_t saved = without > with ? without - with : 0;
    return saved > without / PAYS_PART &&
           (uint64_t)saved * PAYS_RAW / w->raw.len > arch_pack_dictionary_bytes(w->pack).len;
}

/* Pack the block; *out is where it is then. */
static vv_status pack_block(arch_writer *w, vv_buf **out, vv_error *err)
{
    vv_slice raw = vv_buf_slice(&w->raw);
    *out = &w->packed;
    if (w->dict == DICT_USED && raw.len >= 2 * w->tried)
        w->dict = DICT_TRIAL;
    bool with = w->dict == DICT_USED || w->dict == DICT_GIVEN;
    vv_status st = arch_pack_block(w->pack, raw, with, &w->packed, &w->block.stored, err);
    if (st != VV_OK || w->dict != DICT_TRIAL)
        return st;
    arch_stored stored = ARCH_STORED_PLAIN;
    st = arch_pack_block(w->pack, raw, true, &w->trial, &stored, err);
    if (st != VV_OK)
        return st;
    w->dict = DICT_NEVER;
    w->tried = raw.len;
    if (pays(w, w->packed.len, w->trial.len)) {
        w->dict = DICT_USED;
        w->has_dictionary = true;
        w->block.stored = stored;
        *out = &w->trial;
    }
    return VV_OK;
}

static vv_status index_block(arch_writer *w, vv_slice stored, vv_error *err)
{
    uint8_t entry[ARCH_BLOCK_ENTRY];
    w->block.len = (uint32_t)stored.len;
    w->block.raw_len = (uint32_t)w->raw.len;
    w->block.crc32c = vv_crc32c(0, stored.data, stored.len);
    arch_block_encode(&w->block, entry);
    vv_buf_append(&w->entries, entry, sizeof entry);
    if (w->entries.status == VV_BUSY)
        return vv_fail(err, VV_NO_SPACE,
                       "object: %" PRIu32 " blocks are more than its index holds: cut it earlier",
                       w->block_count);
    if (w->entries.status != VV_OK)
        return vv_fail(err, w->entries.status, "no memory for the index of an object");
    return arch_columns_block(w->columns, w->block_count, err);
}

/* What a message of many MiB took is not kept for the next of some hundred bytes. */
static void give_back(arch_writer *w)
{
    if (w->raw.cap <= KEPT_BLOCKS * (size_t)w->block_bytes)
        return;
    vv_buf_fini(&w->raw);
    vv_buf_fini(&w->packed);
    vv_buf_fini(&w->trial);
}

static vv_status end_block(arch_writer *w, vv_error *err)
{
    vv_buf *packed = NULL;
    end_run(w);
    vv_buf_append_slice(&w->raw, vv_buf_slice(&w->times));
    vv_buf_append_le32(&w->raw, (uint32_t)w->times.len);
    vv_status st = w->raw.status != VV_OK ? w->raw.status : w->times.status;
    if (st != VV_OK)
        return latch(w, vv_fail(err, st, "no memory for a block of %zu bytes", pending(w)));
    st = pack_block(w, &packed, err);
    if (st == VV_OK)
        st = index_block(w, vv_buf_slice(packed), err);
    if (st == VV_OK)
        st = put(w, vv_buf_slice(packed), err);
    if (st == VV_OK && w->dict == DICT_SAMPLING && has_samples(w))
        st = train(w, err);
    if (st != VV_OK)
        return latch(w, st);
    w->packed_raw = w->raw.len;
    w->packed_len = packed->len;
    w->block_count++;
    begin_block(w);
    give_back(w);
    return VV_OK;
}

/* ---- messages ---- */

static void sample(arch_writer *w, vv_slice message)
{
    if (has_samples(w))
        return;
    size_t len = vv_min_u64(message.len, SAMPLE_LEN_MAX);
    size_t before = w->samples.len;
    vv_buf_append(&w->samples, message.data, len);
    if (w->samples.len > before) /* else memory is short: seen by arch_writer_add */
        w->sample_size[w->sample_count++] = len;
}

static size_t block_target(const arch_writer *w)
{
    uint64_t part = vv_max_u64(w->at / BLOCK_PART, BLOCK_FIRST);
    return vv_min_u64(part, w->block_bytes);
}

static vv_status check_message(const arch_writer *w, const vv_message *m, uint64_t size,
                               vv_error *err)
{
    if (size > MESSAGE_MAX)
        return vv_fail(err, VV_INVALID,
                       "message %" PRIu64 " takes %" PRIu64 " bytes: a block of an object holds %u",
                       m->offset, size, MESSAGE_MAX);
    if (w->header_len == 0)
        return VV_OK;
    if (m->offset != w->sum.next)
        return vv_fail(err, VV_INVALID, "message %" PRIu64 " where %" PRIu64 " follows", m->offset,
                       w->sum.next);
    if (m->receive_time_ns < w->sum.receive_last_ns)
        return vv_fail(err, VV_INVALID, "message %" PRIu64 " was received before the one before it",
                       m->offset);
    return VV_OK;
}

static vv_status begin_object(arch_writer *w, const vv_message *m, vv_error *err)
{
    w->header_len = arch_header_encode(&w->who, w->codec, m->offset, w->header);
    w->sum.first = m->offset;
    w->sum.next = m->offset;
    w->sum.receive_first_ns = m->receive_time_ns;
    vv_status st = put(w, vv_slice_of(w->header, w->header_len), err);
    begin_block(w);
    return st;
}

static void widen(int64_t *min, int64_t *max, int64_t event)
{
    if (*max == STREAM_NO_TIME || event < *min)
        *min = event;
    if (*max == STREAM_NO_TIME || event > *max)
        *max = event;
}

/* The message's times, into its block and the object. */
static void note_times(arch_writer *w, const vv_message *m)
{
    arch_block *b = &w->block;
    if (b->count == 0) {
        b->receive_first_ns = m->receive_time_ns;
        w->run_above = m->receive_time_ns;
        w->run_ns = m->receive_time_ns;
    }
    if (m->receive_time_ns != w->run_ns)
        end_run(w);
    w->run_ns = m->receive_time_ns;
    w->run_count++;
    b->receive_last_ns = m->receive_time_ns;
    w->sum.receive_last_ns = m->receive_time_ns;
    b->has_untimed |= m->event_time_ns == 0;
    if (m->event_time_ns == 0)
        return;
    widen(&b->event_min_ns, &b->event_max_ns, arch_event_time(m));
    widen(&w->sum.event_min_ns, &w->sum.event_max_ns, arch_event_time(m));
}

vv_status arch_writer_add(arch_writer *w, const vv_message *m, vv_error *err)
{
    assert(w != NULL && m != NULL);
    uint64_t size = stream_message_size(m);
    uint64_t total = size + vv_varint_len(size);
    if (w->failed != VV_OK)
        return vv_fail(err, w->failed, "object: a write of it failed before");
    vv_status st = check_message(w, m, total, err);
    if (st == VV_OK && w->header_len == 0)
        st = begin_object(w, m, err);
    if (st == VV_OK && w->block.count > 0 && pending(w) + total > block_target(w))
        st = end_block(w, err);
    if (st != VV_OK)
        return st;
    size_t before = w->raw.len;
    stream_message_encode_sized(m, size, &w->raw);
    if (w->raw.status != VV_OK)
        return latch(
            w, vv_fail(err, w->raw.status, "no memory for a message of %" PRIu64 " bytes", total));
    if (w->dict == DICT_SAMPLING)
        sample(w, vv_slice_of(w->raw.data + before, w->raw.len - before));
    if (w->samples.status != VV_OK)
        return latch(w, vv_fail(err, w->samples.status, "no memory for samples of messages"));
    note_times(w, m);
    arch_columns_add(w->columns, m);
    w->block.count++;
    w->sum.next++;
    w->sum.raw_bytes += size;
    return pending(w) >= block_target(w) ? end_block(w, err) : VV_OK;
}

uint64_t arch_writer_count(const arch_writer *w)
{
    return w->sum.next - w->sum.first;
}

uint64_t arch_writer_size(const arch_writer *w)
{
    if (w->header_len == 0)
        return 0;
    uint64_t size =
        w->at + w->header_len + arch_columns_size(w->columns) + w->entries.len + ARCH_FOOTER_SIZE;
    if (w->has_dictionary)
        size += arch_pack_dictionary_bytes(w->pack).len;
    if (w->block.count == 0)
        return size;
    uint64_t raw = pending(w);
    uint64_t stored = w->packed_raw > 0           ? raw * w->packed_len / w->packed_raw
                      : w->codec == VV_TIER_PLAIN ? raw
                                                  : raw / 2;
    return size + stored + ARCH_BLOCK_ENTRY;
}

uint64_t arch_writer_memory(const arch_writer *w)
{
    return w->entries.cap + w->raw.cap + w->times.cap + w->packed.cap + w->samples.cap +
           w->trial.cap + 2 * arch_columns_size(w->columns);
}

/* ---- the end ---- */

/* Everything between index_at and the footer. */
static vv_status put_index(arch_writer *w, arch_footer *f, vv_error *err)
{
    vv_buf columns;
    vv_slice dictionary = w->has_dictionary ? arch_pack_dictionary_bytes(w->pack)
                                            : (vv_slice){.data = NULL, .len = 0};
    vv_buf_init(&columns, 2 * ARCH_COLUMN_BYTES_MAX);
    arch_columns_encode(w->columns, &columns);
    vv_status st = columns.status;
    if (st != VV_OK) {
        vv_buf_fini(&columns);
        return latch(w, vv_fail(err, st, "no memory for the columns of an object"));
    }
    const vv_slice parts[] = {vv_slice_of(w->header, w->header_len), dictionary,
                              vv_buf_slice(&columns), vv_buf_slice(&w->entries)};
    for (size_t i = 0; i < ARRAY_LEN(parts) && st == VV_OK; i++) {
        f->index_crc = vv_crc32c(f->index_crc, parts[i].data, parts[i].len);
        f->index_len += (uint32_t)parts[i].len;
        st = put(w, parts[i], err);
    }
    f->header_len = (uint32_t)w->header_len;
    f->dictionary_len = (uint32_t)dictionary.len;
    f->columns_len = (uint32_t)columns.len;
    f->index_len += ARCH_FOOTER_SIZE;
    vv_buf_fini(&columns);
    return st;
}

vv_status arch_writer_finish(arch_writer *w, arch_summary *out, vv_error *err)
{
    assert(w != NULL && out != NULL);
    uint8_t bytes[ARCH_FOOTER_SIZE];
    vv_status st = VV_OK;
    if (w->failed != VV_OK)
        return vv_fail(err, w->failed, "object: a write of it failed before");
    if (w->header_len == 0)
        return vv_fail(err, VV_INVALID, "an object without a message");
    if (w->block.count > 0)
        st = end_block(w, err);
    if (st != VV_OK)
        return st;
    arch_footer f = {
        .index_at = w->at, .block_count = w->block_count, .intent = w->who.intent, .sum = w->sum};
    st = put_index(w, &f, err);
    if (st != VV_OK)
        return st;
    f.body_crc = w->crc;
    arch_footer_encode(&f, bytes);
    st = put(w, vv_slice_of(bytes, sizeof bytes), err);
    if (st != VV_OK)
        return st;
    *out = w->sum;
    out->size = w->at;
    out->crc32c = w->crc;
    out->index_at = f.index_at;
    out->index_len = f.index_len;
    w->failed = VV_CLOSED; /* an object is finished once */
    return VV_OK;
}
