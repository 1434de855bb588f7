/*
 * vio_sim_image.c - the bytes of one simulated file, twice: as written and as durable.
 *
 * A page of 4 KiB is the unit of memory, a sector of 512 bytes the unit of durability:
 *
 *     write  -->  now   (what reads see)
 *                  |  sync: pending bits cleared           cut: each pending sector is taken
 *                  v                                            from now, from old, or torn
 *                 old   (durable bytes of pending sectors)
 *
 * Blocks are shared by reference, so keeping the durable version costs a copy only when a page is
 * written in part, and a clone of a disk costs its tables. After a sync `old` stays: it is what a
 * stale read gives.
 *
 * A disk may write back a pending sector at any time without being asked. So a pending sector that
 * is written again is made durable first, by chance: every version of a sector can survive a cut,
 * not only the synced and the last one. The same holds for the length.
 */
#include <string.h>

#include "base/alloc.h"
#include "io/vio_sim_int.h"

#define ALL_SECTORS 0xffu

static_assert(SIM_SECTORS == 8, "a page's pending bits are a byte");

/* One in this many overwrites of a pending part finds it written back. */
#define WRITE_BACK_ONE_IN 4

static uint32_t refs_of(sim_block *b)
{
    return atomic_load_explicit(&b->refs, memory_order_acquire);
}

static sim_block *block_ref(sim_block *b)
{
    if (b != NULL)
        (void)atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void sim_block_unref(vio_sim_disk *disk, sim_block *b)
{
    if (b == NULL || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) > 1)
        return;
    if (disk->spare_count < ARRAY_LEN(disk->spare))
        disk->spare[disk->spare_count++] = b;
    else
        vv_free(b);
}

sim_block *sim_block_new(vio_sim_disk *disk)
{
    sim_block *b = disk->spare_count > 0 ? disk->spare[--disk->spare_count] : vv_alloc(sizeof *b);
    if (b != NULL)
        atomic_init(&b->refs, 1);
    return b;
}

static sim_block *block_copy(vio_sim_disk *disk, const sim_block *from)
{
    sim_block *b = sim_block_new(disk);
    if (b == NULL)
        return NULL;
    if (from == NULL)
        memset(b->bytes, 0, VV_BLOCK);
    else
        memcpy(b->bytes, from->bytes, VV_BLOCK);
    return b;
}

/* Make *slot a block that may be written in place. */
static bool block_own(vio_sim_disk *disk, sim_block **slot)
{
    if (*slot != NULL && refs_of(*slot) == 1)
        return true;
    sim_block *own = block_copy(disk, *slot);
    if (own == NULL)
        return false;
    sim_block_unref(disk, *slot);
    *slot = own;
    return true;
}

static const uint8_t *bytes_of(const sim_block *b)
{
    static const uint8_t zeros[VV_BLOCK];
    return b == NULL ? zeros : b->bytes;
}

