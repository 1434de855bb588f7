/*
 * import_time.c - which column is the time of a record, and the forms it may have.
 *
 * A column with one of the usual names is the time, in any case of letters. What stands in it must
 * be a time: a record that silently got the time of arrival instead would be found at the wrong
 * place for ever.
 */
#include <math.h>

#include "base/error.h"
#include "base/time_text.h"
#include "base/util.h"
#include "import.h"
#include "query/struct_json.h"

size_t import_time_rank(vv_slice name)
{
    static const char *const usual[] = {"timestamp", "_timestamp", "time", "ts",
                                        "datetime",  "date_time",  "date"};
    for (size_t i = 0; i < ARRAY_LEN(usual); i++) {
        size_t n = strlen(usual[i]);
        bool same = n == name.len;
        for (size_t j = 0; same && j < n; j++) {
            uint8_t c = name.data[j];
            same = (c >= 'A' && c <= 'Z' ? c + 32 : c) == usual[i][j];
        }
        if (same)
            return i;
    }
    return SIZE_MAX;
}

int64_t import_time_unit(const char *unit)
{
    return unit == NULL                   ? -1
           : strcmp(unit, "rfc3339") == 0 ? 0
           : strcmp(unit, "s") == 0       ? VV_NS_PER_S
           : strcmp(unit, "ms") == 0      ? VV_NS_PER_MS
           : strcmp(unit, "us") == 0      ? VV_NS_PER_US
                                          : 1;
}

/* A plain number without a unit: seconds until the year 5138, then milliseconds, and so on. */
static int64_t guess_unit(vv_slice text)
{
    double v = 0;
    (void)json_read_number(text, &v);
    v = fabs(v);
    return v < 1e11 ? VV_NS_PER_S : v < 1e14 ? VV_NS_PER_MS : v < 1e17 ? VV_NS_PER_US : 1;
}

/* 20260102: eight digits that are a day between 1900 and 2199 are meant as one. */
static bool read_compact_date(vv_slice text, int64_t *out)
{
    char date[11];
    if (text.len != 8 || (memcmp(text.data, "19", 2) != 0 && memcmp(text.data, "20", 2) != 0 &&
                          memcmp(text.data, "21", 2) != 0))
        return false;
    memcpy(date, text.data, 4);
    memcpy(date + 5, text.data + 4, 2);
    memcpy(date + 8, text.data + 6, 2);
    date[4] = date[7] = '-';
    return time_text_parse(vv_slice_of(date, 10), out);
}

vv_status import_time_read(const import_map *m, vv_slice text, int64_t *out, vv_error *err)
{
    bool ok = m->unit_ns <= 0 && time_text_parse_loose(text, out);
    if (!ok && m->unit_ns < 0)
        ok = read_compact_date(text, out);
    if (!ok && m->unit_ns != 0)
        ok = time_text_parse_number(text, m->unit_ns > 0 ? m->unit_ns : guess_unit(text), out);
    if (ok)
        return VV_OK;
    return vv_fail(err, VV_INVALID,
                   "'%.*s' in column '%.*s' is no time%s%s (2026-01-02 10:00:00, seconds); see "
                   "--timestamp, --no-timestamp",
                   (int)(text.len < 40 ? text.len : 40), (const char *)text.data,
                   (int)(m->time_name.len < 40 ? m->time_name.len : 40),
                   (const char *)m->time_name.data, m->opt->unit == NULL ? "" : " in ",
                   m->opt->unit == NULL ? "" : m->opt->unit);
}
