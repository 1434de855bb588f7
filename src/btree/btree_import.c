/*
 * btree_import.c - a partition of EloqStore's, entry by entry: its directory, its tree, its values.
 *
 *     names of DIR -> manifest -> mapping       data files, one for each file number
 *     root -> index pages -> leaf -> entry      a page of each level in memory
 *
 * Pages do not name themselves, so a page at a wrong place can pass its sum. What catches it: keys
 * rise over the whole tree, no key lies below the separator that led to it, no separator lies at or
 * below a key that came before it, and no page id is reached twice.
 */
#include "btree/btree_import.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/util.h"
#include "base/varint.h"
#include "btree/btree_page.h"
#include "codec/codec_dict.h"

#define LEVELS_MAX 24u
#define OPEN_MAX 64u /* data files open at a time */
#define NAME_MAX_LEN 127u
#define MANIFEST_MAX VV_GIB
#define BRANCH_MAIN "main"

typedef struct data_file {
    char name[NAME_MAX_LEN + 1];
    uint64_t id;
    uint64_t term;
    bool own;       /* of the manifest's branch */
    bool ambiguous; /* of other branches there are several with this number */
} data_file;

typedef struct open_file {
    const data_file *of;
    vio_file *file;
} open_file;

typedef struct level {
    uint8_t *page;
    uint32_t id;
    bool began; /* the left-most child is done */
    btree_iter it;
} level;

struct btree_import {
    vio *io;
    btree_import_options opt;
    btree_import_info info;
    uint8_t *manifest;
    btree_import_state state;
    data_file *files;
    size_t file_count;
    open_file open[OPEN_MAX];
    uint8_t *seen; /* a bit for each page id */
    uint8_t *overflow_page;
    vv_buf whole; /* a value from overflow pages */
    vv_buf plain; /* a value decompressed */
    codec_dict *dict;
    codec_dict_ctx *codec;
    vv_error failed;
    size_t last_len;  /* of the last key; 0: none yet */
    size_t floor_len; /* of the last separator; 0: none yet */
    uint8_t last[BTREE_KEY_MAX];
    uint8_t floor[BTREE_KEY_MAX];
    uint32_t depth;
    level level[LEVELS_MAX];
};

/* ---- names ---- */

typedef struct name_parts {
    vv_slice branch; /* empty: generation 1 */
    uint64_t id;     /* of a data file */
    uint64_t term;
    bool tagged; /* an archive */
} name_parts;

static bool take_number(const char **p, uint64_t *out)
{
    const char *s = *p;
    uint64_t n = 0;
    for (; *s >= '0' && *s <= '9'; s++)
        if (__builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, (uint64_t)(*s - '0'), &n))
            return false;
    if (s == *p)
        return false;
    *p = s;
    *out = n;
    return true;
}

