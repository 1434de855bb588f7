/*
 * query_column.c - column names: what they mean, and their value in a record.
 *
 *   name  a.b  a\.b      a top-level field, a nested one, a field whose name holds a dot
 *   _id _timestamp _version      the record's own
 *   _metadata.KEY        one metadata pair; everything behind the first dot is the key
 *
 * No other name begins with '_': a slip in one of these would find nothing, silently. A top-level
 * field whose name does is reached as \_id. Names of messages are those of query_message.c.
 */
#include "base/error.h"
#include "base/nearest.h"
#include "base/util.h"
#include "query/query_int.h"

static int text_len(vv_slice text)
{
    return (int)(text.len < 80 ? text.len : 80);
}

vv_status column_refuse(vv_slice text, vv_error *err, const char *why)
{
    assert(why != NULL);
    return vv_fail(err, VV_INVALID, "column '%.*s': %s", text_len(text), (const char *)text.data,
                   why);
}

vv_status column_split(vv_slice text, vv_arena *arena, column *out, vv_error *err)
{
    size_t steps = 1;
    for (size_t i = 0; i < text.len; i++)
        steps += text.data[i] == '.';
    if (steps > STRUCT_DEPTH_MAX)
        return column_refuse(text, err, "nested deeper than 64 levels");
    out->step = vv_arena_alloc(arena, steps * sizeof *out->step);
    uint8_t *bytes = vv_arena_alloc(arena, text.len + 1);
    if (out->step == NULL || bytes == NULL)
        return vv_fail(err, VV_NO_MEMORY, "column '%.*s'", text_len(text), (const char *)text.data);
    size_t begin = 0;
    size_t len = 0;
    for (size_t i = 0; i <= text.len; i++) {
        if (i == text.len || text.data[i] == '.') {
            if (len == begin)
                return column_refuse(text, err, "a step of the path is empty");
            out->step[out->step_count++] = vv_slice_of(bytes + begin, len - begin);
            begin = len;
            continue;
        }
        if (text.data[i] == '\\' && ++i == text.len)
            return column_refuse(text, err, "ends with a backslash; write '\\\\' for one");
        bytes[len++] = text.data[i];
    }
    return VV_OK;
}

/* A name that is reserved and none of the record's own. */
static vv_status bad_own(vv_slice text, vv_error *err)
{
    static const char *const own[] = {"_id", "_timestamp", "_version", "_metadata"};
    const char *best = own[0];
    unsigned best_distance = VV_NEAREST_MAX;
    const uint8_t *dot = memchr(text.data, '.', text.len);
    vv_slice name = vv_slice_of(text.data, dot == NULL ? text.len : (size_t)(dot - text.data));
    for (size_t i = 0; i < ARRAY_LEN(own); i++) {
        unsigned d = vv_name_distance(name, vv_slice_str(own[i]), best_distance);
        if (d < best_distance) {
            best_distance = d;
            best = own[i];
        }
    }
    return vv_fail(
        err, VV_INVALID,
        "column '%.*s': names that begin with '_' are the record's own, and this is none: "
        "did you mean '%s'? A field is reached as '\\%.*s'",
        text_len(text), (const char *)text.data, best, text_len(text), (const char *)text.data);
}

vv_status column_parse(vv_slice text, row_kind rows, vv_arena *arena, column *out, vv_error *err)
{
    static const vv_slice metadata = {(const uint8_t *)"_metadata", 9};
    *out = (column){.kind = COLUMN_FIELD, .text = text};
    if (text.len == 0)
        return vv_fail(err, VV_INVALID, "a column name is empty");
    if (vv_slice_eq(text, vv_slice_str("_id"))) {
        out->kind = COLUMN_ID;
    } else if (vv_slice_eq(text, vv_slice_str("_timestamp"))) {
        out->kind = COLUMN_TIMESTAMP;
    } else if (vv_slice_eq(text, vv_slice_str("_version"))) {
        out->kind = COLUMN_VERSION;
    } else if (vv_slice_eq(text, vv_slice_str("*"))) {
        out->kind = COLUMN_ALL;
    } else if (rows == ROWS_MESSAGES && text.data[0] != '_') {
        return message_column_parse(text, arena, out, err);
    } else if (vv_slice_eq(text, metadata)) {
        out->kind = COLUMN_METADATA_ALL;
    } else if (vv_slice_has_prefix(text, metadata) && text.data[metadata.len] == '.') {
        out->kind = COLUMN_METADATA;
        out->step = vv_arena_alloc(arena, sizeof *out->step);
        if (out->step == NULL)
            return vv_fail(err, VV_NO_MEMORY, "column '_metadata.KEY'");
        out->step_count = 1;
        out->step[0] = vv_slice_of(text.data + metadata.len + 1, text.len - metadata.len - 1);
        if (out->step[0].len == 0)
            return column_refuse(text, err, "needs a key: _metadata.KEY");
    } else if (text.data[0] == '_') {
        return bad_own(text, err);
    } else {
        return column_split(text, arena, out, err);
    }
    return VV_OK;
}

static bool read_metadata(const column *c, const vv_record *record, struct_value *out)
{
    vv_slice rest = record->metadata;
    vv_slice key;
    vv_slice value;
    bool found = false;
    while (vv_record_metadata_next(&rest, &key, &value)) {
        if (vv_slice_eq(key, c->step[0])) {
            *out = (struct_value){.type = STRUCT_STRING, .bytes = value};
            found = true; /* the last of a repeated key */
        }
    }
    return found;
}

bool column_read(const column *c, const row_view *row, struct_value *out)
{
    if (row->message != NULL && c->kind >= COLUMN_FIELD)
        return message_column_read(c, row->message, out);
    switch (c->kind) {
    case COLUMN_ID:
        *out = (struct_value){.type = STRUCT_STRING, .bytes = row->key};
        return true;
    case COLUMN_TIMESTAMP:
        *out = (struct_value){.type = STRUCT_TIME, .time_ns = row->record.timestamp_ns};
        return true;
    case COLUMN_VERSION:
        *out = (struct_value){.type = STRUCT_NUMBER, .number = (double)row->version};
        return true;
    case COLUMN_METADATA:
        return read_metadata(c, &row->record, out);
    case COLUMN_FIELD:
        return row->record.body_format == 0 &&
               struct_find(row->record.body, c->step, c->step_count, out) == VV_OK;
    default:
        break;
    }
    return false;
}
