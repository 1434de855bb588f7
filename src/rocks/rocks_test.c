/*
 * rocks_test.c - what only this engine does: a real SIGKILL in the middle of flushes (RocksDB does
 * its own I/O, which no simulated disk can cut), damage and loss of each file, directories that are
 * not its own.
 *
 * VV_KILLS (20) sets the kills; VV_FLIP_STEP (97) the distance of flipped bytes, 1 for each one.
 */
#include "rocks/rocks_test_util.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/rng.h"
#include "io/vio_sim.h"
#include "rocks/rocks_int.h"

#define KEYS 60u
#define TABLE 7u

typedef struct world {
    rocks_world files;
    engine_options opt;
    engine *e;
    int64_t version;
    uint64_t seed;
    bool keeps; /* every version may be asked for */
} world;

static engine_floor floor_of(void *ctx, uint32_t table)
{
    const world *w = ctx;
    (void)table;
    return (engine_floor){.version = w->keeps ? 0 : w->version, .time_ns = 1};
}

static void set_options(world *w)
{
    w->opt = (engine_options){.env = &w->files.env,
                              .dir = "shard-0",
                              .memtable_size = 64 * VV_KIB,
                              .cache_size = VV_MIB,
                              .target_file_size = 32 * VV_KIB,
                              .block_size = 1024,
                              .compress = true,
                              .hooks = {.ctx = w, .floor = floor_of}};
}

static void begin(world *w, uint64_t seed)
{
    vv_error err;
    *w = (world){.seed = seed};
    (void)rocks_world_begin(&w->files);
    set_options(w);
    assert_ok(rocks_ops.open(&w->opt, &w->e, &err), err);
}

static void end(world *w)
{
    rocks_ops.close(w->e);
    rocks_world_end(&w->files, &w->files.env);
}

static void reopen(world *w)
{
    vv_error err;
    rocks_ops.close(w->e);
    w->e = NULL;
    assert_ok(rocks_ops.open(&w->opt, &w->e, &err), err);
}

/* ---- a workload that follows from its seed ---- */

/* What each key holds: the version that wrote it; 0: nothing. */
typedef struct picture {
    int64_t by[KEYS];
} picture;

typedef struct action {
    engine_kind kind;
    unsigned from, to; /* the key, or a range */
} action;

static action action_of(uint64_t seed, int64_t version)
{
    vv_rng rng;
    vv_rng_init(&rng, seed * 1000003 + (uint64_t)version);
    action a = {.from = (unsigned)vv_rng_below(&rng, KEYS)};
    uint64_t dice = vv_rng_below(&rng, 100);
    a.kind = dice < 4 ? ENGINE_RANGE_DELETE : dice < 20 ? ENGINE_DELETE : ENGINE_PUT;
    a.to = a.from + 1 + (unsigned)vv_rng_below(&rng, 20);
    return a;
}

static void act(picture *p, uint64_t seed, int64_t version)
{
    action a = action_of(seed, version);
    if (a.kind == ENGINE_RANGE_DELETE)
        for (unsigned i = a.from; i < a.to && i < KEYS; i++)
            p->by[i] = 0;
    else
        p->by[a.from] = a.kind == ENGINE_PUT ? version : 0;
}

static vv_slice key_text(unsigned i, char out[16])
{
    return vv_slice_of(out, (size_t)snprintf(out, 16, "k%03u", i));
}

static size_t value_of(int64_t version, char out[600])
{
    size_t len = 20 + (size_t)(version * 7919 % 500);
    memset(out, 'a' + (int)(version % 26), len);
    (void)snprintf(out, 20, "%" PRId64, version);
    return len;
}

