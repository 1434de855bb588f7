/*
 * lsm_form.c - which form a table's blocks get on which level.
 *
 *              level 0    level 1    below
 *   auto       lz4        lz4        zstd, with a dictionary where it pays
 *   packed     zstd       zstd       zstd, likewise: auto where values are columns of samples
 *   none       none       none       none
 *   lz4        lz4        lz4        lz4
 *   zstd       lz4        zstd       zstd, likewise
 *
 * Level 0 is what writers wait for, and level 1 is rewritten often: the cheapest codec that saves
 * the disk bytes. A run that only moves keeps its form; one of level 0 moves where it has the form
 * that it would be given. Columns are dense by themselves: lz4 finds nothing in them, zstd what
 * their heads repeat; and there are so few bytes of a sample that its price does not show.
 */
#include "base/util.h"
#include "lsm/lsm_int.h"
#include "lsm/lsm_value.h"

#define PLAIN_BLOCK 4096u       /* one device read */
#define COMPRESSED_BLOCK 16384u /* smaller ones compress badly */
#define PACKED_BLOCK 32768u     /* a day of samples has some KiB: two or three are in one */
#define PACKED_GAIN 32u         /* what is dense by itself is cut by a tenth at best */
#define TABLES_LOOKED_AT 16u

static codec_kind codec_of(const engine_form *form, uint32_t level)
{
    switch (form->compression) {
    case ENGINE_COMPRESSION_NONE:
        return CODEC_NONE;
    case ENGINE_COMPRESSION_LZ4:
        return CODEC_LZ4;
    case ENGINE_COMPRESSION_ZSTD:
        return level == 0 ? CODEC_LZ4 : CODEC_ZSTD;
    case ENGINE_COMPRESSION_AUTO:
        break;
    }
    return level <= 1 && !form->is_packed ? CODEC_LZ4 : CODEC_ZSTD;
}

lsm_form lsm_form_of(const lsm_engine *e, uint32_t table, uint32_t level)
{
    const engine_hooks *hooks = &e->opt.hooks;
    engine_form form = {0};
    if (hooks->form != NULL)
        form = hooks->form(hooks->ctx, table);
    bool no_choice = form.compression == ENGINE_COMPRESSION_AUTO;
    codec_kind codec = no_choice && !e->opt.compress ? CODEC_NONE : codec_of(&form, level);
    uint32_t block_size = codec == CODEC_NONE ? PLAIN_BLOCK
                          : form.is_packed    ? PACKED_BLOCK
                                              : COMPRESSED_BLOCK;
    return (lsm_form){.value_threshold = form.value_threshold == 0 ? LSM_VALUE_THRESHOLD
                                         : form.value_threshold < LSM_VALUE_REF + 1u
                                             ? LSM_VALUE_REF + 1u
                                             : form.value_threshold,
                      .codec = codec,
                      .gain = form.is_packed ? PACKED_GAIN : LSM_PACK_GAIN,
                      .block_size = e->opt.block_size != 0 ? e->opt.block_size : block_size};
}

bool lsm_form_stays(const lsm_engine *e, const lsm_run *run, uint32_t level)
{
    uint32_t first = engine_key_table(run->meta.lower);
    uint32_t last = engine_key_table(run->meta.upper);
    if (last - first >= TABLES_LOOKED_AT)
        return false;
    for (uint32_t table = first;; table++) {
        if (lsm_form_of(e, table, level).codec != lsm_form_of(e, table, 0).codec)
            return false;
        if (table == last)
            return true;
    }
}
