/*
 * files_local.c - files of a store that nobody has open: are they whole, and what is in them.
 */
#include "files.h"

#include <stdio.h>
#include <string.h>

#include "backup/backup.h"
#include "base/error.h"
#include "io/env.h"
#include "varve/stream.h"
#include "varve/tier.h"

/* ---- what lies in the object store ---- */

typedef struct checker {
    vv_db *db;
    bool whole;
    void (*finding)(void *ctx, const char *text);
    void *ctx;
    vv_status st; /* the first damage, or what ended the walk */
    vv_error why;
} checker;

/* Damage of one table keeps nobody from looking at the next. */
static int check_table(void *ctx, const vv_table_info *info)
{
    checker *c = ctx;
    vv_error err = {0};
    vv_table *table = NULL;
    if (info->kind != VV_TABLE_STREAM)
        return 0;
    vv_status st = vv_table_open(c->db, info->tenant, info->name, &table, &err);
    if (st == VV_OK)
        st = vv_tier_verify(table, c->whole, c->finding, c->ctx, &err);
    vv_table_close(table);
    if (st == VV_OK || (st == VV_CORRUPT && c->st != VV_OK))
        return 0;
    c->st = st;
    c->why = err;
    return st != VV_CORRUPT;
}

/* Every stream table's messages: which objects there should be stands in the table. */
static vv_status check_messages(const char *dir, vv_object_store *objects, checker *c,
                                vv_error *err)
{
    vv_options opt = VV_OPTIONS_INIT;
    vv_tier_options tier = {.size = sizeof tier, .objects = objects, .stopped = true};
    opt.read_only = true;
    opt.create_if_missing = false;
    opt.tier = &tier;
    vv_status st = vv_db_open(dir, &opt, &c->db, err);
    if (st != VV_OK)
        return st;
    st = vv_table_list(c->db, NULL, check_table, c, err);
    if (st == VV_OK && c->st != VV_OK) {
        st = c->st;
        if (err != NULL)
            *err = c->why;
    }
    vv_status closed = vv_db_close(c->db, st == VV_OK ? err : NULL);
    return st == VV_OK ? closed : st;
}

vv_status files_check(const char *dir, const tier_args *tier, bool whole,
                      void (*finding)(void *ctx, const char *text), void *ctx, vv_error *err)
{
    checker c = {.whole = whole, .finding = finding, .ctx = ctx};
    vv_object_store *objects = NULL;
    vv_status st = tier_store_open(tier, &objects, err);
    if (st == VV_OK && objects == NULL)
        return vv_check(dir, finding, ctx, err);
    if (st == VV_OK)
        st = vv_check_tier(dir, objects, whole, finding, ctx, err);
    if (st == VV_OK || st == VV_CORRUPT) {
        /* A damaged store may not open: that was told already. */
        vv_status messages = check_messages(dir, objects, &c, st == VV_OK ? err : NULL);
        st = st == VV_OK ? messages : st;
    }
    vv_object_store_close(objects);
    return st;
}

/* ---- what is in a file ---- */

vv_status files_dump(const char *path, void (*line)(void *ctx, const char *text), void *ctx,
                     vv_error *err)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    char dir[VIO_PATH_MAX] = ".";
    vv_env env = {0};
    bool is_backup = false;
    vv_status st = VV_OK;
    if (slash != NULL)
        (void)snprintf(dir, sizeof dir, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    /* Files of backups: the library does not know them. What cannot be read is left to it to say.
     */
    if (env_posix_init(&env, dir, NULL, NULL) == VV_OK && name[0] != '\0')
        st = backup_dump(&env, name, line, ctx, &is_backup, err);
    vio_destroy(env.io);
    return is_backup ? st : vv_dump(path, line, ctx, err);
}
