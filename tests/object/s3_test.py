#!/usr/bin/env python3
"""S3 against the scripted server: every refusal and every fault, seen from the command line.

s3_test.py OBJECT_TOOL
"""
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import scripted  # noqa: E402
from tool import expect, run_tool  # noqa: E402

TOOL = sys.argv[1]


def tool(server, *words, env=None, endpoint=None, **settings):
    base = {"backend": "s3", "bucket": "bkt", "initial_backoff_ms": 1, "max_backoff_ms": 5,
            "access_key": "AKID", "secret_key": "sec/ret+key="}
    if server is not None:
        base["endpoint"] = server.endpoint
    if endpoint:
        base["endpoint"] = endpoint
    base.update(settings)
    return run_tool(TOOL, base, *words, env=env, secrets=("sec/ret",))


class Tests:
    def __init__(self, directory):
        self.dir = pathlib.Path(directory)
        self.file = str(self.dir / "content")
        pathlib.Path(self.file).write_bytes(b"what is stored " * 10)
        self.large = str(self.dir / "large")
        pathlib.Path(self.large).write_bytes(os.urandom(6 << 20))

    # -- what works --

    def the_suite(self, s):
        tool(s, "suite", str(5 << 20), "1", "1")
        tool(s, "suite", str(5 << 20), "1", "1", prefix="deep/er")
        assert not s.objects and not s.uploads

    def virtual_host_style(self, s):
        where = f"http://localhost:{s.port}"
        expect(tool(s, "put", "a/b", self.file, endpoint=where, addressing="virtual"), "OK")
        assert s.seen[-1].headers["host"] == f"bkt.localhost:{s.port}"
        assert s.seen[-1].raw_path == "/a/b" and "a/b" in s.objects

    def names_are_encoded(self, s):
        name = "t=1,2/a+b@c:d~e!f"
        expect(tool(s, "put", name, self.file), "OK")
        assert s.seen[-1].raw_path == "/bkt/t%3D1%2C2/a%2Bb%40c%3Ad~e%21f"
        assert name in s.objects
        assert tool(s, "get", name).rest == pathlib.Path(self.file).read_bytes()

    def encryption_is_asked_for(self, s):
        expect(tool(s, "put", "x", self.file, sse="aws:kms", sse_key_id="key-7"), "OK")
        h = s.seen[-1].headers
        assert h["x-amz-server-side-encryption"] == "aws:kms"
        assert h["x-amz-server-side-encryption-aws-kms-key-id"] == "key-7"
        expect(tool(s, "upload", "y", self.large, str(5 << 20), sse="AES256"), "OK")
        begin = [r for r in s.seen if r.op == "begin"][-1]
        assert begin.headers["x-amz-server-side-encryption"] == "AES256"

    def headers_are_few(self, s):
        expect(tool(s, "put", "x", self.file), "OK")
        allowed = {"host", "authorization", "user-agent", "content-length", "content-type",
                   "x-amz-date", "x-amz-content-sha256", "x-amz-meta-varve-crc32c"}
        extra = set(s.seen[-1].headers) - allowed
        assert not extra, extra
        assert s.seen[-1].headers["content-type"] == "application/octet-stream"

    # -- who we are --

    def credentials(self, s):
        none = {"access_key": None, "secret_key": None}
        expect(tool(s, "put", "x", self.file, **none), "INVALID", says="no credentials")
        expect(tool(s, "put", "x", self.file, access_key=None), "INVALID", says="access key")
        env = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "sec/ret+key="}
        expect(tool(s, "put", "x", self.file, env=env, **none), "OK")
        del env["AWS_SECRET_ACCESS_KEY"]
        expect(tool(s, "put", "x", self.file, env=env, **none), "INVALID", says="environment")
        path = self.dir / "credentials"
        path.write_text("# ours\n[default]\naws_access_key_id = no\naws_secret_access_key=no\n\n"
                        "[ vv ]\r\naws_access_key_id=AKID\r\naws_secret_access_key = sec/ret+key=\r\n")
        none["credentials_file"] = str(path)
        expect(tool(s, "put", "x", self.file, profile="vv", **none), "OK")
        expect(tool(s, "put", "x", self.file, env={"AWS_PROFILE": "vv"}, **none), "OK")
        expect(tool(s, "put", "x", self.file, **none), "IO", fault="denied", retryable=0)
        expect(tool(s, "put", "x", self.file, profile="who", **none), "NOT_FOUND",
               says=("who", str(path)))
        none["credentials_file"] = str(path) + ".not"
        expect(tool(s, "put", "x", self.file, **none), "NOT_FOUND", says="credentials.not")
        home = self.dir / "home" / ".aws"
        home.mkdir(parents=True)
        path.rename(home / "credentials")
        del none["credentials_file"]
        expect(tool(s, "put", "x", self.file, profile="vv", env={"HOME": str(self.dir / "home")},
                    **none), "OK")

    def wrong_keys_are_refused(self, s):
        expect(tool(s, "put", "x", self.file, secret_key="wrong"), "IO", fault="denied", http=403,
               attempts=1, code="SignatureDoesNotMatch",
               says=("secret key", "s3://bkt: put 'x'", "request REQ"))
        expect(tool(s, "put", "x", self.file, access_key="WHO"), "IO", code="InvalidAccessKeyId",
               says="access key")
        expect(tool(s, "head", "x", secret_key="wrong"), "IO", fault="denied", http=403)
        assert not s.objects

    def a_session_token(self, s):
        s.token = "tok/en+1="
        expect(tool(s, "put", "x", self.file, session_token="tok/en+1="), "OK")
        expect(tool(s, "put", "x", self.file, session_token="old"), "IO", fault="expired",
               attempts=1, code="ExpiredToken", says="renew the session token")

    def a_token_renewed_in_its_file(self, s):
        path = self.dir / "renewed"
        text = "[default]\naws_access_key_id=AKID\naws_secret_access_key=sec/ret+key=\n"
        s.token = "new"
        path.write_text(text + "aws_session_token=old\n")

        def renew(h, r):
            path.write_text(text + "aws_session_token=new\n")
            return False
        s.fail_next("put", renew)
        expect(tool(s, "put", "x", self.file, access_key=None, secret_key=None,
                    credentials_file=str(path)), "OK", attempts=2)
        path.write_text(text + "aws_session_token=old\n")
        expect(tool(s, "put", "x", self.file, access_key=None, secret_key=None,
                    credentials_file=str(path)), "IO", fault="expired", attempts=1)

    def another_region(self, s):
        s.region = "eu-north-7"
        expect(tool(s, "put", "x", self.file), "OK", attempts=2)
        expect(tool(s, "put", "x", self.file, region="eu-north-7"), "OK", attempts=1)
        s.fail_next("put", scripted.code(301, "PermanentRedirect", "<Endpoint>e.f</Endpoint>"))
        expect(tool(s, "put", "x", self.file, region="eu-north-7"), "IO", fault="redirect",
               attempts=1, says="storage.region")
        s.fail_next("put", scripted.code(301, "PermanentRedirect", "",
                                         {"x-amz-bucket-region": "eu-north-7"}))
        s.region = "eu-north-7"
        expect(tool(s, "put", "x", self.file, region="mars-1"), "OK", attempts=2)
        # A region that would break out of the credential's scope is not believed.
        s.fail_next("put", scripted.code(400, "AuthorizationHeaderMalformed",
                                         "<Region>../evil host</Region>"))
        expect(tool(s, "put", "x", self.file, region="mars-1"), "IO", attempts=1)

    def another_clock(self, s):
        s.clock_ahead = 3600
        expect(tool(s, "put", "x", self.file), "OK", attempts=2)
        s.clock_ahead = -7200
        expect(tool(s, "put", "x", self.file), "OK", attempts=2)
        s.fail_next("put", scripted.code(403, "RequestTimeTooSkewed"), 9)
        s.clock_ahead = 0
        expect(tool(s, "put", "x", self.file), "IO", fault="clock", attempts=1, says="clock")

    # -- conditions --

    def conditions(self, s):
        expect(tool(s, "put", "x", self.file, "create"), "OK")
        assert s.seen[-1].headers["if-none-match"] == "*"
        expect(tool(s, "put", "x", self.file, "create"), "CONFLICT", fault="exists", attempts=1)
        s.conditional = False
        expect(tool(s, "put", "y", self.file, "create"), "UNSUPPORTED", fault="unsupported",
               http=501, unknown=0)
        assert "y" not in s.objects
        n = len(s.seen)
        expect(tool(s, "put", "y", self.file, "create", conditional_put=0), "UNSUPPORTED")
        assert len(s.seen) == n, "it was asked all the same"
        tool(s, "suite", str(5 << 20), "0", "0", prefix="without")

    def a_race_at_the_store(self, s):
        s.fail_next("put", scripted.code(409, "ConditionalRequestConflict"))
        expect(tool(s, "put", "x", self.file, "create"), "OK", attempts=2)

    # -- faults that pass --

    def passing_faults(self, s):
        for fault in (scripted.code(500, "InternalError"), scripted.code(503, "SlowDown"),
                      scripted.page(502), scripted.page(504), scripted.silent, scripted.garbage,
                      scripted.code(400, "RequestTimeout"), scripted.code(429, "TooManyRequests")):
            for op, words in (("put", ("put", "x", self.file)), ("get", ("get", "x")),
                              ("head", ("head", "x")), ("list", ("list", "")),
                              ("remove", ("remove", "y"))):
                s.fail_next(op, fault)
                a = tool(s, *words)
                expect(a, "OK")
                # A HEAD that was refused without a word is asked again as a GET, in the same try.
                assert a.attempts == "2" or (op, a.http) == ("head", "206"), (op, a.line)

    def what_does_not_pass(self, s):
        s.fail_next("put", scripted.code(503, "SlowDown"), 9)
        expect(tool(s, "put", "x", self.file), "BUSY", fault="throttled", retryable=1, unknown=0,
               attempts=4, code="SlowDown", says="try 4")
        s.faults.clear()
        s.fail_next("put", scripted.code(500, "InternalError"), 9)
        expect(tool(s, "put", "x", self.file), "IO", fault="server", retryable=1, unknown=1)
        s.faults.clear()

    def the_store_says_when(self, s):
        s.fail_next("put", scripted.code(503, "SlowDown", headers={"Retry-After": "1"}))
        start = time.monotonic()
        expect(tool(s, "put", "x", self.file), "OK", attempts=2)
        assert time.monotonic() - start >= 1

    def silence(self, s):
        s.fail_next("put", scripted.hang(30), 9)
        start = time.monotonic()
        expect(tool(s, "put", "x", self.file, request_timeout_ms=300, max_retries=1), "TIMEOUT",
               fault="timeout", retryable=1, unknown=1, attempts=2)
        assert time.monotonic() - start < 10
        s.faults.clear()

    # -- answers that get lost --

    def lost_answers(self, s):
        s.fail_next("put", scripted.lost)
        expect(tool(s, "put", "x", self.file, "create"), "OK", settled=1, attempts=2)
        s.fail_next("put", scripted.lost)
        expect(tool(s, "put", "y", self.file, "create", max_retries=0), "IO", unknown=1,
               fault="network")
        assert "y" in s.objects
        s.fail_next("put", scripted.silent)
        expect(tool(s, "put", "x", self.large, "create"), "CONFLICT", settled=0, unknown=0)
        s.fail_next("complete", scripted.lost)
        expect(tool(s, "upload", "z", self.large, str(5 << 20), "create"), "OK", settled=1,
               attempts=2)
        assert s.objects["z"][0] == pathlib.Path(self.large).read_bytes()
        s.fail_next("complete", scripted.code(404, "NoSuchUpload"))
        s.fail_next("abort", scripted.code(404, "NoSuchUpload"))
        expect(tool(s, "upload", "w", self.large, str(5 << 20)), "NOT_FOUND", code="NoSuchUpload")

    def complete_that_says_no_with_200(self, s):
        s.fail_next("complete", scripted.code(200, "InternalError"))
        expect(tool(s, "upload", "z", self.large, str(5 << 20)), "OK", attempts=2)
        s.fail_next("complete", scripted.code(200, "AccessDenied"))
        expect(tool(s, "upload", "z", self.large, str(5 << 20)), "IO", fault="denied")
        assert not s.uploads

    def parts_fail(self, s):
        s.fail_next("part", scripted.code(500, "InternalError"), 2)
        s.fail_next("begin", scripted.silent)
        expect(tool(s, "upload", "z", self.large, str(5 << 20)), "OK")
        s.fail_next("part", scripted.page(200, b""))  # no etag
        expect(tool(s, "upload", "z", self.large, str(5 << 20)), "OK")
        s.fail_next("begin", scripted.page(200, b"<a></a>"), 9)
        expect(tool(s, "upload", "z", self.large, str(5 << 20)), "IO", fault="answer")
        s.faults.clear()
        expect(tool(s, "upload", "z", self.large, "1000"), "INVALID", says="5242880")
        assert not s.uploads

    # -- damage and answers that are wrong --

    def damage(self, s):
        expect(tool(s, "put", "x", self.file), "OK")
        s.fail_next("get", scripted.flipped)
        expect(tool(s, "get", "x"), "OK", attempts=2)
        s.fail_next("get", scripted.flipped, 9)
        expect(tool(s, "get", "x"), "CORRUPT", fault="corrupt", says="crc32c")
        s.faults.clear()
        s.fail_next("get", scripted.cut_short)
        a = tool(s, "get", "x")
        expect(a, "OK", attempts=2)
        assert a.rest == pathlib.Path(self.file).read_bytes()
        s.fail_next("get", scripted.whole_body)
        expect(tool(s, "get", "x", "5", "20"), "IO", says="longer")
        s.fail_next("get", scripted.whole_body)
        expect(tool(s, "get", "x", "5", "1000"), "UNSUPPORTED", says="ranges")
        s.fail_next("put", scripted.code(400, "XAmzContentSHA256Mismatch"))
        expect(tool(s, "put", "x", self.file), "OK", attempts=2)

    def wrong_lists(self, s):
        head = b"<ListBucketResult><IsTruncated>false</IsTruncated>"
        row = b"<Contents><Key>%s</Key><Size>1</Size></Contents>"
        tail = b"</ListBucketResult>"
        wrong = {
            "cut off": head + row % b"a",
            "a document type": b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + head + tail,
            "an unknown entity": head + row % b"&a;" + tail,
            "another document": b"<html><body>hello</body></html>",
            "nothing": b"",
            "a key of no length": head + row % b"" + tail,
            "a deep one": b"<a>" * 100 + b"</a>" * 100,
            "a long text": head + row % (b"k" * 5000) + tail,
        }
        for what, body in wrong.items():
            s.fail_next("list", scripted.page(200, body), 2)
            a = tool(s, "list", "", max_retries=1)
            assert a.status == "IO" and a.fault == "answer", (what, a.line)
            s.faults.clear()
        for what, rows in {"order": row % b"b" + row % b"a", "twice": row % b"b" + row % b"b",
                           "unasked": row % b"zz"}.items():
            s.fail_next("list", scripted.page(200, head + rows + tail))
            expect(tool(s, "list", "b" if what == "unasked" else ""), "IO", fault="answer",
                   says="out of order or unasked")
        s.fail_next("list", scripted.page(200, head + row % b"good" + row % b"good%20 &#x41;" +
                                          tail))
        a = tool(s, "list", "")
        assert a.rest.startswith(b"good 1") and b"%20" not in a.rest, a.rest

    def endless_answers(self, s):
        s.fail_next("list", scripted.page(200, b"<a>" + b" " * (9 << 20)))
        expect(tool(s, "list", ""), "IO", fault="answer", says="longer")
        s.fail_next("put", scripted.page(403, b"x" * (1 << 20)))
        expect(tool(s, "put", "x", self.file), "IO", fault="answer")
        s.fail_next("put", scripted.page(200, b"", {f"h{i}": "v" * 1000 for i in range(60)}))
        expect(tool(s, "put", "x", self.file), "IO", fault="answer")
        s.fail_next("put", scripted.code(403, "Odd\x1b[31mCode", "<Message>a&#10;b</Message>"))
        a = tool(s, "put", "x", self.file)
        expect(a, "IO", fault="denied")
        assert "\x1b" not in a.line

    def every_allocation_fails_once(self, s):
        a = tool(s, "walk", "x", self.file, "1000")
        assert a.status == "OK" and int(a.allocations) > 50, a.line
        assert "x" not in s.objects

    # -- the network --

    def nobody_there(self, s):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        where = f"http://127.0.0.1:{port}"
        expect(tool(None, "put", "x", self.file, endpoint=where), "IO", fault="network",
               unknown=0, retryable=1, attempts=4, says="nothing answers")
        expect(tool(None, "put", "x", self.file, endpoint="http://no.such.host.invalid"), "IO",
               fault="network", unknown=0)

    def wrong_settings(self, s):
        for setting, says in ((("endpoint", "ftp://x"), "https://"),
                              (("endpoint", "http://a b"), "host"),
                              (("endpoint", "http://x/path"), "host"),
                              (("bucket", "ab"), "storage.bucket"),
                              (("bucket", "a/../b"), "storage.bucket"),
                              (("region", "a/b"), "storage.region"),
                              (("addressing", "maybe"), "storage.addressing")):
            expect(tool(s, "head", "x", **dict([setting])), "INVALID", says=says)
        expect(tool(s, "put", "x", self.file, bucket="another"), "NOT_FOUND", code="NoSuchBucket",
               says="create the bucket")
        expect(tool(s, "list", "", bucket="another"), "NOT_FOUND", code="NoSuchBucket")
        expect(tool(s, "remove", "x", bucket="another"), "NOT_FOUND", code="NoSuchBucket")
        assert not s.objects


