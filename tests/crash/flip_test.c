/*
 * flip_test.c - one flipped bit, or one zeroed sector, in each kind of file of a closed store.
 *
 * The law: detected or harmless, never a wrong answer. A store that opens shows exactly what was
 * written, or refuses to. The last batch of a log is there twice, in its segment and in the ring,
 * so this holds for it too.
 *
 * VV_FLIPS sets the bits a kind of file; they are spread over all files of the kind. VV_FLIP_ALL=1
 * flips a bit of every byte of a smaller store instead, and shows which bytes neither a read nor
 * vv_check notices.
 *
 * The same law holds for a store of which any one file is missing.
 */
#include "crash/crash_model.h"

#include <string.h>

#define STEPS 330u
#define STEPS_ALL 90u
#define KIND_NAME 32u
#define FILES_MAX 512u

typedef struct store_file {
    char path[VIO_PATH_MAX];
    uint64_t size;
} store_file;

typedef struct file_list {
    store_file file[FILES_MAX];
    size_t count;
} file_list;

typedef struct tally {
    uint64_t flips;
    uint64_t refused; /* the store did not open */
    uint64_t told;    /* a read said VV_CORRUPT */
    uint64_t unseen;  /* of every byte: the check says nothing either */
} tally;

static bool every_byte; /* VV_FLIP_ALL */

static void add_file(void *ctx, const char *path, uint64_t size)
{
    file_list *list = ctx;
    if (size == 0 || list->count == FILES_MAX)
        return;
    store_file *f = &list->file[list->count++];
    (void)snprintf(f->path, sizeof f->path, "%s", path);
    f->size = size;
}

/* "shard-001/run-00000007" is of kind "run", "wal/0001.seg" of kind "seg". */
static void kind_of(const char *path, char out[KIND_NAME])
{
    const char *name = strrchr(path, '/');
    name = name == NULL ? path : name + 1;
    const char *dot = strrchr(name, '.');
    if (dot != NULL)
        name = dot + 1;
    size_t len = strcspn(name, "-0123456789");
    (void)snprintf(out, KIND_NAME, "%.*s", (int)(len < KIND_NAME ? len : KIND_NAME - 1), name);
}

static void nothing_found(void *ctx, const char *text)
{
    (void)text;
    (*(int *)ctx)++;
}

static vv_status check(model *m, int *found)
{
    vv_error err = {0};
    *found = 0;
    assert_ok(sim_on(&m->world, &(vio_sim_options){.seed = 2}, &err), err);
    vv_status st = db_check_env(&m->world.env, nothing_found, found, &err);
    sim_off(&m->world);
    return st;
}

/* What was seen to be wrong, vv_check must find too. */
static void check_finds(model *m)
{
    int found = 0;
    vv_status st = check(m, &found);
    if (st != VV_CORRUPT || found == 0)
        fail_msg("vv_check says %s with %d findings", vv_status_name(st), found);
}

static void judge(model *m, const char *what, tally *t)
{
    vv_error err = {0};
    model_state actual;
    vio_sim_options sim = {.seed = 1};
    bool check = vv_rng_one_in(&m->rng, 16);
    t->flips++;
    vv_status st = model_open(m, &sim, &err);
    if (st != VV_OK) {
        if (st != VV_CORRUPT && st != VV_UNSUPPORTED)
            fail_msg("%s: open: %s: %s", what, vv_status_name(st), err.msg);
        t->refused++;
        if (check)
            check_finds(m);
        return;
    }
    st = model_read(m, NULL, &actual, &err);
    if (st == VV_OK && model_match(m, &actual, m->last) < 0) {
        fail_msg("%s: a wrong answer", what);
    } else if (st == VV_CORRUPT) {
        t->told++;
    } else if (st != VV_OK) {
        fail_msg("%s: read: %s: %s", what, vv_status_name(st), err.msg);
    }
    model_abandon(m);
    if (st == VV_CORRUPT && check) {
        vio_sim_disk_kill(m->world.disk);
        check_finds(m);
    }
}

