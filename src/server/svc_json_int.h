/*
 * svc_json_int.h - what the two directions of the JSON mapping share.
 */
#ifndef VARVE_SERVER_SVC_JSON_INT_H
#define VARVE_SERVER_SVC_JSON_INT_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#include "server/pb_util.h"

/* Messages inside messages: each Value brings a Struct or a list and an entry with it. */
#define SVC_JSON_DEPTH_MAX (PB_VALUE_DEPTH_MAX * 3 + 16)

/* The messages that JSON writes in a form of their own. */
typedef enum svc_known { SVC_PLAIN, SVC_STRUCT, SVC_VALUE, SVC_LIST, SVC_TIMESTAMP } svc_known;

svc_known svc_known_of(const ProtobufCMessageDescriptor *desc);

/** True for map<string, X>, which protobuf-c shows as a repeated message of key and value. */
bool svc_field_is_map(const ProtobufCFieldDescriptor *fd);

/** The wire type an unpacked field of this type has. */
pb_wire svc_wire_of(ProtobufCType type);

/** Bytes of the UTF-8 character at p, of which left bytes are there; 0 when it is none. left > 0.
 */
size_t svc_utf8_len(const uint8_t *p, size_t left);

#endif
