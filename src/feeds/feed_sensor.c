/*
 * feed_sensor.c - see feed_sensor.h.
 */
#include "feeds/feed_sensor.h"

#include "base/util.h"
#include "codec/protowire.h"
#include "feeds/feed_number.h"

#define QUALITY_BAD 0x80000000u /* OPC UA: Bad */

static const wire_type type_of[5] = {
    [1] = WIRE_BYTES, [2] = WIRE_FIXED64, [3] = WIRE_VARINT, [4] = WIRE_VARINT};

const char *feed_sensor_read(vv_slice payload, feed_sensor *out)
{
    wire_reader r = wire_reader_of(payload);
    wire_field f = {0};
    feed_sensor s = {0};
    uint64_t time_ms = 0, quality = 0;
    while (wire_next(&r, &f) > 0) {
        if (f.number > 4)
            continue;
        if (f.type != type_of[f.number])
            return "a field of SensorData has another type than its number tells";
        if (f.number == 1)
            s.id = f.bytes;
        else if (f.number == 2)
            s.value = wire_double(f.value);
        else if (f.number == 3)
            time_ms = f.value;
        else
            quality = f.value;
    }
    if (r.fault != WIRE_GOOD)
        return "the payload is no SensorData: it is not protobuf";
    if (s.id.len == 0)
        return "sensor_id is empty";
    if (s.id.len > FEED_SENSOR_MAX)
        return "sensor_id has more than 900 bytes";
    if (!feed_label_is_text(s.id))
        return "sensor_id is not UTF-8, or has a NUL";
    if (!feed_scale((int64_t)time_ms, VV_NS_PER_MS, &s.time_ns))
        return "timestamp_ms is out of range";
    s.quality = quality == 0 ? QUALITY_BAD : quality == 1 ? 0 : (uint32_t)quality;
    *out = s;
    return NULL;
}

vv_status feed_sensor_give(const feed_sensor *sensor, feed_sink *sink, vv_error *err)
{
    const feed_label labels[] = {{vv_slice_str(FEED_NAME_LABEL), vv_slice_str(FEED_SENSOR_METRIC)},
                                 {vv_slice_str(FEED_SENSOR_LABEL), sensor->id}};
    vv_status st = feed_sink_series(sink, labels, ARRAY_LEN(labels), FEED_F64, err);
    if (st != VV_OK)
        return st;
    return feed_sink_samples(sink, &sensor->time_ns, (feed_values){.f64 = &sensor->value},
                             &sensor->quality, 1, err);
}
