/*
 * otlp_check.c - a request held against the published messages, before anything is made of it.
 *
 * Each message is a row of fields: the wire types that a field may have (a repeated number comes
 * packed or not), and the message inside it. Unknown fields are skipped, as protobuf does. Only
 * values nest without an end in the schema; their depth is counted.
 */
#include "base/error.h"
#include "otlp/otlp_int.h"

#define FIELD_MAX 17u

typedef enum message_id {
    NOTHING,
    ANY_VALUE,
    ARRAY_VALUE,
    KEY_VALUE_LIST,
    KEY_VALUE,
    SCOPE,
    RESOURCE,
    ENTITY_REF,
    TRACES,
    RESOURCE_SPANS,
    SCOPE_SPANS,
    SPAN,
    SPAN_EVENT,
    SPAN_LINK,
    SPAN_STATUS,
    LOGS,
    RESOURCE_LOGS,
    SCOPE_LOGS,
    LOG_RECORD,
    METRICS,
    RESOURCE_METRICS,
    SCOPE_METRICS,
    METRIC,
    NUMBERS,
    HISTOGRAM,
    EXPONENTIAL,
    SUMMARY,
    NUMBER_POINT,
    HISTOGRAM_POINT,
    EXPONENTIAL_POINT,
    BUCKETS,
    SUMMARY_POINT,
    QUANTILE,
    EXEMPLAR,
    MESSAGES,
} message_id;

enum { /* wire types that a field may have, as bits */
       V = 1 << WIRE_VARINT,
       D = 1 << WIRE_FIXED64,
       B = 1 << WIRE_BYTES,
       F = 1 << WIRE_FIXED32,
};

typedef struct field_rule {
    uint8_t types; /* 0: not known, skipped */
    uint8_t inside;
} field_rule;

