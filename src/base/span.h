/*
 * span.h - spans of time as people write them.
 */
#ifndef VARVE_BASE_SPAN_H
#define VARVE_BASE_SPAN_H

#include <stdint.h>

#define VV_SPAN_TEXT 32u

/** By the largest unit that it is a multiple of: "30d", "90m", "1500ms", "7ns". */
void vv_span_text(int64_t ns, char out[VV_SPAN_TEXT]);

#endif
