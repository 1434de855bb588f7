/*
 * query_scan.c - walk the records of the chosen path and ask the filters of each.
 *
 * The scan holds one cursor, and the cursor one snapshot, from the first record to the last. Every
 * so many records (fewer when they are large) it looks at the clock and at its caller's wish to
 * stop, so that a deadline is met to within a fraction of a millisecond. It counts its work, so
 * that it can pause after a turn and leave its thread to others. Messages are walked by
 * query_message_scan.c.
 */
#include "base/error.h"
#include "query/query_int.h"

#define LOOK_UP_EVERY 256u  /* records, */
#define LOOK_UP_BYTES 4096u /* or this many bytes for one more */
#define RECORD_WORK 128u    /* of looking at a record at all, in bytes of it */

static vv_status open_cursor(scan *s, const plan *p, vv_error *err)
{
    const path *w = &p->path;
    if (w->kind == PATH_MESSAGES)
        return message_scan_open(s, err);
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.snapshot = s->env.snapshot;
    opt.version = p->version;
    if (w->kind == PATH_TIME)
        return vv_cursor_open_by_time(s->env.table, &opt, w->start_ns, w->end_ns, &s->cursor, err);
    if (w->kind == PATH_RANGE) {
        opt.lower = w->lower;
        opt.upper = w->upper;
    }
    return vv_cursor_open(s->env.table, &opt, &s->cursor, err);
}

/* Of messages: nothing but a time excludes any. */
static bool is_by_time(const path *w)
{
    const message_range *m = &w->messages;
    return w->kind == PATH_TIME ||
           (w->kind == PATH_MESSAGES && m->first == 0 && m->end == UINT64_MAX &&
            (w->start_ns != INT64_MIN || w->end_ns != INT64_MAX || m->event_ns != INT64_MIN));
}

vv_status scan_open(scan *s, const plan *p, const query_env *env, vv_error *err)
{
    *s = (scan){.plan = p, .env = *env, .countdown = LOOK_UP_EVERY, .pause_at = UINT64_MAX};
    s->stats.index = !p->path.narrowed ? "" : is_by_time(&p->path) ? "time" : "primary";
    if (p->path.kind == PATH_EMPTY)
        s->ended = true;
    return open_cursor(s, p, err); /* also when nothing can match: the version is checked */
}

void scan_close(scan *s)
{
    vv_cursor_close(s->cursor);
    s->cursor = NULL;
    message_scan_close(s);
}

static vv_status look_up(scan *s, vv_error *err)
{
    s->countdown = LOOK_UP_EVERY;
    if (s->env.cancelled != NULL && s->env.cancelled(s->env.ctx))
        return vv_fail(err, VV_CLOSED, "the query was cancelled after %llu records",
                       (unsigned long long)s->stats.scanned_rows);
    if (s->env.deadline_ns != INT64_MAX && vv_clock_mono(s->env.clock) >= s->env.deadline_ns)
        return vv_fail(err, VV_TIMEOUT,
                       "the deadline passed after %llu records; narrow the query or allow it more "
                       "time",
                       (unsigned long long)s->stats.scanned_rows);
    return VV_OK;
}

/* To the next named key. *found: there is such a record. */
static vv_status step_keys(scan *s, bool *found, vv_error *err)
{
    const path *w = &s->plan->path;
    if (s->key_index == w->key_count)
        return VV_NOT_FOUND;
    size_t at = w->reverse ? w->key_count - 1 - s->key_index : s->key_index;
    vv_slice key = w->keys[at].bytes;
    s->key_index++;
    *found = false;
    if (key.len == 0 || key.len > VV_KEY_MAX)
        return VV_OK;
    vv_status st = vv_cursor_seek(s->cursor, key, err);
    *found =
        st == VV_OK && vv_cursor_valid(s->cursor) && vv_slice_eq(vv_cursor_key(s->cursor), key);
    return st;
}

/* Count a step of the scan, and look up now and then. */
static vv_status note_work(scan *s, size_t record_len, vv_error *err)
{
    uint32_t cost = 1 + (uint32_t)(record_len / LOOK_UP_BYTES);
    s->work += RECORD_WORK + record_len;
    s->countdown = s->countdown > cost ? s->countdown - cost : 0;
    return s->countdown == 0 ? look_up(s, err) : VV_OK;
}

static vv_status step(scan *s, bool *found, vv_error *err)
{
    const path *w = &s->plan->path;
    vv_status st;
    if (w->kind == PATH_KEYS)
        return step_keys(s, found, err);
    if (!s->started)
        st = w->reverse ? vv_cursor_seek_below(s->cursor, (vv_slice){0}, err)
                        : vv_cursor_seek(s->cursor, (vv_slice){0}, err);
    else
        st = w->reverse ? vv_cursor_prev(s->cursor, err) : vv_cursor_next(s->cursor, err);
    s->started = true;
    if (st == VV_OK && !vv_cursor_valid(s->cursor))
        st = VV_NOT_FOUND;
    *found = st == VV_OK;
    return st;
}

static bool matches(const plan *p, const row_view *view)
{
    int64_t t = view->record.timestamp_ns;
    if (t < p->path.start_ns || (t >= p->path.end_ns && p->path.end_ns != INT64_MAX))
        return false;
    for (size_t i = 0; i < p->filter_count; i++) {
        struct_value v;
        bool found = column_read(&p->filters[i].column, view, &v);
        if (!filter_holds(&p->filters[i], found ? &v : NULL))
            return false;
    }
    return true;
}

/* The record under the cursor. */
static vv_status take_record(const scan *s, row_view *out, vv_error *err)
{
    *out = (row_view){.key = vv_cursor_key(s->cursor), .version = vv_cursor_version(s->cursor)};
    vv_status st = vv_record_parse(vv_cursor_value(s->cursor), &out->record, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "record '%.*s'", (int)(out->key.len < 80 ? out->key.len : 80),
                       (const char *)out->key.data);
    return VV_OK;
}

vv_status scan_next(scan *s, row_view *out, vv_error *err)
{
    return scan_next_bounded(s, UINT64_MAX, out, err);
}

vv_status scan_next_bounded(scan *s, uint64_t stop, row_view *out, vv_error *err)
{
    while (!s->ended) {
        bool found = true;
        size_t size = 0;
        if (s->stats.scanned_rows >= stop || s->work >= s->pause_at)
            return VV_NOT_FOUND;
        vv_status st = s->plan->path.kind == PATH_MESSAGES ? message_scan_step(s, out, &size, err)
                                                           : step(s, &found, err);
        if (st == VV_NOT_FOUND)
            break;
        if (st == VV_OK && found && s->cursor != NULL)
            size = vv_cursor_value(s->cursor).len;
        if (st == VV_OK)
            st = note_work(s, size, err);
        if (st == VV_OK && found && s->cursor != NULL)
            st = take_record(s, out, err);
        if (st != VV_OK)
            return st;
        if (!found)
            continue;
        s->stats.scanned_rows++;
        s->stats.scanned_bytes += out->key.len + size;
        bool is_match = matches(s->plan, out);
        if (s->message.body.status != VV_OK)
            return message_body_fail(&s->message, err);
        if (is_match) {
            s->stats.matched_rows++;
            return VV_OK;
        }
        s->stats.filtered_rows++;
    }
    s->ended = true;
    return VV_NOT_FOUND;
}
