/*
 * extract_proto_test.c - fields of protobuf by their names: descriptors, paths, and messages that
 * break off.
 */
#include "extract_test_util.h"

#include "codec/protowire.h"

/* ---- a FileDescriptorSet:
 *
 *   package acme;
 *   enum Color { RED = 0; BLUE = 5; }
 *   message Order {
 *     message Item { string name = 1; repeated int32 sizes = 2; Deep deep = 3; message Deep {
 *       sint64 z = 1; } }
 *     Customer customer = 1; repeated Item items = 2; double price = 3; Color color = 4;
 *     google.protobuf.Timestamp at = 5; bytes raw = 6; bool paid = 7; uint64 big = 8; float f = 9;
 *     fixed32 f32 = 10; sfixed64 s64 = 11;
 *   }
 *   message Customer { int64 id = 1; }
 */

static void put_field(vv_buf *b, uint32_t in, const char *name, uint32_t number, uint32_t type,
                      const char *type_name, bool repeated)
{
    size_t mark = wire_begin(b, in);
    wire_put_string(b, 1, S(name));
    wire_put_uint(b, 3, number);
    wire_put_uint(b, 4, repeated ? 3 : 1);
    wire_put_uint(b, 5, type);
    wire_put_string(b, 6, S(type_name));
    wire_end(b, mark);
}

static void put_enum_value(vv_buf *b, const char *name, uint32_t number)
{
    size_t mark = wire_begin(b, 2);
    wire_put_string(b, 1, S(name));
    wire_put_uint(b, 2, number);
    wire_end(b, mark);
}

static void put_order(vv_buf *b)
{
    size_t order = wire_begin(b, 4);
    wire_put_string(b, 1, S("Order"));
    put_field(b, 2, "customer", 1, 11, ".acme.Customer", false);
    put_field(b, 2, "items", 2, 11, ".acme.Order.Item", true);
    put_field(b, 2, "price", 3, 1, "", false);
    put_field(b, 2, "color", 4, 14, ".acme.Color", false);
    put_field(b, 2, "at", 5, 11, ".google.protobuf.Timestamp", false);
    put_field(b, 2, "raw", 6, 12, "", false);
    put_field(b, 2, "paid", 7, 8, "", false);
    put_field(b, 2, "big", 8, 4, "", false);
    put_field(b, 2, "f", 9, 2, "", false);
    put_field(b, 2, "f32", 10, 7, "", false);
    put_field(b, 2, "s64", 11, 16, "", false);
    size_t item = wire_begin(b, 3);
    wire_put_string(b, 1, S("Item"));
    put_field(b, 2, "name", 1, 9, "", false);
    put_field(b, 2, "sizes", 2, 5, "", true);
    put_field(b, 2, "deep", 3, 11, ".acme.Order.Item.Deep", false);
    size_t deep = wire_begin(b, 3);
    wire_put_string(b, 1, S("Deep"));
    put_field(b, 2, "z", 1, 18, "", false);
    wire_end(b, deep);
    wire_end(b, item);
    wire_end(b, order);
}

static vv_slice schema_into(vv_buf *b)
{
    vv_buf_init(b, 1u << 16);
    size_t other = wire_begin(b, 1);
    wire_put_string(b, 2, S("google.protobuf"));
    wire_end(b, other);
    size_t file = wire_begin(b, 1);
    wire_put_string(b, 1, S("acme.proto"));
    wire_put_string(b, 2, S("acme"));
    put_order(b);
    size_t customer = wire_begin(b, 4);
    wire_put_string(b, 1, S("Customer"));
    put_field(b, 2, "id", 1, 3, "", false);
    wire_end(b, customer);
    size_t color = wire_begin(b, 5);
    wire_put_string(b, 1, S("Color"));
    put_enum_value(b, "RED", 0);
    put_enum_value(b, "BLUE", 5);
    wire_end(b, color);
    wire_end(b, file);
    assert_int_equal(b->status, VV_OK);
    return vv_buf_slice(b);
}

