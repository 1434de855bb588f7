/*
 * feed_sensor.h - historian.v1.SensorData, one sample of one sensor:
 *
 *     SensorData { string sensor_id = 1; double value = 2; int64 timestamp_ms = 3; int32 quality =
 * 4; }
 *
 * The series is {__name__="sensor", sensor="<sensor_id>"}, whatever the subject was: one sensor is
 * one series, found by one equal label. Quality 1 is good and 0 bad; in proto3 an absent quality is
 * a 0, so a producer must set it for its samples to be good. Any other number is an OPC UA status
 * and kept as it is.
 */
#ifndef VARVE_FEEDS_FEED_SENSOR_H
#define VARVE_FEEDS_FEED_SENSOR_H

#include "feeds/feed_sink.h"

#define FEED_SENSOR_METRIC "sensor"
#define FEED_SENSOR_LABEL "sensor"
#define FEED_SENSOR_MAX 900u /* bytes of a sensor_id */

typedef struct feed_sensor {
    vv_slice id; /* borrows the payload */
    double value;
    int64_t time_ns;
    uint32_t quality;
} feed_sensor;

/** NULL, or why the payload is none: a sentence for the dead letter. */
const char *feed_sensor_read(vv_slice payload, feed_sensor *out);

/** The sample into its series. */
VV_MUST_CHECK vv_status feed_sensor_give(const feed_sensor *sensor, feed_sink *sink, vv_error *err);

#endif
