"""Clients of others, which read what we stored: s3cmd, rclone; and one signed request of our own."""
import datetime
import hashlib
import hmac
import http.client
import pathlib
import shutil
import subprocess
import time

import peers
import scripted
from tool import CLEAN


def make_bucket(peer, bucket):
    """One signed PUT, by the other signer of this folder."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    host = f"127.0.0.1:{peer.port}"
    empty = hashlib.sha256(b"").hexdigest()
    headers = {"host": host, "x-amz-content-sha256": empty, "x-amz-date": now}
    canonical = "\n".join(["PUT", f"/{bucket}", ""] + [f"{k}:{v}" for k, v in headers.items()] +
                          ["", ";".join(headers), empty])
    scope = f"{now[:8]}/us-east-1/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope,
                      hashlib.sha256(canonical.encode()).hexdigest()])
    key = scripted.sign_key(peers.SECRET, now[:8], "us-east-1", "s3")
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={peer.access}/{scope},"
                                f"SignedHeaders={';'.join(list(headers))},Signature={signature}")
    for _ in range(20):
        c = http.client.HTTPConnection(host, timeout=30)
        c.request("PUT", f"/{bucket}", headers=headers)
        status = c.getresponse().status
        c.close()
        if status == 200:
            return
        time.sleep(0.5)
    raise RuntimeError(f"no bucket could be made: {status}")


class S3cmd:
    name = "s3cmd"

    def __init__(self, peer, bucket, directory):
        self.bucket = bucket
        self.dir = pathlib.Path(directory)
        self.conf = self.dir / "s3cfg"
        host = peer.endpoint.removeprefix("http://")
        self.conf.write_text(f"[default]\naccess_key = {peer.access}\nsecret_key = {peers.SECRET}\n"
                             f"host_base = {host}\nhost_bucket = {host}\nuse_https = False\n")

    def run(self, *words):
        subprocess.run(["s3cmd", "-c", self.conf, "--no-progress", "--force", *words], check=True,
                       capture_output=True, env=CLEAN)

    def read(self, name):
        self.run("get", f"s3://{self.bucket}/{name}", self.dir / "back")
        return (self.dir / "back").read_bytes()

    def fetch(self, prefix, into):
        """Every object whose name begins with the prefix and a slash, as files."""
        into.mkdir()
        self.run("get", "--recursive", f"s3://{self.bucket}/{prefix}/", f"{into}/")


class Rclone:
    name = "rclone"

    def __init__(self, peer, bucket, directory):
        self.bucket = bucket
        self.conf = pathlib.Path(directory) / "rclone.conf"
        self.conf.write_text(f"[peer]\ntype = s3\nprovider = Other\nforce_path_style = true\n"
                             f"access_key_id = {peer.access}\nsecret_access_key = {peers.SECRET}\n"
                             f"endpoint = {peer.endpoint}\nregion = us-east-1\n")

    def run(self, *words):
        return subprocess.run(["rclone", "--config", self.conf, *words], check=True,
                              capture_output=True, env=CLEAN).stdout

    def read(self, name):
        return self.run("cat", f"peer:{self.bucket}/{name}")

    def write(self, path, name):
        self.run("copyto", path, f"peer:{self.bucket}/{name}")

    def fetch(self, prefix, into):
        self.run("copy", f"peer:{self.bucket}/{prefix}", into)


def installed(*kinds):
    return [k for k in kinds if shutil.which(k.name)]
