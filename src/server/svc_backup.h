/*
 * svc_backup.h - what Admin does to the repository of backups that the configuration names.
 */
#ifndef VARVE_SERVER_SVC_BACKUP_H
#define VARVE_SERVER_SVC_BACKUP_H

#include "base/buf.h"
#include "server/node.h"

/** A CreateBackupRequest; appends a BackupInfo to out. VV_UNSUPPORTED without backup.dir, VV_BUSY
 * while another one is made. Takes as long as the copy. */
VV_MUST_CHECK vv_status svc_backup_create(node *n, vv_db *db, vv_slice request, vv_buf *out,
                                          vv_error *err);
/** The same; sends a BackupProgress now and then, while the client takes them, and one with the
 * backup. */
VV_MUST_CHECK vv_status svc_backup_stream(node *n, srv_call *call, vv_db *db, vv_slice request,
                                          vv_error *err);
/** Appends a ListBackupsResponse to out. */
VV_MUST_CHECK vv_status svc_backup_list(const node *n, vv_buf *out, vv_error *err);

#endif
