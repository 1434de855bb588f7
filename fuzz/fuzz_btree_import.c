/*
 * fuzz_btree_import.c - a partition of EloqStore's made of any bytes: refused with a sentence, or
 * its entries come in the order of keys and end.
 *
 *     byte 0        generation: 1 when even, 6 when odd
 *     byte 1, 2     length of the manifest's payloads, and where the second record begins in them
 *     the rest      payloads, then pages of 512 bytes from their type on
 *
 * Sums are put right first, so that what lies behind them is reached.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/bytes.h"
#include "btree/btree_import.h"
#include "btree/btree_page.h"
#include "io/vio_sim.h"

#define PAGE 512u
#define PAGES_MAX 16u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void add_record(vv_buf *m, int generation, vv_slice payload)
{
    size_t at = m->len;
    vv_buf_append_le64(m, 0);
    vv_buf_append_le32(m, payload.len > 0 ? payload.data[0] % PAGES_MAX : 0); /* root */
    vv_buf_append_le32(m, BTREE_NO_PAGE);
    vv_buf_append_le32(m, (uint32_t)payload.len);
    vv_buf_append_slice(m, payload);
    must(m->status == VV_OK);
    vv_put_le64(m->data + at,
                btree_import_sum(vv_slice_of(m->data + at + 8, m->len - at - 8), generation));
    while (generation == 6 && m->len % PAGE != 0)
        vv_buf_append_u8(m, 0);
}

static void read_all(vio *io)
{
    const btree_import_options opt = {
        .page_size = PAGE, .file_shift = 3, .record_align = PAGE, .now_ms = 1000};
    btree_import *im = NULL;
    btree_import_entry e;
    btree_import_info info;
    vv_error err = {0};
    vv_status st = btree_import_open(io, &opt, &im, &err);
    size_t last_len = 0;
    static uint8_t last[BTREE_KEY_MAX];
    while (st == VV_OK && (st = btree_import_next(im, &e, &err)) == VV_OK) {
        must(last_len == 0 || vv_slice_cmp(vv_slice_of(last, last_len), e.key) < 0);
        must(e.value.len <= BTREE_IMPORT_VALUE_MAX);
        memcpy(last, e.key.data, e.key.len);
        last_len = e.key.len;
    }
    must((im != NULL && st == VV_NOT_FOUND) || (err.status == st && err.msg[0] != '\0'));
    if (im != NULL) {
        btree_import_info_read(im, &info);
        must(info.pages_read <= info.pages);
    }
    btree_import_close(im);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    int generation = (data[0] & 1) == 0 ? 1 : 6;
    size_t payloads = data[1] < size - 3 ? data[1] : size - 3;
    size_t first = data[2] < payloads ? data[2] : payloads;
    const uint8_t *p = data + 3;
    vv_buf m;
    vv_buf_init(&m, 1 << 16);
    add_record(&m, generation, vv_slice_of(p, first));
    if (payloads > first)
        add_record(&m, generation, vv_slice_of(p + first, payloads - first));
    p += payloads;
    size -= 3 + payloads;
    static uint8_t pages[PAGES_MAX * PAGE];
    memset(pages, 0, sizeof pages);
    for (size_t i = 0; i < PAGES_MAX; i++) {
        size_t len = size < PAGE - 8 ? size : PAGE - 8;
        memcpy(pages + i * PAGE + 8, p, len);
        p += len;
        size -= len;
        btree_page_seal(pages + i * PAGE, PAGE);
    }
    vio_sim_disk *disk = vio_sim_disk_create();
    vio *io = NULL;
    must(disk != NULL && vio_sim_open(disk, &(vio_sim_options){.seed = 1}, &io, NULL) == VV_OK);
    const char *names[] = {"data_0", "data_1", "manifest"};
    const char *later[] = {"data_0_main_1", "data_1_main_1", "manifest_main_1"};
    const char **name = generation == 1 ? names : later;
    const size_t half = sizeof pages / 2;
    must(vio_write_file_atomic(io, name[0], vv_slice_of(pages, half), NULL) == VV_OK);
    must(vio_write_file_atomic(io, name[1], vv_slice_of(pages + half, half), NULL) == VV_OK);
    must(vio_write_file_atomic(io, name[2], vv_buf_slice(&m), NULL) == VV_OK);
    read_all(io);
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
    vv_buf_fini(&m);
    return 0;
}
