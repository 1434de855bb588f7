"""Real object stores on loopback: Ceph's radosgw over a monitor and an OSD in memory, Swift's s3api.

Each peer starts in a directory of its own, listens on 127.0.0.1 alone, and is stopped by the ids of
its processes. What is not installed raises Missing: the tests say so and are skipped.
"""
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import time

ACCESS = "varvetestkey"  # of radosgw; Swift's is test:tester
SECRET = "varve/test+secret=0123456789"


class Missing(Exception):
    """This machine lacks what the peer needs."""


def free_port():
    """One that no outgoing connection gets meanwhile: below the kernel's range for those."""
    while True:
        port = random.randrange(10000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def wait_for_port(port, process, seconds, what, log):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"{what} ended with {process.returncode}: {tail(log)}")
        with socket.socket() as s:
            s.settimeout(0.5)
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"{what} does not listen on {port}: {tail(log)}")


def tail(path, size=2000):
    """The last characters; what comes behind the first ones where size is negative."""
    try:
        return pathlib.Path(path).read_text(errors="replace")[-size:]
    except OSError:
        return ""


def need(*programs):
    for p in programs:
        if shutil.which(p) is None:
            raise Missing(f"{p} is not installed")


class Processes:
    """What a peer started: stopped in reverse order, those that hang by force."""

    def __init__(self, directory):
        self.dir = pathlib.Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.running = []

    def start(self, name, *command, env=None):
        log = open(self.dir / f"{name}.out", "ab")
        p = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                             env=env, cwd=self.dir)
        log.close()
        self.running.append(p)
        return p

    def run(self, *command, env=None, check=True, timeout=60):
        r = subprocess.run(command, capture_output=True, text=True, env=env, cwd=self.dir,
                           timeout=timeout, check=False)
        if check and r.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, command))}: {r.stdout} {r.stderr}")
        return r

    def stop_one(self, p, seconds=3):
        if p in self.running:
            self.running.remove(p)
        p.terminate()
        try:
            p.wait(seconds)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()

    def stop(self):
        while self.running:
            self.stop_one(self.running[-1])


class Store(Processes):
    """Processes of which one, the gateway, is who answers: it may be frozen, killed, started."""

    gateway = None

    def freeze_gateway(self):
        """It takes connections and bytes, as long as the kernel has room, and does nothing with them."""
        self.gateway.send_signal(signal.SIGSTOP)

    def print_logs(self):
        for log in sorted(self.dir.glob("*.out")) + sorted(self.dir.glob("*.log")):
            print(f"---- {log.name}\n{tail(log, 1500)}")

    def thaw_gateway(self):
        self.gateway.send_signal(signal.SIGCONT)

    def kill_gateway(self):
        self.gateway.kill()
        self.gateway.wait()
        self.running.remove(self.gateway)


class Ceph(Store):
    """One monitor, one OSD in memory, radosgw. Strict with signatures; knows If-None-Match."""

    name, access, conditional = "Ceph radosgw", ACCESS, True

    def __init__(self, directory):
        need("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph")
        super().__init__(directory)
        self.mon_port = free_port()
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.conf = self.dir / "ceph.conf"

    def start_all(self):
        d = self.dir
        for sub in ("mon", "osd", "run"):
            (d / sub).mkdir(exist_ok=True)
        (d / "keyring").write_text("")
        fsid = "5a3c6b4e-0d4f-4c1e-9a56-7e1f10b3c001"
        self.conf.write_text(f"""[global]
fsid = {fsid}
mon host = v1:127.0.0.1:{self.mon_port}
mon initial members = a
auth cluster required = none
auth service required = none
auth client required = none
auth supported = none
keyring = {d}/keyring
run dir = {d}/run
admin socket = {d}/run/$name.asok
pid file = {d}/run/$name.pid
log file = {d}/$name.log
ms bind ipv4 = true
ms bind msgr2 = false
public addr = 127.0.0.1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon pg warn min per osd = 0
mon warn on pool no redundancy = false
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 2147483648
mon data avail crit = 1
mon data avail warn = 1
[mon.a]
mon data = {d}/mon
[osd.0]
osd data = {d}/osd
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{self.port} tcp_nodelay=1
rgw dns name = localhost
rgw thread pool size = 32
debug rgw = 1
""")
        base = ["-c", str(self.conf)]
        self.run("ceph-mon", *base, "--mkfs", "-i", "a", "--public-addr",
                 f"v1:127.0.0.1:{self.mon_port}")
        mon = self.start("mon", "ceph-mon", *base, "-f", "-i", "a", "--public-addr",
                         f"v1:127.0.0.1:{self.mon_port}")
        wait_for_port(self.mon_port, mon, 30, "ceph-mon", d / "mon.out")
        osd = "5a3c6b4e-0d4f-4c1e-9a56-7e1f10b3c002"  # without one the two sides disagree at times
        self.run("ceph", *base, "osd", "create", osd, "0")
        self.run("ceph-osd", *base, "-i", "0", "--mkfs", "--osd-uuid", osd)
        self.start_osd(*base)
        self.start_gateway()
        self.run("radosgw-admin", *base, "-n", "client.rgw", "user", "create", "--uid=varve",
                 "--display-name=varve", f"--access-key={ACCESS}", f"--secret={SECRET}",
                 timeout=90)

    def start_osd(self, *base):
        """It ends when it asks the monitor for its class before it has the monitor's map ("wrong fsid"),
        which is a matter of luck: then it begins once more."""
        log = self.dir / "osd.0.log"
        for _ in range(5):
            osd = self.start("osd", "ceph-osd", *base, "-f", "-i", "0")
            begin = log.stat().st_size if log.exists() else 0
            for _ in range(600):
                if osd.poll() is not None or "done with init" in tail(log, -begin):
                    break
                time.sleep(0.05)
            if osd.poll() is None:
                return
            self.running.remove(osd)
        raise RuntimeError(f"ceph-osd does not begin: {tail(log)}")

    def start_gateway(self):
        self.gateway = self.start("rgw", "radosgw", "-c", str(self.conf), "-f", "-n", "client.rgw")
        wait_for_port(self.port, self.gateway, 60, "radosgw", self.dir / "rgw.out")

    def stop(self):
        # The gateway first, then the OSD: it hangs when the monitor went before.
        while self.running:
            self.stop_one(self.running[-1], 2)


