/*
 * extract_int.h - shared inside extract/: compiled rules, and the scratch of a run.
 *
 *   extract_parse.c   the text of rules, line by line
 *   extract_trie.c    the paths of JSON rules as one tree       extract_json.c   one walk for all
 *   extract_schema.c  paths of fields through descriptors       extract_proto.c  walks of fields
 *   extract_text.c    key=value pairs and regular expressions
 *   extract_value.c   what was found, as the type of the rule
 *   extract_run.c     all of it over a message
 */
#ifndef VARVE_EXTRACT_EXTRACT_INT_H
#define VARVE_EXTRACT_EXTRACT_INT_H

#include <stdatomic.h>

#include "base/arena.h"
#include "base/re.h"
#include "base/util.h"
#include "extract/extract.h"

typedef enum extract_kind {
    EXTRACT_JSON,
    EXTRACT_PROTOBUF,
    EXTRACT_KV,
    EXTRACT_REGEX,
    EXTRACT_CONST,
    EXTRACT_FIELD,
} extract_kind;
#define EXTRACT_KINDS 6u

typedef enum extract_type {
    EXTRACT_AUTO, /* as it is in the message */
    EXTRACT_STRING,
    EXTRACT_RAW, /* bytes */
    EXTRACT_INT,
    EXTRACT_FLOAT,
    EXTRACT_BOOL,
    EXTRACT_TIME, /* RFC 3339, or a number of seconds */
    EXTRACT_TIME_MS,
    EXTRACT_TIME_US,
    EXTRACT_TIME_NS,
} extract_type;

typedef enum extract_target {
    EXTRACT_TO_ATTRIBUTE,
    EXTRACT_TO_EVENT,
    EXTRACT_TO_ENTITY, /* an attribute of a form of its own */
} extract_target;

/* Fields of a message that a rule can copy. */
typedef enum extract_field {
    EXTRACT_FIELD_SIZE,
    EXTRACT_FIELD_KEY_SIZE,
    EXTRACT_FIELD_HASH,
    EXTRACT_FIELD_CONTENT_TYPE,
    EXTRACT_FIELD_TENANT,
    EXTRACT_FIELD_TABLE,
    EXTRACT_FIELD_SOURCE,
    EXTRACT_FIELD_KEY,
} extract_field;

/* ---- compiled rules ---------------------------------------------------------------------------
 */

/* A place in the paths of JSON: what lies under a name, or an index, of its parent. 0 is `$`. */
#define EXTRACT_NO_NODE UINT16_MAX
typedef struct extract_node {
    vv_slice name;
    uint32_t index;
    bool is_index;
    uint16_t child; /* the first; EXTRACT_NO_NODE: none */
    uint16_t sibling;
    uint16_t rule; /* the first that ends here; extract_rule.same leads to others */
} extract_node;
#define EXTRACT_NODES_MAX (1u + VV_EXTRACT_RULES_MAX * EXTRACT_PATH_MAX)

/* A field on the way to the one that is wanted. */
typedef struct extract_step {
    uint32_t number;
    uint32_t index; /* of a repeated one */
    bool is_repeated;
} extract_step;

/* What the last field of a path is. Values of FieldDescriptorProto.Type. */
typedef enum extract_leaf {
    EXTRACT_LEAF_DOUBLE = 1,
    EXTRACT_LEAF_FLOAT = 2,
    EXTRACT_LEAF_INT64 = 3,
    EXTRACT_LEAF_UINT64 = 4,
    EXTRACT_LEAF_INT32 = 5,
    EXTRACT_LEAF_FIXED64 = 6,
    EXTRACT_LEAF_FIXED32 = 7,
    EXTRACT_LEAF_BOOL = 8,
    EXTRACT_LEAF_STRING = 9,
    EXTRACT_LEAF_GROUP = 10,
    EXTRACT_LEAF_MESSAGE = 11, /* google.protobuf.Timestamp alone */
    EXTRACT_LEAF_BYTES = 12,
    EXTRACT_LEAF_UINT32 = 13,
    EXTRACT_LEAF_ENUM = 14,
    EXTRACT_LEAF_SFIXED32 = 15,
    EXTRACT_LEAF_SFIXED64 = 16,
    EXTRACT_LEAF_SINT32 = 17,
    EXTRACT_LEAF_SINT64 = 18,
} extract_leaf;

