/*
 * evlog_socket.h - a sink that is a datagram socket of this machine: a record is a datagram.
 */
#ifndef VARVE_SERVER_EVLOG_SOCKET_H
#define VARVE_SERVER_EVLOG_SOCKET_H

#include "server/evlog_sink.h"

/** format writes a record into out[EVLOG_DATAGRAM_MAX] and returns its length; arg is its own. */
vv_status evlog_socket_create(const char *path,
                              size_t (*format)(const vv_log_record *r, const evlog_origin *from,
                                               unsigned arg, char *out),
                              unsigned arg, evlog_sink **out, vv_error *err);

#endif
