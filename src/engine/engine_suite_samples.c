/*
 * engine_suite_samples.c - sets of samples for the suites.
 */
#include "engine/engine_suite_samples.h"

#include "engine/operand.h"
#include "vv_test.h"

size_t suite_set_make(vv_rng *rng, bool may_erase, uint8_t *out)
{
    int64_t time[SUITE_SET_SAMPLES];
    double value[SUITE_SET_SAMPLES];
    uint32_t quality[SUITE_SET_SAMPLES];
    vv_buf buf = {.data = out, .cap = SUITE_SET_ROOM, .max = SUITE_SET_ROOM};
    int64_t at = (int64_t)vv_rng_below(rng, SUITE_SET_SPAN);
    if (may_erase && vv_rng_one_in(rng, 12)) {
        series_set_erase(at, at + 1 + (int64_t)vv_rng_below(rng, 60), &buf);
        return buf.len;
    }
    uint32_t n = 0;
    uint32_t most = (uint32_t)vv_rng_below(rng, vv_rng_one_in(rng, 6) ? SUITE_SET_SAMPLES : 6);
    for (; n < most && at < SUITE_SET_SPAN; n++, at += 1 + (int64_t)vv_rng_below(rng, 3)) {
        time[n] = at;
        value[n] = (double)vv_rng_below(rng, 1000) / 10;
        quality[n] = vv_rng_one_in(rng, 5) ? SERIES_QUALITY_BAD : 0;
    }
    series_scratch none;
    series_scratch_init(&none);
    const series_samples s = {
        .type = SERIES_F64, .count = n, .time = time, .value = {.f64 = value}, .quality = quality};
    assert_int_equal(series_set_encode(&s, SERIES_RAW, &none, &buf, NULL), VV_OK);
    series_scratch_fini(&none);
    return buf.len;
}

size_t suite_set_step(vv_rng *rng, uint8_t *out)
{
    uint8_t head[6];
    size_t len = suite_set_make(rng, true, out + sizeof head);
    size_t at = engine_step_head(ENGINE_SAMPLES, len, head);
    memmove(out + at, out + sizeof head, len);
    memcpy(out, head, at);
    return at + len;
}

void suite_set_apply(suite_series *s, vv_slice bytes)
{
    series_set set;
    vv_slice chunk;
    series_head head;
    vv_error err;
    int64_t time[SERIES_CHUNK_MAX];
    double value[SERIES_CHUNK_MAX];
    uint32_t quality[SERIES_CHUNK_MAX];
    series_columns c = {.time = time, .value = value, .quality = quality, .cap = SERIES_CHUNK_MAX};
    assert_ok(series_set_open(bytes, &set, &err), err);
    for (uint32_t i = 0; i < set.erase_count; i++) {
        series_range r = series_set_erased(&set, i);
        for (int64_t t = r.from < 0 ? 0 : r.from; t < r.to && t < SUITE_SET_SPAN; t++)
            s->present[t] = false;
    }
    while (series_set_next(&set, &chunk, &head, &err) == VV_OK) {
        c.count = 0;
        c.has_quality = false;
        assert_ok(series_chunk_decode(chunk, &c, &err), err);
        for (uint32_t i = 0; i < c.count; i++) {
            int64_t t = time[i];
            if (t < 0 || t >= SUITE_SET_SPAN)
                fail_msg("a sample at %lld", (long long)t);
            s->present[t] = true;
            s->value[t] = value[i];
            s->quality[t] = c.has_quality ? quality[i] : 0;
        }
    }
}

bool suite_set_holds(const suite_series *s, vv_slice value)
{
    series_measure m;
    suite_series got = {0};
    if (!series_set_measure(value, &m) || !m.is_settled)
        return false;
    suite_set_apply(&got, value);
    for (size_t t = 0; t < SUITE_SET_SPAN; t++) {
        if (got.present[t] != s->present[t])
            return false;
        if (got.present[t] && (got.value[t] != s->value[t] || got.quality[t] != s->quality[t]))
            return false;
    }
    return true;
}

bool suite_set_same(vv_slice a, vv_slice b)
{
    suite_series s = {0};
    if (vv_slice_eq(a, b))
        return true;
    if (!series_set_is_valid(a) || !series_set_is_valid(b))
        return false;
    suite_set_apply(&s, b);
    return suite_set_holds(&s, a);
}
