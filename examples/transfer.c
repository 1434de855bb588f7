/*
 * transfer.c - money from one account to another, whoever else moves money meanwhile.
 *
 *     cc transfer.c $(pkg-config --cflags --libs varve) && ./a.out directory
 *
 * The transaction reads both balances and writes both. If anybody else wrote to one of the two
 * since it began, the commit answers VV_CONFLICT and it is done again from the start.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <varve/varve.h>

static vv_status balance(vv_txn *txn, vv_table *accounts, const char *name, int64_t *out,
                         vv_error *err)
{
    vv_value v;
    *out = 0;
    vv_status st = vv_txn_get(txn, accounts, vv_slice_str(name), &v, err);
    if (st == VV_NOT_FOUND)
        return VV_OK; /* nobody has paid in yet */
    if (st != VV_OK)
        return st;
    char text[32] = "";
    memcpy(text, v.data.data, v.data.len < sizeof text ? v.data.len : sizeof text - 1);
    *out = strtoll(text, NULL, 10);
    vv_value_release(&v);
    return VV_OK;
}

static vv_status set_balance(vv_txn *txn, vv_table *accounts, const char *name, int64_t amount,
                             vv_error *err)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, amount);
    return vv_txn_put(txn, accounts, vv_slice_str(name), vv_slice_str(text), 0, err);
}

static vv_status transfer_once(vv_db *db, vv_table *accounts, const char *from, const char *to,
                               int64_t amount, vv_error *err)
{
    vv_txn *txn;
    vv_txn_options opt = VV_TXN_OPTIONS_INIT;
    int64_t giver = 0;
    int64_t taker = 0;
    opt.isolation = VV_ISOLATION_SERIALIZABLE;
    vv_status st = vv_txn_begin(db, &opt, &txn, err);
    if (st != VV_OK)
        return st;
    st = balance(txn, accounts, from, &giver, err);
    if (st == VV_OK)
        st = balance(txn, accounts, to, &taker, err);
    if (st == VV_OK)
        st = set_balance(txn, accounts, from, giver - amount, err);
    if (st == VV_OK)
        st = set_balance(txn, accounts, to, taker + amount, err);
    if (st != VV_OK) {
        vv_txn_abort(txn);
        return st;
    }
    return vv_txn_commit(txn, NULL, err); /* ends it, whatever it answers */
}

int main(int argc, char **argv)
{
    vv_db *db;
    vv_table *accounts;
    vv_error err;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.if_not_exists = true;
    if (vv_db_open(argc > 1 ? argv[1] : "bank", NULL, &db, &err) != VV_OK ||
        vv_table_create(db, "bank", "accounts", &opt, &accounts, &err) != VV_OK)
        goto failed;
    vv_status st;
    do
        st = transfer_once(db, accounts, "alice", "bob", 5, &err);
    while (st == VV_CONFLICT); /* somebody was faster: read again */
    if (st != VV_OK)
        goto failed;
    vv_value v;
    if (vv_get(accounts, NULL, vv_slice_str("bob"), &v, &err) != VV_OK)
        goto failed;
    printf("bob has %.*s\n", (int)v.data.len, (const char *)v.data.data);
    vv_value_release(&v);
    vv_table_close(accounts);
    return vv_db_close(db, &err) == VV_OK ? 0 : 1;
failed:
    fprintf(stderr, "transfer: %s: %s\n", vv_status_name(err.status), err.msg);
    return 1;
}