static const field_rule rules[MESSAGES][FIELD_MAX] = {
    [ANY_VALUE] = {[1] = {B, 0},
                   [2] = {V, 0},
                   [3] = {V, 0},
                   [4] = {D, 0},
                   [5] = {B, ARRAY_VALUE},
                   [6] = {B, KEY_VALUE_LIST},
                   [7] = {B, 0}},
    [ARRAY_VALUE] = {[1] = {B, ANY_VALUE}},
    [KEY_VALUE_LIST] = {[1] = {B, KEY_VALUE}},
    [KEY_VALUE] = {[1] = {B, 0}, [2] = {B, ANY_VALUE}},
    [SCOPE] = {[1] = {B, 0}, [2] = {B, 0}, [3] = {B, KEY_VALUE}, [4] = {V, 0}},
    [RESOURCE] = {[1] = {B, KEY_VALUE}, [2] = {V, 0}, [3] = {B, ENTITY_REF}},
    [ENTITY_REF] = {[1] = {B, 0}, [2] = {B, 0}, [3] = {B, 0}, [4] = {B, 0}},
    [TRACES] = {[1] = {B, RESOURCE_SPANS}},
    [RESOURCE_SPANS] = {[1] = {B, RESOURCE}, [2] = {B, SCOPE_SPANS}, [3] = {B, 0}},
    [SCOPE_SPANS] = {[1] = {B, SCOPE}, [2] = {B, SPAN}, [3] = {B, 0}},
    [SPAN] = {[1] = {B, 0},
              [2] = {B, 0},
              [3] = {B, 0},
              [4] = {B, 0},
              [5] = {B, 0},
              [6] = {V, 0},
              [7] = {D, 0},
              [8] = {D, 0},
              [9] = {B, KEY_VALUE},
              [10] = {V, 0},
              [11] = {B, SPAN_EVENT},
              [12] = {V, 0},
              [13] = {B, SPAN_LINK},
              [14] = {V, 0},
              [15] = {B, SPAN_STATUS},
              [16] = {F, 0}},
    [SPAN_EVENT] = {[1] = {D, 0}, [2] = {B, 0}, [3] = {B, KEY_VALUE}, [4] = {V, 0}},
    [SPAN_LINK] = {[1] = {B, 0},
                   [2] = {B, 0},
                   [3] = {B, 0},
                   [4] = {B, KEY_VALUE},
                   [5] = {V, 0},
                   [6] = {F, 0}},
    [SPAN_STATUS] = {[2] = {B, 0}, [3] = {V, 0}},
    [LOGS] = {[1] = {B, RESOURCE_LOGS}},
    [RESOURCE_LOGS] = {[1] = {B, RESOURCE}, [2] = {B, SCOPE_LOGS}, [3] = {B, 0}},
    [SCOPE_LOGS] = {[1] = {B, SCOPE}, [2] = {B, LOG_RECORD}, [3] = {B, 0}},
    [LOG_RECORD] = {[1] = {D, 0},
                    [2] = {V, 0},
                    [3] = {B, 0},
                    [5] = {B, ANY_VALUE},
                    [6] = {B, KEY_VALUE},
                    [7] = {V, 0},
                    [8] = {F, 0},
                    [9] = {B, 0},
                    [10] = {B, 0},
                    [11] = {D, 0},
                    [12] = {B, 0}},
    [METRICS] = {[1] = {B, RESOURCE_METRICS}},
    [RESOURCE_METRICS] = {[1] = {B, RESOURCE}, [2] = {B, SCOPE_METRICS}, [3] = {B, 0}},
    [SCOPE_METRICS] = {[1] = {B, SCOPE}, [2] = {B, METRIC}, [3] = {B, 0}},
    [METRIC] = {[1] = {B, 0},
                [2] = {B, 0},
                [3] = {B, 0},
                [5] = {B, NUMBERS},
                [7] = {B, NUMBERS},
                [9] = {B, HISTOGRAM},
                [10] = {B, EXPONENTIAL},
                [11] = {B, SUMMARY},
                [12] = {B, KEY_VALUE}},
    [NUMBERS] = {[1] = {B, NUMBER_POINT}, [2] = {V, 0}, [3] = {V, 0}},
    [HISTOGRAM] = {[1] = {B, HISTOGRAM_POINT}, [2] = {V, 0}},
    [EXPONENTIAL] = {[1] = {B, EXPONENTIAL_POINT}, [2] = {V, 0}},
    [SUMMARY] = {[1] = {B, SUMMARY_POINT}},
    [NUMBER_POINT] =
        {[2] = {D, 0},
         [3] = {D, 0},
         [4] = {D, 0},
         [5] = {B, EXEMPLAR},
         [6] = {D, 0},
         [7] = {B, KEY_VALUE},
         [8] = {V, 0}},
    [HISTOGRAM_POINT] = {[2] = {D, 0},
                         [3] = {D, 0},
                         [4] = {D, 0},
                         [5] = {D, 0},
                         [6] = {D | B, 0},
                         [7] = {D | B, 0},
                         [8] = {B, EXEMPLAR},
                         [9] = {B, KEY_VALUE},
                         [10] = {V, 0},
                         [11] = {D, 0},
                         [12] = {D, 0}},
    [EXPONENTIAL_POINT] = {[1] = {B, KEY_VALUE},
                           [2] = {D, 0},
                           [3] = {D, 0},
                           [4] = {D, 0},
                           [5] = {D, 0},
                           [6] = {V, 0},
                           [7] = {D, 0},
                           [8] = {B, BUCKETS},
                           [9] = {B, BUCKETS},
                           [10] = {V, 0},
                           [11] = {B, EXEMPLAR},
                           [12] = {D, 0},
                           [13] = {D, 0},
                           [14] = {D, 0}},
    [BUCKETS] = {[1] = {V, 0}, [2] = {V | B, 0}},
    [SUMMARY_POINT] = {[2] = {D, 0},
                       [3] = {D, 0},
                       [4] = {D, 0},
                       [5] = {D, 0},
                       [6] = {B, QUANTILE},
                       [7] = {B, KEY_VALUE},
                       [8] = {V, 0}},
    [QUANTILE] = {[1] = {D, 0}, [2] = {D, 0}},
    [EXEMPLAR] = {[2] = {D, 0},
                  [3] = {D, 0},
                  [4] = {B, 0},
                  [5] = {B, 0},
                  [6] = {D, 0},
                  [7] = {B, KEY_VALUE}},
};

/* How deep every message lies but for the values inside values. */
#define MESSAGE_DEPTH_MAX 10u

