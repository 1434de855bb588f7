/*
 * varve.h - all of the public interface of libvarve. Link with -lvarve (pkg-config: varve).
 */
#ifndef VARVE_VARVE_H
#define VARVE_VARVE_H

#include "varve/async.h"
#include "varve/bulk.h"
#include "varve/db.h"
#include "varve/object.h"
#include "varve/record.h"
#include "varve/series.h"
#include "varve/slice.h"
#include "varve/status.h"
#include "varve/stream.h"
#include "varve/txn.h"

#endif
