/*
 * attribute_json.c - an attribute as JSON that says its type: what HTTP answers and takes, and what
 * the command line prints.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/attribute_json.h"
#include "base/json_text.h"
#include "base/time_text.h"
#include "base/util.h"

/* With a fraction or an exponent always: an integer is of another type. */
static void put_f64(vv_buf *out, double value)
{
    static const char marks[] = {'.', 'e', 'E'};
    const size_t from = out->len;
    if (!isfinite(value)) {
        vv_buf_append_str(out, "{\"f64\":");
        json_put_number(out, value);
        vv_buf_append_u8(out, '}');
        return;
    }
    json_put_number(out, value);
    for (size_t i = from; i < out->len; i++)
        if (memchr(marks, out->data[i], sizeof marks) != NULL)
            return;
    vv_buf_append_str(out, ".0");
}

void json_put_attribute(vv_buf *out, const vv_attribute *a)
{
    char time[TIME_TEXT_MAX];
    json_put_string(out, a->name);
    vv_buf_append_u8(out, ':');
    switch (a->type) {
    case VV_ATTRIBUTE_I64:
        vv_buf_printf(out, "%" PRId64, a->i64);
        break;
    case VV_ATTRIBUTE_F64:
        put_f64(out, a->f64);
        break;
    case VV_ATTRIBUTE_BOOL:
        vv_buf_append_str(out, a->i64 != 0 ? "true" : "false");
        break;
    case VV_ATTRIBUTE_TIME:
        time_text_format(a->i64, time);
        vv_buf_printf(out, "{\"time\":\"%s\"}", time);
        break;
    case VV_ATTRIBUTE_BYTES:
        vv_buf_append_str(out, "{\"base64\":");
        json_put_base64(out, a->bytes);
        vv_buf_append_u8(out, '}');
        break;
    case VV_ATTRIBUTE_STRING:
    default:
        json_put_string(out, a->bytes);
        break;
    }
}
