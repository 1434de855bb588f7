/*
 * operand.c - steps, and chains of them.
 *
 * A chain is met from its newest end, so what is older must go in front. Numbers are joined by
 * arithmetic; the bytes of appends are kept backwards, so that going in front is appending.
 */
#include "engine/operand.h"

#include "base/error.h"
#include "base/util.h"
#include "base/varint.h"

#define NUMBER_LEN 8u
#define CHAIN_MAX (UINT32_C(64) * 1024 * 1024)
#define SET_HEAD 4u                           /* in front of each set in bytes */
#define SETS_MAX (UINT32_C(24) * 1024 * 1024) /* bytes of sets that wait to be joined */

typedef struct fold_step {
    engine_operator op;
    int64_t number;
    size_t at; /* in bytes: where its bytes begin, backwards */
    size_t len;
} fold_step;

/* ---- steps ---- */

static bool is_number(engine_operator op)
{
    return op == ENGINE_ADD || op == ENGINE_MAX;
}

bool engine_step_next(vv_slice *steps, engine_step *out)
{
    if (steps->len == 0)
        return false;
    const uint8_t *end = steps->data + steps->len;
    unsigned op = steps->data[0];
    uint64_t len = 0;
    const uint8_t *p = vv_varint_get(steps->data + 1, end, &len);
    if (op < ENGINE_ADD || op > ENGINE_SAMPLES || p == NULL || len > (uint64_t)(end - p) ||
        (size_t)(p - steps->data) != 1 + vv_varint_len(len) ||
        (is_number((engine_operator)op) && len != NUMBER_LEN))
        return false;
    *out = (engine_step){.op = (engine_operator)op, .operand = vv_slice_of(p, (size_t)len)};
    *steps = vv_slice_of(p + len, (size_t)(end - p) - (size_t)len);
    return true;
}

bool engine_steps_are_valid(vv_slice steps)
{
    engine_step step;
    bool any = false;
    while (engine_step_next(&steps, &step)) {
        if (step.op == ENGINE_SAMPLES && !series_set_is_valid(step.operand))
            return false;
        any = true;
    }
    return any && steps.len == 0;
}

size_t engine_step_head(engine_operator op, size_t operand_len, uint8_t out[6])
{
    out[0] = (uint8_t)op;
    return 1 + vv_varint_put(out + 1, operand_len);
}

/* ---- chains ---- */

void engine_fold_init(engine_fold *f)
{
    *f = (engine_fold){0};
    vv_buf_init(&f->steps, CHAIN_MAX);
    vv_buf_init(&f->bytes, CHAIN_MAX);
    vv_buf_init(&f->base, ENGINE_VALUE_MAX);
}

void engine_fold_fini(engine_fold *f)
{
    vv_buf_fini(&f->steps);
    vv_buf_fini(&f->bytes);
    vv_buf_fini(&f->base);
    series_fold_destroy(f->samples);
    f->samples = NULL;
}

static size_t step_count(const engine_fold *f)
{
    return f->steps.len / sizeof(fold_step);
}

static fold_step step_at(const engine_fold *f, size_t i)
{
    fold_step step;
    memcpy(&step, f->steps.data + i * sizeof step, sizeof step);
    return step;
}

static void set_step(engine_fold *f, size_t i, const fold_step *step)
{
    memcpy(f->steps.data + i * sizeof *step, step, sizeof *step);
}

static vv_status no_memory(vv_error *err)
{
    return vv_fail(err, VV_NO_MEMORY, "merge: no memory for a chain of operands");
}

/* Only the first ENGINE_VALUE_MAX bytes of appends that stand together can show: of the step, whose
 * bytes are the last in the buffer, the newest go. */
static void trim_append(engine_fold *f, fold_step *step)
{
    if (step->len < 2 * (size_t)ENGINE_VALUE_MAX)
        return;
    size_t over = step->len - ENGINE_VALUE_MAX;
    memmove(f->bytes.data + step->at, f->bytes.data + step->at + over, ENGINE_VALUE_MAX);
    f->bytes.len -= over;
    step->len = ENGINE_VALUE_MAX;
}

static vv_status put_backwards(engine_fold *f, vv_slice bytes, vv_error *err)
{
    uint8_t *to = vv_buf_reserve(&f->bytes, bytes.len);
    if (to == NULL)
        return no_memory(err);
    for (size_t i = 0; i < bytes.len; i++)
        to[i] = bytes.data[bytes.len - 1 - i];
    vv_buf_advance(&f->bytes, bytes.len);
    return VV_OK;
}

static int64_t join_numbers(engine_operator op, int64_t older, int64_t newer)
{
    if (op == ENGINE_MAX)
        return older > newer ? older : newer;
    return (int64_t)((uint64_t)older + (uint64_t)newer);
}

/* ---- sets of samples ---- */

