#include "server/descriptors.h"

#include <string.h>

#include "codec/protowire.h"

extern const unsigned char varve_protoset[];
extern const size_t varve_protoset_len;

/* Field numbers of google/protobuf/descriptor.proto. */
enum {
    SET_FILE = 1,
    NAME = 1, /* of every descriptor */
    FILE_PACKAGE = 2,
    FILE_DEPENDENCY = 3,
    FILE_MESSAGE = 4,
    FILE_ENUM = 5,
    FILE_SERVICE = 6,
    FILE_EXTENSION = 7,
    MESSAGE_FIELD = 2,
    MESSAGE_NESTED = 3,
    MESSAGE_ENUM = 4,
    MESSAGE_EXTENSION = 6,
    MESSAGE_ONEOF = 8,
    ENUM_VALUE = 2,
    SERVICE_METHOD = 2,
};

#define NESTING_MAX 32 /* of messages in our own files */

vv_slice descriptors_builtin(void)
{
    return vv_slice_of(varve_protoset, varve_protoset_len);
}

/* The next field with this number. */
static bool next(wire_reader *r, uint32_t number, vv_slice *out)
{
    wire_field f = {0};
    while (wire_next(r, &f) > 0)
        if (f.number == number && f.type == WIRE_BYTES) {
            *out = f.bytes;
            return true;
        }
    return false;
}

static vv_slice first(vv_slice message, uint32_t number)
{
    wire_reader r = wire_reader_of(message);
    vv_slice out = vv_slice_of(NULL, 0);
    (void)next(&r, number, &out);
    return out;
}

bool descriptors_file(vv_slice set, vv_slice name, vv_slice *out)
{
    wire_reader r = wire_reader_of(set);
    vv_slice file;
    while (next(&r, SET_FILE, &file))
        if (vv_slice_eq(first(file, NAME), name)) {
            *out = file;
            return true;
        }
    return false;
}

/* ---- symbols ---- */

/* True when symbol begins with name, whole; *rest is what follows the dot, empty when nothing. */
static bool step_into(vv_slice symbol, vv_slice name, vv_slice *rest)
{
    if (name.len == 0 || !vv_slice_has_prefix(symbol, name))
        return false;
    if (symbol.len == name.len) {
        *rest = vv_slice_of(NULL, 0);
        return true;
    }
    if (symbol.data[name.len] != '.' || symbol.len == name.len + 1)
        return false;
    *rest = vv_slice_of(symbol.data + name.len + 1, symbol.len - name.len - 1);
    return true;
}

/* True when a child under this field number has exactly this name. */
static bool has_child(vv_slice parent, uint32_t number, vv_slice name)
{
    wire_reader r = wire_reader_of(parent);
    vv_slice child;
    while (next(&r, number, &child))
        if (vv_slice_eq(first(child, NAME), name))
            return true;
    return false;
}

/* An enum's values are named in the scope around it. */
static bool has_enum(vv_slice parent, uint32_t number, vv_slice name)
{
    wire_reader r = wire_reader_of(parent);
    vv_slice child;
    while (next(&r, number, &child))
        if (vv_slice_eq(first(child, NAME), name) || has_child(child, ENUM_VALUE, name))
            return true;
    return false;
}

static bool has_message(vv_slice parent, uint32_t number, vv_slice symbol, bool only_messages,
                        int depth)
{
    wire_reader r = wire_reader_of(parent);
    vv_slice message, rest;
    while (next(&r, number, &message)) {
        if (!step_into(symbol, first(message, NAME), &rest))
            continue;
        if (rest.len == 0)
            return true;
        if (depth < NESTING_MAX &&
            has_message(message, MESSAGE_NESTED, rest, only_messages, depth + 1))
            return true;
        if (!only_messages &&
            (has_child(message, MESSAGE_FIELD, rest) || has_child(message, MESSAGE_ONEOF, rest) ||
             has_child(message, MESSAGE_EXTENSION, rest) || has_enum(message, MESSAGE_ENUM, rest)))
            return true;
    }
    return false;
}

static bool has_service(vv_slice file, vv_slice symbol)
{
    wire_reader r = wire_reader_of(file);
    vv_slice service, rest;
    while (next(&r, FILE_SERVICE, &service))
        if (step_into(symbol, first(service, NAME), &rest) &&
            (rest.len == 0 || has_child(service, SERVICE_METHOD, rest)))
            return true;
    return false;
}

/* symbol without the package of file. */
static bool strip_package(vv_slice file, vv_slice symbol, vv_slice *rest)
{
    vv_slice package = first(file, FILE_PACKAGE);
    *rest = symbol;
    return package.len == 0 || (step_into(symbol, package, rest) && rest->len > 0);
}

bool descriptors_file_of_symbol(vv_slice set, vv_slice symbol, vv_slice *out)
{
    wire_reader r = wire_reader_of(set);
    vv_slice file, rest;
    if (symbol.len > 0 && symbol.data[0] == '.')
        symbol = vv_slice_of(symbol.data + 1, symbol.len - 1);
    while (next(&r, SET_FILE, &file)) {
        if (!strip_package(file, symbol, &rest))
            continue;
        if (has_message(file, FILE_MESSAGE, rest, false, 0) || has_enum(file, FILE_ENUM, rest) ||
            has_child(file, FILE_EXTENSION, rest) || has_service(file, rest)) {
            *out = file;
            return true;
        }
    }
    return false;
}

bool descriptors_is_message(vv_slice set, vv_slice symbol)
{
    wire_reader r = wire_reader_of(set);
    vv_slice file, rest;
    while (next(&r, SET_FILE, &file))
        if (strip_package(file, symbol, &rest) && has_message(file, FILE_MESSAGE, rest, true, 0))
            return true;
    return false;
}

/* ---- files and services ---- */

size_t descriptors_closure(vv_slice set, vv_slice file, vv_slice out[DESCRIPTORS_FILES_MAX])
{
    size_t count = 0;
    out[count++] = file;
    for (size_t i = 0; i < count; i++) { /* out is also the list of what is still to be read */
        wire_reader r = wire_reader_of(out[i]);
        vv_slice name, needed;
        while (next(&r, FILE_DEPENDENCY, &name)) {
            if (!descriptors_file(set, name, &needed))
                continue;
            size_t k = 0;
            while (k < count && out[k].data != needed.data)
                k++;
            if (k == count && count < DESCRIPTORS_FILES_MAX)
                out[count++] = needed;
        }
    }
    return count;
}

void descriptors_services(vv_slice set, void (*fn)(void *ctx, vv_slice package, vv_slice name),
                          void *ctx)
{
    wire_reader files = wire_reader_of(set);
    vv_slice file, service;
    while (next(&files, SET_FILE, &file)) {
        wire_reader r = wire_reader_of(file);
        while (next(&r, FILE_SERVICE, &service))
            fn(ctx, first(file, FILE_PACKAGE), first(service, NAME));
    }
}

bool descriptors_has_service(vv_slice set, vv_slice full_name)
{
    wire_reader files = wire_reader_of(set);
    vv_slice file, rest;
    while (next(&files, SET_FILE, &file))
        if (strip_package(file, full_name, &rest) && has_child(file, FILE_SERVICE, rest))
            return true;
    return false;
}