/* Before anything is opened, which would repair what a crash may leave. */
static void note_unseen(model *m, vio_sim_disk *damaged, tally *t)
{
    int found = 0;
    m->world.disk = vio_sim_disk_clone(damaged);
    assert_non_null(m->world.disk);
    vv_status st = check(m, &found);
    if (st != VV_OK && st != VV_CORRUPT && st != VV_UNSUPPORTED)
        fail_msg("vv_check: %s", vv_status_name(st));
    t->unseen += st == VV_OK && found == 0;
    vio_sim_disk_destroy(m->world.disk);
    m->world.disk = damaged;
}

static void damage_one(model *m, vio_sim_disk *whole, const store_file *f, uint64_t bit, bool zero,
                       tally *t)
{
    char what[VIO_PATH_MAX + 64];
    (void)snprintf(what, sizeof what, "'%s' %s %llu", f->path, zero ? "sector of bit" : "bit",
                   (unsigned long long)bit);
    m->world.disk = vio_sim_disk_clone(whole);
    assert_non_null(m->world.disk);
    if (zero) {
        uint64_t at = bit / 8 / VV_SECTOR * VV_SECTOR;
        uint64_t len = f->size - at < VV_SECTOR ? f->size - at : VV_SECTOR;
        assert_int_equal(vio_sim_zero(m->world.disk, f->path, at, len), VV_OK);
    } else {
        assert_int_equal(vio_sim_flip_bit(m->world.disk, f->path, bit), VV_OK);
    }
    if (every_byte)
        note_unseen(m, m->world.disk, t);
    judge(m, what, t);
    vio_sim_disk_destroy(m->world.disk);
    m->world.disk = whole;
}

static void damage_kind(model *m, const file_list *list, const char *kind, uint64_t flips)
{
    uint64_t total = 0;
    tally t = {0};
    char name[KIND_NAME];
    for (size_t i = 0; i < list->count; i++) {
        kind_of(list->file[i].path, name);
        total += strcmp(name, kind) == 0 ? list->file[i].size * 8 : 0;
    }
    uint64_t step = total / flips + 1;
    for (uint64_t at = vv_rng_below(&m->rng, step); at < total;
         at += 1 + vv_rng_below(&m->rng, 2 * step)) {
        uint64_t bit = at;
        size_t i = 0;
        for (;; i++) {
            kind_of(list->file[i].path, name);
            if (strcmp(name, kind) != 0)
                continue;
            if (bit < list->file[i].size * 8)
                break;
            bit -= list->file[i].size * 8;
        }
        damage_one(m, m->world.disk, &list->file[i], bit, vv_rng_one_in(&m->rng, 10), &t);
    }
    print_message("%-10s %6llu damaged: %llu refused at open, %llu told by a read, the rest "
                  "harmless\n",
                  kind, (unsigned long long)t.flips, (unsigned long long)t.refused,
                  (unsigned long long)t.told);
    if (t.flips > 50 && t.refused + t.told == 0)
        fail_msg("no damage to a %s was ever seen: the test cannot fail", kind);
}

/* One bit of each byte: another one for neighbours. */
static void damage_every_byte(model *m, const file_list *list, const char *kind)
{
    tally t = {0};
    char name[KIND_NAME];
    for (size_t i = 0; i < list->count; i++) {
        kind_of(list->file[i].path, name);
        if (strcmp(name, kind) != 0)
            continue;
        uint64_t from = 0; /* of a stretch that nobody notices */
        uint64_t unseen = t.unseen;
        for (uint64_t at = 0; at <= list->file[i].size; at++) {
            uint64_t before = t.unseen;
            if (at < list->file[i].size)
                damage_one(m, m->world.disk, &list->file[i], at * 8 + at * 5 % 8, false, &t);
            if (t.unseen > before)
                continue;
            if (at > from)
                print_message("  '%s': bytes %llu to %llu are noticed by nothing\n",
                              list->file[i].path, (unsigned long long)from,
                              (unsigned long long)at - 1);
            from = at + 1;
        }
        print_message("  '%s': %llu of %llu bytes are noticed\n", list->file[i].path,
                      (unsigned long long)(list->file[i].size - (t.unseen - unseen)),
                      (unsigned long long)list->file[i].size);
    }
    print_message("%-10s %6llu damaged: %llu refused at open, %llu told by a read, %llu noticed by "
                  "nothing and harmless\n",
                  kind, (unsigned long long)t.flips, (unsigned long long)t.refused,
                  (unsigned long long)t.told, (unsigned long long)t.unseen);
}

