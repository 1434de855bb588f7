/*
 * objs_sign.c - Signature Version 4.
 *
 *   canonical request = method, path, query, headers, names of headers, hash of the payload
 *   string to sign    = algorithm, date, scope, SHA-256 of that
 *   key               = HMAC chain: prefix + secret -> day -> region -> service -> terminator
 *
 * libcurl's own signer is not used: it signs the query in the order of the URL, keys without '='
 * and bodies from a callback wrongly. Query parameters sort by encoded name, then value, and not as
 * joined strings: "a-b=" and "a=" differ.
 */
#include "object/objs_sign.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/util.h"
#include "object/object_int.h"

const objs_dialect objs_dialect_aws = {.algorithm = "AWS4-HMAC-SHA256",
                                       .key_prefix = "AWS4",
                                       .terminator = "aws4_request",
                                       .service = "s3",
                                       .header_prefix = "x-amz-"};
const objs_dialect objs_dialect_goog = {.algorithm = "GOOG4-HMAC-SHA256",
                                        .key_prefix = "GOOG4",
                                        .terminator = "goog4_request",
                                        .service = "storage",
                                        .header_prefix = "x-goog-"};

/* What a byte is sent as: 1 or 3 bytes in out. */
static size_t encode_byte(uint8_t c, bool keep_slash, char out[3])
{
    static const char digits[] = "0123456789ABCDEF";
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
        c == '_' || c == '.' || c == '~' || (c == '/' && keep_slash)) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = '%';
    out[1] = digits[c >> 4];
    out[2] = digits[c & 15];
    return 3;
}

void objs_uri_encode(vv_buf *out, const char *text, bool keep_slash)
{
    char one[3];
    for (; *text != '\0'; text++)
        vv_buf_append(out, one, encode_byte((uint8_t)*text, keep_slash, one));
}

/* The order of two encoded texts. No byte is the beginning of how another one is sent, so the first
 * that differs decides. */
static int cmp_encoded(const char *a, const char *b)
{
    char x[3] = {0};
    char y[3] = {0};
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    if (*a == '\0' || *b == '\0')
        return (*a != '\0') - (*b != '\0');
    (void)encode_byte((uint8_t)*a, false, x);
    (void)encode_byte((uint8_t)*b, false, y);
    return memcmp(x, y, sizeof x);
}

static int by_name_then_value(const void *a, const void *b)
{
    const objs_pair *x = a;
    const objs_pair *y = b;
    int c = cmp_encoded(x->name, y->name);
    return c != 0 ? c : cmp_encoded(x->value, y->value);
}

void objs_query_encode(vv_buf *out, const objs_pair *query, size_t count)
{
    objs_pair sorted[OBJS_SIGN_PAIRS_MAX];
    assert(count <= OBJS_SIGN_PAIRS_MAX);
    if (count == 0)
        return;
    memcpy(sorted, query, count * sizeof *query);
    qsort(sorted, count, sizeof *sorted, by_name_then_value);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            vv_buf_append_u8(out, '&');
        objs_uri_encode(out, sorted[i].name, false);
        vv_buf_append_u8(out, '=');
        objs_uri_encode(out, sorted[i].value, false);
    }
}

/* A value without spaces at its ends, and one where there are several. */
static void append_trimmed(vv_buf *out, const char *value)
{
    bool space = false;
    bool begun = false;
    for (; *value != '\0'; value++) {
        if (*value == ' ' || *value == '\t') {
            space = begun;
            continue;
        }
        if (space)
            vv_buf_append_u8(out, ' ');
        space = false;
        begun = true;
        vv_buf_append_u8(out, (uint8_t)*value);
    }
}

static int by_header_name(const void *a, const void *b)
{
    return strcmp(((const objs_pair *)a)->name, ((const objs_pair *)b)->name);
}

static void sort_headers(const objs_sign_request *r, objs_pair *sorted)
{
    assert(r->header_count <= OBJS_SIGN_PAIRS_MAX);
    memcpy(sorted, r->header, r->header_count * sizeof *sorted);
    qsort(sorted, r->header_count, sizeof *sorted, by_header_name);
}

static void append_signed_names(const objs_sign_request *r, const objs_pair *sorted, vv_buf *out)
{
    for (size_t i = 0; i < r->header_count; i++) {
        if (i > 0)
            vv_buf_append_u8(out, ';');
        vv_buf_append_str(out, sorted[i].name);
    }
}

