/*
 * fuzz_archive_name.c - templates of objects' names, the text of a rule that has one, and what
 * messages put into them: no bytes lead out of the place that a template says.
 *
 *     a template, up to the first NUL | the value of an attribute
 *
 * Laws: a template that is accepted makes names of objects, with as many parts as it has, whatever
 * the attributes are; another intent, another name; what comes before its first '{' begins every
 * name. The same text as a rule of `--archive`: what is accepted is written as a text that is read
 * as the same rule.
 */
#include <stdlib.h>
#include <string.h>

#include "archive/archive.h"
#include "store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* A name of an attribute may have a '/', which makes no part. */
static size_t parts_of(const char *text)
{
    size_t n = 1;
    for (; *text != '\0'; text++) {
        n += *text == '/';
        if (*text == '{')
            text += strcspn(text, "}") - 1;
    }
    return n;
}

static void make(const char *text, const vv_message *m, uint64_t intent,
                 char out[VV_OBJECT_NAME_MAX + 1])
{
    arch_identity who = {.intent = intent,
                         .partition = 3,
                         .partition_count = 9,
                         .tenant = "plant",
                         .table = "events"};
    must(arch_name_make(text, &who, m, ".varve", out, NULL) == VV_OK);
    must(vv_object_name_check(out, NULL) == VV_OK);
    must(parts_of(out) == parts_of(text));
    must(strncmp(out, text, strcspn(text, "{")) == 0);
}

static void try_template(const char *text, vv_slice value)
{
    char one[VV_OBJECT_NAME_MAX + 1];
    char other[VV_OBJECT_NAME_MAX + 1];
    vv_error err = {0};
    vv_attribute a[2] = {{.type = VV_ATTRIBUTE_BYTES, .bytes = value},
                         {.name = vv_slice_str("n"), .type = VV_ATTRIBUTE_F64, .f64 = -0.5}};
    vv_message m = {.offset = value.len, .attributes = a, .attribute_count = 2};
    const char *attr = strstr(text, "{attr:"); /* the first that it asks for has the value */
    if (attr != NULL)
        a[0].name = vv_slice_of(attr + 6, strcspn(attr + 6, "}"));
    if (value.len >= 8)
        memcpy(&m.receive_time_ns, value.data, 8);
    if (arch_template_check(text, &err) != VV_OK) {
        must(err.status == VV_INVALID && err.msg[0] != '\0');
        return;
    }
    make(text, &m, 1, one);
    make(text, &m, 2, other);
    must(strcmp(one, other) != 0);
    m.attribute_count = 0;
    make(text, &m, 1, other);
}

static void try_rule(const char *text)
{
    char written[STORE_RULE_TEXT];
    vv_archive_rule a;
    vv_archive_rule b;
    if (!store_rule_parse(text, &a) || (a.key != NULL && strlen(a.key) > ARCH_TEMPLATE_MAX))
        return;
    store_rule_text(&a, written);
    must(store_rule_parse(written, &b));
    must(a.off == b.off && a.codec == b.codec && a.also == b.also &&
         a.batch_bytes == b.batch_bytes && a.batch_messages == b.batch_messages &&
         a.batch_age_ns == b.batch_age_ns && a.local_ns == b.local_ns &&
         a.local_bytes == b.local_bytes);
    must(a.key == NULL ? b.key == NULL : b.key != NULL && strcmp(a.key, b.key) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[1024];
    size_t len = 0;
    while (len < size && data[len] != 0)
        len++;
    if (len >= sizeof text)
        return 0;
    if (len > 0)
        memcpy(text, data, len);
    text[len] = '\0';
    try_template(text,
                 len < size ? vv_slice_of(data + len + 1, size - len - 1) : vv_slice_of(NULL, 0));
    try_rule(text);
    return 0;
}
