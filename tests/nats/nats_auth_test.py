#!/usr/bin/env python3
"""Who may talk to whom: a real nats-server with TLS, and with each identity that it knows.

Law: with the right certificates and the right identity each message comes in, once, over a server
that is killed in mid-load; with a wrong one varved takes nothing in, stays ready, and says why
without a secret. The authority is made anew by openssl for each run. Needs nats-server and openssl.
"""
import base64
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nats_test import (MESSAGES, Nats, Node, check, publish, published,  # noqa: E402
                       run_cases, until)

SECRET = "pa55-of-the-broker"


def openssl(*args, data=None):
    done = subprocess.run(["openssl", *map(str, args)], input=data, capture_output=True, check=False)
    assert done.returncode == 0, f"openssl {args}: {done.stderr.decode()}"
    return done.stdout


class Authority:
    """A certificate authority and what it signs, as files of a directory."""

    def __init__(self, directory, name):
        self.directory = pathlib.Path(directory)
        self.name = name
        self.key(name)
        openssl("req", "-x509", "-new", "-key", self.path(name, "key"), "-subj", f"/CN={name}",
                "-days", "2", "-out", self.path(name, "pem"))

    def path(self, name, kind):
        return self.directory / f"{self.name}-{name}.{kind}"

    def key(self, name):
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out",
                self.path(name, "key"))

    @property
    def ca(self):
        return self.path(self.name, "pem")

    def sign(self, name, subject, days=2):
        """(certificate, key) of a program that is called so."""
        self.key(name)
        openssl("req", "-new", "-key", self.path(name, "key"), "-subj", f"/CN={name}", "-addext",
                f"subjectAltName={subject}", "-out", self.path(name, "csr"))
        openssl("x509", "-req", "-in", self.path(name, "csr"), "-CA", self.ca, "-CAkey",
                self.path(self.name, "key"), "-days", days, "-copy_extensions", "copy", "-out",
                self.path(name, "pem"))
        return self.path(name, "pem"), self.path(name, "key")


def tls_config(pair, ca=None):
    verify = f'ca_file: "{ca}"\n  verify: true\n' if ca else ""
    return f'tls {{\n  cert_file: "{pair[0]}"\n  key_file: "{pair[1]}"\n  {verify}}}\n'


def client_settings(ca, pair=None):
    settings = [f"nats.tls_ca={ca}"]
    if pair:
        settings += [f"nats.tls_cert={pair[0]}", f"nats.tls_key={pair[1]}"]
    return settings


def refused(work, url, settings, words, name):
    """It tries, takes nothing, says why, serves on, and tells nobody a secret."""
    node = Node(work + "/" + name, url, *settings)
    until(lambda: node.feed()["failures"] >= 2, f"{name}: it tries", node.feed)
    s, metrics = node.feed(), node.get("/metrics")
    assert s["state"] == "connecting" and s["messages"] == 0 and s["sessions"] == 0, (name, s)
    assert any(w in s["lastFailure"].lower() for w in words), (name, s["lastFailure"])
    assert node.get("/ready") == "ready\n" and node.metric("connected") == 0
    assert node.stop() == 0
    for text in (json.dumps(s), metrics, node.log_path.read_text()):
        assert SECRET not in text, (name, text)


