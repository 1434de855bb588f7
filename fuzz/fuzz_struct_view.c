/*
 * fuzz_struct_view.c - the walker over google.protobuf.Struct bytes, with protobuf-c as the oracle.
 *
 * Laws: in what the ingest accepts each key is found with the value the oracle has; a projection is
 * a Struct again; what prints as JSON reads back and prints the same. The same bytes are also read
 * as a QueryRequest, where the law is only: no crash.
 */
#include <stdlib.h>
#include <string.h>

#include "google/protobuf/struct.pb-c.h"
#include "ingest/ingest_walk.h"
#include "query/query.h"
#include "query/struct_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An entry whose value comes in two pieces is merged by protobuf and not by the walker: no law. */
static bool has_split_entry(vv_slice structure)
{
    wire_reader r = wire_reader_of(structure);
    wire_field f = {0};
    while (wire_next(&r, &f) > 0) {
        wire_field g = {0};
        int values = 0;
        if (f.number != STRUCT_FIELDS || f.type != WIRE_BYTES)
            continue;
        for (wire_reader e = wire_reader_of(f.bytes); wire_next(&e, &g) > 0;)
            values += g.number == STRUCT_ENTRY_VALUE;
        if (values > 1)
            return true;
    }
    return false;
}

static bool same_kind(const struct_value *mine, const Google__Protobuf__Value *theirs)
{
    int kind = theirs == NULL ? 0 : (int)theirs->kind_case;
    switch (mine->type) {
    case STRUCT_NUMBER:
        return kind == VALUE_NUMBER &&
               memcmp(&mine->number, &theirs->number_value, sizeof mine->number) == 0;
    case STRUCT_STRING:
        return kind == VALUE_STRING && strlen(theirs->string_value) <= mine->bytes.len;
    case STRUCT_BOOL:
        return kind == VALUE_BOOL && mine->boolean == (theirs->bool_value != 0);
    case STRUCT_STRUCT:
        return kind == VALUE_STRUCT;
    case STRUCT_LIST:
        return kind == VALUE_LIST;
    default:
        return kind == 0 || kind == VALUE_NULL;
    }
}

static void check_oracle(vv_slice structure)
{
    Google__Protobuf__Struct *oracle =
        google__protobuf__struct__unpack(NULL, structure.len, structure.data);
    if (oracle == NULL)
        abort();
    for (size_t i = 0; i < oracle->n_fields; i++) {
        struct_value v;
        vv_slice key = vv_slice_str(oracle->fields[i]->key);
        vv_status st = struct_find(structure, &key, 1, &v);
        size_t last = i;
        for (size_t j = i; j < oracle->n_fields; j++)
            if (strcmp(oracle->fields[j]->key, oracle->fields[i]->key) == 0)
                last = j;
        if (st == VV_NOT_FOUND && memchr(structure.data, 0, structure.len) != NULL)
            continue; /* a key with a zero byte: the oracle cut it there */
        if (st != VV_OK)
            abort();
        if (memchr(structure.data, 0, structure.len) == NULL &&
            !same_kind(&v, oracle->fields[last]->value))
            abort();
    }
    google__protobuf__struct__free_unpacked(oracle, NULL);
}

static void check_projection(vv_slice structure, vv_buf *out)
{
    struct_keep inner = {.key = vv_slice_str("b"), .whole = true};
    struct_keep first = {.key = vv_slice_str("a"), .child = &inner};
    vv_buf_reset(out);
    if (struct_project(structure, &first, out) != VV_OK)
        return;
    vv_slice path[2] = {vv_slice_str("a"), vv_slice_str("b")};
    struct_value v;
    struct_value w;
    vv_status st = struct_find(structure, path, 2, &v);
    if (struct_find(vv_buf_slice(out), path, 2, &w) != st)
        abort();
    if (st == VV_OK && v.type != w.type)
        abort();
}

static void check_json(vv_slice structure, vv_buf *text, vv_buf *wire)
{
    vv_buf again;
    vv_buf_reset(text);
    vv_buf_reset(wire);
    if (json_put_struct(text, structure) != VV_OK)
        return;
    if (memmem(text->data, text->len, "\xef\xbf\xbd", 3) != NULL)
        return; /* bytes that are no UTF-8 were replaced: two keys may have become one */
    if (json_read_struct(vv_buf_slice(text), NULL, wire, NULL) != VV_OK)
        abort();
    vv_buf_init(&again, 1 << 20);
    if (json_put_struct(&again, vv_buf_slice(wire)) != VV_OK ||
        !vv_slice_eq(vv_buf_slice(&again), vv_buf_slice(text)))
        abort();
    vv_buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vv_slice in = vv_slice_of(data, size);
    vv_buf out;
    vv_buf text;
    vv_arena arena;
    query_ask ask;
    if (size == 0 || size > 4096)
        return 0;
    vv_buf_init(&out, 1 << 20);
    vv_buf_init(&text, 1 << 20);
    vv_arena_init(&arena, 1 << 20);
    if (ingest_check_struct(in) == INGEST_GOOD && !has_split_entry(in))
        check_oracle(in);
    check_projection(in, &out);
    check_json(in, &text, &out);
    if (query_request_parse(in, &arena, &ask, NULL) == VV_OK) {
        vv_buf_reset(&out);
        query_request_put(&out, &ask);
    }
    if (query_aggregate_parse(in, &arena, &ask, NULL) == VV_OK && ask.filter_count > 64)
        abort();
    vv_buf_reset(&out);
    if (json_read_struct(in, NULL, &out, NULL) == VV_OK)
        check_json(vv_buf_slice(&out), &text, &out);
    vv_arena_fini(&arena);
    vv_buf_fini(&text);
    vv_buf_fini(&out);
    return 0;
}