class Swift(Store):
    """OpenStack Swift with its s3api: a second implementation, without conditional put."""

    name, access, conditional = "Swift s3api", "test:tester", False

    def __init__(self, directory):
        need("swift-proxy-server", "swift-account-server", "swift-container-server",
             "swift-object-server", "swift-ring-builder", "memcached")
        super().__init__(directory)
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def start_all(self):
        d = self.dir
        (d / "srv" / "sda1").mkdir(parents=True, exist_ok=True)
        ports = {k: free_port() for k in ("account", "container", "object", "memcache")}
        # Swift's programs find swift.conf by this name alone, beneath the directory of SWIFT_*.
        common = f"bind_ip = 127.0.0.1\nuser = root\nswift_dir = {d}\nlog_level = ERROR\nworkers = 0\n"
        (d / "swift.conf").write_text("[swift-hash]\nswift_hash_path_prefix = varve\n"
                                      "swift_hash_path_suffix = test\n"
                                      "[storage-policy:0]\nname = one\ndefault = yes\n")
        for kind in ("account", "container", "object"):
            (d / f"{kind}.conf").write_text(
                f"[DEFAULT]\n{common}bind_port = {ports[kind]}\ndevices = {d}/srv\n"
                f"mount_check = false\ndisable_fallocate = true\n"
                f"[pipeline:main]\npipeline = {kind}-server\n"
                f"[app:{kind}-server]\nuse = egg:swift#{kind}\n")
            ring = d / f"{kind}.builder"
            self.run("swift-ring-builder", str(ring), "create", "4", "1", "0")
            self.run("swift-ring-builder", str(ring), "add",
                     f"r1z1-127.0.0.1:{ports[kind]}/sda1", "1")
            self.run("swift-ring-builder", str(ring), "rebalance")
        (d / "proxy.conf").write_text(f"""[DEFAULT]
{common}bind_port = {self.port}
[pipeline:main]
pipeline = catch_errors cache s3api tempauth bulk slo dlo symlink versioned_writes proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{ports['memcache']}
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {SECRET} .admin
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:symlink]
use = egg:swift#symlink
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
""")
        self.start("memcached", "memcached", "-l", "127.0.0.1", "-p", str(ports["memcache"]),
                   "-u", "nobody" if os.getuid() == 0 else str(os.getuid()))
        for kind in ("account", "container", "object"):
            p = self.start(kind, f"swift-{kind}-server", str(d / f"{kind}.conf"), "-v")
            wait_for_port(ports[kind], p, 30, f"swift-{kind}-server", d / f"{kind}.out")
        self.start_gateway()

    def start_gateway(self):
        self.gateway = self.start("proxy", "swift-proxy-server", str(self.dir / "proxy.conf"), "-v")
        wait_for_port(self.port, self.gateway, 30, "swift-proxy-server", self.dir / "proxy.out")


KINDS = {"ceph": Ceph, "swift": Swift}
