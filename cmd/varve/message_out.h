/*
 * message_out.h - messages of streams as rows: partition, offset, times, key, value and the rest.
 */
#ifndef VARVE_CMD_VARVE_MESSAGE_OUT_H
#define VARVE_CMD_VARVE_MESSAGE_OUT_H

#include "out.h"
#include "varve/stream.h"

void message_out_begin(out_writer *out, cmd_format format);
void message_out_row(out_writer *out, const vv_message *m);

#endif
