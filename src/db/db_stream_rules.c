/*
 * db_stream_rules.c - the rules of a stream table at work: runners for whoever appends, what they
 * refuse as dead letters, and what became of each rule.
 *
 * Rules run on the thread of the append, before it has its place and with no lock held, so as many
 * at once as there are appends. A runner has the scratch of one append; idle ones are kept, a few.
 *
 * A dead letter is the message as it came with attributes that say why. It goes into the same entry
 * of the log as the messages it came with, so that after any crash, and for a producer that sends
 * again, all of an append is there or none of it. That needs the table of dead letters to have its
 * partitions on the shards of the table: it is of the same tenant, and has as many.
 *
 * Rules change while they are used: an append takes a reference and goes on with what it has; the
 * last one out closes them.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_stream_int.h"

#define IDLE_MAX 16u
#define LETTER_ARENA_MAX (64u << 20)
#define LETTER_MARKS 3u /* attributes of a letter */
#define LETTER_LOSS 64u /* what two pieces of an arena take besides their bytes */

static_assert(LETTER_MARKS <= EXTRACT_OWN_MAX, "a message leaves room for them");

struct db_stream_rules {
    extract_program *program;
    vv_budget *budget;
    uint64_t bytes; /* in the budget */
    _Atomic uint32_t refs;
    vv_mutex lock; /* rank VV_RANK_LEAF */
    extract_runner *idle[IDLE_MAX];
    uint32_t idle_count;
};

static vv_status make(vv_db *db, const char *text, vv_slice schema, db_stream_rules **out,
                      vv_error *err)
{
    db_stream_rules *rules = vv_calloc(1, sizeof *rules);
    assert(out != NULL);
    if (rules == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for the rules of a table");
    vv_status st = extract_compile(vv_slice_str(text), schema, &rules->program, err);
    if (st != VV_OK) {
        vv_free(rules);
        return st;
    }
    vv_mutex_init(&rules->lock, VV_RANK_LEAF);
    rules->refs = 1;
    rules->budget = &db->budget;
    rules->bytes = sizeof *rules + extract_program_size(rules->program);
    vv_budget_take(&db->budget, VV_BUDGET_INDEX, rules->bytes);
    *out = rules;
    return VV_OK;
}

vv_status db_stream_rules_open(vv_db *db, const cat_table *cat, db_stream_rules **out,
                               vv_error *err)
{
    const cat_extract *extract = cat->extract;
    *out = NULL;
    if (extract == NULL)
        return VV_OK;
    vv_status st = make(db, extract->rules, extract->schema, out, err);
    /* They were compiled when the table got them. */
    return st == VV_INVALID ? vv_wrap(err, VV_UNSUPPORTED, "rules that a newer varve wrote") : st;
}

static void destroy(db_stream_rules *rules)
{
    for (uint32_t i = 0; i < rules->idle_count; i++)
        extract_runner_destroy(rules->idle[i]);
    vv_budget_release(rules->budget, VV_BUDGET_INDEX, rules->bytes);
    extract_program_destroy(rules->program);
    vv_mutex_fini(&rules->lock);
    vv_free(rules);
}

void db_stream_rules_drop(db_stream_rules *rules)
{
    if (rules != NULL && atomic_fetch_sub_explicit(&rules->refs, 1, memory_order_acq_rel) == 1)
        destroy(rules);
}

db_stream_rules *db_stream_rules_hold(db_stream *stream)
{
    if (atomic_load_explicit(&stream->rules, memory_order_acquire) == NULL)
        return NULL;
    vv_mutex_lock(&stream->rules_lock);
    db_stream_rules *rules = stream->rules;
    if (rules != NULL)
        atomic_fetch_add_explicit(&rules->refs, 1, memory_order_relaxed);
    vv_mutex_unlock(&stream->rules_lock);
    return rules;
}

static uint64_t errors_of(const db_stream_rules *rules)
{
    uint64_t errors = 0;
    extract_counts one;
    if (rules == NULL)
        return 0;
    for (uint32_t i = 0; i < extract_rule_count(rules->program); i++) {
        extract_counts_read(rules->program, i, &one);
        errors += one.errors;
    }
    return errors + extract_overflows(rules->program);
}

void db_stream_rules_change(db_stream *stream, db_stream_rules *rules)
{
    vv_mutex_lock(&stream->rules_lock);
    db_stream_rules *before = stream->rules;
    stream->rule_errors_before += errors_of(before); /* but for appends that are under way */
    atomic_store_explicit(&stream->rules, rules, memory_order_release);
    vv_mutex_unlock(&stream->rules_lock);
    db_stream_rules_drop(before);
}

vv_status vv_stream_rules_check(const char *rules, vv_slice schema, vv_error *err)
{
    extract_program *program = NULL;
    vv_status st = extract_compile(vv_slice_str(rules), schema, &program, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "rules");
    extract_program_destroy(program);
    return VV_OK;
}

static vv_status check_name(const extract_program *program, const char *name, vv_error *err)
{
    if (!extract_has_required(program) ||
        strlen(name) + strlen(VV_STREAM_DEAD_SUFFIX) <= VV_NAME_MAX)
        return VV_OK;
    return vv_fail(err, VV_INVALID,
                   "with required rules the name has at most %zu bytes: dead letters lie in "
                   "'NAME" VV_STREAM_DEAD_SUFFIX "'",
                   VV_NAME_MAX - strlen(VV_STREAM_DEAD_SUFFIX));
}

vv_status db_stream_check_rules(const char *name, const vv_table_options *opt, vv_error *err)
{
    extract_program *program = NULL;
    vv_table_options full = VV_TABLE_OPTIONS_INIT; /* an older header has fewer fields */
    memcpy(&full, opt, opt->size < sizeof full ? opt->size : sizeof full);
    if (full.kind != VV_TABLE_STREAM || full.extract_rules == NULL || full.extract_rules[0] == '\0')
        return VV_OK; /* the catalog refuses what does not go together */
    vv_status st =
        extract_compile(vv_slice_str(full.extract_rules), full.extract_schema, &program, err);
    if (st == VV_OK)
        st = check_name(program, name, err);
    extract_program_destroy(program);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "create table '%s': extract_rules", name);
}

