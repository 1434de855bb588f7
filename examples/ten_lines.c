/* ten_lines.c - the shortest whole program on varve: open, make a table, put, get. */
#include <stdio.h>
#include <varve/varve.h>

int main(int argc, char **argv)
{
    vv_db *db;
    vv_table *table;
    vv_value value;
    vv_error err;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.if_not_exists = true;
    if (vv_db_open(argc > 1 ? argv[1] : "ten-lines-data", NULL, &db, &err) != VV_OK ||
        vv_table_create(db, "home", "greetings", &opt, &table, &err) != VV_OK ||
        vv_put(table, vv_slice_str("en"), vv_slice_str("hello"), &err) != VV_OK ||
        vv_get(table, NULL, vv_slice_str("en"), &value, &err) != VV_OK)
        return fprintf(stderr, "%s\n", err.msg), 1;
    printf("%.*s\n", (int)value.data.len, (const char *)value.data.data);
    vv_value_release(&value);
    vv_table_close(table);
    return vv_db_close(db, &err) == VV_OK ? 0 : 1;
}
