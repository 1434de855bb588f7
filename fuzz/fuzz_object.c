/*
 * fuzz_object.c - answers of object stores, keys and sum files: no crash, names that are given are
 * C strings, a sum file that is accepted encodes to the same bytes.
 *
 * The first byte chooses the reader.
 */
#include <stdlib.h>
#include <string.h>

#include "object/objs_cred.h"
#include "object/objs_file.h"
#include "object/objs_gcs.h"
#include "object/objs_json.h"
#include "object/objs_s3.h"
#include "object/objs_xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static bool take(void *ctx, const char *name, const vv_object_info *info)
{
    size_t *count = ctx;
    check(strlen(name) > 0 && strlen(info->etag) < sizeof info->etag);
    check(strlen(info->version) < sizeof info->version);
    return ++*count < 1000;
}

static void read_xml(vv_slice in)
{
    objs_xml x;
    s3_failure f;
    bool more;
    size_t names = 0;
    int depth = 0;
    objs_xml_init(&x, in);
    for (objs_xml_kind kind; (kind = objs_xml_next(&x)) < OBJS_XML_END;) {
        depth += kind == OBJS_XML_OPEN ? 1 : -1;
        check(depth >= 0 && depth <= (int)OBJS_XML_DEPTH && (unsigned)depth == x.depth);
        check(strlen(objs_xml_name(&x)) > 0 && strlen(objs_xml_parent(&x)) < OBJS_XML_NAME);
        check(strlen(x.text) == x.text_len || memchr(x.text, 0, x.text_len) != NULL);
    }
    if (s3_read_failure(in, &f))
        check(f.code[0] != '\0');
    if (s3_read_list(in, take, &names, &more, NULL) == VV_OK)
        check(names <= in.len);
}

static void read_json(vv_slice in)
{
    objs_json j;
    vv_object_info info;
    bool more;
    size_t names = 0;
    char text[100];
    objs_json_init(&j, in);
    for (objs_json_kind kind; (kind = objs_json_next(&j)) < OBJS_JSON_END;) {
        check(j.depth <= OBJS_JSON_DEPTH);
        check(strlen(objs_json_key(&j, kind)) < OBJS_JSON_KEY);
        check(strlen(j.text) == j.text_len);
    }
    if (objs_json_find(in, "name", text, sizeof text))
        check(strlen(text) < sizeof text);
    if (gcs_read_object(in, &info, NULL) == VV_OK)
        check(strlen(info.etag) < sizeof info.etag);
    if (gcs_read_list(in, "a", 100, take, &names, &more, NULL) == VV_OK)
        check(names <= 100);
}

static void read_sum(vv_slice in)
{
    file_sum sum;
    vv_buf out;
    if (file_sum_decode(in, &sum, NULL) != VV_OK)
        return;
    uint64_t size = sum.size;
    sum.size = 0; /* the sums of blocks are not part of the head */
    vv_buf_init(&out, 4096);
    file_sum_encode(&sum, NULL, &out);
    sum.size = size;
    check(out.status == VV_OK && out.len == FILE_SUM_HEADER + sum.name_len);
    for (size_t i = 0; i < out.len; i++) /* but for the size, and the sum over it */
        check((i >= 24 && i < 32) || (i >= 92 && i < 96) || out.data[i] == in.data[i]);
    vv_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    objs_cred cred;
    gcs_account account;
    if (size == 0)
        return 0;
    vv_slice in = vv_slice_of(data + 1, size - 1);
    switch (data[0]) {
    case 'x':
        read_xml(in);
        break;
    case 'j':
        read_json(in);
        break;
    case 'c':
        if (objs_cred_parse(in, "default", &cred, NULL) == VV_OK)
            check(cred.access_key[0] != '\0' && cred.secret_key[0] != '\0');
        break;
    case 'a':
        if (gcs_account_parse(in, &account, NULL) == VV_OK)
            gcs_account_fini(&account);
        break;
    default:
        read_sum(in);
    }
    return 0;
}
