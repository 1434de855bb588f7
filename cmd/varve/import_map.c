/*
 * import_map.c - which column becomes what: the id, the time, a field, a metadata pair.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/utf8.h"
#include "base/util.h"
#include "import.h"
#include "query/struct_json.h"
#include "query_text.h"

#define BODY_MAX (32u * 1024 * 1024)
#define ARENA_MAX (4u * 1024 * 1024)

static bool find_column(const import_map *m, vv_slice name, size_t *out)
{
    for (size_t i = 0; i < m->column_count; i++)
        if (vv_slice_eq(m->columns[i], name)) {
            *out = i;
            return true;
        }
    return false;
}

static vv_status no_column(const import_map *m, const char *option, vv_slice name, vv_error *err)
{
    vv_buf names;
    vv_buf_init(&names, 4096);
    for (size_t i = 0; i < m->column_count && names.len < 120; i++) {
        vv_buf_append_str(&names, i > 0 ? ", " : "");
        vv_buf_append_slice(&names, m->columns[i]);
    }
    vv_status st =
        vv_fail(err, VV_INVALID, "%s: the header has no column '%.*s'; it has %.*s", option,
                (int)name.len, (const char *)name.data, (int)names.len, (const char *)names.data);
    vv_buf_fini(&names);
    return st;
}

/* Two columns of one name would be one field: the value of the first would be gone in silence. */
static vv_status check_names(const import_map *m, const import_input *in, vv_error *err)
{
    for (size_t i = 1; i < m->column_count; i++)
        for (size_t j = 0; j < i; j++)
            if (vv_slice_eq(m->columns[i], m->columns[j]))
                return vv_fail(err, VV_INVALID,
                               "%s: columns %zu and %zu are both named '%.*s': give other names "
                               "with --columns",
                               in->name, j + 1, i + 1, (int)vv_min_u64(m->columns[i].len, 60),
                               (const char *)m->columns[i].data);
    return VV_OK;
}

/* ---- the id ---- */

static vv_status add_part(import_map *m, id_part part, vv_error *err)
{
    if (m->part_count == IMPORT_PARTS_MAX)
        return vv_fail(err, VV_INVALID, "--id: over %u parts", IMPORT_PARTS_MAX);
    m->parts[m->part_count++] = part;
    return VV_OK;
}

static vv_status add_column_part(import_map *m, vv_slice name, vv_error *err)
{
    id_part part = {.kind = PART_COLUMN, .text = name};
    if (vv_slice_eq(name, vv_slice_str("_file")))
        part.kind = PART_FILE;
    else if (vv_slice_eq(name, vv_slice_str("_line")))
        part.kind = PART_LINE;
    else if (vv_slice_eq(name, vv_slice_str("_path")))
        part.kind = PART_PATH;
    else if (m->columns != NULL && !find_column(m, name, &part.column))
        return no_column(m, "--id", name, err);
    return add_part(m, part, err);
}

/* "kitchen/{timestamp}" */
static vv_status parse_template(import_map *m, const char *text, vv_error *err)
{
    vv_status st = VV_OK;
    while (*text != 0 && st == VV_OK) {
        if (*text == '{') {
            const char *end = strchr(text, '}');
            if (end == NULL)
                return vv_fail(err, VV_INVALID, "--id: '%s' has no closing '}'", text);
            st = add_column_part(m, vv_slice_of(text + 1, (size_t)(end - text) - 1), err);
            text = end + 1;
        } else {
            size_t n = strcspn(text, "{");
            st = add_part(m, (id_part){.kind = PART_TEXT, .text = vv_slice_of(text, n)}, err);
            text += n;
        }
    }
    return st;
}

/* Path and line: the same again when the file is imported again, and no other file's. */
static vv_status default_id(import_map *m, const import_input *in, vv_error *err)
{
    if (in->full[0] == 0)
        return vv_fail(err, VV_INVALID,
                       "%s: no column 'id', and a pipe has no name that ids could come from: say "
                       "with --id which column or template gives them",
                       in->name);
    return parse_template(m, "{_path}:{_line}", err);
}

static vv_status choose_id(import_map *m, const import_input *in, vv_error *err)
{
    const char *const usual[] = {"id", "_id"};
    if (m->opt->id != NULL)
        return strchr(m->opt->id, '{') != NULL ? parse_template(m, m->opt->id, err)
                                               : add_column_part(m, vv_slice_str(m->opt->id), err);
    for (size_t i = 0; i < ARRAY_LEN(usual); i++) {
        size_t column;
        if (find_column(m, vv_slice_str(usual[i]), &column))
            return add_column_part(m, vv_slice_str(usual[i]), err);
    }
    if (m->columns == NULL) /* each object may have its own */
        return in->full[0] == 0 ? VV_OK : default_id(m, in, err);
    return default_id(m, in, err);
}

