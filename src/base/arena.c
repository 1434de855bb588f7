#include "base/arena.h"

#include "base/alloc.h"
#include "base/util.h"

#define ARENA_ALIGN 16u
#define ARENA_BLOCK_MIN 4096u
#define ARENA_BLOCK_MAX (256u * 1024u)

struct vv_arena_block {
    vv_arena_block *next;
    size_t size; /* of the whole block, this header included */
    _Alignas(ARENA_ALIGN) uint8_t bytes[];
};

void vv_arena_init(vv_arena *a, size_t max)
{
    *a = (vv_arena){.max = max};
}

static void use_block(vv_arena *a, vv_arena_block *block)
{
    a->head = block;
    a->next = block->bytes;
    a->end = (uint8_t *)block + block->size;
}

static void free_chain(vv_arena_block *block)
{
    while (block != NULL) {
        vv_arena_block *next = block->next;
        vv_free(block);
        block = next;
    }
}

void vv_arena_fini(vv_arena *a)
{
    free_chain(a->head);
    *a = (vv_arena){.max = a->max};
}

void vv_arena_reset(vv_arena *a)
{
    if (a->head == NULL)
        return;
    free_chain(a->head->next);
    a->head->next = NULL;
    a->used = a->head->size;
    use_block(a, a->head);
}

bool vv_arena_has_room(const vv_arena *a, size_t size)
{
    if (size > SIZE_MAX / 2)
        return false;
    size = (size_t)vv_align_up(size, ARENA_ALIGN);
    return (a->head != NULL && size <= (size_t)(a->end - a->next)) ||
           size + sizeof(vv_arena_block) <= a->max - a->used;
}

void *vv_arena_alloc(vv_arena *a, size_t size)
{
    if (size > SIZE_MAX / 2)
        return NULL;
    size = (size_t)vv_align_up(size, ARENA_ALIGN);
    if (a->head != NULL && size <= (size_t)(a->end - a->next)) {
        void *p = a->next;
        a->next += size;
        return p;
    }
    size_t grow = a->used < ARENA_BLOCK_MIN ? ARENA_BLOCK_MIN : a->used;
    if (grow > ARENA_BLOCK_MAX)
        grow = ARENA_BLOCK_MAX;
    if (grow < size + sizeof(vv_arena_block))
        grow = size + sizeof(vv_arena_block);
    if (grow > a->max - a->used)
        grow = size + sizeof(vv_arena_block);
    if (grow > a->max - a->used)
        return NULL;
    vv_arena_block *block = vv_alloc(grow);
    if (block == NULL)
        return NULL;
    block->next = a->head;
    block->size = grow;
    a->used += grow;
    use_block(a, block);
    void *p = a->next;
    a->next += size;
    return p;
}

vv_slice vv_arena_dup(vv_arena *a, vv_slice s)
{
    uint8_t *p = vv_arena_alloc(a, s.len + 1);
    if (p == NULL)
        return vv_slice_of(NULL, 0);
    if (s.len > 0)
        memcpy(p, s.data, s.len);
    p[s.len] = 0;
    return vv_slice_of(p, s.len);
}
