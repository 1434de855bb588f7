/*
 * cmd_message.h - what get and scan do to a stream table: the key of a message is its offset.
 */
#ifndef VARVE_CMD_VARVE_CMD_MESSAGE_H
#define VARVE_CMD_VARVE_CMD_MESSAGE_H

#include "store.h"

/** Is the store's table of kind stream? False also where nobody says: the read tells why. */
bool message_table(store *s, store_table_info *out);

/** The value alone, as get prints that of a key. */
typedef void (*message_print)(const void *ctx, vv_slice value);

/**
 * Print messages by their offsets, each "OFFSET" of the partition or "PARTITION/OFFSET". One alone
 * goes to print() when it is not NULL; else they are rows.
 *
 * @return VV_NOT_FOUND tells how many are not there; VV_INVALID names a key that is no offset.
 */
VV_MUST_CHECK vv_status message_get(const cmd_ctx *ctx, store *s, uint32_t partition,
                                    const vv_slice *keys, size_t count, message_print print,
                                    const void *print_ctx, vv_error *err);

typedef struct message_scan {
    const char *from; /* an offset or a time, or another place; NULL: the first */
    const char *to;   /* an offset or a time, exclusive; NULL: none */
    bool one;         /* of this partition alone */
    uint32_t partition;
    uint64_t limit; /* 0: none */
    bool keys_only;
    bool count; /* print only how many there are */
} message_scan;

/** Print messages by partition and offset. */
VV_MUST_CHECK vv_status message_scan_run(const cmd_ctx *ctx, store *s, const store_table_info *info,
                                         const message_scan *scan, vv_error *err);

#endif
