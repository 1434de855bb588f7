/*
 * extract_sniff.c - what bytes are, told by their beginning.
 *
 * Kinds of files by their signatures; then text, by its first 4 KiB: JSON, XML, HTML and CSV by
 * how it begins. A guess that is wrong costs nothing but a wrong hint, so nothing is parsed.
 * Protobuf has no signature and is not guessed at: most short texts are some message.
 */
#include <string.h>

#include "base/utf8.h"
#include "extract/extract_int.h"

#define LOOK 4096u

static const struct {
    const char *bytes;
    uint8_t len;
    uint8_t at;
    const char *type;
} signatures[] = {
    {"\x1f\x8b", 2, 0, "application/gzip"},
    {"\x28\xb5\x2f\xfd", 4, 0, "application/zstd"},
    {"\x04\x22\x4d\x18", 4, 0, "application/x-lz4"},
    {"\xfd"
     "7zXZ\0",
     6, 0, "application/x-xz"},
    {"BZh", 3, 0, "application/x-bzip2"},
    {"PK\x03\x04", 4, 0, "application/zip"},
    {"\x89PNG\r\n\x1a\n", 8, 0, "image/png"},
    {"\xff\xd8\xff", 3, 0, "image/jpeg"},
    {"GIF8", 4, 0, "image/gif"},
    {"WEBP", 4, 8, "image/webp"},
    {"%PDF-", 5, 0, "application/pdf"},
    {"PAR1", 4, 0, "application/vnd.apache.parquet"},
    {"ARROW1", 6, 0, "application/vnd.apache.arrow.file"},
    {"Obj\x01", 4, 0, "application/avro"},
};

/* Whether bytes read as text up to where a sequence may be cut off. */
static bool is_text(vv_slice v, bool is_cut)
{
    const uint8_t *p = v.data, *end = v.data + v.len;
    while (p < end) {
        bool is_control = (*p < ' ' && strchr("\t\n\r\f\x1b", *p) == NULL) || *p == 0x7f;
        size_t n = utf8_length(p, end);
        if (is_control || *p == '\0')
            return false;
        if (n == 0)
            return is_cut && end - p < 4;
        p += n;
    }
    return true;
}

static uint8_t last_byte(vv_slice v)
{
    size_t n = v.len;
    while (n > 0 && v.data[n - 1] <= ' ')
        n--;
    return n == 0 ? 0 : v.data[n - 1];
}

static bool has_prefix_nocase(vv_slice v, const char *lower)
{
    size_t len = strlen(lower);
    if (v.len < len)
        return false;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = v.data[i];
        if ((c >= 'A' && c <= 'Z' ? c | 0x20 : c) != (uint8_t)lower[i])
            return false;
    }
    return true;
}

/* Separators in the line at p, outside of quotes; *next is behind its end. */
static unsigned count_in_line(const uint8_t *p, const uint8_t *end, char separator,
                              const uint8_t **next)
{
    unsigned n = 0;
    bool is_quoted = false;
    for (; p < end && (*p != '\n' || is_quoted); p++) {
        is_quoted ^= *p == '"';
        n += !is_quoted && *p == (uint8_t)separator;
    }
    *next = p < end ? p + 1 : NULL; /* a line that is not ended may be cut off */
    return n;
}

/* Two whole lines with as many separators, at least one. */
static bool is_table(vv_slice look, char separator)
{
    const uint8_t *end = look.data + look.len, *next;
    unsigned first = count_in_line(look.data, end, separator, &next);
    if (first == 0 || next == NULL)
        return false;
    unsigned second = count_in_line(next, end, separator, &next);
    return second == first;
}

static const char *sniff_text(vv_slice value, vv_slice look)
{
    while (look.len > 0 && *look.data <= ' ')
        look = vv_slice_of(look.data + 1, look.len - 1);
    uint8_t first = look.len == 0 ? 0 : look.data[0];
    uint8_t last = last_byte(value);
    if ((first == '{' && last == '}') || (first == '[' && last == ']'))
        return "application/json";
    if (has_prefix_nocase(look, "<!doctype html") || has_prefix_nocase(look, "<html"))
        return "text/html";
    if (first == '<' && last == '>')
        return "application/xml";
    if (is_table(look, ',') || is_table(look, ';') || is_table(look, '\t'))
        return "text/csv";
    return "text/plain";
}

const char *extract_sniff(vv_slice value)
{
    if (value.len == 0)
        return "";
    for (size_t i = 0; i < ARRAY_LEN(signatures); i++) {
        size_t at = signatures[i].at, len = signatures[i].len;
        if (value.len >= at + len && memcmp(value.data + at, signatures[i].bytes, len) == 0)
            return signatures[i].type;
    }
    vv_slice look = vv_slice_of(value.data, (size_t)vv_min_u64(value.len, LOOK));
    return is_text(look, look.len < value.len) ? sniff_text(value, look)
                                               : "application/octet-stream";
}
