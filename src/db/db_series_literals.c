/*
 * db_series_literals.c - expressions that are a choice of plain texts: a|b|c, (a|b\.c).
 *
 * Dashboards that let one choose several values of a label ask so. Each text is then looked up like
 * an equality, instead of a walk over all values of the label.
 */
#include <string.h>

#include "db/db_series_match.h"

static bool is_plain(uint8_t c)
{
    return c >= 0x20 && c < 0x7f && strchr(".[]{}()*+?^$\\|", c) == NULL;
}

static bool is_letter_or_digit(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

size_t db_match_literals(vv_slice pattern, uint8_t *out)
{
    const uint8_t *p = pattern.data;
    const uint8_t *end = p + pattern.len;
    size_t count = 0;
    size_t len = 0; /* of the text */
    if (pattern.len >= 2 && p[0] == '(' && end[-1] == ')') {
        p++;
        end--;
    }
    for (; p < end; p++) {
        bool is_escaped = *p == '\\' && end - p > 1 && !is_letter_or_digit(p[1]);
        if (*p == '|' && len > 0) {
            *out++ = 0;
            count++;
            len = 0;
            continue;
        }
        p += is_escaped;
        if (!is_plain(*p) && (!is_escaped || *p < 0x20 || *p >= 0x7f))
            return 0;
        *out++ = *p;
        len++;
    }
    *out = 0;
    return len > 0 ? count + 1 : 0; /* an empty text is no value */
}