static void write_version(world *w, int64_t version)
{
    vv_error err;
    vv_buf buf;
    char key[16];
    char end_key[16];
    char value[600];
    action a = action_of(w->seed, version);
    vv_slice v = vv_slice_of(NULL, 0);
    if (a.kind == ENGINE_PUT) {
        v = vv_slice_of(value, value_of(version, value));
    } else if (a.kind == ENGINE_RANGE_DELETE) {
        uint8_t with_table[32];
        vv_slice text = key_text(a.to, end_key);
        vv_put_be32(with_table, TABLE);
        memcpy(with_table + 4, text.data, text.len);
        memcpy(value, with_table, text.len + 4);
        v = vv_slice_of(value, text.len + 4);
    }
    vv_buf_init(&buf, VV_MIB);
    size_t at = engine_entry_begin(&buf);
    engine_entry_add_key(&buf, a.kind, TABLE, key_text(a.from, key), v, 0);
    engine_entry_finish(&buf, at, 1);
    vv_status st;
    while ((st = rocks_ops.prepare(w->e, buf.len, 1, &err)) == VV_BUSY)
        assert_ok(rocks_ops.work(w->e, &err), err);
    assert_ok(st, err);
    assert_ok(rocks_ops.apply(w->e, version, 0, vv_buf_slice(&buf), &err), err);
    w->version = version;
    rocks_ops.publish(w->e, version);
    vv_buf_fini(&buf);
}

static void work_off(world *w)
{
    vv_error err = {0};
    vv_status st;
    while ((st = rocks_ops.work(w->e, &err)) == VV_OK)
        continue;
    if (st != VV_NOT_FOUND)
        fail_msg("work: %s", err.msg);
}

static void compact_all(world *w)
{
    vv_error err;
    assert_ok(rocks_ops.freeze(w->e, &err), err);
    assert_ok(rocks_ops.compact_range(w->e, vv_slice_of("\0\0\0\0", 4), vv_slice_str("\xff"), &err),
              err);
    work_off(w);
}

/* What the engine shows is the picture; VV_OK, or the status of the read that failed. */
static vv_status compare(engine *e, int64_t version, const picture *want)
{
    vv_error err = {0};
    uint8_t lower[4];
    uint8_t upper[4];
    vv_put_be32(lower, TABLE);
    vv_put_be32(upper, TABLE + 1);
    engine_cursor_options opt = {.read = {.version = version, .now_ns = 1},
                                 .lower = vv_slice_of(lower, 4),
                                 .upper = vv_slice_of(upper, 4)};
    engine_cursor *c = NULL;
    vv_status st = e->ops->cursor(e, &opt, &c, &err);
    if (st == VV_OK)
        st = engine_cursor_seek(c, vv_slice_of(NULL, 0), &err);
    for (unsigned i = 0; st == VV_OK && i < KEYS; i++) {
        char key[16];
        char value[600];
        if (want->by[i] == 0)
            continue;
        if (!engine_cursor_valid(c))
            fail_msg("key %u of version %" PRId64 " is missing", i, want->by[i]);
        const engine_item *item = engine_cursor_item(c);
        vv_slice user = vv_slice_of(item->key.data + 4, item->key.len - 4);
        if (!vv_slice_eq(user, key_text(i, key)) || item->version != want->by[i] ||
            !vv_slice_eq(item->value, vv_slice_of(value, value_of(want->by[i], value))))
            fail_msg("at key %u of version %" PRId64 " stands '%.*s' of version %" PRId64, i,
                     want->by[i], (int)user.len, (const char *)user.data, item->version);
        st = engine_cursor_next(c, &err);
    }
    if (st == VV_OK && engine_cursor_valid(c))
        fail_msg("there is a key too many");
    engine_cursor_close(c);
    if (st != VV_OK)
        print_message("  a read: %s\n", err.msg);
    return st;
}

static picture picture_at(uint64_t seed, int64_t version)
{
    picture p = {0};
    for (int64_t v = 1; v <= version; v++)
        act(&p, seed, v);
    return p;
}

/* ---- SIGKILL ---- */

/* The child: goes on from the checkpoint, and says each new one. */
static int run_child(const char *dir, uint64_t seed)
{
    world w = {.seed = seed};
    vv_error err = {0};
    if (env_posix_init(&w.files.env, dir, NULL, &err) != VV_OK)
        return 2;
    set_options(&w);
    if (rocks_ops.open(&w.opt, &w.e, &err) != VV_OK)
        return 3;
    int64_t said = rocks_ops.checkpoint(w.e);
    for (int64_t v = said + 1;; v++) {
        write_version(&w, v);
        if (v % 40 == 0 && rocks_ops.freeze(w.e, &err) == VV_OK)
            work_off(&w);
        if (v % 900 == 0)
            compact_all(&w);
        int64_t now = rocks_ops.checkpoint(w.e);
        if (now != said && write(STDOUT_FILENO, &now, sizeof now) != sizeof now)
            return 0;
        said = now;
    }
}