def taken_in(work, nats, url, settings, env, rng, name="db", count=MESSAGES // 10):
    """All of it once, over a server that is killed."""
    node = Node(work + "/" + name, url, *settings)
    until(lambda: node.metric("connected") == 1, f"{name}: it connects, and makes the stream",
          node.feed)
    load = publish(url, 1, count, env=env)
    time.sleep(rng.uniform(0.05, 0.3))
    nats.kill()
    nats.start()
    published(load)
    until(lambda: node.feed()["sequence"] >= count, f"{name}: all of it", node.feed)
    assert node.stop() == 0
    assert SECRET not in node.log_path.read_text()
    check(work + "/" + name, count)


def case_mutual_tls(work, rng):
    """Both sides show a certificate of the one authority."""
    ours = Authority(work, "ours")
    server = ours.sign("server", "DNS:localhost,IP:127.0.0.1")
    client = ours.sign("varve", "DNS:varve")
    nats = Nats(work + "/js", tls_config(server, ours.ca))
    env = {"NATS_CA": str(ours.ca), "NATS_CERT": str(client[0]), "NATS_KEY": str(client[1])}
    for name, host in (("by_name", "localhost"), ("by_address", "127.0.0.1")):
        taken_in(work, nats, f"tls://{host}:{nats.port}", client_settings(ours.ca, client), env, rng,
                 name)
    nats.close()


def case_tls_refused(work, rng):
    """Each certificate that is not right, on either side."""
    del rng
    ours, other = Authority(work, "ours"), Authority(work, "other")
    right = ours.sign("server", "DNS:localhost")
    client = ours.sign("varve", "DNS:varve")
    certificate = ("certificate", "tls", "ssl", "handshake")
    servers = {"mutual": Nats(work + "/js-mutual", tls_config(right, ours.ca)),
               "expired": Nats(work + "/js-expired", tls_config(ours.sign("old", "DNS:localhost", -1))),
               "named": Nats(work + "/js-named", tls_config(ours.sign("far", "DNS:far.example"))),
               "plain": Nats(work + "/js-plain")}

    def url(name, scheme="tls", host="localhost"):
        return f"{scheme}://{host}:{servers[name].port}"

    for name, where, settings, words in (
            ("wrong_authority", url("mutual"), client_settings(other.ca, client), certificate),
            ("system_authorities", url("mutual"), [], certificate),
            ("no_certificate", url("mutual"), client_settings(ours.ca), ("nats.tls_cert",)),
            ("certificate_of_others", url("mutual"),
             client_settings(ours.ca, other.sign("varve", "DNS:varve")), ("nats.tls_cert",)),
            ("expired", url("expired"), client_settings(ours.ca), certificate),
            ("another_name", url("named"), client_settings(ours.ca), certificate),
            ("address_for_a_name", url("mutual", host="127.0.0.1"),
             client_settings(ours.ca, client), certificate),
            ("plain_to_tls", url("mutual", "nats"), [], ("secure", *certificate)),
            ("tls_to_plain", url("plain"), client_settings(ours.ca), ("secure", *certificate)),
            ("authority_to_plain", url("plain", "nats"), client_settings(ours.ca),
             ("secure", *certificate))):
        refused(work, where, settings, words, name)
    for server in servers.values():
        server.close()


def case_renewed(work, rng):
    """Files of certificates that are replaced count from the next session on, without a restart."""
    del rng
    ours, other = Authority(work, "ours"), Authority(work, "other")
    nats = Nats(work + "/js", tls_config(ours.sign("server", "DNS:localhost"), ours.ca))
    files = [pathlib.Path(work) / name for name in ("ca.pem", "cert.pem", "key.pem")]

    def place(ca, pair):
        for file, source in zip(files, (ca, *pair)):
            shutil.copy(source, file)

    right, wrong = ours.sign("varve", "DNS:varve"), other.sign("varve", "DNS:varve")
    place(ours.ca, wrong)
    node = Node(work + "/db", f"tls://localhost:{nats.port}", *client_settings(files[0], files[1:]))
    until(lambda: node.feed()["failures"] >= 1, "it is refused", node.feed)
    place(ours.ca, right)
    until(lambda: node.metric("connected") == 1, "it is renewed", node.feed)
    place(other.ca, right)
    nats.kill()
    nats.start()
    until(lambda: node.metric("connected") == 0 and
          "certificate" in node.feed()["lastFailure"], "another authority", node.feed)
    files[0].write_text("no certificate\n")
    until(lambda: "nats.tls" in node.feed()["lastFailure"], "what is none is said", node.feed)
    place(ours.ca, right)
    until(lambda: node.metric("connected") == 1, "it is renewed again", node.feed)
    assert node.stop() == 0
    nats.close()


# ---- identities ----

KINDS = {"operator": 14, "account": 0, "user": 20}
SEED_PREFIX = 18
PKCS8 = bytes.fromhex("302e020100300506032b657004220420")  # what stands before a raw ed25519 key


def crc16(data):
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def base32(data):
    return base64.b32encode(data + crc16(data).to_bytes(2, "little")).rstrip(b"=").decode()


class Nkey:
    """A key pair as NATS writes them."""

    def __init__(self, work, kind):
        raw = os.urandom(32)
        prefix = KINDS[kind] << 3
        self.pem = pathlib.Path(work) / f"{kind}-{raw[:4].hex()}.pem"
        self.pem.write_bytes(openssl("pkey", "-inform", "DER", data=PKCS8 + raw))
        public = openssl("pkey", "-in", self.pem, "-pubout", "-outform", "DER")[-32:]
        self.public = base32(bytes([prefix]) + public)
        self.seed = base32(bytes([SEED_PREFIX << 3 | prefix >> 5, (prefix & 31) << 3]) + raw)

    def sign(self, text):
        message = self.pem.with_suffix(".msg")
        message.write_bytes(text)
        return openssl("pkeyutl", "-sign", "-inkey", self.pem, "-rawin", "-in", message)

    def token(self, subject, name, claims):
        """A JWT about another key, signed by this one."""
        def part(value):
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            return base64.urlsafe_b64encode(data).rstrip(b"=")
        text = part({"typ": "JWT", "alg": "ed25519-nkey"}) + b"." + part(
            {"jti": subject, "iat": 1700000000, "iss": self.public, "sub": subject, "name": name,
             "nats": {"version": 2, **claims}})
        return (text + b"." + part(self.sign(text))).decode()


def credentials(path, token, seed):
    path.write_text(f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
                    f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n")
    return path


def case_password_and_token(work, rng):
    """In the url, as libnats takes them."""
    for name, config, right, wrong in (
            ("password", f'authorization {{ user: varve, password: "{SECRET}" }}\n',
             f"varve:{SECRET}@", f"varve:{SECRET}-not@"),
            ("token", f'authorization {{ token: "{SECRET}" }}\n', f"{SECRET}@", f"{SECRET}-not@")):
        nats = Nats(f"{work}/{name}-js", config)
        url = f"nats://%s127.0.0.1:{nats.port}"
        refused(work, url % wrong, [], ("authorization",), name + "_wrong")
        refused(work, url % "", [], ("authorization",), name + "_missing")
        taken_in(work, nats, url % right, [], {}, rng, name, 4000)
        nats.close()


def case_nkey(work, rng):
    """A public key that the server knows, and the seed in a file. The publisher has a password."""
    user, stranger = Nkey(work, "user"), Nkey(work, "user")
    nats = Nats(work + "/js", 'authorization { users = [ { nkey: "%s" }, { user: p, password: "%s" } ] }'
                % (user.public, SECRET))
    seeds = {}
    for name, key in (("right", user), ("wrong", stranger)):
        seeds[name] = pathlib.Path(work) / f"{name}.nk"
        seeds[name].write_text(key.seed + "\n")
    for name, key, seed in (("stranger", stranger, "wrong"), ("wrong_seed", user, "wrong")):
        refused(work, nats.url, [f"nats.nkey={key.public}", f"nats.nkey_seed={seeds[seed]}"],
                ("authorization",), name)
    settings = [f"nats.nkey={user.public}", f"nats.nkey_seed={seeds['right']}"]
    node = Node(work + "/db", nats.url, *settings)
    until(lambda: node.metric("connected") == 1, "it connects", node.feed)
    published(publish(f"nats://p:{SECRET}@127.0.0.1:{nats.port}", 1, 4000))
    until(lambda: node.feed()["sequence"] == 4000, "all of it", node.feed)
    assert node.stop() == 0
    assert user.seed not in node.log_path.read_text()
    check(work + "/db", 4000)
    nats.close()


def case_credentials(work, rng):
    """A server that knows one operator, an account, a user's JWT with its seed; over TLS."""
    operator, account, system, user = (Nkey(work, kind) for kind in
                                       ("operator", "account", "account", "user"))
    free = {"subs": -1, "data": -1, "payload": -1}
    limits = {**free, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1}
    stored = {**limits, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
    jwt = pathlib.Path(work) / "operator.jwt"
    jwt.write_text(operator.token(operator.public, "operator", {"type": "operator"}))
    of_account = operator.token(account.public, "plant", {"type": "account", "limits": stored})
    of_system = operator.token(system.public, "system", {"type": "account", "limits": limits})
    ours = Authority(work, "ours")
    server = ours.sign("server", "DNS:localhost")
    nats = Nats(work + "/js", f'operator: "{jwt}"\nsystem_account: {system.public}\n'
                f'resolver: MEMORY\nresolver_preload: {{\n  {account.public}: "{of_account}"\n'
                f'  {system.public}: "{of_system}"\n}}\n' + tls_config(server))
    url = f"tls://localhost:{nats.port}"
    right = credentials(pathlib.Path(work) / "right.creds", account.token(
        user.public, "varve", {"type": "user", **free}), user.seed)
    stranger = Nkey(work, "account")
    wrong = credentials(pathlib.Path(work) / "wrong.creds", stranger.token(
        user.public, "varve", {"type": "user", **free}), user.seed)
    settings = client_settings(ours.ca)
    refused(work, url, [*settings, f"nats.credentials={wrong}"], ("authorization",), "stranger")
    refused(work, url, settings, ("authorization",), "nobody")
    taken_in(work, nats, url, [*settings, f"nats.credentials={right}"],
             {"NATS_CA": str(ours.ca), "NATS_CREDS": str(right)}, rng)
    nats.close()


def main():
    if shutil.which("openssl") is None:
        print("nats_auth_test: SKIPPED: there is no openssl (apt-get install openssl)")
        return 77
    return run_cases([case_mutual_tls, case_tls_refused, case_renewed, case_password_and_token,
                      case_nkey, case_credentials], "nats_auth_test")


if __name__ == "__main__":
    sys.exit(main())
