/* place_text.c - see place_text.h. */
#include "place_text.h"

#include <stdio.h>
#include <string.h>

#include "base/time_text.h"
#include "cmd.h"

#define NUMBER_MAX 24u

bool place_text_parse(const char *text, vv_stream_start *out)
{
    uint64_t offset = 0;
    *out = (vv_stream_start){.from = VV_STREAM_EARLIEST};
    if (text == NULL || strcmp(text, "earliest") == 0)
        return true;
    if (strcmp(text, "latest") == 0) {
        out->from = VV_STREAM_LATEST;
    } else if (text[0] == '@') {
        out->from = VV_STREAM_POSITION;
        out->position = vv_slice_str(text + 1);
    } else if (cmd_parse_count(text, &offset)) {
        out->from = VV_STREAM_OFFSET;
        out->offset = offset;
    } else {
        out->from = VV_STREAM_RECEIVED;
        return time_text_parse_loose(vv_slice_str(text), &out->time_ns);
    }
    return true;
}

static bool parse_number(vv_slice text, uint64_t *out)
{
    char copy[NUMBER_MAX];
    if (text.len == 0 || text.len >= sizeof copy)
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    return strlen(copy) == text.len && cmd_parse_count(copy, out);
}

bool place_text_message(vv_slice text, uint32_t *partition, uint64_t *offset)
{
    uint64_t number = 0;
    const uint8_t *slash = text.len == 0 ? NULL : memchr(text.data, '/', text.len);
    if (slash != NULL) {
        size_t len = (size_t)(slash - text.data);
        if (!parse_number(vv_slice_of(text.data, len), &number) || number >= UINT32_MAX)
            return false;
        *partition = (uint32_t)number;
        text = vv_slice_of(slash + 1, text.len - len - 1);
    }
    return parse_number(text, offset);
}
