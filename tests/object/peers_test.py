#!/usr/bin/env python3
"""Real object stores on loopback: Ceph's radosgw and Swift's s3api, and clients of others.

peers_test.py OBJECT_TOOL. Runs when VARVE_OBJECT_PEERS is set, as `make test-object` does; says what
is not installed and goes on with the rest. A line of figures a store.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import peers  # noqa: E402
from tool import CLEAN, expect, run_tool  # noqa: E402

TOOL = sys.argv[1]
BUCKET = "varve-test"


class Peer:
    def __init__(self, peer, access, conditional, directory):
        self.peer, self.access, self.conditional = peer, access, conditional
        self.dir = pathlib.Path(directory)
        self.large = self.dir / "large"
        self.large.write_bytes(os.urandom(12 << 20))

    def settings(self, **more):
        return {"backend": "s3", "endpoint": self.peer.endpoint, "bucket": BUCKET,
                "access_key": self.access, "secret_key": peers.SECRET} | more

    def tool(self, *words, **more):
        return run_tool(TOOL, self.settings(**more), *words, secrets=(peers.SECRET,))

    def suite(self):
        create = "1" if self.conditional else "0"
        self.tool("suite", str(5 << 20), create, "0", prefix="suite")

    def refusals(self):
        expect(self.tool("put", "x", str(self.large), secret_key="wrong"), "IO", fault="denied",
               http=403, code="SignatureDoesNotMatch", attempts=1)
        expect(self.tool("put", "x", str(self.large), bucket="no-such-bucket"), "NOT_FOUND",
               code="NoSuchBucket")
        expect(self.tool("head", "x"), "NOT_FOUND", fault="missing")
        if not self.conditional:
            expect(self.tool("put", "x", str(self.large), "create"), "UNSUPPORTED", http=501)
        a = self.tool("upload", "x", str(self.large), "1000000")
        expect(a, "INVALID", says="5242880")

    def others_read_ours(self):
        whole = self.large.read_bytes()
        name = "t=1/a+b,c@d:e~f!g/large"
        expect(self.tool("upload", name, str(self.large), str(5 << 20)), "OK")
        expect(self.tool("put", "small", str(self.dir / "large")), "OK")
        read = []
        if shutil.which("s3cmd"):
            conf = self.dir / "s3cfg"
            host = self.peer.endpoint.removeprefix("http://")
            conf.write_text(f"[default]\naccess_key = {self.access}\nsecret_key = {peers.SECRET}\n"
                            f"host_base = {host}\nhost_bucket = {host}\nuse_https = False\n")
            for n in (name, "small"):
                subprocess.run(["s3cmd", "-c", conf, "--no-progress", "--force", "get",
                                f"s3://{BUCKET}/{n}", self.dir / "back"], check=True,
                               capture_output=True, env=CLEAN)
                assert (self.dir / "back").read_bytes() == whole, n
            read.append("s3cmd")
        if shutil.which("rclone"):
            conf = self.dir / "rclone.conf"
            conf.write_text(f"[peer]\ntype = s3\nprovider = Other\nforce_path_style = true\n"
                            f"access_key_id = {self.access}\nsecret_access_key = {peers.SECRET}\n"
                            f"endpoint = {self.peer.endpoint}\nregion = us-east-1\n")
            for n in (name, "small"):
                out = subprocess.run(["rclone", "--config", conf, "cat", f"peer:{BUCKET}/{n}"],
                                     check=True, capture_output=True, env=CLEAN).stdout
                assert out == whole, n
            subprocess.run(["rclone", "--config", conf, "copyto", self.large,
                            f"peer:{BUCKET}/from/rclone"], check=True, capture_output=True,
                           env=CLEAN)
            assert self.tool("get", "from/rclone").rest == whole
            read.append("rclone")
        print(f"   read by: {', '.join(read) or 'none is installed (s3cmd, rclone)'}")
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


def run(name, make, access, conditional):
    with tempfile.TemporaryDirectory(prefix="varve-peer-") as directory:
        try:
            peer = make(pathlib.Path(directory) / "peer")
        except peers.Missing as missing:
            print(f"SKIPPED {name}: {missing}")
            return False
        try:
            start = time.monotonic()
            peer.start_all()
            peers.make_bucket(peer, access, BUCKET)
            print(f"{name}: up in {time.monotonic() - start:.0f} s")
            tests = Peer(peer, access, conditional, directory)
            for test in (tests.suite, tests.refusals, tests.others_read_ours,
                         tests.killed_and_restarted, tests.figures):
                if test == tests.killed_and_restarted and not hasattr(peer, "kill_gateway"):
                    continue
                test()
                print(f"ok {name}: {test.__name__}")
        except BaseException:
            peer.stop()
            for log in sorted(peer.dir.glob("*.out")) + sorted(peer.dir.glob("*.log")):
                print(f"---- {log.name}\n{peers.tail(log, 1500)}")
            raise
        finally:
            peer.stop()
    return True


def main():
    if not os.environ.get("VARVE_OBJECT_PEERS"):
        print("SKIPPED: real object stores take a minute: make test-object")
        sys.exit(77)
    ran = [run("Ceph radosgw", peers.Ceph, peers.ACCESS, True),
           run("Swift s3api", peers.Swift, "test:tester", False)]
    sys.exit(0 if any(ran) else 77)


main()
