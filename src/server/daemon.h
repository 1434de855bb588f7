/*
 * daemon.h - a whole varved in one object: the store, the gate, the pipeline and the listeners,
 * started and stopped in the right order. cmd/varved is a thin program over it, and so are tests.
 */
#ifndef VARVE_SERVER_DAEMON_H
#define VARVE_SERVER_DAEMON_H

#include "base/log.h"
#include "server/config.h"
#include "varve/varve.h"

typedef struct varve_daemon varve_daemon;

/** Open the store and serve. Signals are the caller's. Gives *out: daemon_stop. */
VV_MUST_CHECK vv_status daemon_start(const config *c, vv_log *log, varve_daemon **out,
                                     vv_error *err);
/** True when daemon_start failed by what a key is set to, which the failure names first. */
bool daemon_is_misconfigured(const vv_error *err);
/** What daemon_start would refuse of c without opening anything. May start threads of libraries. */
VV_MUST_CHECK vv_status daemon_check(const config *c, vv_error *err);
/** Port 0 is the ingest port, 1 the query port. */
uint16_t daemon_port(const varve_daemon *d, size_t index);
/** Drain, commit what is queued, close the store, free. Returns the first error met. */
vv_status daemon_stop(varve_daemon *d, vv_error *err);

#endif
