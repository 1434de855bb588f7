/*
 * objs_gcs_token.c - tokens of a service account: a claim, signed with its key, is changed for one.
 *
 * RFC 7523 with RS256 (RFC 7515, 7518): base64url(header) "." base64url(claims) "." base64url(RSA
 * PKCS #1 signature of SHA-256). A token is kept until a minute before it runs out; many calls at
 * once may fetch one each then, which is harmless.
 */
#include "object/objs_gcs.h"

#include <inttypes.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "base/error.h"
#include "base/util.h"
#include "object/objs_json.h"

#define SCOPE "https://www.googleapis.com/auth/devstorage.read_write"
#define GRANT "urn:ietf:params:oauth:grant-type:jwt-bearer"

/* ---- the account --------------------------------------------------------------------------- */

static bool is_safe_uri(const char *uri)
{
    return strncmp(uri, "https://", 8) == 0 || strncmp(uri, "http://127.0.0.1", 16) == 0 ||
           strncmp(uri, "http://localhost", 16) == 0;
}

static bool is_plain(const char *text)
{
    for (; *text != '\0'; text++)
        if ((uint8_t)*text <= ' ' || (uint8_t)*text >= 0x7f || *text == '"' || *text == '\\')
            return false;
    return true;
}

vv_status gcs_account_parse(vv_slice json, gcs_account *out, vv_error *err)
{
    *out = (gcs_account){0};
    char *pem = vv_alloc(OBJS_JSON_TEXT);
    if (pem == NULL)
        return vv_fail(err, VV_NO_MEMORY, "key of a service account");
    vv_status st = VV_OK;
    const char *lacks = NULL;
    if (!objs_json_find(json, "client_email", out->email, sizeof out->email))
        lacks = "client_email";
    else if (!objs_json_find(json, "token_uri", out->token_uri, sizeof out->token_uri))
        lacks = "token_uri";
    else if (!objs_json_find(json, "private_key", pem, OBJS_JSON_TEXT))
        lacks = "private_key";
    if (lacks != NULL)
        st = vv_fail(err, VV_INVALID,
                     "no key of a service account: it has no %s: make one of type JSON at Google",
                     lacks);
    (void)objs_json_find(json, "private_key_id", out->key_id, sizeof out->key_id);
    if (st == VV_OK && (!is_safe_uri(out->token_uri) || !is_plain(out->token_uri) ||
                        !is_plain(out->email) || !is_plain(out->key_id)))
        st = vv_fail(err, VV_INVALID,
                     "token_uri, client_email or private_key_id of the key is of "
                     "no use: https, and plain letters");
    if (st == VV_OK) {
        BIO *bio = BIO_new_mem_buf(pem, -1);
        out->key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
        BIO_free(bio);
        if (out->key == NULL || EVP_PKEY_get_base_id(out->key) != EVP_PKEY_RSA)
            st = vv_fail(err, VV_INVALID, "private_key is no RSA key in PEM");
    }
    explicit_bzero(pem, OBJS_JSON_TEXT);
    vv_free(pem);
    if (st != VV_OK)
        gcs_account_fini(out);
    return st;
}

void gcs_account_fini(gcs_account *account)
{
    EVP_PKEY_free(account->key);
    *account = (gcs_account){0};
}

static bool append_signature(const gcs_account *account, vv_buf *out)
{
    uint8_t signature[1024];
    size_t len = sizeof signature;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md != NULL && EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, account->key) == 1 &&
              EVP_PKEY_get_size(account->key) <= (int)sizeof signature &&
              EVP_DigestSign(md, signature, &len, out->data, out->len) == 1;
    EVP_MD_CTX_free(md);
    if (ok) {
        vv_buf_append_u8(out, '.');
        vv_base64url_put(out, vv_slice_of(signature, len));
    }
    return ok;
}

vv_status gcs_assertion(const gcs_account *account, int64_t wall_ns, vv_buf *out, vv_error *err)
{
    vv_buf text;
    int64_t now = wall_ns / VV_NS_PER_S;
    vv_buf_init(&text, 4096);
    vv_buf_printf(&text, "{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"%s\"}", account->key_id);
    vv_base64url_put(out, vv_buf_slice(&text));
    vv_buf_append_u8(out, '.');
    size_t head = text.len;
    vv_buf_printf(&text,
                  "{\"iss\":\"%s\",\"scope\":\"" SCOPE "\",\"aud\":\"%s\",\"iat\":%" PRId64
                  ",\"exp\":%" PRId64 "}",
                  account->email, account->token_uri, now, now + 3600);
    if (text.status == VV_OK)
        vv_base64url_put(out, vv_slice_of(text.data + head, text.len - head));
    bool ok = text.status == VV_OK && out->status == VV_OK && append_signature(account, out) &&
              out->status == VV_OK;
    vv_buf_fini(&text);
    return ok ? VV_OK : vv_fail(err, VV_NO_MEMORY, "claim of a service account");
}

