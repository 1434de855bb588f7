/*
 * otlp_int.h - what the decoders share: values, attributes.
 */
#ifndef VARVE_OTLP_OTLP_INT_H
#define VARVE_OTLP_OTLP_INT_H

#include "otlp/otlp.h"

typedef enum otlp_kind { /* the field numbers of AnyValue */
                         OTLP_NONE = 0,
                         OTLP_STRING = 1,
                         OTLP_BOOL = 2,
                         OTLP_INT = 3,
                         OTLP_DOUBLE = 4,
                         OTLP_ARRAY = 5,
                         OTLP_KVLIST = 6,
                         OTLP_BYTES = 7,
} otlp_kind;

/* An AnyValue; the last member of the oneof that was given. */
typedef struct otlp_value {
    otlp_kind kind;
    vv_slice bytes; /* STRING, BYTES; the message of ARRAY and KVLIST */
    int64_t number; /* BOOL, INT */
    double real;    /* DOUBLE */
} otlp_value;

otlp_value otlp_value_read(vv_slice any);
/** key is empty when the bytes have none. */
otlp_value otlp_attribute_read(vv_slice key_value, vv_slice *key);

/** Where there is room, and the name is not there yet. */
void otlp_attributes_add(otlp_attributes *a, const vv_attribute *one);
void otlp_attributes_text(otlp_attributes *a, const char *name, vv_slice text);
void otlp_attributes_int(otlp_attributes *a, const char *name, int64_t number);
/** Each KeyValue in field `number` of a message. Lists are left out. */
void otlp_attributes_from(otlp_attributes *a, vv_slice message, uint32_t number);

#define OTLP_BUCKETS_MAX 4096u /* of a histogram, on each side of zero */

typedef struct otlp_bucket {
    double le;
    double total; /* at le and below */
} otlp_bucket;

/* le ascends; the last is +Inf. */
typedef struct otlp_buckets {
    size_t count;
    otlp_bucket item[2 * OTLP_BUCKETS_MAX + 4]; /* both sides begin with a bound, zero and +Inf */
    uint64_t scratch[2][OTLP_BUCKETS_MAX];
} otlp_buckets;

/** Those of a HistogramDataPoint, or an ExponentialHistogramDataPoint, which tells of `count`
 * values. NULL; or why it is refused. */
const char *otlp_buckets_explicit(vv_slice point, uint64_t count, otlp_buckets *out);
const char *otlp_buckets_exponential(vv_slice point, uint64_t count, otlp_buckets *out);

/** The text of a value as a label has it: a string as it is, numbers in decimal, lists as JSON.
 * Borrows from the request or from scratch, to which it appends. */
vv_slice otlp_value_text(const otlp_value *value, vv_buf *scratch);

#endif
