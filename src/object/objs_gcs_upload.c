/*
 * objs_gcs_upload.c - Google's resumable uploads: one stream of chunks to a URL of its own.
 *
 *   held:  what came and was not sent, 1 byte to GCS_UPLOAD_UNIT; it starts at `base`
 *   part:  held + part, but for a rest of 1 to GCS_UPLOAD_UNIT bytes, goes out as one chunk; the
 *          rest is held. 308 with "Range: bytes=0-N" says how much the store has for good.
 *   complete: held goes out with the total, which ends it: 200, and the object is there.
 *
 * A byte is always held back, since the last chunk must be known as such when it is sent. After a
 * failure the store is asked how far it is (a range of no bytes), and what it lacks is sent again.
 */
#include "object/objs_gcs.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"

typedef struct resumable {
    uint64_t base; /* of the object: where held starts */
    size_t held;
    bool doubt; /* the last request failed: ask before sending */
    uint8_t bytes[GCS_UPLOAD_UNIT];
} resumable;

vv_status gcs_upload_begin(void *self, const char *name, bool create,
                           char id[VV_OBJECT_UPLOAD_ID_MAX], void **state, vv_object_outcome *oc,
                           vv_error *err)
{
    gcs *g = self;
    gcs_request r = {.method = "POST", .upload = true, .has_body = true, .answer_max = 65536};
    objs_http_answer a = {0};
    const vv_slice body = vv_slice_str("{}");
    resumable *u = vv_calloc(1, sizeof *u);
    if (u == NULL)
        return objs_fault_local(oc, vv_fail(err, VV_NO_MEMORY, "upload"));
    r.body = &body;
    r.body_count = 1;
    r.header[r.header_count++] = "Content-Type: application/json; charset=UTF-8";
    r.header[r.header_count++] = "X-Upload-Content-Type: application/octet-stream";
    gcs_query(&r, "uploadType", "resumable");
    gcs_query(&r, "name", name);
    if (create && g->opt->conditional_put)
        gcs_query(&r, "ifGenerationMatch", "0");
    vv_status st = gcs_send(g, &r, &a, oc, err);
    if (st == VV_OK && !objs_http_header(&a, "location", id, VV_OBJECT_UPLOAD_ID_MAX))
        st = objs_fault(oc, VV_OBJECT_FAULT_ANSWER, true,
                        vv_fail(err, VV_IO, "the answer names no URL for the upload"));
    size_t n = strlen(g->endpoint);
    if (st == VV_OK && (strncmp(id, g->endpoint, n) != 0 || id[n] != '/'))
        st = objs_fault(oc, VV_OBJECT_FAULT_REDIRECT, false,
                        vv_fail(err, VV_IO, "the upload is sent to another server, '%.80s'", id));
    objs_http_answer_fini(&a);
    if (st != VV_OK) {
        vv_free(u);
        return st;
    }
    *state = u;
    return VV_OK;
}

/* What a 308 says that the store has. */
static uint64_t stored_up_to(const objs_http_answer *a)
{
    char range[64];
    const char *dash = NULL;
    if (objs_http_header(a, "range", range, sizeof range))
        dash = strchr(range, '-');
    return dash == NULL ? 0 : strtoull(dash + 1, NULL, 10) + 1;
}

/* One request to the URL of the upload. *stored: of a 308. *done: the object is there, with info.
 */
