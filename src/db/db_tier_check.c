/*
 * db_tier_check.c - are the records of a partition's objects what docs/format/stream.md says:
 * readable, in a row from the first offset on, and over all that has left the blocks. What lies at
 * the store is vv_tier_verify's.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/error.h"
#include "db/db_stream_int.h"

#define TEXT_SIZE 400

static void check_entry(db_tier_checker *c, uint64_t number, vv_slice value,
                        void (*find)(void *ctx, const char *text), void *ctx)
{
    char text[TEXT_SIZE];
    vv_error why = {0};
    arch_entry e;
    if (arch_entry_decode(value, &e, &why) != VV_OK) {
        find(ctx, why.msg);
        return;
    }
    if (e.holds.first != number) {
        (void)snprintf(text, sizeof text,
                       "the entry of offset %" PRIu64 " tells of offset %" PRIu64, number,
                       e.holds.first);
        find(ctx, text);
    }
    if (e.holds.next <= c->first) /* it is to be buried */
        return;
    if (c->has_entry && e.holds.first != c->next) {
        (void)snprintf(text, sizeof text,
                       "an object begins at offset %" PRIu64
                       ", and the one before ends at %" PRIu64,
                       e.holds.first, c->next);
        find(ctx, text);
    }
    if (!c->has_entry)
        c->begin = e.holds.first;
    c->has_entry = true;
    c->next = e.holds.next;
}

void db_tier_check_key(db_tier_checker *c, vv_slice key, vv_slice value,
                       void (*find)(void *ctx, const char *text), void *ctx)
{
    char text[TEXT_SIZE];
    vv_error why = {0};
    arch_intent intent;
    arch_dying dying;
    arch_restored restored;
    if (key.len != ARCH_KEY_SIZE) {
        (void)snprintf(text, sizeof text, "the key of an object's record has %zu bytes", key.len);
        find(ctx, text);
        return;
    }
    uint64_t number = vv_get_be64(key.data + 1);
    switch (key.data[0]) {
    case ARCH_KEY_ENTRY:
        check_entry(c, number, value, find, ctx);
        break;
    case ARCH_KEY_INTENT:
        if (arch_intent_decode(value, &intent, &why) != VV_OK)
            find(ctx, why.msg);
        else if (intent.intent != number)
            find(ctx, "an intent lies under the number of another");
        break;
    case ARCH_KEY_RESTORED:
        if (arch_restored_decode(value, &restored, &why) != VV_OK)
            find(ctx, why.msg);
        else if (restored.next <= number)
            find(ctx, "a record of restored messages ends before it begins");
        break;
    default:
        if (arch_dying_decode(value, &dying, &why) != VV_OK)
            find(ctx, why.msg);
        break;
    }
}

void db_tier_check_end(const db_tier_checker *c, uint64_t local, uint64_t next,
                       void (*find)(void *ctx, const char *text), void *ctx)
{
    char text[TEXT_SIZE];
    if (local > c->first && (!c->has_entry || c->begin > c->first || c->next < local)) {
        (void)snprintf(text, sizeof text,
                       "offsets %" PRIu64 " to %" PRIu64
                       " left the blocks, and objects hold %" PRIu64 " to %" PRIu64,
                       c->first, local, c->has_entry ? c->begin : 0, c->has_entry ? c->next : 0);
        find(ctx, text);
    }
    if (c->has_entry && c->next > next) {
        (void)snprintf(text, sizeof text,
                       "objects hold messages up to offset %" PRIu64 ", and the partition ends at "
                       "%" PRIu64,
                       c->next, next);
        find(ctx, text);
    }
}
