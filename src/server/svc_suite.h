/*
 * svc_suite.h - a whole node for the tests of services: a store in a directory of its own, the
 * gate, the pool and a server on loopback with the real methods, and a client connected to it.
 *
 * Requests are packed and answers unpacked by protobuf-c, which the services do not use for them:
 * the two ways of reading the wire check each other.
 */
#ifndef VARVE_SERVER_SVC_SUITE_H
#define VARVE_SERVER_SVC_SUITE_H

#include "vv_test.h"

#include <protobuf-c/protobuf-c.h>

#include "client/client.h"
#include "server/node.h"
#include "varve/tier.h"
#include "varve/v1/admin.pb-c.h"
#include "varve/v1/kv.pb-c.h"
#include "varve/v1/txn.pb-c.h"

#define SUITE_METHODS_MAX 192
#define SUITE_TIMEOUT_NS (30 * VV_NS_PER_S)

typedef struct svc_suite_options {
    bool no_auto_create;
    bool no_recycling;
    uint32_t shards;          /* 0: 1 */
    uint32_t pool_threads;    /* 0: 2 */
    uint32_t loops;           /* 0: 2 */
    const char *host;         /* what is listened on, and connected to; NULL: 127.0.0.1 */
    vv_durability durability; /* default: sync */
    svc_txn_limits txns;
    const vv_tier_options *tier; /* NULL: no object store; borrowed */
    vv_env *env;   /* the store's world, kept by the caller; NULL: a directory of its own */
    bool may_fail; /* the store: closing it may say so */
} svc_suite_options;

typedef struct svc_suite {
    char dir[64];
    bool may_fail;
    char address[32];
    node n;
    srv_method methods[SUITE_METHODS_MAX];
    size_t method_count;
    uint16_t port;
    cli_conn *conn;
    cli_result result; /* of the last call */
    vv_buf reply;
    vv_error err;
} svc_suite;

/** opt may be NULL. */
void svc_suite_start(svc_suite *s, const svc_suite_options *opt);
/** Stop as varved does, close the store, remove the directory. */
void svc_suite_stop(svc_suite *s);
/** A directory with all that is in it. */
void svc_suite_remove(const char *dir);

/** Call "Service/Method" of varve.v1 with a packed request; s->result and s->reply tell. */
vv_status svc_suite_call(svc_suite *s, const char *method, const void *request);
/** The same with bytes as they are. */
vv_status svc_suite_call_raw(svc_suite *s, const char *method, vv_slice request);
/** The last reply, unpacked; fails the test when it is none. Free with
 * protobuf_c_message_free_unpacked. */
void *svc_suite_reply(svc_suite *s, const ProtobufCMessageDescriptor *desc);
/** A trailer of the last call; NULL when it is not there. */
const char *svc_suite_trailer(const svc_suite *s, const char *name);

/* ---- Kv in one line ---- */

#define SUITE_REF(name, tenant_text, table_text)                                                   \
    Varve__V1__TableRef name = VARVE__V1__TABLE_REF__INIT;                                         \
    (name).tenant = (char *)(uintptr_t)(tenant_text);                                              \
    (name).table = (char *)(uintptr_t)(table_text)

/** Bytes as protobuf-c has them; borrowed. */
ProtobufCBinaryData svc_suite_bytes(vv_slice s);

/** Put; *version may be NULL. */
vv_status svc_suite_put(svc_suite *s, const char *tenant, const char *table, vv_slice key,
                        vv_slice value, int64_t *version);
/** Get into out (reset first): VV_OK and *found, or the failure. */
vv_status svc_suite_get(svc_suite *s, const char *tenant, const char *table, vv_slice key,
                        bool *found, vv_buf *out, int64_t *version);
/** Expect a value of text keys; NULL: the key is absent. */
void svc_suite_expect(svc_suite *s, const char *tenant, const char *table, const char *key,
                      const char *value);

/** recv, again after a signal: the store's ring may send some to the thread that opened it. */
ssize_t svc_suite_recv(int fd, void *to, size_t len);

#endif
