/*
 * vio_sim_names.c - the simulated directory tree, as seen and as durable.
 *
 * Each entry of a directory names two nodes: `now`, which calls see, and `durable`. Between them
 * stands a list of changes in the order they were made:
 *
 *     create, link, mkdir   bind            a sync of the directory applies its changes in order;
 *     remove                unbind          a cut applies each one or drops it, on its own
 *     rename                unbind and bind
 *
 * A rename is one change: no file system we know loses both names, and code is right to count on
 * that. It becomes durable with the directory of the new name. A file in a directory whose own name
 * is lost is lost with it.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "io/vio_sim_int.h"

static void set_now(vio_sim_disk *disk, sim_entry *entry, sim_node *node);
static void set_durable(vio_sim_disk *disk, sim_entry *entry, sim_node *node);

sim_node *sim_node_new(vio_sim_disk *disk, bool is_dir)
{
    sim_node *node = vv_alloc(sizeof *node);
    if (node == NULL)
        return NULL;
    *node = (sim_node){.refs = 1, .is_dir = is_dir, .counted = !is_dir, .prev = disk->last};
    if (disk->last != NULL)
        disk->last->next = node;
    else
        disk->first = node;
    disk->last = node;
    return node;
}

static sim_node *node_ref(sim_node *node)
{
    if (node != NULL)
        node->refs++;
    return node;
}

static void node_free(vio_sim_disk *disk, sim_node *node)
{
    *(node->prev == NULL ? &disk->first : &node->prev->next) = node->next;
    *(node->next == NULL ? &disk->last : &node->next->prev) = node->prev;
    sim_image_fini(disk, &node->image);
    vv_free(node->entries);
    vv_free(node);
}

void sim_node_unref(vio_sim_disk *disk, sim_node *node)
{
    if (node == NULL || --node->refs > 0)
        return;
    sim_node_uncount(disk, node);
    for (size_t i = 0; i < node->entry_count; i++) {
        set_now(disk, node->entries[i], NULL);
        set_durable(disk, node->entries[i], NULL);
        vv_free(node->entries[i]);
    }
    node_free(disk, node);
}

void sim_node_uncount(vio_sim_disk *disk, sim_node *node)
{
    if (!node->counted || node->links > 0 || node->opens > 0)
        return;
    node->counted = false;
    disk->used -= node->image.blocks * VV_BLOCK;
}

static void set_now(vio_sim_disk *disk, sim_entry *entry, sim_node *node)
{
    sim_node *before = entry->now;
    entry->now = node_ref(node);
    if (node != NULL)
        node->links++;
    if (before != NULL) {
        before->links--;
        sim_node_uncount(disk, before);
        sim_node_unref(disk, before);
    }
}

static void set_durable(vio_sim_disk *disk, sim_entry *entry, sim_node *node)
{
    sim_node *before = entry->durable;
    entry->durable = node_ref(node);
    sim_node_unref(disk, before);
}

/* The index of name in dir, or where it belongs. */
static size_t entry_index(const sim_node *dir, const char *name, size_t name_len, bool *out_found)
{
    size_t low = 0;
    size_t high = dir->entry_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const char *have = dir->entries[mid]->name;
        int c = strncmp(have, name, name_len);
        if (c == 0)
            c = have[name_len] != '\0';
        if (c == 0) {
            *out_found = true;
            return mid;
        }
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *out_found = false;
    return low;
}

static sim_entry *find(const sim_node *dir, const char *name, size_t name_len)
{
    bool found;
    size_t i = entry_index(dir, name, name_len, &found);
    return found ? dir->entries[i] : NULL;
}

sim_entry *sim_entry_find(const sim_node *dir, const char *name)
{
    sim_entry *entry = find(dir, name, strlen(name));
    return entry == NULL || entry->now == NULL ? NULL : entry;
}

