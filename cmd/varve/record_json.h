/*
 * record_json.h - a record as people read it: one JSON object.
 */
#ifndef VARVE_CMD_VARVE_RECORD_JSON_H
#define VARVE_CMD_VARVE_RECORD_JSON_H

#include "store.h"

/** {"id":..., "timestamp":..., "version":..., "metadata":{...}, "data":{...}} */
void record_put_json(vv_buf *out, const record_parts *r);
void record_put_meta_json(vv_buf *out, const record_parts *r);
/** The body; null when it is no Struct. */
void record_put_data_json(vv_buf *out, const record_parts *r);

#endif
