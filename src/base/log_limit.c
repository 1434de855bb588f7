#include "base/log_limit.h"

#include <stdio.h>
#include <string.h>

#include "base/util.h"

void vv_log_limit_init(vv_log_limit *limit, uint32_t lines, int64_t span_ns)
{
    memset(limit, 0, sizeof *limit);
    limit->lines = lines;
    limit->span_ns = span_ns;
}

/* FNV-1a; the NUL between is hashed too. */
static uint64_t add_text(uint64_t h, const char *text)
{
    do
        h = (h ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    while (*text++ != '\0');
    return h;
}

static uint64_t hash_of(const vv_log_record *r)
{
    uint64_t h = add_text(add_text(UINT64_C(0xcbf29ce484222325), r->module), r->msg);
    return h == 0 ? 1 : h;
}

/* Say what a place left out, and count from zero. */
static void take(vv_log_limit *limit, vv_log_limit_place *p, vv_log_left_out *out)
{
    out->count = p->left_out;
    out->level = p->level;
    memcpy(out->module, p->module, sizeof out->module);
    memcpy(out->msg, p->msg, sizeof out->msg);
    limit->untold -= p->left_out;
    p->left_out = 0;
}

bool vv_log_limit_pass(vv_log_limit *limit, const vv_log_record *r, int64_t now,
                       vv_log_left_out *out)
{
    out->count = 0;
    if (limit->lines == 0)
        return true;
    uint64_t hash = hash_of(r);
    vv_log_limit_place *p = &limit->place[hash % VV_LOG_LIMIT_PLACES];
    if (p->hash != hash || now - p->since_ns >= limit->span_ns) {
        if (p->left_out > 0)
            take(limit, p, out);
        *p = (vv_log_limit_place){.hash = hash, .since_ns = now, .level = r->level};
        (void)snprintf(p->module, sizeof p->module, "%s", r->module);
        (void)snprintf(p->msg, sizeof p->msg, "%s", r->msg);
    }
    if (p->passed < limit->lines) {
        p->passed++;
        return true;
    }
    p->left_out++;
    limit->left_out++;
    limit->untold++;
    return false;
}

bool vv_log_limit_sweep(vv_log_limit *limit, int64_t now, bool all, size_t *at,
                        vv_log_left_out *out)
{
    while (limit->untold > 0 && *at < VV_LOG_LIMIT_PLACES) {
        vv_log_limit_place *p = &limit->place[(*at)++];
        if (p->left_out > 0 && (all || now - p->since_ns >= limit->span_ns)) {
            take(limit, p, out);
            p->hash = 0; /* its while is over: the next line begins one */
            return true;
        }
    }
    return false;
}