/* The entry of name, which may be one that neither view has yet. */
static sim_entry *entry_make(sim_node *dir, const char *name)
{
    size_t len = strlen(name);
    bool found;
    size_t at = entry_index(dir, name, len, &found);
    if (found)
        return dir->entries[at];
    if (dir->entry_count == dir->entry_cap) {
        size_t cap = dir->entry_cap == 0 ? 16 : 2 * dir->entry_cap;
        sim_entry **entries = vv_realloc(dir->entries, cap * sizeof(sim_entry *));
        if (entries == NULL)
            return NULL;
        dir->entries = entries;
        dir->entry_cap = cap;
    }
    sim_entry *entry = vv_alloc(sizeof *entry + len + 1);
    if (entry == NULL)
        return NULL;
    *entry = (sim_entry){0};
    memcpy(entry->name, name, len + 1);
    memmove(dir->entries + at + 1, dir->entries + at,
            (dir->entry_count - at) * sizeof(sim_entry *));
    dir->entries[at] = entry;
    dir->entry_count++;
    return entry;
}

/* Forget an entry that no view and no change has. */
static void entry_drop(sim_node *dir, sim_entry *entry)
{
    if (entry == NULL || entry->now != NULL || entry->durable != NULL || entry->changes > 0)
        return;
    bool found;
    size_t at = entry_index(dir, entry->name, strlen(entry->name), &found);
    assert(found);
    memmove(dir->entries + at, dir->entries + at + 1,
            (dir->entry_count - at - 1) * sizeof(sim_entry *));
    dir->entry_count--;
    vv_free(entry);
}

sim_node *sim_lookup(const vio_sim_disk *disk, const char *path)
{
    sim_node *node = disk->root;
    while (*path != '\0' && node != NULL) {
        size_t len = strcspn(path, "/");
        const sim_entry *entry = node->is_dir ? find(node, path, len) : NULL;
        node = entry == NULL ? NULL : entry->now;
        path += len + (path[len] == '/');
    }
    return node;
}

sim_node *sim_lookup_parent(const vio_sim_disk *disk, const char *path, const char **out_name)
{
    const char *slash = strrchr(path, '/');
    *out_name = slash == NULL ? path : slash + 1;
    if (slash == NULL)
        return disk->root;
    char dir[SIM_PATH_MAX];
    size_t len = (size_t)(slash - path);
    assert(len < sizeof dir);
    memcpy(dir, path, len);
    dir[len] = '\0';
    sim_node *node = sim_lookup(disk, dir);
    return node != NULL && node->is_dir ? node : NULL;
}

bool sim_dir_is_empty(const sim_node *dir)
{
    for (size_t i = 0; i < dir->entry_count; i++)
        if (dir->entries[i]->now != NULL)
            return false;
    return true;
}

static bool change_room(vio_sim_disk *disk)
{
    if (disk->change_count < disk->change_cap)
        return true;
    size_t cap = disk->change_cap == 0 ? 16 : 2 * disk->change_cap;
    sim_change *changes = vv_realloc(disk->changes, cap * sizeof *changes);
    if (changes == NULL)
        return false;
    disk->changes = changes;
    disk->change_cap = cap;
    return true;
}

/* Needs change_room. */
static void change_add(vio_sim_disk *disk, sim_change c)
{
    (void)node_ref(c.dir);
    (void)node_ref(c.unbind_dir);
    (void)node_ref(c.node);
    if (c.unbind != NULL)
        c.unbind->changes++;
    if (c.bind != NULL)
        c.bind->changes++;
    disk->changes[disk->change_count++] = c;
}

static void change_apply(vio_sim_disk *disk, const sim_change *c)
{
    if (c->unbind != NULL)
        set_durable(disk, c->unbind, NULL);
    if (c->bind != NULL)
        set_durable(disk, c->bind, c->node);
}

static void change_release(vio_sim_disk *disk, const sim_change *c)
{
    if (c->unbind != NULL) {
        c->unbind->changes--;
        entry_drop(c->unbind_dir, c->unbind);
    }
    if (c->bind != NULL) {
        c->bind->changes--;
        entry_drop(c->dir, c->bind);
    }
    sim_node_unref(disk, c->node);
    sim_node_unref(disk, c->unbind_dir);
    sim_node_unref(disk, c->dir);
}

