/*
 * import_csv.c - lines out of a file and fields out of a line: RFC 4180, with any one-byte
 * delimiter.
 *
 * A record is handed out only when its end was seen: a quoted field that is still open at the end
 * of the file is the mark of a file cut short, and is refused with the line it began on.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/util.h"
#include "import.h"

#define READ_SIZE (1024u * 1024)

vv_status import_input_open(import_input *in, const char *path, vv_error *err)
{
    struct stat info;
    const char *slash = strrchr(path, '/');
    *in = (import_input){.path = path, .name = slash == NULL ? path : slash + 1};
    vv_buf_init(&in->buf, IMPORT_LINE_MAX + READ_SIZE);
    if (strcmp(path, "-") == 0) {
        in->name = "stdin";
        in->file = stdin;
        return VV_OK;
    }
    in->file = fopen(path, "rb");
    if (in->file == NULL)
        return vv_fail_sys(err, VV_INVALID, errno, "%s", path);
    if (fstat(fileno(in->file), &info) == 0 && S_ISDIR(info.st_mode))
        return vv_fail(err, VV_INVALID, "%s: is a directory", path);
    if (S_ISREG(info.st_mode)) {
        in->size = (uint64_t)info.st_size;
        if (realpath(path, in->full) == NULL)
            return vv_fail_sys(err, VV_INVALID, errno, "%s", path);
    }
    return VV_OK;
}

void import_input_close(import_input *in)
{
    if (in->file != NULL && in->file != stdin)
        (void)fclose(in->file);
    in->file = NULL;
    vv_buf_fini(&in->buf);
}

/* The program that unpacks a file with this beginning; NULL when it is not packed. */
static const char *packed_as(const uint8_t *data, size_t len)
{
    static const struct {
        const char *magic;
        const char *program;
    } kinds[] = {{"\x1f\x8b", "zcat"},
                 {"\x28\xb5\x2f\xfd", "zstdcat"},
                 {"BZh", "bzcat"},
                 {"\xfd"
                  "7zXZ",
                  "xzcat"},
                 {"PK\x03\x04", "unzip -p"}};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        size_t n = strlen(kinds[i].magic);
        if (len >= n && memcmp(data, kinds[i].magic, n) == 0)
            return kinds[i].program;
    }
    return NULL;
}

/* Read more behind what is left. VV_NOT_FOUND when the file has no more. */
static vv_status read_more(import_input *in, vv_error *err)
{
    if (in->ended)
        return VV_NOT_FOUND;
    if (in->at > 0) {
        memmove(in->buf.data, in->buf.data + in->at, in->buf.len - in->at);
        in->buf.len -= in->at;
        in->at = 0;
    }
    if (in->buf.len > IMPORT_LINE_MAX)
        return vv_fail(err, VV_INVALID, "%s:%" PRIu64 ": a line of over %u bytes", in->path,
                       in->lines + 1, IMPORT_LINE_MAX);
    uint8_t *to = vv_buf_reserve(&in->buf, READ_SIZE);
    if (to == NULL)
        return vv_fail(err, VV_NO_MEMORY, "%s: a line of %zu bytes", in->path, in->buf.len);
    size_t n = fread(to, 1, READ_SIZE, in->file);
    if (n < READ_SIZE && ferror(in->file))
        return vv_fail_sys(err, VV_IO, errno, "%s: reading", in->path);
    vv_buf_advance(&in->buf, n);
    if (in->bytes_read == 0 && packed_as(to, n) != NULL)
        return vv_fail(err, VV_INVALID, "%s: is packed (%s); unpack it: %s %s | varve import ... -",
                       in->path, packed_as(to, n), packed_as(to, n),
                       in->file == stdin ? "" : in->path);
    in->bytes_read += n;
    in->ended = n == 0;
    return n == 0 ? VV_NOT_FOUND : VV_OK;
}

/* How far the search for the end of a record came. */
typedef struct search {
    size_t offset; /* from in->at */
    bool quoted;
    uint64_t newlines; /* inside quotes */
} search;

/* The offset of the newline that ends the record, or false when it is not in the buffer. */
static bool find_end(const import_input *in, bool quotes, search *s)
{
    size_t len = in->buf.len - in->at;
    if (len == 0) /* perhaps nothing was read yet: no bytes to point at */
        return false;
    const uint8_t *p = in->buf.data + in->at;
    for (; s->offset < len; s->offset++) {
        uint8_t c = p[s->offset];
        if (c == '"' && quotes)
            s->quoted = !s->quoted;
        if (c != '\n')
            continue;
        if (!s->quoted)
            return true;
        s->newlines++;
    }
    return false;
}

vv_status import_next_line(import_input *in, bool quotes, uint8_t **line, size_t *len,
                           vv_error *err)
{
    for (;;) {
        search s = {0};
        bool last = false;
        while (!find_end(in, quotes, &s)) {
            vv_status st = read_more(in, err);
            if (st == VV_OK)
                continue;
            if (st != VV_NOT_FOUND)
                return st;
            if (in->at == in->buf.len)
                return VV_NOT_FOUND;
            if (s.quoted)
                return vv_fail(err, VV_INVALID,
                               "%s:%" PRIu64 ": a quoted field that begins here is not closed "
                               "before the end of the file: the file is cut short",
                               in->path, in->lines + 1);
            last = true;
            break;
        }
        *line = in->buf.data + in->at;
        *len = s.offset;
        in->line = in->lines + 1;
        in->lines += s.newlines + !last;
        in->at += s.offset + !last;
        if (*len > 0 && (*line)[*len - 1] == '\r')
            --*len;
        if (in->line == 1 && *len >= 3 && memcmp(*line, "\xef\xbb\xbf", 3) == 0) {
            *line += 3; /* a byte order mark */
            *len -= 3;
        }
        if (*len > 0)
            return VV_OK;
    }
}

static vv_status bad_line(const import_input *in, vv_error *err, const char *cause)
{
    return vv_fail(err, VV_INVALID, "%s:%" PRIu64 ": %s", in->path, in->line, cause);
}

/* A quoted field at *at, unescaped in place; *at moves behind its closing quote. */
static bool take_quoted(uint8_t *line, size_t len, size_t *at, vv_slice *out)
{
    size_t begin = *at + 1;
    size_t to = begin;
    size_t from = begin;
    for (; from < len; from++) {
        if (line[from] == '"') {
            if (from + 1 < len && line[from + 1] == '"')
                from++;
            else
                break;
        }
        line[to++] = line[from];
    }
    *out = vv_slice_of(line + begin, to - begin);
    *at = from + 1;
    return from < len;
}

vv_status import_split(const import_input *in, uint8_t *line, size_t len, char delimiter,
                       vv_slice *fields, size_t *count, vv_error *err)
{
    size_t at = 0;
    *count = 0;
    for (;;) {
        if (*count == IMPORT_COLUMNS_MAX)
            return bad_line(in, err, "over 1024 columns");
        vv_slice *field = &fields[(*count)++];
        if (at < len && line[at] == '"') {
            if (!take_quoted(line, len, &at, field))
                return bad_line(in, err, "a quoted field is not closed");
            if (at < len && line[at] != (uint8_t)delimiter)
                return bad_line(in, err, "something follows a closing quote");
        } else {
            const uint8_t *end = memchr(line + at, delimiter, len - at);
            size_t n = end == NULL ? len - at : (size_t)(end - (line + at));
            *field = vv_slice_of(line + at, n);
            at += n;
        }
        if (at >= len)
            return VV_OK;
        at++; /* the delimiter */
    }
}
