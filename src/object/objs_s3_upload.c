/*
 * objs_s3_upload.c - multipart uploads of S3.
 *
 * Two traps. The answer to "complete" may be 200 and still say in its body that it failed. And
 * when its answer was lost, the next try finds no upload any more: whether it was completed then
 * shows in the object's etag, which is the MD5 of the MD5s of the parts with their count.
 */
#include "object/objs_s3.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/error.h"
#include "base/util.h"
#include "object/objs_xml.h"

/* The text of an element of the document; false when there is none. */
static bool find_text(vv_slice body, const char *element, char *out, size_t size)
{
    objs_xml x;
    objs_xml_init(&x, body);
    for (;;) {
        objs_xml_kind kind = objs_xml_next(&x);
        if (kind == OBJS_XML_END || kind == OBJS_XML_BAD)
            return false;
        if (kind == OBJS_XML_CLOSE && strcmp(objs_xml_name(&x), element) == 0) {
            (void)snprintf(out, size, "%s", x.text);
            return x.text_len > 0 && x.text_len < size;
        }
    }
}

vv_status s3_upload_begin(void *self, const char *name, bool create,
                          char id[VV_OBJECT_UPLOAD_ID_MAX], void **state, vv_object_outcome *oc,
                          vv_error *err)
{
    s3 *s = self;
    s3_request r = {.method = "POST", .name = name, .has_body = true, .answer_max = 65536};
    objs_http_answer a = {0};
    (void)create;
    *state = NULL;
    s3_query(&r, "uploads", "");
    s3_add_encryption(s, &r);
    vv_status st = s3_send(s, &r, &a, oc, err);
    if (st == VV_OK && !find_text(vv_buf_slice(&a.body), "UploadId", id, VV_OBJECT_UPLOAD_ID_MAX))
        st = objs_fault(oc, VV_OBJECT_FAULT_ANSWER, true,
                        vv_fail(err, VV_IO, "the answer names no upload"));
    objs_http_answer_fini(&a);
    return st;
}

vv_status s3_upload_part(void *self, const char *name, const char *id, void *state, uint32_t number,
                         const vv_slice *piece, size_t count, char tag[80], vv_object_outcome *oc,
                         vv_error *err)
{
    s3 *s = self;
    char text[16];
    vv_object_info info;
    s3_request r = {.method = "PUT",
                    .name = name,
                    .has_body = true,
                    .body = piece,
                    .body_count = count,
                    .answer_max = 65536};
    objs_http_answer a = {0};
    (void)state;
    (void)snprintf(text, sizeof text, "%" PRIu32, number);
    s3_query(&r, "partNumber", text);
    s3_query(&r, "uploadId", id);
    vv_status st = s3_send(s, &r, &a, oc, err);
    if (st == VV_OK) {
        s3_info_of(s, &a, &info);
        memcpy(tag, info.etag, sizeof info.etag);
        if (tag[0] == '\0')
            st = objs_fault(oc, VV_OBJECT_FAULT_ANSWER, true,
                            vv_fail(err, VV_IO, "the answer to a part has no etag"));
    }
    objs_http_answer_fini(&a);
    return st;
}

