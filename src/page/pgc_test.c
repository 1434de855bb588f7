#include "page/pgc.h"

#include <pthread.h>

#include "base/alloc.h"
#include "base/epoch.h"
#include "base/lock.h"
#include "base/rng.h"
#include "page/pgc_slab.h"
#include "vv_test.h"

static pgc_cache *make_cache(uint64_t size, vv_budget *budget)
{
    vv_error err;
    pgc_cache *cache = NULL;
    assert_ok(pgc_cache_create(size, budget, &cache, &err), err);
    return cache;
}

static pgc_file *make_file(pgc_cache *cache, uint32_t blocks)
{
    vv_error err;
    pgc_file *file = NULL;
    assert_ok(pgc_file_create(cache, blocks, &file, &err), err);
    return file;
}

/* A pinned frame whose bytes say which block it is. */
static pgc_frame *load(pgc_file *file, uint32_t block, size_t len)
{
    vv_error err;
    pgc_frame *frame = NULL;
    assert_ok(pgc_frame_create(file->cache, len, &frame, &err), err);
    memset(pgc_data(frame), (int)(block & 0xff), len);
    pgc_publish(file, block, frame);
    return frame;
}

static void a_published_block_is_found_until_its_file_goes(void **state)
{
    (void)state;
    vv_budget budget;
    vv_budget_init(&budget, 0);
    pgc_cache *cache = make_cache(1 << 20, &budget);
    pgc_file *file = make_file(cache, 10);
    vv_epoch_enter();
    assert_null(pgc_lookup(file, 3));
    vv_epoch_exit();
    pgc_unpin(load(file, 3, 4096));
    vv_epoch_enter();
    pgc_frame *found = pgc_lookup(file, 3);
    assert_non_null(found);
    assert_int_equal(pgc_data(found)[4095], 3);
    pgc_pin(found);
    vv_epoch_exit();
    assert_true(vv_budget_part_used(&budget, VV_BUDGET_CACHE) > 4096);
    pgc_file_destroy(file);
    assert_int_equal(pgc_data(found)[0], 3); /* a pinned frame outlives its file */
    pgc_unpin(found);
    assert_int_equal(vv_budget_part_used(&budget, VV_BUDGET_CACHE), 0);
    pgc_cache_destroy(cache);
}

static void of_two_loaders_the_first_publishes(void **state)
{
    (void)state;
    pgc_cache *cache = make_cache(1 << 20, NULL);
    pgc_file *file = make_file(cache, 1);
    pgc_frame *first = load(file, 0, 100);
    pgc_frame *second = load(file, 0, 100);
    vv_epoch_enter();
    assert_ptr_equal(pgc_lookup(file, 0), first);
    vv_epoch_exit();
    pgc_unpin(first);
    pgc_unpin(second);
    pgc_file_destroy(file);
    pgc_cache_destroy(cache);
}

static void the_cache_stays_within_its_size(void **state)
{
    (void)state;
    const uint64_t size = 256 * 1024;
    pgc_cache *cache = make_cache(size, NULL);
    pgc_file *file = make_file(cache, 1000);
    pgc_frame *pinned = load(file, 0, 4096);
    for (uint32_t i = 1; i < 1000; i++) {
        pgc_unpin(load(file, i, 4096));
        pgc_stats stats;
        pgc_cache_stats(cache, &stats);
        assert_true(stats.bytes <= size + size / 4);
    }
    pgc_stats stats;
    pgc_cache_stats(cache, &stats);
    assert_true(stats.evictions > 900);
    assert_true(stats.bytes > size / 2);
    vv_epoch_enter();
    assert_ptr_equal(pgc_lookup(file, 0), pinned); /* the hand passes what is pinned */
    vv_epoch_exit();
    pgc_unpin(pinned);
    pgc_file_destroy(file);
    pgc_cache_destroy(cache);
}

