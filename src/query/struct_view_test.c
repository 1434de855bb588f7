/*
 * struct_view_test.c - the walker against protobuf-c: on random Structs both find the same values.
 */
#include "query/struct_view.h"

#include "base/rng.h"
#include "google/protobuf/struct.pb-c.h"
#include "vv_test.h"

static const char *const keys[] = {"a", "b", "cc", "temperature", "", "x.y", "_id"};

static vv_slice random_key(vv_rng *rng)
{
    return vv_slice_str(keys[vv_rng_below(rng, ARRAY_LEN(keys))]);
}

static void put_random_struct(vv_rng *rng, vv_buf *out, unsigned depth);

/* A field that no version of the message knows. */
static void put_unknown(vv_rng *rng, vv_buf *out)
{
    switch (vv_rng_below(rng, 8)) {
    case 0:
        wire_put_uint(out, 15, 7);
        return;
    case 1:
        wire_put_bytes(out, 100, vv_slice_str("later"));
        return;
    case 2:
        wire_put_double_always(out, 77, 1.5);
        return;
    default:
        return; /* mostly nothing */
    }
}

static void put_random_value(vv_rng *rng, vv_buf *out, unsigned depth)
{
    size_t begin;
    put_unknown(rng, out);
    switch (vv_rng_below(rng, depth == 0 ? 5 : 8)) {
    case 0:
        return; /* nothing set */
    case 1:
        struct_value_put(out, 0, &(struct_value){.type = STRUCT_NULL});
        return;
    case 2:
        struct_value_put(
            out, 0,
            &(struct_value){.type = STRUCT_NUMBER, .number = (double)vv_rng_below(rng, 1000) / 8});
        return;
    case 3:
        struct_value_put(out, 0, &(struct_value){.type = STRUCT_STRING, .bytes = random_key(rng)});
        return;
    case 4:
        struct_value_put(out, 0,
                         &(struct_value){.type = STRUCT_BOOL, .boolean = vv_rng_below(rng, 2)});
        return;
    case 5:
        begin = wire_begin(out, VALUE_LIST);
        for (uint64_t n = vv_rng_below(rng, 4); n > 0; n--) {
            size_t element = wire_begin(out, LIST_VALUES);
            put_random_value(rng, out, depth - 1);
            wire_end(out, element);
        }
        wire_end(out, begin);
        return;
    default:
        begin = wire_begin(out, VALUE_STRUCT);
        put_random_struct(rng, out, depth - 1);
        wire_end(out, begin);
        return;
    }
}

static void put_random_struct(vv_rng *rng, vv_buf *out, unsigned depth)
{
    for (uint64_t n = vv_rng_below(rng, 6); n > 0; n--) {
        put_unknown(rng, out);
        size_t entry = wire_begin(out, STRUCT_FIELDS);
        bool value_first = vv_rng_one_in(rng, 4);
        if (!value_first && !vv_rng_one_in(rng, 10))
            wire_put_bytes(out, STRUCT_ENTRY_KEY, random_key(rng));
        if (!vv_rng_one_in(rng, 10)) {
            size_t value = wire_begin(out, STRUCT_ENTRY_VALUE);
            put_random_value(rng, out, depth);
            wire_end(out, value);
        }
        if (value_first)
            wire_put_bytes(out, STRUCT_ENTRY_KEY, random_key(rng));
        wire_end(out, entry);
    }
}

/* The oracle: the last entry of a key. */
static const Google__Protobuf__Value *oracle_step(const Google__Protobuf__Struct *s, vv_slice key,
                                                  bool *found)
{
    const Google__Protobuf__Value *v = NULL;
    *found = false;
    for (size_t i = 0; i < s->n_fields; i++) {
        const Google__Protobuf__Struct__FieldsEntry *e = s->fields[i];
        if (vv_slice_eq(key, vv_slice_str(e->key))) {
            v = e->value;
            *found = true;
        }
    }
    return v;
}

