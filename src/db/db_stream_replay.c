/*
 * db_stream_replay.c - dead letters back into the table that refused them.
 *
 *   position "replay" of the dead letters --> up to as many as an append holds, their marks taken
 *   off --> append, and the position behind them: one entry --> again, up to the end as it was
 *
 * The entry has the position's change under the condition that nobody else moved it, so that each
 * letter is brought back once whatever crashes, and of two replays one is told VV_CONFLICT. What is
 * refused again lies behind the end that the replay began with.
 *
 * An append that the table takes in no case (a letter over its message_size_max by now, or letters
 * of which its rules make more than an entry holds) is halved; a single letter that is refused so
 * becomes the last of the dead letters with the reason, so that it keeps none behind it back.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_stream_int.h"

#define LETTERS_MAX 1024u
#define BYTES_MAX (4u * 1024 * 1024)

typedef struct replay {
    vv_table *table;
    vv_table *dead;
    uint32_t partition;
    vv_durability durability;
    bool (*go_on)(void *ctx); /* NULL: to the end */
    void *go_on_ctx;
    uint64_t end; /* of the letters, when the replay began */
    vv_arena arena;
    vv_message *letter; /* [LETTERS_MAX] at offsets in a row */
    size_t count;
    vv_stream_replay_result *result;
} replay;

static bool is_mark(vv_slice name)
{
    return vv_slice_eq(name, vv_slice_str(EXTRACT_DEAD_REASON)) ||
           vv_slice_eq(name, vv_slice_str(EXTRACT_DEAD_PRODUCER)) ||
           vv_slice_eq(name, vv_slice_str(EXTRACT_DEAD_SEQUENCE));
}

static bool copy_slice(vv_arena *arena, vv_slice *s)
{
    if (s->len == 0)
        return true;
    *s = vv_arena_dup(arena, *s);
    return s->data != NULL;
}

