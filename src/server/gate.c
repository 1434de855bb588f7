/*
 * gate.c - who may do what, and the only way from a request to a table.
 *
 *   request -> operations -> gate_authorize -> grant -> gate_open_table -> vv_table
 *                            shape, then is_allowed      name, kind, and creation if allowed
 *
 * Why the shape is checked first: the sentence of a refusal repeats the names, so they must be
 * clean by then. Neither check looks at what is stored, so a refusal tells nothing about it.
 */
#include "server/gate.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"

struct gate {
    vv_db *db;
    bool auto_create;
    bool allow_anonymous;
};

vv_status gate_create(const gate_options *opt, gate **out, vv_error *err)
{
    gate *g = vv_alloc(sizeof *g);
    if (g == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for the gate");
    *g = (gate){
        .db = opt->db, .auto_create = opt->auto_create, .allow_anonymous = opt->allow_anonymous};
    *out = g;
    return VV_OK;
}

void gate_destroy(gate *g)
{
    vv_free(g);
}

/* ---- shape ----------------------------------------------------------------------------------- */

static bool is_word(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static vv_status check_name(const char *what, vv_slice name, vv_error *err)
{
    if (name.len > VV_NAME_MAX)
        return vv_fail(err, VV_INVALID, "%s name has %zu bytes, at most %u are allowed", what,
                       name.len, VV_NAME_MAX);
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.data[i];
        if (is_word(c) || (i > 0 && (c == '-' || c == '.')))
            continue;
        if (i == 0)
            return vv_fail(err, VV_INVALID,
                           "%s name must begin with a letter, a digit or '_', not with byte 0x%02x",
                           what, c);
        return vv_fail(err, VV_INVALID,
                       "%s name has byte 0x%02x at %zu: letters, digits, '_', '-' and '.' are "
                       "allowed",
                       what, c, i);
    }
    return VV_OK;
}

static vv_status check_bound(vv_slice key, vv_error *err)
{
    if (key.len <= VV_KEY_MAX)
        return VV_OK;
    return vv_fail(err, VV_INVALID, "the key has %zu bytes, at most %u are allowed", key.len,
                   VV_KEY_MAX);
}

static vv_status check_shape(const gate_op *op, vv_error *err)
{
    vv_status st = check_name("tenant", op->tenant, err);
    if (st == VV_OK)
        st = check_name("table", op->table, err);
    if (st == VV_OK)
        st = check_bound(op->key_begin, err);
    if (st == VV_OK)
        st = check_bound(op->key_end, err);
    if (st == VV_OK && op->to_last && op->key_end.len > 0)
        st = vv_fail(err, VV_INVALID, "the key range has two ends");
    return st;
}

/* ---- who may ---- */

/* The one place. What is not named here is refused. */
static bool is_allowed(const gate *g, const gate_identity *who, gate_kind kind)
{
    switch (kind) {
    case GATE_READ:
    case GATE_WRITE:
    case GATE_TABLE:
    case GATE_LIST:
    case GATE_STATUS:
    case GATE_ADMIN:
    case GATE_TXN:
        return who->loopback || g->allow_anonymous;
    case GATE_KINDS:
        break;
    }
    return false;
}

static vv_slice or_default(vv_slice name)
{
    return name.len > 0 ? name : vv_slice_str(GATE_NAME_DEFAULT);
}

static vv_status refuse(const gate_identity *who, const gate_op *op, vv_error *err)
{
    static const char *const verbs[] = {
        [GATE_READ] = "read",
        [GATE_WRITE] = "write",
        [GATE_TABLE] = "manage",
        [GATE_LIST] = "list tables",
        [GATE_STATUS] = "see status",
        [GATE_ADMIN] = "administer",
        [GATE_TXN] = "use transactions",
    };
    static_assert(ARRAY_LEN(verbs) == GATE_KINDS, "every kind has a verb");
    if ((unsigned)op->kind >= GATE_KINDS)
        return vv_fail(err, VV_UNSUPPORTED, "operation of unknown kind %d", (int)op->kind);
    const char *why = who->token.len > 0
                          ? "the credential cannot be checked: this server knows none"
                          : "a connection from another machine needs credentials";
    const char *next = "connect from this machine, or start varved with server.allow_anonymous";
    vv_slice tenant = or_default(op->tenant);
    vv_slice table = or_default(op->table);
    if (op->kind > GATE_TABLE)
        return vv_fail(err, VV_UNSUPPORTED, "%s: %s; %s", verbs[op->kind], why, next);
    return vv_fail(err, VV_UNSUPPORTED, "%s table '%.*s' of tenant '%.*s': %s; %s", verbs[op->kind],
                   (int)vv_min_u64(table.len, 24), table.data, (int)vv_min_u64(tenant.len, 24),
                   tenant.data, why, next);
}

vv_status gate_authorize(gate *g, const gate_identity *who, const gate_op *ops, size_t count,
                         gate_grant *out, vv_error *err)
{
    for (size_t i = 0; i < count; i++) {
        vv_status st = check_shape(&ops[i], err);
        if (st == VV_OK && !is_allowed(g, who, ops[i].kind))
            st = refuse(who, &ops[i], err);
        if (st != VV_OK)
            return count == 1 ? st : vv_wrap(err, st, "operation %zu", i);
    }
    *out = (gate_grant){.gate = g, .ops = ops, .count = count};
    return VV_OK;
}

/* ---- out of a grant ---- */

/* The names of an operation's table as the store takes them. */
typedef struct names {
    char tenant[VV_NAME_MAX + 1];
    char table[VV_NAME_MAX + 1];
} names;

static void copy_name(vv_slice name, char out[VV_NAME_MAX + 1])
{
    name = or_default(name);
    assert(name.len <= VV_NAME_MAX);
    memcpy(out, name.data, name.len);
    out[name.len] = '\0';
}

static const gate_op *op_at(const gate_grant *grant, size_t index)
{
    return index < grant->count ? &grant->ops[index] : NULL;
}

static vv_status name_table(const gate_grant *grant, size_t index, names *out, vv_error *err)
{
    const gate_op *op = op_at(grant, index);
    if (op == NULL)
        return vv_fail(err, VV_INVALID, "operation %zu was not granted: there are %zu", index,
                       grant->count);
    if (op->kind > GATE_TABLE)
        return vv_fail(err, VV_INVALID, "operation %zu is not one on a table", index);
    copy_name(op->tenant, out->tenant);
    copy_name(op->table, out->table);
    return VV_OK;
}

static const char *kind_text(vv_table_kind kind)
{
    return kind == VV_TABLE_RECORD   ? "records"
           : kind == VV_TABLE_SERIES ? "series"
           : kind == VV_TABLE_STREAM ? "messages"
                                     : "keys and values";
}

/* Takes table when it fails. */
static vv_status check_kind(const gate_op *op, const names *n, vv_table_kind kind, vv_table *table,
                            vv_error *err)
{
    vv_table_kind is = vv_table_kind_of(table);
    if (op->kind != GATE_WRITE || is == kind)
        return VV_OK;
    vv_table_close(table);
    return vv_fail(err, VV_INVALID,
                   "table '%s' of tenant '%s' holds %s: %s cannot be written into it; choose "
                   "another table",
                   n->table, n->tenant, kind_text(is), kind_text(kind));
}

vv_status gate_find_table(const gate_grant *grant, size_t index, vv_table_kind kind, vv_table **out,
                          vv_error *err)
{
    names n;
    vv_table *table = NULL;
    vv_status st = name_table(grant, index, &n, err);
    if (st == VV_OK)
        st = vv_table_open(grant->gate->db, n.tenant, n.table, &table, err);
    if (st == VV_NOT_FOUND && grant->ops[index].kind == GATE_WRITE && !grant->gate->auto_create)
        return vv_wrap(err, st, "create it first, ingest.auto_create is off");
    if (st == VV_OK)
        st = check_kind(&grant->ops[index], &n, kind, table, err);
    if (st == VV_OK)
        *out = table;
    return st;
}

bool gate_may_create(const gate_grant *grant, size_t index)
{
    const gate_op *op = op_at(grant, index);
    return op != NULL && op->kind == GATE_WRITE && grant->gate->auto_create;
}

vv_status gate_open_table(const gate_grant *grant, size_t index, vv_table_kind kind, vv_table **out,
                          vv_error *err)
{
    vv_status st = gate_find_table(grant, index, kind, out, err);
    if (st != VV_NOT_FOUND || !gate_may_create(grant, index))
        return st;
    names n;
    vv_table *table = NULL;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = kind;
    opt.if_not_exists = true; /* another first write may be faster */
    st = name_table(grant, index, &n, err);
    if (st == VV_OK)
        st = vv_table_create(grant->gate->db, n.tenant, n.table, &opt, &table, err);
    if (st == VV_CONFLICT) /* with another kind: say so as always */
        return gate_find_table(grant, index, kind, out, err);
    if (st == VV_OK)
        st = check_kind(&grant->ops[index], &n, kind, table, err);
    if (st == VV_OK)
        *out = table;
    return st;
}

static vv_status name_managed(const gate_grant *grant, size_t index, names *out, vv_error *err)
{
    vv_status st = name_table(grant, index, out, err);
    if (st == VV_OK && grant->ops[index].kind != GATE_TABLE)
        st = vv_fail(err, VV_INVALID, "operation %zu does not manage a table", index);
    return st;
}

vv_status gate_create_table(const gate_grant *grant, size_t index, const vv_table_options *opt,
                            vv_table **out, vv_error *err)
{
    names n;
    vv_status st = name_managed(grant, index, &n, err);
    return st == VV_OK ? vv_table_create(grant->gate->db, n.tenant, n.table, opt, out, err) : st;
}

vv_status gate_alter_table(const gate_grant *grant, size_t index, const vv_table_options *to,
                           vv_table_change changes, vv_error *err)
{
    names n;
    vv_status st = name_managed(grant, index, &n, err);
    return st == VV_OK ? vv_table_alter(grant->gate->db, n.tenant, n.table, to, changes, err) : st;
}

vv_status gate_drop_table(const gate_grant *grant, size_t index, vv_error *err)
{
    names n;
    vv_status st = name_managed(grant, index, &n, err);
    return st == VV_OK ? vv_table_drop(grant->gate->db, n.tenant, n.table, err) : st;
}

bool gate_range(const gate_grant *grant, size_t index, vv_slice *begin, vv_slice *end)
{
    const gate_op *op = op_at(grant, index);
    if (op == NULL || op->kind > GATE_WRITE)
        return false;
    assert(op->to_last || op->key_end.len > 0 || op->key_begin.len == 0);
    *begin = op->key_begin;
    *end = op->key_end;
    return op->key_end.len == 0 || vv_slice_cmp(*begin, *end) < 0;
}

vv_db *gate_db(const gate_grant *grant)
{
    return grant->gate->db;
}