static bool is_zero(const uint8_t *p, size_t len)
{
    return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

/* The sectors that [from, from + len) of a page touches, as bits. */
static uint8_t sector_mask(size_t from, size_t len)
{
    size_t first = from / VV_SECTOR;
    size_t last = (from + len - 1) / VV_SECTOR;
    return (uint8_t)((ALL_SECTORS << first) & (ALL_SECTORS >> (SIM_SECTORS - 1 - last)));
}

static uint64_t pages_of(uint64_t size)
{
    return (size + VV_BLOCK - 1) / VV_BLOCK;
}

sim_page *sim_image_page(const sim_image *img, uint64_t index)
{
    uint64_t c = index / SIM_CHUNK_PAGES;
    if (c >= img->chunk_count || img->chunks[c] == NULL)
        return NULL;
    return &img->chunks[c]->pages[index % SIM_CHUNK_PAGES];
}

sim_page *sim_image_page_make(sim_image *img, uint64_t index)
{
    size_t c = (size_t)(index / SIM_CHUNK_PAGES);
    if (c >= img->chunk_count) {
        size_t count = c + 1 < 2 * img->chunk_count ? 2 * img->chunk_count : c + 1;
        sim_chunk **chunks = vv_realloc(img->chunks, count * sizeof(void *));
        if (chunks == NULL)
            return NULL;
        memset(chunks + img->chunk_count, 0, (count - img->chunk_count) * sizeof(void *));
        img->chunks = chunks;
        img->chunk_count = count;
    }
    if (img->chunks[c] == NULL) {
        img->chunks[c] = vv_calloc(1, sizeof *img->chunks[c]);
        if (img->chunks[c] == NULL)
            return NULL;
    }
    return &img->chunks[c]->pages[index % SIM_CHUNK_PAGES];
}

static bool dirty_room(sim_image *img, size_t more)
{
    if (img->dirty_count + more <= img->dirty_cap)
        return true;
    size_t cap = vv_max_u64(img->dirty_count + more, 2 * img->dirty_cap);
    uint32_t *dirty = vv_realloc(img->dirty, cap * sizeof *dirty);
    if (dirty == NULL)
        return false;
    img->dirty = dirty;
    img->dirty_cap = cap;
    return true;
}

/* Needs dirty_room of 1. */
static void list_dirty(sim_image *img, uint64_t index, sim_page *page)
{
    if (page->flags & SIM_PAGE_LISTED)
        return;
    img->dirty[img->dirty_count++] = (uint32_t)index;
    page->flags |= SIM_PAGE_LISTED;
}

static void note_allocated(sim_image *img, uint64_t index, sim_page *page)
{
    if (!(page->flags & SIM_PAGE_ALLOCATED) && index >= img->reserved)
        img->blocks++;
    page->flags |= SIM_PAGE_ALLOCATED;
}

static void count_blocks(sim_image *img)
{
    img->blocks = img->reserved;
    for (uint64_t i = img->reserved; i < img->chunk_count * SIM_CHUNK_PAGES; i++) {
        const sim_page *page = sim_image_page(img, i);
        if (page == NULL)
            i |= SIM_CHUNK_PAGES - 1; /* a chunk that is not there */
        else if (page->flags & SIM_PAGE_ALLOCATED)
            img->blocks++;
    }
}

uint64_t sim_image_new_blocks(const sim_image *img, uint64_t offset, uint64_t len)
{
    uint64_t count = 0;
    uint64_t end = pages_of(offset + len);
    for (uint64_t i = vv_max_u64(offset / VV_BLOCK, img->reserved); i < end; i++) {
        const sim_page *page = sim_image_page(img, i);
        if (page == NULL || !(page->flags & SIM_PAGE_ALLOCATED))
            count++;
    }
    return count;
}

void sim_image_reserve(sim_image *img, uint64_t size)
{
    if (pages_of(size) > img->reserved)
        img->reserved = pages_of(size);
    count_blocks(img);
}

void sim_image_set_size(vio_sim_disk *disk, sim_image *img, uint64_t size)
{
    if (size == img->size)
        return;
    if (img->size != img->size_durable && vv_rng_one_in(&disk->rng, WRITE_BACK_ONE_IN))
        img->size_durable = img->size;
    img->size = size;
}

void sim_image_read(const sim_image *img, uint64_t offset, void *buf, size_t len)
{
    uint8_t *out = buf;
    if (img->map != NULL && offset < img->map->len && len > 0) {
        size_t n = (size_t)vv_min_u64(len, img->map->len - offset);
        memcpy(out, img->map->bytes + offset, n);
        out += n;
        offset += n;
        len -= n;
    }
    while (len > 0) {
        size_t from = (size_t)(offset % VV_BLOCK);
        size_t n = (size_t)vv_min_u64(len, VV_BLOCK - from);
        const sim_page *page = sim_image_page(img, offset / VV_BLOCK);
        memcpy(out, bytes_of(page == NULL ? NULL : page->now) + from, n);
        out += n;
        offset += n;
        len -= n;
    }
}

/* Sectors of `mask` are about to be written while others of the page are pending: `old` must hold
 * their durable bytes. By chance the disk has written back those that are pending themselves. */
static bool keep_durable(vio_sim_disk *disk, sim_page *page, uint8_t mask)
{
    bool write_back = vv_rng_one_in(&disk->rng, WRITE_BACK_ONE_IN);
    for (unsigned s = 0; s < SIM_SECTORS; s++) {
        uint8_t bit = (uint8_t)(1u << s);
        bool pending = (page->pending & bit) != 0;
        if (!(mask & bit) || (pending && !write_back))
            continue;
        size_t at = s * VV_SECTOR;
        const uint8_t *now = bytes_of(page->now) + at;
        if (memcmp(bytes_of(page->old) + at, now, VV_SECTOR) == 0)
            continue;
        if (!block_own(disk, &page->old)) {
            if (pending)
                continue; /* then it was not written back */
            return false;
        }
        memcpy(page->old->bytes + at, now, VV_SECTOR);
    }
    return true;
}

/* `page` gets len bytes at `from` as pending ones. Needs dirty_room of 1. */
static bool write_page(vio_sim_disk *disk, sim_image *img, uint64_t index, sim_page *page,
                       size_t from, const uint8_t *src, size_t len)
{
    uint8_t mask = sector_mask(from, len);
    bool whole = len == VV_BLOCK;
    bool to_zero = whole && is_zero(src, len);
    sim_block *fresh = NULL;
    if (page->pending == 0) {
        if (to_zero && page->now == NULL)
            return true; /* zeros over durable zeros change nothing */
        if (!to_zero) {
            fresh = whole ? sim_block_new(disk) : block_copy(disk, page->now);
            if (fresh == NULL)
                return false;
        }
        sim_block_unref(disk, page->old);
        page->old = page->now;
        page->now = fresh;
        page->flags |= SIM_PAGE_HAS_OLD;
    } else {
        if (!keep_durable(disk, page, mask))
            return false;
        if (to_zero) {
            sim_block_unref(disk, page->now);
            page->now = NULL;
        } else if (!block_own(disk, &page->now)) {
            return false;
        }
    }
    if (!to_zero)
        memcpy(page->now->bytes + from, src, len);
    page->pending |= mask;
    list_dirty(img, index, page);
    return true;
}

bool sim_image_write(vio_sim_disk *disk, sim_image *img, uint64_t offset, const void *buf,
                     size_t len)
{
    assert(img->map == NULL || img->map->len <= offset);
    const uint8_t *src = buf;
    while (len > 0) {
        uint64_t index = offset / VV_BLOCK;
        size_t from = (size_t)(offset % VV_BLOCK);
        size_t n = (size_t)vv_min_u64(len, VV_BLOCK - from);
        sim_page *page = sim_image_page_make(img, index);
        if (page == NULL || !dirty_room(img, 1) ||
            !write_page(disk, img, index, page, from, src, n))
            return false;
        note_allocated(img, index, page);
        src += n;
        offset += n;
        len -= n;
        if (offset > img->size)
            sim_image_set_size(disk, img, offset);
    }
    return true;
}

bool sim_image_write_back(vio_sim_disk *disk, sim_image *img, uint64_t index,
                          const uint8_t bytes[VV_BLOCK])
{
    sim_page *page = sim_image_page_make(img, index);
    if (page == NULL)
        return false;
    if (page->pending == 0 && memcmp(bytes_of(page->now), bytes, VV_BLOCK) == 0)
        return true;
    sim_block *fresh = NULL;
    if (!is_zero(bytes, VV_BLOCK)) {
        fresh = sim_block_new(disk);
        if (fresh == NULL)
            return false;
        memcpy(fresh->bytes, bytes, VV_BLOCK);
    }
    if (page->pending == 0) {
        sim_block_unref(disk, page->old);
        page->old = page->now;
        page->flags |= SIM_PAGE_HAS_OLD;
    } else {
        sim_block_unref(disk, page->now);
    }
    page->now = fresh;
    page->pending = 0;
    note_allocated(img, index, page);
    return true;
}

void sim_image_sync(sim_image *img)
{
    for (size_t i = 0; i < img->dirty_count; i++) {
        sim_page *page = sim_image_page(img, img->dirty[i]);
        page->pending = 0;
        page->flags &= (uint8_t) ~(SIM_PAGE_LISTED | SIM_PAGE_MAPPED);
    }
    img->dirty_count = 0;
    img->size_durable = img->size;
}

void sim_image_sync_range(sim_image *img, uint64_t offset, uint64_t len)
{
    uint64_t end = offset + len;
    for (uint64_t at = offset; at < end;) {
        size_t from = (size_t)(at % VV_BLOCK);
        size_t n = (size_t)vv_min_u64(end - at, VV_BLOCK - from);
        sim_page *page = sim_image_page(img, at / VV_BLOCK);
        if (page != NULL)
            page->pending &= (uint8_t)~sector_mask(from, n);
        at += n;
    }
    /* Keep the list short for a file that is only written this way. */
    while (img->dirty_count > 0) {
        sim_page *page = sim_image_page(img, img->dirty[img->dirty_count - 1]);
        if (page->pending != 0)
            break;
        page->flags &= (uint8_t)~SIM_PAGE_LISTED;
        img->dirty_count--;
    }
    if (end > img->size_durable)
        img->size_durable = img->size;
}

static size_t pages_present(const sim_image *img, uint64_t from_page)
{
    size_t count = 0;
    for (uint64_t c = from_page / SIM_CHUNK_PAGES; c < img->chunk_count; c++)
        count += img->chunks[c] != NULL ? SIM_CHUNK_PAGES : 0;
    return count;
}

bool sim_image_truncate(vio_sim_disk *disk, sim_image *img, uint64_t size)
{
    static const uint8_t zeros[VV_BLOCK];
    if (size >= img->size) {
        sim_image_set_size(disk, img, size);
        return true;
    }
    /* Everything that can fail comes first: a failed truncate changes nothing. */
    uint64_t first = pages_of(size);
    if (!dirty_room(img, pages_present(img, first) + 1))
        return false;
    size_t tail = (size_t)(size % VV_BLOCK);
    sim_page *last = tail == 0 ? NULL : sim_image_page(img, size / VV_BLOCK);
    if (last != NULL && last->now != NULL &&
        !write_page(disk, img, size / VV_BLOCK, last, tail, zeros, VV_BLOCK - tail))
        return false;
    for (uint64_t i = first; i < img->chunk_count * SIM_CHUNK_PAGES; i++) {
        sim_page *page = sim_image_page(img, i);
        if (page == NULL) {
            i |= SIM_CHUNK_PAGES - 1;
            continue;
        }
        (void)write_page(disk, img, i, page, 0, zeros, VV_BLOCK);
        page->flags &= (uint8_t)~SIM_PAGE_ALLOCATED;
    }
    img->reserved = vv_min_u64(img->reserved, first);
    count_blocks(img);
    sim_image_set_size(disk, img, size);
    return true;
}

/* Sectors of `lost` go back to their durable bytes. Without memory the newest stay. */
static bool revert_sectors(vio_sim_disk *disk, sim_page *page, uint8_t lost)
{
    if (lost == ALL_SECTORS) {
        sim_block_unref(disk, page->now);
        page->now = block_ref(page->old);
        return true;
    }
    if (lost == 0)
        return true;
    if (!block_own(disk, &page->now))
        return false;
    for (unsigned s = 0; s < SIM_SECTORS; s++)
        if (lost & (1u << s))
            memcpy(page->now->bytes + s * VV_SECTOR, bytes_of(page->old) + s * VV_SECTOR,
                   VV_SECTOR);
    return true;
}

void sim_image_drop_pending(vio_sim_disk *disk, sim_image *img)
{
    size_t left = 0;
    for (size_t i = 0; i < img->dirty_count; i++) {
        sim_page *page = sim_image_page(img, img->dirty[i]);
        if (!revert_sectors(disk, page, page->pending)) {
            img->dirty[left++] = img->dirty[i]; /* stays pending: its fate comes at a cut */
            continue;
        }
        page->pending = 0;
        page->flags &= (uint8_t) ~(SIM_PAGE_LISTED | SIM_PAGE_MAPPED);
    }
    img->dirty_count = left;
}

/* Sector s keeps a prefix of its new bytes. */
static void tear_sector(vio_sim_disk *disk, sim_page *page, unsigned s)
{
    size_t keep = 1 + (size_t)vv_rng_below(&disk->rng, VV_SECTOR - 1);
    size_t at = s * VV_SECTOR + keep;
    if (block_own(disk, &page->now))
        memcpy(page->now->bytes + at, bytes_of(page->old) + at, VV_SECTOR - keep);
}

static bool chance(vio_sim_disk *disk, uint32_t of_256)
{
    return (uint32_t)(vv_rng_next(&disk->rng) >> 56) < of_256;
}

/* What happens to one page whose sectors survive with the given chance. */
static void settle_page(vio_sim_disk *disk, sim_page *page, const sim_odds *odds, uint32_t of_256,
                        sim_settled *out)
{
    bool as_one = (page->flags & SIM_PAGE_MAPPED) && !(odds->tear && chance(disk, 64));
    bool all = chance(disk, of_256);
    uint8_t lost = 0;
    uint8_t torn = 0;
    for (unsigned s = 0; s < SIM_SECTORS; s++) {
        uint8_t bit = (uint8_t)(1u << s);
        if (!(page->pending & bit))
            continue;
        if (!(as_one ? all : chance(disk, of_256)))
            lost |= bit;
        else if (odds->tear && !as_one && chance(disk, 32))
            torn |= bit;
    }
    if (!revert_sectors(disk, page, lost))
        lost = 0;
    for (unsigned s = 0; s < SIM_SECTORS; s++)
        if (torn & (1u << s))
            tear_sector(disk, page, s);
    out->lost += (uint32_t)__builtin_popcount(lost);
    out->torn += (uint32_t)__builtin_popcount(torn);
    out->kept += (uint32_t)__builtin_popcount(page->pending & ~lost & ~torn);
    sim_block_unref(disk, page->old);
    page->old = NULL;
    page->pending = 0;
    page->flags &= SIM_PAGE_ALLOCATED;
}

/* Nothing remains past the end: neither bytes nor space. */
static void trim(vio_sim_disk *disk, sim_image *img)
{
    size_t tail = (size_t)(img->size % VV_BLOCK);
    sim_page *last = tail == 0 ? NULL : sim_image_page(img, img->size / VV_BLOCK);
    if (last != NULL && last->now != NULL && !is_zero(last->now->bytes + tail, VV_BLOCK - tail) &&
        block_own(disk, &last->now))
        memset(last->now->bytes + tail, 0, VV_BLOCK - tail);
    for (uint64_t i = pages_of(img->size); i < img->chunk_count * SIM_CHUNK_PAGES; i++) {
        sim_page *page = sim_image_page(img, i);
        if (page == NULL) {
            i |= SIM_CHUNK_PAGES - 1;
            continue;
        }
        sim_block_unref(disk, page->now);
        sim_block_unref(disk, page->old);
        *page = (sim_page){0};
    }
    img->reserved = vv_min_u64(img->reserved, pages_of(img->size));
    count_blocks(img);
}

void sim_image_settle(vio_sim_disk *disk, sim_image *img, const sim_odds *odds, sim_settled *out)
{
    *out = (sim_settled){0};
    uint64_t end = 0; /* in order: pages before it survive, the one at it in part, none behind */
    if (odds->in_order && img->dirty_count > 0)
        end = vv_rng_below(&disk->rng, img->dirty_count + 1);
    for (size_t i = 0; i < img->dirty_count; i++) {
        uint32_t of_256 = !odds->in_order ? odds->sector : i < end ? 256 : i == end ? 128 : 0;
        settle_page(disk, sim_image_page(img, img->dirty[i]), odds, of_256, out);
    }
    img->dirty_count = 0;
    if (img->size == img->size_durable)
        return;
    out->length_lost = !chance(disk, odds->length);
    if (out->length_lost)
        img->size = img->size_durable;
    img->size_durable = img->size;
    trim(disk, img);
}

static void damage_bytes(uint8_t *p, size_t len, uint8_t keep_mask, uint8_t flip_mask)
{
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)((p[i] & keep_mask) ^ flip_mask);
}