static pid_t start_child(const char *dir, uint64_t seed, int *out)
{
    int ends[2];
    char text[32];
    assert_int_equal(pipe(ends), 0);
    (void)snprintf(text, sizeof text, "%" PRIu64, seed);
    pid_t pid = fork();
    if (pid == 0) {
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        (void)execl("/proc/self/exe", "rocks_test", "--child", dir, text, (char *)NULL);
        _exit(9);
    }
    (void)close(ends[1]);
    *out = ends[0];
    return pid;
}

/* The last checkpoint it said before it was killed, after so many of them. */
static int64_t run_and_kill(const char *dir, uint64_t seed, uint64_t checkpoints, uint64_t more_us)
{
    int from = -1;
    int status = 0;
    int64_t said = 0;
    int64_t got;
    pid_t pid = start_child(dir, seed, &from);
    assert_true(pid > 0);
    for (uint64_t i = 0; i < checkpoints && read(from, &got, sizeof got) == sizeof got; i++)
        said = got;
    (void)usleep((useconds_t)more_us);
    (void)kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFSIGNALED(status))
        fail_msg("the child ended by itself: %d", status);
    while (read(from, &got, sizeof got) == sizeof got)
        said = got;
    (void)close(from);
    return said;
}

static void prop_a_kill_keeps_whole_flushes(void **state)
{
    (void)state;
    world w;
    vv_error err;
    vv_rng rng;
    uint64_t seed = vv_test_seed(1);
    print_message("VV_SEED=0x%" PRIx64 "\n", seed);
    vv_rng_init(&rng, seed);
    begin(&w, seed);
    int64_t before = 0;
    for (uint64_t kills = vv_test_count("VV_KILLS", 20); kills > 0; kills--) {
        rocks_ops.close(w.e);
        w.e = NULL;
        int64_t said =
            run_and_kill(w.files.dir, seed, vv_rng_below(&rng, 40), vv_rng_below(&rng, 20000));
        assert_ok(rocks_check_dir(&w.files.env, "shard-0", 0, NULL, NULL, &err), err);
        assert_ok(rocks_ops.open(&w.opt, &w.e, &err), err);
        int64_t checkpoint = rocks_ops.checkpoint(w.e);
        if (checkpoint < said || checkpoint < before)
            fail_msg("the checkpoint is %" PRId64 ", %" PRId64 " was said", checkpoint, said);
        picture want = picture_at(seed, checkpoint);
        assert_ok(compare(w.e, checkpoint, &want), err);
        before = checkpoint;
    }
    print_message("  %" PRId64 " versions\n", before);
    assert_true(before > 0);
    end(&w);
}

/* ---- damage ---- */

static void fill(world *w, int64_t versions)
{
    for (int64_t v = w->version + 1, last = w->version + versions; v <= last; v++) {
        vv_error err;
        write_version(w, v);
        if (v % 200 == 0) {
            assert_ok(rocks_ops.freeze(w->e, &err), err);
            work_off(w);
        }
    }
    vv_error err;
    assert_ok(rocks_ops.freeze(w->e, &err), err);
    work_off(w);
}

typedef struct named {
    char path[512];
    off_t size;
} named;

/* The regular files below shard-0 whose name contains one of the words. */
static size_t find_files(const world *w, const char *const *words, named *out, size_t max)
{
    static const char *const folders[] = {"shard-0", "shard-0/rocksdb"};
    size_t n = 0;
    for (size_t f = 0; f < ARRAY_LEN(folders); f++) {
        char folder[200];
        (void)snprintf(folder, sizeof folder, "%s/%s", w->files.dir, folders[f]);
        DIR *d = opendir(folder);
        assert_non_null(d);
        for (struct dirent *at; (at = readdir(d)) != NULL;) {
            struct stat st;
            bool wanted = false;
            for (size_t i = 0; words[i] != NULL; i++)
                wanted |= strstr(at->d_name, words[i]) != NULL;
            named *file = &out[n];
            (void)snprintf(file->path, sizeof file->path, "%s/%s", folder, at->d_name);
            /* RocksDB makes a new one where its own is gone. */
            wanted &= strstr(file->path, "rocksdb/IDENTITY") == NULL;
            if (!wanted || n + 1 == max || stat(file->path, &st) != 0 || !S_ISREG(st.st_mode))
                continue;
            file->size = st.st_size;
            n++;
        }
        (void)closedir(d);
    }
    return n;
}

