/*
 * objs_cred.c - credentials: the same places and names in the same order as Amazon's tools.
 *
 * Options; AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; the file of the options,
 * of AWS_SHARED_CREDENTIALS_FILE, or ~/.aws/credentials, in the profile of the options, of
 * AWS_PROFILE, or "default".
 */
#include "object/objs_cred.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"

void objs_cred_forget(objs_cred *cred)
{
    explicit_bzero(cred, sizeof *cred);
}

vv_status objs_read_text(const char *path, char **out, vv_error *err)
{
    vio *io = NULL;
    uint8_t *data = NULL;
    size_t len = 0;
    char absolute[VIO_PATH_MAX];
    vv_status st = env_absolute_path(path, absolute, err);
    if (st == VV_OK)
        st = vio_posix_create("/", &io, err);
    assert(st != VV_OK || io != NULL);
    if (st == VV_OK && io != NULL)
        st = vio_read_file(io, absolute, OBJS_CRED_FILE_MAX, &data, &len, err);
    vio_destroy(io);
    if (st == VV_OK && memchr(data, 0, len) != NULL) {
        vv_free(data);
        st = vv_fail(err, VV_INVALID, "%s: is no text", path);
    }
    if (st == VV_OK)
        *out = (char *)data;
    return st;
}

static vv_slice trim(vv_slice s)
{
    while (s.len > 0 && (s.data[0] == ' ' || s.data[0] == '\t'))
        s = vv_slice_of(s.data + 1, s.len - 1);
    while (s.len > 0 &&
           (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t' || s.data[s.len - 1] == '\r'))
        s.len--;
    return s;
}

static bool copy(char *to, size_t size, vv_slice from)
{
    if (from.len >= size)
        return false;
    if (from.len > 0)
        memcpy(to, from.data, from.len);
    to[from.len] = '\0';
    return true;
}

/* "key = value" of the profile. */
static bool take_line(objs_cred *out, vv_slice line)
{
    const uint8_t *eq = memchr(line.data, '=', line.len);
    if (eq == NULL)
        return true;
    vv_slice key = trim(vv_slice_of(line.data, (size_t)(eq - line.data)));
    vv_slice value = trim(vv_slice_of(eq + 1, line.len - (size_t)(eq - line.data) - 1));
    if (vv_slice_eq(key, vv_slice_str("aws_access_key_id")))
        return copy(out->access_key, sizeof out->access_key, value);
    if (vv_slice_eq(key, vv_slice_str("aws_secret_access_key")))
        return copy(out->secret_key, sizeof out->secret_key, value);
    if (vv_slice_eq(key, vv_slice_str("aws_session_token")))
        return copy(out->token, sizeof out->token, value);
    return true;
}

vv_status objs_cred_parse(vv_slice file, const char *profile, objs_cred *out, vv_error *err)
{
    bool in = false;
    bool found = false;
    *out = (objs_cred){.from_file = true};
    while (file.len > 0) {
        const uint8_t *eol = memchr(file.data, '\n', file.len);
        size_t n = eol == NULL ? file.len : (size_t)(eol - file.data);
        vv_slice line = trim(vv_slice_of(file.data, n));
        file = vv_slice_of(file.data + n + (eol != NULL), file.len - n - (eol != NULL));
        if (line.len == 0 || line.data[0] == '#' || line.data[0] == ';')
            continue;
        if (line.data[0] == '[') {
            vv_slice name = trim(vv_slice_of(line.data + 1, line.len - 1));
            if (name.len > 0 && name.data[name.len - 1] == ']')
                name = trim(vv_slice_of(name.data, name.len - 1));
            in = vv_slice_eq(name, vv_slice_str(profile));
            found = found || in;
        } else if (in && !take_line(out, line)) {
            return vv_fail(err, VV_INVALID, "profile '%s': a value is too long", profile);
        }
    }
    if (!found)
        return vv_fail(err, VV_NOT_FOUND, "no profile '%s' in it", profile);
    if (out->access_key[0] == '\0' || out->secret_key[0] == '\0')
        return vv_fail(err, VV_INVALID,
                       "profile '%s' lacks aws_access_key_id or aws_secret_access_key", profile);
    return VV_OK;
}

static vv_status take_three(const char *access, const char *secret, const char *token,
                            const char *where, objs_cred *out, vv_error *err)
{
    *out = (objs_cred){0};
    if (access == NULL || access[0] == '\0' || secret == NULL || secret[0] == '\0')
        return vv_fail(err, VV_INVALID, "%s: the access key or the secret key is missing", where);
    if (!copy(out->access_key, sizeof out->access_key, vv_slice_str(access)) ||
        !copy(out->secret_key, sizeof out->secret_key, vv_slice_str(secret)) ||
        !copy(out->token, sizeof out->token, vv_slice_str(token)))
        return vv_fail(err, VV_INVALID, "%s: a key or the session token is too long", where);
    return VV_OK;
}

static vv_status from_file(const vv_object_options *o, objs_cred *out, vv_error *err)
{
    char path[VIO_PATH_MAX];
    const char *home = getenv("HOME");
    const char *named =
        o->credentials_file != NULL ? o->credentials_file : getenv("AWS_SHARED_CREDENTIALS_FILE");
    const char *profile = o->profile != NULL ? o->profile : getenv("AWS_PROFILE");
    char *text = NULL;
    profile = profile == NULL || profile[0] == '\0' ? "default" : profile;
    if (named == NULL || named[0] == '\0') {
        (void)snprintf(path, sizeof path, "%s/.aws/credentials", home == NULL ? "" : home);
        named = path;
    }
    vv_status st = objs_read_text(named, &text, err);
    if (st == VV_NOT_FOUND && named == path)
        return vv_fail(err, VV_INVALID,
                       "no credentials: set storage.access_key and secret_key, AWS_ACCESS_KEY_ID "
                       "and AWS_SECRET_ACCESS_KEY, or write %s",
                       path);
    if (st == VV_OK)
        st = objs_cred_parse(vv_slice_str(text), profile, out, err);
    if (text != NULL)
        explicit_bzero(text, strlen(text));
    vv_free(text);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "credentials file %s", named);
}

vv_status objs_cred_load(const vv_object_options *o, objs_cred *out, vv_error *err)
{
    if (o->access_key != NULL || o->secret_key != NULL)
        return take_three(o->access_key, o->secret_key, o->session_token,
                          "storage.access_key and secret_key", out, err);
    if (o->credentials_file == NULL && o->profile == NULL &&
        (getenv("AWS_ACCESS_KEY_ID") != NULL || getenv("AWS_SECRET_ACCESS_KEY") != NULL))
        return take_three(getenv("AWS_ACCESS_KEY_ID"), getenv("AWS_SECRET_ACCESS_KEY"),
                          getenv("AWS_SESSION_TOKEN"), "AWS_ACCESS_KEY_ID of the environment", out,
                          err);
    return from_file(o, out, err);
}
