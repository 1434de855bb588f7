"""A server of Google Cloud Storage's JSON interface for tests: tokens, objects, resumable uploads.

It checks the service account's signature with OpenSSL, gives tokens that run out when told, and does
what a script says, as scripted.py does for S3.
"""
import base64
import functools
import json
import re
import subprocess
import tempfile
import time
import urllib.parse

import scripted


@functools.lru_cache(maxsize=64)  # a walk sends the same bytes again and again
def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ (crc >> 8)
    return base64.b64encode((crc ^ 0xffffffff).to_bytes(4, "big")).decode()


def make_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = (n >> 1) ^ 0x82f63b78 if n & 1 else n >> 1
        table.append(n)
    return table


TABLE = make_table()


class GcsServer(scripted.Server):
    def __init__(self, public_key, bucket="bkt"):
        self.public_key = public_key
        self.bucket = bucket
        self.email = "varve@test.iam"
        self.tokens = set()
        self.token_life = 3600
        self.tokens_given = 0
        self.objects = {}
        self.uploads = {}
        self.generation = 1000
        self.take_at_most = None
        super().__init__(GcsHandler)

    def account(self, private_key):
        return {"type": "service_account", "client_email": self.email, "private_key_id": "kid7",
                "private_key": private_key, "token_uri": self.endpoint + "/token"}


