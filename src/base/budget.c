#include "base/budget.h"

#include "base/util.h"

const char *vv_budget_part_name(vv_budget_part part)
{
    static const char *const names[] = {"memtable", "cache", "queue", "log",          "query",
                                        "network",  "index", "work",  "transactions", "process"};
    static_assert(ARRAY_LEN(names) == VV_BUDGET_PARTS, "every part has a name");
    return names[part];
}
