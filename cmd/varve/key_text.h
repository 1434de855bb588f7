/*
 * key_text.h - keys and values on the command line: text as it stands, or hexadecimal with --hex.
 */
#ifndef VARVE_CMD_VARVE_KEY_TEXT_H
#define VARVE_CMD_VARVE_KEY_TEXT_H

#include "base/buf.h"
#include "cmd.h"

/** Append the bytes that text means. False when hex is asked and it is none. */
bool key_text_read(const char *text, bool hex, vv_buf *out);
/** Append the bytes of a file; "-" is standard input. */
vv_status key_text_read_file(const char *path, vv_buf *out, vv_error *err);

#endif
