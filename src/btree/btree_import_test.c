/*
 * btree_import_test.c - partitions in EloqStore's form, built byte by byte from the description in
 * docs/format/eloqstore.md (nothing of the tree's own encoders is used), and what is made of them:
 * every entry, or a sentence with file, place and reason.
 */
#include "vv_test.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/hash.h"
#include "btree/btree_import.h"
#include "codec/codec_dict.h"
#include "io/vio_sim.h"

#define PAGE 512u
#define NONE UINT32_MAX
#define NOW_MS 1800000000000LL

/* ---- a store, byte by byte ---- */

typedef struct world {
    vio_sim_disk *disk;
    vio *io;
    btree_import_options opt;
} world;

static int set_up(void **state)
{
    world *w = calloc(1, sizeof *w);
    if (w == NULL || (w->disk = vio_sim_disk_create()) == NULL ||
        vio_sim_open(w->disk, &(vio_sim_options){.seed = 1}, &w->io, NULL) != VV_OK)
        return -1;
    w->opt = (btree_import_options){
        .page_size = PAGE, .file_shift = 2, .record_align = PAGE, .now_ms = NOW_MS};
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    world *w = *state;
    vio_destroy(w->io);
    vio_sim_disk_destroy(w->disk);
    free(w);
    return 0;
}

static void put_file(world *w, const char *name, const void *bytes, size_t len)
{
    vv_error err = {0};
    assert_ok(vio_write_file_atomic(w->io, name, vv_slice_of(bytes, len), &err), err);
}