vv_status db_stream_rules_make(vv_db *db, const char *name, const char *text, vv_slice schema,
                               db_stream_rules **out, vv_error *err)
{
    db_stream_rules *rules = NULL;
    *out = NULL;
    if (text == NULL || text[0] == '\0')
        return VV_OK;
    vv_status st = make(db, text, schema, &rules, err);
    if (st == VV_OK) {
        assert(rules != NULL);
        st = check_name(rules->program, name, err);
    }
    if (st != VV_OK) {
        db_stream_rules_drop(rules);
        return vv_wrap(err, st, "extract_rules");
    }
    *out = rules;
    return VV_OK;
}

/* ---- runners ---- */

static vv_status take_runner(db_stream_rules *rules, extract_runner **out, vv_error *err)
{
    *out = NULL;
    vv_mutex_lock(&rules->lock);
    if (rules->idle_count > 0)
        *out = rules->idle[--rules->idle_count];
    vv_mutex_unlock(&rules->lock);
    return *out != NULL ? VV_OK : extract_runner_create(rules->program, out, err);
}

static void give_runner(db_stream_rules *rules, extract_runner *runner)
{
    if (runner == NULL)
        return;
    extract_runner_reset(runner);
    vv_mutex_lock(&rules->lock);
    bool is_kept = rules->idle_count < IDLE_MAX;
    if (is_kept)
        rules->idle[rules->idle_count++] = runner;
    vv_mutex_unlock(&rules->lock);
    if (!is_kept)
        extract_runner_destroy(runner);
}

/* ---- dead letters ---- */

