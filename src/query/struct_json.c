/*
 * struct_json.c - the writer's half of struct_json.h: Struct bytes to JSON text.
 */
#include "query/struct_json.h"

#include "base/time_text.h"
#include "base/utf8.h"

static vv_status put_struct(vv_buf *out, vv_slice structure, unsigned depth);

static vv_status put_list(vv_buf *out, vv_slice list, unsigned depth);

static vv_status put_value(vv_buf *out, const struct_value *v, unsigned depth)
{
    char text[TIME_TEXT_MAX];
    switch (v->type) {
    case STRUCT_NUMBER:
        json_put_number(out, v->number);
        return VV_OK;
    case STRUCT_STRING:
        json_put_string(out, v->bytes);
        return VV_OK;
    case STRUCT_BOOL:
        vv_buf_append_str(out, v->boolean ? "true" : "false");
        return VV_OK;
    case STRUCT_TIME:
        time_text_format(v->time_ns, text);
        json_put_string(out, vv_slice_str(text));
        return VV_OK;
    case STRUCT_LIST:
        return depth == 0 ? VV_INVALID : put_list(out, v->bytes, depth - 1);
    case STRUCT_STRUCT:
        return depth == 0 ? VV_INVALID : put_struct(out, v->bytes, depth - 1);
    case STRUCT_NULL:
        break;
    }
    vv_buf_append_str(out, "null");
    return VV_OK;
}

static vv_status put_list(vv_buf *out, vv_slice list, unsigned depth)
{
    wire_reader r = wire_reader_of(list);
    vv_slice bytes;
    int more;
    bool first = true;
    vv_buf_append_u8(out, '[');
    while ((more = struct_next_element(&r, &bytes)) > 0) {
        struct_value v;
        vv_status st = struct_value_parse(bytes, &v);
        if (!first)
            vv_buf_append_u8(out, ',');
        first = false;
        if (st == VV_OK)
            st = put_value(out, &v, depth);
        if (st != VV_OK)
            return st;
    }
    vv_buf_append_u8(out, ']');
    return more < 0 ? VV_CORRUPT : VV_OK;
}

#define REPEAT_LOOK_AHEAD 256 /* entries behind one in which its key is looked for again */

/* True when one of the next entries has the same key: then this one is not the last. The look
 * ahead is bounded so that a hostile struct costs no more than linear time; a repeat further away
 * prints twice, and readers of JSON take the last as well. */
static bool comes_again(wire_reader r, vv_slice key)
{
    vv_slice name;
    vv_slice value;
    for (int i = 0; i < REPEAT_LOOK_AHEAD && struct_next_entry(&r, &name, &value) > 0; i++)
        if (vv_slice_eq(name, key))
            return true;
    return false;
}

static vv_status put_struct(vv_buf *out, vv_slice structure, unsigned depth)
{
    wire_reader r = wire_reader_of(structure);
    vv_slice key;
    vv_slice bytes;
    int more;
    bool first = true;
    vv_buf_append_u8(out, '{');
    while ((more = struct_next_entry(&r, &key, &bytes)) > 0) {
        struct_value v;
        if (comes_again(r, key))
            continue;
        vv_status st = struct_value_parse(bytes, &v);
        if (!first)
            vv_buf_append_u8(out, ',');
        first = false;
        json_put_string(out, key);
        vv_buf_append_u8(out, ':');
        if (st == VV_OK)
            st = put_value(out, &v, depth);
        if (st != VV_OK)
            return st;
    }
    vv_buf_append_u8(out, '}');
    return more < 0 ? VV_CORRUPT : VV_OK;
}

vv_status json_put_struct(vv_buf *out, vv_slice structure)
{
    return put_struct(out, structure, STRUCT_DEPTH_MAX);
}

vv_status json_put_value(vv_buf *out, const struct_value *value)
{
    return put_value(out, value, STRUCT_DEPTH_MAX);
}