static void put_le(uint8_t *p, uint64_t v, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static size_t put_varint(uint8_t *p, uint64_t v)
{
    size_t n = 0;
    for (; v >= 128; v >>= 7)
        p[n++] = (uint8_t)(v & 127) | 128;
    p[n++] = (uint8_t)v;
    return n;
}

static void seal(uint8_t *page)
{
    put_le(page, XXH3_64bits(page + 8, PAGE - 8), 8);
}

/* A data page under construction: entries with a restart at the first alone, and shared prefixes
 * where the caller says so. */
typedef struct leaf {
    uint8_t *page;
    size_t at;
    uint64_t base;
} leaf;

static leaf leaf_begin(uint8_t *page)
{
    memset(page, 0, PAGE);
    page[8] = 2;
    put_le(page + 11, NONE, 4);
    put_le(page + 15, NONE, 4);
    return (leaf){.page = page, .at = 19};
}

static void leaf_add(leaf *l, size_t shared, const char *rest, vv_slice value, int flags,
                     uint64_t expires_ms, uint64_t timestamp)
{
    uint8_t *p = l->page + l->at;
    p += put_varint(p, shared);
    p += put_varint(p, strlen(rest));
    p += put_varint(p, value.len << 4 | (unsigned)flags);
    memcpy(p, rest, strlen(rest));
    p += strlen(rest);
    memcpy(p, value.data, value.len);
    p += value.len;
    if ((flags & 2) != 0)
        p += put_varint(p, expires_ms);
    p += put_varint(p, timestamp >= l->base ? (timestamp - l->base) << 1
                                            : (l->base - timestamp) << 1 | 1);
    l->base = timestamp;
    l->at = (size_t)(p - l->page);
    assert_true(l->at + 4 <= PAGE);
}

static void add(leaf *l, const char *key, const char *value, uint64_t timestamp)
{
    leaf_add(l, 0, key, vv_slice_str(value), 0, 0, timestamp);
}

static void leaf_end(leaf *l)
{
    put_le(l->page + l->at, 19, 2); /* the one restart */
    put_le(l->page + l->at + 2, 1, 2);
    put_le(l->page + 9, l->at + 4, 2);
    seal(l->page);
}

/* An index page: a left-most child, and at most one child behind a separator. */
static void make_index(uint8_t *page, int type, uint32_t left, const char *key, uint32_t right)
{
    size_t at = 15;
    memset(page, 0, PAGE);
    page[8] = (uint8_t)type;
    put_le(page + 11, left, 4);
    if (key != NULL) {
        page[at++] = 0;
        page[at++] = (uint8_t)strlen(key);
        memcpy(page + at, key, strlen(key));
        at += strlen(key);
        at += put_varint(page + at, (uint64_t)right << 1);
        put_le(page + at, 15, 2);
        at += 2;
    }
    put_le(page + at, key != NULL, 2);
    put_le(page + 9, at + 2, 2);
    seal(page);
}

static void make_overflow(uint8_t *page, const void *bytes, size_t len, const uint32_t *next, int n)
{
    memset(page, 0, PAGE);
    page[8] = 3;
    put_le(page + 9, len, 2);
    memcpy(page + 11, bytes, len);
    for (int i = 0; i < n; i++)
        put_le(page + PAGE - 1 - 4 * (size_t)(n - i), next[i], 4);
    page[PAGE - 1] = (uint8_t)n;
    seal(page);
}

/* ---- manifests ---- */

static uint64_t mixed_sum(const uint8_t *p, size_t len)
{
    uint64_t acc = 0;
    for (size_t at = 0; at < len; at += 1048576) {
        size_t n = len - at < 1048576 ? len - at : 1048576;
        acc = ((acc << 1 | acc >> 63) ^ XXH3_64bits(p + at, n)) * 0x9e3779b97f4a7c15ULL;
    }
    return acc;
}

static void add_record(vv_buf *m, int generation, uint32_t root, vv_slice payload)
{
    size_t at = m->len;
    vv_buf_append_le64(m, 0);
    vv_buf_append_le32(m, root);
    vv_buf_append_le32(m, NONE);
    vv_buf_append_le32(m, (uint32_t)payload.len);
    vv_buf_append_slice(m, payload);
    const uint8_t *p = m->data + at + 8;
    size_t len = m->len - at - 8;
    put_le(m->data + at, generation == 1 ? XXH3_64bits(p, len) : mixed_sum(p, len), 8);
    while (generation == 6 && m->len % PAGE != 0)
        vv_buf_append_u8(m, 0);
}

/* A snapshot of a mapping; values are given as they are stored: page << 3 | tag. */
static void add_snapshot(vv_buf *m, int generation, uint32_t root, vv_slice dict,
                         const uint64_t *map, size_t count)
{
    vv_buf p;
    vv_buf mapping;
    vv_buf_init(&p, 1 << 20);
    vv_buf_init(&mapping, 1 << 20);
    for (size_t i = 0; i < count; i++)
        vv_buf_append_varint(&mapping, map[i]);
    vv_buf_append_varint(&p, 100);
    if (generation == 6) {
        vv_buf_append_varint(&p, dict.len);
        vv_buf_append_slice(&p, dict);
        vv_buf_append_le32(&p, (uint32_t)mapping.len);
    }
    vv_buf_append_slice(&p, vv_buf_slice(&mapping));
    if (generation == 6) {
        vv_buf_append_le32(&p, 6); /* branches: bytes that nobody here looks at */
        vv_buf_append_str(&p, "main!!");
    }
    add_record(m, generation, root, vv_buf_slice(&p));
    vv_buf_fini(&p);
    vv_buf_fini(&mapping);
}

static void add_change(vv_buf *m, int generation, uint32_t root, vv_slice pairs)
{
    vv_buf p;
    vv_buf_init(&p, 1 << 20);
    if (generation == 6)
        vv_buf_append_le32(&p, (uint32_t)pairs.len);
    vv_buf_append_slice(&p, pairs);
    if (generation == 6)
        vv_buf_append_le32(&p, 0);
    add_record(m, generation, root, vv_buf_slice(&p));
    vv_buf_fini(&p);
}

#define AT(page) ((uint64_t)(page) << 3 | 1)

/*
 * The store of most tests. Data files of four pages; by page id:
 *
 *     0 root: 1, "m" 2      1 leaf: apple, apricot (expires), banana (expired)
 *     2 leaf: melon (overflow 3, 4, then 5), pear
 *
 * File pages: file 0 holds ids 1, 3, 4, 5; file 1 holds an old root, ids 0, 2 and a hole.
 */
static uint8_t file0[4 * PAGE];
static uint8_t file1[4 * PAGE];
static uint8_t melon[2 * 500 + 9];
static const uint64_t basic_map[] = {AT(5), AT(0), AT(6), AT(1), AT(2), AT(3), 2 | 7 << 3, 7};

static void make_pages(void)
{
    memset(file0, 0, sizeof file0);
    memset(file1, 0, sizeof file1);
    for (size_t i = 0; i < sizeof melon; i++)
        melon[i] = (uint8_t)(i * 31);
    leaf l = leaf_begin(file0);
    add(&l, "apple", "red", 100);
    leaf_add(&l, 2, "ricot", vv_slice_str("orange"), 2, NOW_MS + 1, 99);
    leaf_add(&l, 0, "banana", vv_slice_str("brown"), 2, NOW_MS, 101);
    leaf_end(&l);
    const uint32_t next[] = {5};
    make_overflow(file0 + PAGE, melon, 500, NULL, 0);
    make_overflow(file0 + 2 * PAGE, melon + 500, 490, next, 1);
    make_overflow(file0 + 3 * PAGE, melon + 990, sizeof melon - 990, NULL, 0);
    make_index(file1, 1, 1, NULL, 0); /* superseded */
    make_index(file1 + PAGE, 1, 1, "m", 2);
    l = leaf_begin(file1 + 2 * PAGE);
    leaf_add(&l, 0, "melon", BYTES(3, 0, 0, 0, 4, 0, 0, 0), 1, 0, 5);
    add(&l, "pear", "", 1);
    leaf_end(&l);
}

static void write_pages(world *w, int generation)
{
    put_file(w, generation == 1 ? "data_0" : "data_0_main_3", file0, sizeof file0);
    put_file(w, generation == 1 ? "data_1" : "data_1_main_3", file1, sizeof file1);
}

static void write_manifest(world *w, int generation, const vv_buf *m)
{
    put_file(w, generation == 1 ? "manifest" : "manifest_main_3", m->data, m->len);
}

static void make_store(world *w, int generation)
{
    vv_buf m;
    vv_buf_init(&m, 1 << 20);
    make_pages();
    write_pages(w, generation);
    add_snapshot(&m, generation, 0, vv_slice_str(""), basic_map, ARRAY_LEN(basic_map));
    write_manifest(w, generation, &m);
    vv_buf_fini(&m);
}

/* ---- reading it ---- */

static vv_status read_all(world *w, vv_buf *text, btree_import_info *info, vv_error *err)
{
    btree_import *im = NULL;
    btree_import_entry e;
    vv_status st = btree_import_open(w->io, &w->opt, &im, err);
    while (st == VV_OK && (st = btree_import_next(im, &e, err)) == VV_OK) {
        if (text == NULL)
            continue;
        vv_buf_append_slice(text, e.key);
        if (e.value.len == sizeof melon && memcmp(e.value.data, melon, sizeof melon) == 0)
            vv_buf_append_str(text, "=(melon)");
        else
            vv_buf_printf(text, "=%.*s", (int)e.value.len, (const char *)e.value.data);
        vv_buf_printf(text, "@%d", (int)e.timestamp);
        if (e.expires_ns != 0)
            vv_buf_printf(text, "!%lld", (long long)(e.expires_ns - NOW_MS * VV_NS_PER_MS));
        vv_buf_append_str(text, " ");
    }
    if (im != NULL && st != VV_NOT_FOUND) /* what has failed fails again, with the same words */
        assert_status(st, btree_import_next(im, &e, NULL));
    if (im != NULL && info != NULL)
        btree_import_info_read(im, info);
    btree_import_close(im);
    return im != NULL && st == VV_NOT_FOUND ? VV_OK : st;
}

static void expect_text(world *w, const char *want, btree_import_info *info)
{
    vv_buf text;
    vv_error err = {0};
    vv_buf_init(&text, 1 << 20);
    assert_ok(read_all(w, &text, info, &err), err);
    vv_buf_append_u8(&text, 0);
    assert_string_equal((const char *)text.data, want);
    vv_buf_fini(&text);
}

static void expect_refusal(world *w, vv_status want, const char *words)
{
    vv_error err = {0};
    vv_status st = read_all(w, NULL, NULL, &err);
    if (st != want || strstr(err.msg, words) == NULL)
        fail_msg("%s: '%s', not %s with '%s'", vv_status_name(st), err.msg, vv_status_name(want),
                 words);
}

#define BASIC "apple=red@100 apricot=orange@99!1000000 melon=(melon)@5 pear=@1 "

static void every_entry_of_both_generations_is_read(void **state)
{
    world *w = *state;
    btree_import_info info;
    make_store(w, 1);
    expect_text(w, BASIC, &info);
    assert_int_equal(info.generation, 1);
    assert_string_equal(info.manifest, "manifest");
    assert_int_equal(info.entries, 4);
    assert_int_equal(info.expired, 1);
    assert_int_equal(info.pages, 6);
    assert_int_equal(info.pages_read, 6);
    assert_int_equal(info.dropped_bytes, 0);
    make_store(w, 6);
    expect_refusal(w, VV_UNSUPPORTED, "manifest and manifest_main_3 are both here");
    w->opt.manifest = "manifest_main_3";
    expect_text(w, BASIC, &info);
    assert_int_equal(info.generation, 6);
    w->opt.manifest = NULL;
    vv_error err = {0};
    assert_ok(vio_remove(w->io, "manifest", &err), err);
    expect_text(w, BASIC, &info);
    assert_string_equal(info.manifest, "manifest_main_3");
}

static void later_records_move_pages(void **state)
{
    world *w = *state;
    for (int generation = 1; generation <= 6; generation += 5) {
        vv_buf m;
        vv_buf_init(&m, 1 << 20);
        make_pages();
        leaf l = leaf_begin(file1 + 3 * PAGE);
        add(&l, "aardvark", "new", 7);
        leaf_end(&l);
        write_pages(w, generation);
        add_snapshot(&m, generation, 0, vv_slice_str(""), basic_map, ARRAY_LEN(basic_map));
        /* Page 1 is at file page 7 now; page 9 is new; the root is page 9. */
        const uint64_t root = AT(4);
        add_change(&m, generation, 0, BYTES(1, (uint8_t)AT(7)));
        write_manifest(w, generation, &m);
        w->opt.manifest = generation == 1 ? "manifest" : "manifest_main_3";
        expect_text(w, "aardvark=new@7 melon=(melon)@5 pear=@1 ", NULL);
        add_change(&m, generation, 9, BYTES(9, (uint8_t)root));
        write_manifest(w, generation, &m);
        expect_text(w, "aardvark=new@7 ", NULL);
        /* A torn end is dropped: whole, cut short, or of zeros. */
        size_t sound = m.len;
        add_change(&m, generation, 0, BYTES(9, 7));
        m.data[sound + 21] ^= 1;
        btree_import_info info;
        for (size_t len = m.len; len > sound; len -= 5) {
            m.len = len;
            write_manifest(w, generation, &m);
            expect_text(w, "aardvark=new@7 ", &info);
            assert_int_equal(info.dropped_bytes, len - sound);
            if (len < sound + 6)
                break;
        }
        vv_buf_fini(&m);
    }
}

static void damage_in_the_middle_of_a_manifest_is_refused(void **state)
{
    world *w = *state;
    for (int generation = 1; generation <= 6; generation += 5) {
        vv_buf m;
        vv_buf_init(&m, 1 << 20);
        make_pages();
        write_pages(w, generation);
        w->opt.manifest = generation == 1 ? "manifest" : "manifest_main_3";
        add_snapshot(&m, generation, 0, vv_slice_str(""), basic_map, ARRAY_LEN(basic_map));
        size_t second = m.len;
        add_change(&m, generation, 0, BYTES(7, 7));
        add_change(&m, generation, 0, BYTES(7, 7));
        size_t record = 20 + (size_t)m.data[16]; /* the padding behind it has no sum */
        for (size_t i = 0; i < record; i++) {    /* the snapshot, wherever it is hit */
            m.data[i] ^= 0x10;
            write_manifest(w, generation, &m);
            vv_error err = {0};
            assert_status(VV_CORRUPT, read_all(w, NULL, NULL, &err));
            assert_non_null(strstr(err.msg, w->opt.manifest));
            assert_non_null(strstr(err.msg, "offset 0"));
            m.data[i] ^= 0x10;
        }
        for (size_t i = second; i < second + 22; i++) { /* a length too */
            m.data[i] ^= 0x40;
            write_manifest(w, generation, &m);
            expect_refusal(w, VV_CORRUPT, "and sound records follow");
            m.data[i] ^= 0x40;
        }
        m.len = 0;
        write_manifest(w, generation, &m);
        expect_refusal(w, VV_CORRUPT, "it is empty");
        vv_buf_fini(&m);
    }
}

static void bad_mappings_are_refused(void **state)
{
    world *w = *state;
    const struct {
        const char *words;
        vv_slice pairs;
    } cases[] = {
        {"page 1 is not mapped", BYTES(1, 7)},
        {"page 1 is not mapped", BYTES(1, 2)},
        {"the mapping of page 1 has the value 8", BYTES(1, 8)},
        {"ends in the middle of a pair", BYTES(1)},
        {"it maps page 4294967295", BYTES(0xff, 0xff, 0xff, 0xff, 15, 7)},
        {"page 2 is reached twice", BYTES(1, (uint8_t)AT(5), 0, (uint8_t)AT(5), 2, (uint8_t)AT(5))},
        {"data_3 is missing", BYTES(0x81, 0, (uint8_t)AT(12), 1, (uint8_t)AT(12))},
    };
    for (int generation = 1; generation <= 6; generation += 5)
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            vv_buf m;
            vv_buf_init(&m, 1 << 20);
            make_pages();
            write_pages(w, generation);
            add_snapshot(&m, generation, 0, vv_slice_str(""), basic_map, ARRAY_LEN(basic_map));
            add_change(&m, generation, 0, cases[i].pairs);
            write_manifest(w, generation, &m);
            w->opt.manifest = generation == 1 ? "manifest" : "manifest_main_3";
            if (i != 5)
                expect_refusal(w, VV_CORRUPT, cases[i].words);
            else /* the root is its own child */
                assert_status(VV_CORRUPT, read_all(w, NULL, NULL, NULL));
            vv_buf_fini(&m);
        }
}

