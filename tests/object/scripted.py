"""A server of S3's protocol that checks every signature on its own and fails on demand.

Written from the specification and not from our client, so the two judge each other. A test pushes
faults: each takes the next request that matches it. A fault is a function of (handler, request) that
answers itself and returns True, or lets the request go on with False.
"""
import datetime
import hashlib
import hmac
import http.server
import re
import socketserver
import ssl
import threading
import time
import urllib.parse
from xml.sax.saxutils import escape


class Request:
    def __init__(self, handler):
        self.method = handler.command
        self.raw_path, _, self.raw_query = handler.path.partition("?")
        self.path = urllib.parse.unquote(self.raw_path)
        self.query = dict(urllib.parse.parse_qsl(self.raw_query, keep_blank_values=True))
        self.headers = {k.lower(): v for k, v in handler.headers.items()}
        length = int(self.headers.get("content-length", 0) or 0)
        self.body = handler.rfile.read(length) if length else b""
        if self.headers.get("transfer-encoding") == "chunked":
            self.body = read_chunked(handler.rfile)
        self.time = time.time()
        self.bucket = self.key = None

    @property
    def op(self):
        q, m = self.query, self.method
        if self.key == "":
            return "list"
        if m == "POST":
            return "begin" if "uploads" in q else "complete"
        if m == "PUT":
            return "part" if "partNumber" in q else "put"
        if m == "DELETE":
            return "abort" if "uploadId" in q else "remove"
        return {"GET": "get", "HEAD": "head"}.get(m, "?")


def read_chunked(f):
    out = b""
    while True:
        n = int(f.readline().split(b";")[0], 16)
        out += f.read(n)
        f.readline()
        if n == 0:
            return out


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, handler, tls=None):
        super().__init__(("127.0.0.1", 0), handler)
        self.lock = threading.RLock()
        self.faults = []
        self.seen = []
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.scheme = "https" if tls else "http"
        self.port = self.server_address[1]
        self.endpoint = f"{self.scheme}://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def stop(self):
        self.shutdown()
        self.thread.join()
        self.server_close()

    def fail_next(self, op, fault, times=1):
        with self.lock:
            self.faults += [(op, fault)] * times

    def take_fault(self, op):
        with self.lock:
            for i, (wanted, fault) in enumerate(self.faults):
                if wanted in (op, "*"):
                    del self.faults[i]
                    return fault
        return None

    def handle_error(self, request, client_address):
        pass  # clients that leave are part of the tests


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    request_ids = iter(range(1, 1 << 30))

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", headers=None, length=None):
        self.send_response(status)
        headers = dict(headers or {})
        headers.setdefault(self.id_header, f"REQ{next(self.request_ids):06d}")
        for k, v in headers.items():
            self.send_header(k, v)
        if status != 204:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def hang_up(self):
        self.close_connection = True
        self.wfile.flush()

    def date_time_string(self, timestamp=None):
        return super().date_time_string(time.time() + getattr(self.server, "clock_ahead", 0))

    def do(self):
        r = Request(self)
        self.place(r)
        with self.server.lock:
            self.server.seen.append(r)
        fault = self.server.take_fault(r.op)
        if fault is not None and fault(self, r):
            return
        self.serve(r)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do


# ---- S3 --------------------------------------------------------------------------------------

class S3Server(Server):
    def __init__(self, access="AKID", secret="sec/ret+key=", region="us-east-1", bucket="bkt",
                 token=None, tls=None, conditional=True):
        self.access, self.secret, self.region, self.bucket = access, secret, region, bucket
        self.token = token
        self.conditional = conditional
        self.objects = {}
        self.uploads = {}
        self.clock_ahead = 0
        super().__init__(S3Handler, tls)


def sign_key(secret, day, region, service):
    key = ("AWS4" + secret).encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def encode(text, safe="-_.~"):
    return urllib.parse.quote(text, safe=safe)


def expected_signature(r, secret, credential, signed):
    _, day, region, service, _ = credential
    pairs = urllib.parse.parse_qsl(r.raw_query, keep_blank_values=True)
    query = "&".join(f"{k}={v}" for k, v in sorted((encode(k), encode(v)) for k, v in pairs))
    headers = "".join(f"{h}:{' '.join(r.headers.get(h, '').split())}\n" for h in signed)
    canonical = "\n".join([r.method, encode(r.path, "/-_.~"), query, headers, ";".join(signed),
                           r.headers.get("x-amz-content-sha256", "")])
    scope = f"{day}/{region}/{service}/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", r.headers.get("x-amz-date", ""), scope,
                         hashlib.sha256(canonical.encode()).hexdigest()])
    return hmac.new(sign_key(secret, day, region, service), to_sign.encode(),
                    hashlib.sha256).hexdigest()


