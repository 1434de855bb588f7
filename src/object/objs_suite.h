/*
 * objs_suite.h - what every object store must do: one suite, run on each backend.
 */
#ifndef VARVE_OBJECT_OBJS_SUITE_H
#define VARVE_OBJECT_OBJS_SUITE_H

#include "object/object.h"

typedef struct objs_suite_traits {
    bool create;        /* knows put on the condition that the name is free */
    bool create_upload; /* and the same when an upload is completed */
    bool keeps_crc;     /* head of a put object has its sum */
    size_t part_size;   /* of parts but the last */
    unsigned threads;   /* of the test of several; 0: none */
    unsigned objects;   /* of the list test */
} objs_suite_traits;

/** Run all on an empty store; fails the cmocka test that runs. Leaves the store empty. */
void objs_suite_run(vv_object_store *store, const objs_suite_traits *traits);

#endif
