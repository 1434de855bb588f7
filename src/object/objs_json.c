/*
 * objs_json.c - a JSON reader without a tree.
 */
#include "object/objs_json.h"

#include <stdio.h>
#include <string.h>

#include "base/util.h"

void objs_json_init(objs_json *j, vv_slice document)
{
    if (document.len == 0)
        document = vv_slice_of("", 0);
    *j = (objs_json){.p = document.data, .end = document.data + document.len};
    j->in_array[0] = true; /* the root: one value, without a key */
}

const char *objs_json_key(const objs_json *j, objs_json_kind kind)
{
    unsigned level = kind == OBJS_JSON_OPEN ? j->depth - 1 : j->depth;
    return j->key[level];
}

static void skip_space(objs_json *j)
{
    while (j->p < j->end && (*j->p == ' ' || *j->p == '\t' || *j->p == '\r' || *j->p == '\n'))
        j->p++;
}

static bool add(objs_json *j, uint8_t c)
{
    if (c == 0 || j->text_len + 1 >= OBJS_JSON_TEXT)
        return false;
    j->text[j->text_len++] = (char)c;
    j->text[j->text_len] = '\0';
    return true;
}

static bool hex4(objs_json *j, uint32_t *out)
{
    uint32_t v = 0;
    if (j->end - j->p < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        uint8_t c = *j->p++;
        uint32_t d = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                     : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                     : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                            : 16;
        if (d == 16)
            return false;
        v = v << 4 | d;
    }
    *out = v;
    return true;
}

/* Behind "\u". */
static bool add_escape(objs_json *j)
{
    uint32_t c;
    uint32_t low;
    if (!hex4(j, &c))
        return false;
    if (c >= 0xd800 && c < 0xdc00) {
        if (j->end - j->p < 2 || j->p[0] != '\\' || j->p[1] != 'u')
            return false;
        j->p += 2;
        if (!hex4(j, &low) || low < 0xdc00 || low > 0xdfff)
            return false;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    } else if (c >= 0xdc00 && c < 0xe000) {
        return false;
    }
    if (c < 0x80)
        return add(j, (uint8_t)c);
    if (c < 0x800)
        return add(j, (uint8_t)(0xc0 | c >> 6)) && add(j, (uint8_t)(0x80 | (c & 63)));
    bool ok = c < 0x10000
                  ? add(j, (uint8_t)(0xe0 | c >> 12))
                  : add(j, (uint8_t)(0xf0 | c >> 18)) && add(j, (uint8_t)(0x80 | (c >> 12 & 63)));
    return ok && add(j, (uint8_t)(0x80 | (c >> 6 & 63))) && add(j, (uint8_t)(0x80 | (c & 63)));
}

/* At '"'. */
static bool read_string(objs_json *j)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    j->text_len = 0;
    j->text[0] = '\0';
    j->p++;
    while (j->p < j->end) {
        uint8_t c = *j->p++;
        if (c == '"')
            return true;
        if (c < 0x20)
            return false;
        if (c != '\\') {
            if (!add(j, c))
                return false;
            continue;
        }
        if (j->p == j->end)
            return false;
        c = *j->p++;
        const char *known = c == 0 ? NULL : strchr(from, c);
        if (known != NULL ? !add(j, (uint8_t)to[known - from]) : c != 'u' || !add_escape(j))
            return false;
    }
    return false;
}

static bool is_number(const char *t)
{
    t += *t == '-';
    if (*t == '0')
        t++;
    else if (*t >= '1' && *t <= '9')
        t += strspn(t, "0123456789");
    else
        return false;
    if (*t == '.') {
        size_t n = strspn(++t, "0123456789");
        if (n == 0)
            return false;
        t += n;
    }
    if (*t == 'e' || *t == 'E') {
        t++;
        t += *t == '+' || *t == '-';
        size_t n = strspn(t, "0123456789");
        if (n == 0)
            return false;
        t += n;
    }
    return *t == '\0';
}

/* A number, true, false or null. */
static bool read_word(objs_json *j)
{
    j->text_len = 0;
    j->text[0] = '\0';
    while (j->p < j->end && *j->p != 0 && strchr(",]} \t\r\n", *j->p) == NULL)
        if (!add(j, *j->p++))
            return false;
    return is_number(j->text) || strcmp(j->text, "true") == 0 || strcmp(j->text, "false") == 0 ||
           strcmp(j->text, "null") == 0;
}

static bool read_key(objs_json *j)
{
    if (j->p == j->end || *j->p != '"' || !read_string(j) || j->text_len >= OBJS_JSON_KEY)
        return false;
    memcpy(j->key[j->depth], j->text, j->text_len + 1);
    skip_space(j);
    if (j->p == j->end || *j->p++ != ':')
        return false;
    skip_space(j);
    return true;
}

static objs_json_kind close_one(objs_json *j)
{
    if (j->depth == 0 || (*j->p == ']') != j->in_array[j->depth])
        return OBJS_JSON_BAD;
    j->p++;
    j->depth--;
    j->done = j->depth == 0;
    return OBJS_JSON_CLOSE;
}

objs_json_kind objs_json_next(objs_json *j)
{
    skip_space(j);
    if (j->done)
        return j->p == j->end ? OBJS_JSON_END : OBJS_JSON_BAD;
    if (j->p == j->end)
        return OBJS_JSON_BAD;
    if (*j->p == '}' || *j->p == ']')
        return close_one(j);
    if (j->depth > 0 && j->some[j->depth]) {
        if (*j->p++ != ',')
            return OBJS_JSON_BAD;
        skip_space(j);
    }
    j->some[j->depth] = true;
    j->key[j->depth][0] = '\0';
    if (!j->in_array[j->depth] && !read_key(j))
        return OBJS_JSON_BAD;
    if (j->p == j->end)
        return OBJS_JSON_BAD;
    if (*j->p == '{' || *j->p == '[') {
        if (j->depth == OBJS_JSON_DEPTH)
            return OBJS_JSON_BAD;
        j->depth++;
        j->in_array[j->depth] = *j->p++ == '[';
        j->some[j->depth] = false;
        return OBJS_JSON_OPEN;
    }
    bool word = *j->p != '"';
    if (word ? !read_word(j) : !read_string(j))
        return OBJS_JSON_BAD;
    j->is_null = word && j->text[0] == 'n';
    j->done = j->depth == 0;
    return OBJS_JSON_VALUE;
}

bool objs_json_find(vv_slice document, const char *key, char *out, size_t size)
{
    objs_json j;
    bool found = false;
    objs_json_init(&j, document);
    for (;;) {
        objs_json_kind kind = objs_json_next(&j);
        if (kind == OBJS_JSON_END)
            return found;
        if (kind == OBJS_JSON_BAD)
            return false;
        if (kind == OBJS_JSON_VALUE && j.depth == 1 && !j.in_array[1] && !j.is_null &&
            strcmp(j.key[1], key) == 0 && j.text_len < size) {
            memcpy(out, j.text, j.text_len + 1);
            found = true;
        }
    }
}
