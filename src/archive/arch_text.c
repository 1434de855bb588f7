/*
 * arch_text.c - attributes as JSON, in the form of queries, so that a tool reads both alike.
 */
#include <inttypes.h>

#include "archive/arch_int.h"
#include "base/json_text.h"
#include "base/time_text.h"
#include "base/utf8.h"

void arch_json_attribute(vv_buf *out, const vv_attribute *a)
{
    char time[TIME_TEXT_MAX];
    switch (a->type) {
    case VV_ATTRIBUTE_STRING:
    case VV_ATTRIBUTE_BYTES:
        if (a->type == VV_ATTRIBUTE_STRING && utf8_is_valid(a->bytes)) {
            json_put_string(out, a->bytes);
            return;
        }
        vv_buf_append_str(out, "{\"base64\":");
        json_put_base64(out, a->bytes);
        vv_buf_append_u8(out, '}');
        return;
    case VV_ATTRIBUTE_I64:
        vv_buf_printf(out, "%" PRId64, a->i64);
        return;
    case VV_ATTRIBUTE_F64:
        json_put_number(out, a->f64);
        return;
    case VV_ATTRIBUTE_BOOL:
        vv_buf_append_str(out, a->i64 != 0 ? "true" : "false");
        return;
    case VV_ATTRIBUTE_TIME:
        time_text_format(a->i64, time);
        vv_buf_printf(out, "\"%s\"", time);
        return;
    }
}
