/*
 * srv_route.c - from a path to its method: a hash table of whole paths, then prefixes, longest
 * first.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "server/srv_int.h"

struct srv_routes {
    const srv_method *methods;
    size_t count;
    size_t mask;        /* slots - 1 */
    uint32_t *slots;    /* 1 + index of a method with a whole path; 0: free */
    uint32_t *prefixes; /* indexes of methods whose path ends in '*' */
    size_t prefix_count;
};

static bool is_prefix(const srv_method *m)
{
    size_t len = strlen(m->path);
    return len > 0 && m->path[len - 1] == '*';
}

static size_t slot_of(const srv_routes *r, vv_slice path)
{
    return (size_t)vv_hash64(path.data, path.len) & r->mask;
}

static int longer_first(const void *a, const void *b, void *ctx)
{
    const srv_method *methods = ctx;
    size_t x = strlen(methods[*(const uint32_t *)a].path);
    size_t y = strlen(methods[*(const uint32_t *)b].path);
    return (x < y) - (x > y);
}

static bool is_known(const srv_routes *r, const srv_method *m)
{
    for (size_t i = slot_of(r, vv_slice_str(m->path)); r->slots[i] != 0; i = (i + 1) & r->mask) {
        const srv_method *o = &r->methods[r->slots[i] - 1];
        if (strcmp(o->path, m->path) == 0 && (o->kind == SRV_HTTP) == (m->kind == SRV_HTTP) &&
            (m->kind != SRV_HTTP || strcmp(o->verb, m->verb) == 0))
            return true;
    }
    return false;
}

vv_status srv_routes_create(const srv_method *methods, size_t count, srv_routes **out,
                            vv_error *err)
{
    size_t slots = 16;
    while (slots < count * 2)
        slots *= 2;
    srv_routes *r = vv_calloc(1, sizeof *r);
    if (r == NULL)
        return vv_fail(err, VV_NO_MEMORY, "routes");
    vv_status st = VV_NO_MEMORY;
    *r = (srv_routes){.methods = methods, .count = count, .mask = slots - 1};
    r->slots = vv_calloc(slots, sizeof *r->slots);
    r->prefixes = vv_calloc(count, sizeof *r->prefixes);
    if (r->slots == NULL || r->prefixes == NULL) {
        st = vv_fail(err, VV_NO_MEMORY, "routes");
        goto fail;
    }
    for (size_t i = 0; i < count; i++) {
        const srv_method *m = &methods[i];
        if (m->path[0] != '/' || m->message == NULL || (m->kind == SRV_HTTP) != (m->verb != NULL)) {
            st = vv_fail(err, VV_INVALID, "method %s is not well-formed", m->path);
            goto fail;
        }
        if (is_prefix(m)) {
            r->prefixes[r->prefix_count++] = (uint32_t)i;
            continue;
        }
        if (is_known(r, m)) {
            st = vv_fail(err, VV_INVALID, "method %s is given twice", m->path);
            goto fail;
        }
        size_t at = slot_of(r, vv_slice_str(m->path));
        while (r->slots[at] != 0)
            at = (at + 1) & r->mask;
        r->slots[at] = (uint32_t)i + 1;
    }
    qsort_r(r->prefixes, r->prefix_count, sizeof *r->prefixes, longer_first,
            (void *)(uintptr_t)methods);
    *out = r;
    return VV_OK;
fail:
    srv_routes_destroy(r);
    return st;
}

void srv_routes_destroy(srv_routes *routes)
{
    if (routes == NULL)
        return;
    vv_free(routes->slots);
    vv_free(routes->prefixes);
    vv_free(routes);
}

static bool is_served(const srv_method *m, size_t port_index)
{
    return m->ports == 0 || (m->ports >> port_index & 1) != 0;
}

const srv_method *srv_route_grpc(const srv_routes *r, vv_slice path, size_t port_index)
{
    for (size_t i = slot_of(r, path); r->slots[i] != 0; i = (i + 1) & r->mask) {
        const srv_method *m = &r->methods[r->slots[i] - 1];
        if (m->kind != SRV_HTTP && is_served(m, port_index) &&
            vv_slice_eq(path, vv_slice_str(m->path)))
            return m;
    }
    return NULL;
}

/* HEAD is GET without the body. */
static bool verb_fits(const srv_method *m, vv_slice verb)
{
    vv_slice own = vv_slice_str(m->verb);
    return vv_slice_eq(verb, own) ||
           (vv_slice_eq(verb, vv_slice_str("HEAD")) && vv_slice_eq(own, vv_slice_str("GET")));
}

static void note_verb(vv_buf *allow, const char *verb)
{
    if (allow->len > 0)
        vv_buf_append_str(allow, ", ");
    vv_buf_append_str(allow, verb);
}

const srv_method *srv_route_http(const srv_routes *r, vv_slice verb, vv_slice path,
                                 size_t port_index, vv_buf *allow)
{
    for (size_t i = slot_of(r, path); r->slots[i] != 0; i = (i + 1) & r->mask) {
        const srv_method *m = &r->methods[r->slots[i] - 1];
        if (m->kind != SRV_HTTP || !is_served(m, port_index) ||
            !vv_slice_eq(path, vv_slice_str(m->path)))
            continue;
        if (verb_fits(m, verb))
            return m;
        note_verb(allow, m->verb);
    }
    for (size_t i = 0; i < r->prefix_count; i++) {
        const srv_method *m = &r->methods[r->prefixes[i]];
        vv_slice prefix = vv_slice_of(m->path, strlen(m->path) - 1);
        if (m->kind != SRV_HTTP || !is_served(m, port_index) || !vv_slice_has_prefix(path, prefix))
            continue;
        if (verb_fits(m, verb))
            return m;
        note_verb(allow, m->verb);
    }
    return NULL;
}

bool srv_routes_has(const srv_routes *r, vv_slice path, size_t port_index)
{
    for (size_t i = slot_of(r, path); r->slots[i] != 0; i = (i + 1) & r->mask) {
        const srv_method *m = &r->methods[r->slots[i] - 1];
        if (is_served(m, port_index) && vv_slice_eq(path, vv_slice_str(m->path)))
            return true;
    }
    for (size_t i = 0; i < r->prefix_count; i++) {
        const srv_method *m = &r->methods[r->prefixes[i]];
        if (is_served(m, port_index) &&
            vv_slice_has_prefix(path, vv_slice_of(m->path, strlen(m->path) - 1)))
            return true;
    }
    return false;
}
