/*
 * fuzz_archive_record.c - the records by which a partition knows its objects: read or refused.
 *
 *     byte 0    0: an intent; 1: an entry; 2: an object to remove
 *
 * Law: what is accepted encodes to the very bytes it came from, and its name is that of an object.
 */
#include <stdlib.h>

#include "archive/archive.h"

#define OUT_MAX 1024u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* Returns the name; NULL: it was refused. */
static const char *decode(uint8_t kind, vv_slice bytes, vv_buf *again)
{
    static arch_intent intent;
    static arch_entry entry;
    static arch_dying dying;
    if (kind == 0 && arch_intent_decode(bytes, &intent, NULL) == VV_OK) {
        arch_intent_encode(&intent, again);
        return intent.name;
    }
    if (kind == 1 && arch_entry_decode(bytes, &entry, NULL) == VV_OK) {
        arch_entry_encode(&entry, again);
        return entry.name;
    }
    if (kind == 2 && arch_dying_decode(bytes, &dying, NULL) == VV_OK) {
        arch_dying_encode(&dying, again);
        return dying.name;
    }
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vv_buf again;
    if (size == 0)
        return 0;
    vv_slice bytes = vv_slice_of(data + 1, size - 1);
    vv_buf_init(&again, OUT_MAX);
    const char *name = decode(data[0] % 3, bytes, &again);
    if (name != NULL) {
        must(again.status == VV_OK && vv_slice_eq(vv_buf_slice(&again), bytes));
        must(vv_object_name_check(name, NULL) == VV_OK);
    }
    vv_buf_fini(&again);
    return 0;
}