class S3Handler(Handler):
    id_header = "x-amz-request-id"

    def place(self, r):
        host = r.headers["host"].split(":")[0]
        if host.endswith(".localhost"):
            r.bucket, r.key = host[:-len(".localhost")], r.path[1:]
        else:
            r.bucket, _, r.key = r.path[1:].partition("/")

    def error(self, status, code, extra="", headers=None):
        body = (f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>'
                f"<Message>Said by the script &amp; meant.</Message>{extra}"
                f"<RequestId>body-id</RequestId></Error>").encode()
        self.answer(status, body, headers)

    def refuse(self, r):
        """What is wrong with who asks; None: nothing."""
        s = self.server
        m = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=([^,]+), ?SignedHeaders=([^,]+), ?"
                         r"Signature=([0-9a-f]{64})", r.headers.get("authorization", ""))
        if not m:
            return 403, "AccessDenied", ""
        credential, signed = m[1].split("/"), m[2].split(";")
        if len(credential) != 5 or credential[0] != s.access:
            return 403, "InvalidAccessKeyId", ""
        if "host" not in signed or any(h not in signed for h in r.headers
                                       if h.startswith("x-amz-")):
            return 403, "AccessDenied", ""
        if credential[2] != s.region:
            return 400, "AuthorizationHeaderMalformed", f"<Region>{s.region}</Region>"
        if s.token is not None and r.headers.get("x-amz-security-token") != s.token:
            return 400, "ExpiredToken", ""
        when = datetime.datetime.strptime(r.headers["x-amz-date"], "%Y%m%dT%H%M%SZ")
        when = when.replace(tzinfo=datetime.timezone.utc).timestamp()
        if abs(when - r.time - s.clock_ahead) > 900:
            return 403, "RequestTimeTooSkewed", ""
        if not hmac.compare_digest(expected_signature(r, s.secret, credential, signed), m[3]):
            return 403, "SignatureDoesNotMatch", ""
        digest = r.headers.get("x-amz-content-sha256")
        if digest == "UNSIGNED-PAYLOAD":
            if s.scheme != "https":
                return 403, "AccessDenied", ""
        elif digest != hashlib.sha256(r.body).hexdigest():
            return 400, "XAmzContentSHA256Mismatch", ""
        if r.bucket != s.bucket:
            return 404, "NoSuchBucket", ""
        return None

    def serve(self, r):
        bad = self.refuse(r)
        if bad:
            return self.error(bad[0], bad[1], bad[2])
        with self.server.lock:
            status, body, headers = getattr(self, "op_" + r.op)(r)
        if isinstance(body, str):
            return self.error(status, body)
        self.answer(status, body, headers)

    def describe(self, r, data, meta, etag, when):
        headers = {"ETag": f'"{etag}"', "Last-Modified": self.date_time_string(when)}
        headers.update(meta)
        return headers

    def taken(self, r):
        if r.headers.get("if-none-match") != "*":
            return None
        if not self.server.conditional:
            return 501, "NotImplemented", {}
        return (412, "PreconditionFailed", {}) if r.key in self.server.objects else None

    def keep(self, r, data, meta, etag):
        self.server.objects[r.key] = (data, meta, etag, time.time())

    def op_put(self, r):
        bad = self.taken(r)
        if bad:
            return bad
        meta = {k: v for k, v in r.headers.items() if k.startswith("x-amz-meta-")}
        etag = hashlib.md5(r.body).hexdigest()
        self.keep(r, r.body, meta, etag)
        return 200, b"", {"ETag": f'"{etag}"'}

    def op_get(self, r):
        if r.key not in self.server.objects:
            return 404, "NoSuchKey", {}
        data, meta, etag, when = self.server.objects[r.key]
        headers = self.describe(r, data, meta, etag, when)
        m = re.fullmatch(r"bytes=(\d+)-(\d+)", r.headers.get("range", ""))
        if not m:
            return 200, data, headers
        first, last = int(m[1]), min(int(m[2]), len(data) - 1)
        if first >= len(data):
            return 416, "InvalidRange", {}
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return 206, data[first:last + 1], headers

    def op_head(self, r):
        if r.key not in self.server.objects:
            return 404, b"", {}
        data, meta, etag, when = self.server.objects[r.key]
        return 200, data, self.describe(r, data, meta, etag, when)

    def op_remove(self, r):
        self.server.objects.pop(r.key, None)
        return 204, b"", {}

    def op_list(self, r):
        q = r.query
        names = sorted(n for n in self.server.objects
                       if n.startswith(q.get("prefix", "")) and n > q.get("start-after", ""))
        most = int(q.get("max-keys", 1000))
        rows = "".join(
            f"<Contents><Key>{escape(n)}</Key><LastModified>2024-05-06T07:08:09.000Z</LastModified>"
            f"<ETag>&quot;{self.server.objects[n][2]}&quot;</ETag>"
            f"<Size>{len(self.server.objects[n][0])}</Size></Contents>" for n in names[:most])
        more = "true" if len(names) > most else "false"
        return 200, ('<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/'
                     f'2006-03-01/"><IsTruncated>{more}</IsTruncated>{rows}'
                     "</ListBucketResult>").encode(), {}

    def op_begin(self, r):
        upload = f"up+{len(self.server.uploads)}/=&"
        self.server.uploads[upload] = {}
        return 200, ("<InitiateMultipartUploadResult><UploadId>" + escape(upload) +
                     "</UploadId></InitiateMultipartUploadResult>").encode(), {}

    def op_part(self, r):
        parts = self.server.uploads.get(r.query["uploadId"])
        if parts is None:
            return 404, "NoSuchUpload", {}
        parts[int(r.query["partNumber"])] = r.body
        return 200, b"", {"ETag": f'"{hashlib.md5(r.body).hexdigest()}"'}

    def op_complete(self, r):
        parts = self.server.uploads.get(r.query["uploadId"])
        if parts is None:
            return 404, "NoSuchUpload", {}
        bad = self.taken(r)
        if bad:
            return bad
        text = r.body.decode().replace("&quot;", '"')
        wanted = re.findall(r'<PartNumber>(\d+)</PartNumber><ETag>"([0-9a-f]+)"</ETag>', text)
        sums = []
        for i, (number, etag) in enumerate(wanted):
            data = parts.get(int(number))
            if data is None or hashlib.md5(data).hexdigest() != etag:
                return 400, "InvalidPart", {}
            if i + 1 < len(wanted) and len(data) < 5 << 20:
                return 400, "EntityTooSmall", {}
            sums.append(hashlib.md5(data).digest())
        whole = b"".join(parts[int(n)] for n, _ in wanted)
        etag = f"{hashlib.md5(b''.join(sums)).hexdigest()}-{len(sums)}"
        self.keep(r, whole, {}, etag)
        del self.server.uploads[r.query["uploadId"]]
        return 200, (f"<CompleteMultipartUploadResult><ETag>&quot;{etag}&quot;</ETag>"
                     "</CompleteMultipartUploadResult>").encode(), {}

    def op_abort(self, r):
        if self.server.uploads.pop(r.query["uploadId"], None) is None:
            return 404, "NoSuchUpload", {}
        return 204, b"", {}


