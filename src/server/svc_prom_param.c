/*
 * svc_prom_param.c - parameters of the Prometheus API, from a query string or a form.
 */
#include <string.h>

#include "base/error.h"
#include "base/time_text.h"
#include "base/util.h"
#include "server/svc_prom.h"
#include "server/svc_util.h"

/* %XX is a byte, and with plus '+' a blank. In the arena. */
static vv_status decode(const char *what, vv_slice text, bool plus, vv_arena *arena, vv_slice *out,
                        vv_error *err)
{
    uint8_t *p = vv_arena_alloc(arena, text.len + 1);
    if (p == NULL)
        return vv_fail(err, VV_BUSY, "%s: no memory left for it", what);
    memcpy(p, text.data, text.len);
    for (size_t i = 0; plus && i < text.len; i++)
        p[i] = p[i] == '+' ? ' ' : p[i];
    vv_buf plain;
    vv_buf_init(&plain, text.len);
    bool is_right = svc_percent_decode(vv_slice_of(p, text.len), &plain);
    size_t len = plain.len;
    if (is_right && plain.status == VV_OK)
        memcpy(p, plain.data == NULL ? p : plain.data, len);
    vv_status st = plain.status;
    vv_buf_fini(&plain);
    if (!is_right)
        return vv_fail(err, VV_INVALID, "%s '%.*s': '%%' is not followed by two digits", what,
                       (int)vv_min_u64(text.len, 60), (const char *)text.data);
    if (st != VV_OK)
        return vv_fail(err, st, "%s: no memory for it", what);
    *out = vv_slice_of(p, len);
    return VV_OK;
}

vv_status prom_label_of_path(vv_slice path, const char *head, vv_arena *arena, vv_slice *out,
                             vv_error *err)
{
    static const char tail[] = "/values";
    const size_t head_len = strlen(head);
    const size_t tail_len = sizeof tail - 1;
    if (path.len <= head_len + tail_len || memcmp(path.data, head, head_len) != 0 ||
        memcmp(path.data + path.len - tail_len, tail, tail_len) != 0)
        return vv_fail(err, VV_NOT_FOUND, "nothing is served there: %sNAME/values is", head);
    return decode("label", vv_slice_of(path.data + head_len, path.len - head_len - tail_len), false,
                  arena, out, err);
}

static vv_status add(prom_params *params, vv_slice text, vv_arena *arena, vv_error *err)
{
    const uint8_t *equals = memchr(text.data, '=', text.len);
    size_t name_len = equals == NULL ? text.len : (size_t)(equals - text.data);
    size_t skip = equals == NULL ? name_len : name_len + 1;
    if (params->count == PROM_PARAMS_MAX)
        return vv_fail(err, VV_INVALID, "over %u parameters", PROM_PARAMS_MAX);
    prom_param *p = &params->items[params->count];
    vv_status st =
        decode("parameter", vv_slice_of(text.data, name_len), true, arena, &p->name, err);
    if (st == VV_OK)
        st = decode("parameter", vv_slice_of(text.data + skip, text.len - skip), true, arena,
                    &p->value, err);
    params->count += st == VV_OK;
    return st;
}

vv_status prom_params_add(prom_params *params, vv_slice text, vv_arena *arena, vv_error *err)
{
    if (params->items == NULL)
        params->items = vv_arena_alloc(arena, PROM_PARAMS_MAX * sizeof *params->items);
    if (params->items == NULL)
        return vv_fail(err, VV_BUSY, "parameters: no memory left for them");
    vv_status st = VV_OK;
    while (st == VV_OK && text.len > 0) {
        const uint8_t *end = memchr(text.data, '&', text.len);
        size_t len = end == NULL ? text.len : (size_t)(end - text.data);
        if (len > 0)
            st = add(params, vv_slice_of(text.data, len), arena, err);
        size_t used = len + (end != NULL);
        text = vv_slice_of(text.data + used, text.len - used);
    }
    return st;
}

vv_slice prom_param_get(const prom_params *params, const char *name)
{
    for (size_t i = 0; i < params->count; i++)
        if (vv_slice_eq(params->items[i].name, vv_slice_str(name)))
            return params->items[i].value;
    return (vv_slice){0};
}

vv_status prom_params_check(const prom_params *params, const char *const names[], vv_error *err)
{
    for (size_t i = 0; i < params->count; i++) {
        const vv_slice name = params->items[i].name;
        vv_status st = svc_check_param(name, names, err);
        if (st != VV_OK)
            return st;
        bool may_repeat = name.len > 2 && memcmp(name.data + name.len - 2, "[]", 2) == 0;
        for (size_t k = 0; !may_repeat && k < i; k++)
            if (vv_slice_eq(params->items[k].name, name))
                return vv_fail(err, VV_INVALID, "%.*s is given twice", (int)name.len,
                               (const char *)name.data);
    }
    return VV_OK;
}

static int64_t floor_ms(int64_t ns)
{
    int64_t over = ns % VV_NS_PER_MS;
    over += over < 0 ? VV_NS_PER_MS : 0;
    return ns >= INT64_MIN + over ? ns - over : ns;
}

vv_status prom_param_time(const prom_params *params, const char *name, int64_t *out, vv_error *err)
{
    vv_slice text = prom_param_get(params, name);
    int64_t ns = 0;
    if (text.data == NULL)
        return VV_OK;
    if (time_text_parse_number(text, VV_NS_PER_S, &ns)) {
        *out = ns <= INT64_MAX - VV_NS_PER_MS ? floor_ms(ns + VV_NS_PER_MS / 2) : ns;
        return VV_OK;
    }
    if (time_text_parse(text, &ns)) {
        *out = floor_ms(ns);
        return VV_OK;
    }
    return vv_fail(err, VV_INVALID,
                   "parameter %s: '%.*s' is neither seconds since 1970 nor 2026-01-02T03:04:05Z",
                   name, (int)vv_min_u64(text.len, 60), (const char *)text.data);
}

vv_status prom_param_duration(const prom_params *params, const char *name, int64_t *out,
                              vv_error *err)
{
    vv_slice text = prom_param_get(params, name);
    if (text.data == NULL)
        return VV_OK;
    int64_t ns = 0;
    if ((time_text_parse_number(text, VV_NS_PER_S, &ns) || promql_duration(text, &ns)) && ns > 0) {
        *out = ns;
        return VV_OK;
    }
    return vv_fail(err, VV_INVALID, "parameter %s: '%.*s' is no duration above 0, as 15 or 1h30m",
                   name, (int)vv_min_u64(text.len, 60), (const char *)text.data);
}
