/*
 * extract_json.c - one walk over a JSON value, which gives each rule what its path leads to.
 *
 * The walk follows the tree of paths as it goes: where a name leads nowhere in the tree, what lies
 * under it is only held against the grammar (RFC 8259). It does not recurse; what is nested deeper
 * than EXTRACT_JSON_DEPTH_MAX is refused. Of a name that is there twice the last one counts. All of
 * the message is read, so that a broken one is broken for every rule, wherever the fault lies.
 */
#include "base/utf8.h"
#include "extract/extract_int.h"

#define NAME_ROOM 256u /* bytes of an unescaped name; no path holds a longer one */

typedef enum token {
    TOKEN_STRING,
    TOKEN_NUMBER,
    TOKEN_TRUE,
    TOKEN_FALSE,
    TOKEN_NULL,
    TOKEN_OPEN, /* '{' or '[' */
    TOKEN_BAD,
} token;

/* An object or a list that is open. */
typedef struct level {
    const uint8_t *begin;
    uint32_t index; /* of the next element of a list */
    uint16_t node;  /* of it; EXTRACT_NO_NODE: nothing in it is wanted */
    bool is_object;
} level;

typedef struct walk {
    extract_runner *r;
    const uint8_t *p;
    const uint8_t *end;
    unsigned depth;
    vv_status status; /* VV_NO_MEMORY ends the walk */
    level open[EXTRACT_JSON_DEPTH_MAX];
} walk;