bool sim_names_bind(vio_sim_disk *disk, sim_node *dir, const char *name, sim_node *node)
{
    if (!change_room(disk))
        return false;
    sim_entry *entry = entry_make(dir, name);
    if (entry == NULL)
        return false;
    change_add(disk, (sim_change){.dir = dir, .bind = entry, .node = node});
    set_now(disk, entry, node);
    return true;
}

bool sim_names_unbind(vio_sim_disk *disk, sim_node *dir, sim_entry *entry)
{
    if (!change_room(disk))
        return false;
    change_add(disk, (sim_change){.dir = dir, .unbind_dir = dir, .unbind = entry});
    set_now(disk, entry, NULL);
    return true;
}

bool sim_names_rename(vio_sim_disk *disk, sim_node *from_dir, sim_entry *from, sim_node *to_dir,
                      const char *to_name)
{
    if (!change_room(disk))
        return false;
    sim_entry *to = entry_make(to_dir, to_name);
    if (to == NULL)
        return false;
    if (to->now == from->now)
        return true; /* two names of one file: POSIX lets both stand */
    change_add(
        disk,
        (sim_change){
            .dir = to_dir, .unbind_dir = from_dir, .unbind = from, .bind = to, .node = from->now});
    set_now(disk, to, from->now);
    set_now(disk, from, NULL);
    return true;
}

void sim_names_sync(vio_sim_disk *disk, const sim_node *dir)
{
    size_t left = 0;
    for (size_t i = 0; i < disk->change_count; i++) {
        sim_change c = disk->changes[i];
        if (c.dir != dir) {
            disk->changes[left++] = c;
            continue;
        }
        change_apply(disk, &c);
        change_release(disk, &c);
    }
    disk->change_count = left;
}

static void trace_change(vio_sim_disk *disk, const sim_change *c, bool kept)
{
    const char *fate = kept ? "kept" : "lost";
    if (c->unbind != NULL && c->bind != NULL)
        sim_trace(disk, "settle: rename %s -> %s %s\n", c->unbind->name, c->bind->name, fate);
    else if (c->bind != NULL)
        sim_trace(disk, "settle: new name %s %s\n", c->bind->name, fate);
    else
        sim_trace(disk, "settle: removal of %s %s\n", c->unbind->name, fate);
}

/* The newest view becomes the durable one, from dir down. */
static void adopt_durable(vio_sim_disk *disk, sim_node *dir)
{
    for (size_t i = dir->entry_count; i-- > 0;) {
        sim_entry *entry = dir->entries[i];
        if (entry->now != entry->durable)
            set_now(disk, entry, entry->durable);
        if (entry->now == NULL)
            entry_drop(dir, entry);
        else if (entry->now->is_dir)
            adopt_durable(disk, entry->now);
    }
}

void sim_names_settle(vio_sim_disk *disk, const sim_odds *odds)
{
    for (size_t i = 0; i < disk->change_count; i++) {
        sim_change *c = &disk->changes[i];
        bool kept = (uint32_t)(vv_rng_next(&disk->rng) >> 56) < odds->name;
        trace_change(disk, c, kept);
        if (kept)
            change_apply(disk, c);
    }
    while (disk->change_count > 0)
        change_release(disk, &disk->changes[--disk->change_count]);
    adopt_durable(disk, disk->root);
}

typedef struct walk {
    void (*fn)(void *ctx, const char *path, sim_node *node);
    void *ctx;
    char path[SIM_PATH_MAX];
} walk;