static vv_status send_chunk(gcs *g, const char *id, const char *range, const vv_slice *body,
                            size_t count, uint64_t *stored, bool *done, vv_object_info *info,
                            vv_object_outcome *oc, vv_error *err)
{
    char line[120];
    gcs_request r = {.method = "PUT",
                     .url = id,
                     .anonymous = true,
                     .has_body = true,
                     .body = body,
                     .body_count = count,
                     .answer_max = 65536};
    objs_http_answer a = {0};
    (void)snprintf(line, sizeof line, "Content-Range: bytes %s", range);
    r.header[r.header_count++] = line;
    r.header[r.header_count++] = "Content-Type: application/octet-stream";
    *done = false;
    vv_status st = gcs_exchange(g, &r, &a, oc, err);
    if (st == VV_OK && a.status == 308) {
        *stored = stored_up_to(&a);
    } else if (st == VV_OK && (a.status == 200 || a.status == 201)) {
        *done = true;
        if (gcs_read_object(vv_buf_slice(&a.body), info, err) != VV_OK) {
            oc->unknown = true;
            st = objs_fault(oc, VV_OBJECT_FAULT_ANSWER, true, VV_IO);
        }
    } else if (st == VV_OK) {
        st = gcs_failed(g, &r, &a, oc, err);
    }
    objs_http_answer_fini(&a);
    return st;
}

/* How far the store is. total: of the object where it is known, else 0. */
static vv_status ask(gcs *g, const char *id, uint64_t total, uint64_t *stored, bool *done,
                     vv_object_info *info, vv_object_outcome *oc, vv_error *err)
{
    char range[48];
    if (total == 0)
        (void)snprintf(range, sizeof range, "*/*");
    else
        (void)snprintf(range, sizeof range, "*/%" PRIu64, total);
    return send_chunk(g, id, range, NULL, 0, stored, done, info, oc, err);
}

/* The pieces of held + part from `skip` on, `len` bytes of them. Gives how many pieces. */
static size_t cut_pieces(const resumable *u, const vv_slice *piece, size_t count, uint64_t skip,
                         uint64_t len, vv_slice *out)
{
    size_t n = 0;
    for (size_t i = 0; i < count + 1 && len > 0; i++) {
        vv_slice s = i == 0 ? vv_slice_of(u->bytes, u->held) : piece[i - 1];
        if (skip >= s.len) {
            skip -= s.len;
            continue;
        }
        size_t take = (size_t)vv_min_u64(s.len - skip, len);
        out[n++] = vv_slice_of(s.data + skip, take);
        len -= take;
        skip = 0;
    }
    return n;
}

static vv_status lost_bytes(uint64_t stored, uint64_t base, vv_object_outcome *oc, vv_error *err)
{
    return objs_fault(oc, VV_OBJECT_FAULT_REQUEST, false,
                      vv_fail(err, VV_IO,
                              "the store has %" PRIu64 " bytes of the upload, and had %" PRIu64
                              ": upload it again",
                              stored, base));
}

/* Send bytes from u->base on, up to `end` of the object, until the store has them all. last: the
 * object ends there. */
static vv_status send_up_to(gcs *g, const char *id, resumable *u, const vv_slice *piece,
                            size_t count, uint64_t end, bool last, bool *done, vv_object_info *info,
                            vv_object_outcome *oc, vv_error *err)
{
    uint64_t stored = u->base;
    vv_status st = VV_OK;
    *done = false;
    vv_slice *body = vv_alloc((count + 1) * sizeof *body);
    if (body == NULL)
        return objs_fault_local(oc, vv_fail(err, VV_NO_MEMORY, "chunk of an upload"));
    if (u->doubt)
        st = ask(g, id, last ? end : 0, &stored, done, info, oc, err);
    /* A store that takes nothing twice in a row is not asked for ever. */
    for (int idle = 0; st == VV_OK && !*done && (stored < end || last) && idle < 3;) {
        char range[80];
        uint64_t before = stored;
        if (stored < u->base || stored > end) {
            st = lost_bytes(stored, u->base, oc, err);
            break;
        }
        size_t n = cut_pieces(u, piece, count, stored - u->base, end - stored, body);
        if (last)
            (void)snprintf(range, sizeof range, "%" PRIu64 "-%" PRIu64 "/%" PRIu64, stored, end - 1,
                           end);
        else
            (void)snprintf(range, sizeof range, "%" PRIu64 "-%" PRIu64 "/*", stored, end - 1);
        if (stored == end)
            (void)snprintf(range, sizeof range, "*/%" PRIu64, end);
        st = send_chunk(g, id, range, body, n, &stored, done, info, oc, err);
        idle = stored > before ? 0 : idle + 1;
    }
    vv_free(body);
    u->doubt = st != VV_OK;
    if (st == VV_OK && !*done && (last || stored < end))
        st = objs_fault(
            oc, VV_OBJECT_FAULT_SERVER, true,
            vv_fail(err, VV_IO, "the store does not take the bytes from %" PRIu64 " on", stored));
    if (st == VV_OK && *done && !last)
        st = objs_fault(oc, VV_OBJECT_FAULT_ANSWER, false,
                        vv_fail(err, VV_IO, "the store ended the upload before its end"));
    return st;
}