static bool take_branch(const char **p, vv_slice *out)
{
    const char *s = *p;
    while ((*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9') || *s == '-')
        s++;
    if (s == *p)
        return false;
    *out = vv_slice_of(*p, (size_t)(s - *p));
    *p = s;
    return true;
}

/* "<branch>_<term>", then nothing or "_<tag>". */
static bool take_branch_and_term(const char **p, name_parts *out)
{
    if (!take_branch(p, &out->branch) || *(*p)++ != '_' || !take_number(p, &out->term))
        return false;
    out->tagged = **p == '_' && (*p)[1] != '\0';
    return **p == '\0' || out->tagged;
}

static bool parse_data_name(const char *name, name_parts *out)
{
    const char *p = name;
    *out = (name_parts){0};
    if (strncmp(p, "data_", 5) != 0 || strlen(name) > NAME_MAX_LEN)
        return false;
    p += 5;
    if (!take_number(&p, &out->id))
        return false;
    return *p == '\0' || (*p++ == '_' && take_branch_and_term(&p, out) && !out->tagged);
}

static bool parse_manifest_name(const char *name, name_parts *out)
{
    const char *p = name;
    const char *digits;
    uint64_t n;
    *out = (name_parts){0};
    if (strncmp(p, "manifest", 8) != 0 || strlen(name) > NAME_MAX_LEN)
        return false;
    p += 8;
    if (*p == '\0')
        return true;
    if (*p++ != '_')
        return false;
    digits = p;
    if (take_number(&digits, &n) && *digits == '\0') { /* an archive of generation 1 */
        out->tagged = true;
        return true;
    }
    return take_branch_and_term(&p, out);
}

/* ---- the directory ---- */

typedef struct listing {
    btree_import *im;
    name_parts chosen; /* the manifest's; branch lies in the options or in info.manifest */
    bool found;
    bool found_first; /* a manifest of generation 1 */
    size_t cap;
    vv_status st;
} listing;

static bool branch_is(vv_slice branch, const char *text)
{
    return vv_slice_eq(branch, vv_slice_str(text));
}

static void see_manifest(void *ctx, const char *name)
{
    listing *l = ctx;
    name_parts parts;
    if (!parse_manifest_name(name, &parts) || parts.tagged)
        return;
    if (parts.branch.len == 0) {
        l->found_first = true;
    } else if (branch_is(parts.branch, l->im->opt.branch) &&
               (!l->found || parts.term > l->chosen.term)) {
        l->found = true;
        l->chosen.term = parts.term;
        (void)snprintf(l->im->info.manifest, sizeof l->im->info.manifest, "%s", name);
    }
}

static vv_status choose_manifest(listing *l, vv_error *err)
{
    btree_import *im = l->im;
    const char *asked = im->opt.manifest;
    vv_status st = VV_OK;
    if (asked != NULL)
        (void)snprintf(im->info.manifest, sizeof im->info.manifest, "%s", asked);
    else
        st = vio_list(im->io, "", see_manifest, l, err);
    if (st != VV_OK)
        return st;
    if (l->found && l->found_first)
        return vv_fail(err, VV_UNSUPPORTED,
                       "manifest and %s are both here: say which one is to be read",
                       im->info.manifest);
    if (asked == NULL && l->found_first)
        (void)snprintf(im->info.manifest, sizeof im->info.manifest, "%s", "manifest");
    else if (asked == NULL && !l->found)
        return vv_fail(err, VV_NOT_FOUND,
                       "neither manifest nor manifest_%s_<term> is here: it is no partition of "
                       "EloqStore's, or of a generation between 1 and 6",
                       im->opt.branch);
    if (!parse_manifest_name(im->info.manifest, &l->chosen) ||
        strchr(im->info.manifest, '/') != NULL)
        return vv_fail(err, VV_INVALID, "'%s' is no manifest's name", im->info.manifest);
    im->info.generation = l->chosen.branch.len == 0 ? 1 : 6;
    return VV_OK;
}

static void see_data_file(void *ctx, const char *name)
{
    listing *l = ctx;
    btree_import *im = l->im;
    name_parts parts;
    if (l->st != VV_OK || !parse_data_name(name, &parts) ||
        (parts.branch.len == 0) != (im->info.generation == 1))
        return;
    bool own = vv_slice_eq(parts.branch, l->chosen.branch);
    if (own && parts.term > l->chosen.term)
        return; /* written after the manifest's time */
    if (im->file_count == l->cap) {
        size_t cap = l->cap == 0 ? 64 : 2 * l->cap;
        data_file *more = vv_realloc(im->files, cap * sizeof *more);
        if (more == NULL) {
            l->st = VV_NO_MEMORY;
            return;
        }
        im->files = more;
        l->cap = cap;
    }
    data_file *f = &im->files[im->file_count++];
    *f = (data_file){.id = parts.id, .term = parts.term, .own = own};
    memcpy(f->name, name, strlen(name) + 1);
}

/* By number; the file to use first: of the manifest's own branch, and of the highest term. */
static int by_number(const void *a, const void *b)
{
    const data_file *x = a;
    const data_file *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    if (x->own != y->own)
        return x->own ? -1 : 1;
    return x->term == y->term ? strcmp(x->name, y->name) : x->term > y->term ? -1 : 1;
}

static vv_status list_files(listing *l, vv_error *err)
{
    btree_import *im = l->im;
    vv_status st = vio_list(im->io, "", see_data_file, l, err);
    if (st == VV_OK && l->st != VV_OK)
        st = vv_fail(err, l->st, "the names of the data files");
    if (st != VV_OK || im->file_count == 0)
        return st;
    qsort(im->files, im->file_count, sizeof *im->files, by_number);
    size_t kept = 1;
    for (size_t i = 1; i < im->file_count; i++) {
        data_file *last = &im->files[kept - 1];
        if (im->files[i].id != last->id)
            im->files[kept++] = im->files[i];
        else if (!last->own)
            last->ambiguous = true;
    }
    im->file_count = kept;
    return VV_OK;
}

/* ---- pages ---- */

static vv_status find_file(btree_import *im, uint64_t id, const data_file **out, vv_error *err)
{
    size_t low = 0;
    size_t high = im->file_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (im->files[mid].id < id)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == im->file_count || im->files[low].id != id)
        return vv_fail(err, VV_CORRUPT,
                       "data_%llu is missing (or a data file has other than 2^%u pages)",
                       (unsigned long long)id, im->opt.file_shift);
    if (im->files[low].ambiguous)
        return vv_fail(err, VV_UNSUPPORTED,
                       "data_%llu is there from several branches, and none of them is the "
                       "manifest's",
                       (unsigned long long)id);
    *out = &im->files[low];
    return VV_OK;
}

static vv_status open_data(btree_import *im, const data_file *f, vio_file **out, vv_error *err)
{
    open_file *slot = &im->open[f->id % OPEN_MAX];
    if (slot->of != f) {
        vio_close(slot->file);
        *slot = (open_file){0};
        vv_status st = vio_open(im->io, f->name, VIO_READ, &slot->file, err);
        if (st != VV_OK)
            return st;
        slot->of = f;
    }
    *out = slot->file;
    return VV_OK;
}

static vv_status read_at(btree_import *im, uint64_t file_page, uint8_t *page, vv_error *err)
{
    const data_file *f = NULL;
    vio_file *file = NULL;
    uint64_t in_file = file_page & ((UINT64_C(1) << im->opt.file_shift) - 1);
    vv_status st = find_file(im, file_page >> im->opt.file_shift, &f, err);
    if (st != VV_OK)
        return st;
    st = open_data(im, f, &file, err);
    if (st == VV_OK)
        st = vio_pread_full(file, in_file * im->opt.page_size, page, im->opt.page_size, err);
    if (st == VV_OK)
        st = btree_page_verify(page, im->opt.page_size, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "%s: the page at offset %" PRIu64, f->name,
                       in_file * im->opt.page_size);
    return VV_OK;
}

/* Read a page by its id: once in a lifetime. */
static vv_status read_page(btree_import *im, uint32_t id, uint8_t *page, vv_error *err)
{
    const char *why = NULL;
    uint64_t value = id < im->state.count ? im->state.map[id] : BTREE_IMPORT_INVALID;
    if ((value & 7) != BTREE_IMPORT_FILE_PAGE)
        why = "is not mapped";
    else if ((im->seen[id / 8] >> id % 8 & 1) != 0)
        why = "is reached twice";
    if (why != NULL)
        return vv_fail(err, VV_CORRUPT, "%s: page %u %s", im->info.manifest, id, why);
    im->seen[id / 8] |= (uint8_t)(1 << id % 8);
    im->info.pages_read++;
    vv_status st = read_at(im, value >> 3, page, err);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "page %u", id);
}

