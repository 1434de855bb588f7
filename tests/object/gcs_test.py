#!/usr/bin/env python3
"""Google Cloud Storage's JSON interface against the scripted server. gcs_test.py OBJECT_TOOL"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import scripted  # noqa: E402
import scripted_gcs  # noqa: E402
from tool import expect, run_tool  # noqa: E402

TOOL = sys.argv[1]


class Tests:
    def __init__(self, directory):
        self.dir = pathlib.Path(directory)
        self.key = self.dir / "key.pem"
        self.public = self.dir / "public.pem"
        for args in (["genpkey", "-algorithm", "RSA", "-out", self.key],
                     ["pkey", "-in", self.key, "-pubout", "-out", self.public]):
            subprocess.run(["openssl", *args], check=True, capture_output=True)
        self.file = str(self.dir / "content")
        pathlib.Path(self.file).write_bytes(b"what is stored " * 10)
        self.large = str(self.dir / "large")
        pathlib.Path(self.large).write_bytes(os.urandom(1_300_000))

    def account(self, s, **changes):
        path = self.dir / ("changed.json" if changes else "account.json")
        path.write_text(json.dumps(s.account(self.key.read_text()) | changes))
        return str(path)

    def tool(self, s, *words, env=None, **settings):
        base = {"backend": "gcs", "bucket": "bkt", "endpoint": s.endpoint,
                "credentials_file": self.account(s), "initial_backoff_ms": 1, "max_backoff_ms": 5}
        base.update(settings)
        return run_tool(TOOL, base, *words, env=env, secrets=("ya29.", "PRIVATE KEY"))

    def the_suite(self, s):
        self.tool(s, "suite", "70000", "1", "1")
        self.tool(s, "suite", "600000", "1", "1", prefix="deep/er")
        assert not s.objects, s.objects.keys()
        for r in s.seen:
            if r.op == "chunk" and "content-length" in r.headers:
                assert r.headers["content-type"] == "application/octet-stream"
                assert "authorization" not in r.headers

    def the_account(self, s):
        env = {"GOOGLE_APPLICATION_CREDENTIALS": self.account(s)}
        expect(self.tool(s, "put", "x", self.file, env=env, credentials_file=None), "OK")
        for changes, says in (({"private_key": "no key"}, "private_key"),
                              ({"client_email": None}, "client_email"),
                              ({"token_uri": "http://evil.example/"}, "token_uri"),
                              ({"client_email": "a\"b"}, "client_email")):
            expect(self.tool(s, "head", "x", credentials_file=self.account(s, **changes)),
                   "INVALID", says=says)
        expect(self.tool(s, "head", "x", credentials_file="/no/such.json"), "NOT_FOUND",
               says="/no/such.json")
        (self.dir / "bad.json").write_text('{"client_email": "a')
        expect(self.tool(s, "head", "x", credentials_file=str(self.dir / "bad.json")), "INVALID")
        other = self.account(s, client_email="who@else")
        expect(self.tool(s, "head", "x", credentials_file=other), "IO", fault="denied", attempts=1,
               code="invalid_grant", says=("no token for who@else", "service account"))

    def tokens_are_kept_and_renewed(self, s):
        expect(self.tool(s, "upload", "x", self.large, "300000"), "OK")
        assert s.tokens_given == 1
        s.fail_next("head", scripted_gcs.forget_tokens)
        expect(self.tool(s, "head", "x"), "OK", attempts=1)
        assert s.tokens_given == 3
        s.token_life = 30  # shorter than the minute that is kept clear: one a request
        expect(self.tool(s, "hammer", "5", "10"), "OK")
        assert s.tokens_given == 8, s.tokens_given
        s.token_life = 3600
        s.fail_next("head", scripted_gcs.code(401, "authError"), 9)
        expect(self.tool(s, "head", "x"), "IO", fault="expired", retryable=0)
        s.faults.clear()
        s.fail_next("token", scripted.page(503), 2)
        expect(self.tool(s, "head", "x"), "OK", attempts=3)
        s.fail_next("token", scripted.page(200, b"{}"))
        expect(self.tool(s, "head", "x"), "IO", fault="answer")

    def conditions(self, s):
        expect(self.tool(s, "put", "x", self.file, "create"), "OK")
        assert s.seen[-1].query["ifGenerationMatch"] == "0"
        expect(self.tool(s, "put", "x", self.file, "create"), "CONFLICT", fault="exists",
               code="conditionNotMet")
        s.fail_next("put", scripted.lost)
        expect(self.tool(s, "put", "y", self.file, "create"), "OK", settled=1, attempts=2)
        expect(self.tool(s, "upload", "x", self.large, "300000", "create"), "CONFLICT")

    def passing_faults(self, s):
        expect(self.tool(s, "put", "x", self.file), "OK")
        for fault in (scripted_gcs.code(500, "backendError"), scripted_gcs.code(503, "x"),
                      scripted_gcs.code(429, "rateLimitExceeded"), scripted.page(502),
                      scripted_gcs.code(403, "userRateLimitExceeded"), scripted.silent):
            for words in (("put", "x", self.file), ("get", "x"), ("head", "x"), ("list", ""),
                          ("remove", "none")):
                s.fail_next(words[0], fault)
                a = self.tool(s, *words)
                expect(a, "OK")
                assert a.attempts == "2" or fault is scripted.silent, (words, a.line)

    def refusals(self, s):
        s.fail_next("put", scripted_gcs.code(403, "forbidden"))
        expect(self.tool(s, "put", "x", self.file), "IO", fault="denied", attempts=1,
               code="forbidden", says=("gcs://bkt: put 'x'", "REQ"))
        expect(self.tool(s, "put", "x", self.file, bucket="other"), "NOT_FOUND",
               code="NoSuchBucket", says="create the bucket")
        expect(self.tool(s, "remove", "x", bucket="other"), "NOT_FOUND", code="NoSuchBucket")
        s.fail_next("put", scripted_gcs.code(400, "invalid"))
        expect(self.tool(s, "put", "x", self.file), "IO", fault="request")

    def uploads_go_on(self, s):
        whole = pathlib.Path(self.large).read_bytes()
        unit = 256 * 1024
        for fault in (scripted_gcs.code(503, "backendError"), scripted.silent, scripted.lost):
            for nth in range(1, 5):
                s.objects.clear()
                for _ in range(nth - 1):
                    s.fail_next("chunk", lambda h, r: False)
                s.fail_next("chunk", fault)
                expect(self.tool(s, "upload", "x", self.large, str(unit + 1000)), "OK")
                assert s.objects["x"][0] == whole, (fault, nth)
                s.faults.clear()
        for taken in (0, unit):
            s.objects.clear()
            s.take_at_most = taken
            expect(self.tool(s, "upload", "x", self.large, "900000"), "OK")
            assert s.objects["x"][0] == whole, taken
        s.fail_next("chunk", scripted.page(410), 9)
        expect(self.tool(s, "upload", "y", self.large, "900000"), "NOT_FOUND", says="gone")
        s.faults.clear()
        s.fail_next("begin", scripted.page(200, b"", {"Location": "http://evil.example/x"}))
        expect(self.tool(s, "upload", "y", self.large, "900000"), "IO", fault="redirect",
               says="another server")
        s.fail_next("begin", scripted.page(200, b""), 9)
        expect(self.tool(s, "upload", "y", self.large, "900000"), "IO", fault="answer")
        s.faults.clear()

        def never(h, r):
            h.answer(308, b"", {"Range": "bytes=0-0"})
            return True
        s.fail_next("chunk", never, 99)
        expect(self.tool(s, "upload", "y", self.large, "900000"), "IO")
        s.faults.clear()
        assert "y" not in s.objects

    def damage(self, s):
        expect(self.tool(s, "put", "x", self.file), "OK")
        s.fail_next("get", scripted.flipped)
        expect(self.tool(s, "get", "x"), "OK", attempts=2)
        s.fail_next("get", scripted.flipped, 9)
        expect(self.tool(s, "get", "x"), "CORRUPT", fault="corrupt")
        s.faults.clear()
        s.fail_next("get", scripted.cut_short)
        expect(self.tool(s, "get", "x"), "OK", attempts=2)

        def other_sum(h, r):
            data = bytearray(r.body)
            data[-60] ^= 1
            r.body = bytes(data)
            return False
        s.fail_next("put", other_sum)
        expect(self.tool(s, "put", "z", self.file), "IO", fault="request")
        assert "z" not in s.objects

    def every_allocation_fails_once(self, s):
        middle = self.dir / "middle"  # one chunk, and a rest
        middle.write_bytes(bytes(264_000))
        a = self.tool(s, "walk", "x", str(middle), "263000")
        assert a.status == "OK" and int(a.allocations) > 50, a.line
        assert "x" not in s.objects

    def wrong_answers(self, s):
        wrong = [b"", b"[]", b"{", b'{"items": [{}]}', b'{"items": [{"name": "a"}', b"{}x",
                 b'{"items": ' + b"[" * 50 + b"]" * 50 + b"}", b'{"a": tru}', b'{"a" 1}',
                 b'{"items": [{"name": "\\ud800"}]}', b'{"items": [{"name": "' + b"k" * 9000 +
                 b'"}]}', b"<html>a page</html>"]
        for body in wrong:
            s.fail_next("list", scripted.page(200, body), 9)
            a = self.tool(s, "list", "")
            assert a.status == "IO" and a.fault == "answer", (body, a.line)
            s.faults.clear()
        for body in (b"", b"[1]", b'{"size": "1"}'):
            s.fail_next("put", scripted.page(200, body), 9)
            expect(self.tool(s, "put", "q", self.file), "IO", fault="answer", unknown=1)
            s.faults.clear()


def main():
    with tempfile.TemporaryDirectory(prefix="varve-gcs-") as directory:
        tests = Tests(directory)
        for name in [n for n in vars(Tests) if n not in ("__init__", "account", "tool")
                     and not n.startswith("_")]:
            server = scripted_gcs.GcsServer(str(tests.public))
            try:
                getattr(tests, name)(server)
            except Exception:
                print(f"FAILED: {name}")
                raise
            finally:
                server.stop()
            print(f"ok {name}")


main()
