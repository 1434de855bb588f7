/*
 * fuzz_extract.c - rules and the messages they are applied to, both from anywhere: no crash, a
 * bounded cost, and what comes of a message can be stored.
 *
 *     u16 length of rules | u16 length of descriptors | rules | descriptors | a message's value
 *
 * Laws: rules that are refused have a sentence; a message that is let through passes the checks of
 * the table; the same message gives the same again.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/util.h"
#include "extract/extract.h"
#include "stream/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* What messages are tried on when the rules of the input are none. */
static const char usual[] = "a = json $.a\nb = json $.b[1].c string\nc = json $.n float\n"
                            "d = kv d\ne = regex \"^([a-z]+): (\\\\d*)\" 2 int\nf = field hash\n"
                            "t = json $.t time -> event\nentity = json $.e required\n";

static extract_program *compile(vv_slice rules, vv_slice schema)
{
    vv_error err = {0};
    extract_program *p = NULL;
    vv_status st = extract_compile(rules, schema, &p, &err);
    must(st == VV_OK || (st == VV_INVALID && err.msg[0] != '\0' && p == NULL));
    if (st != VV_OK)
        must(extract_compile(vv_slice_str(usual), schema, &p, &err) == VV_OK);
    must(extract_rule_count(p) <= VV_EXTRACT_RULES_MAX);
    return p;
}

static void run(extract_runner *r, vv_slice value)
{
    vv_error err = {0};
    extract_result first, again;
    extract_place place = {vv_slice_str("tenant"), vv_slice_str("table"), VV_STREAM_MESSAGE_MAX};
    vv_message m = {.value = value, .key = vv_slice_str("key")};
    must(extract_run(r, &place, &m, &first, &err) == VV_OK);
    must(stream_message_check(&first.message, VV_STREAM_MESSAGE_MAX, &err) == VV_OK);
    must(!first.is_poison || first.reason[0] != '\0');
    must(extract_run(r, &place, &m, &again, &err) == VV_OK);
    must(again.is_poison == first.is_poison &&
         stream_message_size(&again.message) == stream_message_size(&first.message));
    must(vv_slice_eq(again.message.value, value));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vv_error err = {0};
    extract_runner *r = NULL;
    if (size < 4)
        return 0;
    const uint8_t *p = data + 4, *end = data + size;
    size_t rules_len = (size_t)vv_min_u64(vv_get_le16(data), (uint64_t)(end - p));
    vv_slice rules = vv_slice_of(p, rules_len);
    p += rules_len;
    size_t schema_len = (size_t)vv_min_u64(vv_get_le16(data + 2), (uint64_t)(end - p));
    vv_slice schema = vv_slice_of(p, schema_len);
    p += schema_len;
    extract_program *program = compile(rules, schema);
    must(extract_runner_create(program, &r, &err) == VV_OK);
    run(r, vv_slice_of(p, (size_t)(end - p)));
    extract_runner_destroy(r);
    extract_program_destroy(program);
    return 0;
}
