/*
 * place_text.h - places in a stream of messages as they are written on the command line.
 */
#ifndef VARVE_CMD_VARVE_PLACE_TEXT_H
#define VARVE_CMD_VARVE_PLACE_TEXT_H

#include <stdbool.h>

#include "varve/stream.h"

/** An offset, a time, "earliest", "latest", "@NAME" of a position, which borrows text; NULL:
 * earliest. False: it is none. */
bool place_text_parse(const char *text, vv_stream_start *out);

/** "OFFSET" of the given partition, or "PARTITION/OFFSET". False: it is neither. */
bool place_text_message(vv_slice text, uint32_t *partition, uint64_t *offset);

#endif