static void every_flipped_byte_of_a_page_is_named(void **state)
{
    world *w = *state;
    make_store(w, 6);
    const size_t used[] = {0, PAGE, 2 * PAGE, 3 * PAGE};
    for (size_t i = 0; i < ARRAY_LEN(used); i++)
        for (size_t b = 0; b < PAGE; b += 37) {
            char want[64];
            (void)snprintf(want, sizeof want, "data_0_main_3: the page at offset %zu: its sum",
                           used[i]);
            file0[used[i] + b] ^= 4;
            put_file(w, "data_0_main_3", file0, sizeof file0);
            expect_refusal(w, VV_CORRUPT, want);
            file0[used[i] + b] ^= 4;
        }
    put_file(w, "data_0_main_3", file0, 3 * PAGE + 100); /* cut short */
    expect_refusal(w, VV_CORRUPT, "data_0_main_3: the page at offset 1536");
    vv_error err = {0};
    assert_ok(vio_remove(w->io, "data_0_main_3", &err), err);
    expect_refusal(w, VV_CORRUPT, "page 1: data_0 is missing");
}

/* Pages that are sound and lie where others belong. */
static void sound_pages_in_wrong_places_are_refused(void **state)
{
    world *w = *state;
    make_store(w, 1);
    make_index(file1 + PAGE, 1, 2, "m", 1); /* children the wrong way round */
    put_file(w, "data_1", file1, sizeof file1);
    expect_refusal(w, VV_CORRUPT, "the separator of child 1 is not above what lies before");
    make_index(file1 + PAGE, 1, 1, "n", 2); /* melon is below its separator */
    put_file(w, "data_1", file1, sizeof file1);
    expect_refusal(w, VV_CORRUPT,
                   "page 2: data_1: the page at offset 1024: a key is not above what lies before");
    make_index(file1 + PAGE, 0, 1, "m", 2); /* an index above index pages */
    put_file(w, "data_1", file1, sizeof file1);
    expect_refusal(w, VV_CORRUPT, "a page of type 2 does not belong under page 0");
    make_index(file1 + PAGE, 1, 3, "m", 2); /* a value in the place of a leaf */
    put_file(w, "data_1", file1, sizeof file1);
    expect_refusal(w, VV_CORRUPT, "page type 3 where entries are expected");
    make_pages();
    const uint32_t loop[] = {3};
    make_overflow(file0 + 2 * PAGE, melon, 490, loop, 1);
    write_pages(w, 1);
    expect_refusal(w, VV_CORRUPT, "page 3 is reached twice");
    const uint32_t early[] = {5};
    make_overflow(file0 + PAGE, melon, 400, early, 1);
    write_pages(w, 1);
    expect_refusal(w, VV_CORRUPT, "pointers in the middle of a group");
}

