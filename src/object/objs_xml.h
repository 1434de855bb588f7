/*
 * objs_xml.h - the little XML of object stores' answers, pulled element by element.
 *
 * Elements and their text; attributes are skipped, prefixes of names dropped. What an attacker
 * brings is refused or bounded: no document type (so no entities of one's own), at most
 * OBJS_XML_DEPTH levels, names and texts within their arrays. No memory is allocated.
 */
#ifndef VARVE_OBJECT_OBJS_XML_H
#define VARVE_OBJECT_OBJS_XML_H

#include <stdbool.h>

#include "varve/slice.h"

#define OBJS_XML_DEPTH 12u
#define OBJS_XML_NAME 48u
#define OBJS_XML_TEXT 2048u

typedef enum objs_xml_kind {
    OBJS_XML_OPEN,  /* the element name(depth) begins */
    OBJS_XML_CLOSE, /* it ends; text is what stood in it outside of elements in it */
    OBJS_XML_END,   /* of a document that is whole */
    OBJS_XML_BAD,
} objs_xml_kind;

typedef struct objs_xml {
    const uint8_t *p;
    const uint8_t *end;
    unsigned depth; /* open elements */
    bool pending;   /* an element <a/> is still to be closed */
    bool popped;    /* the last event was a close: its name is at stack[depth] */
    bool rooted;
    char stack[OBJS_XML_DEPTH][OBJS_XML_NAME];
    char text[OBJS_XML_TEXT];
    size_t text_len;
} objs_xml;

void objs_xml_init(objs_xml *x, vv_slice document);
objs_xml_kind objs_xml_next(objs_xml *x);
/** The element that just opened or closed. */
const char *objs_xml_name(const objs_xml *x);
/** The one around it; "" at the root. */
const char *objs_xml_parent(const objs_xml *x);

#endif
