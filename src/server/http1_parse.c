#include "server/http1_parse.h"

#include <string.h>

#include "base/util.h"

#define VERB_MAX 32u
#define LENGTH_DIGITS_MAX 18u

/* RFC 9110, 5.6.2: what names and methods are made of. */
static bool is_token_char(uint8_t c)
{
    if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'))
        return true;
    return c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static bool is_token(vv_slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_token_char(s.data[i]))
            return false;
    return s.len > 0;
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static bool equals_lower(vv_slice s, const char *text)
{
    size_t i = 0;
    for (; i < s.len && text[i] != '\0'; i++)
        if (lower(s.data[i]) != (uint8_t)text[i])
            return false;
    return i == s.len && text[i] == '\0';
}

static vv_slice cut(vv_slice s, size_t from, size_t to)
{
    return vv_slice_of(s.data + from, to - from);
}

static vv_slice trim(vv_slice s)
{
    while (s.len > 0 && (s.data[0] == ' ' || s.data[0] == '\t')) {
        s.data++;
        s.len--;
    }
    while (s.len > 0 && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t'))
        s.len--;
    return s;
}

size_t http1_head_end(vv_slice in, size_t *scan)
{
    size_t i = *scan;
    while (i < in.len) {
        const uint8_t *lf = memchr(in.data + i, '\n', in.len - i);
        if (lf == NULL)
            break;
        i = (size_t)(lf - in.data);
        if (i == 0 || in.data[i - 1] == '\n' ||
            (in.data[i - 1] == '\r' && (i == 1 || in.data[i - 2] == '\n'))) {
            *scan = i + 1;
            return i + 1;
        }
        i++;
    }
    *scan = in.len;
    return 0;
}

/* The next line without its CRLF. False when it ends otherwise. */
static bool next_line(vv_slice *in, vv_slice *line)
{
    const uint8_t *lf = in->len == 0 ? NULL : memchr(in->data, '\n', in->len);
    if (lf == NULL || lf == in->data || lf[-1] != '\r')
        return false;
    size_t len = (size_t)(lf - in->data);
    *line = vv_slice_of(in->data, len - 1);
    in->data += len + 1;
    in->len -= len + 1;
    return true;
}

/* origin-form, or absolute-form with its authority removed. */
static bool parse_target(vv_slice target, http1_head *out)
{
    for (size_t i = 0; i < target.len; i++)
        if (target.data[i] <= 0x20 || target.data[i] >= 0x7f || target.data[i] == '#')
            return false;
    if (target.len > 7 && equals_lower(cut(target, 0, 7), "http://")) {
        const uint8_t *slash = memchr(target.data + 7, '/', target.len - 7);
        if (slash == NULL || slash == target.data + 7)
            return false;
        target = cut(target, (size_t)(slash - target.data), target.len);
    }
    if (target.len == 0 || target.data[0] != '/')
        return false;
    const uint8_t *mark = memchr(target.data, '?', target.len);
    size_t path_len = mark == NULL ? target.len : (size_t)(mark - target.data);
    out->path = cut(target, 0, path_len);
    out->query = mark == NULL ? vv_slice_of(NULL, 0) : cut(target, path_len + 1, target.len);
    return true;
}

static int parse_request_line(vv_slice line, http1_head *out)
{
    if (line.len > HTTP1_LINE_MAX)
        return 414;
    const uint8_t *a = line.len == 0 ? NULL : memchr(line.data, ' ', line.len);
    if (a == NULL)
        return 400;
    size_t verb_len = (size_t)(a - line.data);
    out->verb = cut(line, 0, verb_len);
    if (verb_len > VERB_MAX || !is_token(out->verb))
        return 400;
    vv_slice rest = cut(line, verb_len + 1, line.len);
    const uint8_t *b = rest.len == 0 ? NULL : memchr(rest.data, ' ', rest.len);
    if (b == NULL)
        return 400;
    size_t target_len = (size_t)(b - rest.data);
    vv_slice version = cut(rest, target_len + 1, rest.len);
    if (version.len != 8 || memcmp(version.data, "HTTP/", 5) != 0 || version.data[6] != '.' ||
        version.data[5] < '0' || version.data[5] > '9' || version.data[7] < '0' ||
        version.data[7] > '9')
        return 400;
    if (version.data[5] != '1' || version.data[7] > '1')
        return 505;
    out->minor = (uint8_t)(version.data[7] - '0');
    out->keep_alive = out->minor == 1;
    return parse_target(cut(rest, 0, target_len), out) ? 0 : 400;
}

/* What the framing headers said, to be judged together at the end. */
typedef struct framing {
    bool length;
    bool coding;
    bool host;
} framing;

static int parse_length(vv_slice value, framing *f, http1_head *out)
{
    if (f->length || value.len == 0 || value.len > LENGTH_DIGITS_MAX)
        return 400;
    uint64_t n = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] < '0' || value.data[i] > '9')
            return 400;
        n = n * 10 + (uint64_t)(value.data[i] - '0');
    }
    f->length = true;
    out->content_length = n;
    return 0;
}

static int parse_coding(vv_slice value, framing *f, http1_head *out)
{
    if (f->coding)
        return 400;
    f->coding = true;
    if (!equals_lower(value, "chunked"))
        return 501;
    out->chunked = true;
    return 0;
}

static void parse_connection(vv_slice value, http1_head *out)
{
    while (value.len > 0) {
        const uint8_t *comma = memchr(value.data, ',', value.len);
        size_t len = comma == NULL ? value.len : (size_t)(comma - value.data);
        vv_slice token = trim(cut(value, 0, len));
        if (equals_lower(token, "close"))
            out->keep_alive = false;
        else if (equals_lower(token, "keep-alive") && out->minor == 0)
            out->keep_alive = true;
        value = cut(value, comma == NULL ? len : len + 1, value.len);
    }
}

