/* key_text.c - see key_text.h. */
#include "key_text.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool key_text_read(const char *text, bool hex, vv_buf *out)
{
    size_t len = strlen(text);
    if (!hex) {
        vv_buf_append(out, text, len);
        return out->status == VV_OK;
    }
    for (size_t i = 0; i < len; i += 2) {
        int high = digit_of(text[i]);
        int low = digit_of(text[i + 1]); /* the NUL is no digit */
        if (high < 0 || low < 0)
            return false;
        vv_buf_append_u8(out, (uint8_t)(high << 4 | low));
    }
    return out->status == VV_OK;
}

vv_status key_text_read_file(const char *path, vv_buf *out, vv_error *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *f = is_stdin ? stdin : fopen(path, "rb");
    if (f == NULL)
        return vv_fail_sys(err, VV_INVALID, errno, "%s", path);
    vv_status st = VV_OK;
    for (;;) {
        uint8_t *at = vv_buf_reserve(out, 65536);
        if (at == NULL) {
            st = vv_fail(err, VV_INVALID, "%s: more than %zu bytes", path, out->max - 65536);
            break;
        }
        size_t n = fread(at, 1, 65536, f);
        vv_buf_advance(out, n);
        if (n == 0)
            break;
    }
    if (st == VV_OK && ferror(f))
        st = vv_fail_sys(err, VV_IO, errno, "%s: reading", path);
    if (!is_stdin)
        (void)fclose(f);
    return st;
}
