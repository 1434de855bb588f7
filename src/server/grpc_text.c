#include "server/grpc_text.h"

#include "base/util.h"

#define TIMEOUT_DIGITS_MAX 8u

bool grpc_timeout_parse(vv_slice text, int64_t *ns)
{
    if (text.len < 2 || text.len > TIMEOUT_DIGITS_MAX + 1)
        return false;
    int64_t n = 0;
    for (size_t i = 0; i + 1 < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        n = n * 10 + (text.data[i] - '0');
    }
    int64_t unit;
    switch (text.data[text.len - 1]) {
    case 'H':
        unit = 3600 * VV_NS_PER_S;
        break;
    case 'M':
        unit = 60 * VV_NS_PER_S;
        break;
    case 'S':
        unit = VV_NS_PER_S;
        break;
    case 'm':
        unit = VV_NS_PER_MS;
        break;
    case 'u':
        unit = VV_NS_PER_US;
        break;
    case 'n':
        unit = 1;
        break;
    default:
        return false;
    }
    if (__builtin_mul_overflow(n, unit, ns))
        *ns = INT64_MAX;
    return true;
}

void grpc_message_encode(vv_buf *out, const char *message)
{
    static const char hex[] = "0123456789ABCDEF";
    const unsigned char *first = (const unsigned char *)message;
    for (const unsigned char *p = first; *p != '\0'; p++) {
        /* HTTP/2 has no value with a blank at an end: the whole header would be dropped. */
        const bool is_edge = *p == ' ' && (p == first || p[1] == '\0');
        if (*p >= 0x20 && *p <= 0x7e && *p != '%' && !is_edge) {
            vv_buf_append_u8(out, *p);
        } else {
            const char escaped[3] = {'%', hex[*p >> 4], hex[*p & 15]};
            vv_buf_append(out, escaped, sizeof escaped);
        }
    }
}

bool grpc_content_type(vv_slice text)
{
    const vv_slice grpc = vv_slice_str("application/grpc");
    if (!vv_slice_has_prefix(text, grpc))
        return false;
    return text.len == grpc.len || text.data[grpc.len] == '+' || text.data[grpc.len] == ';';
}

grpc_encoding grpc_encoding_parse(vv_slice text)
{
    if (text.len == 0 || vv_slice_eq(text, vv_slice_str("identity")))
        return GRPC_IDENTITY;
    if (vv_slice_eq(text, vv_slice_str("gzip")))
        return GRPC_GZIP;
    if (vv_slice_eq(text, vv_slice_str("deflate")))
        return GRPC_DEFLATE;
    return GRPC_ENCODING_UNKNOWN;
}