static void walk_dir(walk *w, const sim_node *dir, size_t used)
{
    for (size_t i = 0; i < dir->entry_count; i++) {
        sim_entry *entry = dir->entries[i];
        if (entry->now == NULL)
            continue;
        int n = snprintf(w->path + used, sizeof w->path - used, "%s%s", used > 0 ? "/" : "",
                         entry->name);
        assert(n > 0 && used + (size_t)n < sizeof w->path);
        if (entry->now->is_dir)
            walk_dir(w, entry->now, used + (size_t)n);
        else
            w->fn(w->ctx, w->path, entry->now);
        w->path[used] = '\0';
    }
}

void sim_names_walk(const vio_sim_disk *disk,
                    void (*fn)(void *ctx, const char *path, sim_node *node), void *ctx)
{
    walk w = {.fn = fn, .ctx = ctx};
    walk_dir(&w, disk->root, 0);
}

static bool clone_entries(sim_node *from, sim_node *to)
{
    if (from->entry_count == 0)
        return true;
    to->entries = vv_calloc(from->entry_count, sizeof(sim_entry *));
    if (to->entries == NULL)
        return false;
    to->entry_cap = from->entry_count;
    for (size_t i = 0; i < from->entry_count; i++) {
        const sim_entry *e = from->entries[i];
        size_t size = sizeof *e + strlen(e->name) + 1;
        sim_entry *copy = vv_alloc(size);
        if (copy == NULL)
            return false;
        memcpy(copy, e, size);
        copy->now = e->now == NULL ? NULL : node_ref(e->now->twin);
        copy->durable = e->durable == NULL ? NULL : node_ref(e->durable->twin);
        if (copy->now != NULL)
            copy->now->links++;
        copy->changes = 0;
        to->entries[to->entry_count++] = copy;
    }
    return true;
}

static sim_node *twin_of(const sim_node *node)
{
    return node == NULL ? NULL : node->twin;
}

static sim_entry *twin_entry(const sim_node *dir, const sim_entry *entry)
{
    return entry == NULL ? NULL : find(dir->twin, entry->name, strlen(entry->name));
}

static bool clone_changes(const vio_sim_disk *from, vio_sim_disk *to)
{
    for (size_t i = 0; i < from->change_count; i++) {
        const sim_change *c = &from->changes[i];
        if (!change_room(to))
            return false;
        change_add(to, (sim_change){.dir = twin_of(c->dir),
                                    .unbind_dir = twin_of(c->unbind_dir),
                                    .unbind = twin_entry(c->unbind_dir, c->unbind),
                                    .bind = twin_entry(c->dir, c->bind),
                                    .node = twin_of(c->node)});
    }
    return true;
}

bool sim_names_clone(const vio_sim_disk *from, vio_sim_disk *to)
{
    bool ok = true;
    for (sim_node *n = from->first; n != NULL; n = n->next)
        n->twin = NULL;
    for (sim_node *n = from->first; ok && n != NULL; n = n->next) {
        n->twin = sim_node_new(to, n->is_dir);
        ok = n->twin != NULL && sim_image_clone(to, &n->image, &n->twin->image);
        if (n->twin != NULL)
            n->twin->counted = false;
    }
    for (sim_node *n = from->first; ok && n != NULL; n = n->next)
        ok = clone_entries(n, n->twin);
    ok = ok && clone_changes(from, to);
    to->root = twin_of(from->root);
    if (!ok)
        return false;
    /* Nodes that only an open file held are nobody's now: drop the reference they were born with,
     * but for the root's, which is the disk's. */
    for (sim_node *n = from->first; n != NULL; n = n->next) {
        n->twin->counted = !n->is_dir && n->twin->links > 0;
        to->used += n->twin->counted ? n->twin->image.blocks * VV_BLOCK : 0;
    }
    for (sim_node *n = from->first; n != NULL; n = n->next)
        if (n->twin != to->root)
            sim_node_unref(to, n->twin);
    return true;
}

void sim_names_fini(vio_sim_disk *disk)
{
    while (disk->first != NULL) {
        sim_node *node = disk->first;
        for (size_t i = 0; i < node->entry_count; i++)
            vv_free(node->entries[i]);
        node_free(disk, node);
    }
    vv_free(disk->changes);
    disk->root = NULL;
}
