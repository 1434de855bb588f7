/* message_out.c - messages of streams as rows. */
#include "message_out.h"
#include "base/attribute_json.h"
#include "base/time_text.h"
#include "base/util.h"

static const char *const columns[] = {"partition", "offset",       "received", "event",     "key",
                                      "value",     "content_type", "source",   "attributes"};

/* With their types, as HTTP has them. */
static void put_json(vv_buf *b, const vv_message *m)
{
    vv_buf_append_u8(b, '{');
    for (size_t i = 0; i < m->attribute_count; i++) {
        vv_buf_append_str(b, i == 0 ? "" : ",");
        json_put_attribute(b, &m->attributes[i]);
    }
    vv_buf_append_u8(b, '}');
}

static void put_attribute(vv_buf *b, const vv_attribute *a)
{
    char time[TIME_TEXT_MAX];
    vv_buf_append_str(b, b->len == 0 ? "" : ", ");
    vv_buf_append_slice(b, a->name);
    vv_buf_append_str(b, "=");
    switch (a->type) {
    case VV_ATTRIBUTE_I64:
        vv_buf_printf(b, "%lld", (long long)a->i64);
        break;
    case VV_ATTRIBUTE_F64:
        vv_buf_printf(b, "%.17g", a->f64);
        break;
    case VV_ATTRIBUTE_BOOL:
        vv_buf_append_str(b, a->i64 != 0 ? "true" : "false");
        break;
    case VV_ATTRIBUTE_TIME:
        time_text_format(a->i64, time);
        vv_buf_append_str(b, time);
        break;
    default:
        vv_buf_append_slice(b, a->bytes);
        break;
    }
}

void message_out_begin(out_writer *out, cmd_format format)
{
    out_init_names(out, format, columns, ARRAY_LEN(columns));
}

void message_out_row(out_writer *out, const vv_message *m)
{
    char received[TIME_TEXT_MAX];
    char event[TIME_TEXT_MAX] = "";
    const bool is_json = out->format == CMD_JSON;
    vv_buf b;
    vv_buf_init(&b, VV_STREAM_MESSAGE_MAX * 2);
    for (size_t i = 0; i < m->attribute_count && !is_json; i++)
        put_attribute(&b, &m->attributes[i]);
    if (is_json)
        put_json(&b, m);
    time_text_format(m->receive_time_ns, received);
    if (m->event_time_ns != 0)
        time_text_format(m->event_time_ns, event);
    out_row(out,
            (const out_cell[]){out_uint(m->partition), out_uint(m->offset), out_text(received),
                               out_text(event), out_bytes(m->key), out_bytes(m->value),
                               out_bytes(m->content_type), out_bytes(m->source),
                               is_json ? out_json(vv_buf_slice(&b)) : out_bytes(vv_buf_slice(&b))});
    vv_buf_fini(&b);
}
