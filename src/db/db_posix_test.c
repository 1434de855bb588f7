/*
 * db_posix_test.c - stores on real directories: who may open them, what closes leave, and what is
 * said of bad ones. Also the full disk, on a simulated one.
 */
#include "db/db_test_util.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "db/db_int.h"

static char root[64];

static int setup(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof root, "/tmp/varve-db-test-XXXXXX");
    return mkdtemp(root) == NULL;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static const char *dir_of(const char *name)
{
    static char path[160];
    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

static vv_options small(void)
{
    vv_options opt = VV_OPTIONS_INIT;
    opt.memory_limit = 32u << 20;
    opt.log_segment_size = 1u << 20;
    opt.log_ring_size = 1u << 20;
    return opt;
}

static vv_db *open_db(const char *dir)
{
    vv_error err = {0};
    vv_db *db = NULL;
    vv_options opt = small();
    assert_ok(vv_db_open(dir, &opt, &db, &err), err);
    return db;
}

static void close_db(vv_db *db)
{
    vv_error err = {0};
    assert_ok(vv_db_close(db, &err), err);
}

static void a_store_lives_in_a_new_directory(void **state)
{
    (void)state;
    const char *dir = dir_of("a/b/store");
    vv_db *db = open_db(dir);
    vv_table *t = make_table(db, "plant", "kv", VV_TABLE_KV);
    put(t, "k", "v");
    vv_table_close(t);
    close_db(db);
    db = open_db(dir);
    t = make_table(db, "plant", "kv", VV_TABLE_KV);
    expect(t, NULL, "k", "v");
    vv_table_close(t);
    close_db(db);
    assert_ok(vv_db_close(NULL, NULL), (vv_error){0});
}

static void the_second_opener_is_told_who_was_first(void **state)
{
    (void)state;
    vv_error err = {0};
    vv_db *second = NULL;
    char pid[24];
    const char *dir = dir_of("locked");
    vv_db *db = open_db(dir);
    assert_status(VV_BUSY, vv_db_open(dir, NULL, &second, &err));
    (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
    assert_non_null(strstr(err.msg, pid));
    assert_status(VV_BUSY, vv_check(dir, NULL, NULL, &err));
    close_db(db);
    assert_ok(vv_check(dir, NULL, NULL, &err), err);
}

/* Root may write anywhere: the child gives its rights up. */
static void a_directory_without_rights_is_an_error(void **state)
{
    (void)state;
    close_db(open_db(dir_of("theirs")));
    if (geteuid() != 0)
        assert_int_equal(chmod(root, 0500), 0);
    else
        assert_int_equal(chmod(root, 0755), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        vv_error err = {0};
        vv_db *db = NULL;
        if (geteuid() == 0 && setuid(65534) != 0)
            _exit(1);
        vv_status in_new = vv_db_open(dir_of("new"), NULL, &db, &err);
        bool names_dir = strstr(err.msg, "new") != NULL;
        vv_status in_old = vv_db_open(dir_of("theirs"), NULL, &db, &err);
        _exit(in_new == VV_IO && names_dir && in_old == VV_IO ? 0 : 2);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(chmod(root, 0700), 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void what_is_no_directory_is_named(void **state)
{
    (void)state;
    vv_error err = {0};
    vv_db *db = NULL;
    FILE *f = fopen(dir_of("file"), "w");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
    assert_status(VV_IO, vv_db_open(dir_of("file"), NULL, &db, &err));
    assert_non_null(strstr(err.msg, "/file"));
    assert_status(VV_INVALID, vv_db_open("", NULL, &db, &err));
    vv_options opt = small();
    opt.create_if_missing = false;
    assert_status(VV_NOT_FOUND, vv_db_open(dir_of("absent"), &opt, &db, &err));
    assert_status(VV_NOT_FOUND, vv_check(dir_of("absent"), NULL, NULL, &err));
    struct stat info;
    assert_int_equal(stat(dir_of("absent"), &info), -1); /* and nothing was made */
}

static void touch(const char *name)
{
    FILE *f = fopen(dir_of(name), "w");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
}

static void a_directory_of_something_else_is_left_alone(void **state)
{
    (void)state;
    vv_error err = {0};
    vv_db *db = NULL;
    vv_options opt = small();
    assert_int_equal(mkdir(dir_of("other"), 0755), 0);
    touch("other/passwd");
    assert_status(VV_INVALID, vv_db_open(dir_of("other"), &opt, &db, &err));
    assert_non_null(strstr(err.msg, "is not a Varve store and not empty"));
    assert_non_null(strstr(err.msg, "passwd"));
    struct stat info;
    assert_int_equal(stat(dir_of("other/LOCK"), &info), -1); /* not even a lock file */
    assert_int_equal(unlink(dir_of("other/passwd")), 0);
    assert_int_equal(mkdir(dir_of("other/lost+found"), 0755), 0);
    touch("other/LOCK"); /* of an interrupted creation */
    assert_ok(vv_db_open(dir_of("other"), &opt, &db, &err), err);
    assert_ok(vv_db_close(db, &err), err);
    touch("other/passwd"); /* beside a store it harms nobody */
    assert_ok(vv_db_open(dir_of("other"), &opt, &db, &err), err);
    assert_ok(vv_db_close(db, &err), err);
}

typedef struct text {
    char bytes[1 << 16];
    size_t len;
} text;

static void add_line(void *ctx, const char *line)
{
    text *t = ctx;
    int n = snprintf(t->bytes + t->len, sizeof t->bytes - t->len, "%s\n", line);
    t->len += (size_t)n < sizeof t->bytes - t->len ? (size_t)n : 0;
}

typedef struct names {
    char name[32][64];
    size_t count;
} names;

static void add_name(void *ctx, const char *name)
{
    names *n = ctx;
    if (n->count < ARRAY_LEN(n->name))
        (void)snprintf(n->name[n->count++], sizeof n->name[0], "%s", name);
}

/* Every file of one directory is known; the beginnings of names that were seen are put into out. */
static void dump_all(const char *store, const char *sub, char *out, size_t out_len)
{
    static text t;
    vv_error err = {0};
    names n = {.count = 0};
    vio *io = NULL;
    char path[256];
    assert_ok(vio_posix_create(dir_of(store), &io, &err), err);
    assert_ok(vio_list(io, sub, add_name, &n, &err), err);
    vio_destroy(io);
    for (size_t i = 0; i < n.count; i++) {
        (void)snprintf(path, sizeof path, "%s/%s/%s", store, sub, n.name[i]);
        t.len = 0;
        assert_ok(vv_dump(dir_of(path), add_line, &t, &err), err);
        assert_true(t.len > 0);
        size_t at = strlen(out);
        (void)snprintf(out + at, out_len - at, "%.*s ", (int)strcspn(n.name[i], "-."), n.name[i]);
    }
}

static void every_file_can_be_dumped(void **state)
{
    (void)state;
    static const struct {
        const char *dir;
        vv_engine_kind engine;
        const char *kinds[4];
    } stores[] = {{"dumped", VV_ENGINE_LSM, {"CURRENT", "manifest", "run", "val"}},
                  {"dumped_btree", VV_ENGINE_BTREE, {"CURRENT", "manifest", "data", "manifest"}}};
    static text t;
    vv_error err = {0};
    char path[128];
    for (size_t i = 0; i < ARRAY_LEN(stores); i++) {
        char seen[512] = "";
        vv_db *db = NULL;
        vv_table *table = NULL;
        vv_options opt = small();
        vv_table_options how = VV_TABLE_OPTIONS_INIT;
        opt.engine = stores[i].engine;
        if (opt.engine == VV_ENGINE_LSM)
            how.value_threshold = 16;
        assert_ok(vv_db_open(dir_of(stores[i].dir), &opt, &db, &err), err);
        assert_ok(vv_table_create(db, "plant", "sensors", &how, &table, &err), err);
        put(table, "k", "a value that lies apart from its key");
        assert_ok(vv_checkpoint(db, &err), err);
        put(table, "k", "w");
        vv_table_close(table);
        (void)snprintf(path, sizeof path, "%s/LOCK", stores[i].dir);
        t.len = 0;
        assert_ok(vv_dump(dir_of(path), add_line, &t, &err), err);
        assert_non_null(strstr(t.bytes, "the process that has or had the store open: "));
        close_db(db);
        dump_all(stores[i].dir, "shard-000", seen, sizeof seen);
        for (size_t k = 0; k < ARRAY_LEN(stores[i].kinds); k++)
            if (strstr(seen, stores[i].kinds[k]) == NULL)
                fail_msg("no %s among: %s", stores[i].kinds[k], seen);
        dump_all(stores[i].dir, "wal", seen, sizeof seen);
        assert_non_null(strstr(seen, "ring"));
    }
    t.len = 0;
    assert_ok(vv_dump(dir_of("dumped"), add_line, &t, &err), err);
    assert_non_null(strstr(t.bytes, "plant/sensors"));
    t.len = 0;
    assert_ok(vv_dump(dir_of("dumped/VARVE"), add_line, &t, &err), err);
    assert_non_null(strstr(t.bytes, "uuid"));
    vio *io = NULL;
    db_identity id = {.shard_count = 3};
    assert_ok(vio_posix_create(dir_of("dumped"), &io, &err), err);
    assert_ok(db_identity_begin(io, &id, &err), err); /* of a store that is being made */
    vio_destroy(io);
    t.len = 0;
    assert_ok(vv_dump(dir_of("dumped/VARVE.new"), add_line, &t, &err), err);
    assert_non_null(strstr(t.bytes, "3 shards"));
    touch("dumped/passwd");
    assert_status(VV_INVALID, vv_dump(dir_of("dumped/passwd"), add_line, &t, &err));
    assert_status(VV_NOT_FOUND, vv_dump(dir_of("dumped/none"), add_line, &t, &err));
}

static void run(const char *format, const char *a, const char *b)
{
    char command[512];
    (void)snprintf(command, sizeof command, format, a, b);
    assert_int_equal(system(command), 0);
}

/* A store whose log is gone must not go on without it, as if nothing had been acknowledged. */
static void a_log_that_is_gone_is_missed(void **state)
{
    (void)state;
    static const char *const losses[] = {"rm -rf %s/wal/*%s", "rm -f %s/wal/*.seg%s"};
    char dir[160];
    (void)snprintf(dir, sizeof dir, "%s", dir_of("logless"));
    for (size_t i = 0; i < ARRAY_LEN(losses); i++) {
        vv_db *db = open_db(dir);
        vv_table *t = make_table(db, "plant", "kv", VV_TABLE_KV);
        put(t, "k", "v");
        vv_table_close(t);
        close_db(db);
        run(losses[i], dir, "");
        vv_error err = {0};
        vv_options opt = small();
        for (int mode = 0; mode < 2; mode++) {
            opt.read_only = mode == 1;
            assert_status(VV_CORRUPT, vv_db_open(dir, &opt, &db, &err));
            assert_non_null(strstr(err.msg, "there is no log in 'wal'"));
        }
        run("rm -rf %s%s", dir, "");
    }
}

/* Two stores whose logs meet in one directory: the second is refused while the first is open and
 * afterwards, and the first loses nothing. */
static void two_stores_do_not_share_a_log(void **state)
{
    (void)state;
    char first[160];
    char second[160];
    (void)snprintf(first, sizeof first, "%s", dir_of("first"));
    (void)snprintf(second, sizeof second, "%s", dir_of("second"));
    vv_db *db = open_db(first);
    vv_table *t = make_table(db, "plant", "kv", VV_TABLE_KV);
    put(t, "k", "v");
    run("mkdir -p %s%s", second, "");
    run("ln -s %s/wal %s/wal", first, second);
    vv_error err = {0};
    vv_db *other = NULL;
    vv_options opt = small();
    assert_status(VV_BUSY, vv_db_open(second, &opt, &other, &err));
    put(t, "k", "w");
    vv_table_close(t);
    close_db(db);
    assert_status(VV_CORRUPT, vv_db_open(second, &opt, &other, &err));
    assert_non_null(strstr(err.msg, "belongs to another store"));
    run("cp %s/VARVE %s/VARVE.kept", first, first);
    run("rm -rf %s%s", second, "");
    close_db(open_db(second));
    run("cp %s/VARVE %s/VARVE", second, first); /* a log that is not this store's */
    assert_status(VV_CONFLICT, vv_db_open(first, &opt, &other, &err));
    run("mv %s/VARVE.kept %s/VARVE", first, first);
    db = open_db(first);
    t = make_table(db, "plant", "kv", VV_TABLE_KV);
    expect(t, NULL, "k", "w");
    vv_table_close(t);
    close_db(db);
}

static char logged[4096];
static int logged_level;

static void keep_line(void *ctx, int level, const char *line, size_t len)
{
    (void)ctx;
    logged_level = level;
    (void)snprintf(logged, sizeof logged, "%.*s", (int)len, line);
}

static void log_lines_reach_the_caller(void **state)
{
    (void)state;
    vv_error err = {0};
    vv_db *db = NULL;
    vv_options opt = small();
    opt.log = keep_line;
    opt.log_level = 2;
    logged_level = -1;
    assert_ok(vv_db_open(dir_of("logged"), &opt, &db, &err), err);
    close_db(db);
    assert_non_null(strstr(logged, "module="));
    assert_in_range(logged_level, 0, 3);
}

static void log_lines_can_be_json(void **state)
{
    (void)state;
    vv_error err = {0};
    vv_db *db = NULL;
    vv_options opt = small();
    opt.log = keep_line;
    opt.log_level = 2;
    opt.log_json = true;
    assert_ok(vv_db_open(dir_of("json"), &opt, &db, &err), err);
    close_db(db);
    assert_int_equal(logged[0], '{');
    assert_non_null(strstr(logged, "\"msg\":\""));
}

static void options_out_of_range_are_named(void **state)
{
    (void)state;
    vv_error err = {0};
    vv_db *db = NULL;
    vv_options opt = small();
    opt.shard_count = 65;
    assert_status(VV_INVALID, vv_db_open(dir_of("opt"), &opt, &db, &err));
    assert_non_null(strstr(err.msg, "shard_count"));
    opt = small();
    opt.memory_limit = 1;
    assert_status(VV_INVALID, vv_db_open(dir_of("opt"), &opt, &db, &err));
    assert_non_null(strstr(err.msg, "memory_limit"));
    opt = (vv_options){0};
    assert_status(VV_INVALID, vv_db_open(dir_of("opt"), &opt, &db, &err));
    assert_non_null(strstr(err.msg, "VV_OPTIONS_INIT"));
    static const int levels[] = {-3, 4, 77};
    for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
        opt = small();
        opt.log_level = levels[i];
        assert_status(VV_INVALID, vv_db_open(dir_of("opt"), &opt, &db, &err));
        assert_non_null(strstr(err.msg, "log_level"));
    }
    opt = small();
    opt.process_memory = UINT64_C(1) << 40;
    assert_status(VV_INVALID, vv_db_open(dir_of("opt"), &opt, &db, &err));
    assert_non_null(strstr(err.msg, "options: process_memory"));
    assert_null(strstr(err.msg, "cache_size of 0"));
}

/* What a call says of a value names those that can be; what went well says nothing. */
static void sentences_say_what_can_be_done(void **state)
{
    (void)state;
    vv_error err = {0};
    vv_db *db = NULL;
    vv_txn *txn = NULL;
    vv_options opt = small();
    for (int again = 0; again < 2; again++) {
        assert_ok(vv_db_open(dir_of("said"), &opt, &db, &err), err);
        assert_int_equal(err.status, VV_OK);
        assert_string_equal(err.msg, "");
        if (again == 0)
            close_db(db);
    }
    vv_txn_options how = VV_TXN_OPTIONS_INIT;
    how.isolation = (vv_isolation)7;
    assert_status(VV_INVALID, vv_txn_begin(db, &how, &txn, &err));
    assert_non_null(strstr(err.msg, "0 (snapshot) or 1 (serializable)"));
    how = (vv_txn_options)VV_TXN_OPTIONS_INIT;
    how.durability = (vv_durability)9;
    assert_status(VV_INVALID, vv_txn_begin(db, &how, &txn, &err));
    assert_non_null(strstr(err.msg, "1 (sync)"));
    assert_status(VV_UNSUPPORTED, vv_archive_create(db, "a", &err));
    assert_non_null(strstr(err.msg, "make a table with"));
    close_db(db);
}

/* What a flush and a compaction move waits behind what somebody waits for, in either engine. */
static void background_transfers_are_ranked(void **state)
{
    (void)state;
    static const vv_engine_kind kinds[] = {VV_ENGINE_LSM, VV_ENGINE_BTREE};
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        vv_error err = {0};
        vv_db *db = NULL;
        vv_options opt = small();
        opt.engine = kinds[k];
        assert_ok(vv_db_open(dir_of(k == 0 ? "ranked-0" : "ranked-1"), &opt, &db, &err), err);
        vv_table *t = make_table(db, "plant", "kv", VV_TABLE_KV);
        vv_stats before = {.size = sizeof before};
        vv_stats after = before;
        put(t, "k", "v");
        put(t, "l", "v");
        vv_stats_read(db, &before);
        assert_ok(vv_checkpoint(db, &err), err);
        vv_stats_read(db, &after);
        assert_true(after.io_started[2] > before.io_started[2]);
        before = after;
        put(t, "k", "w");
        assert_ok(vv_compact(t, vv_slice_str(""), vv_slice_str(""), &err), err);
        vv_stats_read(db, &after);
        assert_true(after.io_started[3] > before.io_started[3]);
        assert_true(after.io_started[0] > 0); /* the log */
        vv_table_close(t);
        close_db(db);
    }
}

/* ---- the full disk ---- */

static vv_status fill(vv_table *t, int *written, int more, vv_error *err)
{
    static uint8_t value[2000];
    char key[16];
    for (int i = *written, end = i + more; i < end; i++) {
        (void)snprintf(key, sizeof key, "k%06d", i);
        vv_status st = vv_put(t, vv_slice_str(key), vv_slice_of(value, sizeof value), err);
        if (st != VV_OK) {
            *written = i;
            return st;
        }
    }
    return VV_OK;
}

static void expect_all(vv_table *t, int count)
{
    vv_error err = {0};
    char key[16];
    for (int i = 0; i < count; i++) {
        vv_value v;
        (void)snprintf(key, sizeof key, "k%06d", i);
        vv_status st = vv_get(t, NULL, vv_slice_str(key), &v, &err);
        if (st != VV_OK)
            fail_msg("%s of %d: %s: %s", key, count, vv_status_name(st), err.msg);
        vv_value_release(&v);
    }
}

/* A store keeps the engine it was made with, whoever opens it; tables may name another. */
static void a_store_keeps_its_engine(void **state)
{
    (void)state;
    const char *dir = dir_of("tree");
    vv_options opt = small();
    vv_error err;
    vv_db *db = NULL;
    opt.engine = VV_ENGINE_BTREE;
    for (int round = 0; round < 3; round++) {
        assert_ok(vv_db_open(dir, &opt, &db, &err), err);
        vv_table *table = NULL;
        vv_table_options how = VV_TABLE_OPTIONS_INIT;
        how.if_not_exists = true;
        assert_ok(vv_table_create(db, "t", "k", &how, &table, &err), err);
        vv_table_info info;
        assert_ok(vv_table_describe(table, &info, &err), err);
        assert_string_equal(info.engine, "btree");
        vv_table_close(table);
        assert_ok(vv_db_close(db, &err), err);
        opt.engine = VV_ENGINE_DEFAULT;
    }
    assert_ok(vv_check(dir, NULL, NULL, &err), err);
    opt.engine = VV_ENGINE_LSM; /* of new tables */
    assert_ok(vv_db_open(dir, &opt, &db, &err), err);
    vv_table *old = NULL;
    vv_table *new = NULL;
    vv_table_info info;
    assert_ok(vv_table_open(db, "t", "k", &old, &err), err);
    assert_ok(vv_table_create(db, "t", "l", NULL, &new, &err), err);
    assert_ok(vv_table_describe(old, &info, &err), err);
    assert_string_equal(info.engine, "btree");
    assert_ok(vv_table_describe(new, &info, &err), err);
    assert_string_equal(info.engine, "lsm");
    vv_table_close(old);
    vv_table_close(new);
    assert_ok(vv_db_close(db, &err), err);
    assert_ok(vv_check(dir, NULL, NULL, &err), err);
    opt.engine = (vv_engine_kind)9;
    assert_status(VV_INVALID, vv_db_open(dir, &opt, &db, &err));
}

/* A build with RocksDB keeps a store there; another says what it lacks, and leaves nothing behind.
 */
static void rocksdb_is_there_or_refused(void **state)
{
    (void)state;
    const char *dir = dir_of("rocks");
    vv_options opt = small();
    vv_error err = {0};
    vv_db *db = NULL;
    opt.engine = VV_ENGINE_ROCKSDB;
#ifdef VV_HAS_ROCKSDB
    opt.memtable_size = 64u << 10;
    for (int round = 0; round < 3; round++) {
        vv_table *table = NULL;
        vv_table_options how = VV_TABLE_OPTIONS_INIT;
        how.if_not_exists = true;
        assert_ok(vv_db_open(dir, &opt, &db, &err), err);
        assert_ok(vv_table_create(db, "t", "k", &how, &table, &err), err);
        vv_table_info info;
        assert_ok(vv_table_describe(table, &info, &err), err);
        assert_string_equal(info.engine, "rocksdb");
        for (int i = 0; i < 500; i++) {
            char key[16];
            (void)snprintf(key, sizeof key, "%d.%03d", round, i);
            assert_ok(vv_put(table, vv_slice_str(key), vv_slice_str(key), &err), err);
        }
        assert_ok(vv_checkpoint(db, &err), err);
        vv_value value;
        assert_ok(vv_get(table, NULL, vv_slice_str("0.499"), &value, &err), err);
        assert_true(vv_slice_eq(value.data, vv_slice_str("0.499")));
        vv_value_release(&value);
        vv_table_close(table);
        assert_ok(vv_db_close(db, &err), err);
        assert_ok(vv_check(dir, NULL, NULL, &err), err);
        opt.engine = VV_ENGINE_DEFAULT;
    }
    vv_table *beside = NULL; /* a table of another engine in the same store */
    opt.engine = VV_ENGINE_LSM;
    assert_ok(vv_db_open(dir, &opt, &db, &err), err);
    assert_ok(vv_table_create(db, "t", "l", NULL, &beside, &err), err);
    assert_ok(vv_put(beside, vv_slice_str("k"), vv_slice_str("v"), &err), err);
    assert_ok(vv_checkpoint(db, &err), err);
    vv_table_close(beside);
    assert_ok(vv_db_close(db, &err), err);
    assert_ok(vv_check(dir, NULL, NULL, &err), err);
#else
    assert_status(VV_UNSUPPORTED, vv_db_open(dir, &opt, &db, &err));
    assert_non_null(strstr(err.msg, "this build has no engine rocksdb"));
    assert_int_equal(access(dir, F_OK), -1);
#endif
}

static void a_full_disk_refuses_writes_and_recovers(void **state)
{
    (void)state;
    vv_error err = {0};
    int written = 0;
    sim_world w = {.disk = vio_sim_disk_create(), .ops = &lsm_ops};
    w.opt = (vv_options)SIM_TINY_OPTIONS;
    vio_sim_options sim = {.seed = 3, .capacity = 4u << 20};
    assert_ok(sim_on(&w, &sim, &err), err);
    assert_ok(sim_open_db(&w, &err), err);
    vio_file *ballast = NULL;
    assert_ok(vio_open(w.env.io, "ballast", VIO_WRITE | VIO_CREATE, &ballast, &err), err);
    assert_ok(vio_allocate(ballast, 2u << 20, &err), err);
    vio_close(ballast);
    vv_table *t = make_table(w.db, "plant", "kv", VV_TABLE_KV);
    assert_status(VV_NO_SPACE, fill(t, &written, 20000, &err));
    assert_true(written > 100);
    expect_all(t, written); /* reads go on */
    vv_value v;
    char refused[16];
    (void)snprintf(refused, sizeof refused, "k%06d", written);
    assert_status(VV_NOT_FOUND, vv_get(t, NULL, vv_slice_str(refused), &v, &err));
    assert_status(VV_NO_SPACE, fill(t, &written, 20000, &err));
    assert_ok(vio_remove(w.env.io, "ballast", &err), err);
    vv_status st = fill(t, &written, 100, &err); /* the same store, not reopened */
    assert_ok(st, err);
    written += 100;
    expect_all(t, written);
    vv_table_close(t);
    assert_ok(vv_db_close(w.db, &err), err);
    assert_ok(sim_open_db(&w, &err), err);
    t = make_table(w.db, "plant", "kv", VV_TABLE_KV);
    expect_all(t, written);
    vv_table_close(t);
    sim_end(&w);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_store_lives_in_a_new_directory),
        T(the_second_opener_is_told_who_was_first),
        T(a_directory_without_rights_is_an_error),
        T(what_is_no_directory_is_named),
        T(a_directory_of_something_else_is_left_alone),
        T(every_file_can_be_dumped),
        T(a_log_that_is_gone_is_missed),
        T(two_stores_do_not_share_a_log),
        T(log_lines_reach_the_caller),
        T(log_lines_can_be_json),
        T(options_out_of_range_are_named),
        T(sentences_say_what_can_be_done),
        T(background_transfers_are_ranked),
        T(a_store_keeps_its_engine),
        T(rocksdb_is_there_or_refused),
        T(a_full_disk_refuses_writes_and_recovers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