void objs_sign_canonical(const objs_sign_request *r, vv_buf *out)
{
    objs_pair sorted[OBJS_SIGN_PAIRS_MAX];
    sort_headers(r, sorted);
    vv_buf_append_str(out, r->method);
    vv_buf_append_u8(out, '\n');
    objs_uri_encode(out, r->path, true);
    vv_buf_append_u8(out, '\n');
    objs_query_encode(out, r->query, r->query_count);
    vv_buf_append_u8(out, '\n');
    for (size_t i = 0; i < r->header_count; i++) {
        vv_buf_append_str(out, sorted[i].name);
        vv_buf_append_u8(out, ':');
        append_trimmed(out, sorted[i].value);
        vv_buf_append_u8(out, '\n');
    }
    vv_buf_append_u8(out, '\n');
    append_signed_names(r, sorted, out);
    vv_buf_append_u8(out, '\n');
    vv_buf_append_str(out, r->payload_hash);
}

bool objs_sha256_hex(const vv_slice *piece, size_t count, char out[65])
{
    uint8_t hash[32];
    unsigned len = 0;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;
    for (size_t i = 0; ok && i < count; i++)
        ok = piece[i].len == 0 || EVP_DigestUpdate(md, piece[i].data, piece[i].len) == 1;
    ok = ok && EVP_DigestFinal_ex(md, hash, &len) == 1 && len == sizeof hash;
    EVP_MD_CTX_free(md);
    if (ok)
        objs_hex(hash, sizeof hash, out);
    return ok;
}

void objs_sign_date(int64_t wall_ns, char out[17])
{
    time_t seconds = (time_t)(wall_ns / VV_NS_PER_S);
    struct tm tm;
    if (gmtime_r(&seconds, &tm) == NULL || strftime(out, 17, "%Y%m%dT%H%M%SZ", &tm) != 16)
        memcpy(out, "19700101T000000Z", 17);
}

static bool hmac(const uint8_t *key, size_t key_len, const void *data, size_t len, uint8_t out[32])
{
    unsigned n = 0;
    return HMAC(EVP_sha256(), key, (int)key_len, data, len, out, &n) != NULL && n == 32;
}

static bool hmac_text(uint8_t key[32], const char *text)
{
    uint8_t next[32];
    bool ok = hmac(key, 32, text, strlen(text), next);
    memcpy(key, next, sizeof next);
    return ok;
}

/* The key of a day, region and service. */
static bool derive(const objs_sign_request *r, uint8_t key[32])
{
    char first[256];
    int n = snprintf(first, sizeof first, "%s%s", r->dialect->key_prefix, r->secret_key);
    char day[9];
    (void)snprintf(day, sizeof day, "%.8s", r->date);
    bool ok = n > 0 && (size_t)n < sizeof first &&
              hmac((const uint8_t *)first, (size_t)n, day, 8, key) && hmac_text(key, r->region) &&
              hmac_text(key, r->dialect->service) && hmac_text(key, r->dialect->terminator);
    explicit_bzero(first, sizeof first);
    return ok;
}

static void append_scope(const objs_sign_request *r, vv_buf *out)
{
    vv_buf_printf(out, "%.8s/%s/%s/%s", r->date, r->region, r->dialect->service,
                  r->dialect->terminator);
}

vv_status objs_sign(const objs_sign_request *r, vv_buf *out, vv_error *err)
{
    objs_pair sorted[OBJS_SIGN_PAIRS_MAX];
    uint8_t key[32];
    uint8_t mac[32];
    char hex[65];
    vv_buf text;
    if (r->header_count > OBJS_SIGN_PAIRS_MAX || r->query_count > OBJS_SIGN_PAIRS_MAX)
        return vv_fail(err, VV_INVALID, "too many headers or parameters to sign");
    sort_headers(r, sorted);
    vv_buf_init(&text, 64 * VV_KIB);
    objs_sign_canonical(r, &text);
    vv_slice canonical = vv_buf_slice(&text);
    bool ok = text.status == VV_OK && objs_sha256_hex(&canonical, 1, hex);
    vv_buf_reset(&text);
    vv_buf_printf(&text, "%s\n%s\n", r->dialect->algorithm, r->date);
    append_scope(r, &text);
    vv_buf_printf(&text, "\n%s", hex);
    ok = ok && text.status == VV_OK && derive(r, key) && hmac(key, 32, text.data, text.len, mac);
    explicit_bzero(key, sizeof key);
    if (ok) {
        objs_hex(mac, sizeof mac, hex);
        vv_buf_printf(out, "%s Credential=%s/", r->dialect->algorithm, r->access_key);
        append_scope(r, out);
        vv_buf_append_str(out, ",SignedHeaders=");
        append_signed_names(r, sorted, out);
        vv_buf_printf(out, ",Signature=%s", hex);
        ok = out->status == VV_OK;
    }
    vv_buf_fini(&text);
    return ok ? VV_OK : vv_fail(err, VV_NO_MEMORY, "signature of a request");
}
