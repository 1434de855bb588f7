#!/usr/bin/python3
"""Google's JSON interface against Firebase's storage emulator: an implementation that is not ours.

firebase_test.py OBJECT_TOOL; VARVE_BUILD is the build directory. It is held to what the emulator does
right: puts, gets, ranges, heads, lists, removals, uploads in one piece. It takes every token, knows no
preconditions, and answers 200 to every piece of an upload: for those there is gcs_test.py's server,
which gives the tokens here.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import peers  # noqa: E402
import scripted_gcs  # noqa: E402
from tool import CLEAN, expect, run_tool  # noqa: E402
from varvelib import TempDir, varve  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
TOOL = sys.argv[1]
BUCKET = "varve-test.appspot.com"


class Emulator(peers.Processes):
    def __init__(self, directory):
        peers.need("node", "openssl")
        if not (HERE / "node_modules/firebase-tools").is_dir():
            raise peers.Missing("firebase-tools is not installed (tools/setup_firebase.sh)")
        super().__init__(directory)
        self.port = peers.free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def start_all(self):
        p = self.start("emulator", "node", HERE / "firebase.js", str(self.port),
                       env=CLEAN | {"TMPDIR": str(self.dir), "NODE_PATH": str(HERE / "node_modules")})
        peers.wait_for_port(self.port, p, 60, "the emulator", self.dir / "emulator.out")


class Tests:
    def __init__(self, tmp, emulator, tokens):
        self.dir, self.emulator, self.tokens = tmp, emulator, tokens
        self.account = tmp / "account.json"
        self.account.write_text(json.dumps(tokens.account((tmp / "key.pem").read_text())))
        self.large = tmp / "large"
        self.large.write_bytes(os.urandom(3 << 20))

    def tool(self, *words):
        settings = {"backend": "gcs", "bucket": BUCKET, "endpoint": self.emulator.endpoint,
                    "credentials_file": str(self.account), "prefix": "tool"}
        return run_tool(TOOL, settings, *words, secrets=("ya29.", "PRIVATE KEY"))

    def objects(self):
        whole = self.large.read_bytes()
        names = ["plain", "a/b=c,d/e.f", "t=1/a+b@d:e~f!g"]
        for name in names:
            expect(self.tool("put", name, str(self.large)), "OK", attempts=1)
            assert self.tool("get", name).rest == whole, name
            assert self.tool("get", name, "1000000", "5000").rest == whole[1000000:1005000], name
            head = self.tool("head", name)
            expect(head, "OK")
            assert str(len(whole)) in head.line, head.line
        listed = [line.rsplit(b" ", 2)[0].decode() for line in self.tool("list", "").rest.splitlines()]
        assert sorted(listed) == sorted(names), listed
        assert len(self.tool("list", "t=1/").rest.splitlines()) == 1
        self.large.write_bytes(whole[::-1])
        expect(self.tool("put", "plain", str(self.large)), "OK")
        assert self.tool("get", "plain").rest == whole[::-1]
        for name in names:
            expect(self.tool("remove", name), "OK")
        assert self.tool("list", "").rest == b""
        for words in (("get", "plain"), ("head", "plain")):
            expect(self.tool(*words), "NOT_FOUND", fault="missing")

    def an_upload_in_one_piece(self):
        """Less than the unit of pieces goes at the end, whole."""
        small = self.dir / "small"
        small.write_bytes(os.urandom(200_000))
        expect(self.tool("upload", "one", str(small), str(1 << 20)), "OK")
        assert self.tool("get", "one").rest == small.read_bytes()
        expect(self.tool("remove", "one"), "OK")

    def many(self):
        expect(self.tool("hammer", "200", "1000"), "OK")
        assert len(self.tool("list", "hammer/").rest.splitlines()) == 200

    def messages(self):
        """A stream to objects and back, by the command line."""
        where = ["--data", self.dir / "data"]
        store = ["--backend", "gcs", "--bucket", BUCKET, "--endpoint", self.emulator.endpoint]
        env = CLEAN | {"GOOGLE_APPLICATION_CREDENTIALS": str(self.account)}
        lines = [f"line {i}" for i in range(2000)]

        def run(*words, **kwargs):
            done = varve(*words, env=env, **kwargs)
            assert done.returncode == 0, f"{words}: {done}"
            return done.stdout
        run("table", "create", *where, "--kind", "stream", "messages")
        run("stream", *where, "append", "-", input="".join(f"{line}\n" for line in lines))
        assert run("archive", *where, *store, "run", "--local", "0").startswith("stored 2000 messages")
        run("archive", *where, *store, "verify", "--whole")
        for place in (where, ["--data", self.dir / "other"]):
            if place is not where:
                run("archive", "attach", *place, *store)
            out = run("stream", *place, *store, "read", "-o", "json")
            assert [json.loads(line)["value"] for line in out.splitlines()] == lines


def main():
    if not os.environ.get("VARVE_OBJECT_PEERS"):
        print("SKIPPED: Firebase's emulator is of make test-object")
        sys.exit(77)
    with TempDir() as tmp:
        try:
            emulator = Emulator(tmp / "emulator")
        except peers.Missing as missing:
            print(f"SKIPPED: {missing}")
            shutil.rmtree(tmp)
            sys.exit(77)
        for words in (["genpkey", "-algorithm", "RSA", "-out"], ["pkey", "-pubout", "-in", "key.pem", "-out"]):
            name = "key.pem" if words[0] == "genpkey" else "public.pem"
            subprocess.run(["openssl", *words, name], check=True, capture_output=True, cwd=tmp)
        tokens = scripted_gcs.GcsServer(tmp / "public.pem")
        try:
            emulator.start_all()
            tests = Tests(tmp, emulator, tokens)
            for test in (tests.objects, tests.an_upload_in_one_piece, tests.many, tests.messages):
                test()
                print(f"ok Firebase's emulator: {test.__name__}", flush=True)
        finally:
            emulator.stop()
            tokens.stop()


main()
