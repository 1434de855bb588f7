/*
 * fuzz_kv.c - the readers of varve.v1.Kv's requests against protobuf-c as the oracle.
 *
 * The first byte chooses the message. Laws: (1) what both accept, both see alike; (2) what
 * protobuf-c accepts and packs again, our reader accepts and sees alike, unless wire_next refuses
 * it. Messages in pieces are compared only in (2): merging, protobuf-c loses some of the first
 * piece.
 */
#include "fuzz_proto.h"
#include "varve/v1/kv.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void compare_put(vv_slice in, const void *message, bool *ours)
{
    svc_kv_put r;
    const Varve__V1__PutRequest *m = message;
    *ours = svc_kv_read_put(in, &r);
    if (!*ours || m == NULL)
        return;
    MUST(same_table(m->table, &r.table) && same_bytes(m->key, r.key));
    MUST(same_bytes(m->value, r.value) && m->ttl_ms == r.ttl_ms);
    MUST((uint32_t)m->durability == r.durability);
}

static void compare_get(vv_slice in, const void *message, bool *ours)
{
    svc_kv_get r;
    const Varve__V1__GetRequest *m = message;
    *ours = svc_kv_read_get(in, &r);
    if (!*ours || m == NULL)
        return;
    MUST(same_table(m->table, &r.table) && same_bytes(m->key, r.key));
    MUST(m->version == r.version && same_text(m->archive, r.archive));
    MUST(m->as_of_unix_ms == r.as_of_ms);
}

static void compare_delete(vv_slice in, const void *message, bool *ours)
{
    svc_kv_delete r;
    const Varve__V1__DeleteRequest *m = message;
    *ours = svc_kv_read_delete(in, &r);
    if (!*ours || m == NULL)
        return;
    MUST(same_table(m->table, &r.table) && same_bytes(m->key, r.key));
    MUST(same_bytes(m->range_end, r.range_end) && (uint32_t)m->durability == r.durability);
}

static void compare_cas(vv_slice in, const void *message, bool *ours)
{
    svc_kv_cas r;
    const Varve__V1__CompareAndSwapRequest *m = message;
    *ours = svc_kv_read_cas(in, &r);
    if (!*ours || m == NULL)
        return;
    MUST(same_table(m->table, &r.table) && same_bytes(m->key, r.key));
    MUST((int)m->expectation_case == (int)r.expectation);
    if (r.expectation == SVC_KV_ABSENT)
        MUST((m->absent != 0) == r.absent);
    if (r.expectation == SVC_KV_EXPECTED)
        MUST(same_bytes(m->expected, r.expected));
    MUST(same_bytes(m->value, r.value) && m->ttl_ms == r.ttl_ms);
    MUST((uint32_t)m->durability == r.durability);
}

static void compare_scan(vv_slice in, const void *message, bool *ours)
{
    svc_kv_scan r;
    const Varve__V1__ScanRequest *m = message;
    *ours = svc_kv_read_scan(in, &r);
    if (!*ours || m == NULL)
        return;
    MUST(same_table(m->table, &r.table) && same_bytes(m->begin, r.begin));
    MUST(same_bytes(m->end, r.end) && same_bytes(m->prefix, r.prefix));
    MUST((m->reverse != 0) == r.is_reverse && (m->keys_only != 0) == r.keys_only);
    MUST(m->limit == r.limit && m->version == r.version && m->page_bytes == r.page_bytes);
    MUST(same_text(m->archive, r.archive) && m->as_of_unix_ms == r.as_of_ms);
}

static void compare_many(vv_slice in, const void *message, bool *ours)
{
    svc_kv_many r;
    vv_slice key;
    const Varve__V1__GetManyRequest *m = message;
    *ours = svc_kv_read_many(in, &r);
    size_t count = 0;
    for (; *ours && svc_kv_next_key(&r, &key); count++)
        MUST(m == NULL || (count < m->n_keys && same_bytes(m->keys[count], key)));
    MUST(!*ours || count == r.key_count);
    if (!*ours || m == NULL)
        return;
    MUST(same_table(m->table, &r.table) && m->n_keys == r.key_count);
    MUST(m->version == r.version && m->answer_bytes == r.answer_bytes);
    MUST(same_text(m->archive, r.archive) && m->as_of_unix_ms == r.as_of_ms);
}

