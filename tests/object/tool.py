"""object_tool, run as a process, and what it said."""
import os
import subprocess

CLEAN = {k: v for k, v in os.environ.items()
         if not k.startswith(("AWS_", "GOOGLE_")) and not k.lower().endswith("_proxy")}
CLEAN["HOME"] = "/nonexistent"


class Answer:
    """The first line, taken apart; what comes behind it is rest."""

    def __init__(self, out):
        line, _, self.rest = out.partition(b"\n")
        self.line = line.decode()
        self.status = self.line.split(" ")[0]
        fields, _, self.error = self.line.partition(" error=")
        self.fields = dict(f.split("=", 1) for f in fields.split(" ")[1:] if "=" in f)

    def __getattr__(self, name):
        return self.fields.get(name)


def run_tool(program, settings, *words, env=None, secrets=()):
    args = [f"{k}={v}" for k, v in settings.items() if v is not None]
    r = subprocess.run([program, *args, *words], capture_output=True, timeout=60,
                       env=CLEAN | (env or {}), check=False)
    said = r.stdout + r.stderr
    assert r.returncode == 0, said.decode(errors="replace")
    if words[0] == "suite":
        return None
    for secret in secrets:
        assert secret.encode() not in said, "a secret is in what was said"
    return Answer(r.stdout)


def expect(answer, status, **fields):
    assert answer.status == status, f"{status}: {answer.line}"
    says = fields.pop("says", ())
    for word in (says,) if isinstance(says, str) else says:
        assert word in answer.error, f"'{word}': {answer.line}"
    for k, v in fields.items():
        assert answer.fields.get(k) == str(v), f"{k}={v}: {answer.line}"
