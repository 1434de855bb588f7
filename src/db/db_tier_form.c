/*
 * db_tier_form.c - messages in the forms that the archiver writes beside its objects, for whoever
 * has messages and wants such a file: the public calls over archive/.
 */
#include <stdio.h>
#include <string.h>

#include "archive/archive.h"
#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"

struct vv_tier_writer {
    arch_form *form;
};

static vv_status take_origin(const vv_tier_origin *of, arch_identity *who, vv_error *err)
{
    if (of == NULL || of->tenant == NULL || of->table == NULL)
        return vv_fail(err, VV_INVALID, "say of which tenant and table the messages are");
    if (strlen(of->tenant) > VV_NAME_MAX || strlen(of->table) > VV_NAME_MAX)
        return vv_fail(err, VV_INVALID, "a tenant's or a table's name is over %u bytes",
                       VV_NAME_MAX);
    if (of->partition >= of->partition_count)
        return vv_fail(err, VV_INVALID, "partition %u of %u", of->partition, of->partition_count);
    who->partition = of->partition;
    who->partition_count = of->partition_count;
    memcpy(who->tenant, of->tenant, strlen(of->tenant) + 1);
    memcpy(who->table, of->table, strlen(of->table) + 1);
    return VV_OK;
}

vv_status vv_tier_writer_open(vv_tier_form form, const vv_tier_origin *of,
                              vv_status (*write)(void *ctx, const void *bytes, size_t len,
                                                 vv_error *err),
                              void *ctx, vv_tier_writer **out, vv_error *err)
{
    arch_identity who = {.partition = 0};
    assert(write != NULL && out != NULL);
    vv_status st = take_origin(of, &who, err);
    if (st != VV_OK)
        return st;
    vv_tier_writer *w = vv_calloc(1, sizeof *w);
    if (w == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a form of messages");
    st = arch_form_open(form, &who, 0, (arch_sink){.write = write, .ctx = ctx}, &w->form, err);
    if (st != VV_OK) {
        vv_free(w);
        return st;
    }
    *out = w;
    return VV_OK;
}

vv_status vv_tier_writer_add(vv_tier_writer *w, const vv_message *m, vv_error *err)
{
    assert(w != NULL && m != NULL);
    return arch_form_add(w->form, m, err);
}

vv_status vv_tier_writer_finish(vv_tier_writer *w, uint64_t *size, vv_error *err)
{
    assert(w != NULL);
    return arch_form_finish(w->form, size, err);
}

void vv_tier_writer_close(vv_tier_writer *w)
{
    if (w == NULL)
        return;
    arch_form_close(w->form);
    vv_free(w);
}
