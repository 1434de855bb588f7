#!/usr/bin/python3
"""Real file systems cut in the middle of writing: ext4 and XFS on loop images, and their shutdown
ioctl, which drops what is not on the image as a power cut does.

Law: everything that was acknowledged with `sync` is there, a batch is wholly there or wholly gone,
and the check of the store finds no damage; also when the file system is cut again during recovery.
The control writes with `os` instead and must lose something, or the cut would be none.

    fscut_test.py STORE ENGINE...    STORE is the program fscut_store

VV_FSCUT_ROUNDS (72) is shared by file systems and engines, and the I/O backends take turns (where a
kernel refuses io_uring, its turns run on threads); VV_SEED draws other moments. The process is killed
before the file system is cut: below a live process a sync could be answered after the cut.

Needs root, loop devices and the ioctl; exits with 77 (skipped) and says why where one is missing.
Everything is mounted in a mount namespace of its own with loop devices that clear themselves, so
that nothing stays behind however the test ends.
"""
import contextlib
import errno
import fcntl
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROUNDS = int(os.environ.get("VV_FSCUT_ROUNDS", "72"))
SEED = int(os.environ.get("VV_SEED", "1"), 0)
SHUTDOWN = 0x8004587d  # FS_IOC_GOINGDOWN of ext4, XFS_IOC_GOINGDOWN: _IOR('X', 125, u32)
LOG_FLUSH, NO_LOG_FLUSH = 1, 2
SKIP = 77
BACKENDS = ("posix", "threads", "io_uring")
IMAGES = {"ext4": (96, ["mkfs.ext4", "-q", "-F"]), "xfs": (320, ["mkfs.xfs", "-q", "-f"])}


class Skip(Exception):
    """This machine cannot run it; the sentence says why."""


def run(*args):
    return subprocess.run(list(map(str, args)), capture_output=True, text=True, timeout=300,
                          check=False)


class FileSystem:
    """One image, mounted; cut() leaves it as a power cut would."""

    def __init__(self, kind, folder):
        self.kind = kind
        self.image = folder / f"{kind}.img"
        self.path = folder / kind
        self.path.mkdir()
        self.mounted = False

    def make(self):
        size, command = IMAGES[self.kind]
        if shutil.which(command[0]) is None:
            raise Skip(f"{command[0]} is not installed")
        with open(self.image, "wb") as f:
            f.truncate(size << 20)
        done = run(*command, self.image)
        if done.returncode != 0:
            raise Skip(f"{command[0]}: {done.stderr.strip()}")
        self.mount(first=True)

    def mount(self, first=False):
        done = run("mount", "-t", self.kind, "-o", "loop", self.image, self.path)
        if done.returncode != 0:
            kind = Skip if first else AssertionError
            raise kind(f"mount {self.kind}: {done.stderr.strip()}")
        self.mounted = True

    def unmount(self):
        """The kernel lets go of the files of a killed process's io_uring a little after the process
        is gone: until then the file system is busy."""
        if not self.mounted:
            return
        end = time.monotonic() + 60
        while (done := run("umount", self.path)).returncode != 0 and time.monotonic() < end:
            time.sleep(0.01)
        self.mounted = False
        if done.returncode != 0:
            run("umount", "-l", self.path)
            raise AssertionError(f"umount: {done.stderr.strip()}")

    def cut(self, how=NO_LOG_FLUSH):
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, how.to_bytes(4, sys.byteorder))
        except OSError as e:
            if e.errno in (errno.EPERM, errno.ENOTTY, errno.EOPNOTSUPP):
                raise Skip(f"the shutdown ioctl of {self.kind}: {e.strerror}") from e
            raise
        finally:
            os.close(fd)
        self.unmount()
        self.mount()

    @contextlib.contextmanager
    def in_use(self):
        try:
            self.make()
            yield self
        finally:
            self.unmount()
            self.image.unlink(missing_ok=True)