/* A store that was closed, and its files. */
static const file_list *make_store(model *m, uint64_t seed, unsigned steps)
{
    static file_list list;
    vv_error err = {0};
    model_init(m, seed);
    m->world.opt.log_limit = 2u << 20;
    assert_ok(model_open(m, &(vio_sim_options){.seed = seed}, &err), err);
    assert_int_equal(model_run(m, steps), MODEL_DONE);
    assert_ok(model_close(m, &err), err);
    vio_sim_disk_kill(m->world.disk);
    m->expect_damage = true;
    list.count = 0;
    vio_sim_each_file(m->world.disk, add_file, &list);
    return &list;
}

static void a_missing_file_is_detected_or_harmless(void **state)
{
    (void)state;
    model m;
    vv_error err = {0};
    tally t = {0};
    const file_list *list = make_store(&m, vv_test_seed(0xf11c), STEPS);
    vio_sim_disk *whole = m.world.disk;
    for (size_t i = 0; i < list->count; i++) {
        uint64_t seen = t.refused + t.told;
        char kind[KIND_NAME];
        kind_of(list->file[i].path, kind);
        m.world.disk = vio_sim_disk_clone(whole);
        assert_non_null(m.world.disk);
        assert_ok(sim_on(&m.world, &(vio_sim_options){.seed = 3}, &err), err);
        assert_ok(vio_remove(m.world.env.io, list->file[i].path, &err), err);
        sim_off(&m.world);
        vio_sim_disk_kill(m.world.disk);
        judge(&m, list->file[i].path, &t);
        if (seen == t.refused + t.told)
            print_message("  '%s' is not needed\n", list->file[i].path);
        vio_sim_disk_destroy(m.world.disk);
    }
    m.world.disk = whole;
    print_message("%zu files, %llu refused at open, %llu told by a read\n", list->count,
                  (unsigned long long)t.refused, (unsigned long long)t.told);
    assert_true(t.refused > 0);
    model_fini(&m);
}

static void damage_is_detected_or_harmless(void **state)
{
    (void)state;
    model m;
    uint64_t seed = vv_test_seed(0xf11b);
    uint64_t flips = vv_test_count("VV_FLIPS", 1200);
    every_byte = vv_test_count("VV_FLIP_ALL", 0) != 0;
    print_message("VV_SEED=0x%llx\n", (unsigned long long)seed);
    const file_list *list = make_store(&m, seed, every_byte ? STEPS_ALL : STEPS);
    char kind[KIND_NAME];
    char seen[512] = " ";
    for (size_t i = 0; i < list->count; i++) {
        char mark[KIND_NAME + 2];
        kind_of(list->file[i].path, kind);
        (void)snprintf(mark, sizeof mark, " %s ", kind);
        if (strstr(seen, mark) != NULL)
            continue;
        (void)strncat(seen, mark + 1, sizeof seen - strlen(seen) - 1);
        if (strcmp(kind, "LOCK") != 0 && every_byte)
            damage_every_byte(&m, list, kind);
        else if (strcmp(kind, "LOCK") != 0)
            damage_kind(&m, list, kind, flips);
    }
    print_message("kinds:%s\n", seen);
    model_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damage_is_detected_or_harmless),
        cmocka_unit_test(a_missing_file_is_detected_or_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
