#!/usr/bin/env python3
"""Plant each bug of README.md in turn and demand that the test beside it turns red.

run.py BUILD_DIR [n ...]: the build directory was made with -Dtest_hooks=true. Exits 1 when a bug was
not caught, or when a test is red without one.

Caught means that an assertion failed, of the test or of the engine, and its sentence is printed. A
crash, an exit without a sentence or a run into the time limit is no proof that the test looks for
this mistake: it is an error of the run, but for a limit where the table says that the bug "hangs".
"""
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
TIMEOUT_S = 120
# What a failed assertion prints: fail_msg, cmocka's assert_*, the same where a teardown fails with
# it, libc's for one of the engine.
SENTENCE = re.compile(rb"\bERROR: ([^\n]+)|\[  ERROR   \] --- (?!\[   LINE)([^\n]+)"
                      rb"|Could not run test: ([^\n]+)|(Assertion `[^\n]+' failed)")


def read_table():
    """[(number, module, mistake, command, hangs)] from the table of README.md."""
    rows = []
    for line in (HERE / "README.md").read_text().splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if len(cells) == 4 and cells[0].isdigit():
            hangs = cells[3].endswith("` hangs")
            command = cells[3].removesuffix(" hangs").strip("`")
            rows.append((int(cells[0]), cells[1], cells[2], command, hangs))
    return rows


def run(build, command, bug):
    """(exit status or None at the time limit, output, seconds) with a bug planted (0: none)."""
    env = dict(os.environ)
    env.pop("VV_SEED", None)
    env["VV_BUG"] = str(bug)
    words = command.split()
    while "=" in words[0]:
        name, value = words.pop(0).split("=", 1)
        env[name] = value
    words[0] = str(build / words[0].removesuffix(".c"))
    start = time.monotonic()
    try:
        done = subprocess.run(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=TIMEOUT_S, check=False)
        status, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as e:
        status, output = None, e.stdout or b""
    return status, output, time.monotonic() - start


def sentence(output):
    """What the first failed assertion said, or None."""
    found = SENTENCE.search(output)
    if not found or b"Test failed with exception" in found.group():
        return None
    return next(g for g in found.groups() if g).decode(errors="replace").strip()


def verdict(bug, hangs, status, output):
    """(is it as it must be, what to say)."""
    if status is None:
        return hangs, f"ran into the time limit of {TIMEOUT_S} s"
    if bug == 0:
        return status == 0, "green" if status == 0 else f"red without a bug (exit {status})"
    if status == 0:
        return False, "NOT CAUGHT"
    said = sentence(output)
    if said is None:
        return False, f"no assertion failed, it ended with {status}"
    return True, f"caught: {said}"


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    wanted = {int(n) for n in sys.argv[2:]}
    rows = [r for r in read_table() if not wanted or r[0] in wanted]
    jobs = [(0, "-", "no bug", command, False) for command in sorted({r[3] for r in rows})] + rows
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        results = pool.map(lambda job: run(build, job[3], job[0]), jobs)
        for (bug, module, mistake, command, hangs), (status, output, seconds) in zip(jobs, results):
            good, text = verdict(bug, hangs, status, output)
            failed += not good
            print(f"{'ok  ' if good else 'FAIL'} {bug:3} {module:8} {seconds:5.1f} s  {mistake}\n"
                  f"         {text} [{command}]", flush=True)
            if not good:
                sys.stdout.write(output[-2000:].decode(errors="replace"))
    print(f"{len(rows)} bugs planted, {failed} complaints")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
