/*
 * fuzz_engines.c - the list of engines in a shard's directory: refused with a sentence, or its
 * names are names of directories beside it, each slot once.
 *
 *     byte 0    bit 0: make the sum right first, so that what lies behind it is reached
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "engine/route.h"
#include "io/vio_sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void name(void *ctx, const char *text)
{
    must(text[0] != '\0' && strpbrk(text, "/.") == NULL);
    ++*(uint32_t *)ctx;
}

static void line(void *ctx, const char *text)
{
    must(text[0] != '\0');
    ++*(uint32_t *)ctx;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t len = size - 1;
    uint8_t *p = vv_alloc(size);
    must(p != NULL);
    memcpy(p, data + 1, len);
    if ((data[0] & 1) != 0 && len >= 4)
        vv_put_le32(p + len - 4, vv_crc32c(0, p, len - 4));
    vio_sim_disk *disk = vio_sim_disk_create();
    vio *io = NULL;
    must(disk != NULL && vio_sim_open(disk, &(vio_sim_options){.seed = 1}, &io, NULL) == VV_OK);
    must(vio_mkdir(io, "shard", NULL) == VV_OK);
    must(vio_write_file_atomic(io, "shard/ENGINES", vv_slice_of(p, len), NULL) == VV_OK);
    uint32_t names = 0;
    uint32_t lines = 0;
    vv_error err = {0};
    vv_env env = {.io = io};
    vv_status st = engine_route_list(io, "shard", name, &names, &err);
    must(names < ENGINE_ROUTE_SLOTS && (st == VV_OK || (names == 0 && err.msg[0] != '\0')));
    must(engine_route_dump(&env, "shard/ENGINES", line, &lines, &err) == st);
    must(st != VV_OK || lines >= names);
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
    vv_free(p);
    return 0;
}