static int parse_header(vv_slice line, framing *f, http1_head *out)
{
    const uint8_t *colon = memchr(line.data, ':', line.len);
    if (colon == NULL)
        return 400;
    size_t name_len = (size_t)(colon - line.data);
    http1_header h = {cut(line, 0, name_len), trim(cut(line, name_len + 1, line.len))};
    if (!is_token(h.name)) /* also folded lines and a blank before the colon */
        return 400;
    for (size_t i = 0; i < h.value.len; i++) {
        uint8_t c = h.value.data[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return 400;
    }
    if (out->header_count == HTTP1_HEADERS_MAX)
        return 431;
    out->headers[out->header_count++] = h;
    if (equals_lower(h.name, "content-length"))
        return parse_length(h.value, f, out);
    if (equals_lower(h.name, "transfer-encoding"))
        return parse_coding(h.value, f, out);
    if (equals_lower(h.name, "connection")) {
        parse_connection(h.value, out);
    } else if (equals_lower(h.name, "expect")) {
        if (!equals_lower(h.value, "100-continue"))
            return 417;
        out->expect_continue = true;
    } else if (equals_lower(h.name, "host")) {
        if (f->host)
            return 400;
        f->host = true;
    }
    return 0;
}

static int parse_all(vv_slice in, http1_head *out)
{
    vv_slice line;
    framing f = {0};
    if (!next_line(&in, &line))
        return in.len > HTTP1_LINE_MAX ? 414 : 400;
    int status = parse_request_line(line, out);
    while (status == 0) {
        if (!next_line(&in, &line))
            return 400;
        if (line.len == 0)
            break;
        if (memchr(line.data, '\r', line.len) != NULL)
            return 400;
        status = parse_header(line, &f, out);
    }
    if (status != 0)
        return status;
    if (in.len > 0 || (f.length && f.coding) || (f.coding && out->minor == 0) ||
        (!f.host && out->minor == 1))
        return 400;
    if (out->minor == 0)
        out->expect_continue = false; /* a 1.0 client does not know the answer */
    return 0;
}

http1_result http1_parse_head(vv_slice in, http1_head *out, int *status)
{
    out->path = out->query = out->verb = vv_slice_of(NULL, 0);
    out->minor = 1;
    out->keep_alive = out->chunked = out->expect_continue = false;
    out->content_length = 0;
    out->header_count = 0;
    int answer = parse_all(in, out);
    if (answer == 0)
        return HTTP1_DONE;
    *status = answer;
    return HTTP1_BAD;
}

/* ---- chunked bodies ----------------------------------------------------------------------
 *
 *   SIZE --hex--> SIZE --;--> EXT --CR--> SIZE_LF --LF--> DATA --all--> DATA_CR, DATA_LF --> SIZE
 *                                            |size 0
 *                                            v
 *                              TRAILER --CR--> TRAILER_LF --LF--> TRAILER, or END on an empty line
 */
enum { SIZE, EXT, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER, TRAILER_LF, FINISHED, BROKEN };

#define CHUNK_DIGITS_MAX 15u
#define CHUNK_LINE_MAX 256u
#define CHUNK_TRAILERS_MAX 4096u

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte of framing to the next state. */
static uint8_t chunk_step(http1_chunks *c, uint8_t byte)
{
    bool is_text = byte == '\t' || (byte >= 0x20 && byte != 0x7f);
    switch (c->state) {
    case SIZE:
        if (hex_value(byte) >= 0 && c->digits < CHUNK_DIGITS_MAX) {
            c->left = c->left * 16 + (uint64_t)hex_value(byte);
            c->digits++;
            return SIZE;
        }
        if (c->digits == 0)
            return BROKEN;
        return byte == '\r' ? SIZE_LF : byte == ';' ? EXT : BROKEN;
    case EXT:
        if (++c->line_len > CHUNK_LINE_MAX)
            return BROKEN;
        return byte == '\r' ? SIZE_LF : is_text ? EXT : BROKEN;
    case SIZE_LF:
        c->line_len = 0;
        if (byte != '\n')
            return BROKEN;
        return c->left == 0 ? TRAILER : DATA;
    case DATA_CR:
        return byte == '\r' ? DATA_LF : BROKEN;
    case DATA_LF:
        c->digits = 0;
        return byte == '\n' ? SIZE : BROKEN;
    case TRAILER:
        if (byte == '\r')
            return TRAILER_LF;
        c->line_len++;
        return is_text && ++c->trailer_len <= CHUNK_TRAILERS_MAX ? TRAILER : BROKEN;
    case TRAILER_LF: {
        bool empty = c->line_len == 0;
        c->line_len = 0;
        return byte != '\n' ? BROKEN : empty ? FINISHED : TRAILER;
    }
    default:
        return BROKEN;
    }
}

http1_chunk_event http1_chunk_next(http1_chunks *c, vv_slice *in, vv_slice *piece)
{
    while (in->len > 0 && c->state != FINISHED && c->state != BROKEN) {
        if (c->state == DATA) {
            size_t n = in->len < c->left ? in->len : (size_t)c->left;
            *piece = vv_slice_of(in->data, n);
            in->data += n;
            in->len -= n;
            c->left -= n;
            if (c->left == 0)
                c->state = DATA_CR;
            return HTTP1_CHUNK_PIECE;
        }
        c->state = chunk_step(c, in->data[0]);
        in->data++;
        in->len--;
    }
    if (c->state == FINISHED)
        return HTTP1_CHUNK_END;
    return c->state == BROKEN ? HTTP1_CHUNK_BAD : HTTP1_CHUNK_MORE;
}
