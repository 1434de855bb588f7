/*
 * replay.c - runs a fuzz target without libFuzzer: every file of the corpus, then seeded mutations
 * of them, so that each saved crash is a unit test and a push still tries new input.
 *
 *     fuzz_wal CORPUS_DIR...       VV_FUZZ_MUTATIONS and VV_SEED change how much and which
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

#define INPUT_MAX (1024u * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t input[INPUT_MAX];
static uint64_t runs;

/* An exact-size heap copy, so that the address sanitizer sees one byte too far. */
static void run_one(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    if (copy == NULL)
        abort();
    memcpy(copy, data, size);
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    runs++;
}

static void mutate(vv_rng *rng, uint8_t *data, size_t *size)
{
    unsigned steps = 1 + (unsigned)vv_rng_below(rng, 4);
    while (steps-- > 0) {
        size_t at = *size == 0 ? 0 : vv_rng_below(rng, *size);
        switch (*size == 0 ? 2 : vv_rng_below(rng, 5)) {
        case 0:
            data[at] ^= (uint8_t)(1u << vv_rng_below(rng, 8));
            break;
        case 1:
            data[at] = (uint8_t)vv_rng_next(rng);
            break;
        case 2: /* insert */
            if (*size < INPUT_MAX) {
                memmove(data + at + 1, data + at, *size - at);
                data[at] = (uint8_t)vv_rng_next(rng);
                (*size)++;
            }
            break;
        case 3: /* cut the end */
            *size = at;
            break;
        default: /* a boundary value */
            memset(data + at, vv_rng_one_in(rng, 2) ? 0xff : 0, *size - at < 4 ? *size - at : 4);
            break;
        }
    }
}

static int run_file(const char *path, uint64_t mutations, vv_rng *rng)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        perror(path);
        return 1;
    }
    static uint8_t original[INPUT_MAX];
    size_t size = fread(original, 1, sizeof original, f);
    (void)fclose(f);
    run_one(original, size);
    for (uint64_t i = 0; i < mutations; i++) {
        size_t len = size;
        memcpy(input, original, size);
        mutate(rng, input, &len);
        run_one(input, len);
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *seed = getenv("VV_SEED");
    const char *count = getenv("VV_FUZZ_MUTATIONS");
    uint64_t mutations = count == NULL ? 500 : strtoull(count, NULL, 0);
    vv_rng rng;
    vv_rng_init(&rng, seed == NULL ? 1 : strtoull(seed, NULL, 0));
    int files = 0;
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        if (dir == NULL) {
            perror(argv[i]);
            return 1;
        }
        for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
            if (entry->d_name[0] == '.')
                continue;
            char path[4096];
            if (snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name) >= (int)sizeof path)
                continue;
            if (run_file(path, mutations, &rng) != 0)
                return 1;
            files++;
        }
        (void)closedir(dir);
    }
    printf("%d corpus files, %" PRIu64 " runs\n", files, runs);
    return files > 0 ? 0 : 1; /* an empty corpus tests nothing */
}