def over_tls(tests, directory):
    d = pathlib.Path(directory)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    "-keyout", d / "key.pem", "-out", d / "cert.pem", "-subj", "/CN=varve test",
                    "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    s = scripted.S3Server(tls=(d / "cert.pem", d / "key.pem"))
    try:
        ca = str(d / "cert.pem")
        expect(tool(s, "put", "x", tests.file, ca_file=ca), "OK")
        assert s.seen[-1].headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
        assert tool(s, "get", "x", ca_file=ca).rest == pathlib.Path(tests.file).read_bytes()
        expect(tool(s, "put", "x", tests.file), "IO", fault="network", attempts=1, says="ca_file")
        expect(tool(s, "put", "x", tests.file, tls_insecure=1), "OK")
        expect(tool(s, "put", "x", tests.file, ca_file=ca,
                    endpoint=f"https://localhost:{s.port}"), "IO", fault="network")
        expect(tool(s, "put", "x", tests.file, ca_file="/no/such/file"), "IO", fault="network",
               says="ca_file")
        tool(s, "suite", str(5 << 20), "1", "1", ca_file=ca, prefix="suite")
    finally:
        s.stop()


def main():
    with tempfile.TemporaryDirectory(prefix="varve-s3-") as directory:
        tests = Tests(directory)
        names = [n for n in vars(Tests) if not n.startswith("_")]
        for name in names:
            server = scripted.S3Server()
            try:
                getattr(tests, name)(server)
            except Exception:
                print(f"FAILED: {name}")
                raise
            finally:
                server.stop()
            print(f"ok {name}")
        over_tls(tests, directory)
        print("ok over_tls")


main()