static void flip(const char *path, off_t at, uint8_t bits)
{
    uint8_t byte = 0;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= bits;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    (void)close(fd);
}

/* With one byte of a file changed: the check or the open refuses it, or all answers are right. */
static bool notices(world *w, const picture *want, const char *path, off_t at)
{
    vv_error err = {0};
    flip(path, at, 0x20);
    vv_status st = rocks_check_dir(&w->files.env, "shard-0", 0, NULL, NULL, &err);
    if (st != VV_OK && st != VV_CORRUPT && st != VV_UNSUPPORTED && st != VV_IO)
        fail_msg("%s byte %lld: %s: %s", path, (long long)at, vv_status_name(st), err.msg);
    if (st == VV_OK) { /* nobody notices: then it must not matter */
        engine_options opt = w->opt;
        engine *e = NULL;
        opt.read_only = true;
        assert_ok(rocks_ops.open(&opt, &e, &err), err);
        st = compare(e, w->version, want);
        if (st != VV_OK || rocks_ops.checkpoint(e) != w->version)
            fail_msg("%s byte %lld: the check finds nothing, a read says %s, checkpoint %" PRId64,
                     path, (long long)at, vv_status_name(st), rocks_ops.checkpoint(e));
        rocks_ops.close(e);
    }
    flip(path, at, 0x20);
    return st != VV_OK;
}

static void every_byte_is_noticed_or_does_not_matter(void **state)
{
    (void)state;
    static const char *const words[] = {".sst", "MANIFEST", "CURRENT", "IDENTITY", NULL};
    named files[64];
    world w;
    begin(&w, 3);
    fill(&w, 500);
    compact_all(&w);
    fill(&w, 100);
    picture want = picture_at(w.seed, w.version);
    rocks_ops.close(w.e);
    w.e = NULL;
    size_t count = find_files(&w, words, files, ARRAY_LEN(files));
    assert_true(count >= 6);
    uint64_t step = vv_test_count("VV_FLIP_STEP", 97);
    for (size_t i = 0; i < count; i++) {
        uint64_t seen = 0;
        uint64_t total = 0;
        /* The last of a file, where its footer is, and some in between. */
        for (off_t at = files[i].size - 1; at >= 0; at -= (off_t)step, total++)
            seen += notices(&w, &want, files[i].path, at);
        print_message("  %-20s %5" PRIu64 " of %" PRIu64 " bytes noticed\n",
                      strrchr(files[i].path, '/') + 1, seen, total);
        if (seen == 0)
            fail_msg("%s: no damage was noticed", files[i].path);
    }
    end(&w);
}

static void each_file_may_be_missing(void **state)
{
    (void)state;
    static const char *const words[] = {".sst", "MANIFEST", "CURRENT", "IDENTITY", NULL};
    named files[64];
    world w;
    vv_error err = {0};
    begin(&w, 4);
    fill(&w, 300);
    rocks_ops.close(w.e);
    w.e = NULL;
    size_t count = find_files(&w, words, files, ARRAY_LEN(files));
    for (size_t i = 0; i < count; i++) {
        char away[600];
        struct stat there;
        (void)snprintf(away, sizeof away, "%s/away", w.files.dir);
        if (stat(files[i].path, &there) != 0)
            continue; /* an open before has cleaned up */
        assert_int_equal(rename(files[i].path, away), 0);
        engine_options opt = w.opt;
        engine *e = NULL;
        for (int turn = 0; turn < 2; turn++) {
            bool is_ours = strstr(files[i].path, "rocksdb/") == NULL &&
                           strstr(files[i].path, "CURRENT") != NULL;
            opt.read_only = turn == 0;
            vv_status st = rocks_ops.open(&opt, &e, &err);
            if (st == VV_OK && opt.read_only && is_ours) { /* a shard that was never made */
                rocks_ops.close(e);
                continue;
            }
            if (st != VV_CORRUPT)
                fail_msg("without %s: %s: %s", files[i].path, vv_status_name(st), err.msg);
        }
        assert_int_equal(rename(away, files[i].path), 0);
    }
    assert_ok(rocks_ops.open(&w.opt, &w.e, &err), err);
    picture want = picture_at(w.seed, w.version);
    assert_ok(compare(w.e, w.version, &want), err);
    end(&w);
}

