/*
 * eloqstore_example_test.cc - runs the example of EloqStore's Rust port, unchanged, in a directory
 * of its own, and reads back what it wrote.
 */
#include <cstdio>
#include <cstdlib>
#include <string>

#include <unistd.h>

#define main example_main
#include "../../examples/eloqstore.cc"
#undef main

static bool alice_is_there()
{
    char buffer[16];
    size_t len = sizeof buffer;
    EloqStoreKvOptions options = ELOQSTORE_KV_OPTIONS_INIT("./data");
    EloqStoreHandle *store = eloqstore_new_with_options(&options);
    bool ok = eloqstore_start(store) == 0 &&
              eloqstore_read(store, "users", 5, "user:1", 6, buffer, &len) == 0 && len == 5 &&
              memcmp(buffer, "Alice", 5) == 0;
    eloqstore_free(store);
    return ok;
}

int main()
{
    char dir[] = "/tmp/eloqstore-example-XXXXXX";
    if (mkdtemp(dir) == nullptr || chdir(dir) != 0) {
        std::perror(dir);
        return 1;
    }
    /* Twice: the second run opens what the first one made. */
    bool ok = example_main() == 0 && alice_is_there() && example_main() == 0 && alice_is_there();
    std::printf("%s\n", ok ? "Alice is there" : "the example wrote nothing that can be read");
    if (chdir("/") != 0 || std::system((std::string("rm -r ") + dir).c_str()) != 0)
        return 1;
    return ok ? 0 : 1;
}
