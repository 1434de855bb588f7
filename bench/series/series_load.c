/*
 * series_load.c - one client for every time-series server: the load of a fleet of hosts, written by
 * line protocol, remote write or IngestSamples of gRPC (varve alone), and questions over HTTP,
 * timed the same way for each.
 *
 * The load has the shape of TSBS devops cpu-only: each host has ten values every interval, with the
 * host's tags; a value is a random walk of normal steps between 0 and 100, as whole numbers, two
 * decimals or full precision. Requests are built before the clock starts. Each connection has its
 * own hosts, in the order of time, and waits for the answer of one request before the next.
 * IngestSamples takes columns: a request has ten samples of each of its series.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <snappy-c.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "series_grpc.h"

#define FIELDS 10u
#define CONNECTIONS_MAX 16u
#define COLUMN 10u         /* samples of a series in a request of gRPC */
#define START_S 1700000000 /* where the load begins, if nothing else is asked */

static const char *const field_names[FIELDS] = {
    "usage_user", "usage_system",  "usage_idle",  "usage_nice",  "usage_iowait",
    "usage_irq",  "usage_softirq", "usage_steal", "usage_guest", "usage_guest_nice"};

typedef struct options {
    const char *mode; /* write or ask */
    const char *address;
    unsigned port;
    const char *protocol; /* line, remote or grpc */
    const char *path;
    const char *kind; /* int, dec2 or full */
    unsigned hosts;
    unsigned interval_s;
    unsigned hours;
    unsigned batch;
    unsigned connections;
    unsigned runs;
    int64_t start_s;
    uint64_t seed;
} options;

static void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "series_load: %s: %s\n", what, why);
    exit(1);
}

static void *take(void *p)
{
    if (p == NULL)
        die("memory", "there is none");
    return p;
}

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- random walks ---- */

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static double next_unit(uint64_t *state)
{
    return ((double)(next_random(state) >> 11) + 0.5) * 0x1p-53;
}

static double next_normal(uint64_t *state)
{
    return sqrt(-2 * log(next_unit(state))) * cos(6.283185307179586 * next_unit(state));
}

/* The walks of a host: value[step * FIELDS + field]. */
static double *walk(const options *o, unsigned host, unsigned steps)
{
    double *value = take(malloc((size_t)steps * FIELDS * sizeof *value));
    for (unsigned f = 0; f < FIELDS; f++) {
        uint64_t state = o->seed * 1000003 + host * FIELDS + f;
        double v = next_unit(&state) * 100;
        for (unsigned i = 0; i < steps; i++) {
            v += next_normal(&state);
            v = v < 0 ? 0 : v > 100 ? 100 : v;
            double shown = v;
            if (strcmp(o->kind, "int") == 0)
                shown = floor(v);
            else if (strcmp(o->kind, "dec2") == 0)
                shown = round(v * 100) / 100;
            value[(size_t)i * FIELDS + f] = shown;
        }
    }
    return value;
}

/* ---- requests ---- */

typedef struct bytes {
    char *data;
    size_t len;
    size_t cap;
} bytes;

static char *room(bytes *b, size_t more)
{
    if (b->len + more > b->cap) {
        b->cap = (b->len + more) * 2;
        b->data = take(realloc(b->data, b->cap));
    }
    return b->data + b->len;
}

static void add(bytes *b, const void *data, size_t len)
{
    memcpy(room(b, len), data, len);
    b->len += len;
}

static void add_varint(bytes *b, uint64_t v)
{
    char *p = room(b, 10);
    size_t n = 0;
    while (v >= 0x80) {
        p[n++] = (char)(v | 0x80);
        v >>= 7;
    }
    p[n++] = (char)v;
    b->len += n;
}

static void add_field(bytes *b, unsigned number, const void *data, size_t len)
{
    add_varint(b, number << 3 | 2);
    add_varint(b, len);
    add(b, data, len);
}

static const char *const tag_names[] = {
    "hostname", "region",          "datacenter",         "rack", "os", "arch", "team",
    "service",  "service_version", "service_environment"};
#define TAGS (sizeof tag_names / sizeof tag_names[0])

