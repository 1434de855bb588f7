/*
 * out.c - see out.h. A table waits for OUT_LOOK_ROWS rows to learn its widths; later rows keep
 * them, so that a long scan streams. Long cells are cut in a table only.
 */
#include "out.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/utf8.h"
#include "base/util.h"
#include "query/struct_json.h"

#define CELL_MAX 100 /* columns of a table cell */
#define ARENA_MAX (1024u * 1024 * 1024)
#define LINE_MAX (512u * 1024 * 1024)

bool out_is_utf8(vv_slice bytes)
{
    const uint8_t *end = bytes.len == 0 ? bytes.data : bytes.data + bytes.len;
    for (const uint8_t *p = bytes.data; p < end;) {
        size_t n = utf8_length(p, end);
        if (n == 0)
            return false;
        p += n;
    }
    return true;
}

void out_escape(vv_buf *to, vv_slice bytes)
{
    const uint8_t *end = bytes.len == 0 ? bytes.data : bytes.data + bytes.len;
    for (const uint8_t *p = bytes.data; p < end;) {
        size_t n = utf8_length(p, end);
        if (n == 0 || *p < 0x20 || *p == 0x7f) {
            vv_buf_printf(to, "\\x%02x", *p++);
            continue;
        }
        if (*p == '\\')
            vv_buf_append_u8(to, '\\');
        vv_buf_append(to, p, n);
        p += n;
    }
}

void out_base64(vv_buf *to, vv_slice bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t n = bytes.len - i < 3 ? bytes.len - i : 3;
        uint32_t v = (uint32_t)bytes.data[i] << 16;
        v |= n > 1 ? (uint32_t)bytes.data[i + 1] << 8 : 0;
        v |= n > 2 ? bytes.data[i + 2] : 0u;
        for (size_t j = 0; j < 4; j++)
            vv_buf_append_u8(to, j <= n ? (uint8_t)digits[v >> (18 - 6 * j) & 63] : '=');
    }
}

void out_size_text(uint64_t bytes, char *text, size_t len)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)bytes;
    size_t u = 0;
    for (; v >= 1024 && u + 1 < ARRAY_LEN(units); u++)
        v /= 1024;
    (void)snprintf(text, len, u == 0 ? "%.0f %s" : "%.1f %s", v, units[u]);
}

void out_init(out_writer *o, cmd_format format, const vv_slice *columns, size_t count)
{
    *o = (out_writer){.format = format};
    o->column_count = count < OUT_COLUMNS_MAX ? count : OUT_COLUMNS_MAX;
    vv_arena_init(&o->arena, ARENA_MAX);
    vv_arena_init(&o->scratch, ARENA_MAX);
    vv_buf_init(&o->line, LINE_MAX);
    for (size_t i = 0; i < o->column_count; i++)
        o->column[i] = vv_arena_dup(&o->arena, columns[i]);
    if (format == CMD_TABLE)
        o->waiting =
            vv_arena_alloc(&o->arena, OUT_LOOK_ROWS * (o->column_count + 1) * sizeof *o->waiting);
}

void out_init_names(out_writer *o, cmd_format format, const char *const *columns, size_t count)
{
    vv_slice names[OUT_COLUMNS_MAX] = {0};
    count = count < OUT_COLUMNS_MAX ? count : OUT_COLUMNS_MAX;
    for (size_t i = 0; i < count; i++)
        names[i] = vv_slice_str(columns[i]);
    out_init(o, format, names, count);
}

static void print_line(out_writer *o)
{
    vv_buf_append_u8(&o->line, '\n');
    (void)fwrite(o->line.data, 1, o->line.len, stdout);
    vv_buf_reset(&o->line);
}

/* ---- JSON ---- */