static void check_same(const struct_value *mine, const Google__Protobuf__Value *theirs)
{
    int kind = theirs == NULL ? 0 : (int)theirs->kind_case;
    switch (kind) {
    case 0:
    case VALUE_NULL:
        assert_int_equal(mine->type, STRUCT_NULL);
        return;
    case VALUE_NUMBER:
        assert_int_equal(mine->type, STRUCT_NUMBER);
        assert_true(mine->number == theirs->number_value);
        return;
    case VALUE_STRING:
        assert_int_equal(mine->type, STRUCT_STRING);
        assert_true(vv_slice_eq(mine->bytes, vv_slice_str(theirs->string_value)));
        return;
    case VALUE_BOOL:
        assert_int_equal(mine->type, STRUCT_BOOL);
        assert_int_equal(mine->boolean, theirs->bool_value != 0);
        return;
    case VALUE_STRUCT:
        assert_int_equal(mine->type, STRUCT_STRUCT);
        return;
    default:
        assert_int_equal(mine->type, STRUCT_LIST);
        vv_slice element;
        size_t n = 0;
        for (wire_reader r = wire_reader_of(mine->bytes); struct_next_element(&r, &element) > 0;) {
            struct_value v;
            assert_int_equal(struct_value_parse(element, &v), VV_OK);
            assert_true(n < theirs->list_value->n_values);
            check_same(&v, theirs->list_value->values[n++]);
        }
        assert_int_equal(n, theirs->list_value->n_values);
    }
}

static void check_path(vv_slice structure, const Google__Protobuf__Struct *oracle,
                       const vv_slice *path, size_t depth)
{
    const Google__Protobuf__Value *theirs = NULL;
    bool found = true;
    for (size_t i = 0; i < depth && found; i++) {
        if (i > 0) {
            found =
                theirs != NULL && theirs->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE;
            oracle = found ? theirs->struct_value : NULL;
        }
        if (found)
            theirs = oracle_step(oracle, path[i], &found);
    }
    struct_value mine;
    vv_status st = struct_find(structure, path, depth, &mine);
    assert_int_equal(st, found ? VV_OK : VV_NOT_FOUND);
    if (found)
        check_same(&mine, theirs);
}

static void prop_finds_what_protobuf_unpacks(void **state)
{
    (void)state;
    uint64_t seed = vv_test_seed(0x57a7);
    uint64_t rounds = vv_test_count("VV_ROUNDS", 20000);
    vv_rng rng;
    vv_buf b;
    vv_rng_init(&rng, seed);
    vv_buf_init(&b, 1 << 20);
    for (uint64_t i = 0; i < rounds; i++) {
        vv_buf_reset(&b);
        put_random_struct(&rng, &b, 4);
        Google__Protobuf__Struct *oracle =
            google__protobuf__struct__unpack(NULL, b.len, b.len == 0 ? (uint8_t *)"" : b.data);
        if (oracle == NULL)
            fail_msg("round %llu: the oracle refuses; VV_SEED=0x%llx", (unsigned long long)i,
                     (unsigned long long)seed);
        for (int j = 0; j < 8; j++) {
            vv_slice path[4];
            size_t depth = 1 + vv_rng_below(&rng, 4);
            for (size_t k = 0; k < depth; k++)
                path[k] = random_key(&rng);
            check_path(vv_buf_slice(&b), oracle, path, depth);
        }
        google__protobuf__struct__free_unpacked(oracle, NULL);
    }
    vv_buf_fini(&b);
}

/* Whatever bytes: no crash, and what the oracle accepts is not called malformed. */
static void prop_damaged_bytes_are_an_answer(void **state)
{
    (void)state;
    vv_rng rng;
    vv_buf b;
    vv_rng_init(&rng, vv_test_seed(0xbad));
    vv_buf_init(&b, 1 << 20);
    for (uint64_t i = 0; i < vv_test_count("VV_ROUNDS", 20000); i++) {
        vv_buf_reset(&b);
        put_random_struct(&rng, &b, 4);
        if (b.len == 0)
            continue;
        for (uint64_t n = 1 + vv_rng_below(&rng, 3); n > 0; n--)
            b.data[vv_rng_below(&rng, b.len)] = (uint8_t)vv_rng_next(&rng);
        size_t len = vv_rng_below(&rng, b.len + 1);
        Google__Protobuf__Struct *oracle = google__protobuf__struct__unpack(NULL, len, b.data);
        vv_slice path[2] = {random_key(&rng), random_key(&rng)};
        struct_value v;
        vv_status st = struct_find(vv_slice_of(b.data, len), path, 2, &v);
        if (oracle != NULL)
            assert_true(st == VV_OK || st == VV_NOT_FOUND);
        if (oracle != NULL)
            google__protobuf__struct__free_unpacked(oracle, NULL);
    }
    vv_buf_fini(&b);
}