static vv_slice order_into(vv_buf *b)
{
    vv_buf_init(b, 1u << 16);
    size_t customer = wire_begin(b, 1);
    wire_put_varint(b, 1, (uint64_t)-12);
    wire_end(b, customer);
    for (unsigned i = 0; i < 2; i++) {
        size_t item = wire_begin(b, 2);
        wire_put_string(b, 1, i == 0 ? S("bolt") : S("nut"));
        size_t packed = wire_begin(b, 2);
        vv_buf_append_varint(b, 10 + i);
        vv_buf_append_varint(b, 20 + i);
        wire_end(b, packed);
        wire_put_varint(b, 2, 30 + i); /* not packed: they count on */
        size_t deep = wire_begin(b, 3);
        wire_put_varint(b, 1, 7 + i); /* zigzag */
        wire_end(b, deep);
        wire_end(b, item);
    }
    wire_put_double_always(b, 3, 1.5);
    wire_put_double_always(b, 3, 2.5);
    wire_put_varint(b, 4, 5);
    wire_put_time(b, 5, INT64_C(1500000000));
    wire_put_bytes(b, 6, vv_slice_of("\0\xff", 2));
    wire_put_varint(b, 7, 1);
    wire_put_varint(b, 8, UINT64_MAX);
    wire_put_fixed32(b, 9, 0x3fc00000);
    wire_put_fixed32(b, 10, UINT32_MAX);
    wire_put_fixed64(b, 11, (uint64_t)-3);
    wire_put_string(b, 99, S("unknown"));
    return vv_buf_slice(b);
}

static const char rules[] = "id = protobuf acme.Order customer.id int\n"
                            "second = protobuf .acme.Order items[1].name\n"
                            "size = protobuf acme.Order items[1].sizes[2]\n"
                            "first = protobuf acme.Order items[0].sizes[0] float\n"
                            "third = protobuf acme.Order items[2].name\n"
                            "z = protobuf acme.Order items[0].deep.z\n"
                            "price = protobuf acme.Order price\n"
                            "color = protobuf acme.Order color\n"
                            "colour = protobuf acme.Order color int\n"
                            "at = protobuf acme.Order at -> event\n"
                            "raw = protobuf acme.Order raw\n"
                            "paid = protobuf acme.Order paid\n"
                            "big = protobuf acme.Order big\n"
                            "f = protobuf acme.Order f\n"
                            "f32 = protobuf acme.Order f32\n"
                            "s64 = protobuf acme.Order s64\n";

static void fields_are_found_by_name(void **state)
{
    (void)state;
    vv_buf schema, order;
    bed b = bed_of(rules, schema_into(&schema));
    vv_buf_fini(&schema); /* what is needed was copied */
    const vv_message *m = run_on(&b, order_into(&order));
    expect_i64(m, "id", VV_ATTRIBUTE_I64, -12);
    expect_text(m, "second", "nut");
    expect_i64(m, "size", VV_ATTRIBUTE_I64, 31);
    expect_f64(m, "first", 10);
    assert_null(attribute(m, "third"));
    expect_i64(m, "z", VV_ATTRIBUTE_I64, -4);
    expect_f64(m, "price", 2.5);
    expect_text(m, "color", "BLUE");
    expect_i64(m, "colour", VV_ATTRIBUTE_I64, 5);
    assert_int_equal(m->event_time_ns, 1500000000);
    assert_int_equal(attribute(m, "raw")->type, VV_ATTRIBUTE_BYTES);
    assert_int_equal(attribute(m, "raw")->bytes.len, 2);
    expect_i64(m, "paid", VV_ATTRIBUTE_BOOL, 1);
    expect_text(m, EXTRACT_ERRORS, "big: a number that is too large");
    expect_f64(m, "f", 1.5);
    expect_i64(m, "f32", VV_ATTRIBUTE_I64, UINT32_MAX);
    expect_i64(m, "s64", VV_ATTRIBUTE_I64, -3);
    vv_buf_fini(&order);
    bed_end(&b);
}

