/*
 * db_version.c - the version of the library, as the build gives it.
 */
#include "varve/db.h"

const char *vv_version(void)
{
    return VV_VERSION;
}