# ---- faults ----------------------------------------------------------------------------------

def code(status, name, extra="", headers=None):
    def fault(h, r):
        h.error(status, name, extra, headers)
        return True
    return fault


def page(status, body=b"<html>a proxy's page</html>", headers=None, length=None):
    def fault(h, r):
        h.answer(status, body, headers, length)
        if length is not None:
            h.hang_up()
        return True
    return fault


def silent(h, r):
    """The connection ends without an answer; nothing was done."""
    h.hang_up()
    return True


def lost(h, r):
    """It is done, and the answer gets lost."""
    with h.server.lock:
        getattr(h, "op_" + r.op)(r)
    h.hang_up()
    return True


def hang(seconds):
    def fault(h, r):
        time.sleep(seconds)
        h.hang_up()
        return True
    return fault


def garbage(h, r):
    h.wfile.write(b"\x16\x03\x01 this is not the protocol you are looking for\r\n\r\n")
    h.hang_up()
    return True


def flipped(h, r):
    """One bit of the body is another."""
    with h.server.lock:
        status, body, headers = h.op_get(r)
    h.answer(status, bytes([body[0] ^ 1]) + body[1:], headers)
    return True


def cut_short(h, r):
    with h.server.lock:
        status, body, headers = h.op_get(r)
    h.answer(status, body[:len(body) // 2], headers, length=len(body))
    h.hang_up()
    return True


def whole_body(h, r):
    """Ranges are not known."""
    with h.server.lock:
        data, meta, etag, when = h.server.objects[r.key]
    h.answer(200, data, h.describe(r, data, meta, etag, when))
    return True