static void values_by_zstd_are_read(void **state)
{
    world *w = *state;
    uint8_t stored[PAGE];
    static char raw[300];
    const char *dict = "the quick brown fox jumps over the lazy dog, the quick brown fox";
    memset(raw, 'x', sizeof raw - 1);
    vv_error err = {0};
    codec_dict *d = NULL;
    codec_dict_ctx *c = NULL;
    assert_ok(codec_dict_create(vv_slice_str(dict), &d, &err), err);
    assert_ok(codec_dict_ctx_create(&c, &err), err);
    make_pages();
    leaf l = leaf_begin(file0);
    for (int i = 0; i < 2; i++) {
        size_t head = put_varint(stored, sizeof raw - 1);
        size_t len = 0;
        assert_ok(codec_dict_compress(c, i == 0 ? d : NULL, vv_slice_str(raw), stored + head,
                                      sizeof stored - head, &len, &err),
                  err);
        leaf_add(&l, 0, i == 0 ? "a" : "b", vv_slice_of(stored, head + len), i == 0 ? 4 : 8, 0, 1);
    }
    leaf_end(&l);
    write_pages(w, 6);
    vv_buf m;
    vv_buf_init(&m, 1 << 20);
    add_snapshot(&m, 6, 1, vv_slice_str(dict), basic_map, ARRAY_LEN(basic_map));
    write_manifest(w, 6, &m);
    char want[700];
    (void)snprintf(want, sizeof want, "a=%s@1 b=%s@1 ", raw, raw);
    expect_text(w, want, NULL);
    m.len = 0;
    add_snapshot(&m, 6, 1, vv_slice_str(""), basic_map, ARRAY_LEN(basic_map));
    write_manifest(w, 6, &m);
    expect_refusal(w, VV_CORRUPT, "a value: it needs the dictionary, and the manifest has none");
    m.len = 0; /* generation 1 knew no such flags */
    add_snapshot(&m, 1, 1, vv_slice_str(""), basic_map, ARRAY_LEN(basic_map));
    write_manifest(w, 1, &m);
    write_pages(w, 1);
    w->opt.manifest = "manifest";
    expect_refusal(w, VV_CORRUPT, "data_0: the page at offset 0: a value: its flags 4");
    w->opt.manifest = NULL;
    assert_ok(vio_remove(w->io, "manifest", &err), err);
    l = leaf_begin(file0);
    leaf_add(&l, 0, "a", vv_slice_str("12345678"), 12, 0, 1);
    leaf_end(&l);
    write_pages(w, 6);
    expect_refusal(w, VV_UNSUPPORTED, "segment file");
    l = leaf_begin(file0);
    leaf_add(&l, 0, "a", vv_slice_str("\x05no frame"), 8, 0, 1);
    leaf_end(&l);
    write_pages(w, 6);
    expect_refusal(w, VV_CORRUPT, "zstd");
    vv_buf_fini(&m);
    codec_dict_destroy(d);
    codec_dict_ctx_destroy(c);
}