/* ---- where it is opened ---- */

static void write_text(const world *w, const char *name, const char *text)
{
    char path[200];
    (void)snprintf(path, sizeof path, "%s/%s", w->files.dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void)fputs(text, f);
    (void)fclose(f);
}

static void other_directories_are_refused(void **state)
{
    (void)state;
    world w;
    vv_error err = {0};
    engine *e = NULL;
    begin(&w, 5);
    assert_ok(vio_mkdir(w.files.env.io, "other", &err), err);
    write_text(&w, "other/CURRENT", "manifest-000000000001 01234567\n");
    engine_options opt = w.opt;
    opt.dir = "other";
    assert_status(VV_UNSUPPORTED, rocks_ops.open(&opt, &e, &err));
    assert_non_null(strstr(err.msg, "another engine"));
    rocks_ops.close(w.e); /* it would be refused as locked */
    opt = w.opt;
    opt.shard = 1;
    assert_status(VV_CORRUPT, rocks_ops.open(&opt, &e, &err));
    assert_non_null(strstr(err.msg, "belongs to shard 0"));
    assert_ok(rocks_ops.open(&w.opt, &w.e, &err), err);
    end(&w);
}

static void a_simulated_disk_is_refused(void **state)
{
    (void)state;
    vv_error err = {0};
    vv_env env = {0};
    engine *e = NULL;
    vio_sim_disk *disk = vio_sim_disk_create();
    assert_ok(vio_sim_open(disk, &(vio_sim_options){.seed = 1}, &env.io, &err), err);
    env.clock = vio_sim_clock(disk);
    engine_options opt = {.env = &env, .dir = "shard-0"};
    assert_status(VV_UNSUPPORTED, rocks_ops.open(&opt, &e, &err));
    assert_non_null(strstr(err.msg, "reads and writes files itself"));
    vio_destroy(env.io);
    vio_sim_disk_destroy(disk);
}

static void reading_only_changes_nothing(void **state)
{
    (void)state;
    static const char *const any[] = {"", NULL};
    named before[64];
    named after[64];
    world w;
    vv_error err = {0};
    engine *e = NULL;
    begin(&w, 6);
    fill(&w, 300);
    picture want = picture_at(w.seed, w.version);
    rocks_ops.close(w.e);
    size_t count = find_files(&w, any, before, ARRAY_LEN(before));
    engine_options opt = w.opt;
    opt.read_only = true;
    assert_ok(rocks_ops.open(&opt, &e, &err), err);
    assert_ok(compare(e, w.version, &want), err);
    assert_status(VV_NOT_FOUND, rocks_ops.work(e, &err));
    rocks_ops.close(e);
    assert_int_equal(find_files(&w, any, after, ARRAY_LEN(after)), count);
    opt.dir = "never made";
    assert_ok(rocks_ops.open(&opt, &e, &err), err);
    assert_int_equal(rocks_ops.checkpoint(e), 0);
    assert_ok(rocks_ops.check(e, NULL, NULL, &err), err);
    rocks_ops.close(e);
    assert_ok(rocks_ops.open(&w.opt, &w.e, &err), err);
    end(&w);
}

static void a_read_from_memory_never_waits(void **state)
{
    (void)state;
    world w;
    vv_error err = {0};
    uint8_t key[32];
    char text[16];
    begin(&w, 7);
    fill(&w, 400);
    picture want = picture_at(w.seed, w.version);
    reopen(&w);
    unsigned i = 0;
    while (want.by[i] == 0)
        i++;
    vv_put_be32(key, TABLE);
    vv_slice user = key_text(i, text);
    memcpy(key + 4, user.data, user.len);
    vv_slice k = vv_slice_of(key, 4 + user.len);
    engine_value value;
    engine_read read = {.version = w.version, .now_ns = 1, .from_memory = true};
    assert_status(VV_BUSY, rocks_ops.get(w.e, k, &read, &value, &err));
    read.from_memory = false;
    assert_ok(rocks_ops.get(w.e, k, &read, &value, &err), err);
    engine_value_release(&value);
    read.from_memory = true;
    assert_ok(rocks_ops.get(w.e, k, &read, &value, &err), err);
    assert_int_equal(value.version, want.by[i]);
    engine_value_release(&value);
    end(&w);
}

