/*
 * svc_admin_alter.h - the request of varve.v1.Admin/AlterTable taken apart.
 */
#ifndef VARVE_SERVER_SVC_ADMIN_ALTER_H
#define VARVE_SERVER_SVC_ADMIN_ALTER_H

#include "server/svc_util.h"

/** The CreateTableRequest in it, borrowed, and which of its fields are to be changed. VV_INVALID
 * names one that is none. */
VV_MUST_CHECK vv_status svc_admin_read_alter(vv_slice message, vv_slice *table,
                                             vv_table_change *changes, vv_error *err);

#endif
