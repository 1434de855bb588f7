/*
 * attribute_json.h - an attribute of a message as JSON that says its type.
 */
#ifndef VARVE_BASE_ATTRIBUTE_JSON_H
#define VARVE_BASE_ATTRIBUTE_JSON_H

#include "base/buf.h"
#include "varve/stream.h"

/** Append "name":VALUE. A time is {"time":"..."}, bytes are {"base64":"..."}, and a float has a
 * fraction or an exponent always, or is {"f64":"NaN"}. */
void json_put_attribute(vv_buf *out, const vv_attribute *a);

#endif