static void put_json(vv_buf *to, const out_cell *c)
{
    switch (c->type) {
    case OUT_NULL:
        vv_buf_append_str(to, "null");
        return;
    case OUT_INT:
        vv_buf_printf(to, "%" PRId64, c->i);
        return;
    case OUT_UINT:
        vv_buf_printf(to, "%" PRIu64, c->u);
        return;
    case OUT_DOUBLE:
        json_put_number(to, c->d);
        return;
    case OUT_BOOL:
        vv_buf_append_str(to, c->b ? "true" : "false");
        return;
    case OUT_JSON:
        vv_buf_append_slice(to, c->bytes);
        return;
    case OUT_TEXT:
    case OUT_BYTES:
        if (out_is_utf8(c->bytes)) {
            json_put_string(to, c->bytes);
        } else {
            vv_buf_append_str(to, "{\"base64\":\"");
            out_base64(to, c->bytes);
            vv_buf_append_str(to, "\"}");
        }
        return;
    }
}

static void json_row(out_writer *o, const out_cell *cells)
{
    vv_buf_append_u8(&o->line, '{');
    for (size_t i = 0; i < o->column_count; i++) {
        if (i > 0)
            vv_buf_append_u8(&o->line, ',');
        json_put_string(&o->line, o->column[i]);
        vv_buf_append_u8(&o->line, ':');
        put_json(&o->line, &cells[i]);
    }
    vv_buf_append_u8(&o->line, '}');
    print_line(o);
}

/* ---- plain text ---- */

static void put_plain(vv_buf *to, const out_cell *c)
{
    if (c->type == OUT_NULL)
        return;
    if (c->type == OUT_TEXT)
        vv_buf_append_slice(to, c->bytes);
    else if (c->type == OUT_BYTES)
        out_escape(to, c->bytes);
    else if (c->type == OUT_DOUBLE && !isfinite(c->d)) /* JSON has them as texts */
        vv_buf_append_str(to, isnan(c->d) ? "NaN" : c->d > 0 ? "Infinity" : "-Infinity");
    else
        put_json(to, c);
}

static void csv_cell(vv_buf *to, vv_slice text)
{
    bool quote = false;
    for (size_t i = 0; i < text.len; i++)
        quote |= strchr(",\"\r\n", text.data[i]) != NULL && text.data[i] != 0;
    if (!quote) {
        vv_buf_append_slice(to, text);
        return;
    }
    vv_buf_append_u8(to, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '"')
            vv_buf_append_u8(to, '"');
        vv_buf_append_u8(to, text.data[i]);
    }
    vv_buf_append_u8(to, '"');
}

static void csv_header(out_writer *o)
{
    for (size_t i = 0; i < o->column_count; i++) {
        if (i > 0)
            vv_buf_append_u8(&o->line, ',');
        csv_cell(&o->line, o->column[i]);
    }
    print_line(o);
}

static void csv_row(out_writer *o, const out_cell *cells)
{
    vv_buf cell;
    vv_buf_init(&cell, LINE_MAX);
    if (!o->started)
        csv_header(o);
    o->started = true;
    for (size_t i = 0; i < o->column_count; i++) {
        if (i > 0)
            vv_buf_append_u8(&o->line, ',');
        vv_buf_reset(&cell);
        if (cells[i].type == OUT_TEXT || cells[i].type == OUT_BYTES) {
            if (out_is_utf8(cells[i].bytes))
                vv_buf_append_slice(&cell, cells[i].bytes);
            else
                out_escape(&cell, cells[i].bytes);
        } else {
            put_plain(&cell, &cells[i]);
        }
        csv_cell(&o->line, vv_buf_slice(&cell));
    }
    vv_buf_fini(&cell);
    print_line(o);
}

/* ---- the table ---- */

static size_t text_width(vv_slice text)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++)
        n += (text.data[i] & 0xc0) != 0x80;
    return n;
}

/* Cut to CELL_MAX columns, on a character. */
static vv_slice cut_cell(vv_slice text, bool *cut)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        if ((text.data[i] & 0xc0) != 0x80 && n++ == CELL_MAX) {
            *cut = true;
            return vv_slice_of(text.data, i);
        }
    }
    *cut = false;
    return text;
}

