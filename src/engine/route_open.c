/*
 * route_open.c - which engines a shard has, and how one more comes to it.
 *
 *   shard-000/            the home
 *   shard-000/ENGINES     the others, and the version since which each may have data
 *   shard-000/btree/      one of them
 *
 * Order of coming: the engine's files are durable, then the list names it, then writes may go
 * there. While that lasts the log is held at the version that the list will say, because an engine
 * that is listed and has flushed nothing wants everything behind it.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/point.h"
#include "base/util.h"
#include "engine/route_int.h"

#define LIST_NAME "ENGINES"
#define LIST_VERSION 1u
#define LIST_HEAD 16u
#define LIST_ITEM 32u
#define LIST_NAME_MAX 15u
#define LIST_SIZE_MAX (LIST_HEAD + ENGINE_ROUTE_SLOTS * LIST_ITEM + 4u)

/* ---- the list ---- */

static const uint8_t list_magic[8] = {'V', 'A', 'R', 'V', 'E', 'E', 'N', 'G'};

typedef struct list_item {
    char name[LIST_NAME_MAX + 1];
    uint32_t slot;
    int64_t born;
} list_item;

typedef struct list {
    list_item item[ENGINE_ROUTE_SLOTS];
    uint32_t count;
} list;

static size_t encode_list(const list *l, uint8_t out[LIST_SIZE_MAX])
{
    memset(out, 0, LIST_SIZE_MAX);
    memcpy(out, list_magic, sizeof list_magic);
    vv_put_le32(out + 8, LIST_VERSION);
    vv_put_le32(out + 12, l->count);
    uint8_t *p = out + LIST_HEAD;
    for (uint32_t i = 0; i < l->count; i++, p += LIST_ITEM) {
        vv_put_le32(p, l->item[i].slot);
        vv_put_le64(p + 8, (uint64_t)l->item[i].born);
        memcpy(p + 16, l->item[i].name, sizeof l->item[i].name);
    }
    vv_put_le32(p, vv_crc32c(0, out, (size_t)(p - out)));
    return (size_t)(p - out) + 4;
}

static bool decode_item(const uint8_t *p, list_item *out)
{
    out->slot = vv_get_le32(p);
    out->born = (int64_t)vv_get_le64(p + 8);
    memcpy(out->name, p + 16, sizeof out->name);
    return out->slot > 0 && out->slot < ENGINE_ROUTE_SLOTS && vv_get_le32(p + 4) == 0 &&
           out->born >= 0 && out->name[0] != '\0' && out->name[LIST_NAME_MAX] == '\0' &&
           strpbrk(out->name, "/.") == NULL;
}

static vv_status decode_list(const uint8_t *p, size_t len, list *out, vv_error *err)
{
    out->count = 0;
    if (len < LIST_HEAD + 4 || memcmp(p, list_magic, sizeof list_magic) != 0)
        return vv_fail(err, VV_CORRUPT, "it is no list of engines");
    if (vv_get_le32(p + 8) != LIST_VERSION) /* before the checksum: it may lie elsewhere */
        return vv_fail(err, VV_UNSUPPORTED, "format version %u: a newer varve wrote it",
                       vv_get_le32(p + 8));
    uint32_t count = vv_get_le32(p + 12);
    size_t end = len - 4;
    if (count >= ENGINE_ROUTE_SLOTS || end != LIST_HEAD + (size_t)count * LIST_ITEM ||
        vv_get_le32(p + end) != vv_crc32c(0, p, end))
        return vv_fail(err, VV_CORRUPT, "it fails its checksum");
    uint32_t slots = 0;
    for (uint32_t i = 0; i < count; i++) {
        list_item *item = &out->item[i];
        if (!decode_item(p + LIST_HEAD + (size_t)i * LIST_ITEM, item) ||
            (slots >> item->slot & 1) != 0)
            return vv_fail(err, VV_CORRUPT, "item %u is malformed", i);
        slots |= UINT32_C(1) << item->slot;
    }
    out->count = count;
    return VV_OK;
}

