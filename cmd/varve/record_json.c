/* record_json.c - see record_json.h. */
#include "record_json.h"

#include <inttypes.h>

#include "base/time_text.h"
#include "query/struct_json.h"

void record_put_meta_json(vv_buf *out, const record_parts *r)
{
    vv_slice key;
    vv_slice value;
    bool first = true;
    vv_buf_append_u8(out, '{');
    for (wire_reader w = wire_reader_of(r->raw); record_next_meta(&w, &key, &value);
         first = false) {
        vv_buf_append_str(out, first ? "" : ",");
        json_put_string(out, key);
        vv_buf_append_u8(out, ':');
        json_put_string(out, value);
    }
    vv_buf_append_u8(out, '}');
}

void record_put_data_json(vv_buf *out, const record_parts *r)
{
    size_t before = out->len;
    if (json_put_struct(out, r->body) == VV_OK)
        return;
    out->len = before;
    vv_buf_append_str(out, "null");
}

void record_put_json(vv_buf *out, const record_parts *r)
{
    char text[TIME_TEXT_MAX];
    time_text_format(r->time_ns, text);
    vv_buf_append_str(out, "{\"id\":");
    json_put_string(out, r->id);
    vv_buf_append_str(out, ",\"timestamp\":");
    json_put_string(out, vv_slice_str(text));
    vv_buf_printf(out, ",\"version\":%" PRId64 ",\"metadata\":", r->version);
    record_put_meta_json(out, r);
    vv_buf_append_str(out, ",\"data\":");
    record_put_data_json(out, r);
    vv_buf_append_u8(out, '}');
}