static void what_is_used_again_stays_longer(void **state)
{
    (void)state;
    pgc_cache *cache = make_cache(64 * 4200, NULL);
    pgc_file *file = make_file(cache, 2000);
    for (uint32_t i = 0; i < 1000; i++) {
        pgc_unpin(load(file, i, 4096));
        vv_epoch_enter();
        (void)pgc_lookup(file, 0); /* used between all loads */
        vv_epoch_exit();
    }
    vv_epoch_enter();
    assert_non_null(pgc_lookup(file, 0));
    assert_null(pgc_lookup(file, 1));
    vv_epoch_exit();
    pgc_file_destroy(file);
    pgc_cache_destroy(cache);
}

static void a_block_larger_than_half_stays_private(void **state)
{
    (void)state;
    pgc_cache *cache = make_cache(4096, NULL);
    pgc_file *file = make_file(cache, 1);
    pgc_frame *frame = load(file, 0, 4000);
    vv_epoch_enter();
    assert_null(pgc_lookup(file, 0));
    vv_epoch_exit();
    pgc_unpin(frame);
    pgc_file_destroy(file);
    pgc_cache_destroy(cache);
}

/* A cache large enough for slabs, filled with one block size and then with another. */
static void slabs_follow_the_block_size(void **state)
{
    (void)state;
    const uint64_t size = 24 << 20;
    vv_budget budget;
    vv_budget_init(&budget, 0);
    pgc_cache *cache = make_cache(size, &budget);
    const size_t lens[] = {4096, 16384, 700, 16384, 40000};
    for (size_t round = 0; round < ARRAY_LEN(lens); round++) {
        uint32_t blocks = (uint32_t)(3 * size / lens[round]);
        pgc_file *file = make_file(cache, blocks);
        pgc_frame *pinned = load(file, 0, lens[round]);
        for (uint32_t i = 1; i < blocks; i++) {
            pgc_frame *frame = load(file, i, lens[round]);
            assert_int_equal((uintptr_t)pgc_data(frame) % 64, 0);
            pgc_unpin(frame);
            assert_true(vv_budget_used(&budget) < size + size / 3);
        }
        for (size_t j = 0; j < lens[round]; j += 97)
            assert_int_equal(pgc_data(pinned)[j], 0);
        pgc_stats stats;
        pgc_cache_stats(cache, &stats);
        assert_true(stats.bytes > size / 2);
        pgc_unpin(pinned);
        if (round % 2 == 1) {
            pgc_file_destroy(file);
            continue;
        }
        vv_epoch_enter(); /* what is there is what was put there */
        for (uint32_t i = 0; i < blocks; i++) {
            pgc_frame *frame = pgc_lookup(file, i);
            if (frame != NULL)
                assert_int_equal(pgc_data(frame)[lens[round] - 1], (uint8_t)i);
        }
        vv_epoch_exit();
        pgc_file_destroy(file);
    }
    pgc_cache_destroy(cache);
    assert_int_equal(vv_budget_used(&budget), 0);
}

/* Blocks of one size, all in memory, and then none. */
static void come_and_go(pgc_cache *cache, size_t len, uint64_t bytes)
{
    uint32_t blocks = (uint32_t)(bytes / len);
    pgc_file *file = make_file(cache, blocks);
    for (uint32_t i = 0; i < blocks; i++)
        pgc_unpin(load(file, i, len));
    pgc_file_destroy(file);
}

static void empty_slabs_wait_for_the_next_blocks(void **state)
{
    (void)state;
    const uint64_t size = 24 << 20;
    vv_budget budget;
    vv_budget_init(&budget, 0);
    pgc_cache *cache = make_cache(size, &budget);
    pgc_stats stats;
    come_and_go(cache, 4096, size / 2);
    uint64_t kept = vv_budget_part_used(&budget, VV_BUDGET_CACHE);
    pgc_cache_stats(cache, &stats);
    assert_int_equal(stats.bytes, 0);
    assert_true(kept >= size / 2);
    uint64_t allocations = vv_alloc_count();
    come_and_go(cache, 16384, size / 4); /* fits: the same slabs in another size */
    assert_int_equal(vv_budget_part_used(&budget, VV_BUDGET_CACHE), kept);
#ifdef VV_TEST_HOOKS
    assert_int_equal(vv_alloc_count(), allocations + 1); /* its file's references */
#else
    (void)allocations;
#endif
    /* Blocks that no slot fits take their place. */
    come_and_go(cache, 100000, size);
    assert_true(vv_budget_part_used(&budget, VV_BUDGET_CACHE) < kept);
    pgc_cache_destroy(cache);
    assert_int_equal(vv_budget_used(&budget), 0);
}