static vv_status read_list_file(vio *io, const char *path, list *out, vv_error *err)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    out->count = 0;
    vv_status st = vio_read_file(io, path, LIST_SIZE_MAX, &bytes, &len, err);
    if (st == VV_OK)
        st = decode_list(bytes, len, out, err);
    vv_free(bytes);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "file '%s'", path);
}

/* Empty where there is none. */
static vv_status read_list(vio *io, const char *dir, list *out, vv_error *err)
{
    char path[VIO_PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/" LIST_NAME, dir);
    if (n < 0 || (size_t)n >= sizeof path)
        return vv_fail(err, VV_INVALID, "directory '%.60s...': the path is too long", dir);
    vv_error why = {0};
    vv_status st = read_list_file(io, path, out, &why);
    if (st == VV_NOT_FOUND) /* says nothing: it is no failure */
        return VV_OK;
    if (st != VV_OK && err != NULL)
        *err = why;
    return st;
}

vv_status engine_route_dump(vv_env *env, const char *path,
                            void (*line)(void *ctx, const char *text), void *ctx, vv_error *err)
{
    list l = {0};
    char text[96];
    vv_status st = read_list_file(env->io, path, &l, err);
    for (uint32_t i = 0; st == VV_OK && i < l.count; i++) {
        (void)snprintf(text, sizeof text, "engine %s slot %u born %lld", l.item[i].name,
                       l.item[i].slot, (long long)l.item[i].born);
        line(ctx, text);
    }
    return st;
}

vv_status engine_route_list(vio *io, const char *dir, void (*each)(void *ctx, const char *name),
                            void *ctx, vv_error *err)
{
    list l = {0};
    vv_status st = read_list(io, dir, &l, err);
    for (uint32_t i = 0; st == VV_OK && i < l.count; i++)
        each(ctx, l.item[i].name);
    return st;
}

static size_t encode_slots(const route *r, uint32_t slots, uint8_t out[LIST_SIZE_MAX])
{
    list l = {.count = 0};
    for (slots &= ~ENGINE_ROUTE_HOME; slots != 0; slots &= slots - 1) {
        uint32_t s = (uint32_t)__builtin_ctz(slots);
        list_item *item = &l.item[l.count++];
        *item = (list_item){.slot = s, .born = r->member[s].born};
        (void)snprintf(item->name, sizeof item->name, "%s", r->kinds.kind[s]->name);
    }
    return encode_list(&l, out);
}

vv_status route_tell_list(route *r, uint32_t slots,
                          vv_status (*each)(void *ctx, const engine_file *file, vv_error *err),
                          void *ctx, vv_error *err)
{
    uint8_t bytes[LIST_SIZE_MAX];
    char path[VIO_PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/" LIST_NAME, r->dir);
    vv_slice content = vv_slice_of(bytes, encode_slots(r, slots, bytes));
    return each(ctx, &(engine_file){.path = path, .content = content}, err);
}

/* All that live, and one more. */
static vv_status write_list(route *r, uint32_t slot, vv_error *err)
{
    uint8_t bytes[LIST_SIZE_MAX];
    char path[VIO_PATH_MAX];
    size_t len = encode_slots(r, route_live(r) | UINT32_C(1) << slot, bytes);
    (void)snprintf(path, sizeof path, "%s/" LIST_NAME, r->dir); /* fits: it was read at open */
    return vio_write_file_atomic(r->opt.env->io, path, vv_slice_of(bytes, len), err);
}

/* ---- members ---- */

static vv_status open_member(route *r, uint32_t slot, int64_t born, vv_error *err)
{
    route_member *m = &r->member[slot];
    const engine_ops *ops = r->kinds.kind[slot];
    engine_options opt = r->opt;
    char dir[VIO_PATH_MAX];
    int n = snprintf(dir, sizeof dir, slot == 0 ? "%s" : "%s/%s", r->dir, ops->name);
    if (n < 0 || (size_t)n >= sizeof dir)
        return vv_fail(err, VV_INVALID, "directory '%.60s...': the path is too long", r->dir);
    *m = (route_member){.r = r, .born = born};
    opt.dir = dir;
    opt.hooks = route_hooks(m);
    if (r->share > 1) {
        opt.cache_size = (opt.cache_size == 0 ? 64 * VV_MIB : opt.cache_size) / r->share;
        opt.work_size = (opt.work_size == 0 ? 4 * VV_MIB : opt.work_size) / r->share;
    }
    vv_status st = ops->open(&opt, &m->eng, err);
    if (st != VV_OK)
        return st;
    m->touched = m->eng->ops->checkpoint(m->eng);
    return VV_OK;
}

static void let_in(route *r, uint32_t slot)
{
    atomic_store_explicit(&r->by_slot[slot], r->member[slot].eng, memory_order_release);
    atomic_fetch_or_explicit(&r->live, UINT32_C(1) << slot, memory_order_seq_cst);
}

static void note_name(void *ctx, const char *name)
{
    (void)name;
    *(bool *)ctx = true;
}

static vv_status open_listed(route *r, const list_item *item, vv_error *err)
{
    const engine_ops *kind = r->kinds.kind[item->slot];
    char dir[VIO_PATH_MAX];
    bool has_files = false;
    if (kind == NULL || strcmp(kind->name, item->name) != 0)
        return vv_fail(err, VV_UNSUPPORTED,
                       "directory '%s': tables of the engine '%s' are not known to this build",
                       r->dir, item->name);
    (void)snprintf(dir, sizeof dir, "%.*s/%s", (int)(sizeof dir - LIST_NAME_MAX - 2), r->dir,
                   item->name);
    vv_status st = vio_list(r->opt.env->io, dir, note_name, &has_files, err);
    if (st == VV_NOT_FOUND || (st == VV_OK && !has_files))
        return vv_fail(err, VV_CORRUPT, "directory '%s' is missing: restore it from a backup", dir);
    if (st == VV_OK)
        st = open_member(r, item->slot, item->born, err);
    if (st == VV_OK)
        let_in(r, item->slot);
    return st;
}

/* Entries above the oldest checkpoint come again. Another engine may be far ahead: its own
 * checkpoint, not what was applied, says what it has. */
static void begin_at_checkpoint(route *r)
{
    vv_mutex_lock(&r->lock);
    r->reported = route_checkpoint_locked(r);
    atomic_store(&r->applied, r->reported);
    vv_mutex_unlock(&r->lock);
    for (uint32_t s = 0; s < ENGINE_ROUTE_SLOTS; s++)
        atomic_store(&r->member[s].joined, -1); /* no pin is older than the process */
}

static vv_status open_all(route *r, vv_error *err)
{
    list l = {0};
    vv_status st = read_list(r->opt.env->io, r->dir, &l, err);
    if (st != VV_OK)
        return st;
    r->share = l.count + 1;
    st = open_member(r, 0, 0, err);
    if (st != VV_OK)
        return st;
    r->home = r->member[0].eng;
    for (uint32_t s = 0; s < ENGINE_ROUTE_SLOTS; s++)
        atomic_store_explicit(&r->by_slot[s], r->home, memory_order_relaxed);
    let_in(r, 0);
    for (uint32_t i = 0; st == VV_OK && i < l.count; i++)
        st = open_listed(r, &l.item[i], err);
    if (st != VV_OK)
        return st;
    begin_at_checkpoint(r);
    /* Who is ahead must not seem to have published less than it holds. */
    int64_t visible = r->home->ops->visible(r->home);
    for (uint32_t slots = route_live(r) & ~ENGINE_ROUTE_HOME; slots != 0; slots &= slots - 1) {
        engine *eng = r->member[__builtin_ctz(slots)].eng;
        int64_t v = eng->ops->visible(eng);
        visible = v > visible ? v : visible;
    }
    r->home->ops->publish(r->home, visible);
    return VV_OK;
}

vv_status engine_route_open(const engine_route_options *kinds, const engine_options *opt,
                            engine **out, vv_error *err)
{
    assert(kinds->kind[0] != NULL);
    route *r = vv_calloc(1, sizeof *r);
    if (r == NULL)
        return vv_fail(err, VV_NO_MEMORY, "store '%s': no memory", opt->dir);
    r->base.ops = &engine_route_ops;
    r->kinds = *kinds;
    r->opt = *opt;
    r->coming = INT64_MAX;
    vv_mutex_init(&r->lock, VV_RANK_ENGINE);
    vv_buf_init(&r->part, UINT32_MAX);
    int n = snprintf(r->dir, sizeof r->dir, "%s", opt->dir);
    vv_status st = n < 0 || (size_t)n >= sizeof r->dir
                       ? vv_fail(err, VV_INVALID, "the directory's path is too long")
                       : open_all(r, err);
    if (st != VV_OK) {
        route_close(&r->base);
        return st;
    }
    *out = &r->base;
    return VV_OK;
}

void route_close(engine *e)
{
    if (e == NULL)
        return;
    route *r = route_of(e);
    for (uint32_t s = ENGINE_ROUTE_SLOTS; s-- > 0;)
        if (r->member[s].eng != NULL)
            r->member[s].eng->ops->close(r->member[s].eng);
    vv_buf_fini(&r->part);
    vv_mutex_fini(&r->lock);
    vv_free(r);
}

/* ---- one more ---- */

/* No further than version is the log released; INT64_MAX: as the engines say. */
static void hold_log(route *r, int64_t version)
{
    vv_mutex_lock(&r->lock);
    r->coming = version;
    vv_mutex_unlock(&r->lock);
}

vv_status engine_route_add(engine *e, uint32_t slot, vv_error *err)
{
    route *r = route_of(e);
    if (slot >= ENGINE_ROUTE_SLOTS || r->kinds.kind[slot] == NULL)
        return vv_fail(err, VV_UNSUPPORTED, "this build has no engine %u", slot);
    if ((route_live(r) >> slot & 1) != 0)
        return VV_OK;
    if (r->opt.read_only)
        return vv_fail(err, VV_UNSUPPORTED, "the store is open read-only");
    vv_mutex_lock(&r->lock);
    int64_t held = r->coming; /* by an earlier try */
    int64_t born = held < r->reported ? held : r->reported;
    r->coming = born;
    vv_mutex_unlock(&r->lock);
    r->share = (uint32_t)__builtin_popcount(route_live(r)) + 1;
    vv_status st = open_member(r, slot, born, err);
    VV_POINT("route.member_opened");
    if (st != VV_OK) {
        hold_log(r, held);
        return vv_wrap(err, st, "engine '%s'", r->kinds.kind[slot]->name);
    }
    st = write_list(r, slot, err);
    if (st != VV_OK) { /* the list may name it: the log stays held, and a later try goes on */
        r->member[slot].eng->ops->close(r->member[slot].eng);
        r->member[slot].eng = NULL;
        return vv_wrap(err, st, "engine '%s'", r->kinds.kind[slot]->name);
    }
    VV_POINT("route.member_listed");
    route_member *m = &r->member[slot];
    atomic_store(&m->joined, INT64_MAX); /* until it is known which versions came before */
    vv_mutex_lock(&r->lock);
    for (uint32_t i = 0; i < r->holds; i++)
        m->eng->ops->hold_files(m->eng);
    let_in(r, slot);
    vv_mutex_unlock(&r->lock);
    atomic_store(&m->joined, atomic_load(&r->applied));
    hold_log(r, INT64_MAX);
    return VV_OK;
}
