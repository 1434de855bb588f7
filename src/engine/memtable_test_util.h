/* memtable_test_util.h - entries that the memtable's test programs share. */
#ifndef VARVE_ENGINE_MEMTABLE_TEST_UTIL_H
#define VARVE_ENGINE_MEMTABLE_TEST_UTIL_H

#include "base/buf.h"
#include "base/bytes.h"
#include "engine/engine.h"
#include "engine/memtable.h"

static inline void put_numbered(vv_buf *buf, uint32_t table, uint64_t n, size_t value_len)
{
    static const uint8_t value[4096];
    char key[24];
    (void)snprintf(key, sizeof key, "%016llx", (unsigned long long)n);
    engine_entry_add_key(buf, ENGINE_PUT, table, vv_slice_str(key), vv_slice_of(value, value_len),
                         0);
}

#endif