static void tag_of(unsigned host, unsigned tag, char out[32])
{
    static const char *const os[] = {"Ubuntu16.10", "Ubuntu16.04LTS", "Ubuntu15.10"};
    switch (tag) {
    case 0:
        (void)snprintf(out, 32, "host_%u", host);
        return;
    case 1:
        (void)snprintf(out, 32, "region-%u", host % 9);
        return;
    case 2:
        (void)snprintf(out, 32, "region-%u%c", host % 9, (char)('a' + host / 9 % 3));
        return;
    case 3:
        (void)snprintf(out, 32, "%u", host % 97);
        return;
    case 4:
        (void)snprintf(out, 32, "%s", os[host % 3]);
        return;
    case 5:
        (void)snprintf(out, 32, "%s", host % 2 == 0 ? "x64" : "x86");
        return;
    case 6:
        (void)snprintf(out, 32, "%s", host % 4 == 0 ? "SF" : host % 4 == 1 ? "NYC" : "LON");
        return;
    case 7:
        (void)snprintf(out, 32, "%u", host % 19);
        return;
    case 8:
        (void)snprintf(out, 32, "%u", host % 2);
        return;
    default:
        (void)snprintf(out, 32, "%s", host % 3 == 0 ? "production" : "test");
    }
}

/* The label sets of a host's series, as fields of a TimeSeries, and its line up to the values. */
typedef struct host_text {
    bytes line;
    bytes labels[FIELDS];
} host_text;

static void add_label(bytes *out, const char *name, const char *value)
{
    bytes label = {0};
    add_field(&label, 1, name, strlen(name));
    add_field(&label, 2, value, strlen(value));
    add_field(out, 1, label.data, label.len);
    free(label.data);
}

/* Labels in the order of their names, as remote write wants them. */
static void text_of_host(unsigned host, host_text *out)
{
    static const unsigned sorted[TAGS] = {5, 2, 0, 4, 3, 1, 7, 9, 8, 6};
    memset(out, 0, sizeof *out);
    add(&out->line, "cpu", 3);
    for (unsigned t = 0; t < TAGS; t++) {
        char value[32];
        tag_of(host, t, value);
        char text[80];
        int n = snprintf(text, sizeof text, ",%s=%s", tag_names[t], value);
        add(&out->line, text, (size_t)n);
    }
    for (unsigned f = 0; f < FIELDS; f++) {
        char name[64];
        (void)snprintf(name, sizeof name, "cpu_%s", field_names[f]);
        add_label(&out->labels[f], "__name__", name);
        for (unsigned t = 0; t < TAGS; t++) {
            char value[32];
            tag_of(host, sorted[t], value);
            add_label(&out->labels[f], tag_names[sorted[t]], value);
        }
    }
}

static void add_line(bytes *body, const host_text *host, const double *value, int64_t time_s)
{
    add(body, host->line.data, host->line.len);
    char *p = room(body, FIELDS * 64 + 32);
    size_t n = 0;
    for (unsigned f = 0; f < FIELDS; f++)
        n += (size_t)sprintf(p + n, "%c%s=%.17g", f == 0 ? ' ' : ',', field_names[f], value[f]);
    n += (size_t)sprintf(p + n, " %lld000000000\n", (long long)time_s);
    body->len += n;
}

static void add_samples(bytes *body, const host_text *host, const double *value, int64_t time_s)
{
    for (unsigned f = 0; f < FIELDS; f++) {
        bytes sample = {0};
        char head = 1 << 3 | 1;
        add(&sample, &head, 1);
        add(&sample, &value[f], 8);
        add_varint(&sample, 2 << 3);
        add_varint(&sample, (uint64_t)time_s * 1000);
        bytes series = {0};
        add(&series, host->labels[f].data, host->labels[f].len);
        add_field(&series, 2, sample.data, sample.len);
        add_field(body, 1, series.data, series.len);
        free(sample.data);
        free(series.data);
    }
}

/* A SeriesSamples: labels, time_unit_ns 1 s, time_delta, f64. */
static void add_column(bytes *body, const bytes *labels, const double *value, unsigned field,
                       unsigned count, int64_t first_s, unsigned interval_s)
{
    bytes series = {0};
    bytes times = {0};
    add(&series, labels->data, labels->len);
    add_varint(&series, 3 << 3);
    add_varint(&series, 1000000000);
    for (unsigned i = 0; i < count; i++) /* zigzag */
        add_varint(&times, 2 * (i == 0 ? (uint64_t)first_s : interval_s));
    add_field(&series, 4, times.data, times.len);
    add_varint(&series, 6 << 3 | 2);
    add_varint(&series, count * sizeof *value);
    for (unsigned i = 0; i < count; i++)
        add(&series, &value[(size_t)i * FIELDS + field], sizeof *value);
    add_field(body, 4, series.data, series.len);
    free(series.data);
    free(times.data);
}