vv_status gcs_upload_part(void *self, const char *name, const char *id, void *state,
                          uint32_t number, const vv_slice *piece, size_t count, char tag[80],
                          vv_object_outcome *oc, vv_error *err)
{
    resumable *u = state;
    uint64_t len = u->held;
    bool done;
    vv_object_info ignored;
    vv_status st = VV_OK;
    (void)name;
    (void)number;
    tag[0] = '\0';
    for (size_t i = 0; i < count; i++)
        len += piece[i].len;
    if (len == 0)
        return VV_OK;
    uint64_t out = (len - 1) / GCS_UPLOAD_UNIT * GCS_UPLOAD_UNIT;
    if (out > 0)
        st = send_up_to(self, id, u, piece, count, u->base + out, false, &done, &ignored, oc, err);
    if (st != VV_OK)
        return st;
    vv_slice *rest = vv_alloc((count + 1) * sizeof *rest);
    if (rest == NULL)
        return objs_fault_local(oc, vv_fail(err, VV_NO_MEMORY, "part of an upload"));
    size_t n = cut_pieces(u, piece, count, out, len - out, rest);
    size_t held = 0;
    for (size_t i = 0; i < n; i++) { /* the first may lie in bytes itself */
        memmove(u->bytes + held, rest[i].data, rest[i].len);
        held += rest[i].len;
    }
    vv_free(rest);
    u->base += out;
    u->held = held;
    return VV_OK;
}

vv_status gcs_upload_complete(void *self, const char *name, const char *id, void *state,
                              const char (*tag)[80], uint32_t count, uint32_t crc, bool create,
                              vv_object_info *info, vv_object_outcome *oc, vv_error *err)
{
    resumable *u = state;
    bool done = false;
    (void)name;
    (void)tag;
    (void)count;
    (void)create;
    bool again = u->doubt;
    vv_status st = send_up_to(self, id, u, NULL, 0, u->base + u->held, true, &done, info, oc, err);
    if (st != VV_OK) {
        u->doubt = true;
        return st;
    }
    if (info->has_crc && info->crc32c != crc)
        return objs_fault(oc, VV_OBJECT_FAULT_CORRUPT, false,
                          vv_fail(err, VV_CORRUPT,
                                  "the store has crc32c %08" PRIx32
                                  " of what was sent as %08" PRIx32
                                  ": remove the object and upload it again",
                                  info->crc32c, crc));
    oc->settled = again;
    vv_free(u);
    return VV_OK;
}

vv_status gcs_upload_abort(void *self, const char *name, const char *id, void *state,
                           vv_object_outcome *oc, vv_error *err)
{
    gcs *g = self;
    gcs_request r = {.method = "DELETE", .url = id, .anonymous = true, .answer_max = 65536};
    objs_http_answer a = {0};
    (void)name;
    vv_free(state);
    vv_status st = gcs_exchange(g, &r, &a, oc, err);
    /* 499 is Google's word for "dropped as you wish". */
    if (st == VV_OK && a.status != 499 && (a.status < 200 || a.status > 299))
        st = gcs_failed(g, &r, &a, oc, err);
    objs_http_answer_fini(&a);
    return st;
}