typedef struct extract_rule {
    vv_slice name;
    extract_kind kind;
    extract_type type;
    extract_target target;
    bool is_required;
    uint16_t same; /* the next JSON rule with the same path; EXTRACT_NO_NODE: none */
    vv_slice text; /* key of kv, pattern of regex, text of const */
    uint32_t group;
    extract_field field;
    extract_leaf leaf;
    uint32_t step_count;
    extract_step step[EXTRACT_STEPS_DEEP];
    vv_slice enum_type; /* EnumDescriptorProto of an enum */
    vv_attribute fixed; /* of const */
    _Atomic uint64_t found;
    _Atomic uint64_t absent;
    _Atomic uint64_t errors;
} extract_rule;

struct extract_program {
    vv_arena arena; /* texts, the nodes */
    uint32_t rule_count;
    uint32_t of_kind[EXTRACT_KINDS]; /* how many */
    bool has_required;
    extract_node *node; /* NULL: no rule of kind json */
    uint32_t node_count;
    uint32_t node_cap;
    _Atomic uint64_t overflows;
    extract_rule rule[VV_EXTRACT_RULES_MAX];
};

#define EXTRACT_ARENA_MAX (1u << 20)

/* A word of a line: as it stands there, or what is between quotes. */
typedef struct extract_word {
    vv_slice text;
    bool is_quoted;
} extract_word;

/* ---- extract_trie.c ---------------------------------------------------------------------------
 */

/** Put the path of a rule, "$.a[3].b", into the program's tree. VV_INVALID; VV_NO_MEMORY. */
VV_MUST_CHECK vv_status extract_trie_add(extract_program *p, uint32_t rule, vv_slice path,
                                         vv_error *err);

/* ---- extract_schema.c -------------------------------------------------------------------------
 */

/** Resolve the path of a rule's field, "customer.items[2].id" of message "acme.Order". */
VV_MUST_CHECK vv_status extract_schema_resolve(extract_program *p, extract_rule *rule,
                                               vv_slice descriptors, vv_slice message,
                                               vv_slice path, vv_error *err);
/** The name of a number in an EnumDescriptorProto; empty: it has none. */
vv_slice extract_enum_name(vv_slice enum_type, int64_t number);

/* ---- a run ------------------------------------------------------------------------------------
 */

typedef enum extract_state {
    EXTRACT_IS_ABSENT,
    EXTRACT_IS_FOUND,
    EXTRACT_IS_WRONG,
} extract_state;

/* What a rule found in the message at hand. */
typedef struct extract_slot {
    extract_state state;
    const char *why; /* EXTRACT_IS_WRONG */
    vv_attribute value;
} extract_slot;

struct extract_runner {
    extract_program *program;
    vv_arena arena;   /* what messages keep until the reset */
    bool is_full;     /* the arena refused something for its bound */
    size_t scratch;   /* bytes of strings that were made of this message */
    uint64_t steps;   /* that expressions may still take of this message */
    vv_regex **regex; /* [rule_count] NULL but for those of kind regex */
    extract_slot slot[VV_EXTRACT_RULES_MAX];
};

/** Of the runner's arena. NULL: it is full, or memory is short. */
static inline void *extract_alloc(extract_runner *r, size_t size)
{
    r->is_full = r->is_full || !vv_arena_has_room(&r->arena, size);
    return vv_arena_alloc(&r->arena, size);
}

/** A copy; data is NULL likewise. */
static inline vv_slice extract_dup(extract_runner *r, vv_slice text)
{
    uint8_t *to = extract_alloc(r, text.len);
    if (to != NULL && text.len > 0)
        memcpy(to, text.data, text.len);
    return vv_slice_of(to, text.len);
}

static inline void extract_wrong(extract_slot *slot, const char *why)
{
    slot->state = EXTRACT_IS_WRONG;
    slot->why = why;
}

/* Every rule of a kind: the message cannot be read as that. */
void extract_wrong_kind(extract_runner *r, extract_kind kind, const char *why);

/** What a text is as the type of a rule. is_number: it is a number of JSON. Borrows text. */
void extract_take_text(const extract_rule *rule, vv_slice text, bool is_number, extract_slot *slot);
void extract_take_int(const extract_rule *rule, int64_t value, extract_slot *slot);
void extract_take_double(const extract_rule *rule, double value, extract_slot *slot);
void extract_take_bool(const extract_rule *rule, bool value, extract_slot *slot);
/** Bytes that need not be text. */
void extract_take_bytes(const extract_rule *rule, vv_slice bytes, extract_slot *slot);

VV_MUST_CHECK vv_status extract_json(extract_runner *r, vv_slice value);
void extract_proto(const extract_rule *rule, vv_slice value, extract_slot *slot);
void extract_kv(extract_runner *r, vv_slice value);
void extract_regex(extract_runner *r, uint32_t rule, vv_slice value);

#endif