typedef struct request {
    char *data;
    size_t len;
} request;

static request request_of(const options *o, const bytes *body, bool is_remote)
{
    size_t len = body->len;
    char *packed = NULL;
    if (is_remote) {
        len = snappy_max_compressed_length(body->len);
        packed = take(malloc(len));
        if (snappy_compress(body->data, body->len, packed, &len) != SNAPPY_OK)
            die("snappy", "it cannot compress");
    }
    request r = {.data = take(malloc(len + 1024))};
    int head =
        snprintf(r.data, 1024,
                 "POST %s HTTP/1.1\r\nHost: %s:%u\r\nContent-Type: %s\r\n%s"
                 "Content-Length: %zu\r\n\r\n",
                 o->path, o->address, o->port, is_remote ? "application/x-protobuf" : "text/plain",
                 is_remote ? "Content-Encoding: snappy\r\n"
                             "X-Prometheus-Remote-Write-Version: 0.1.0\r\n"
                           : "",
                 len);
    memcpy(r.data + head, is_remote ? packed : body->data, len);
    r.len = (size_t)head + len;
    free(packed);
    return r;
}

/* ---- connections ---- */

typedef struct connection {
    const options *o;
    unsigned number;
    int fd;
    series_grpc *grpc; /* in place of fd */
    request *requests;
    size_t count;
    double *seconds; /* of each request */
    uint64_t samples;
    uint64_t sent;
} connection;

static int dial(const options *o)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)o->port)};
    int one = 1;
    if (fd < 0 || inet_pton(AF_INET, o->address, &to.sin_addr) != 1 ||
        connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        die("connect", strerror(errno));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            die("send", strerror(errno));
        data += n;
        len -= (size_t)n;
    }
}

static void receive(int fd, bytes *in)
{
    char *p = room(in, 65536);
    ssize_t n;
    do
        n = recv(fd, p, 65536, 0);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        die("receive", n == 0 ? "the server closed the connection" : strerror(errno));
    in->len += (size_t)n;
}

static const char *header(const char *head, const char *name)
{
    const char *at = strcasestr(head, name);
    return at == NULL ? NULL : at + strlen(name);
}

/* Read one answer; its body stands at *body. */
static size_t read_answer(int fd, bytes *in, size_t *body)
{
    in->len = 0;
    char *end = NULL;
    while (end == NULL) {
        receive(fd, in);
        *room(in, 1) = '\0';
        end = strstr(in->data, "\r\n\r\n");
    }
    *body = (size_t)(end - in->data) + 4;
    int status = atoi(in->data + 9);
    *end = '\0';
    const char *length = header(in->data, "\r\ncontent-length:");
    bool chunked = header(in->data, "\r\ntransfer-encoding: chunked") != NULL;
    size_t total = length != NULL ? *body + strtoull(length, NULL, 10) : *body;
    if (chunked) {
        while (in->len < *body + 5 || memcmp(in->data + in->len - 5, "0\r\n\r\n", 5) != 0)
            receive(fd, in);
        total = in->len;
    }
    while (in->len < total)
        receive(fd, in);
    if (status / 100 != 2) {
        *room(in, 1) = '\0';
        die("answer", in->data + (status == 0 ? 0 : *body));
    }
    return total - *body;
}

static void *write_all(void *arg)
{
    connection *c = arg;
    bytes in = {0};
    size_t body;
    for (size_t i = 0; i < c->count; i++) {
        double before = now_s();
        send_all(c->fd, c->requests[i].data, c->requests[i].len);
        (void)read_answer(c->fd, &in, &body);
        c->seconds[i] = now_s() - before;
    }
    free(in.data);
    return NULL;
}

/* ---- writing ---- */