static const uint8_t *skip_blanks(const uint8_t *p, const uint8_t *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

/* ---- tokens ---- */

static int hex_of(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four digits at p; -1: they are none. */
static int32_t take_four(const uint8_t *p, const uint8_t *end)
{
    int32_t v = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_of(p[i]);
        if (digit < 0)
            return -1;
        v = v << 4 | digit;
    }
    return v;
}

/* Behind the first quote: up to the last one. NULL: there is none, or a byte that may not be. */
static const uint8_t *scan_string(const uint8_t *p, const uint8_t *end, bool *has_escapes)
{
    *has_escapes = false;
    while (p < end && *p != '"') {
        if (*p < 0x20)
            return NULL;
        if (*p++ != '\\')
            continue;
        *has_escapes = true;
        if (p == end || (*p != 'u' && (*p == '\0' || strchr("\"\\/bfnrt", *p) == NULL)))
            return NULL;
        if (*p == 'u' && take_four(p + 1, end) < 0)
            return NULL;
        p++;
    }
    return p < end ? p : NULL;
}

/* The code point of \uXXXX behind the u at *p, two of them where it is a pair. Halves of pairs
 * become U+FFFD. */
static uint32_t unescape_code(const uint8_t **p, const uint8_t *end)
{
    uint32_t code = (uint32_t)take_four(*p, end);
    *p += 4;
    if (code < 0xd800 || code > 0xdfff)
        return code;
    if (code < 0xdc00 && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') {
        int32_t low = take_four(*p + 2, end);
        if (low >= 0xdc00 && low <= 0xdfff) {
            *p += 6;
            return 0x10000 + ((code - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
        }
    }
    return 0xfffd;
}

/* A string that scan_string accepted, without its escapes: never longer. Returns its length. */
static size_t unescape(vv_slice in, uint8_t *out)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const uint8_t *p = in.data, *end = in.data + in.len;
    uint8_t *o = out;
    while (p < end) {
        if (*p != '\\') {
            *o++ = *p++;
            continue;
        }
        uint8_t c = p[1];
        p += 2;
        if (c == 'u') {
            o += utf8_put(o, unescape_code(&p, end));
            continue;
        }
        const char *at = strchr(from, c);
        *o++ = at == NULL ? c : (uint8_t)to[at - from];
    }
    return (size_t)(o - out);
}

static const uint8_t *skip_digits(const uint8_t *p, const uint8_t *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

/* Behind a number; NULL: it is none. */
static const uint8_t *scan_number(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *from;
    if (*p == '-')
        p++;
    from = p;
    p = skip_digits(p, end);
    if (p == from || (*from == '0' && p - from > 1))
        return NULL;
    if (p < end && *p == '.') {
        from = ++p;
        p = skip_digits(p, end);
        if (p == from)
            return NULL;
    }
    if (p < end && (*p | 0x20) == 'e') {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        from = p;
        p = skip_digits(p, end);
        if (p == from)
            return NULL;
    }
    return p;
}

static token take_word(walk *w, const char *word, token t)
{
    size_t len = strlen(word);
    if ((size_t)(w->end - w->p) < len || memcmp(w->p, word, len) != 0)
        return TOKEN_BAD;
    w->p += len;
    return t;
}

/* The value at p, of objects and lists their first byte. */
static token take_token(walk *w, vv_slice *text, bool *has_escapes)
{
    const uint8_t *from = w->p, *next;
    if (w->p == w->end)
        return TOKEN_BAD;
    switch (*w->p) {
    case '"':
        next = scan_string(w->p + 1, w->end, has_escapes);
        if (next == NULL)
            return TOKEN_BAD;
        *text = vv_slice_of(from + 1, (size_t)(next - from - 1));
        w->p = next + 1;
        return TOKEN_STRING;
    case '{':
    case '[':
        w->p++;
        return TOKEN_OPEN;
    case 't':
        return take_word(w, "true", TOKEN_TRUE);
    case 'f':
        return take_word(w, "false", TOKEN_FALSE);
    case 'n':
        return take_word(w, "null", TOKEN_NULL);
    default:
        next = scan_number(w->p, w->end);
        if (next == NULL)
            return TOKEN_BAD;
        *text = vv_slice_of(from, (size_t)(next - from));
        w->p = next;
        return TOKEN_NUMBER;
    }
}

/* ---- what rules get ---- */

static void give_string(walk *w, const extract_rule *rule, vv_slice text, bool has_escapes,
                        extract_slot *slot)
{
    if (has_escapes && text.len <= 6u * EXTRACT_ATTRIBUTE_MAX) {
        if (text.len > EXTRACT_SCRATCH_MAX - w->r->scratch) {
            extract_wrong(slot, "its strings with escapes are too many");
            return;
        }
        w->r->scratch += text.len;
        uint8_t *plain = extract_alloc(w->r, text.len);
        if (plain == NULL) {
            w->status = VV_NO_MEMORY;
            return;
        }
        text = vv_slice_of(plain, unescape(text, plain));
    }
    extract_take_text(rule, text, false, slot);
}

/* A value that is no object and no list, to the rules whose paths end at node. */
static void give(walk *w, uint16_t node, token t, vv_slice text, bool has_escapes)
{
    extract_program *p = w->r->program;
    if (node == EXTRACT_NO_NODE)
        return;
    for (uint16_t i = p->node[node].rule; i != EXTRACT_NO_NODE; i = p->rule[i].same) {
        extract_slot *slot = &w->r->slot[i];
        if (t == TOKEN_STRING)
            give_string(w, &p->rule[i], text, has_escapes, slot);
        else if (t == TOKEN_NUMBER)
            extract_take_text(&p->rule[i], text, true, slot);
        else if (t == TOKEN_NULL)
            slot->state = EXTRACT_IS_ABSENT;
        else
            extract_take_bool(&p->rule[i], t == TOKEN_TRUE, slot);
    }
}

static void give_closed(walk *w, const level *l)
{
    extract_program *p = w->r->program;
    if (l->node == EXTRACT_NO_NODE)
        return;
    for (uint16_t i = p->node[l->node].rule; i != EXTRACT_NO_NODE; i = p->rule[i].same) {
        if (p->rule[i].type == EXTRACT_STRING)
            extract_take_text(&p->rule[i], vv_slice_of(l->begin, (size_t)(w->p - l->begin)), false,
                              &w->r->slot[i]);
        else
            extract_wrong(&w->r->slot[i], "an object or a list");
    }
}

/* ---- the tree beside the value ---- */

static uint16_t child_named(const extract_program *p, uint16_t node, vv_slice name,
                            bool has_escapes)
{
    uint8_t room[NAME_ROOM];
    if (node == EXTRACT_NO_NODE)
        return EXTRACT_NO_NODE;
    if (has_escapes && name.len <= sizeof room)
        name = vv_slice_of(room, unescape(name, room));
    for (uint16_t c = p->node[node].child; c != EXTRACT_NO_NODE; c = p->node[c].sibling)
        if (!p->node[c].is_index && vv_slice_eq(p->node[c].name, name))
            return c;
    return EXTRACT_NO_NODE;
}

static uint16_t child_at(const extract_program *p, uint16_t node, uint32_t index)
{
    if (node == EXTRACT_NO_NODE)
        return EXTRACT_NO_NODE;
    for (uint16_t c = p->node[node].child; c != EXTRACT_NO_NODE; c = p->node[c].sibling)
        if (p->node[c].is_index && p->node[c].index == index)
            return c;
    return EXTRACT_NO_NODE;
}

/* ---- the walk ---- */

/* A value for node. NULL, or why it is none. */
static const char *take_value(walk *w, uint16_t node)
{
    vv_slice text = {NULL, 0};
    bool has_escapes = false;
    const uint8_t *from = w->p;
    token t = take_token(w, &text, &has_escapes);
    if (t == TOKEN_BAD)
        return "not JSON";
    if (t != TOKEN_OPEN) {
        give(w, node, t, text, has_escapes);
        return NULL;
    }
    if (w->depth == EXTRACT_JSON_DEPTH_MAX)
        return "JSON that is nested too deep";
    w->open[w->depth++] = (level){.begin = from, .node = node, .is_object = *from == '{'};
    return NULL;
}

static void close_level(walk *w)
{
    w->p++;
    give_closed(w, &w->open[--w->depth]);
}

/* In an object, behind '{' or ',': name, colon, value. */
static const char *take_member(walk *w, const level *l)
{
    bool has_escapes = false;
    const uint8_t *from = w->p;
    if (w->p == w->end || *w->p != '"')
        return "not JSON";
    const uint8_t *quote = scan_string(w->p + 1, w->end, &has_escapes);
    if (quote == NULL)
        return "not JSON";
    vv_slice name = vv_slice_of(from + 1, (size_t)(quote - from - 1));
    w->p = skip_blanks(quote + 1, w->end);
    if (w->p == w->end || *w->p != ':')
        return "not JSON";
    w->p = skip_blanks(w->p + 1, w->end);
    return take_value(w, child_named(w->r->program, l->node, name, has_escapes));
}

/* The next thing in what is open: its end, or a value. */
static const char *take_next(walk *w, bool is_first)
{
    level *l = &w->open[w->depth - 1];
    uint8_t closing = l->is_object ? '}' : ']';
    w->p = skip_blanks(w->p, w->end);
    if (w->p < w->end && *w->p == closing) {
        close_level(w);
        return NULL;
    }
    if (!is_first) {
        if (w->p == w->end || *w->p != ',')
            return "not JSON";
        w->p = skip_blanks(w->p + 1, w->end);
    }
    if (l->is_object)
        return take_member(w, l);
    uint32_t index = l->index++;
    return take_value(w, child_at(w->r->program, l->node, index));
}

static const char *walk_all(walk *w)
{
    w->p = skip_blanks(w->p, w->end);
    const char *why = take_value(w, 0);
    bool is_first = true;
    while (why == NULL && w->depth > 0 && w->status == VV_OK) {
        unsigned depth = w->depth;
        why = take_next(w, is_first);
        is_first = w->depth > depth;
    }
    w->p = skip_blanks(w->p, w->end);
    return why == NULL && w->p != w->end && w->status == VV_OK ? "not JSON" : why;
}

vv_status extract_json(extract_runner *r, vv_slice value)
{
    walk w;
    w.r = r;
    w.p = value.data;
    w.end = value.len == 0 ? value.data : value.data + value.len;
    w.depth = 0;
    w.status = VV_OK;
    const char *why = walk_all(&w);
    if (why != NULL)
        extract_wrong_kind(r, EXTRACT_JSON, why);
    return w.status;
}