/* The letter as the message it was; in the arena. */
static vv_status take_letter(replay *r, const vv_message *from, vv_error *err)
{
    vv_message m = *from;
    bool ok = copy_slice(&r->arena, &m.key) && copy_slice(&r->arena, &m.value) &&
              copy_slice(&r->arena, &m.content_type) && copy_slice(&r->arena, &m.source);
    vv_attribute *all = vv_arena_alloc(&r->arena, (from->attribute_count + 1) * sizeof *all);
    m.attributes = all;
    m.attribute_count = 0;
    for (size_t i = 0; ok && all != NULL && i < from->attribute_count; i++) {
        if (is_mark(from->attributes[i].name))
            continue;
        vv_attribute *a = &all[m.attribute_count++];
        *a = from->attributes[i];
        ok = copy_slice(&r->arena, &a->name) && copy_slice(&r->arena, &a->bytes);
    }
    if (!ok || all == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for dead letters");
    r->letter[r->count++] = m;
    return VV_OK;
}

/* Letters from *next on; *next is behind the last of them. */
static vv_status gather(replay *r, uint64_t *next, vv_error *err)
{
    vv_message m;
    vv_stream_cursor *c = NULL;
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    opt.partition = r->partition;
    opt.start = (vv_stream_start){.from = VV_STREAM_OFFSET, .offset = *next};
    opt.messages_max = LETTERS_MAX;
    opt.bytes_max = BYTES_MAX;
    vv_arena_reset(&r->arena);
    r->count = 0;
    vv_status st = vv_stream_cursor_open(r->dead, &opt, &c, err);
    while (st == VV_OK && (st = vv_stream_cursor_next(c, &m, err)) == VV_OK && m.offset < r->end) {
        st = take_letter(r, &m, err);
        *next = m.offset + 1;
    }
    vv_stream_cursor_close(c);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* Append letters [from, from + count) of those gathered; next: the offset behind them. */
static vv_status append(replay *r, size_t from, size_t count, uint64_t next, vv_error *err)
{
    vv_stream_append_result done = {.count = 0};
    vv_status st = db_stream_append_replayed(r->table, r->dead, r->partition, r->letter + from,
                                             count, next, r->durability, &done, err);
    if (st == VV_OK) {
        r->result->replayed += done.count;
        r->result->dead += done.dead;
    }
    return st;
}

/* A letter that the table never takes goes to the end of the letters; why: what it says. */
static vv_status append_dead(replay *r, const vv_message *from, uint64_t next, const char *why,
                             vv_error *err)
{
    vv_stream_append_result done = {.count = 0};
    vv_message letter = *from;
    vv_attribute *all = vv_arena_alloc(&r->arena, (letter.attribute_count + 1) * sizeof *all);
    if (all == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for dead letters");
    if (letter.attribute_count > 0)
        memcpy(all, letter.attributes, letter.attribute_count * sizeof *all);
    all[letter.attribute_count++] = (vv_attribute){.name = vv_slice_str(EXTRACT_DEAD_REASON),
                                                   .type = VV_ATTRIBUTE_STRING,
                                                   .bytes = vv_slice_str(why)};
    letter.attributes = all;
    vv_status st = db_stream_append_replayed(r->dead, r->dead, r->partition, &letter, 1, next,
                                             r->durability, &done, err);
    if (st == VV_INVALID) /* as large as can be, without the reason */
        st = db_stream_append_replayed(r->dead, r->dead, r->partition, from, 1, next, r->durability,
                                       &done, err);
    if (st == VV_OK)
        r->result->dead++;
    return st;
}

static bool is_to_go_on(const replay *r)
{
    return r->go_on == NULL || r->go_on(r->go_on_ctx);
}

/* Append what was gathered, of which the last lies before next, in pieces that the table takes. */
static vv_status append_all(replay *r, uint64_t next, vv_error *err)
{
    vv_status st = VV_OK;
    size_t piece = r->count;
    for (size_t i = 0; st == VV_OK && i < r->count;) {
        vv_error why = {0};
        char reason[sizeof why.msg];
        if (!is_to_go_on(r))
            return vv_fail(err, VV_CLOSED, "it was ended");
        piece = vv_min_u64(piece, r->count - i);
        const uint64_t behind = next - (r->count - i - piece);
        st = append(r, i, piece, behind, &why);
        if (st == VV_INVALID && piece > 1) {
            piece /= 2;
            st = VV_OK;
            continue;
        }
        (void)snprintf(reason, sizeof reason, "%s", why.msg);
        if (st == VV_INVALID)
            st = append_dead(r, &r->letter[i], behind, reason, &why);
        if (st != VV_OK && err != NULL)
            *err = why;
        i += piece;
    }
    return st;
}

static vv_status begin_at(const replay *r, uint64_t *next, vv_error *err)
{
    vv_stream_position at;
    vv_stream_start earliest = {.from = VV_STREAM_EARLIEST};
    uint64_t first = 0;
    vv_status st = vv_stream_find(r->dead, r->partition, &earliest, NULL, &first, err);
    if (st != VV_OK)
        return st;
    st = vv_stream_position_get(r->dead, r->partition, vv_slice_str(DB_STREAM_REPLAY), &at, err);
    *next = st == VV_OK && at.offset > first ? at.offset : first;
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static vv_status replay_partition(replay *r, vv_error *err)
{
    uint64_t next = 0;
    vv_stream_start latest = {.from = VV_STREAM_LATEST};
    vv_status st = vv_stream_find(r->dead, r->partition, &latest, NULL, &r->end, err);
    if (st == VV_OK)
        st = begin_at(r, &next, err);
    while (st == VV_OK && next < r->end) {
        st = gather(r, &next, err);
        if (st != VV_OK || r->count == 0)
            break;
        st = append_all(r, next, err);
    }
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "partition %u", r->partition);
}

vv_status vv_stream_replay(vv_table *table, vv_durability durability,
                           vv_stream_replay_result *result, vv_error *err)
{
    return vv_stream_replay_while(table, durability, NULL, NULL, result, err);
}

vv_status vv_stream_replay_while(vv_table *table, vv_durability durability,
                                 bool (*go_on)(void *ctx), void *ctx,
                                 vv_stream_replay_result *result, vv_error *err)
{
    vv_stream_replay_result sum = {0};
    replay r = {
        .table = table, .durability = durability, .go_on = go_on, .go_on_ctx = ctx, .result = &sum};
    vv_status st = db_stream_check_part(table, 0, err);
    if (st == VV_OK)
        st = db_stream_open_dead(table, false, &r.dead, err);
    if (st == VV_NOT_FOUND && db_check_table(table, NULL) == VV_OK) {
        if (result != NULL)
            *result = sum;
        return VV_OK; /* there never was one */
    }
    if (st != VV_OK)
        return vv_wrap(err, st, "replay of '%s'", table->cat->name);
    r.letter = vv_alloc(LETTERS_MAX * sizeof *r.letter);
    vv_arena_init(&r.arena, 64u << 20);
    if (r.letter == NULL)
        st = vv_fail(err, VV_NO_MEMORY, "no memory for dead letters");
    for (; st == VV_OK && r.partition < table->cat->partition_count; r.partition++)
        st = replay_partition(&r, err);
    vv_arena_fini(&r.arena);
    vv_free(r.letter);
    vv_table_close(r.dead);
    if (result != NULL)
        *result = sum;
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "replay of '%s'", table->cat->name);
}