/* Put in front of a sentence about the bytes of a page where that page is. */
static vv_status in_page(btree_import *im, uint32_t id, vv_status st, vv_error *err)
{
    const data_file *f = NULL;
    uint64_t file_page = im->state.map[id] >> 3;
    uint64_t in_file = file_page & ((UINT64_C(1) << im->opt.file_shift) - 1);
    if (find_file(im, file_page >> im->opt.file_shift, &f, NULL) != VV_OK)
        return st;
    return vv_wrap(err, st, "page %u: %s: the page at offset %" PRIu64, id, f->name,
                   in_file * im->opt.page_size);
}

/* ---- the way down ---- */

static bool may_lie_under(const level *parent, btree_page_type type)
{
    if (parent == NULL)
        return type != BTREE_OVERFLOW;
    if (btree_page_type_of(parent->page) == BTREE_LEAF_INDEX)
        return type == BTREE_DATA;
    return type == BTREE_INDEX || type == BTREE_LEAF_INDEX;
}

static vv_status descend(btree_import *im, uint32_t id, vv_error *err)
{
    level *parent = im->depth == 0 ? NULL : &im->level[im->depth - 1];
    if (im->depth == LEVELS_MAX)
        return in_page(im, parent->id,
                       vv_fail(err, VV_CORRUPT, "the tree is deeper than %u", LEVELS_MAX), err);
    level *l = &im->level[im->depth];
    if (l->page == NULL && (l->page = vv_alloc(im->opt.page_size)) == NULL)
        return vv_fail(err, VV_NO_MEMORY, "a page of %u bytes", im->opt.page_size);
    vv_status st = read_page(im, id, l->page, err);
    if (st != VV_OK)
        return st;
    l->id = id;
    l->began = false;
    st = btree_iter_open(&l->it, l->page, im->opt.page_size, err);
    if (st == VV_OK && !may_lie_under(parent, btree_page_type_of(l->page)))
        st = vv_fail(err, VV_CORRUPT, "a page of type %u does not belong under page %u",
                     (unsigned)l->page[8], parent == NULL ? id : parent->id);
    if (st != VV_OK)
        return in_page(im, id, st, err);
    im->depth++;
    return VV_OK;
}

