/*
 * feed_nats_meta.c - the numbers of a JetStream message, from the subject of its reply (NATS
 * ADR-15): 9 tokens, or at least 11 with the domain and the account in front.
 */
#include "feeds/feed_nats.h"
#include "feeds/feed_number.h"

#define TOKENS_MAX 12u

bool feed_nats_read_meta(vv_slice reply, feed_nats_meta *out)
{
    vv_slice tokens[TOKENS_MAX];
    size_t count = 0, begin = 0;
    for (size_t i = 0; i <= reply.len && count < TOKENS_MAX; i++) {
        if (i < reply.len && reply.data[i] != '.')
            continue;
        tokens[count++] = vv_slice_of(reply.data == NULL ? NULL : reply.data + begin, i - begin);
        begin = i + 1;
    }
    if ((count != 9 && count < 11) || !vv_slice_eq(tokens[0], vv_slice_str("$JS")) ||
        !vv_slice_eq(tokens[1], vv_slice_str("ACK")))
        return false;
    size_t at = count == 9 ? 5 : 7; /* the sequence */
    int64_t v[4];
    for (size_t i = 0; i < 4; i++)
        if (!feed_parse_int(tokens[at + i], &v[i]) || v[i] < 0)
            return false;
    if (v[0] == 0 || v[1] == 0)
        return false;
    *out = (feed_nats_meta){.sequence = (uint64_t)v[0],
                            .delivery = (uint64_t)v[1],
                            .published_ns = v[2],
                            .waiting = (uint64_t)v[3]};
    return true;
}

bool feed_nats_is_match(const char *pattern, const char *subject)
{
    while (*pattern != '\0' && *subject != '\0') {
        size_t p = strcspn(pattern, "."), s = strcspn(subject, ".");
        if (p == 1 && pattern[0] == '>')
            return s > 0;
        if (!(p == 1 && pattern[0] == '*') && (p != s || memcmp(pattern, subject, p) != 0))
            return false;
        pattern += p;
        subject += s;
        if ((*pattern == '.') != (*subject == '.'))
            return false;
        pattern += *pattern == '.';
        subject += *subject == '.';
    }
    return *pattern == '\0' && *subject == '\0';
}
