/*
 * files.h - the files of a closed store, for check and dump.
 */
#ifndef VARVE_CMD_VARVE_FILES_H
#define VARVE_CMD_VARVE_FILES_H

#include "tier_store.h"

/** As vv_check; with a backend in tier also what lies in the object store: of runs and of messages,
 * with `whole` every byte. VV_UNSUPPORTED in a build without the engine, as the next. */
VV_MUST_CHECK vv_status files_check(const char *dir, const tier_args *tier, bool whole,
                                    void (*finding)(void *ctx, const char *text), void *ctx,
                                    vv_error *err);
/** As vv_dump. */
VV_MUST_CHECK vv_status files_dump(const char *path, void (*line)(void *ctx, const char *text),
                                   void *ctx, vv_error *err);

#endif
