/*
 * objs_answer_test.c - what answers, keys and dates are taken for.
 */
#include "vv_test.h"

#include <string.h>

#include "object/objs_cred.h"
#include "object/objs_gcs.h"
#include "object/objs_json.h"
#include "object/objs_s3.h"
#include "object/objs_xml.h"

static vv_error err;

/* An XML or JSON document as one line of events. */
static void xml_events(const char *text, char *out, size_t size)
{
    objs_xml x;
    size_t n = 0;
    out[0] = '\0';
    objs_xml_init(&x, vv_slice_str(text));
    for (;;) {
        objs_xml_kind kind = objs_xml_next(&x);
        if (kind == OBJS_XML_OPEN)
            n += (size_t)snprintf(out + n, size - n, "<%s", objs_xml_name(&x));
        else if (kind == OBJS_XML_CLOSE)
            n += (size_t)snprintf(out + n, size - n, "[%s]%s/%s>", x.text, objs_xml_parent(&x),
                                  objs_xml_name(&x));
        else {
            (void)snprintf(out + n, size - n, "%s", kind == OBJS_XML_END ? "." : "!");
            return;
        }
    }
}

static void xml_is_read_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        const char *want;
    } cases[] = {
        {"<a>t</a>", "<a[t]/a>."},
        {" <?xml v?>\n<a b='>' c=\"/>\"><b/> x<!-- y --></a>\n", "<a<b[]a/b>[ x]/a>."},
        {"<n:a><n:b>&lt;&amp;&gt;&quot;&apos;&#65;&#x20ac;</n:b></n:a>",
         "<a<b[<&>\"'A\xe2\x82\xac]a/b>[]/a>."},
        {"<a><![CDATA[<&]]></a>", "<a[<&]/a>."},
        {"<a>", "<a!"},
        {"<a></b>", "<a!"},
        {"<a/><b/>", "<a[]/a>!"},
        {"", "!"},
        {"text", "!"},
        {"<a>&none;</a>", "<a!"},
        {"<a>&#0;</a>", "<a!"},
        {"<a>&#xd800;</a>", "<a!"},
        {"<a>&#x110000;</a>", "<a!"},
        {"<a>&#-1;</a>", "<a!"},
        {"<!DOCTYPE a><a/>", "!"},
        {"<a b='c></a>", "!"},
        {"<a<b></a>", "!"},
        {"<>x</>", "!"},
    };
    char out[400];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        xml_events(cases[i].in, out, sizeof out);
        if (strcmp(out, cases[i].want) != 0)
            fail_msg("%s: %s, not %s", cases[i].in, out, cases[i].want);
    }
}

static void json_events(const char *text, char *out, size_t size)
{
    objs_json j;
    size_t n = 0;
    out[0] = '\0';
    objs_json_init(&j, vv_slice_str(text));
    for (;;) {
        objs_json_kind kind = objs_json_next(&j);
        if (kind == OBJS_JSON_OPEN)
            n += (size_t)snprintf(out + n, size - n, "(%s ", objs_json_key(&j, kind));
        else if (kind == OBJS_JSON_CLOSE)
            n += (size_t)snprintf(out + n, size - n, ")");
        else if (kind == OBJS_JSON_VALUE)
            n += (size_t)snprintf(out + n, size - n, "%s=%s;", objs_json_key(&j, kind), j.text);
        else {
            (void)snprintf(out + n, size - n, "%s", kind == OBJS_JSON_END ? "." : "!");
            return;
        }
    }
}

static void json_is_read_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        const char *want;
    } cases[] = {
        {"{}", "( )."},
        {" {\"a\": 1, \"b\": [true, null, {\"c\": \"x\\n\\u0041\"}]} ",
         "( a=1;(b =true;=null;( c=x\nA;)))."},
        {"\"t\"", "=t;."},
        {"[-1.5e+3]", "( =-1.5e+3;)."},
        {"{\"a\":\"\\ud83d\\ude00\"}", "( a=\xf0\x9f\x98\x80;)."},
        {"{\"a\":1,}", "( a=1;!"},
        {"{\"a\" 1}", "( !"},
        {"{\"a\":01}", "( !"},
        {"{\"a\":tru}", "( !"},
        {"{\"a\":1]", "( a=1;!"},
        {"[1 2]", "( =1;!"},
        {"{} {}", "( )!"},
        {"{\"a\":\"\\ud800\"}", "( !"},
        {"{\"a\":\"\\u0000\"}", "( !"},
        {"{\"a\":\"\x01\"}", "( !"},
        {"{\"a\":\"x", "( !"},
        {"", "!"},
        {"]", "!"},
    };
    char out[400];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_events(cases[i].in, out, sizeof out);
        if (strcmp(out, cases[i].want) != 0)
            fail_msg("%s: %s, not %s", cases[i].in, out, cases[i].want);
    }
}

