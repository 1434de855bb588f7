/* header_test.cc - the public headers compile and link as C++. */
#include <cstdio>
#include <varve/object.h>
#include <varve/plugin.h>
#include <varve/varve.h>

int main()
{
    vv_options options = VV_OPTIONS_INIT;
    vv_table_options table_options = VV_TABLE_OPTIONS_INIT;
    vv_cursor_options cursor_options = VV_CURSOR_OPTIONS_INIT;
    vv_object_options object_options = VV_OBJECT_OPTIONS_INIT;
    vv_record record = {};
    vv_slice a = vv_slice_str("a");
    vv_slice ab = vv_slice_of("ab", 2);
    bool ok = options.create_if_missing && table_options.kind == VV_TABLE_KV &&
              cursor_options.size == sizeof cursor_options &&
              object_options.size == sizeof object_options && VV_OBJECT_ABI == 2 &&
              record.body.len == 0 && vv_slice_cmp(a, ab) < 0 && vv_slice_has_prefix(ab, a) != 0;
    std::printf("varve %s: %s\n", vv_version(), ok ? "ok" : "wrong");
    return ok ? 0 : 1;
}
