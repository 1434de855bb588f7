/*
 * btree_value.c - values that are not in their leaf as they are.
 *
 * An overflow value is put together once and kept in the page cache under the place of its first
 * page. Pages of one value mostly lie one behind the other: they are read in one piece.
 */
#include "btree/btree_int.h"

#include "base/alloc.h"
#include "base/epoch.h"
#include "base/error.h"
#include "base/util.h"

typedef struct assembly {
    btree_tree *tree;
    vv_buf bytes;
    uint8_t *pages; /* room for a group */
    uint32_t group[BTREE_POINTERS_MAX];
    uint32_t count;
} assembly;

/* Pages of the group from `from` on that lie one behind the other. */
static uint32_t adjacent(const assembly *a, uint32_t from, btree_place *first)
{
    const btree_map *map = &a->tree->state.map;
    *first = btree_map_get(map, a->group[from]);
    uint32_t n = 1;
    while (first->at != BTREE_NOWHERE && from + n < a->count && n < BTREE_POINTERS &&
           btree_map_get(map, a->group[from + n]).at == first->at + n &&
           btree_store_page_of(a->tree->store, first->at + n) != 0)
        n++;
    return n;
}

/* One page of the value that has been read. */
static vv_status take_page(assembly *a, uint32_t i, const uint8_t *page, vv_error *err)
{
    const btree_store *s = a->tree->store;
    btree_place place = btree_map_get(&a->tree->state.map, a->group[i]);
    vv_status st = btree_page_verify(page, s->page_size, err);
    if (st == VV_OK && (uint32_t)btree_page_stored_sum(page) != place.sum)
        st = vv_fail(err, VV_CORRUPT, "another page lies there");
    vv_slice part;
    const uint8_t *next;
    uint32_t next_count = 0;
    if (st == VV_OK)
        st = btree_overflow_decode(page, s->page_size, &part, &next, &next_count, err);
    if (st == VV_OK && next_count > 0 && i + 1 < a->count)
        st = vv_fail(err, VV_CORRUPT, "a page inside a group names further ones");
    if (st != VV_OK)
        return vv_wrap(err, st, "page %u of a value", a->group[i]);
    vv_buf_append_slice(&a->bytes, part);
    if (a->bytes.status != VV_OK)
        return vv_fail(err, a->bytes.status == VV_BUSY ? VV_CORRUPT : VV_NO_MEMORY,
                       "value: no room for more than %zu bytes", a->bytes.len);
    if (i + 1 == a->count) {
        if (next_count > 0)
            memcpy(a->group, next, 4 * (size_t)next_count);
        a->count = next_count;
    }
    return VV_OK;
}

static vv_status read_group(assembly *a, vv_error *err)
{
    btree_store *s = a->tree->store;
    uint32_t count = a->count;
    for (uint32_t i = 0; i < count;) {
        btree_place first;
        uint32_t n = adjacent(a, i, &first);
        btree_file *file = btree_store_find_file(s, a->tree->files, a->tree->file_count, first.at);
        if (file == NULL)
            return vv_fail(err, VV_CORRUPT, "page %u of a value: the mapping has no place for it",
                           a->group[i]);
        vv_status st =
            vio_pread_full(file->file, (uint64_t)btree_store_page_of(s, first.at) * s->page_size,
                           a->pages, (size_t)n * s->page_size, err);
        for (uint32_t j = 0; st == VV_OK && j < n; j++)
            st = take_page(a, i + j, a->pages + (size_t)j * s->page_size, err);
        if (st != VV_OK)
            return st;
        i += n;
    }
    return VV_OK;
}

static vv_status assemble(btree_tree *tree, vv_slice ids, pgc_frame **out, vv_error *err)
{
    assembly a = {.tree = tree, .count = (uint32_t)(ids.len / 4)};
    memcpy(a.group, ids.data, ids.len);
    vv_buf_init(&a.bytes, ENGINE_VALUE_MAX + VV_MIB);
    a.pages = vv_alloc_aligned(VV_BLOCK, (size_t)BTREE_POINTERS * tree->store->page_size);
    vv_status st = VV_OK;
    if (a.pages == NULL)
        st = vv_fail(err, VV_NO_MEMORY, "value: no memory");
    while (st == VV_OK && a.count > 0)
        st = read_group(&a, err);
    if (st == VV_OK)
        st = pgc_frame_create(tree->store->cache, a.bytes.len, out, err);
    if (st == VV_OK && a.bytes.len > 0)
        memcpy(pgc_data(*out), a.bytes.data, a.bytes.len);
    vv_free(a.pages);
    vv_buf_fini(&a.bytes);
    return st;
}

static vv_status load_overflow(btree_tree *tree, vv_slice ids, pgc_frame **frame, vv_error *err)
{
    btree_store *s = tree->store;
    btree_place place = btree_map_get(&tree->state.map, vv_get_le32(ids.data));
    btree_file *file = btree_store_find_file(s, tree->files, tree->file_count, place.at);
    if (file == NULL)
        return vv_fail(err, VV_CORRUPT, "page %u of a value: the mapping has no place for it",
                       vv_get_le32(ids.data));
    uint32_t page = btree_store_page_of(s, place.at);
    vv_epoch_enter();
    *frame = pgc_lookup(file->pages, page);
    if (*frame != NULL)
        pgc_pin(*frame);
    vv_epoch_exit();
    if (*frame != NULL)
        return VV_OK;
    vv_status st = assemble(tree, ids, frame, err);
    if (st == VV_OK)
        pgc_publish(file->pages, page, *frame);
    return st;
}

vv_status btree_value_load(btree_tree *tree, const btree_found *found, pgc_frame **frame,
                           vv_slice *value, vv_error *err)
{
    assert((found->flags & BTREE_VALUE_APART) != 0);
    vv_slice stored = found->value;
    pgc_frame *whole = NULL;
    vv_status st = VV_OK;
    if ((found->flags & BTREE_IS_OVERFLOW) != 0) {
        st = load_overflow(tree, found->value, &whole, err);
        if (st == VV_OK && whole != NULL)
            stored = vv_slice_of(pgc_data(whole), whole->len);
    }
    if (st == VV_OK && (found->flags & BTREE_CODEC_MASK) != 0) {
        st = btree_decompress_value(tree->store, found->flags, stored, frame, err);
        if (whole != NULL)
            pgc_unpin(whole);
    } else if (st == VV_OK) {
        *frame = whole;
    }
    if (st == VV_OK && *frame != NULL)
        *value = vv_slice_of(pgc_data(*frame), (*frame)->len);
    return st;
}
