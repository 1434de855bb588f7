/*
 * base64.h - bytes as text, RFC 4648 section 4: the standard alphabet, padded.
 */
#ifndef VARVE_BASE_BASE64_H
#define VARVE_BASE_BASE64_H

#include "base/buf.h"

/** Append bytes as four digits for three of them. Room is taken once. */
void vv_base64_put(vv_buf *out, vv_slice bytes);

/** The same in the alphabet for URLs and names, section 5, without padding. */
void vv_base64url_put(vv_buf *out, vv_slice bytes);

/** What a digit stands for, of the standard alphabet or the one for URLs; -1: it is none. */
int vv_base64_digit(uint8_t c);

#endif
