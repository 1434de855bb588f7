/*
 * svc_admin_rule.h - how a stream table is archived, in messages of varve.v1.Admin.
 */
#ifndef VARVE_SERVER_SVC_ADMIN_RULE_H
#define VARVE_SERVER_SVC_ADMIN_RULE_H

#include "base/buf.h"
#include "codec/protowire.h"
#include "varve/tier.h"

#define SVC_ADMIN_KEY_MAX 512u /* more than any template of names has */

typedef struct svc_admin_rule {
    bool is_given;
    vv_archive_rule rule; /* its key is NULL or the one below: not to be copied */
    char key[SVC_ADMIN_KEY_MAX];
} svc_admin_rule;

/** As a nested message; nothing of NULL. */
void svc_admin_rule_put(vv_buf *out, uint32_t number, const vv_archive_rule *rule);
/** False: it is malformed. */
bool svc_admin_rule_read(const wire_field *field, svc_admin_rule *out);

#endif
