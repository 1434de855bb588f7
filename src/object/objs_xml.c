/*
 * objs_xml.c - pulling elements and text out of XML that nobody has to trust.
 */
#include "object/objs_xml.h"

#include <stdlib.h>
#include <string.h>

#include "base/util.h"

void objs_xml_init(objs_xml *x, vv_slice document)
{
    if (document.len == 0)
        document = vv_slice_of("", 0);
    *x = (objs_xml){.p = document.data, .end = document.data + document.len};
}

const char *objs_xml_name(const objs_xml *x)
{
    return x->popped ? x->stack[x->depth] : x->depth > 0 ? x->stack[x->depth - 1] : "";
}

const char *objs_xml_parent(const objs_xml *x)
{
    unsigned level = x->popped ? x->depth : x->depth - 1; /* of the element itself */
    return level == 0 ? "" : x->stack[level - 1];
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static size_t left(const objs_xml *x)
{
    return (size_t)(x->end - x->p);
}

static bool skip_behind(objs_xml *x, const char *word)
{
    const uint8_t *at = memmem(x->p, left(x), word, strlen(word));
    if (at == NULL)
        return false;
    x->p = at + strlen(word);
    return true;
}

static bool add_byte(objs_xml *x, uint8_t c)
{
    if (x->text_len + 1 >= OBJS_XML_TEXT)
        return false;
    x->text[x->text_len++] = (char)c;
    x->text[x->text_len] = '\0';
    return true;
}

static bool add_code_point(objs_xml *x, unsigned long c)
{
    if (c == 0 || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return false;
    if (c < 0x80)
        return add_byte(x, (uint8_t)c);
    if (c < 0x800)
        return add_byte(x, (uint8_t)(0xc0 | c >> 6)) && add_byte(x, (uint8_t)(0x80 | (c & 63)));
    bool ok = c < 0x10000 ? add_byte(x, (uint8_t)(0xe0 | c >> 12))
                          : add_byte(x, (uint8_t)(0xf0 | c >> 18)) &&
                                add_byte(x, (uint8_t)(0x80 | (c >> 12 & 63)));
    return ok && add_byte(x, (uint8_t)(0x80 | (c >> 6 & 63))) &&
           add_byte(x, (uint8_t)(0x80 | (c & 63)));
}

/* At '&'. */
static bool add_entity(objs_xml *x)
{
    static const struct {
        const char *name;
        char c;
    } known[] = {{"lt", '<'}, {"gt", '>'}, {"amp", '&'}, {"quot", '"'}, {"apos", '\''}};
    char name[12];
    const uint8_t *semi = memchr(x->p, ';', (size_t)vv_min_u64(left(x), sizeof name));
    if (semi == NULL)
        return false;
    size_t n = (size_t)(semi - x->p) - 1;
    memcpy(name, x->p + 1, n);
    name[n] = '\0';
    x->p = semi + 1;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(name, known[i].name) == 0)
            return add_byte(x, (uint8_t)known[i].c);
    if (name[0] != '#')
        return false;
    bool hex = name[1] == 'x';
    const char *digits = name + (hex ? 2 : 1);
    char *end = NULL;
    if (strspn(digits, hex ? "0123456789abcdefABCDEF" : "0123456789") != strlen(digits))
        return false;
    unsigned long c = strtoul(digits, &end, hex ? 16 : 10);
    return end != digits && add_code_point(x, c);
}

/* Text up to the next '<'. Around elements and outside the root only space has no meaning. */
static bool read_text(objs_xml *x)
{
    while (x->p < x->end && *x->p != '<') {
        if (x->depth == 0) {
            bool bom = *x->p == 0xef || *x->p == 0xbb || *x->p == 0xbf;
            if (!is_space(*x->p) && !bom)
                return false;
            x->p++;
        } else if (*x->p == '&') {
            if (!add_entity(x))
                return false;
        } else if (!add_byte(x, *x->p++)) {
            return false;
        }
    }
    return true;
}

/* A name without its prefix, into out. */
static bool read_name(objs_xml *x, char out[OBJS_XML_NAME])
{
    size_t n = 0;
    while (x->p < x->end && !is_space(*x->p) && *x->p != '>' && *x->p != '/' && *x->p != '<') {
        if (*x->p == ':')
            n = 0;
        else if (*x->p == 0 || n + 1 >= OBJS_XML_NAME)
            return false;
        else
            out[n++] = (char)*x->p;
        x->p++;
    }
    out[n] = '\0';
    return n > 0;
}

/* Attributes and the end of a tag; *empty: it is <a/>. */
static bool skip_attributes(objs_xml *x, bool *empty)
{
    *empty = false;
    while (x->p < x->end) {
        uint8_t c = *x->p++;
        if (c == '>')
            return true;
        if (c == '<')
            return false;
        *empty = c == '/';
        if (c == '"' || c == '\'') {
            const uint8_t *quote = memchr(x->p, c, left(x));
            if (quote == NULL)
                return false;
            x->p = quote + 1;
        }
    }
    return false;
}

static objs_xml_kind close_element(objs_xml *x)
{
    x->depth--;
    x->popped = true;
    return OBJS_XML_CLOSE;
}

static objs_xml_kind open_element(objs_xml *x)
{
    bool empty;
    if (x->depth == OBJS_XML_DEPTH || (x->depth == 0 && x->rooted) ||
        !read_name(x, x->stack[x->depth]) || !skip_attributes(x, &empty))
        return OBJS_XML_BAD;
    x->depth++;
    x->rooted = true;
    x->pending = empty;
    x->text_len = 0;
    x->text[0] = '\0';
    return OBJS_XML_OPEN;
}

static objs_xml_kind end_element(objs_xml *x)
{
    char name[OBJS_XML_NAME];
    bool empty;
    if (x->depth == 0 || !read_name(x, name) || strcmp(name, x->stack[x->depth - 1]) != 0 ||
        !skip_attributes(x, &empty))
        return OBJS_XML_BAD;
    return close_element(x);
}

static bool starts(const objs_xml *x, const char *word)
{
    size_t n = strlen(word);
    return left(x) >= n && memcmp(x->p, word, n) == 0;
}

static bool add_cdata(objs_xml *x)
{
    x->p += strlen("<![CDATA[");
    const uint8_t *from = x->p;
    if (x->depth == 0 || !skip_behind(x, "]]>"))
        return false;
    for (const uint8_t *p = from; p < x->p - 3; p++)
        if (!add_byte(x, *p))
            return false;
    return true;
}

objs_xml_kind objs_xml_next(objs_xml *x)
{
    if (x->popped) { /* what follows is text of the element around */
        x->text_len = 0;
        x->text[0] = '\0';
        x->popped = false;
    }
    if (x->pending) {
        x->pending = false;
        return close_element(x);
    }
    for (;;) {
        if (!read_text(x))
            return OBJS_XML_BAD;
        if (x->p == x->end)
            return x->rooted && x->depth == 0 ? OBJS_XML_END : OBJS_XML_BAD;
        if (starts(x, "<?")) {
            if (!skip_behind(x, "?>"))
                return OBJS_XML_BAD;
        } else if (starts(x, "<!--")) {
            x->p += 4;
            if (!skip_behind(x, "-->"))
                return OBJS_XML_BAD;
        } else if (starts(x, "<![CDATA[")) {
            if (!add_cdata(x))
                return OBJS_XML_BAD;
        } else if (starts(x, "<!")) {
            return OBJS_XML_BAD;
        } else if (starts(x, "</")) {
            x->p += 2;
            return end_element(x);
        } else {
            x->p++;
            return open_element(x);
        }
    }
}