/* What the step's sets come to, put into the step's fold; `from`: its first byte. */
static vv_status push_samples(engine_fold *f, const fold_step *step, vv_error *err)
{
    if (f->samples == NULL)
        f->samples = series_fold_create();
    if (f->samples == NULL)
        return no_memory(err);
    series_fold_reset(f->samples);
    vv_status st = VV_OK;
    const uint8_t *p = f->bytes.data + step->at;
    const uint8_t *end = p + step->len;
    while (st == VV_OK && p < end) {
        uint32_t len = vv_get_le32(p);
        st = series_fold_push(f->samples, vv_slice_of(p + SET_HEAD, len), err);
        p += SET_HEAD + len;
    }
    return st;
}

static series_form samples_form(const engine_fold *f)
{
    return f->is_compact ? SERIES_COMPACT : SERIES_RAW;
}

/* A chain that nobody folds for so long: its sets become one. The step is the last one. */
static vv_status shorten_samples(engine_fold *f, fold_step *step, vv_error *err)
{
    vv_buf joined;
    vv_buf_init(&joined, CHAIN_MAX);
    vv_status st = push_samples(f, step, err);
    if (st == VV_OK)
        st = series_fold_operand(f->samples, SERIES_RAW, &joined, err);
    if (st == VV_OK) {
        f->bytes.len = step->at;
        vv_buf_append_le32(&f->bytes, (uint32_t)joined.len);
        vv_buf_append_slice(&f->bytes, vv_buf_slice(&joined));
        step->len = f->bytes.len - step->at;
        st = f->bytes.status == VV_OK ? VV_OK : no_memory(err);
    }
    vv_buf_fini(&joined);
    return st;
}

static vv_status put_samples(engine_fold *f, fold_step *now, vv_slice set, vv_error *err)
{
    if (now->len > SETS_MAX) {
        vv_status st = shorten_samples(f, now, err);
        if (st != VV_OK)
            return st;
    }
    vv_buf_append_le32(&f->bytes, (uint32_t)set.len);
    vv_buf_append_slice(&f->bytes, set);
    now->len += SET_HEAD + set.len;
    return f->bytes.status == VV_OK ? VV_OK : no_memory(err);
}

/* The step as one set, appended to out. */
static vv_status join_samples(engine_fold *f, const fold_step *step, vv_buf *out, vv_error *err)
{
    vv_status st = push_samples(f, step, err);
    return st == VV_OK ? series_fold_operand(f->samples, samples_form(f), out, err) : st;
}

/* Onto the value that begins at `from` in out. */
static vv_status take_samples(engine_fold *f, const fold_step *step, size_t from, bool present,
                              vv_buf *out, vv_error *err)
{
    vv_slice under = {0};
    if (out->len > from)
        under = vv_slice_of(out->data + from, out->len - from);
    vv_buf value;
    vv_buf_init(&value, CHAIN_MAX);
    vv_status st = push_samples(f, step, err);
    if (st == VV_OK && present && series_set_is_valid(under))
        st = series_fold_push(f->samples, under, err);
    if (st == VV_OK)
        st = series_fold_value(f->samples, samples_form(f), &value, err);
    if (st == VV_OK) {
        out->len = from;
        vv_buf_append_slice(out, vv_buf_slice(&value));
    }
    vv_buf_fini(&value);
    return st;
}

/* ---- steps of the chain ---- */

/* One step in front of the chain. */
static vv_status put_older(engine_fold *f, const engine_step *step, vv_error *err)
{
    size_t n = step_count(f);
    fold_step oldest = n > 0 ? step_at(f, n - 1) : (fold_step){0};
    bool joins = n > 0 && oldest.op == step->op;
    fold_step now = joins ? oldest : (fold_step){.op = step->op, .at = f->bytes.len};
    if (step->op == ENGINE_APPEND) {
        vv_status st = put_backwards(f, step->operand, err);
        if (st != VV_OK)
            return st;
        now.len += step->operand.len;
        trim_append(f, &now);
    } else if (step->op == ENGINE_SAMPLES) {
        vv_status st = put_samples(f, &now, step->operand, err);
        if (st != VV_OK)
            return st;
    } else {
        int64_t number = (int64_t)vv_get_le64(step->operand.data);
        now.number = joins ? join_numbers(step->op, number, oldest.number) : number;
    }
    if (joins) {
        set_step(f, n - 1, &now);
        return VV_OK;
    }
    vv_buf_append(&f->steps, &now, sizeof now);
    return f->steps.status == VV_OK ? VV_OK : no_memory(err);
}

/* The steps of an operand, which come oldest first, in front of the chain. */
static vv_status put_operand(engine_fold *f, vv_slice operand, vv_error *err)
{
    vv_slice steps = {0};
    if (operand.len >= ENGINE_OPERAND_TIME)
        steps = vv_slice_of(operand.data + ENGINE_OPERAND_TIME, operand.len - ENGINE_OPERAND_TIME);
    if (!engine_steps_are_valid(steps))
        return vv_fail(err, VV_CORRUPT, "merge: an operand of %zu bytes is malformed", operand.len);
    vv_status st = VV_OK;
    /* Nearly always it is one step; of several each walk finds one more from the end. */
    const uint8_t *end = steps.data + steps.len;
    while (st == VV_OK && end > steps.data) {
        vv_slice rest = vv_slice_of(steps.data, (size_t)(end - steps.data));
        const uint8_t *last = rest.data;
        engine_step step = {0};
        while (rest.len > 0) {
            last = rest.data;
            if (!engine_step_next(&rest, &step))
                return vv_fail(err, VV_CORRUPT, "merge: an operand is malformed");
        }
        assert(step.operand.data != NULL); /* there is one: the steps are valid */
        st = put_older(f, &step, err);
        end = last;
    }
    return st;
}