/* ---- a full disk ---- */

/* In a mount namespace of its own, which goes with the process; only threads that are made later
 * are in it, so this test has a process of its own ("--full-disk"). */
static bool mount_small(const world *w, const char *how, unsigned long flags)
{
    if (flags == 0 &&
        (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0))
        return false;
    return mount("tmpfs", w->files.dir, "tmpfs", flags, how) == 0;
}

/* Whether a flush or RocksDB itself meets it. */
static void a_full_disk_refuses_and_recovers(void **state)
{
    (void)state;
    world w = {.seed = 8};
    vv_error err = {0};
    vv_status st = VV_OK;
    (void)rocks_world_begin(&w.files);
    if (!mount_small(&w, "size=3m", 0)) {
        print_message("SKIPPED: no right to mount\n");
        rocks_world_end(&w.files, &w.files.env);
        skip();
    }
    vio_destroy(w.files.env.io); /* it holds the directory beneath */
    assert_ok(env_posix_init(&w.files.env, w.files.dir, NULL, &err), err);
    set_options(&w);
    w.opt.compress = false;
    w.opt.memtable_count = 8; /* what cannot be flushed waits there */
    assert_ok(rocks_ops.open(&w.opt, &w.e, &err), err);
    w.keeps = true;
    for (int64_t v = 1; st == VV_OK; v++) {
        assert_true(v < 100000);
        write_version(&w, v);
        if (v % 200 == 0 && (st = rocks_ops.freeze(w.e, &err)) == VV_OK)
            while ((st = rocks_ops.work(w.e, &err)) == VV_OK)
                continue;
        st = st == VV_NOT_FOUND ? VV_OK : st;
    }
    if (st != VV_NO_SPACE)
        fail_msg("%s: %s", vv_status_name(st), err.msg);
    assert_status(VV_NO_SPACE, rocks_ops.prepare(w.e, 100, 1, &err));
    picture want = picture_at(w.seed, w.version);
    assert_ok(compare(w.e, w.version, &want), err); /* reads go on */
    assert_true(mount_small(&w, "size=64m", MS_REMOUNT));
    for (int tries = 0; tries < 400 && st != VV_NOT_FOUND; tries++) {
        st = rocks_ops.work(w.e, &err); /* RocksDB looks for space now and then */
        if (st == VV_NO_SPACE)
            (void)usleep(50000);
        else if (st != VV_NOT_FOUND)
            assert_ok(st, err);
    }
    assert_int_equal(st, VV_NOT_FOUND);
    w.keeps = false;
    for (int64_t v = w.version + 1, last = v + 500; v < last; v++)
        write_version(&w, v);
    compact_all(&w);
    want = picture_at(w.seed, w.version);
    reopen(&w);
    assert_ok(compare(w.e, w.version, &want), err);
    assert_ok(rocks_ops.check(w.e, NULL, NULL, &err), err);
    rocks_ops.close(w.e);
    vio_destroy(w.files.env.io);
    (void)umount2(w.files.dir, MNT_DETACH);
    (void)rmdir(w.files.dir);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "--child") == 0)
        return run_child(argv[2], strtoull(argv[3], NULL, 10));
    const struct CMUnitTest alone[] = {
        cmocka_unit_test(a_full_disk_refuses_and_recovers),
    };
    if (argc == 2 && strcmp(argv[1], "--full-disk") == 0)
        return cmocka_run_group_tests(alone, NULL, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_a_kill_keeps_whole_flushes),
        cmocka_unit_test(every_byte_is_noticed_or_does_not_matter),
        cmocka_unit_test(each_file_may_be_missing),
        cmocka_unit_test(other_directories_are_refused),
        cmocka_unit_test(a_simulated_disk_is_refused),
        cmocka_unit_test(reading_only_changes_nothing),
        cmocka_unit_test(a_read_from_memory_never_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