/* A value of 4, 16 or 64 KiB, its key and the block around it. */
static void a_large_value_takes_a_slot_of_its_size(void **state)
{
    (void)state;
    for (size_t value = 4096; value <= 65536; value *= 4) {
        size_t slot = pgc_slot_size(value + 100);
        assert_true(slot > value && slot < value + value / 4);
    }
    assert_int_equal(pgc_slot_size(100000), 0);
}

static void a_failed_allocation_is_an_answer(void **state)
{
    (void)state;
    pgc_cache *cache = NULL;
    vv_alloc_fail_after(0, 0);
    assert_status(VV_NO_MEMORY, pgc_cache_create(100, NULL, &cache, NULL));
    vv_alloc_fail_after(-1, 0);
    cache = make_cache(1 << 20, NULL);
    pgc_file *file = NULL;
    vv_alloc_fail_after(0, 0);
    assert_status(VV_NO_MEMORY, pgc_file_create(cache, 5, &file, NULL));
    pgc_frame *frame = NULL;
    vv_alloc_fail_after(0, 0);
    assert_status(VV_NO_MEMORY, pgc_frame_create(cache, 4096, &frame, NULL));
    vv_alloc_fail_after(-1, 0);
    pgc_cache_destroy(cache);
}

/* What a reader does with a block: found, or loaded and published. True when it was there. */
static bool touch(pgc_file *file, uint32_t block)
{
    vv_epoch_enter();
    const pgc_frame *found = pgc_lookup(file, block);
    vv_epoch_exit();
    if (found == NULL)
        pgc_unpin(load(file, block, 4096));
    return found != NULL;
}

/* Share of a set of blocks, read in random order, that was there. */
static double hit_ratio(pgc_file *file, uint32_t blocks, uint32_t reads, vv_rng *rng)
{
    uint32_t hits = 0;
    for (uint32_t i = 0; i < reads; i++)
        hits += touch(file, (uint32_t)vv_rng_below(rng, blocks));
    return (double)hits / reads;
}

#define SCAN_PAGES 512u /* what the cache holds */

/* A scan of 20 times the cache, one block in 25 looked up twice (where a page of a scan ends and
 * the next begins), with a read of the hot set after every so many blocks. Their hit ratio. */
static double scan(pgc_file *table, pgc_file *set, uint32_t hot, uint32_t every, vv_rng *rng)
{
    uint32_t hits = 0;
    uint32_t reads = 0;
    for (uint32_t i = 0; i < table->block_count; i++) {
        (void)touch(table, i);
        if (i % 25 == 0)
            (void)touch(table, i);
        if (every == 0 || i % every != 0)
            continue;
        hits += touch(set, (uint32_t)vv_rng_below(rng, hot));
        reads++;
    }
    return reads == 0 ? 1 : (double)hits / reads;
}

/* A set that was asked for all the time is still there after a scan during which nobody asked, and
 * after one beside which few did. Sets from a tenth to seven tenths of the cache. */
static void prop_a_scan_does_not_push_out_what_is_hot(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(11));
    for (unsigned round = 0; round < 12; round++) {
        uint32_t pages = SCAN_PAGES << round % 3;
        uint32_t hot = pages / 10 * (1 + (uint32_t)vv_rng_below(&rng, 7));
        pgc_cache *cache = make_cache((uint64_t)pages * pgc_slot_size(4096), NULL);
        pgc_file *set = make_file(cache, hot);
        pgc_file *table = make_file(cache, 20 * pages);
        (void)hit_ratio(set, hot, 20 * hot, &rng);
        assert_true(hit_ratio(set, hot, 4 * hot, &rng) == 1.0);
        (void)scan(table, set, hot, 0, &rng);
        double after = hit_ratio(set, hot, 4 * hot, &rng);
        double beside = scan(table, set, hot, 10, &rng);
        if (after < 0.99 || beside < 0.99)
            fail_msg("seed %#llx: %u hot of %u pages: %.3f found after a scan, %.3f beside one",
                     (unsigned long long)vv_test_seed(11), hot, pages, after, beside);
        pgc_file_destroy(set);
        pgc_file_destroy(table);
        pgc_cache_destroy(cache);
    }
}