static vv_slice last_key(const btree_import *im)
{
    return vv_slice_of(im->last, im->last_len);
}

static vv_slice floor_key(const btree_import *im)
{
    return vv_slice_of(im->floor, im->floor_len);
}

/* The child behind the one that is done; VV_NOT_FOUND when there is none. */
static vv_status next_child(btree_import *im, level *l, uint32_t *child, vv_error *err)
{
    vv_slice key;
    if (!l->began) {
        l->began = true;
        *child = btree_index_leftmost(l->page);
        return VV_OK;
    }
    vv_status st = btree_iter_next_child(&l->it, &key, child, err);
    if (st != VV_OK)
        return st;
    if ((im->floor_len > 0 && vv_slice_cmp(key, floor_key(im)) <= 0) ||
        (im->last_len > 0 && vv_slice_cmp(key, last_key(im)) <= 0))
        return vv_fail(err, VV_CORRUPT, "the separator of child %u is not above what lies before",
                       *child);
    memcpy(im->floor, key.data, key.len);
    im->floor_len = key.len;
    return VV_OK;
}

static vv_status next_in_leaf(btree_import *im, level *l, btree_entry *e, vv_error *err)
{
    vv_status st = btree_iter_next(&l->it, e, err);
    if (st != VV_OK)
        return st;
    if ((im->floor_len > 0 && vv_slice_cmp(e->key, floor_key(im)) < 0) ||
        (im->last_len > 0 && vv_slice_cmp(e->key, last_key(im)) <= 0))
        return vv_fail(err, VV_CORRUPT, "a key is not above what lies before it in the tree");
    memcpy(im->last, e->key.data, e->key.len);
    im->last_len = e->key.len;
    return VV_OK;
}

/* The next entry as it is stored, and its leaf. */
static vv_status next_stored(btree_import *im, btree_entry *e, uint32_t *leaf, vv_error *err)
{
    while (im->depth > 0) {
        level *l = &im->level[im->depth - 1];
        uint32_t child = BTREE_NO_PAGE;
        vv_status st = l->it.is_data ? next_in_leaf(im, l, e, err) : next_child(im, l, &child, err);
        *leaf = l->id;
        if (st == VV_NOT_FOUND)
            im->depth--;
        else if (st != VV_OK)
            return in_page(im, l->id, st, err);
        else if (l->it.is_data)
            return VV_OK;
        else if ((st = descend(im, child, err)) != VV_OK)
            return st;
    }
    return VV_NOT_FOUND;
}

/* ---- values ---- */

/* One group of overflow pages; *ids become those of the next, in the page's memory. */
static vv_status take_group(btree_import *im, const uint8_t **ids, uint32_t *count, vv_error *err)
{
    uint32_t group[BTREE_POINTERS_MAX];
    uint32_t n = *count;
    for (uint32_t i = 0; i < n; i++)
        group[i] = vv_get_le32(*ids + 4 * (size_t)i);
    for (uint32_t i = 0; i < n; i++) {
        vv_slice part;
        vv_status st = read_page(im, group[i], im->overflow_page, err);
        if (st != VV_OK)
            return st;
        st = btree_overflow_decode(im->overflow_page, im->opt.page_size, &part, ids, count, err);
        if (st == VV_OK && *count > 0 && i + 1 < n)
            st = vv_fail(err, VV_CORRUPT, "pointers in the middle of a group");
        if (st != VV_OK)
            return in_page(im, group[i], st, err);
        vv_buf_append_slice(&im->whole, part);
    }
    return im->whole.status == VV_OK
               ? VV_OK
               : vv_fail(err, im->whole.status == VV_BUSY ? VV_UNSUPPORTED : VV_NO_MEMORY,
                         "a value of more than %zu bytes", im->whole.len);
}

