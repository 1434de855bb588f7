/*
 * lsm_value_int.h - the bytes of a value file, shared by its reader and its writer.
 */
#ifndef VARVE_LSM_LSM_VALUE_INT_H
#define VARVE_LSM_LSM_VALUE_INT_H

#include "lsm/lsm_value.h"

#define LSM_VALUE_MAGIC "VARVEVAL"
#define VALUE_SUM_AT (LSM_VALUE_START - 8u)

uint64_t lsm_value_header_sum(const uint8_t *p, uint64_t id);
/** Of a record with its head. */
uint64_t lsm_value_sum(const uint8_t *p, size_t len, uint64_t file, uint64_t offset);

#endif