/* The message as it came, and why it is here. */
static vv_status write_letter(const db_stream_append *sa, size_t place, const vv_message *m,
                              const char *reason, db_stream_applied *out, vv_message *letter,
                              vv_error *err)
{
    size_t n = m->attribute_count;
    const size_t size = (n + LETTER_MARKS) * sizeof(vv_attribute);
    if (!vv_arena_has_room(&out->arena, size + strlen(reason) + LETTER_LOSS))
        return vv_fail(
            err, VV_INVALID,
            "the dead letters up to here take more than the %u MiB of one append: append "
            "fewer messages at once",
            LETTER_ARENA_MAX >> 20);
    vv_attribute *all = vv_arena_alloc(&out->arena, size);
    vv_slice why = vv_arena_dup(&out->arena, vv_slice_str(reason));
    if (all == NULL || why.data == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for dead letters");
    if (n > 0)
        memcpy(all, m->attributes, n * sizeof *all);
    all[n++] = (vv_attribute){
        .name = vv_slice_str(EXTRACT_DEAD_REASON), .type = VV_ATTRIBUTE_STRING, .bytes = why};
    if (sa->producer.len > 0) {
        all[n++] = (vv_attribute){.name = vv_slice_str(EXTRACT_DEAD_PRODUCER),
                                  .type = VV_ATTRIBUTE_BYTES,
                                  .bytes = sa->producer};
        all[n++] = (vv_attribute){.name = vv_slice_str(EXTRACT_DEAD_SEQUENCE),
                                  .type = VV_ATTRIBUTE_I64,
                                  .i64 = (int64_t)(sa->sequence + place)};
    }
    *letter = *m;
    letter->attributes = all;
    letter->attribute_count = n;
    return VV_OK;
}

static vv_status add_letter(const db_stream_append *sa, size_t place, const vv_message *m,
                            const char *reason, db_stream_applied *out, vv_error *err)
{
    if (out->flags == NULL) {
        out->flags = vv_calloc(sa->count, 1);
        if (out->flags == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for dead letters");
        out->is_dead = out->flags;
    }
    if (out->dead_count == out->dead_cap) {
        size_t cap = out->dead_cap == 0 ? 4 : 2 * out->dead_cap;
        vv_message *more = vv_realloc(out->dead, cap * sizeof *more);
        if (more == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for dead letters");
        out->dead = more;
        out->dead_cap = cap;
    }
    vv_status st = write_letter(sa, place, m, reason, out, &out->dead[out->dead_count], err);
    if (st != VV_OK)
        return st;
    out->dead_count++;
    out->flags[place] = 1;
    return VV_OK;
}

/* Those that a message brings from elsewhere would say what is not so. */
static bool has_marks(const vv_message *m)
{
    static const char *const names[] = {EXTRACT_DEAD_REASON, EXTRACT_DEAD_PRODUCER,
                                        EXTRACT_DEAD_SEQUENCE};
    for (size_t i = 0; i < m->attribute_count; i++)
        for (size_t k = 0; k < ARRAY_LEN(names); k++)
            if (vv_slice_eq(m->attributes[i].name, vv_slice_str(names[k])))
                return true;
    return false;
}

vv_status db_stream_apply(const vv_table *table, const db_stream_append *sa, db_stream_rules *rules,
                          const vv_message *messages, db_stream_applied *out, vv_error *err)
{
    const cat_table *cat = table->cat;
    extract_place place = {vv_slice_str(cat->tenant), vv_slice_str(cat->name),
                           cat->message_size_max};
    extract_result result;
    out->message = NULL;
    out->is_dead = NULL;
    out->dead = NULL;
    out->dead_count = 0;
    out->dead_cap = 0;
    out->errors = 0;
    out->flags = NULL;
    out->many = NULL;
    vv_arena_init(&out->arena, LETTER_ARENA_MAX);
    vv_status st = take_runner(rules, &out->runner, err);
    if (st == VV_OK && sa->count > ARRAY_LEN(out->few)) {
        out->many = vv_alloc(sa->count * sizeof *out->many);
        if (out->many == NULL)
            st = vv_fail(err, VV_NO_MEMORY, "no memory for %zu messages", sa->count);
    }
    vv_message *all = out->many != NULL ? out->many : out->few;
    for (size_t i = 0; st == VV_OK && i < sa->count; i++) {
        result.is_poison = false;
        result.errors = 0;
        st = has_marks(&messages[i]) ? vv_fail(err, VV_INVALID,
                                               "attributes called _dead_... are those of dead "
                                               "letters: take them off, or replay the letters")
                                     : extract_run(out->runner, &place, &messages[i], &result, err);
        if (st == VV_OK) {
            all[i] = result.message;
            out->errors += result.errors;
        }
        if (st == VV_OK && result.is_poison)
            st = add_letter(sa, i, &messages[i], result.reason, out, err);
        if (st != VV_OK)
            (void)vv_wrap(err, st, "message %zu", i);
    }
    out->message = all;
    return st;
}

void db_stream_applied_fini(db_stream_rules *rules, db_stream_applied *applied)
{
    give_runner(rules, applied->runner);
    vv_free(applied->many);
    vv_free(applied->flags);
    vv_free(applied->dead);
    vv_arena_fini(&applied->arena);
}

vv_status db_stream_open_dead(const vv_table *table, bool creates, vv_table **out, vv_error *err)
{
    char name[VV_NAME_MAX + 1];
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    const cat_table *cat = table->cat;
    int len = snprintf(name, sizeof name, "%s" VV_STREAM_DEAD_SUFFIX, cat->name);
    if (len < 0 || (size_t)len >= sizeof name)
        return vv_fail(err, creates ? VV_INVALID : VV_NOT_FOUND,
                       "the name of the table is too long for dead letters");
    opt.kind = VV_TABLE_STREAM;
    opt.partitions = cat->partition_count;
    opt.if_not_exists = true;
    vv_status st = vv_table_open(table->db, cat->tenant, name, out, err);
    if (st == VV_NOT_FOUND && creates)
        st = vv_table_create(table->db, cat->tenant, name, &opt, out, err);
    if (st != VV_OK)
        return st == VV_NOT_FOUND && !creates ? st : vv_wrap(err, st, "dead letters");
    if ((*out)->cat->kind == VV_TABLE_STREAM &&
        (*out)->cat->partition_count == cat->partition_count)
        return VV_OK;
    vv_table_close(*out);
    *out = NULL;
    return vv_fail(err, VV_CONFLICT,
                   "dead letters: table '%s' is no stream with %u partition%s: drop it", name,
                   cat->partition_count, cat->partition_count == 1 ? "" : "s");
}

static uint32_t partitions_of(const vv_table_options *opt)
{
    return opt->partitions > 1 ? opt->partitions : 1;
}

static bool is_required(const char *rules, vv_slice schema)
{
    extract_program *program = NULL;
    if (rules == NULL || rules[0] == '\0' ||
        extract_compile(vv_slice_str(rules), schema, &program, NULL) != VV_OK)
        return false;
    const bool has = extract_has_required(program);
    extract_program_destroy(program);
    return has;
}

vv_status db_stream_check_own_letters(vv_db *db, const char *tenant, const char *name,
                                      uint32_t partitions, const vv_table_options *opt,
                                      vv_error *err)
{
    char dead[VV_NAME_MAX + 1];
    vv_table *letters = NULL;
    vv_status st = VV_OK;
    int len = snprintf(dead, sizeof dead, "%s" VV_STREAM_DEAD_SUFFIX, name);
    if (len < 0 || (size_t)len >= sizeof dead ||
        !is_required(opt->extract_rules, opt->extract_schema) ||
        vv_table_open(db, tenant, dead, &letters, NULL) != VV_OK)
        return VV_OK;
    if (letters->cat->kind != VV_TABLE_STREAM || letters->cat->partition_count != partitions)
        st = vv_fail(err, VV_CONFLICT,
                     "with required rules the dead letters of '%s' lie in '%s', and that table is "
                     "no stream with %u partition%s: drop it",
                     name, dead, partitions, partitions == 1 ? "" : "s");
    vv_table_close(letters);
    return st;
}

/* Whose dead letters are to lie where a table is made. */
static vv_status check_letters_of(vv_db *db, const char *tenant, const char *name,
                                  const vv_table_options *opt, vv_error *err)
{
    char base[VV_NAME_MAX + 1];
    vv_table *of = NULL;
    vv_status st = VV_OK;
    const size_t suffix = strlen(VV_STREAM_DEAD_SUFFIX);
    const size_t len = strlen(name);
    if (len <= suffix || len > VV_NAME_MAX ||
        strcmp(name + len - suffix, VV_STREAM_DEAD_SUFFIX) != 0)
        return VV_OK;
    (void)snprintf(base, sizeof base, "%.*s", (int)(len - suffix), name);
    if (vv_table_open(db, tenant, base, &of, NULL) != VV_OK)
        return VV_OK;
    const cat_table *cat = of->cat;
    const cat_extract *extract = cat->extract;
    const uint32_t partitions = cat->partition_count;
    if (extract != NULL && is_required(extract->rules, extract->schema) &&
        (opt->kind != VV_TABLE_STREAM || partitions_of(opt) != partitions))
        st = vv_fail(err, VV_CONFLICT,
                     "it is where table '%s' puts its dead letters: a stream with %u partition%s",
                     base, partitions, partitions == 1 ? "" : "s");
    vv_table_close(of);
    return st;
}

vv_status db_stream_check_letters(vv_db *db, const char *tenant, const char *name,
                                  const vv_table_options *opt, vv_error *err)
{
    vv_table_options full = VV_TABLE_OPTIONS_INIT; /* an older header has fewer fields */
    memcpy(&full, opt, opt->size < sizeof full ? opt->size : sizeof full);
    vv_table *own = NULL;
    vv_status st = VV_OK;
    if (full.kind == VV_TABLE_STREAM && vv_table_open(db, tenant, name, &own, NULL) != VV_OK)
        st = db_stream_check_own_letters(db, tenant, name, partitions_of(&full), &full, err);
    vv_table_close(own);
    if (st == VV_OK)
        st = check_letters_of(db, tenant, name, &full, err);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "create table '%s'", name);
}

/* ---- figures ---- */

void db_stream_count_dead(db_stream *stream, size_t count)
{
    atomic_fetch_add_explicit(&stream->dead_letters, count, memory_order_relaxed);
}

uint64_t db_stream_dead_letters(const db_stream *stream)
{
    return atomic_load_explicit(&stream->dead_letters, memory_order_relaxed);
}

uint64_t db_stream_rule_errors(db_stream *stream)
{
    vv_mutex_lock(&stream->rules_lock);
    uint64_t errors = stream->rule_errors_before + errors_of(stream->rules);
    vv_mutex_unlock(&stream->rules_lock);
    return errors;
}

vv_status vv_stream_rules_read(vv_table *table,
                               int (*each)(void *ctx, const vv_stream_rule_stats *rule), void *ctx,
                               vv_error *err)
{
    db_stream *s = NULL;
    extract_counts one;
    vv_status st = db_stream_of(table, &s, err);
    db_stream_rules *rules = st == VV_OK ? db_stream_rules_hold(s) : NULL;
    for (uint32_t i = 0; rules != NULL && i < extract_rule_count(rules->program); i++) {
        extract_counts_read(rules->program, i, &one);
        vv_stream_rule_stats rule = {.name = one.name,
                                     .required = one.is_required,
                                     .found = one.found,
                                     .absent = one.absent,
                                     .errors = one.errors};
        if (each(ctx, &rule) != 0)
            break;
    }
    db_stream_rules_drop(rules);
    return st;
}

size_t vv_stream_entity(const vv_table *table, const vv_message *message, char *out, size_t size)
{
    int len = 0;
    for (size_t i = 0; i < message->attribute_count; i++) {
        const vv_attribute *a = &message->attributes[i];
        if (a->type != VV_ATTRIBUTE_STRING || !vv_slice_eq(a->name, vv_slice_str("entity")) ||
            !extract_is_entity(a->bytes))
            continue;
        len = snprintf(out, size, "%.*s", (int)a->bytes.len, (const char *)a->bytes.data);
        return len < 0 ? 0 : (size_t)len;
    }
    len = snprintf(out, size, "%s:%s", table->cat->tenant, table->cat->name);
    return len < 0 ? 0 : (size_t)len;
}