static void the_newest_term_of_the_branch_is_read(void **state)
{
    world *w = *state;
    vv_buf m;
    vv_error err = {0};
    vv_buf_init(&m, 1 << 20);
    make_store(w, 6);
    /* Another branch, forked: file 1 is its own, file 0 is main's. */
    leaf l = leaf_begin(file1 + 2 * PAGE);
    add(&l, "zebra", "forked", 1);
    leaf_end(&l);
    put_file(w, "data_1_fork-2_12", file1, sizeof file1);
    add_snapshot(&m, 6, 0, vv_slice_str(""), basic_map, ARRAY_LEN(basic_map));
    put_file(w, "manifest_fork-2_12", m.data, m.len);
    put_file(w, "manifest_fork-2_9", "old", 3);
    put_file(w, "manifest_fork-2_12_noon", m.data, m.len);
    put_file(w, "manifest_fork-2_12.tmp", "x", 1);
    put_file(w, "segment_0_main_3", "x", 1);
    expect_text(w, BASIC, NULL);
    w->opt.branch = "fork-2";
    btree_import_info info;
    expect_text(w, "apple=red@100 apricot=orange@99!1000000 zebra=forked@1 ", &info);
    assert_string_equal(info.manifest, "manifest_fork-2_12");
    w->opt.manifest = "manifest_fork-2_12_noon";
    expect_text(w, "apple=red@100 apricot=orange@99!1000000 zebra=forked@1 ", NULL);
    put_file(w, "data_0_other_1", file0, sizeof file0);
    expect_refusal(w, VV_UNSUPPORTED, "data_0 is there from several branches");
    w->opt.manifest = "../manifest";
    expect_refusal(w, VV_INVALID, "is no manifest's name");
    w->opt.manifest = "manifest_main_3_a/b";
    expect_refusal(w, VV_INVALID, "is no manifest's name");
    w->opt.manifest = NULL;
    w->opt.branch = "none";
    expect_refusal(w, VV_NOT_FOUND, "neither manifest nor manifest_none_<term> is here");
    /* A name of generation 1 over records of a later one. */
    put_file(w, "manifest_1700000000", m.data, m.len);
    w->opt.manifest = "manifest_1700000000";
    expect_refusal(w, VV_UNSUPPORTED, "only generations 1 and 6 are read");
    assert_ok(vio_remove(w->io, "manifest_1700000000", &err), err);
    vv_buf_fini(&m);
}