static void build(connection *c)
{
    const options *o = c->o;
    bool is_remote = strcmp(o->protocol, "remote") == 0;
    unsigned steps = o->hours * 3600 / o->interval_s;
    unsigned mine = 0;
    host_text *text = take(calloc(o->hosts, sizeof *text));
    double **value = take(calloc(o->hosts, sizeof *value));
    for (unsigned h = c->number; h < o->hosts; h += o->connections, mine++) {
        text_of_host(h, &text[mine]);
        value[mine] = walk(o, h, steps);
    }
    unsigned per_request = o->batch / FIELDS == 0 ? 1 : o->batch / FIELDS; /* rows of a host */
    uint64_t rows = (uint64_t)mine * steps;
    c->requests = take(calloc(rows / per_request + 1, sizeof *c->requests));
    bytes body = {0};
    for (uint64_t i = 0; i < rows; i++) {
        unsigned h = (unsigned)(i % mine);
        unsigned step = (unsigned)(i / mine);
        int64_t time_s = o->start_s + (int64_t)step * o->interval_s;
        const double *row = value[h] + (size_t)step * FIELDS;
        if (is_remote)
            add_samples(&body, &text[h], row, time_s);
        else
            add_line(&body, &text[h], row, time_s);
        c->samples += FIELDS;
        if ((i + 1) % per_request == 0 || i + 1 == rows) {
            c->requests[c->count] = request_of(o, &body, is_remote);
            c->sent += c->requests[c->count++].len;
            body.len = 0;
        }
    }
    c->seconds = take(calloc(c->count + 1, sizeof *c->seconds));
    free(body.data);
}

/* IngestSamplesRequests: the table, then columns of so many hosts as fill a batch. */
static void build_grpc(connection *c)
{
    const options *o = c->o;
    unsigned steps = o->hours * 3600 / o->interval_s;
    unsigned per_request = o->batch / (FIELDS * COLUMN) == 0 ? 1 : o->batch / (FIELDS * COLUMN);
    unsigned mine = (o->hosts - c->number + o->connections - 1) / o->connections;
    host_text *text = take(calloc(mine, sizeof *text));
    double **value = take(calloc(mine, sizeof *value));
    for (unsigned i = 0; i < mine; i++) {
        text_of_host(c->number + i * o->connections, &text[i]);
        value[i] = walk(o, c->number + i * o->connections, steps);
    }
    c->requests =
        take(calloc(((size_t)mine / per_request + 1) * (steps / COLUMN + 1), sizeof *c->requests));
    for (unsigned step = 0; step < steps; step += COLUMN)
        for (unsigned h = 0; h < mine; h += per_request) {
            unsigned count = steps - step < COLUMN ? steps - step : COLUMN;
            bytes body = {0};
            add_field(&body, 2, o->path, strlen(o->path));
            for (unsigned i = h; i < mine && i < h + per_request; i++)
                for (unsigned f = 0; f < FIELDS; f++) {
                    add_column(&body, &text[i].labels[f], value[i] + (size_t)step * FIELDS, f,
                               count, o->start_s + (int64_t)step * o->interval_s, o->interval_s);
                    c->samples += count;
                }
            c->requests[c->count++] = (request){body.data, body.len};
            c->sent += body.len;
        }
    c->seconds = take(calloc(c->count + 1, sizeof *c->seconds));
}

