/*
 * fuzz_config.c - the YAML configuration: no crash, what is accepted prints back to itself, and
 * what does not go together is refused with a sentence.
 */
#include <stdlib.h>
#include <string.h>

#include "server/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    config a;
    config_init(&a);
    if (config_load_yaml(&a, "fuzz", vv_slice_of(data, size), NULL) != VV_OK)
        return 0;
    vv_error err = {0};
    vv_status st = config_check(&a, &err);
    if (st != VV_OK && ((st != VV_INVALID && st != VV_UNSUPPORTED) || err.msg[0] == '\0'))
        abort();
    vv_buf text;
    vv_buf_init(&text, 1 << 20);
    config_print(&a, &text);
    config b;
    config_init(&b);
    if (config_load_yaml(&b, "printed", vv_buf_slice(&text), &err) != VV_OK ||
        memcmp(&a, &b, sizeof a) != 0)
        abort();
    vv_buf_fini(&text);
    return 0;
}
