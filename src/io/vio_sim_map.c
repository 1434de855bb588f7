/*
 * vio_sim_map.c - mapped files: stores into plain memory, which no call announces.
 *
 * While a file has a map, the map is its newest content and the pages beneath hold what was written
 * back. The kernel writes back dirty pages whenever it likes, so every state-changing call of the
 * disk writes back one random page of each map: at a cut a page's durable version is of any age,
 * and the cut chooses between that one and the last.
 *
 *     vio_map          users 1 -->  stores, ageing
 *     vio_unmap        users 0 -->  the map stays the newest content; next map: the same memory
 *     cut              the disk takes a copy; the dead vio keeps storing into its own (an orphan)
 *     settle, pwrite   absorbed: what differs from the pages becomes pending pages, the map ends
 */
#include <string.h>

#include "base/alloc.h"
#include "io/vio_sim_int.h"

static sim_map *map_new(size_t len)
{
    sim_map *map = vv_alloc(sizeof *map);
    if (map == NULL)
        return NULL;
    *map = (sim_map){.len = (size_t)vv_align_up(len, VV_BLOCK)};
    map->bytes = vv_alloc_aligned(VV_BLOCK, map->len);
    if (map->bytes == NULL) {
        vv_free(map);
        return NULL;
    }
    return map;
}

static void map_free(sim_map *map)
{
    vv_free(map->bytes);
    vv_free(map);
}

static void attach(vio_sim_disk *disk, sim_image *img, sim_map *map)
{
    img->map = map;
    img->next_mapped = disk->mapped;
    disk->mapped = img;
}

static sim_map *detach(vio_sim_disk *disk, sim_image *img)
{
    sim_map *map = img->map;
    sim_image **link = &disk->mapped;
    while (*link != img)
        link = &(*link)->next_mapped;
    *link = img->next_mapped;
    img->next_mapped = NULL;
    img->map = NULL;
    return map;
}

static void retire(vio_sim_disk *disk, sim_map *map)
{
    if (map->users == 0) {
        map_free(map);
    } else {
        map->next = disk->orphans;
        disk->orphans = map;
    }
}

void sim_map_drop(vio_sim_disk *disk, sim_image *img)
{
    if (img->map != NULL)
        retire(disk, detach(disk, img));
}

vv_status sim_map_open(vio_sim_disk *disk, sim_image *img, size_t len, uint8_t **out)
{
    if (img->map != NULL && img->map->len < len) {
        if (img->map->users > 0)
            return VV_INVALID;
        if (!sim_map_absorb(disk, img))
            return VV_NO_MEMORY;
    }
    if (img->map == NULL) {
        sim_map *map = map_new(len);
        if (map == NULL)
            return VV_NO_MEMORY;
        sim_image_read(img, 0, map->bytes, map->len);
        attach(disk, img, map);
    }
    img->map->users++;
    *out = img->map->bytes;
    return VV_OK;
}

void sim_map_close(vio_sim_disk *disk, sim_image *img, const uint8_t *bytes)
{
    if (img->map != NULL && img->map->bytes == bytes) {
        assert(img->map->users > 0);
        img->map->users--;
        return;
    }
    for (sim_map **link = &disk->orphans; *link != NULL; link = &(*link)->next) {
        sim_map *map = *link;
        if (map->bytes != bytes)
            continue;
        if (--map->users == 0) {
            *link = map->next;
            map_free(map);
        }
        return;
    }
    assert(false); /* unmap of what was not mapped */
}

static bool page_differs(const sim_image *img, const sim_map *map, uint64_t index)
{
    static const uint8_t zeros[VV_BLOCK];
    const sim_page *page = sim_image_page(img, index);
    const uint8_t *written = page == NULL || page->now == NULL ? zeros : page->now->bytes;
    return memcmp(written, map->bytes + index * VV_BLOCK, VV_BLOCK) != 0;
}

bool sim_map_absorb(vio_sim_disk *disk, sim_image *img)
{
    sim_map *map = detach(disk, img);
    uint64_t size = img->size;
    for (uint64_t i = 0; i < map->len / VV_BLOCK; i++) {
        if (!page_differs(img, map, i))
            continue;
        if (!sim_image_write(disk, img, i * VV_BLOCK, map->bytes + i * VV_BLOCK, VV_BLOCK)) {
            img->size = size;
            attach(disk, img, map);
            return false;
        }
        sim_image_page(img, i)->flags |= SIM_PAGE_MAPPED;
    }
    img->size = size; /* stores past the end of the file reach no file */
    retire(disk, map);
    return true;
}

bool sim_map_sync(vio_sim_disk *disk, sim_image *img)
{
    const sim_map *map = img->map;
    for (uint64_t i = 0; i < map->len / VV_BLOCK; i++)
        if (page_differs(img, map, i) &&
            !sim_image_write_back(disk, img, i, map->bytes + i * VV_BLOCK))
            return false;
    return true;
}

void sim_map_age(vio_sim_disk *disk, sim_image *img)
{
    const sim_map *map = img->map;
    uint64_t i = vv_rng_below(&disk->rng, map->len / VV_BLOCK);
    /* Without memory the page is just not written back. */
    (void)sim_image_write_back(disk, img, i, map->bytes + i * VV_BLOCK);
}

void sim_map_freeze(vio_sim_disk *disk, sim_image *img)
{
    if (img->map->users == 0)
        return;
    sim_map *copy = map_new(img->map->len);
    if (copy == NULL) {
        sim_trace(disk, "no memory to take a map from its vio: its later stores count\n");
        return;
    }
    memcpy(copy->bytes, img->map->bytes, copy->len);
    retire(disk, detach(disk, img));
    attach(disk, img, copy);
}

bool sim_map_clone(vio_sim_disk *disk, const sim_image *from, sim_image *to)
{
    sim_map *map = map_new(from->map->len);
    if (map == NULL)
        return false;
    memcpy(map->bytes, from->map->bytes, map->len);
    attach(disk, to, map);
    return true;
}