class GcsHandler(scripted.Handler):
    id_header = "X-GUploader-UploadID"

    def place(self, r):
        r.gcs_op = self.op_of(r)
        type(r).op = property(lambda self: self.gcs_op)
        r.bucket = self.server.bucket

    def op_of(self, r):
        raw, q = r.raw_path, r.query
        base = "/storage/v1/b/bkt/o"
        if raw == "/token":
            return "token"
        if raw.startswith("/session/"):
            r.key = raw[len("/session/"):]
            return "drop" if r.method == "DELETE" else "chunk"
        if raw == "/upload" + base:
            return "begin" if q.get("uploadType") == "resumable" else "put"
        if raw == base:
            return "list"
        if raw.startswith(base + "/") and "/" not in raw[len(base) + 1:]:
            r.key = urllib.parse.unquote(raw[len(base) + 1:])
            if r.method == "DELETE":
                return "remove"
            return "get" if q.get("alt") == "media" else "head"
        return "nowhere"

    def error(self, status, code, message="said by the script", headers=None):
        body = json.dumps({"error": {"code": status, "message": message,
                                     "errors": [{"reason": code, "domain": "global"}]}}).encode()
        self.answer(status, body, headers)

    def serve(self, r):
        if r.op not in ("token", "chunk", "drop", "nowhere"):
            bearer = r.headers.get("authorization", "").removeprefix("Bearer ")
            if bearer not in self.server.tokens:
                return self.error(401, "authError", "Invalid Credentials")
        with self.server.lock:
            out = getattr(self, "op_" + r.op)(r)
        if len(out) == 2:
            return self.error(*out)
        if len(out) == 4:
            return self.error(out[0], out[1], out[2])
        self.answer(*out)

    def op_nowhere(self, r):
        if r.path.startswith(("/storage/v1/b/", "/upload/storage/v1/b/")):
            return 404, "notFound", "The specified bucket does not exist.", {}
        return 404, "notFound"

    def op_token(self, r):
        form = dict(urllib.parse.parse_qsl(r.body.decode()))
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        head, claims, signature = form["assertion"].split(".")

        def decode(text):
            return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        with tempfile.NamedTemporaryFile() as sig:
            sig.write(decode(signature))
            sig.flush()
            good = subprocess.run(["openssl", "dgst", "-sha256", "-verify", self.server.public_key,
                                   "-signature", sig.name], input=f"{head}.{claims}".encode(),
                                  capture_output=True, check=False).returncode == 0
        h, c = json.loads(decode(head)), json.loads(decode(claims))
        good = (good and h["alg"] == "RS256" and c["iss"] == self.server.email and
                c["aud"] == self.server.endpoint + "/token" and c["exp"] - c["iat"] == 3600 and
                abs(c["iat"] - time.time()) < 300 and "devstorage" in c["scope"])
        if not good:
            return 400, b'{"error": "invalid_grant", "error_description": "no"}', {}
        self.server.tokens_given += 1
        token = f"ya29.{self.server.tokens_given}"
        self.server.tokens.add(token)
        return 200, json.dumps({"access_token": token, "token_type": "Bearer",
                                "expires_in": self.server.token_life}).encode(), {}

    def resource(self, name):
        data, generation, crc = self.server.objects[name]
        return {"kind": "storage#object", "name": name, "size": str(len(data)),
                "generation": str(generation), "etag": f"E{generation}", "crc32c": crc,
                "updated": "2024-05-06T07:08:09.123Z", "metadata": {"name": "another", "size": "1"}}

    def keep(self, name, data):
        self.server.generation += 1
        self.server.objects[name] = (data, self.server.generation, crc32c(data))
        return 200, json.dumps(self.resource(name)).encode(), {}

    def taken(self, r, name):
        return r.query.get("ifGenerationMatch") == "0" and name in self.server.objects

    def op_put(self, r):
        boundary = re.search(r"boundary=(\S+)", r.headers["content-type"])[1].encode()
        body = r.body
        assert body.startswith(b"--" + boundary + b"\r\n")
        assert body.endswith(b"\r\n--" + boundary + b"--\r\n")
        first, _, rest = body[len(boundary) + 4:].partition(b"\r\n--" + boundary + b"\r\n")
        meta = json.loads(first.partition(b"\r\n\r\n")[2])
        data = rest.partition(b"\r\n\r\n")[2][:-(len(boundary) + 8)]
        if self.taken(r, meta["name"]):
            return 412, "conditionNotMet"
        if meta["crc32c"] != crc32c(data):
            return 400, "invalid"
        return self.keep(meta["name"], data)

    def op_head(self, r):
        if r.key not in self.server.objects:
            return 404, "notFound"
        return 200, json.dumps(self.resource(r.key)).encode(), {}

    def op_get(self, r):
        if r.key not in self.server.objects:
            return 404, "notFound"
        data, generation, crc = self.server.objects[r.key]
        headers = {"ETag": f"E{generation}", "X-Goog-Generation": str(generation),
                   "X-Goog-Hash": f"crc32c={crc},md5=xyz=="}
        m = re.fullmatch(r"bytes=(\d+)-(\d+)", r.headers.get("range", ""))
        if not m:
            return 200, data, headers
        first, last = int(m[1]), min(int(m[2]), len(data) - 1)
        if first >= len(data):
            return 416, b"", {}
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return 206, data[first:last + 1], headers

    def op_remove(self, r):
        if self.server.objects.pop(r.key, None) is None:
            return 404, "notFound"
        return 204, b"", {}

    def op_list(self, r):
        q = r.query
        names = sorted(n for n in self.server.objects if n.startswith(q.get("prefix", ""))
                       and n >= q.get("startOffset", ""))
        most = int(q["maxResults"])
        out = {"items": [self.resource(n) for n in names[:most]]}
        if len(names) > most:
            out["nextPageToken"] = "more"
        if not out["items"]:
            del out["items"]
        return 200, json.dumps(out).encode(), {}

    def op_begin(self, r):
        if self.taken(r, r.query["name"]):
            return 412, "conditionNotMet"
        session = f"s{len(self.server.uploads)}"
        self.server.uploads[session] = [bytearray(), r, False]
        return 200, b"", {"Location": f"{self.server.endpoint}/session/{session}?upload_id=a+b"}

    def op_chunk(self, r):
        upload = self.server.uploads.get(r.key)
        if upload is None:
            return 404, "notFound"
        have, begun, done = upload
        name = begun.query["name"]
        if done:
            return 200, json.dumps(self.resource(name)).encode(), {}
        m = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", r.headers["content-range"])
        total = None if m[3] == "*" else int(m[3])
        body = r.body
        if m[1] is not None:
            if int(m[1]) != len(have) or int(m[2]) - int(m[1]) + 1 != len(body):
                return 400, "invalidRange"
            if total is None and len(body) % (256 * 1024):
                return 400, "notMultiple"
            if self.server.take_at_most is not None:
                body = body[:self.server.take_at_most]
                self.server.take_at_most = None
            have += body
        if total is not None and len(have) == total:
            if self.taken(begun, name):
                return 412, "conditionNotMet"
            upload[2] = True
            return self.keep(name, bytes(have))
        headers = {"Range": f"bytes=0-{len(have) - 1}"} if have else {}
        return 308, b"", headers

    def op_drop(self, r):
        if self.server.uploads.pop(r.key, None) is None:
            return 404, "notFound"
        return 499, b"", {}


def code(status, name, message="said by the script", headers=None):
    def fault(h, r):
        h.error(status, name, message, headers)
        return True
    return fault


def forget_tokens(h, r):
    """Tokens are taken back before their time."""
    h.server.tokens.clear()
    return False
