/*
 * files.h - the files of a closed store, for check and dump.
 */
#ifndef VARVE_CMD_VARVE_FILES_H
#define VARVE_CMD_VARVE_FILES_H

#include "varve/status.h"

/** As vv_check and vv_dump; VV_UNSUPPORTED in a build without the engine. */
VV_MUST_CHECK vv_status files_check(const char *dir, void (*finding)(void *ctx, const char *text),
                                    void *ctx, vv_error *err);
VV_MUST_CHECK vv_status files_dump(const char *path, void (*line)(void *ctx, const char *text),
                                   void *ctx, vv_error *err);

#endif