static void a_failure_is_taken_apart(void **state)
{
    (void)state;
    s3_failure f;
    assert_true(s3_read_failure(vv_slice_str("<Error><Code>A</Code><Message>m</Message>"
                                             "<x><Code>B</Code></x></Error>"),
                                &f));
    assert_string_equal(f.code, "A");
    assert_string_equal(f.message, "m");
    assert_false(s3_read_failure(vv_slice_str("<Result><Code>A</Code></Result>"), &f));
    assert_false(s3_read_failure(vv_slice_str("<html>"), &f));
    assert_false(s3_read_failure(vv_slice_str(""), &f));
}

static void dates_are_read(void **state)
{
    (void)state;
    assert_int_equal(objs_http_date("Fri, 24 May 2013 00:00:00 GMT"), 1369353600 * VV_NS_PER_S);
    assert_int_equal(objs_http_date("2013-05-24T00:00:00.000Z"), 1369353600 * VV_NS_PER_S);
    assert_int_equal(objs_http_date("yesterday"), 0);
    assert_int_equal(objs_http_date(""), 0);
}

static void headers_are_found(void **state)
{
    (void)state;
    objs_http_answer a = {0};
    char out[16];
    vv_buf_init(&a.headers, 1000);
    vv_buf_append_str(&a.headers, "HTTP/1.1 200 OK\r\nETag:  \"x\" \r\nEmpty:\r\nLong: "
                                  "0123456789012345\r\n\r\n");
    assert_true(objs_http_header(&a, "etag", out, sizeof out));
    assert_string_equal(out, "\"x\"");
    assert_true(objs_http_header(&a, "EMPTY", out, sizeof out));
    assert_string_equal(out, "");
    assert_false(objs_http_header(&a, "long", out, sizeof out));
    assert_false(objs_http_header(&a, "tag", out, sizeof out));
    objs_http_answer_fini(&a);
}

static void sums_of_google(void **state)
{
    (void)state;
    char text[9];
    uint32_t crc = 0;
    gcs_crc_text(0xe3069283, text); /* of "123456789" */
    assert_string_equal(text, "4waSgw==");
    assert_true(gcs_crc_parse(text, &crc));
    assert_int_equal(crc, 0xe3069283);
    assert_false(gcs_crc_parse("4waSg", &crc));
    assert_false(gcs_crc_parse("4wa!gw==", &crc));
    assert_false(gcs_crc_parse("4waSgwAA", &crc));
}

static void profiles_are_found(void **state)
{
    (void)state;
    objs_cred c;
    const char *file = "[a]\naws_access_key_id=1\naws_secret_access_key=2\n"
                       "[b]\n ; no\naws_access_key_id = 3 \naws_secret_access_key =4=\nother=5";
    assert_ok(objs_cred_parse(vv_slice_str(file), "b", &c, &err), err);
    assert_string_equal(c.access_key, "3");
    assert_string_equal(c.secret_key, "4=");
    assert_string_equal(c.token, "");
    assert_status(VV_NOT_FOUND, objs_cred_parse(vv_slice_str(file), "c", &c, &err));
    assert_status(VV_INVALID,
                  objs_cred_parse(vv_slice_str("[a]\naws_access_key_id=1"), "a", &c, &err));
    assert_null(strstr(err.msg, "1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(xml_is_read_strictly),     cmocka_unit_test(json_is_read_strictly),
        cmocka_unit_test(a_failure_is_taken_apart), cmocka_unit_test(dates_are_read),
        cmocka_unit_test(headers_are_found),        cmocka_unit_test(sums_of_google),
        cmocka_unit_test(profiles_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
