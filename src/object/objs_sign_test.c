/*
 * objs_sign_test.c - the signer against the examples that Amazon publishes, and the laws of its
 * parts.
 *
 * The examples are those of "Authenticating Requests: Using the Authorization Header" of the Amazon
 * S3 API reference, with its published example keys.
 */
#include "vv_test.h"

#include "object/objs_sign.h"

#include <string.h>

#include "object/object_int.h"

static vv_error err;

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define HOST                                                                                       \
    {                                                                                              \
        "host", "examplebucket.s3.amazonaws.com"                                                   \
    }
#define DATE                                                                                       \
    {                                                                                              \
        "x-amz-date", "20130524T000000Z"                                                           \
    }
#define SHA(hash)                                                                                  \
    {                                                                                              \
        "x-amz-content-sha256", hash                                                               \
    }

typedef struct vector {
    const char *name;
    const char *method;
    const char *path;
    objs_pair query[2];
    size_t query_count;
    objs_pair header[8];
    size_t header_count;
    const char *hash;
    const char *signature;
} vector;

static const vector vectors[] = {
    {"GET object with a range",
     "GET",
     "/test.txt",
     {{0}},
     0,
     {HOST, DATE, SHA(EMPTY), {"range", "bytes=0-9"}},
     4,
     EMPTY,
     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
    {"PUT object, a name that is encoded",
     "PUT",
     "/test$file.text",
     {{0}},
     0,
     {HOST,
      DATE,
      SHA("44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"),
      {"date", "Fri, 24 May 2013 00:00:00 GMT"},
      {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
     5,
     "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
    {"GET bucket lifecycle, a key without value",
     "GET",
     "/",
     {{"lifecycle", ""}},
     1,
     {HOST, DATE, SHA(EMPTY)},
     3,
     EMPTY,
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
    {"GET list, parameters to be sorted",
     "GET",
     "/",
     {{"prefix", "J"}, {"max-keys", "2"}},
     2,
     {SHA(EMPTY), DATE, HOST},
     3,
     EMPTY,
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
};

static objs_sign_request request_of(const vector *v)
{
    return (objs_sign_request){.dialect = &objs_dialect_aws,
                               .method = v->method,
                               .path = v->path,
                               .query = v->query,
                               .query_count = v->query_count,
                               .header = v->header,
                               .header_count = v->header_count,
                               .payload_hash = v->hash,
                               .date = "20130524T000000Z",
                               .region = "us-east-1",
                               .access_key = "AKIAIOSFODNN7EXAMPLE",
                               .secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"};
}

static void published_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        objs_sign_request r = request_of(&vectors[i]);
        vv_buf out;
        vv_buf_init(&out, 4096);
        assert_ok(objs_sign(&r, &out, &err), err);
        vv_buf_append_u8(&out, '\0');
        const char *text = (const char *)out.data;
        const char *at = strstr(text, "Signature=");
        if (at == NULL || strcmp(at + 10, vectors[i].signature) != 0)
            fail_msg("%s: %s", vectors[i].name, text);
        assert_non_null(strstr(text, "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/"
                                     "us-east-1/s3/aws4_request,SignedHeaders="));
        vv_buf_fini(&out);
    }
}

static void the_canonical_form(void **state)
{
    (void)state;
    const objs_pair query[] = {{"a-b", "2"}, {"a", "1"}, {"a", "0/ +"}, {"uploads", ""}};
    const objs_pair header[] = {{"x-amz-meta-b", "  two   words "}, {"host", "h:80"}};
    objs_sign_request r = {.dialect = &objs_dialect_aws,
                           .method = "POST",
                           .path = "/b/a b//%20~\xc3\xa9",
                           .query = query,
                           .query_count = 4,
                           .header = header,
                           .header_count = 2,
                           .payload_hash = OBJS_UNSIGNED_PAYLOAD};
    vv_buf out;
    vv_buf_init(&out, 4096);
    objs_sign_canonical(&r, &out);
    vv_buf_append_u8(&out, '\0');
    assert_string_equal((const char *)out.data,
                        "POST\n/b/a%20b//%2520~%C3%A9\na=0%2F%20%2B&a=1&a-b=2&uploads=\n"
                        "host:h:80\nx-amz-meta-b:two words\n\nhost;x-amz-meta-b\n"
                        "UNSIGNED-PAYLOAD");
    vv_buf_fini(&out);
}

static void every_part_counts(void **state)
{
    (void)state;
    char first[200];
    for (int change = 0; change < 7; change++) {
        objs_sign_request r = request_of(&vectors[0]);
        vv_buf out;
        vv_buf_init(&out, 4096);
        r.method = change == 1 ? "PUT" : r.method;
        r.path = change == 2 ? "/test.txT" : r.path;
        r.secret_key = change == 3 ? "other" : r.secret_key;
        r.region = change == 4 ? "eu-west-1" : r.region;
        r.dialect = change == 5 ? &objs_dialect_goog : r.dialect;
        r.date = change == 6 ? "20130525T000000Z" : r.date;
        assert_ok(objs_sign(&r, &out, &err), err);
        vv_buf_append_u8(&out, '\0');
        const char *at = strstr((const char *)out.data, "Signature=");
        assert_non_null(at);
        if (change == 0)
            (void)snprintf(first, sizeof first, "%s", at);
        else
            assert_string_not_equal(first, at);
        vv_buf_fini(&out);
    }
}

static void dates_and_hashes(void **state)
{
    (void)state;
    char date[17];
    char hex[65];
    const vv_slice abc[] = {{(const uint8_t *)"a", 1}, {NULL, 0}, {(const uint8_t *)"bc", 2}};
    objs_sign_date(INT64_C(1369353600) * VV_NS_PER_S, date);
    assert_string_equal(date, "20130524T000000Z");
    assert_true(objs_sha256_hex(NULL, 0, hex));
    assert_string_equal(hex, EMPTY);
    assert_true(objs_sha256_hex(abc, 3, hex));
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    objs_sign_request r = request_of(&vectors[0]);
    vv_buf out;
    vv_buf_init(&out, 10); /* too small: never a signature that is cut */
    assert_status(VV_NO_MEMORY, objs_sign(&r, &out, &err));
    r.header_count = OBJS_SIGN_PAIRS_MAX + 1;
    assert_status(VV_INVALID, objs_sign(&r, &out, &err));
    vv_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors),
        cmocka_unit_test(the_canonical_form),
        cmocka_unit_test(every_part_counts),
        cmocka_unit_test(dates_and_hashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