vv_status engine_fold_begin(engine_fold *f, const engine_item *item, vv_error *err)
{
    assert(item->kind == ENGINE_MERGE);
    vv_buf_reset(&f->steps);
    vv_buf_reset(&f->bytes);
    vv_buf_reset(&f->base);
    f->has_base = false;
    f->is_done = false;
    f->version = item->version;
    f->expires_ns = item->expires_ns;
    f->time_ns = engine_operand_time(item->value);
    return put_operand(f, item->value, err);
}

vv_status engine_fold_push(engine_fold *f, const engine_item *item, vv_error *err)
{
    assert(!f->is_done);
    bool expired = item->expires_ns != 0 && item->expires_ns <= f->time_ns;
    if (item->kind == ENGINE_MERGE && !expired) {
        f->time_ns = engine_operand_time(item->value);
        return put_operand(f, item->value, err);
    }
    f->is_done = true;
    if (item->kind != ENGINE_PUT || expired)
        return VV_OK;
    f->has_base = true;
    vv_buf_append_slice(&f->base, item->value);
    return f->base.status == VV_OK ? VV_OK : no_memory(err);
}

/* Bytes of an append, the right way round. */
static void put_append(const engine_fold *f, const fold_step *step, size_t len, vv_buf *out)
{
    uint8_t *to = vv_buf_reserve(out, len);
    if (to == NULL)
        return;
    for (size_t i = 0; i < len; i++)
        to[i] = f->bytes.data[step->at + step->len - 1 - i];
    vv_buf_advance(out, len);
}

size_t engine_fold_size(const engine_fold *f)
{
    return ENGINE_OPERAND_TIME + step_count(f) * (NUMBER_LEN + 6) + f->bytes.len;
}

static vv_status put_joined_samples(engine_fold *f, const fold_step *step, vv_buf *out,
                                    vv_error *err)
{
    uint8_t head[6];
    vv_buf set;
    vv_buf_init(&set, CHAIN_MAX);
    vv_status st = join_samples(f, step, &set, err);
    if (st == VV_OK) {
        vv_buf_append(out, head, engine_step_head(ENGINE_SAMPLES, set.len, head));
        vv_buf_append_slice(out, vv_buf_slice(&set));
    }
    vv_buf_fini(&set);
    return st;
}

vv_status engine_fold_operand(engine_fold *f, vv_buf *out, vv_error *err)
{
    assert(!f->is_done);
    vv_status st = VV_OK;
    vv_buf_append_le64(out, (uint64_t)f->time_ns);
    for (size_t i = step_count(f); st == VV_OK && i-- > 0;) {
        fold_step step = step_at(f, i);
        uint8_t head[6];
        if (step.op == ENGINE_SAMPLES) {
            st = put_joined_samples(f, &step, out, err);
        } else if (step.op == ENGINE_APPEND) {
            size_t len = (size_t)vv_min_u64(step.len, ENGINE_VALUE_MAX);
            vv_buf_append(out, head, engine_step_head(step.op, len, head));
            put_append(f, &step, len, out);
        } else {
            vv_buf_append(out, head, engine_step_head(step.op, NUMBER_LEN, head));
            vv_buf_append_le64(out, (uint64_t)step.number);
        }
    }
    if (st == VV_OK && out->status != VV_OK)
        st = no_memory(err);
    return st;
}

/* Take one step on the value that begins at `from` in out. */
static vv_status take_step(engine_fold *f, const fold_step *step, size_t from, bool present,
                           vv_buf *out, vv_error *err)
{
    size_t len = out->len - from;
    if (step->op == ENGINE_SAMPLES)
        return take_samples(f, step, from, present, out, err);
    if (step->op == ENGINE_APPEND) {
        put_append(f, step, (size_t)vv_min_u64(step->len, ENGINE_VALUE_MAX - len), out);
        return VV_OK;
    }
    int64_t number = step->number;
    if (present && len == NUMBER_LEN)
        number = join_numbers(step->op, (int64_t)vv_get_le64(out->data + from), number);
    out->len = from;
    vv_buf_append_le64(out, (uint64_t)number);
    return VV_OK;
}

vv_status engine_fold_value(engine_fold *f, vv_buf *out, vv_error *err)
{
    size_t from = out->len;
    bool present = f->has_base;
    vv_status st = VV_OK;
    vv_buf_append_slice(out, vv_buf_slice(&f->base));
    for (size_t i = step_count(f); st == VV_OK && out->status == VV_OK && i-- > 0; present = true) {
        fold_step step = step_at(f, i);
        st = take_step(f, &step, from, present, out, err);
    }
    if (st == VV_OK && out->status != VV_OK)
        st = no_memory(err);
    return st;
}