static void test_bad_input(void **state)
{
    (void)state;
    const struct {
        const char *name;
        vv_slice in;
        vv_status want;
    } cases[] = {
        {"nothing", {NULL, 0}, VV_NOT_FOUND},
        {"length past the end", BYTES(0x0a, 5, 0x0a), VV_CORRUPT},
        {"length over 64 bits",
         BYTES(0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2), VV_CORRUPT},
        {"a varint that does not end", BYTES(0x0a, 0x80), VV_CORRUPT},
        {"field number 0", BYTES(0x02, 0), VV_CORRUPT},
        {"a group", BYTES(0x0b, 0x0c), VV_CORRUPT},
        {"an entry that is a varint", BYTES(0x08, 1), VV_CORRUPT},
        {"a key that is a varint", BYTES(0x0a, 2, 0x08, 1), VV_CORRUPT},
        {"number as varint", BYTES(0x0a, 7, 0x0a, 1, 'a', 0x12, 2, 0x10, 1), VV_CORRUPT},
        {"wire type 7", BYTES(0x0f, 1), VV_CORRUPT},
        {"true", BYTES(0x0a, 7, 0x0a, 1, 'a', 0x12, 2, 0x20, 1), VV_OK},
        {"the last of two",
         BYTES(0x0a, 7, 0x0a, 1, 'a', 0x12, 2, 0x20, 0, 0x0a, 7, 0x0a, 1, 'a', 0x12, 2, 0x20, 1),
         VV_OK},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_slice path = vv_slice_str("a");
        struct_value v = {.type = STRUCT_NULL};
        if (struct_find(cases[i].in, &path, 1, &v) != cases[i].want)
            fail_msg("%s", cases[i].name);
        if (cases[i].want == VV_OK && (v.type != STRUCT_BOOL || !v.boolean))
            fail_msg("%s: not true", cases[i].name);
    }
    vv_slice deep[STRUCT_DEPTH_MAX + 1] = {{0}};
    struct_value v;
    assert_int_equal(struct_find((vv_slice){0}, deep, STRUCT_DEPTH_MAX + 1, &v), VV_INVALID);
    assert_int_equal(struct_find((vv_slice){0}, deep, 0, &v), VV_INVALID);
}

