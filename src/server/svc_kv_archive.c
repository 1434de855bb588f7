/*
 * svc_kv_archive.c - reads of varve.v1.Kv of the past: at a version, at a time, and at an archive,
 * a state of a table that is kept by name.
 *
 * An archive is read through a cursor, always on the pool: its pages are in files. What is refused
 * names it: one that is not there, a table of another engine, a name that can be none.
 */
#include <string.h>

#include "base/error.h"
#include "db/db.h"
#include "server/svc_kv.h"

vv_status svc_kv_check_moment(const svc_kv_moment *at, vv_error *err)
{
    if (at->version < 0)
        return vv_fail(err, VV_INVALID, "version is negative");
    if (at->as_of_ns < 0)
        return vv_fail(err, VV_INVALID, "as_of lies before 1970");
    if ((at->version != 0) + (at->archive.len > 0) + (at->as_of_ns != 0) > 1)
        return vv_fail(err, VV_INVALID,
                       "a read takes a version or an archive or a time (as_of), each of which is "
                       "one state: leave out the others");
    return VV_OK;
}

vv_status svc_kv_moment_of(int64_t version, vv_slice archive, int64_t as_of_ms, svc_kv_moment *out,
                           vv_error *err)
{
    if (as_of_ms > INT64_MAX / VV_NS_PER_MS || as_of_ms < INT64_MIN / VV_NS_PER_MS)
        return vv_fail(err, VV_INVALID, "as_of_unix_ms %lld is no time: milliseconds since 1970",
                       (long long)as_of_ms);
    *out = (svc_kv_moment){version, archive, as_of_ms * VV_NS_PER_MS};
    return svc_kv_check_moment(out, err);
}

vv_status svc_kv_version_at(vv_table *table, const svc_kv_moment *at, const vv_slice *key,
                            int64_t *out, vv_error *err)
{
    *out = at->version;
    if (at->as_of_ns == 0)
        return VV_OK;
    return key == NULL ? vv_version_as_of(table, at->as_of_ns, out, err)
                       : db_version_of_key_as_of(table, *key, at->as_of_ns, out, err);
}

vv_status svc_kv_archive_name(vv_slice from, char out[SVC_KV_ARCHIVE_SIZE], vv_error *err)
{
    if (from.len >= SVC_KV_ARCHIVE_SIZE)
        return vv_fail(err, VV_INVALID, "the archive's name has %zu bytes: 1 to %zu are allowed",
                       from.len, SVC_KV_ARCHIVE_SIZE - 1);
    if (from.len > 0 && memchr(from.data, 0, from.len) != NULL)
        return vv_fail(err, VV_INVALID, "the archive's name has a NUL in it");
    if (from.len > 0)
        memcpy(out, from.data, from.len);
    out[from.len] = '\0';
    return VV_OK;
}

vv_status svc_kv_open_archive(vv_table *table, vv_slice archive, vv_cursor **out, vv_error *err)
{
    char name[SVC_KV_ARCHIVE_SIZE];
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    vv_status st = svc_kv_archive_name(archive, name, err);
    opt.archive = name;
    return st == VV_OK ? vv_cursor_open(table, &opt, out, err) : st;
}

vv_status svc_kv_seek_archive(vv_cursor *cursor, vv_slice key, bool *found, vv_value *out,
                              vv_error *err)
{
    *found = false;
    if (key.len == 0)
        return vv_fail(err, VV_INVALID, "the key is empty: 1 to %u bytes are allowed", VV_KEY_MAX);
    vv_status st = vv_cursor_seek(cursor, key, err);
    if (st != VV_OK || !vv_cursor_valid(cursor) || !vv_slice_eq(vv_cursor_key(cursor), key))
        return st;
    *out = (vv_value){.data = vv_cursor_value(cursor),
                      .version = vv_cursor_version(cursor),
                      .expires_ns = vv_cursor_expires_ns(cursor)};
    *found = true;
    return VV_OK;
}