static vv_status put_together(btree_import *im, vv_slice *value, vv_error *err)
{
    if (value->len == 0 || value->len % 4 != 0 || value->len / 4 > BTREE_POINTERS_MAX)
        return vv_fail(err, VV_CORRUPT, "%zu bytes of overflow pointers", value->len);
    const uint8_t *ids = value->data;
    uint32_t count = (uint32_t)(value->len / 4);
    vv_buf_reset(&im->whole);
    while (count > 0) {
        vv_status st = take_group(im, &ids, &count, err);
        if (st != VV_OK)
            return st;
    }
    *value = vv_buf_slice(&im->whole);
    return VV_OK;
}

static vv_status decompress(btree_import *im, bool with_dict, vv_slice *value, vv_error *err)
{
    uint64_t len = 0;
    const uint8_t *end = value->data + value->len;
    const uint8_t *p = vv_varint_get(value->data, end, &len);
    if (with_dict && im->dict == NULL)
        return vv_fail(err, VV_CORRUPT, "it needs the dictionary, and the manifest has none");
    if (p == NULL)
        return vv_fail(err, VV_CORRUPT, "its length passes its end");
    if (len > BTREE_IMPORT_VALUE_MAX)
        return vv_fail(err, VV_UNSUPPORTED, "%llu bytes", (unsigned long long)len);
    vv_buf_reset(&im->plain);
    uint8_t *out = vv_buf_reserve(&im->plain, (size_t)len + 1); /* never nothing */
    if (out == NULL)
        return vv_fail(err, VV_NO_MEMORY, "a value of %llu bytes", (unsigned long long)len);
    vv_status st = im->codec != NULL ? VV_OK : codec_dict_ctx_create(&im->codec, err);
    if (st == VV_OK)
        st = codec_dict_decompress(im->codec, with_dict ? im->dict : NULL,
                                   vv_slice_of(p, (size_t)(end - p)), out, (size_t)len, err);
    *value = vv_slice_of(out, (size_t)len);
    return st;
}

static vv_status take_value(btree_import *im, const btree_entry *e, vv_slice *out, vv_error *err)
{
    uint8_t codec = e->flags & BTREE_CODEC_MASK;
    vv_status st = VV_OK;
    *out = e->value;
    if (codec != 0 && im->info.generation == 1)
        return vv_fail(err, VV_CORRUPT, "its flags %x did not exist in generation 1", e->flags);
    if (codec == BTREE_CODEC_SEGMENT)
        return vv_fail(err, VV_UNSUPPORTED,
                       "it is in a segment file, which is not read: write it again in pieces");
    if ((e->flags & BTREE_IS_OVERFLOW) != 0)
        st = put_together(im, out, err);
    if (st == VV_OK && codec != 0)
        st = decompress(im, codec == BTREE_CODEC_DICT, out, err);
    return st;
}

/* ---- open, next, close ---- */

static bool has_expired(const btree_import *im, const btree_entry *e)
{
    return (e->flags & BTREE_HAS_EXPIRY) != 0 && e->expires != 0 && im->opt.now_ms >= 0 &&
           e->expires <= (uint64_t)im->opt.now_ms;
}

static int64_t expiry_ns(const btree_entry *e)
{
    if ((e->flags & BTREE_HAS_EXPIRY) == 0)
        return 0;
    return e->expires > INT64_MAX / VV_NS_PER_MS ? INT64_MAX : (int64_t)e->expires * VV_NS_PER_MS;
}

static vv_status next_live(btree_import *im, btree_import_entry *out, vv_error *err)
{
    btree_entry e = {0};
    uint32_t leaf = 0;
    vv_status st;
    for (;;) {
        st = next_stored(im, &e, &leaf, err);
        if (st != VV_OK)
            return st;
        if (!has_expired(im, &e))
            break;
        im->info.expired++;
    }
    *out =
        (btree_import_entry){.key = e.key, .timestamp = e.timestamp, .expires_ns = expiry_ns(&e)};
    st = take_value(im, &e, &out->value, err);
    if (st != VV_OK)
        return in_page(im, leaf, vv_wrap(err, st, "a value"), err);
    im->info.entries++;
    return VV_OK;
}

vv_status btree_import_next(btree_import *im, btree_import_entry *out, vv_error *err)
{
    if (im->failed.status != VV_OK) {
        if (err != NULL)
            *err = im->failed;
        return im->failed.status;
    }
    vv_error why = {0};
    vv_status st = next_live(im, out, &why);
    if (st == VV_OK || st == VV_NOT_FOUND)
        return st;
    im->failed = why;
    if (err != NULL)
        *err = why;
    return st;
}