static void names_that_are_not_there_are_refused(void **state)
{
    (void)state;
    const struct {
        const char *rule, *words;
    } cases[] = {
        {"x = protobuf acme.Odrer id", "no message acme.Odrer"},
        {"x = protobuf Order id", "no message Order"},
        {"x = protobuf acme. id", "no message"},
        {"x = protobuf acme.Order idd", "message Order has no field 'idd'"},
        {"x = protobuf acme.Order customer", "is a message: name a field of it"},
        {"x = protobuf acme.Order items.name", "is repeated: say which, as items[0]"},
        {"x = protobuf acme.Order customer[0].id", "it takes no index"},
        {"x = protobuf acme.Order items[].name", "is no field"},
        {"x = protobuf acme.Order items[x].name", "is no field"},
        {"x = protobuf acme.Order price.x", "is no message of these"},
        {"x = protobuf acme.Order at int", "a Timestamp is of type time"},
        {"x = protobuf acme.Order customer..id", "is no field"},
    };
    vv_buf schema;
    vv_slice set = schema_into(&schema);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_error err = {0};
        extract_program *p = NULL;
        if (extract_compile(S(cases[i].rule), set, &p, &err) != VV_INVALID ||
            strstr(err.msg, cases[i].words) == NULL)
            fail_msg("'%s': '%s' instead of '%s'", cases[i].rule, err.msg, cases[i].words);
    }
    vv_buf_fini(&schema);
}

static void a_message_that_breaks_off_is_an_error(void **state)
{
    (void)state;
    vv_buf schema, order;
    bed b = bed_of("price = protobuf acme.Order price", schema_into(&schema));
    vv_slice whole = order_into(&order);
    unsigned errors = 0;
    for (size_t len = 0; len < whole.len; len++)
        errors += attribute(run_on(&b, vv_slice_of(whole.data, len)), EXTRACT_ERRORS) != NULL;
    assert_true(errors > whole.len / 2);
    expect_text(run_on(&b, S("\x19"
                             "short")),
                EXTRACT_ERRORS, "price: not protobuf");
    vv_buf_fini(&schema);
    vv_buf_fini(&order);
    bed_end(&b);
}

/* Descriptors and messages with bytes changed: a rule compiles or is refused, a message is read or
 * is an error. */
static void prop_any_bytes_are_answered(void **state)
{
    (void)state;
    vv_rng rng;
    vv_buf schema, order;
    vv_rng_init(&rng, vv_test_seed(5));
    vv_slice set = schema_into(&schema);
    vv_slice whole = order_into(&order);
    unsigned compiled = 0;
    for (int i = 0; i < 3000; i++) {
        uint8_t a[2048], c[1024];
        assert_true(set.len <= sizeof a && whole.len <= sizeof c);
        memcpy(a, set.data, set.len);
        memcpy(c, whole.data, whole.len);
        for (uint64_t k = vv_rng_below(&rng, 3); k > 0; k--)
            a[vv_rng_below(&rng, set.len)] = (uint8_t)vv_rng_next(&rng);
        for (uint64_t k = vv_rng_below(&rng, 4); k > 0; k--)
            c[vv_rng_below(&rng, whole.len)] = (uint8_t)vv_rng_next(&rng);
        bed b = {.program = NULL};
        if (extract_compile(S(rules), vv_slice_of(a, set.len), &b.program, NULL) != VV_OK)
            continue;
        compiled++;
        assert_int_equal(extract_runner_create(b.program, &b.runner, NULL), VV_OK);
        (void)run_on(&b, vv_slice_of(c, whole.len));
        bed_end(&b);
    }
    assert_true(compiled > 100);
    vv_buf_fini(&schema);
    vv_buf_fini(&order);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_found_by_name),
        cmocka_unit_test(names_that_are_not_there_are_refused),
        cmocka_unit_test(a_message_that_breaks_off_is_an_error),
        cmocka_unit_test(prop_any_bytes_are_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
