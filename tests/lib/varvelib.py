"""What the tests with real processes share: varved under test, generated messages, gRPC calls.

Runs under the distribution's python3 (for python3-grpcio). The build directory comes from
VARVE_BUILD, "build" beside the repository by default.
"""
import importlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("VARVE_BUILD", ROOT / "build")).resolve()
LISTENING = re.compile(r"^listening (\w+) (\S+):(\d+)$")


def program(name):
    """varved or varve: beside the others of a build, or where ninja made it."""
    beside = BUILD / name
    return str(beside if beside.exists() else BUILD / "cmd" / name / name)


class Varved:
    """One server process on a data directory, on free ports."""

    def __init__(self, data, settings=(), env=None, wait=True):
        self.data = pathlib.Path(data)
        args = [program("varved"), "--data", str(self.data)]
        for s in ("server.port=0", "query.port=0", "log.level=warn", *settings):
            args += ["--set", s]
        self.log_path = pathlib.Path(str(self.data) + ".log")
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=self.log, env=env,
                                        text=True)
        self.ports = {}
        if wait:
            self.wait_ready()

    def wait_ready(self):
        """Read the two lines that say where it listens."""
        while len(self.ports) < 2:
            line = self.process.stdout.readline()
            if line == "":
                code = self.process.wait()
                tail = self.log_path.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"varved ended with {code} before it listened:\n{tail}")
            m = LISTENING.match(line.strip())
            if m:
                self.ports[m.group(1)] = int(m.group(3))

    @property
    def ingest(self):
        return f"127.0.0.1:{self.ports['ingest']}"

    @property
    def query(self):
        return f"127.0.0.1:{self.ports['query']}"

    def get(self, path, headers=None):
        """(status, text) of a GET at the port that takes writes."""
        ask = urllib.request.Request(f"http://{self.ingest}{path}", headers=headers or {})
        try:
            with urllib.request.urlopen(ask, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def metric(self, name):
        """The value of a figure that has no labels."""
        return float(re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics")[1], re.M).group(1))

    def kill(self):
        """SIGKILL: what it acknowledged must be there at the next start."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._close()

    def stop(self, timeout=30):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout)
        self._close()
        return code

    def _close(self):
        self.process.stdout.close()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            self._close()


def varve(*args, **kwargs):
    """Run the CLI; returns the completed process with text output."""
    return subprocess.run([program("varve"), *map(str, args)], capture_output=True, text=True,
                          timeout=kwargs.pop("timeout", 120), check=False, **kwargs)


class TempDir:
    """A directory that goes when the test passes and stays, named, when it fails."""

    def __enter__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="varve-test-"))
        return self.path

    def __exit__(self, kind, value, trace):
        if kind is None:
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            print(f"kept for a look: {self.path}", file=sys.stderr)


class Messages:
    """The protos compiled for Python into a directory of their own, imported by package path."""

    FILES = ["storage/common.proto", "storage/ingestion.proto", "storage/query.proto",
             "varve/v1/kv.proto", "varve/v1/txn.proto", "varve/v1/admin.proto",
             "varve/v1/series.proto", "varve/v1/stream.proto",
             "grpc/health/v1/health.proto", "grpc/reflection/v1/reflection.proto"]

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="varve-pb-")
        subprocess.run(["protoc", f"-I{ROOT / 'proto'}", "-I/usr/include",
                        f"--python_out={self.dir}", *self.FILES], check=True)
        sys.path.insert(0, self.dir)
        # "grpc/..." would hide the grpc package: load those two by file.
        os.rename(f"{self.dir}/grpc", f"{self.dir}/grpc_published")
        self.common = importlib.import_module("storage.common_pb2")
        self.ingestion = importlib.import_module("storage.ingestion_pb2")
        self.query = importlib.import_module("storage.query_pb2")
        self.kv = importlib.import_module("varve.v1.kv_pb2")
        self.txn = importlib.import_module("varve.v1.txn_pb2")
        self.stream = importlib.import_module("varve.v1.stream_pb2")
        self.admin = importlib.import_module("varve.v1.admin_pb2")
        self.health = importlib.import_module("grpc_published.health.v1.health_pb2")
        self.reflection = importlib.import_module("grpc_published.reflection.v1.reflection_pb2")
        shutil.rmtree(self.dir, ignore_errors=True)


def method(channel, kind, path, reply_type):
    """A multicallable for "/pkg.Service/Method"; kind is unary_unary, stream_stream, ..."""
    return getattr(channel, kind)(path, request_serializer=lambda m: m.SerializeToString(),
                                  response_deserializer=reply_type.FromString)


def wait_until(condition, seconds, what):
    """Poll until condition() is true; a generous bound, never a measurement."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")