/* What was hot yesterday makes room for what is hot today, also when that does not fit the trial.
 */
static void prop_another_hot_set_takes_the_place_of_the_last(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(12));
    pgc_cache *cache = make_cache((uint64_t)SCAN_PAGES * pgc_slot_size(4096), NULL);
    uint32_t hot = SCAN_PAGES * 8 / 10;
    pgc_file *sets[2] = {make_file(cache, hot), make_file(cache, hot)};
    for (unsigned round = 0; round < 6; round++) {
        (void)hit_ratio(sets[round % 2], hot, 12 * hot, &rng);
        assert_true(hit_ratio(sets[round % 2], hot, 4 * hot, &rng) > 0.99);
    }
    pgc_file_destroy(sets[0]);
    pgc_file_destroy(sets[1]);
    pgc_cache_destroy(cache);
}

/* Looked up, pinned and released: no mutex, and not a word of memory. */
static void a_hit_takes_no_lock_and_no_memory(void **state)
{
    (void)state;
    pgc_cache *cache = make_cache(1 << 20, NULL);
    pgc_file *file = make_file(cache, 10);
    for (uint32_t i = 0; i < 10; i++)
        (void)touch(file, i);
    uint64_t locks = vv_lock_count();
    uint64_t allocations = vv_alloc_count();
    for (uint32_t i = 0; i < 10000; i++) {
        vv_epoch_enter();
        pgc_frame *frame = pgc_lookup(file, i % 10);
        assert_non_null(frame);
        pgc_pin(frame);
        vv_epoch_exit();
        pgc_count(&pgc_my_counter(pgc_cache_counters(cache))->hits);
        pgc_unpin(frame);
    }
    assert_true(vv_lock_count() == locks);
    assert_true(vv_alloc_count() == allocations);
#ifndef NDEBUG
    pgc_unpin(load(file, 0, 4096)); /* a miss does: the count counts */
    assert_true(vv_lock_count() > locks);
#endif
    pgc_file_destroy(file);
    pgc_cache_destroy(cache);
}

/* Without a mark that it was used. */
static pgc_frame *find(pgc_file *file, uint32_t block)
{
    return pgc_peek(file, block);
}

static void a_block_moves_to_another_file(void **state)
{
    (void)state;
    vv_budget budget;
    vv_budget_init(&budget, 0);
    pgc_cache *cache = make_cache(64 * 4200, &budget);
    pgc_file *from = make_file(cache, 10);
    pgc_file *to = make_file(cache, 2000);
    pgc_frame *frame = load(from, 3, 4096);
    pgc_frame *taken = load(to, 6, 4096);
    uint64_t used = vv_budget_part_used(&budget, VV_BUDGET_CACHE);
    pgc_move(from, 3, to, 5);
    assert_null(find(from, 3));
    assert_ptr_equal(find(to, 5), frame);
    pgc_move(from, 3, to, 7); /* there is none any more */
    assert_null(find(to, 7));
    pgc_move(to, 5, to, 6); /* that one has its own */
    assert_ptr_equal(find(to, 5), frame);
    assert_ptr_equal(find(to, 6), taken);
    assert_true(vv_budget_part_used(&budget, VV_BUDGET_CACHE) == used);
    pgc_frame *again = load(from, 3, 4096); /* for who still asks under the old name */
    assert_ptr_equal(find(from, 3), again);
    pgc_unpin(again);
    pgc_unpin(frame);
    pgc_unpin(taken);
    pgc_file_destroy(from);
    assert_int_equal(pgc_data(find(to, 5))[4095], 3);
    for (uint32_t i = 100; i < 2000; i++)
        pgc_unpin(load(to, i, 4096));
    assert_null(find(to, 5)); /* evicted like any other */
    pgc_file_destroy(to);
    vv_epoch_drain();
    assert_int_equal(vv_budget_part_used(&budget, VV_BUDGET_CACHE), 0);
    pgc_cache_destroy(cache);
}

#define RACE_ROUNDS 20000u