/* ---- the time ---- */

static vv_status choose_time(import_map *m, vv_error *err)
{
    size_t best = SIZE_MAX;
    m->unit_ns = import_time_unit(m->opt->unit);
    if (m->opt->timestamp != NULL) {
        m->time_name = vv_slice_str(m->opt->timestamp);
        if (m->columns != NULL && !find_column(m, m->time_name, &m->time_column))
            return no_column(m, "--timestamp", m->time_name, err);
        return VV_OK;
    }
    for (size_t i = 0; i < m->column_count && !m->opt->no_timestamp; i++) {
        size_t rank = import_time_rank(m->columns[i]);
        if (rank < best) {
            best = rank;
            m->time_column = i;
            m->time_name = m->columns[i];
        }
    }
    return VV_OK;
}

/* ---- preparing ---- */

static vv_status set_roles(import_map *m, const cmd_list *names, const char *option,
                           import_role role, vv_error *err)
{
    for (size_t i = 0; i < names->count; i++) {
        vv_slice list[CMD_LIST_MAX];
        size_t count = 0;
        if (!query_text_split(names->item[i], list, CMD_LIST_MAX, &count))
            return vv_fail(err, VV_INVALID, "%s: over %d columns", option, CMD_LIST_MAX);
        for (size_t j = 0; j < count; j++) {
            size_t column;
            if (!find_column(m, list[j], &column))
                return no_column(m, option, list[j], err);
            m->roles[column] = role;
        }
    }
    return VV_OK;
}

static vv_status choose_roles(import_map *m, vv_error *err)
{
    size_t meta = 0;
    m->roles = vv_arena_alloc(&m->arena, (m->column_count + 1) * sizeof *m->roles);
    if (m->roles == NULL)
        return vv_fail(err, VV_NO_MEMORY, "%zu columns", m->column_count);
    for (size_t i = 0; i < m->column_count; i++)
        m->roles[i] = ROLE_FIELD;
    if (!m->opt->keep && m->time_name.len > 0)
        m->roles[m->time_column] = ROLE_NONE;
    if (!m->opt->keep && m->part_count == 1 && m->parts[0].kind == PART_COLUMN)
        m->roles[m->parts[0].column] = ROLE_NONE;
    vv_status st = set_roles(m, &m->opt->text, "--text", ROLE_TEXT, err);
    if (st == VV_OK)
        st = set_roles(m, &m->opt->meta, "--meta", ROLE_META, err);
    for (size_t i = 0; i < m->column_count; i++)
        meta += m->roles[i] == ROLE_META;
    if (st == VV_OK && meta > CMD_LIST_MAX)
        st = vv_fail(err, VV_INVALID, "--meta: over %d columns", CMD_LIST_MAX);
    return st;
}

static void put_field(vv_buf *out, vv_slice name, const struct_value *value)
{
    size_t entry = wire_begin(out, STRUCT_FIELDS);
    wire_put_bytes(out, STRUCT_ENTRY_KEY, name);
    struct_value_put(out, STRUCT_ENTRY_VALUE, value);
    wire_end(out, entry);
}

/* Fields that every record gets. A value is JSON where it reads as such. */
static vv_status read_fixed(import_map *m, vv_error *err)
{
    for (size_t i = 0; i < m->opt->set.count; i++) {
        const char *text = m->opt->set.item[i];
        const char *equals = strchr(text, '=');
        if (equals == NULL || equals == text)
            return vv_fail(err, VV_INVALID, "--set: '%s' is not NAME=VALUE", text);
        vv_slice value = vv_slice_str(equals + 1);
        size_t entry = wire_begin(&m->fixed, STRUCT_FIELDS);
        wire_put_bytes(&m->fixed, STRUCT_ENTRY_KEY, vv_slice_of(text, (size_t)(equals - text)));
        size_t begin = wire_begin(&m->fixed, STRUCT_ENTRY_VALUE);
        size_t before = m->fixed.len;
        if (json_read_value(value, NULL, &m->fixed, NULL) != VV_OK) {
            m->fixed.len = before;
            struct_value_put(&m->fixed, 0, &(struct_value){.type = STRUCT_STRING, .bytes = value});
        }
        wire_end(&m->fixed, begin);
        wire_end(&m->fixed, entry);
    }
    return m->fixed.status == VV_OK ? VV_OK : vv_fail(err, VV_NO_MEMORY, "--set");
}

