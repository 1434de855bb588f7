#include "eloqstore.h"

int main() {
    // Initialize store
    EloqStoreHandle* store = eloqstore_new("./data");
    eloqstore_start(store);

    // Write data
    const char* table = "users";
    const char* key = "user:1";
    const uint8_t* value = (uint8_t*)"Alice";

    eloqstore_write(store,
        table, strlen(table),
        key, strlen(key),
        value, strlen("Alice"));

    // Read data
    uint8_t buffer[1024];
    size_t len = sizeof(buffer);

    int result = eloqstore_read(store,
        table, strlen(table),
        key, strlen(key),
        buffer, &len);

    // Cleanup
    eloqstore_stop(store);
    eloqstore_free(store);
    return 0;
}
