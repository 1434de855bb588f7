/*
 * srv_echo.h - the services of the transport's own tests and load runs: they answer what they are
 * sent, keep what they are told to keep, or talk without end.
 */
#ifndef VARVE_SERVER_SRV_ECHO_H
#define VARVE_SERVER_SRV_ECHO_H

#include <stdatomic.h>

#include "server/srv.h"

typedef struct srv_echo {
    srv_pool *pool; /* /test.Echo/Pool answers from it; may be NULL */
    _Atomic uint64_t messages;
    _Atomic uint64_t bytes;
    _Atomic uint64_t closed;
    _Atomic uint64_t half_closed;
    _Atomic uint64_t kept;        /* messages that Keep holds now */
    _Atomic uint64_t flood_bytes; /* what Flood queued */
    _Atomic(srv_call *) keeper;   /* the last Keep call, referenced */
} srv_echo;

#define SRV_ECHO_METHODS 13u

/*
 * /test.Echo/Unary   echoes                       /test.Echo/Pool   echoes from another thread
 * /test.Echo/Stream  echoes each message          /test.Echo/Never  never answers
 * /test.Echo/Sink    another thread lets go of the messages, nothing else
 * /test.Echo/Keep    keeps messages until half-close, then answers their count
 * /test.Echo/Flood   answers one message with kilobytes without end, pausing at SRV_OUTPUT_HIGH
 * /test.Echo/Reckless  the same without pausing   /test.Echo/Fail   status 9 and a trailer
 * GET /hello, POST /echo, GET and PUT under /kv/  (answers the path), POST /large: 3 MB
 */
size_t srv_echo_methods(srv_echo *echo, srv_method out[SRV_ECHO_METHODS]);

/** Release what the last Keep call keeps, on its loop, soon. Any thread. */
void srv_echo_let_go(srv_echo *echo);

#endif
