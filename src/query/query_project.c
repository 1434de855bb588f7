/*
 * query_project.c - projection: which fields and metadata pairs of a record are answered.
 *
 * The record's own columns (_id, _timestamp, _version) are in every answer; naming them is allowed
 * and, alone, means "nothing else". Bytes are cut from the stored Struct, never unpacked.
 */
#include "base/error.h"
#include "query/query_int.h"

/* Find or add key among siblings. */
static struct_keep *keep_add(struct_keep **first, vv_slice key, vv_arena *arena)
{
    for (struct_keep *k = *first; k != NULL; k = k->sibling)
        if (vv_slice_eq(k->key, key))
            return k;
    struct_keep *k = vv_arena_alloc(arena, sizeof *k);
    if (k == NULL)
        return NULL;
    *k = (struct_keep){.key = key, .sibling = *first};
    *first = k;
    return k;
}

static bool keep_path(struct_keep **first, const column *c, vv_arena *arena)
{
    struct_keep *k = NULL;
    for (uint32_t i = 0; i < c->step_count; i++) {
        k = keep_add(first, c->step[i], arena);
        if (k == NULL)
            return false;
        first = &k->child;
    }
    if (k != NULL)
        k->whole = true;
    return true;
}

vv_status projection_compile(const vv_slice *columns, size_t count, row_kind rows, vv_arena *arena,
                             projection *out, vv_error *err)
{
    struct_keep *fields = NULL;
    struct_keep *metadata = NULL;
    *out = (projection){.all = count == 0};
    if (count > QUERY_PROJECTION_MAX)
        return vv_fail(err, VV_INVALID, "projection: %zu columns, at most %u are allowed", count,
                       QUERY_PROJECTION_MAX);
    for (size_t i = 0; i < count; i++) {
        column c;
        vv_status st = column_parse(columns[i], rows, arena, &c, err);
        if (st != VV_OK)
            return vv_wrap(err, st, "projection");
        bool ok = true;
        if (c.kind == COLUMN_ALL)
            out->all = true;
        else if (c.kind == COLUMN_METADATA_ALL)
            out->metadata_all = true;
        else if (c.kind == COLUMN_METADATA)
            ok = keep_path(&metadata, &c, arena);
        else if (c.step_count > 0)
            ok = keep_path(&fields, &c, arena);
        if (!ok)
            return vv_fail(err, VV_NO_MEMORY, "projection: %zu columns", count);
    }
    out->fields = fields;
    out->metadata = metadata;
    return VV_OK;
}

static bool is_kept(const struct_keep *keep, vv_slice key)
{
    for (; keep != NULL; keep = keep->sibling)
        if (vv_slice_eq(keep->key, key))
            return true;
    return false;
}

static void cut_metadata(const projection *p, vv_slice rest, vv_buf *out)
{
    vv_slice key;
    vv_slice value;
    while (vv_record_metadata_next(&rest, &key, &value)) {
        if (!is_kept(p->metadata, key))
            continue;
        vv_buf_append_varint(out, key.len);
        vv_buf_append_slice(out, key);
        vv_buf_append_varint(out, value.len);
        vv_buf_append_slice(out, value);
    }
}

/* Of a projection without fields none is made. */
static vv_slice message_body_of(const projection *p, message_view *view)
{
    return p->all || p->fields != NULL ? message_body(view) : vv_slice_of(NULL, 0);
}

vv_status projection_apply(const projection *p, const row_view *view, vv_buf *scratch,
                           query_row *row, vv_error *err)
{
    const vv_record *r = &view->record;
    *row = (query_row){.key = view->key,
                       .version = view->version,
                       .timestamp_ns = r->timestamp_ns,
                       .schema_version = r->schema_version,
                       .metadata = r->metadata,
                       .body = view->message == NULL ? r->body : message_body_of(p, view->message)};
    if (view->message != NULL && view->message->body.status != VV_OK)
        return message_body_fail(view->message, err);
    if (r->body_format != 0)
        return vv_fail(err, VV_UNSUPPORTED, "record '%.*s': body format %u is not known here",
                       (int)(view->key.len < 80 ? view->key.len : 80), (const char *)view->key.data,
                       r->body_format);
    if (p->all)
        return VV_OK;
    vv_buf_reset(scratch);
    if (!p->metadata_all && p->metadata != NULL)
        cut_metadata(p, r->metadata, scratch);
    size_t metadata_len = scratch->len;
    /* A malformed body has no fields to choose from. */
    if (p->fields != NULL && struct_project(row->body, p->fields, scratch) != VV_OK)
        scratch->len = metadata_len;
    if (scratch->status != VV_OK)
        return vv_fail(err, scratch->status, "projection of record '%.*s'",
                       (int)(view->key.len < 80 ? view->key.len : 80),
                       (const char *)view->key.data);
    if (!p->metadata_all)
        row->metadata = vv_slice_of(scratch->data, metadata_len);
    row->body = (vv_slice){0};
    if (scratch->len > metadata_len)
        row->body = vv_slice_of(scratch->data + metadata_len, scratch->len - metadata_len);
    return VV_OK;
}
