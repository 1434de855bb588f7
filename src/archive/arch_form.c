/*
 * arch_form.c - the forms of a batch that other tools read, behind the same calls.
 */
#include <string.h>

#include "archive/arch_int.h"
#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"

struct arch_form {
    vv_tier_form form;
    arch_sink sink; /* the caller's: what is written is counted on the way to it */
    uint64_t size;
    vv_status failed; /* latched */
    arch_jsonl *jsonl;
    arch_parquet *parquet;
};

static vv_status count_and_write(void *ctx, const void *bytes, size_t len, vv_error *err)
{
    arch_form *f = ctx;
    vv_status st = f->sink.write(f->sink.ctx, bytes, len, err);
    if (st == VV_OK)
        f->size += len;
    return st;
}

vv_status arch_form_open(vv_tier_form form, const arch_identity *who, int level, arch_sink sink,
                         arch_form **out, vv_error *err)
{
    assert(who != NULL && out != NULL && sink.write != NULL);
    arch_form *f = vv_calloc(1, sizeof *f);
    if (f == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for another form of a batch");
    const arch_sink counted = {.write = count_and_write, .ctx = f};
    f->form = form;
    f->sink = sink;
    vv_status st = VV_OK;
    switch (form) {
    case VV_TIER_JSONL:
        st = arch_jsonl_open(level, counted, &f->jsonl, err);
        break;
    case VV_TIER_PARQUET:
        st = arch_parquet_open(who, level, counted, &f->parquet, err);
        break;
    case VV_TIER_ALONE:
    default:
        st = vv_fail(err, VV_INVALID, "form %d of a batch is none: 1 JSON lines, 2 Parquet",
                     (int)form);
        break;
    }
    if (st != VV_OK) {
        arch_form_close(f);
        return st;
    }
    *out = f;
    return VV_OK;
}

vv_status arch_form_add(arch_form *f, const vv_message *m, vv_error *err)
{
    assert(f != NULL && m != NULL);
    if (f->failed != VV_OK)
        return vv_fail(err, f->failed, "batch: a write of it failed before");
    f->failed = f->form == VV_TIER_JSONL ? arch_jsonl_add(f->jsonl, m, err)
                                         : arch_parquet_add(f->parquet, m, err);
    return f->failed;
}

vv_status arch_form_finish(arch_form *f, uint64_t *size, vv_error *err)
{
    assert(f != NULL);
    if (f->failed != VV_OK)
        return vv_fail(err, f->failed, "batch: a write of it failed before");
    vv_status st = f->form == VV_TIER_JSONL ? arch_jsonl_finish(f->jsonl, err)
                                            : arch_parquet_finish(f->parquet, err);
    f->failed = st == VV_OK ? VV_CLOSED : st; /* a batch is finished once */
    if (st == VV_OK && size != NULL)
        *size = f->size;
    return st;
}

uint64_t arch_form_memory(const arch_form *f)
{
    assert(f != NULL);
    return f->form == VV_TIER_JSONL ? arch_jsonl_memory(f->jsonl) : arch_parquet_memory(f->parquet);
}

void arch_form_close(arch_form *f)
{
    if (f == NULL)
        return;
    arch_jsonl_close(f->jsonl);
    arch_parquet_close(f->parquet);
    vv_free(f);
}

const char *arch_form_suffix(vv_tier_form form)
{
    switch (form) {
    case VV_TIER_JSONL:
        return ".jsonl.zst";
    case VV_TIER_PARQUET:
        return ".parquet";
    case VV_TIER_ALONE:
    default:
        return "";
    }
}
