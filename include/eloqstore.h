/*
 * eloqstore.h - the small C interface of the Rust port of EloqStore, served by Varve: seven
 * functions over a store of the engine `btree`, whose pages are EloqStore's.
 *
 * Link with -leloqstore -lvarve. A store made here is a store of Varve: `varve --data DIR` sees its
 * tables under the tenant "default". What EloqStore itself has written, `varve import-eloqstore`
 * reads.
 *
 * Results: 0, or a vv_status negated: -VV_NOT_FOUND (-1) for a table or key that is not there,
 * -VV_INVALID for an argument that cannot be, -VV_CLOSED for a store that was not started.
 *
 * Threads: write and read from any; start, stop and free when no other call is in progress.
 */
#ifndef ELOQSTORE_H
#define ELOQSTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h> /* programs take the lengths of their literals with strlen */

#include "varve/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct EloqStoreHandle EloqStoreHandle;

/** How a store is opened. A number that is 0 means its default. */
typedef struct EloqStoreKvOptions {
    const char *data_dir;  /* made when it is not there */
    size_t num_shards;     /* default 1, at most 64; fixed when the store is made. The keys of each
                              table are spread over them by their hash */
    size_t page_size;      /* bytes; 4096, and nothing else: start answers -VV_UNSUPPORTED */
    size_t cache_size;     /* pages; default 32768 */
    size_t max_open_files; /* of data files, at least 16, else start answers -VV_INVALID; default
                              half of what the process may have */
    bool compression;      /* values of 100 bytes and more by zstd with a learned dictionary */
    bool sync_writes;      /* a write is on the disk before it is answered; otherwise it survives
                              the process and not the machine */
} EloqStoreKvOptions;

/** Every default, sync_writes among them, for the directory dir. */
#define ELOQSTORE_KV_OPTIONS_INIT(dir)                                                             \
    {                                                                                              \
        (dir), 1, 4096, 0, 0, false, true                                                          \
    }

/** A store in dir with default options. Copies dir; touches no file. NULL when dir is NULL or empty
 * or memory is short. Gives it: eloqstore_free. */
VV_API EloqStoreHandle *eloqstore_new(const char *data_dir);

/** The same with options of one's own. Copies them. */
VV_API EloqStoreHandle *eloqstore_new_with_options(const EloqStoreKvOptions *options);

/** Open it, recovering what a crash left. 0 too when it is started already; -VV_BUSY when another
 * process has it open; -VV_CORRUPT when what it holds is damaged. */
VV_API int eloqstore_start(EloqStoreHandle *store);

/** Put value under key; the table is made by its first write. A table's name is 1 to 128 letters,
 * digits, '_', '-', '.'; a key 1 to 1024 bytes; a value at most 15 MiB. -VV_NO_SPACE, -VV_BUSY and
 * -VV_IO as of vv_write. */
VV_API int eloqstore_write(EloqStoreHandle *store, const char *table, size_t table_len,
                           const void *key, size_t key_len, const void *value, size_t value_len);

/**
 * Copy the value of key to buffer.
 * @param len  the room in buffer, then the value's length.
 * @return -VV_NOT_FOUND; -VV_NO_SPACE when the value is longer than the room: *len is what it needs
 *         and buffer is as it was. On any other failure *len is as it was.
 */
VV_API int eloqstore_read(EloqStoreHandle *store, const char *table, size_t table_len,
                          const void *key, size_t key_len, void *buffer, size_t *len);

/** Close the store; it may be started again. 0 too when it is not started. */
VV_API int eloqstore_stop(EloqStoreHandle *store);

/** Stop it if need be, and forget it. Accepts NULL. */
VV_API void eloqstore_free(EloqStoreHandle *store);

#ifdef __cplusplus
}
#endif

#endif
