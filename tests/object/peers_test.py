#!/usr/bin/python3
"""A real object store on loopback: the calls of object.h, clients of others, and then the whole way of
messages to it (pipeline_test.py).

peers_test.py OBJECT_TOOL ceph|swift. Runs when VARVE_OBJECT_PEERS is set, as `make test-object` does,
and is skipped, with the name of what lacks, where the store is not installed. A line of figures.
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import peers  # noqa: E402
import pipeline_test  # noqa: E402
from clients import Rclone, S3cmd, installed, make_bucket  # noqa: E402
from tool import CLEAN, expect, run_tool  # noqa: E402

TOOL, KIND = sys.argv[1:3]
BUCKET = "varve-test"


class Peer:
    def __init__(self, peer, directory):
        self.peer = peer
        self.dir = pathlib.Path(directory)
        self.large = self.dir / "large"
        self.large.write_bytes(os.urandom(12 << 20))

    def settings(self, **more):
        return {"backend": "s3", "endpoint": self.peer.endpoint, "bucket": BUCKET,
                "access_key": self.peer.access, "secret_key": peers.SECRET} | more

    def tool(self, *words, **more):
        return run_tool(TOOL, self.settings(**more), *words, secrets=(peers.SECRET,))

    def suite(self):
        create = "1" if self.peer.conditional else "0"
        self.tool("suite", str(5 << 20), create, "0", prefix="suite")

    def refusals(self):
        expect(self.tool("put", "x", str(self.large), secret_key="wrong"), "IO", fault="denied",
               http=403, code="SignatureDoesNotMatch", attempts=1)
        expect(self.tool("put", "x", str(self.large), bucket="no-such-bucket"), "NOT_FOUND",
               code="NoSuchBucket")
        expect(self.tool("head", "x"), "NOT_FOUND", fault="missing")
        if not self.peer.conditional:
            expect(self.tool("put", "x", str(self.large), "create"), "UNSUPPORTED", http=501)
        a = self.tool("upload", "x", str(self.large), "1000000")
        expect(a, "INVALID", says="5242880")

    def others_read_ours(self):
        whole = self.large.read_bytes()
        name = "t=1/a+b,c@d:e~f!g/large"
        expect(self.tool("upload", name, str(self.large), str(5 << 20)), "OK")
        expect(self.tool("put", "small", str(self.dir / "large")), "OK")
        read = [kind(self.peer, BUCKET, self.dir) for kind in installed(S3cmd, Rclone)]
        for client in read:
            for n in (name, "small"):
                assert client.read(n) == whole, (client.name, n)
            if isinstance(client, Rclone):
                client.write(self.large, "from/rclone")
                assert self.tool("get", "from/rclone").rest == whole
        print(f"   read by: {', '.join(c.name for c in read) or 'none is installed (s3cmd, rclone)'}")
        for n in (name, "small", "from/rclone"):
            expect(self.tool("remove", n), "OK")

    def killed_and_restarted(self):
        """The gateway dies while objects are put: all are there in the end."""
        args = [f"{k}={v}" for k, v in self.settings(
            max_retries=200, breaker_failures=0, initial_backoff_ms=20, max_backoff_ms=200,
            request_timeout_ms=2000).items()]
        p = subprocess.Popen([TOOL, *args, "hammer", "400", "1000"], stdout=subprocess.PIPE,
                             env=CLEAN)
        time.sleep(0.3)
        self.peer.kill_gateway()
        time.sleep(0.5)
        self.peer.start_gateway()
        out = p.communicate(timeout=90)[0].decode()
        assert out.startswith("OK"), out
        lines = self.tool("list", "hammer/").rest.splitlines()
        assert len(lines) == 400, len(lines)
        assert all(line.split()[1] == b"1000" for line in lines)

    def figures(self):
        small = self.tool("hammer", "300", "1000").rest.decode().strip()
        large = self.tool("hammer", "20", "15000000").rest.decode().strip()
        print(f"   1 kB: {small}\n   15 MB: {large}")


def run(kind):
    with tempfile.TemporaryDirectory(prefix="varve-peer-") as directory:
        try:
            peer = peers.KINDS[kind](pathlib.Path(directory) / "peer")
        except peers.Missing as missing:
            print(f"SKIPPED {kind}: {missing}")
            return 77
        try:
            start = time.monotonic()
            peer.start_all()
            make_bucket(peer, BUCKET)
            print(f"{peer.name}: up in {time.monotonic() - start:.0f} s")
            tests = Peer(peer, directory)
            for test in (tests.suite, tests.refusals, tests.others_read_ours,
                         tests.killed_and_restarted, tests.figures):
                if test == tests.killed_and_restarted and not peer.conditional:
                    continue  # the pipeline's test kills this one too, which is slow
                test()
                print(f"ok {peer.name}: {test.__name__}", flush=True)
            make_bucket(peer, pipeline_test.BUCKET)
            pipeline_test.run(peer)
        except BaseException:
            peer.stop()
            peer.print_logs()
            raise
        finally:
            peer.stop()
    return 0


def main():
    if not os.environ.get("VARVE_OBJECT_PEERS"):
        print("SKIPPED: real object stores take a minute: make test-object")
        sys.exit(77)
    sys.exit(run(KIND))


main()
