/*
 * objs_name.c - names: what they may be made of, so that none leaves its store.
 *
 * The same form for every backend: a file system's directories, S3's keys, a URL's path need no
 * escaping for it, and a name cannot mean another place by "..", "//" or a leading '/'. The file
 * backend keeps its own files in names that begin with '.' or end in '#', which no name does.
 */
#include "object/object_int.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/util.h"

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("_.=+,@:~!-", c) != NULL);
}

vv_status objs_name_form(const char *what, const char *name, size_t max, bool open_end,
                         vv_error *err)
{
    assert(name != NULL);
    size_t part = 0; /* bytes of the part so far */
    size_t n = 0;
    for (; name[n] != '\0'; n++) {
        char c = name[n];
        if (n == max)
            return vv_fail(err, VV_INVALID, "%s '%.40s..': longer than %zu bytes", what, name, max);
        if (c == '/') {
            if (part == 0)
                return vv_fail(err, VV_INVALID, "%s '%.100s': a part is empty at byte %zu", what,
                               name, n);
            part = 0;
            continue;
        }
        if (!is_name_byte(c))
            return vv_fail(
                err, VV_INVALID,
                "%s: byte %zu is 0x%02x: only letters, digits and _.=+,@:~!-/ are in names", what,
                n, (unsigned char)c);
        if (c == '.' && part == 0)
            return vv_fail(err, VV_INVALID, "%s '%.100s': a part begins with '.'", what, name);
        if (++part > VV_OBJECT_PART_NAME_MAX)
            return vv_fail(err, VV_INVALID, "%s '%.40s..': a part is longer than %u bytes", what,
                           name, VV_OBJECT_PART_NAME_MAX);
    }
    if (part == 0 && !open_end)
        return vv_fail(err, VV_INVALID, "%s '%.100s': %s", what, name,
                       n == 0 ? "is empty" : "ends with '/'");
    return VV_OK;
}

vv_status vv_object_name_check(const char *name, vv_error *err)
{
    if (name == NULL)
        return vv_fail(err, VV_INVALID, "object name: is missing");
    return objs_name_form("object name", name, VV_OBJECT_NAME_MAX, false, err);
}

vv_status objs_full_name(const vv_object_store *store, const char *name, char *out, vv_error *err)
{
    vv_status st = vv_object_name_check(name, err);
    if (st != VV_OK)
        return st;
    memcpy(out, store->prefix, store->prefix_len);
    memcpy(out + store->prefix_len, name, strlen(name) + 1);
    return VV_OK;
}

const char *vv_object_fault_name(vv_object_fault fault)
{
    static const char *const names[] = {"none",   "missing",  "exists",  "unsupported", "throttled",
                                        "server", "timeout",  "network", "denied",      "expired",
                                        "clock",  "redirect", "request", "answer",      "corrupt",
                                        "full",   "local"};
    static_assert(ARRAY_LEN(names) == VV_OBJECT_FAULT_COUNT, "a name for each");
    return (unsigned)fault < ARRAY_LEN(names) ? names[fault] : "unknown";
}

const char *vv_object_op_name(vv_object_op op)
{
    static const char *const names[] = {"put",   "get",  "head",     "list", "remove",
                                        "begin", "part", "complete", "abort"};
    static_assert(ARRAY_LEN(names) == VV_OBJECT_OP_COUNT, "a name for each");
    return (unsigned)op < ARRAY_LEN(names) ? names[op] : "unknown";
}

vv_status objs_fault_local(vv_object_outcome *oc, vv_status st)
{
    vv_object_fault fault = st == VV_NO_SPACE  ? VV_OBJECT_FAULT_FULL
                            : st == VV_CORRUPT ? VV_OBJECT_FAULT_CORRUPT
                                               : VV_OBJECT_FAULT_LOCAL;
    return objs_fault(oc, fault, false, st);
}

void objs_copy_clean(char *to, size_t size, const char *from)
{
    size_t n = 0;
    for (; *from != '\0' && n + 1 < size; from++)
        if ((uint8_t)*from >= ' ' && (uint8_t)*from < 0x7f)
            to[n++] = *from;
    to[n] = '\0';
}

void objs_hex(const uint8_t *bytes, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * len] = '\0';
}

/* Multiplication of the sum by x^(8n) modulo the polynomial, by squaring: a sum over n zero bytes
 * more (M. Adler's crc32_combine of zlib). Bit 31 is x^0 here, as in all reflected forms. */
static uint32_t times(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (uint32_t bit = UINT32_C(1) << 31; bit != 0; bit >>= 1) {
        if ((a & bit) != 0)
            product ^= b;
        b = (b & 1) != 0 ? (b >> 1) ^ UINT32_C(0x82f63b78) : b >> 1;
    }
    return product;
}

uint32_t objs_crc32c_join(uint32_t a, uint32_t b, uint64_t b_len)
{
    uint32_t power = UINT32_C(1) << 23; /* x^8: one byte */
    uint32_t shift = UINT32_C(1) << 31; /* x^0 */
    for (uint64_t n = b_len; n != 0; n >>= 1) {
        if ((n & 1) != 0)
            shift = times(shift, power);
        power = times(power, power);
    }
    return times(shift, a) ^ b;
}