static int nibble(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "<md5 of the parts' md5s>-<count>"; false: the tags are no MD5s. */
static bool whole_etag(const char (*tag)[80], uint32_t count, char out[80])
{
    uint8_t md5[16];
    char hex[33];
    unsigned len = 0;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md != NULL && EVP_DigestInit_ex(md, EVP_md5(), NULL) == 1;
    for (uint32_t i = 0; ok && i < count; i++) {
        ok = strlen(tag[i]) == 32;
        for (int j = 0; ok && j < 16; j++) {
            int high = nibble(tag[i][2 * j]);
            int low = nibble(tag[i][2 * j + 1]);
            ok = high >= 0 && low >= 0;
            md5[j] = (uint8_t)((unsigned)high << 4 | (unsigned)low);
        }
        ok = ok && EVP_DigestUpdate(md, md5, sizeof md5) == 1;
    }
    ok = ok && EVP_DigestFinal_ex(md, md5, &len) == 1 && len == sizeof md5;
    EVP_MD_CTX_free(md);
    if (!ok)
        return false;
    objs_hex(md5, sizeof md5, hex);
    (void)snprintf(out, 80, "%s-%" PRIu32, hex, count);
    return true;
}

/* The upload is gone. VV_OK when it is, because it became the object. */
static vv_status settle(s3 *s, const char *name, const char (*tag)[80], uint32_t count,
                        vv_object_info *info, vv_object_outcome *oc)
{
    char want[80];
    vv_object_info there = {0};
    vv_object_outcome look = {0};
    if (!whole_etag(tag, count, want) || s3_head(s, name, &there, &look, NULL) != VV_OK ||
        strcmp(there.etag, want) != 0)
        return VV_NOT_FOUND;
    *info = there;
    oc->settled = true;
    return VV_OK;
}

static void list_parts(vv_buf *out, const char (*tag)[80], uint32_t count)
{
    vv_buf_append_str(out, "<CompleteMultipartUpload>");
    for (uint32_t i = 0; i < count; i++) {
        vv_buf_printf(out, "<Part><PartNumber>%" PRIu32 "</PartNumber><ETag>&quot;", i + 1);
        for (const char *p = tag[i]; *p != '\0'; p++)
            if (*p == '&' || *p == '<' || *p == '>')
                vv_buf_printf(out, "&#%d;", *p);
            else
                vv_buf_append_u8(out, (uint8_t)*p);
        vv_buf_append_str(out, "&quot;</ETag></Part>");
    }
    vv_buf_append_str(out, "</CompleteMultipartUpload>");
}

vv_status s3_upload_complete(void *self, const char *name, const char *id, void *state,
                             const char (*tag)[80], uint32_t count, uint32_t crc, bool create,
                             vv_object_info *info, vv_object_outcome *oc, vv_error *err)
{
    s3 *s = self;
    s3_request r = {.method = "POST", .name = name, .has_body = true, .answer_max = 65536};
    objs_http_answer a = {0};
    s3_failure f;
    vv_buf body;
    (void)state;
    (void)crc;
    vv_buf_init(&body, 4 * VV_MIB);
    list_parts(&body, tag, count);
    if (body.status != VV_OK) {
        vv_buf_fini(&body);
        return objs_fault_local(oc, vv_fail(err, VV_NO_MEMORY, "the list of parts"));
    }
    vv_slice piece = vv_buf_slice(&body);
    r.body = &piece;
    r.body_count = 1;
    s3_query(&r, "uploadId", id);
    if (create && s->opt->conditional_put)
        s3_add_create(s, &r);
    vv_status st = s3_send(s, &r, &a, oc, err);
    if (st == VV_OK && s3_read_failure(vv_buf_slice(&a.body), &f)) {
        objs_cred none = {0};
        st = s3_failed(s, &a, &r, &none, "", 0, oc, err);
        oc->unknown = oc->fault == VV_OBJECT_FAULT_SERVER;
    }
    if (st == VV_OK) {
        char etag[80];
        s3_info_of(s, &a, info);
        if (find_text(vv_buf_slice(&a.body), "ETag", etag, sizeof etag)) {
            size_t n = strlen(etag);
            bool quoted = n >= 2 && etag[0] == '"';
            (void)snprintf(info->etag, sizeof info->etag, "%.*s", (int)(quoted ? n - 2 : n),
                           quoted ? etag + 1 : etag);
        }
        info->has_crc = false;
    }
    if (st == VV_NOT_FOUND && strcmp(oc->code, "NoSuchUpload") == 0)
        st = settle(s, name, tag, count, info, oc) == VV_OK ? VV_OK : st;
    objs_http_answer_fini(&a);
    vv_buf_fini(&body);
    return st;
}

vv_status s3_upload_abort(void *self, const char *name, const char *id, void *state,
                          vv_object_outcome *oc, vv_error *err)
{
    s3 *s = self;
    s3_request r = {.method = "DELETE", .name = name, .answer_max = 65536};
    objs_http_answer a = {0};
    (void)state;
    s3_query(&r, "uploadId", id);
    vv_status st = s3_send(s, &r, &a, oc, err);
    objs_http_answer_fini(&a);
    return st;
}