bool sim_image_damage(vio_sim_disk *disk, sim_image *img, uint64_t offset, uint64_t len,
                      uint8_t keep_mask, uint8_t flip_mask)
{
    while (len > 0) {
        size_t from = (size_t)(offset % VV_BLOCK);
        size_t n = (size_t)vv_min_u64(len, VV_BLOCK - from);
        if (img->map != NULL && offset < img->map->len)
            damage_bytes(img->map->bytes + offset, n, keep_mask, flip_mask);
        sim_page *page = sim_image_page_make(img, offset / VV_BLOCK);
        if (page == NULL || !block_own(disk, &page->now))
            return false;
        damage_bytes(page->now->bytes + from, n, keep_mask, flip_mask);
        if (page->pending != 0) {
            if (!block_own(disk, &page->old))
                return false;
            damage_bytes(page->old->bytes + from, n, keep_mask, flip_mask);
        }
        offset += n;
        len -= n;
    }
    return true;
}

bool sim_image_stale(const sim_image *img, uint64_t offset, uint8_t out[VV_SECTOR])
{
    const sim_page *page = sim_image_page(img, offset / VV_BLOCK);
    size_t at = (size_t)(offset % VV_BLOCK) / VV_SECTOR * VV_SECTOR;
    if (img->map != NULL || page == NULL || !(page->flags & SIM_PAGE_HAS_OLD))
        return false;
    if (memcmp(bytes_of(page->old) + at, bytes_of(page->now) + at, VV_SECTOR) == 0)
        return false;
    memcpy(out, bytes_of(page->old) + at, VV_SECTOR);
    return true;
}

