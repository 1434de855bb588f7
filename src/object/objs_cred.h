/*
 * objs_cred.h - who we are at a store: keys from options, the environment, or a file.
 */
#ifndef VARVE_OBJECT_OBJS_CRED_H
#define VARVE_OBJECT_OBJS_CRED_H

#include "object/object_int.h"

#define OBJS_CRED_FILE_MAX (256u * 1024)

typedef struct objs_cred {
    char access_key[160];
    char secret_key[200];
    char token[4096]; /* of a session; "" */
    bool from_file;   /* a file that may be written anew: read it again when a token runs out */
} objs_cred;

/** The first of: options, environment, file. VV_INVALID: there are none, or half of them;
 * VV_NOT_FOUND: a file or profile that was named is not there. The sentence has no secret. */
vv_status objs_cred_load(const vv_object_options *options, objs_cred *out, vv_error *err);
/** A profile of an AWS credentials file. VV_NOT_FOUND without it. */
vv_status objs_cred_parse(vv_slice file, const char *profile, objs_cred *out, vv_error *err);
/** A small file at any path, as text. Gives *out: vv_free. */
vv_status objs_read_text(const char *path, char **out, vv_error *err);
void objs_cred_forget(objs_cred *cred);

#endif
