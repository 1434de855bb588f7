/*
 * fuzz_btree_page.c - a page's bytes: refused, or its entries can be built into a page again that
 * reads the same, and its form in the cache finds each of them.
 *
 *     byte 0    page size 512 << (0 .. 3); the rest is the page from its type on, zeros behind
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/epoch.h"
#include "btree/btree_leaf.h"

#define ENTRIES_MAX 2000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* Entry by entry through the leaf's search and the iterator. */
static void compare_leaf(const uint8_t *page, uint32_t size, pgc_frame *frame)
{
    static btree_iter it;
    static uint8_t key[BTREE_KEY_BUF];
    btree_leaf leaf;
    btree_leaf_lay_out(pgc_data(frame), &leaf);
    btree_leaf_load_prefix(&leaf, key);
    must(btree_iter_open(&it, page, size, NULL) == VV_OK);
    btree_entry e;
    uint32_t n = 0;
    for (; btree_iter_next(&it, &e, NULL) == VV_OK; n++) {
        btree_found found;
        must(btree_leaf_seek(&leaf, e.key) == n);
        must(btree_leaf_get(&leaf, e.key, &found));
        must(vv_slice_eq(found.value, e.value) && found.flags == e.flags);
        must((uint64_t)found.version == e.timestamp && (uint64_t)found.expires_ns == e.expires);
        must(vv_slice_eq(btree_leaf_at(&leaf, n, key, &found), e.key));
    }
    must(n == leaf.n);
}

static void check_leaf(const uint8_t *page, uint32_t size)
{
    pgc_cache *cache = NULL;
    pgc_frame *frame = NULL;
    must(pgc_cache_create(1 << 20, NULL, &cache, NULL) == VV_OK);
    if (btree_leaf_load(page, size, cache, &frame, NULL) == VV_OK) {
        must(frame->len <= 16 * (size_t)size);
        compare_leaf(page, size, frame);
        pgc_unpin(frame);
    }
    vv_epoch_drain();
    pgc_cache_destroy(cache);
}

/* What was read, built again, reads the same. */
static void rebuild(const uint8_t *page, uint32_t size)
{
    static btree_iter it;
    static btree_iter again;
    static btree_builder b;
    static uint8_t out[32768];
    must(btree_iter_open(&it, page, size, NULL) == VV_OK);
    btree_builder_begin(&b, btree_page_type_of(page), out, sizeof out, 16);
    vv_status st = VV_OK;
    uint32_t n = 0;
    btree_entry e;
    vv_slice key;
    uint32_t child = 0;
    while (n < ENTRIES_MAX) {
        st = it.is_data ? btree_iter_next(&it, &e, NULL)
                        : btree_iter_next_child(&it, &key, &child, NULL);
        if (st != VV_OK)
            break;
        if (it.is_data && e.timestamp > INT64_MAX)
            return; /* beyond what a delta can say */
        if (it.is_data ? !btree_builder_add(&b, &e) : !btree_builder_add_child(&b, key, child))
            return; /* more restarts than before: it may not fit */
        n++;
    }
    btree_builder_finish(&b);
    must(btree_page_verify(out, sizeof out, NULL) == VV_OK);
    must(btree_iter_open(&it, page, size, NULL) == VV_OK);
    must(btree_iter_open(&again, out, sizeof out, NULL) == VV_OK);
    for (uint32_t i = 0; i < n; i++) {
        btree_entry f;
        vv_slice key2;
        uint32_t child2 = 0;
        if (it.is_data) {
            must(btree_iter_next(&it, &e, NULL) == VV_OK);
            must(btree_iter_next(&again, &f, NULL) == VV_OK);
            must(vv_slice_eq(e.key, f.key) && vv_slice_eq(e.value, f.value));
            must(e.timestamp == f.timestamp && e.expires == f.expires && e.flags == f.flags);
        } else {
            must(btree_iter_next_child(&it, &key, &child, NULL) == VV_OK);
            must(btree_iter_next_child(&again, &key2, &child2, NULL) == VV_OK);
            must(vv_slice_eq(key, key2) && child == child2);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    uint32_t page_size = 512u << data[0] % 4;
    uint8_t *page = vv_alloc(page_size);
    must(page != NULL);
    memset(page, 0, page_size);
    size_t len = size - 1 < page_size - 8 ? size - 1 : page_size - 8;
    memcpy(page + 8, data + 1, len);
    btree_page_seal(page, page_size);
    must(btree_page_verify(page, page_size, NULL) == VV_OK);
    vv_slice part;
    const uint8_t *next = NULL;
    uint32_t count = 0;
    static btree_iter it;
    if (btree_overflow_decode(page, page_size, &part, &next, &count, NULL) == VV_OK)
        must(part.data >= page && part.data + part.len <= next &&
             next + 4 * (size_t)count < page + page_size);
    else if (btree_iter_open(&it, page, page_size, NULL) == VV_OK) {
        rebuild(page, page_size);
        if (it.is_data)
            check_leaf(page, page_size);
    }
    vv_free(page);
    return 0;
}