/* Of one piece, of two, of four. */
static void the_sum_is_mixed_from_pieces(void **state)
{
    (void)state;
    const size_t sizes[] = {1, 1048576, 1048577, 3 * 1048576 + 5};
    uint8_t *bytes = malloc(4 * 1048576);
    assert_non_null(bytes);
    for (size_t i = 0; i < 4 * 1048576; i++)
        bytes[i] = (uint8_t)(i * 7 >> 3);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        vv_slice all = vv_slice_of(bytes, sizes[i]);
        assert_true(btree_import_sum(all, 6) == mixed_sum(bytes, sizes[i]));
        assert_true(btree_import_sum(all, 1) == XXH3_64bits(bytes, sizes[i]));
    }
    free(bytes);
}

/* What was written after an archive was made is no part of it. */
static void later_terms_are_not_of_an_older_manifest(void **state)
{
    world *w = *state;
    make_store(w, 6);
    memset(file0, 0, sizeof file0);
    put_file(w, "data_0_main_4", file0, sizeof file0);
    expect_text(w, BASIC, NULL);
    make_pages();
    leaf l = leaf_begin(file0);
    add(&l, "apple", "green", 1);
    leaf_end(&l);
    put_file(w, "data_0_main_2", file0, sizeof file0); /* nor that of an earlier one */
    expect_text(w, BASIC, NULL);
}

