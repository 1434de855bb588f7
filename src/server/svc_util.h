/*
 * svc_util.h - what services of several protocols share: their rows, who calls, how HTTP says no.
 */
#ifndef VARVE_SERVER_SVC_UTIL_H
#define VARVE_SERVER_SVC_UTIL_H

#include "server/node.h"

/** The identity that a call comes with. Borrows from the call's headers. */
gate_identity svc_identity(const srv_call *call);

/** What a caller is told when the pool takes no more work: VV_BUSY. */
#define SVC_NO_THREAD "too many requests wait for a thread: retry after a pause"

/** Answer an HTTP call, whose context is the node, with the status's code and srv_error_body.
 * message may be NULL. */
void svc_reply_error(srv_call *call, vv_status status, const char *message);

/** A page of figures, in two steps: svc_page_submit, the message handler's whole work, has answer
 * run on the pool, for figures may wait for the disk; answer calls svc_page_answer, which asks the
 * gate, sends what write appends, and lets go of the call. headers as srv_call_reply has them. */
void svc_page_submit(srv_call *call, srv_message msg, void (*answer)(void *call));
void svc_page_answer(srv_call *call, void (*write)(node *n, vv_buf *out), const char *type,
                     const char *headers);

/** Copy the rows of a service, as many as there is room for, each for this node. Returns how many.
 */
size_t svc_add_methods(const srv_method *rows, size_t count, node *n, srv_method *out, size_t max);

/** Append text with %XX replaced; other bytes stay as they are ('+' too). False when a '%' lacks
 * its two digits. A failure to grow latches in out. */
bool svc_percent_decode(vv_slice text, vv_buf *out);

/** The value of name in a query string "a=1&b=2", undecoded; NULL data when it is not there, the
 * first when it is there twice. */
vv_slice svc_query_value(vv_slice query, const char *name);

/** The nearest of names, which end with NULL; *distance (may be NULL) from it. */
const char *svc_nearest(vv_slice name, const char *const names[], unsigned *distance);
/** VV_INVALID, with the nearest one, when a parameter is none of names, which end with NULL. */
VV_MUST_CHECK vv_status svc_check_param(vv_slice name, const char *const names[], vv_error *err);
/** VV_INVALID when a parameter of a query string is none of names or comes twice, or, unless
 * may_be_empty, has nothing behind its '=': one that is misspelt would change nothing in silence.
 */
VV_MUST_CHECK vv_status svc_check_query(vv_slice query, bool may_be_empty,
                                        const char *const names[], vv_error *err);

/** What a request about series means that leaves names out: without a table `series.table`, with
 * the tenant of that unless it names one; of any other table the tenant "default". */
void svc_series_names(const node *n, vv_slice *tenant, vv_slice *table);

/** The series table of these names, as svc_series_names has them, to read or to write what is in
 * it. VV_INVALID: it holds no series. Gives *out: vv_table_close. */
VV_MUST_CHECK vv_status svc_find_series(const node *n, const gate_identity *who, gate_kind kind,
                                        vv_slice tenant, vv_slice table, vv_table **out,
                                        vv_error *err);

/** All of text as decimal digits. False when it is not, or over UINT64_MAX. */
bool svc_parse_uint(vv_slice text, uint64_t *out);

#endif