typedef enum verdict { GOOD, MALFORMED, DEEP } verdict;

/* Packed numbers are whole ones; bytes of fields that are none may be anything. */
static bool is_packed(uint8_t types, vv_slice bytes)
{
    wire_reader r = wire_reader_of(bytes);
    uint64_t unused = 0;
    if ((types & D) != 0)
        return bytes.len % 8 == 0;
    while ((types & V) != 0 && r.next < r.end)
        if (!wire_value(&r, WIRE_VARINT, &unused))
            return false;
    return true;
}

/* Recursion ends: each level of values takes three messages, and all levels are counted. */
static verdict check_message(message_id id, vv_slice bytes, unsigned depth)
{
    wire_reader r = wire_reader_of(bytes);
    wire_field f = {0};
    if (depth > MESSAGE_DEPTH_MAX + 3 * OTLP_DEPTH_MAX)
        return DEEP;
    while (wire_next(&r, &f) > 0) {
        if (f.number >= FIELD_MAX)
            continue;
        const field_rule *rule = &rules[id][f.number];
        if (rule->types == 0)
            continue;
        if ((rule->types >> f.type & 1) == 0)
            return MALFORMED;
        if (f.type == WIRE_BYTES && !is_packed(rule->types, f.bytes))
            return MALFORMED;
        verdict inside = rule->inside == NOTHING
                             ? GOOD
                             : check_message((message_id)rule->inside, f.bytes, depth + 1);
        if (inside != GOOD)
            return inside;
    }
    return r.fault == WIRE_GOOD ? GOOD : MALFORMED;
}

/* Bytes of a message but for those in its fields `number`, and how many these are. */
static size_t head_of(vv_slice message, uint32_t number, uint64_t *count, uint64_t *inside)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    size_t head = 0;
    for (const uint8_t *at = r.next; wire_next(&r, &f) > 0; at = r.next) {
        if (f.number != number) {
            head += (size_t)(r.next - at);
            continue;
        }
        *count += 1;
        *inside += f.bytes.len;
    }
    return head;
}

/* A group: ResourceSpans and its likes. */
static void sum_group(vv_slice group, otlp_summary *out)
{
    wire_reader r = wire_reader_of(group);
    wire_field f = {0};
    uint64_t scopes = 0;
    uint64_t unused = 0;
    const uint64_t head = head_of(group, 2, &scopes, &unused);
    while (wire_next(&r, &f) > 0) {
        if (f.number != 2)
            continue;
        uint64_t records = 0;
        uint64_t bytes = 0;
        uint64_t scope_head = head_of(f.bytes, 2, &records, &bytes);
        uint64_t each = head + scope_head + 24; /* three tags and lengths */
        out->records += records;
        out->bytes += bytes + records * each;
    }
}

vv_status otlp_check(otlp_signal signal, vv_slice request, otlp_summary *out, vv_error *err)
{
    static const struct {
        message_id id;
        const char *name;
    } roots[OTLP_SIGNALS] = {{TRACES, "ExportTraceServiceRequest"},
                             {LOGS, "ExportLogsServiceRequest"},
                             {METRICS, "ExportMetricsServiceRequest"}};
    *out = (otlp_summary){0};
    switch (check_message(roots[signal].id, request, 0)) {
    case GOOD:
        break;
    case DEEP:
        return vv_fail(err, VV_INVALID, "%s: values nest deeper than %u", roots[signal].name,
                       OTLP_DEPTH_MAX);
    case MALFORMED:
    default:
        return vv_fail(err, VV_INVALID, "the bytes are no %s", roots[signal].name);
    }
    wire_reader r = wire_reader_of(request);
    wire_field f = {0};
    while (wire_next(&r, &f) > 0)
        if (f.number == 1)
            sum_group(f.bytes, out);
    if (signal != OTLP_METRICS && out->bytes > OTLP_WRITTEN_MAX)
        return vv_fail(err, VV_INVALID,
                       "%s: each record is kept with its resource and scope, which makes %llu MiB, "
                       "%u are allowed: send fewer at a time, or smaller resources",
                       roots[signal].name, (unsigned long long)(out->bytes >> 20),
                       OTLP_WRITTEN_MAX >> 20);
    return VV_OK;
}