static void compare_merge(vv_slice in, const void *message, bool *ours)
{
    svc_kv_merge r;
    const Varve__V1__MergeRequest *m = message;
    *ours = svc_kv_read_merge(in, &r);
    if (!*ours || m == NULL)
        return;
    MUST(same_table(m->table, &r.table) && same_bytes(m->key, r.key));
    MUST((uint32_t)m->operator_ == r.op && same_bytes(m->operand, r.operand));
    MUST(m->ttl_ms == r.ttl_ms && (uint32_t)m->durability == r.durability);
}

static void compare_op(const Varve__V1__Operation *m, const svc_kv_op *r)
{
    MUST((int)m->operation_case == (int)r->kind);
    switch (r->kind) {
    case SVC_KV_OP_PUT:
        MUST(same_table(m->put->table, &r->table) && same_bytes(m->put->key, r->key));
        MUST(same_bytes(m->put->value, r->value) && m->put->ttl_ms == r->ttl_ms);
        break;
    case SVC_KV_OP_DELETE:
        MUST(same_table(m->delete_->table, &r->table) && same_bytes(m->delete_->key, r->key));
        break;
    case SVC_KV_OP_DELETE_RANGE:
        MUST(same_table(m->delete_range->table, &r->table));
        MUST(same_bytes(m->delete_range->begin, r->key));
        MUST(same_bytes(m->delete_range->end, r->value));
        break;
    case SVC_KV_OP_REQUIRE:
        MUST(same_table(m->require->table, &r->table) && same_bytes(m->require->key, r->key));
        MUST(m->require->version == r->version);
        break;
    case SVC_KV_OP_MERGE:
        MUST(same_table(m->merge->table, &r->table) && same_bytes(m->merge->key, r->key));
        MUST((uint32_t)m->merge->operator_ == r->op && same_bytes(m->merge->operand, r->value));
        MUST(m->merge->ttl_ms == r->ttl_ms);
        break;
    case SVC_KV_OP_NONE:
        break;
    }
}

static void compare_batch(vv_slice in, const void *message, bool *ours)
{
    svc_kv_batch r;
    svc_kv_op op;
    const Varve__V1__BatchRequest *m = message;
    *ours = svc_kv_read_batch(in, &r);
    if (*ours && m != NULL) {
        MUST((uint32_t)m->durability == r.durability && same_bytes(m->producer, r.producer));
        MUST(m->sequence == r.sequence);
    }
    int more = 0;
    for (size_t i = 0; *ours && (more = svc_kv_next_op(&r, &op)) > 0; i++) {
        if (m == NULL)
            continue;
        MUST(i < m->n_operations);
        compare_op(m->operations[i], &op);
    }
    *ours = *ours && more == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct {
        const ProtobufCMessageDescriptor *desc;
        void (*compare)(vv_slice in, const void *message, bool *ours);
    } rows[] = {
        {&varve__v1__put_request__descriptor, compare_put},
        {&varve__v1__get_request__descriptor, compare_get},
        {&varve__v1__delete_request__descriptor, compare_delete},
        {&varve__v1__compare_and_swap_request__descriptor, compare_cas},
        {&varve__v1__scan_request__descriptor, compare_scan},
        {&varve__v1__batch_request__descriptor, compare_batch},
        {&varve__v1__get_many_request__descriptor, compare_many},
        {&varve__v1__merge_request__descriptor, compare_merge},
    };
    if (size == 0)
        return 0;
    size_t row = data[0] % (sizeof rows / sizeof rows[0]);
    vv_slice in = vv_slice_of(data + 1, size - 1);
    bool ours = false;
    ProtobufCMessage *m = protobuf_c_message_unpack(rows[row].desc, NULL, in.len, in.data);
    bool pieces = false;
    (void)is_strict(rows[row].desc, in, &pieces);
    rows[row].compare(in, pieces ? NULL : m, &ours);
    if (m == NULL)
        return 0;
    size_t len = protobuf_c_message_get_packed_size(m);
    uint8_t *again = malloc(len + 1);
    MUST(again != NULL);
    MUST(protobuf_c_message_pack(m, again) == len);
    in = vv_slice_of(again, len);
    rows[row].compare(in, m, &ours);
    MUST(ours || !is_strict(rows[row].desc, in, &pieces));
    free(again);
    protobuf_c_message_free_unpacked(m, NULL);
    return 0;
}