static void table_line(out_writer *o, const vv_slice *cells)
{
    for (size_t i = 0; i < o->column_count; i++) {
        bool last = i + 1 == o->column_count;
        size_t w = text_width(cells[i]);
        size_t pad = w < o->width[i] ? o->width[i] - w : 0;
        if (o->number[i])
            for (; pad > 0; pad--)
                vv_buf_append_u8(&o->line, ' ');
        vv_buf_append_slice(&o->line, cells[i]);
        for (pad += 2; pad > 0 && !last; pad--)
            vv_buf_append_u8(&o->line, ' ');
    }
    print_line(o);
}

static void table_start(out_writer *o)
{
    vv_slice *header = o->column;
    for (size_t i = 0; i < o->column_count; i++) {
        size_t w = text_width(header[i]);
        o->width[i] = w > o->width[i] ? w : o->width[i];
    }
    table_line(o, header);
    for (size_t r = 0; r < o->waiting_rows && o->waiting != NULL; r++)
        table_line(o, o->waiting + r * o->column_count);
    o->started = true;
}

static void table_row(out_writer *o, const out_cell *cells)
{
    vv_slice rendered[OUT_COLUMNS_MAX];
    vv_buf text;
    vv_buf_init(&text, LINE_MAX);
    vv_arena_reset(&o->scratch);
    for (size_t i = 0; i < o->column_count; i++) {
        bool cut;
        bool is_number = cells[i].type >= OUT_INT && cells[i].type <= OUT_DOUBLE;
        vv_buf_reset(&text);
        put_plain(&text, &cells[i]);
        vv_slice plain = cut_cell(vv_buf_slice(&text), &cut);
        if (cut) {
            text.len = plain.len;
            vv_buf_append_str(&text, "...");
        }
        rendered[i] = vv_arena_dup(o->started ? &o->scratch : &o->arena, vv_buf_slice(&text));
        if (!o->started) {
            size_t w = text_width(rendered[i]);
            o->width[i] = w > o->width[i] ? w : o->width[i];
            o->number[i] =
                (o->rows == 0 || o->number[i]) && (is_number || cells[i].type == OUT_NULL);
        }
    }
    vv_buf_fini(&text);
    if (!o->started && o->waiting != NULL && o->waiting_rows < OUT_LOOK_ROWS) {
        memcpy(o->waiting + o->waiting_rows++ * o->column_count, rendered,
               o->column_count * sizeof *rendered);
        return;
    }
    if (!o->started) {
        table_start(o);
        o->waiting_rows = 0;
    }
    table_line(o, rendered);
}

void out_row(out_writer *o, const out_cell *cells)
{
    if (o->format == CMD_JSON)
        json_row(o, cells);
    else if (o->format == CMD_CSV)
        csv_row(o, cells);
    else
        table_row(o, cells);
    o->rows++;
}

/* Columns of the terminal on standard output, 0 when it is none. */
static size_t terminal_width(void)
{
    struct winsize size;
    if (isatty(STDOUT_FILENO) == 0 || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0)
        return 0;
    return size.ws_col;
}

void out_sentence(const char *text)
{
    size_t width = terminal_width();
    size_t column = 0;
    while (*text != '\0') {
        size_t len = strcspn(text, " ");
        size_t columns = text_width(vv_slice_of(text, len));
        if (column > 0 && width > 0 && column + 1 + columns > width) {
            (void)fputs("\n ", stdout);
            column = 1;
        }
        (void)printf("%s%.*s", column > 0 ? " " : "", (int)len, text);
        column += columns + (column > 0);
        text += len + (text[len] == ' ');
    }
    (void)fputs("\n", stdout);
}

void out_end(out_writer *o)
{
    if (o->format == CMD_TABLE && !o->started)
        table_start(o);
    if (o->format == CMD_CSV && !o->started)
        csv_header(o);
    vv_buf_fini(&o->line);
    vv_arena_fini(&o->arena);
    vv_arena_fini(&o->scratch);
}
