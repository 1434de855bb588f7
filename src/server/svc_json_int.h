/*
 * svc_json_int.h - what the two directions of the JSON mapping share.
 */
#ifndef VARVE_SERVER_SVC_JSON_INT_H
#define VARVE_SERVER_SVC_JSON_INT_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#include "codec/protowire.h"
#include "query/struct_json.h"

/* Messages inside messages: each Value brings a Struct or a list and an entry with it. */
#define SVC_JSON_DEPTH_MAX (STRUCT_DEPTH_MAX * 3 + 16)

/* The messages that JSON writes in a form of their own. */
typedef enum svc_known { SVC_PLAIN, SVC_STRUCT, SVC_VALUE, SVC_LIST, SVC_TIMESTAMP } svc_known;

svc_known svc_known_of(const ProtobufCMessageDescriptor *desc);

/** True for map<string, X>, which protobuf-c shows as a repeated message of key and value. */
bool svc_field_is_map(const ProtobufCFieldDescriptor *fd);

/** The wire type an unpacked field of this type has. */
wire_type svc_wire_of(ProtobufCType type);

#endif