/* A projected struct answers the kept paths as the whole one does, and holds nothing else. */
static void prop_projection_keeps_and_only_keeps(void **state)
{
    (void)state;
    vv_rng rng;
    vv_buf b;
    vv_buf cut;
    vv_rng_init(&rng, vv_test_seed(0x9a0));
    vv_buf_init(&b, 1 << 20);
    vv_buf_init(&cut, 1 << 20);
    for (uint64_t i = 0; i < vv_test_count("VV_ROUNDS", 20000); i++) {
        vv_buf_reset(&b);
        vv_buf_reset(&cut);
        put_random_struct(&rng, &b, 4);
        struct_keep inner = {.key = vv_slice_str("b"), .whole = true};
        struct_keep second = {.key = vv_slice_str("cc"), .whole = true};
        struct_keep first = {.key = vv_slice_str("a"), .child = &inner, .sibling = &second};
        assert_int_equal(struct_project(vv_buf_slice(&b), &first, &cut), VV_OK);
        size_t parts = 0; /* of `a`, which is cut: never beside its whole */
        vv_slice key;
        vv_slice value;
        for (wire_reader r = wire_reader_of(vv_buf_slice(&cut));
             struct_next_entry(&r, &key, &value) > 0;)
            parts += vv_slice_eq(key, vv_slice_str("a"));
        assert_true(parts <= 1);
        vv_slice ab[2] = {vv_slice_str("a"), vv_slice_str("b")};
        vv_slice cc = vv_slice_str("cc");
        struct_value v;
        struct_value w;
        vv_status st = struct_find(vv_buf_slice(&b), ab, 2, &v);
        assert_int_equal(struct_find(vv_buf_slice(&cut), ab, 2, &w), st);
        if (st == VV_OK)
            assert_true(v.type == w.type && struct_value_compare(&v, &w) == 0);
        st = struct_find(vv_buf_slice(&b), &cc, 1, &v);
        assert_int_equal(struct_find(vv_buf_slice(&cut), &cc, 1, &w), st);
        if (st == VV_OK)
            assert_true(v.type == w.type && struct_value_compare(&v, &w) == 0);
        ab[1] = vv_slice_str("cc");
        assert_int_equal(struct_find(vv_buf_slice(&cut), ab, 2, &w), VV_NOT_FOUND);
        ab[0] = vv_slice_str("temperature");
        assert_int_equal(struct_find(vv_buf_slice(&cut), ab, 1, &w), VV_NOT_FOUND);
        Google__Protobuf__Struct *oracle = google__protobuf__struct__unpack(
            NULL, cut.len, cut.len == 0 ? (uint8_t *)"" : cut.data);
        assert_non_null(oracle);
        google__protobuf__struct__free_unpacked(oracle, NULL);
    }
    vv_buf_fini(&b);
    vv_buf_fini(&cut);
}

static void test_order(void **state)
{
    (void)state;
    const struct_value rising[] = {
        {.type = STRUCT_NUMBER, .number = -1.0 / 0.0},
        {.type = STRUCT_NUMBER, .number = -2},
        {.type = STRUCT_NUMBER, .number = 0},
        {.type = STRUCT_NUMBER, .number = 1e300},
        {.type = STRUCT_NUMBER, .number = 0.0 / 0.0},
        {.type = STRUCT_TIME, .time_ns = -5},
        {.type = STRUCT_TIME, .time_ns = 5},
        {.type = STRUCT_STRING, .bytes = vv_slice_str("")},
        {.type = STRUCT_STRING, .bytes = vv_slice_str("a")},
        {.type = STRUCT_STRING, .bytes = vv_slice_str("aa")},
        {.type = STRUCT_STRING, .bytes = vv_slice_str("b")},
        {.type = STRUCT_BOOL, .boolean = false},
        {.type = STRUCT_BOOL, .boolean = true},
        {.type = STRUCT_NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rising); i++)
        for (size_t j = 0; j < ARRAY_LEN(rising); j++) {
            int c = struct_value_compare(&rising[i], &rising[j]);
            assert_int_equal((c > 0) - (c < 0), (i > j) - (i < j));
        }
}

/* Keys and metadata may be any bytes; as a Value they must not spoil the message. */
static void test_strings_are_always_utf8(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"", ""}, {"\xc3\xa9", "\xc3\xa9"}, {"k\xff", "k?"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_buf b;
        wire_field f = {0};
        vv_buf_init(&b, 64);
        struct_value_put(
            &b, 1, &(struct_value){.type = STRUCT_STRING, .bytes = vv_slice_str(cases[i][0])});
        wire_reader r = wire_reader_of(vv_buf_slice(&b));
        assert_int_equal(wire_next(&r, &f), 1);
        r = wire_reader_of(f.bytes);
        assert_int_equal(wire_next(&r, &f), 1);
        assert_true(f.number == VALUE_STRING && vv_slice_eq(f.bytes, vv_slice_str(cases[i][1])));
        vv_buf_fini(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_finds_what_protobuf_unpacks),
        cmocka_unit_test(prop_damaged_bytes_are_an_answer),
        cmocka_unit_test(test_bad_input),
        cmocka_unit_test(prop_projection_keeps_and_only_keeps),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_strings_are_always_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
