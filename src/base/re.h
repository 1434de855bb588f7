/*
 * re.h - regular expressions that cannot explode: time is linear in the text.
 *
 * A Thompson automaton whose states are all walked together, a code point at a time (R. Cox,
 * "Regular Expression Matching Can Be Simple And Fast", 2007), so that (a*)*b costs what any other
 * expression of its size does. The whole text has to match, as in Prometheus; vv_regex_find looks
 * for a part of it instead. What is understood of RE2's syntax:
 *
 *   x  .  [abc] [^a-z] [[:alpha:]]  \d \w \s \D \W \S  \n \t \r \f \v \xFF \x{10FFFF}  \Q...\E  \.
 *   xy  x|y  (x) (?:x) (?P<name>x)  (?i) (?s) (?i:x)  x* x+ x? x{n} x{n,} x{n,m}, each also lazy
 *   ^ $ \A \z  beginning and end of the text
 *
 * Anything else (\b, \p, backreferences) is refused by name. Text is UTF-8; a byte that is none
 * counts as U+FFFD. '.' leaves out the newline but under (?s). One thread at a time.
 */
#ifndef VARVE_BASE_RE_H
#define VARVE_BASE_RE_H

#include <stdbool.h>
#include <stdint.h>

#include "varve/slice.h"
#include "varve/status.h"

#define VV_REGEX_PATTERN_MAX 4096u
#define VV_REGEX_STATES_MAX 10000u /* after x{n,m} is written out */

typedef struct vv_regex vv_regex;

/** VV_INVALID says what is wrong and where; VV_NO_MEMORY. Gives *out: vv_regex_destroy. */
VV_MUST_CHECK vv_status vv_regex_create(vv_slice pattern, vv_regex **out, vv_error *err);
void vv_regex_destroy(vv_regex *re); /* accepts NULL */

/** Whether all of text matches. Takes what it cost off *steps, about one a state and code point;
 * VV_BUSY when they are used up: then *out means nothing. */
VV_MUST_CHECK vv_status vv_regex_match(vv_regex *re, vv_slice text, uint64_t *steps, bool *out,
                                       vv_error *err);

/** An expression for vv_regex_find. group: the part of a match that it gives, by the count of its
 * '(' (those of (?:...) do not count); 0: all of it. VV_INVALID for a group that is not there. */
VV_MUST_CHECK vv_status vv_regex_create_group(vv_slice pattern, uint32_t group, vv_regex **out,
                                              vv_error *err);

/** The first match anywhere in text, and of those that begin there the one that RE2 takes: earlier
 * alternatives before later ones, repeats as long as they can be, lazy ones as short. *found: there
 * is a match and its group takes part; *out is the group's text. Of expressions made by
 * vv_regex_create_group alone. Steps as vv_regex_match takes them. */
VV_MUST_CHECK vv_status vv_regex_find(vv_regex *re, vv_slice text, uint64_t *steps, bool *found,
                                      vv_slice *out, vv_error *err);

/** The bytes that each match begins with, in out; as many as fit. */
size_t vv_regex_prefix(const vv_regex *re, uint8_t *out, size_t max);

#endif
