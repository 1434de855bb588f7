/*
 * civil.h - days since 1970 and dates of the proleptic Gregorian calendar, both ways.
 *
 * H. Hinnant, "chrono-compatible low-level date algorithms": eras of 400 years, years from March
 * on. No zone, no lock, which gmtime_r takes.
 */
#ifndef VARVE_BASE_CIVIL_H
#define VARVE_BASE_CIVIL_H

#include <stdint.h>

typedef struct vv_civil {
    int64_t year;
    int64_t month; /* 1..12 */
    int64_t day;   /* 1..31 */
} vv_civil;

static inline int64_t vv_days_of_civil(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    const int64_t era = (year >= 0 ? year : year - 399) / 400;
    const int64_t yoe = year - era * 400;
    const int64_t doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    const int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + doe - 719468;
}

static inline vv_civil vv_civil_of_days(int64_t days)
{
    days += 719468; /* from 0000-03-01 on */
    const int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    const int64_t doe = days - era * 146097;
    const int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    const int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    const int64_t mp = (5 * doy + 2) / 153;
    const int64_t month = mp < 10 ? mp + 3 : mp - 9;
    return (vv_civil){.year = yoe + era * 400 + (month <= 2),
                      .month = month,
                      .day = doy - (153 * mp + 2) / 5 + 1};
}

#endif