bool sim_image_clone(vio_sim_disk *disk, const sim_image *from, sim_image *to)
{
    *to = (sim_image){.size = from->size,
                      .size_durable = from->size_durable,
                      .reserved = from->reserved,
                      .blocks = from->blocks};
    if (from->dirty_count > 0) {
        if (!dirty_room(to, from->dirty_count))
            return false;
        memcpy(to->dirty, from->dirty, from->dirty_count * sizeof *to->dirty);
        to->dirty_count = from->dirty_count;
    }
    if (from->chunk_count > 0) {
        to->chunks = vv_calloc(from->chunk_count, sizeof(void *));
        if (to->chunks == NULL)
            return false;
        to->chunk_count = from->chunk_count;
    }
    for (size_t c = 0; c < from->chunk_count; c++) {
        if (from->chunks[c] == NULL)
            continue;
        to->chunks[c] = vv_alloc(sizeof(sim_chunk));
        if (to->chunks[c] == NULL)
            return false;
        *to->chunks[c] = *from->chunks[c];
        for (size_t i = 0; i < SIM_CHUNK_PAGES; i++) {
            (void)block_ref(to->chunks[c]->pages[i].now);
            (void)block_ref(to->chunks[c]->pages[i].old);
        }
    }
    return from->map == NULL || sim_map_clone(disk, from, to);
}

void sim_image_fini(vio_sim_disk *disk, sim_image *img)
{
    sim_map_drop(disk, img);
    for (size_t c = 0; c < img->chunk_count; c++) {
        for (size_t i = 0; img->chunks[c] != NULL && i < SIM_CHUNK_PAGES; i++) {
            sim_block_unref(disk, img->chunks[c]->pages[i].now);
            sim_block_unref(disk, img->chunks[c]->pages[i].old);
        }
        vv_free(img->chunks[c]);
    }
    vv_free(img->chunks);
    vv_free(img->dirty);
    *img = (sim_image){0};
}