typedef struct race {
    pgc_file *file;
    pgc_file *other; /* the same blocks: they move between the two */
    size_t len;      /* bytes of a block, or a few more */
    uint64_t seed;
    unsigned wrong;
} race;

/* Read blocks at random through a cache that holds a tenth of them; keep some pinned for a while.
 */
static void *race_reader(void *arg)
{
    race *r = arg;
    vv_rng rng;
    vv_rng_init(&rng, r->seed);
    pgc_frame *kept = NULL;
    uint8_t kept_byte = 0;
    for (unsigned i = 0; i < RACE_ROUNDS; i++) {
        uint32_t block = (uint32_t)vv_rng_below(&rng, r->file->block_count);
        pgc_file *file = vv_rng_one_in(&rng, 2) ? r->file : r->other;
        vv_epoch_enter();
        pgc_frame *frame = pgc_lookup(file, block);
        if (frame != NULL) {
            r->wrong += pgc_data(frame)[17] != (uint8_t)block;
            if (kept == NULL && vv_rng_one_in(&rng, 3)) {
                pgc_pin(frame);
                kept = frame;
                kept_byte = (uint8_t)block;
            }
        }
        vv_epoch_exit();
        if (frame == NULL &&
            pgc_frame_create(file->cache, r->len + block % 700, &frame, NULL) == VV_OK) {
            memset(pgc_data(frame), (int)block, r->len);
            pgc_publish(file, block, frame);
            pgc_unpin(frame);
        }
        if (kept != NULL && vv_rng_one_in(&rng, 5)) {
            r->wrong += pgc_data(kept)[r->len - 1] != kept_byte;
            pgc_unpin(kept);
            kept = NULL;
        }
    }
    if (kept != NULL)
        pgc_unpin(kept);
    return NULL;
}

static void *race_mover(void *arg)
{
    race *r = arg;
    vv_rng rng;
    vv_rng_init(&rng, r->seed);
    for (unsigned i = 0; i < RACE_ROUNDS; i++) {
        uint32_t block = (uint32_t)vv_rng_below(&rng, r->file->block_count);
        bool back = vv_rng_one_in(&rng, 2);
        pgc_move(back ? r->other : r->file, block, back ? r->file : r->other, block);
    }
    return NULL;
}

static void run_race(uint64_t cache_size, uint32_t blocks, size_t len)
{
    pgc_cache *cache = make_cache(cache_size, NULL);
    pgc_file *file = make_file(cache, blocks);
    pgc_file *other = make_file(cache, blocks);
    pthread_t threads[4];
    race races[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        races[i] = (race){.file = file, .other = other, .len = len, .seed = vv_test_seed(5) + i};
        void *(*fn)(void *) = i == 0 ? race_mover : race_reader;
        assert_int_equal(pthread_create(&threads[i], NULL, fn, &races[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(races[i].wrong, 0);
    }
    pgc_file_destroy(file);
    pgc_file_destroy(other);
    pgc_cache_destroy(cache);
}

static void prop_readers_and_evictions_agree(void **state)
{
    (void)state;
    run_race(200 * 600 / 10, 200, 512); /* each frame by itself */
    run_race(17 << 20, 10000, 8000);    /* slots of two sizes in slabs */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_published_block_is_found_until_its_file_goes),
        cmocka_unit_test(of_two_loaders_the_first_publishes),
        cmocka_unit_test(the_cache_stays_within_its_size),
        cmocka_unit_test(what_is_used_again_stays_longer),
        cmocka_unit_test(a_block_larger_than_half_stays_private),
        cmocka_unit_test(slabs_follow_the_block_size),
        cmocka_unit_test(empty_slabs_wait_for_the_next_blocks),
        cmocka_unit_test(a_large_value_takes_a_slot_of_its_size),
        cmocka_unit_test(a_failed_allocation_is_an_answer),
        cmocka_unit_test(a_hit_takes_no_lock_and_no_memory),
        cmocka_unit_test(a_block_moves_to_another_file),
        cmocka_unit_test(prop_a_scan_does_not_push_out_what_is_hot),
        cmocka_unit_test(prop_another_hot_set_takes_the_place_of_the_last),
        cmocka_unit_test(prop_readers_and_evictions_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
