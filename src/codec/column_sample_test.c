/*
 * column_sample_test.c - the real series of examples/data, whole and bit for bit, with every table
 * of kernels; and that they stay as small as docs/PERFORMANCE.md says.
 *
 *     column_sample_test DIR      DIR/<group>/<series>.csv: timestamp_ms,value
 */
#include <dirent.h>
#include <string.h>

#include "base/buf.h"
#include "codec/column.h"
#include "codec/column_kernel.h"
#include "vv_test.h"

#define N CODEC_COLUMN_MAX
#define VALUES_MAX 32768u
#define MEAN_MAX 2.2 /* bytes a value; what is asked for is 2.4 */

static const char *data_dir;
static int64_t times[VALUES_MAX];
static double values[VALUES_MAX];

static uint32_t read_series(const char *path)
{
    char line[256];
    uint32_t count = 0;
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (count < VALUES_MAX && fgets(line, sizeof line, f) != NULL) {
        char *comma = strchr(line, ',');
        if (comma == NULL || strncmp(line, "timestamp", 9) == 0)
            continue;
        times[count] = strtoll(line, NULL, 10) * VV_NS_PER_MS;
        values[count++] = strtod(comma + 1, NULL);
    }
    (void)fclose(f);
    assert_true(count > N);
    return count;
}

static size_t check_column(uint32_t at, uint32_t n, codec_scratch *s, vv_buf *first, vv_buf *out)
{
    static int64_t time_back[N];
    static double value_back[N];
    vv_error err = {0};
    size_t size = 0;
    for (vv_cpu level = VV_CPU_BASELINE; level <= vv_cpu_best(); level++)
        for (unsigned effort = 0; effort < 2; effort++) {
            codec_kernels_set(level);
            vv_buf_reset(out);
            codec_time_encode(times + at, n, (codec_effort)effort, s, out);
            assert_ok(codec_i64_decode(vv_buf_slice(out), n, time_back, &err), err);
            assert_memory_equal(time_back, times + at, n * sizeof *times);
            vv_buf_reset(out);
            codec_f64_encode(values + at, n, (codec_effort)effort, s, out);
            assert_ok(codec_f64_decode(vv_buf_slice(out), n, value_back, &err), err);
            assert_memory_equal(value_back, values + at, n * sizeof *values);
            if (effort == CODEC_FAST)
                continue;
            if (level > VV_CPU_BASELINE)
                assert_true(vv_slice_eq(vv_buf_slice(first), vv_buf_slice(out)));
            vv_buf_reset(first);
            vv_buf_append_slice(first, vv_buf_slice(out));
            size = out->len;
        }
    return size;
}

static double check_series(const char *path, codec_scratch *s)
{
    vv_buf first;
    vv_buf out;
    vv_buf_init(&first, VV_MIB);
    vv_buf_init(&out, VV_MIB);
    uint32_t count = read_series(path);
    size_t size = 0;
    for (uint32_t at = 0; at < count; at += N) {
        uint32_t n = count - at < N ? count - at : N;
        size += check_column(at, n, s, &first, &out);
    }
    vv_buf_fini(&first);
    vv_buf_fini(&out);
    return (double)size / count;
}

static void real_series_come_back_and_are_small(void **state)
{
    (void)state;
    static const char *const group[] = {"nab", "meter", "host", "office", "house"};
    codec_scratch *s = codec_scratch_create();
    assert_non_null(s);
    double sum = 0;
    unsigned count = 0;
    for (size_t g = 0; g < ARRAY_LEN(group); g++) {
        char path[4096];
        (void)snprintf(path, sizeof path, "%s/%s", data_dir, group[g]);
        DIR *d = opendir(path);
        assert_non_null(d);
        for (struct dirent *e; (e = readdir(d)) != NULL;) {
            if (e->d_name[0] == '.')
                continue;
            (void)snprintf(path, sizeof path, "%s/%s/%s", data_dir, group[g], e->d_name);
            sum += check_series(path, s);
            count++;
        }
        (void)closedir(d);
    }
    codec_scratch_destroy(s);
    print_message("%u series, %.3f bytes a value on the mean\n", count, sum / count);
    assert_true(count >= 43);
    assert_true(sum / count <= MEAN_MAX);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    data_dir = argv[1];
    const struct CMUnitTest tests[] = {cmocka_unit_test(real_series_come_back_and_are_small)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