static void *write_all_grpc(void *arg)
{
    connection *c = arg;
    uint64_t accepted = 0;
    for (size_t i = 0; i < c->count; i++) {
        double before = now_s();
        accepted += series_grpc_ingest(c->grpc, c->requests[i].data, c->requests[i].len);
        c->seconds[i] = now_s() - before;
    }
    if (accepted != c->samples)
        die("gRPC", "not every sample was accepted");
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double at_part(const double *sorted, size_t count, double part)
{
    return sorted[(size_t)((double)(count - 1) * part)];
}

static void run_write(const options *o)
{
    static connection c[CONNECTIONS_MAX];
    pthread_t thread[CONNECTIONS_MAX];
    bool is_grpc = strcmp(o->protocol, "grpc") == 0;
    for (unsigned i = 0; i < o->connections; i++) {
        c[i] = (connection){.o = o, .number = i};
        if (is_grpc)
            build_grpc(&c[i]);
        else
            build(&c[i]);
    }
    for (unsigned i = 0; i < o->connections; i++)
        if (is_grpc)
            c[i].grpc = series_grpc_open(o->address, o->port);
        else
            c[i].fd = dial(o);
    double before = now_s();
    for (unsigned i = 0; i < o->connections; i++)
        if (pthread_create(&thread[i], NULL, is_grpc ? write_all_grpc : write_all, &c[i]) != 0)
            die("thread", "it cannot be made");
    for (unsigned i = 0; i < o->connections; i++)
        (void)pthread_join(thread[i], NULL);
    double took = now_s() - before;
    uint64_t samples = 0;
    uint64_t sent = 0;
    size_t count = 0;
    for (unsigned i = 0; i < o->connections; i++) {
        samples += c[i].samples;
        sent += c[i].sent;
        count += c[i].count;
    }
    double *all = take(malloc((count + 1) * sizeof *all));
    size_t at = 0;
    for (unsigned i = 0; i < o->connections; i++, at += c[i - 1].count)
        memcpy(all + at, c[i].seconds, c[i].count * sizeof *all);
    qsort(all, count, sizeof *all, by_size);
    printf("{\"bench\":\"series_load\",\"mode\":\"write\",\"protocol\":\"%s\",\"kind\":\"%s\","
           "\"hosts\":%u,\"series\":%u,\"samples\":%llu,\"requests\":%zu,\"bytes\":%llu,"
           "\"seconds\":%.3f,\"per_s\":%.0f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f}\n",
           o->protocol, o->kind, o->hosts, o->hosts * FIELDS, (unsigned long long)samples, count,
           (unsigned long long)sent, took, (double)samples / took, at_part(all, count, 0.5) * 1e3,
           at_part(all, count, 0.99) * 1e3, all[count - 1] * 1e3);
}

/* ---- asking ---- */

static void run_ask(const options *o)
{
    int fd = dial(o);
    char head[8192];
    int n = snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: %s:%u\r\n\r\n", o->path,
                     o->address, o->port);
    if (n < 0 || (size_t)n >= sizeof head)
        die("ask", "the path is too long");
    double *seconds = take(calloc(o->runs, sizeof *seconds));
    bytes in = {0};
    size_t body = 0;
    size_t len = 0;
    for (unsigned i = 0; i < o->runs; i++) {
        double before = now_s();
        send_all(fd, head, (size_t)n);
        len = read_answer(fd, &in, &body);
        seconds[i] = now_s() - before;
    }
    (void)close(fd);
    qsort(seconds, o->runs, sizeof *seconds, by_size);
    printf("{\"bench\":\"series_load\",\"mode\":\"ask\",\"runs\":%u,\"bytes\":%zu,\"p50_ms\":%.3f,"
           "\"p95_ms\":%.3f,\"max_ms\":%.3f}\n",
           o->runs, len, at_part(seconds, o->runs, 0.5) * 1e3,
           at_part(seconds, o->runs, 0.95) * 1e3, seconds[o->runs - 1] * 1e3);
}

int main(int argc, char **argv)
{
    options o = {.mode = "write",
                 .address = "127.0.0.1",
                 .port = 8080,
                 .protocol = "line",
                 .path = "/write",
                 .kind = "int",
                 .hosts = 400,
                 .interval_s = 10,
                 .hours = 6,
                 .batch = 10000,
                 .connections = 2,
                 .runs = 30,
                 .start_s = START_S,
                 .seed = 1};
    static const struct option names[] = {{"mode", 1, 0, 'm'},        {"port", 1, 0, 'p'},
                                          {"protocol", 1, 0, 'P'},    {"path", 1, 0, 'u'},
                                          {"kind", 1, 0, 'k'},        {"hosts", 1, 0, 'h'},
                                          {"interval", 1, 0, 'i'},    {"hours", 1, 0, 'H'},
                                          {"batch", 1, 0, 'b'},       {"runs", 1, 0, 'r'},
                                          {"connections", 1, 0, 'c'}, {"start", 1, 0, 's'},
                                          {"seed", 1, 0, 'S'},        {0, 0, 0, 0}};
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        unsigned number = optarg == NULL ? 0 : (unsigned)strtoul(optarg, NULL, 10);
        switch (c) {
        case 'm':
            o.mode = optarg;
            break;
        case 'p':
            o.port = number;
            break;
        case 'P':
            o.protocol = optarg;
            break;
        case 'u':
            o.path = optarg;
            break;
        case 'k':
            o.kind = optarg;
            break;
        case 'h':
            o.hosts = number;
            break;
        case 'i':
            o.interval_s = number;
            break;
        case 'H':
            o.hours = number;
            break;
        case 'b':
            o.batch = number;
            break;
        case 'r':
            o.runs = number;
            break;
        case 'c':
            o.connections = number;
            break;
        case 's':
            o.start_s = strtoll(optarg, NULL, 10);
            break;
        case 'S':
            o.seed = number;
            break;
        default:
            return 2;
        }
    }
    if (o.connections == 0 || o.connections > CONNECTIONS_MAX || o.hosts < o.connections ||
        o.interval_s == 0 || o.runs == 0)
        die("options", "connections 1 to 16, hosts at least as many, interval and runs from 1");
    if (strcmp(o.mode, "ask") == 0)
        run_ask(&o);
    else
        run_write(&o);
    return 0;
}