static void an_empty_store_has_no_entries(void **state)
{
    world *w = *state;
    vv_buf m;
    vv_buf_init(&m, 1 << 20);
    add_snapshot(&m, 1, NONE, vv_slice_str(""), NULL, 0);
    write_manifest(w, 1, &m);
    expect_text(w, "", NULL);
    vv_buf_fini(&m);
    w->opt.page_size = 1000;
    expect_refusal(w, VV_INVALID, "a page of 1000 bytes");
    w->opt.page_size = PAGE;
    w->opt.file_shift = 32;
    expect_refusal(w, VV_INVALID, "2^32 pages");
    w->opt.file_shift = 2;
    w->opt.record_align = 3;
    expect_refusal(w, VV_INVALID, "padded to 3 bytes");
}

static void short_memory_is_an_answer(void **state)
{
    world *w = *state;
    make_store(w, 6);
    for (int n = 0;; n++) {
        vv_alloc_fail_after(n, 0);
        vv_status st = read_all(w, NULL, NULL, NULL);
        vv_alloc_fail_after(-1, 0);
        if (st == VV_OK)
            break;
        assert_status(VV_NO_MEMORY, st);
        assert_true(n < 10000);
    }
}

int main(void)
{
#define ONE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        ONE(every_entry_of_both_generations_is_read),
        ONE(later_records_move_pages),
        ONE(damage_in_the_middle_of_a_manifest_is_refused),
        ONE(bad_mappings_are_refused),
        ONE(every_flipped_byte_of_a_page_is_named),
        ONE(sound_pages_in_wrong_places_are_refused),
        ONE(values_by_zstd_are_read),
        ONE(the_newest_term_of_the_branch_is_read),
        ONE(later_terms_are_not_of_an_older_manifest),
        ONE(the_sum_is_mixed_from_pieces),
        ONE(an_empty_store_has_no_entries),
        ONE(short_memory_is_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