/* ---- tokens -------------------------------------------------------------------------------- */

static vv_status read_token(gcs *g, const objs_http_answer *a, vv_object_outcome *oc, vv_error *err)
{
    char reason[128] = "";
    char seconds[24] = "";
    char token[GCS_TOKEN_MAX];
    vv_slice body = vv_buf_slice(&a->body);
    if (a->status != 200) {
        (void)objs_json_find(body, "error", reason, sizeof reason);
        (void)snprintf(oc->code, sizeof oc->code, "%.60s", is_plain(reason) ? reason : "");
        bool server = a->status >= 500 || a->status == 429;
        return objs_fault(oc, server ? VV_OBJECT_FAULT_SERVER : VV_OBJECT_FAULT_DENIED, server,
                          vv_fail(err, VV_IO,
                                  "no token for %s: %s (HTTP %d): look at the service account's "
                                  "key, and at this machine's clock",
                                  g->account.email, oc->code, a->status));
    }
    if (!objs_json_find(body, "access_token", token, sizeof token) || !is_plain(token) ||
        token[0] == '\0')
        return objs_fault(oc, VV_OBJECT_FAULT_ANSWER, false,
                          vv_fail(err, VV_IO, "the answer for a token has none"));
    int64_t hold = objs_json_find(body, "expires_in", seconds, sizeof seconds)
                       ? strtol(seconds, NULL, 10)
                       : 300;
    hold = hold < 0 ? 0 : hold > 86400 ? 86400 : hold;
    vv_mutex_lock(&g->lock);
    memcpy(g->token, token, sizeof token);
    g->token_until = vv_clock_wall(g->clock) + hold * VV_NS_PER_S;
    vv_mutex_unlock(&g->lock);
    explicit_bzero(token, sizeof token);
    return VV_OK;
}

static vv_status fetch_token(gcs *g, vv_object_outcome *oc, vv_error *err)
{
    static const char *const lines[] = {"Content-Type: application/x-www-form-urlencoded"};
    vv_buf form;
    objs_http_answer a = {0};
    vv_buf_init(&form, 16384);
    objs_uri_encode(&form, "grant_type", false);
    vv_buf_append_u8(&form, '=');
    objs_uri_encode(&form, GRANT, false);
    vv_buf_append_str(&form, "&assertion=");
    vv_buf claim;
    vv_buf_init(&claim, 8192);
    vv_status st = gcs_assertion(&g->account, vv_clock_wall(g->clock), &claim, err);
    vv_buf_append(&form, claim.data, claim.len); /* base64url and dots: nothing to encode */
    vv_buf_fini(&claim);
    if (st == VV_OK && form.status != VV_OK)
        st = vv_fail(err, VV_NO_MEMORY, "request for a token");
    if (st != VV_OK) {
        vv_buf_fini(&form);
        return objs_fault_local(oc, st);
    }
    vv_slice body = vv_buf_slice(&form);
    objs_http_request r = {.method = "POST",
                           .url = g->account.token_uri,
                           .header = lines,
                           .header_count = 1,
                           .has_body = true,
                           .body = &body,
                           .body_count = 1,
                           .answer_max = 65536};
    st = objs_http_run(g->http, &r, &a, oc, err);
    if (st == VV_OK)
        st = read_token(g, &a, oc, err);
    oc->unknown = false; /* of the object nothing was asked yet */
    objs_http_answer_fini(&a);
    vv_buf_fini(&form);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "token of %s", g->account.token_uri);
}

vv_status gcs_token(gcs *g, char *out, vv_object_outcome *oc, vv_error *err)
{
    for (int tries = 0; tries < 2; tries++) {
        vv_mutex_lock(&g->lock);
        bool good = g->token[0] != '\0' &&
                    (tries == 1 || g->token_until - vv_clock_wall(g->clock) > 60 * VV_NS_PER_S);
        if (good)
            memcpy(out, g->token, GCS_TOKEN_MAX);
        vv_mutex_unlock(&g->lock);
        if (good)
            return VV_OK;
        vv_status st = fetch_token(g, oc, err);
        if (st != VV_OK)
            return st;
    }
    return objs_fault(oc, VV_OBJECT_FAULT_EXPIRED, true,
                      vv_fail(err, VV_IO, "the token was taken back at once"));
}

bool gcs_token_forget(gcs *g, const char *token)
{
    vv_mutex_lock(&g->lock);
    bool same = strcmp(g->token, token) == 0;
    if (same)
        explicit_bzero(g->token, sizeof g->token);
    vv_mutex_unlock(&g->lock);
    return same;
}