vv_status import_map_init(import_map *m, const import_options *opt, const import_input *in,
                          const vv_slice *columns, size_t count, vv_error *err)
{
    *m = (import_map){.opt = opt};
    vv_arena_init(&m->arena, ARENA_MAX);
    vv_buf_init(&m->fixed, BODY_MAX);
    vv_buf_init(&m->body, BODY_MAX);
    vv_buf_init(&m->id, 65536);
    if (columns != NULL) {
        m->columns = vv_arena_alloc(&m->arena, (count + 1) * sizeof *m->columns);
        if (m->columns == NULL)
            return vv_fail(err, VV_NO_MEMORY, "%zu columns", count);
        for (; m->column_count < count; m->column_count++)
            m->columns[m->column_count] = vv_arena_dup(&m->arena, columns[m->column_count]);
    } else if (opt->text.count > 0 || opt->meta.count > 0) {
        return vv_fail(err, VV_INVALID, "--text and --meta are for CSV");
    }
    vv_status st = check_names(m, in, err);
    if (st == VV_OK)
        st = choose_id(m, in, err);
    if (st == VV_OK)
        st = choose_time(m, err);
    if (st == VV_OK && columns != NULL)
        st = choose_roles(m, err);
    if (st == VV_OK)
        st = read_fixed(m, err);
    return st;
}

void import_map_fini(import_map *m)
{
    vv_buf_fini(&m->fixed);
    vv_buf_fini(&m->body);
    vv_buf_fini(&m->id);
    vv_arena_fini(&m->arena);
}

/* ---- records ---- */

static bool is_utf8(vv_slice s)
{
    const uint8_t *end = s.len == 0 ? s.data : s.data + s.len;
    for (const uint8_t *p = s.data; p < end;) {
        size_t n = utf8_length(p, end);
        if (n == 0)
            return false;
        p += n;
    }
    return true;
}

/* A CSV cell as a value: a number, true or false, otherwise text; also an integer that a number
 * would round. */
static struct_value cell_value(import_map *m, vv_slice text, import_role role)
{
    double number;
    bool big = json_is_big_integer(text);
    m->big += big && role == ROLE_FIELD;
    if (role == ROLE_FIELD && !big && json_read_number(text, &number))
        return (struct_value){.type = STRUCT_NUMBER, .number = number};
    if (role == ROLE_FIELD && vv_slice_eq(text, vv_slice_str("true")))
        return (struct_value){.type = STRUCT_BOOL, .boolean = true};
    if (role == ROLE_FIELD && vv_slice_eq(text, vv_slice_str("false")))
        return (struct_value){.type = STRUCT_BOOL, .boolean = false};
    return (struct_value){.type = STRUCT_STRING, .bytes = text};
}

static vv_status finish(import_map *m, store_record *out, vv_error *err)
{
    vv_buf_append_slice(&m->body, vv_buf_slice(&m->fixed));
    if (m->body.status != VV_OK || m->id.status != VV_OK)
        return vv_fail(err, VV_INVALID, "the record is larger than %u bytes", BODY_MAX);
    if (m->id.len == 0)
        return vv_fail(err, VV_INVALID, "the id is empty");
    if (!is_utf8(vv_buf_slice(&m->id)))
        return vv_fail(err, VV_INVALID, "the id is not UTF-8");
    out->id = vv_buf_slice(&m->id);
    out->body = vv_buf_slice(&m->body);
    out->meta = m->meta;
    return VV_OK;
}

static void put_common_part(import_map *m, const import_input *in, const id_part *part)
{
    if (part->kind == PART_TEXT)
        vv_buf_append_slice(&m->id, part->text);
    else if (part->kind == PART_FILE)
        vv_buf_append_str(&m->id, in->name);
    else if (part->kind == PART_PATH)
        vv_buf_append_str(&m->id, in->full[0] == 0 ? in->path : in->full);
    else if (part->kind == PART_LINE)
        vv_buf_printf(&m->id, "%" PRIu64, in->line);
}

vv_status import_map_csv(import_map *m, const import_input *in, const vv_slice *fields,
                         store_record *out, vv_error *err)
{
    *out = (store_record){0};
    vv_buf_reset(&m->body);
    vv_buf_reset(&m->id);
    for (size_t i = 0; i < m->part_count; i++) {
        if (m->parts[i].kind == PART_COLUMN)
            vv_buf_append_slice(&m->id, fields[m->parts[i].column]);
        else
            put_common_part(m, in, &m->parts[i]);
    }
    if (m->time_name.len > 0) {
        vv_status st = import_time_read(m, fields[m->time_column], &out->time_ns, err);
        if (st != VV_OK)
            return st;
        out->has_time = true;
    } else if (!m->opt->no_timestamp) {
        m->untimed++;
    }
    for (size_t i = 0; i < m->column_count; i++) {
        if (m->roles[i] == ROLE_NONE || fields[i].len == 0)
            continue;
        if (!is_utf8(fields[i]))
            return vv_fail(err, VV_INVALID, "column '%.*s' is not UTF-8", (int)m->columns[i].len,
                           (const char *)m->columns[i].data);
        if (m->roles[i] == ROLE_META) {
            m->meta[2 * out->meta_count] = m->columns[i];
            m->meta[2 * out->meta_count + 1] = fields[i];
            out->meta_count++;
            continue;
        }
        struct_value v = cell_value(m, fields[i], m->roles[i]);
        put_field(&m->body, m->columns[i], &v);
    }
    return finish(m, out, err);
}

