/*
 * descriptors.h - questions to a compiled descriptor set (google.protobuf.FileDescriptorSet), asked
 * of its bytes: no tree is built, nothing is allocated. The set is our own and small; reflection
 * and health ask rarely.
 */
#ifndef VARVE_SERVER_DESCRIPTORS_H
#define VARVE_SERVER_DESCRIPTORS_H

#include <stdbool.h>
#include <stddef.h>

#include "varve/slice.h"

#define DESCRIPTORS_FILES_MAX 64u

/** The set that was compiled from proto/. */
vv_slice descriptors_builtin(void);

/** The file of this name: its FileDescriptorProto bytes. False when there is none. */
bool descriptors_file(vv_slice set, vv_slice name, vv_slice *out);

/** The file that defines a fully qualified name: of a message, field, oneof, enum, enum value,
 * extension, service or method. */
bool descriptors_file_of_symbol(vv_slice set, vv_slice symbol, vv_slice *out);

/** file and everything it imports, itself first, each once. Returns the count. */
size_t descriptors_closure(vv_slice set, vv_slice file, vv_slice out[DESCRIPTORS_FILES_MAX]);

/** Call fn with the package and the name of each service. */
void descriptors_services(vv_slice set, void (*fn)(void *ctx, vv_slice package, vv_slice name),
                          void *ctx);

/** True when a service of this full name exists. */
bool descriptors_has_service(vv_slice set, vv_slice full_name);

/** True when symbol is a message. */
bool descriptors_is_message(vv_slice set, vv_slice symbol);

#endif