class Writer:
    """The program writing; `acked` is what it said was acknowledged, by thread."""

    def __init__(self, store, folder, engine, durability, before, backend=BACKENDS[0]):
        self.acked = list(before)
        self.lines = 0
        self.process = subprocess.Popen([store, "write", folder, engine, durability],
                                        env={**os.environ, "VV_IO": backend},
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            if line.endswith("\n"):
                thread, number = map(int, line.split())
                self.acked[thread] = number
                self.lines += 1

    def run_until(self, count, seconds):
        """So many acknowledgements, and then a while; then SIGKILL."""
        end = time.monotonic() + 120
        try:
            while self.lines < count and self.process.poll() is None and time.monotonic() < end:
                time.sleep(0.002)
            time.sleep(seconds)
            code = self.process.poll()
        finally:
            self.process.kill()
            self.process.wait()
            self.thread.join()
        said = self.process.stderr.read()
        self.process.stdout.close()
        self.process.stderr.close()
        assert code is None, f"the writer ended by itself with {code}: {said}"
        assert self.lines >= count, f"{self.lines} of {count} acknowledgements in two minutes"


def verify(store, folder, engine, acked):
    """(right?, what it said, the last batch that is there by thread)."""
    done = run(store, "verify", folder, engine, *acked)
    text = done.stdout + done.stderr
    last = [int(line.split()[2]) for line in done.stdout.splitlines() if line.startswith("last ")]
    return done.returncode == 0, text, last


def cut_in_recovery(fs, store, folder, engine, rng):
    recovery = subprocess.Popen([store, "verify", folder, engine, "0", "0"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(rng.uniform(0, 0.05))
    recovery.kill()
    recovery.wait()
    fs.cut()


def cut_rounds(fs, store, engine, rounds, seed):
    """Returns how many acknowledgements were held against what is there."""
    rng = random.Random(f"{seed} {fs.kind} {engine}")
    folder = fs.path / engine
    acked = [0, 0]
    total = 0
    for n in range(rounds):
        backend = BACKENDS[n % len(BACKENDS)]
        where = f"{fs.kind}, {engine}, {backend}, seed {seed}, round {n}"
        writer = Writer(store, folder, engine, "sync", acked, backend)
        # Every fourth at once: the cut falls into the opening.
        writer.run_until(0 if n % 4 == 3 else 4, rng.uniform(0.0, 0.25))
        fs.cut(LOG_FLUSH if rng.random() < 0.25 else NO_LOG_FLUSH)
        if n % 4 == 1:
            cut_in_recovery(fs, store, folder, engine, rng)
        right, text, last = verify(store, folder, engine, writer.acked)
        assert right, f"{where}: {text}"
        total += writer.lines
        acked = last
    return total


def control_loses(fs, store, engine):
    """Acknowledged with `os` is not on the disk: a cut that takes nothing of it is no cut."""
    for attempt in range(5):
        folder = fs.path / f"control-{attempt}"
        writer = Writer(store, folder, engine, "os", [0, 0])
        writer.run_until(100, 0.05)
        fs.cut()
        right, text, _ = verify(store, folder, engine, writer.acked)
        if not right:
            assert "was acknowledged" in text or "NOT_FOUND" in text, text
            return
    raise AssertionError(f"{fs.kind}: five cuts took nothing that was not synced")


def no_loop_device_stays(fs):
    end = time.monotonic() + 60
    while (name := run("losetup", "--noheadings", "--output", "NAME", "--associated",
                       fs.image).stdout.strip()) and time.monotonic() < end:
        time.sleep(0.01)
    assert name == "", f"a loop device stays: {name}"


def test_kind(kind, folder, store, engines, rounds):
    fs = FileSystem(kind, folder)
    with fs.in_use():
        control_loses(fs, store, engines[0])
    for engine in engines:
        with fs.in_use():
            start = time.monotonic()
            total = cut_rounds(fs, store, engine, rounds, SEED)
            print(f"{kind}, {engine}: {rounds} cuts, {total} acknowledged batches, seed {SEED}, "
                  f"{time.monotonic() - start:.0f} s", flush=True)
        no_loop_device_stays(fs)


def inside(store, engines):
    """In the namespace. Returns the exit code."""
    rounds = max(1, ROUNDS // (len(IMAGES) * len(engines)))
    skipped = 0
    with tempfile.TemporaryDirectory(prefix="varve-fscut-") as folder:
        for kind in IMAGES:
            try:
                test_kind(kind, pathlib.Path(folder), store, engines, rounds)
            except Skip as e:
                print(f"SKIPPED {kind}: {e}", flush=True)
                skipped += 1
    return SKIP if skipped == len(IMAGES) else 0


def main():
    if sys.argv[1] == "--inside":
        return inside(sys.argv[2], sys.argv[3:])
    if os.geteuid() != 0:
        print("SKIPPED: mounting a loop image needs root")
        return SKIP
    probe = run("unshare", "--mount", "--propagation", "private", "true")
    if probe.returncode != 0 or not os.path.exists("/dev/loop-control"):
        print(f"SKIPPED: no mount namespace or no loop devices: {probe.stderr.strip()}")
        return SKIP
    return subprocess.run(["unshare", "--mount", "--propagation", "private", sys.executable,
                           __file__, "--inside", *sys.argv[1:]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