/* A field of the JSON object, a path as in --where; false when it is missing. */
static bool json_field(import_map *m, vv_slice name, struct_value *out)
{
    vv_slice path[STRUCT_DEPTH_MAX];
    vv_arena arena;
    vv_arena_init(&arena, 1 << 16);
    size_t depth = query_text_path(name, &arena, path, STRUCT_DEPTH_MAX);
    bool found = depth > 0 && struct_find(vv_buf_slice(&m->body), path, depth, out) == VV_OK;
    vv_arena_fini(&arena);
    return found;
}

static vv_status json_id(import_map *m, const import_input *in, vv_error *err)
{
    for (size_t i = 0; i < m->part_count; i++) {
        const id_part *part = &m->parts[i];
        struct_value v;
        if (part->kind != PART_COLUMN) {
            put_common_part(m, in, part);
            continue;
        }
        if (!json_field(m, part->text, &v) || (v.type != STRUCT_STRING && v.type != STRUCT_NUMBER))
            return vv_fail(err, VV_INVALID, "the field '%.*s' for the id is missing or no text",
                           (int)part->text.len, (const char *)part->text.data);
        if (v.type == STRUCT_STRING)
            vv_buf_append_slice(&m->id, v.bytes);
        else
            json_put_number(&m->id, v.number);
    }
    return VV_OK;
}

/* Without a header the usual names are looked for in each object. */
static bool json_usual(import_map *m, const char *const *names, size_t count, vv_slice *name,
                       struct_value *out)
{
    for (size_t i = 0; i < count; i++) {
        *name = vv_slice_str(names[i]);
        if (json_field(m, *name, out))
            return true;
    }
    return false;
}

/* The field of a usual name, the most usual first. */
static bool json_usual_time(import_map *m, struct_value *out)
{
    vv_slice name;
    vv_slice value;
    size_t best = SIZE_MAX;
    for (wire_reader r = wire_reader_of(vv_buf_slice(&m->body));
         struct_next_entry(&r, &name, &value) > 0;) {
        size_t rank = import_time_rank(name);
        if (rank > best || rank == SIZE_MAX || struct_value_parse(value, out) != VV_OK)
            continue;
        best = rank;
        m->time_name = name;
    }
    return best != SIZE_MAX && json_field(m, m->time_name, out);
}

static vv_status json_time(import_map *m, store_record *out, vv_error *err)
{
    struct_value v;
    vv_buf text;
    bool asked = m->opt->timestamp != NULL;
    if (m->opt->no_timestamp)
        return VV_OK;
    if (asked ? !json_field(m, m->time_name, &v) : !json_usual_time(m, &v)) {
        m->untimed++;
        if (!asked)
            return VV_OK;
        return vv_fail(err, VV_INVALID, "the field '%.*s' for the timestamp is missing",
                       (int)m->time_name.len, (const char *)m->time_name.data);
    }
    vv_buf_init(&text, 1 << 16);
    if (v.type == STRUCT_STRING)
        vv_buf_append_slice(&text, v.bytes);
    else if (v.type == STRUCT_NUMBER && v.number == floor(v.number))
        vv_buf_printf(&text, "%.0f", v.number);
    else if (v.type == STRUCT_NUMBER)
        vv_buf_printf(&text, "%.9f", v.number);
    vv_status st = import_time_read(m, vv_buf_slice(&text), &out->time_ns, err);
    out->has_time = true;
    vv_buf_fini(&text);
    return st;
}

vv_status import_map_json(import_map *m, const import_input *in, vv_slice line, store_record *out,
                          vv_error *err)
{
    static const char *const usual[] = {"id", "_id"};
    struct_value v;
    vv_slice name;
    *out = (store_record){0};
    vv_buf_reset(&m->body);
    vv_buf_reset(&m->id);
    vv_status st = json_read_struct_big(line, &m->body, &m->big, err);
    if (st != VV_OK)
        return st;
    if (m->opt->id == NULL && json_usual(m, usual, ARRAY_LEN(usual), &name, &v) &&
        (v.type == STRUCT_STRING || v.type == STRUCT_NUMBER)) {
        if (v.type == STRUCT_STRING)
            vv_buf_append_slice(&m->id, v.bytes);
        else
            json_put_number(&m->id, v.number);
    } else {
        st = m->part_count == 0 ? default_id(m, in, err) : json_id(m, in, err);
    }
    if (st == VV_OK)
        st = json_time(m, out, err);
    return st == VV_OK ? finish(m, out, err) : st;
}
