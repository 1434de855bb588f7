#!/usr/bin/env python3
"""Plant each bug of README.md in turn and demand that the test beside it turns red.

run.py BUILD_DIR [n ...]: the build directory was made with -Dtest_hooks=true. Exits 1 when a bug was
not caught, or when a test is red without one.
"""
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
TIMEOUT_S = 120


def read_table():
    """[(number, module, mistake, command)] from the table of README.md."""
    rows = []
    for line in (HERE / "README.md").read_text().splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if len(cells) == 4 and cells[0].isdigit():
            rows.append((int(cells[0]), cells[1], cells[2], cells[3].strip("`")))
    return rows


def run(build, command, bug):
    """The exit status of a command with a bug planted (0: none), and how long it took."""
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
        done = subprocess.run(words, env=env, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, timeout=TIMEOUT_S, check=False)
        status = done.returncode
    except subprocess.TimeoutExpired:
        status = None
    return status, time.monotonic() - start


def verdict(bug, status):
    """(is it as it must be, what to say)."""
    if status is None:
        # A bug may make a test hang: that is red too, but a slow way to say so.
        return bug != 0, "ran into the time limit"
    if bug == 0:
        return status == 0, "green" if status == 0 else f"red without a bug (exit {status})"
    return status != 0, f"caught (exit {status})" if status != 0 else "NOT CAUGHT"


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    wanted = {int(n) for n in sys.argv[2:]}
    rows = [r for r in read_table() if not wanted or r[0] in wanted]
    jobs = [(0, "-", "no bug", command) for command in sorted({r[3] for r in rows})] + rows
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        results = pool.map(lambda job: run(build, job[3], job[0]), jobs)
        for (bug, module, mistake, command), (status, seconds) in zip(jobs, results):
            good, text = verdict(bug, status)
            failed += not good
            print(f"{'ok  ' if good else 'FAIL'} {bug:3} {module:8} {seconds:5.1f} s  {text}: "
                  f"{mistake} [{command}]", flush=True)
    print(f"{len(rows)} bugs planted, {failed} complaints")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