static vv_status check_options(btree_import_options *o, vv_error *err)
{
    o->page_size = o->page_size == 0 ? BTREE_IMPORT_PAGE_SIZE : o->page_size;
    o->file_shift = o->file_shift == 0 ? BTREE_IMPORT_FILE_SHIFT : o->file_shift;
    o->record_align = o->record_align == 0 ? VV_BLOCK : o->record_align;
    o->branch = o->branch == NULL ? BRANCH_MAIN : o->branch;
    if (o->page_size < 512 || o->page_size > BTREE_PAGE_SIZE_MAX ||
        (o->page_size & (o->page_size - 1)) != 0)
        return vv_fail(err, VV_INVALID, "a page of %u bytes: 512 to %u, a power of two",
                       o->page_size, BTREE_PAGE_SIZE_MAX);
    if (o->record_align < 512 || o->record_align > VV_MIB ||
        (o->record_align & (o->record_align - 1)) != 0)
        return vv_fail(err, VV_INVALID,
                       "manifest records padded to %u bytes: 512 to 1 MiB, a power "
                       "of two",
                       o->record_align);
    if (o->file_shift > 31)
        return vv_fail(err, VV_INVALID, "2^%u pages in a data file: 31 at most", o->file_shift);
    return VV_OK;
}

static vv_status read_manifest(btree_import *im, vv_error *err)
{
    size_t len = 0;
    vv_status st = vio_read_file(im->io, im->info.manifest, MANIFEST_MAX, &im->manifest, &len, err);
    if (st == VV_OK)
        st = btree_import_parse(vv_slice_of(im->manifest, len), im->info.generation,
                                im->opt.record_align, &im->state, err);
    if (st == VV_OK && im->state.dict.len > 0)
        st = codec_dict_create(im->state.dict, &im->dict, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "%s", im->info.manifest);
    im->info.dropped_bytes = im->state.dropped_bytes;
    for (size_t i = 0; i < im->state.count; i++)
        im->info.pages += (im->state.map[i] & 7) == BTREE_IMPORT_FILE_PAGE;
    return VV_OK;
}

static vv_status begin(btree_import *im, vv_error *err)
{
    listing l = {.im = im};
    vv_status st = choose_manifest(&l, err);
    if (st == VV_OK)
        st = read_manifest(im, err);
    if (st == VV_OK)
        st = list_files(&l, err);
    if (st != VV_OK)
        return st;
    im->seen = vv_calloc(im->state.count / 8 + 1, 1);
    im->overflow_page = vv_alloc(im->opt.page_size);
    if (im->seen == NULL || im->overflow_page == NULL)
        return vv_fail(err, VV_NO_MEMORY, "pages of %u bytes", im->opt.page_size);
    return im->state.root == BTREE_NO_PAGE ? VV_OK : descend(im, im->state.root, err);
}

vv_status btree_import_open(vio *io, const btree_import_options *opt, btree_import **out,
                            vv_error *err)
{
    btree_import *im = vv_calloc(1, sizeof *im);
    if (im == NULL)
        return vv_fail(err, VV_NO_MEMORY, "a reader of EloqStore's files");
    im->io = io;
    im->opt = *opt;
    vv_buf_init(&im->whole, BTREE_IMPORT_VALUE_MAX);
    vv_buf_init(&im->plain, BTREE_IMPORT_VALUE_MAX + 1);
    vv_status st = check_options(&im->opt, err);
    if (st == VV_OK)
        st = begin(im, err);
    if (st != VV_OK) {
        btree_import_close(im);
        return st;
    }
    *out = im;
    return VV_OK;
}

void btree_import_info_read(const btree_import *im, btree_import_info *out)
{
    *out = im->info;
}

void btree_import_close(btree_import *im)
{
    if (im == NULL)
        return;
    for (size_t i = 0; i < OPEN_MAX; i++)
        vio_close(im->open[i].file);
    for (size_t i = 0; i < LEVELS_MAX; i++)
        vv_free(im->level[i].page);
    codec_dict_ctx_destroy(im->codec);
    codec_dict_destroy(im->dict);
    vv_buf_fini(&im->whole);
    vv_buf_fini(&im->plain);
    vv_free(im->overflow_page);
    vv_free(im->seen);
    vv_free(im->files);
    vv_free(im->state.map);
    vv_free(im->manifest);
    vv_free(im);
}
