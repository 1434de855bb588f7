/*
 * evlog_socket.c - datagrams to the syslog service or the journal of this machine.
 *
 * The socket is connected by the first record, and again after the service came back: it is told by
 * ECONNREFUSED. A service that does not read makes the send fail with EAGAIN, never wait; the lane
 * tries again.
 */
#include "server/evlog_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"

typedef struct socket_sink {
    evlog_sink sink; /* first */
    struct sockaddr_un to;
    int fd; /* -1: not connected */
    unsigned arg;
    size_t (*format)(const vv_log_record *r, const evlog_origin *from, unsigned arg, char *out);
    evlog_origin origin;
    char text[EVLOG_DATAGRAM_MAX];
} socket_sink;

void evlog_origin_read(evlog_origin *out)
{
    out->app = "varved";
    out->pid = (long)getpid();
    if (gethostname(out->host, sizeof out->host) != 0)
        out->host[0] = '\0';
    out->host[sizeof out->host - 1] = '\0';
}

static void disconnect(socket_sink *s)
{
    if (s->fd >= 0)
        (void)close(s->fd);
    s->fd = -1;
}

static vv_status connect_to(socket_sink *s, vv_error *err)
{
    if (s->fd >= 0)
        return VV_OK;
    s->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->fd >= 0 && connect(s->fd, (const struct sockaddr *)&s->to, sizeof s->to) == 0)
        return VV_OK;
    vv_status st = vv_fail_sys(err, VV_IO, errno, "%s", s->to.sun_path);
    disconnect(s);
    return st;
}

static vv_status put(evlog_sink *sink, const vv_log_record *r, vv_error *err)
{
    socket_sink *s = (socket_sink *)sink;
    vv_status st = connect_to(s, err);
    if (st != VV_OK)
        return st;
    size_t len = s->format(r, &s->origin, s->arg, s->text);
    ssize_t sent;
    do
        sent = send(s->fd, s->text, len, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return VV_OK;
    int cause = errno;
    if (cause == EMSGSIZE)
        return vv_fail_sys(err, VV_INVALID, cause, "%s", s->to.sun_path);
    if (cause != EAGAIN && cause != ENOBUFS)
        disconnect(s);
    return vv_fail_sys(err, VV_IO, cause, "%s", s->to.sun_path);
}

static void destroy(evlog_sink *sink)
{
    socket_sink *s = (socket_sink *)sink;
    disconnect(s);
    vv_free(s);
}

static const evlog_sink_ops socket_ops = {.put = put, .destroy = destroy};

vv_status evlog_socket_create(const char *path,
                              size_t (*format)(const vv_log_record *r, const evlog_origin *from,
                                               unsigned arg, char *out),
                              unsigned arg, evlog_sink **out, vv_error *err)
{
    size_t len = path == NULL ? 0 : strlen(path);
    if (len == 0 || len >= sizeof((struct sockaddr_un *)NULL)->sun_path)
        return vv_fail(err, VV_INVALID, "the path of the socket is empty or too long");
    socket_sink *s = vv_calloc(1, sizeof *s);
    if (s == NULL)
        return vv_fail(err, VV_NO_MEMORY, "socket %s", path);
    s->sink.ops = &socket_ops;
    s->fd = -1;
    s->arg = arg;
    s->format = format;
    s->to.sun_family = AF_UNIX;
    memcpy(s->to.sun_path, path, len + 1);
    evlog_origin_read(&s->origin);
    *out = &s->sink;
    return VV_OK;
}
