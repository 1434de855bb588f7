#!/usr/bin/env python3
"""The layers of docs/ARCHITECTURE.md, held against the includes; and the one door to the world.

A module may include only modules of rows above its own. Inside headers (*_int.h) stay in their
folder. Nothing below io/ and outside the network programs calls the operating system, and heap
memory comes from vv_alloc everywhere. Services reach storage only through the gate.
"""
import pathlib
import re
import sys

ROWS = [
    ["base"],
    ["io", "codec"],
    ["wal", "page", "series"],
    ["engine", "object"],
    ["lsm", "btree", "rocks", "stream"],
    ["catalog", "txn", "archive", "extract"],
    ["db"],
    ["backup", "replica", "eloqstore"],
    ["query", "promql"],
    ["ingest", "feeds"],
    ["otlp"],
    ["server", "client"],
]
# The programs stand on include/varve and on these doors; of io on env.h, which makes a world. What
# the server's program opens is the daemon.
PROGRAMS = {
    "varve": {"base", "codec", "io", "backup", "btree", "query", "client"},
    "varved": {"base", "io", "server"},
}
PROGRAM_DOORS = {"io": {"io/env.h"}, "btree": {"btree/btree_import.h"}}
ROW = {m: i for i, row in enumerate(ROWS) for m in row}
# Pairs on one row (or upward) that the design allows by name.
ALLOWED = {("stream", "lsm"), ("server", "client_wire")}
# Who may talk to the operating system.
OS_MODULES = {"io", "server", "client", "object"}
OS_CALLS = re.compile(
    r"(?<![\w.>])(open|openat|creat|pread|pwrite|preadv|pwritev|fsync|fdatasync|ftruncate|rename|"
    r"unlink|mkdir|mmap|munmap|msync|fallocate|posix_fallocate|clock_gettime|gettimeofday|time|"
    r"nanosleep|usleep|sleep|getrandom|rand|random|pthread_create|fork|socket|connect|bind|"
    r"epoll_wait|printf|fprintf|puts|fopen|getenv|exit)\s*\(")
HEAP_CALLS = re.compile(r"(?<![\w.>])(malloc|calloc|realloc|free|strdup|strndup|aligned_alloc)\s*\(")
# base holds the doors themselves.
EXEMPT = {
    "src/base/alloc.c": {"malloc", "calloc", "realloc", "free", "aligned_alloc"},
    "src/base/cpu.c": {"getenv"},
    "src/base/epoch.c": {"aligned_alloc"},
    "src/base/lock.c": {"clock_gettime"},
    "src/base/point.c": {"getenv"},
}
GATED = re.compile(r"\b(vv_table_open|vv_table_create|vv_db_open|db_open_env)\s*\(")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def strip_comments(text):
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group().count("\n"), text, flags=re.S)
    text = re.sub(r"//[^\n]*", "", text)
    return re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text)


def line_of(text, pos):
    return text.count("\n", 0, pos) + 1


def check_includes(path, module, raw, problems):
    for m in INCLUDE.finditer(raw):
        target = m.group(1)
        head = target.split("/")[0]
        where = f"{path}:{line_of(raw, m.start())}"
        if head not in ROW:
            continue
        if target.endswith("_int.h") and head != module:
            problems.append(f"{where}: {target} is inside {head}/: include its door header")
        if head == module or (module, head) in ALLOWED:
            continue
        if ROW[head] >= ROW[module]:
            problems.append(f"{where}: {module}/ may not include {head}/: it is not above it")


def check_program(path, program, raw, problems):
    for m in INCLUDE.finditer(raw):
        head = m.group(1).split("/")[0]
        if head not in ROW:
            continue
        where = f"{path}:{line_of(raw, m.start())}"
        if head not in PROGRAMS[program]:
            problems.append(f"{where}: {program} may not include {head}/: a program stands on "
                            "include/varve")
        elif m.group(1) not in PROGRAM_DOORS.get(head, {m.group(1)}) or "_int.h" in m.group(1):
            problems.append(f"{where}: {m.group(1)} is no door for programs")


def check_calls(path, module, text, problems):
    exempt = EXEMPT.get(str(path), set())
    patterns = [HEAP_CALLS] if module in OS_MODULES else [HEAP_CALLS, OS_CALLS]
    for pattern in patterns:
        for m in pattern.finditer(text):
            if m.group(1) not in exempt:
                problems.append(f"{path}:{line_of(text, m.start())}: {m.group(1)}() goes around "
                                "the door (vio, vv_clock, vv_rng, vv_threads, vv_alloc)")
    if path.name.startswith("svc_"):
        for m in GATED.finditer(text):
            problems.append(f"{path}:{line_of(text, m.start())}: {m.group(1)}() goes around the gate")


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    problems = []
    files = 0
    for path in sorted(root.glob("src/*/*.[ch]")):
        rel = path.relative_to(root)
        module = rel.parts[1]
        if module not in ROW:
            problems.append(f"{rel}: module {module}/ has no row in tools/check_layers.py")
            continue
        raw = path.read_text(encoding="utf-8")
        files += 1
        is_test = "_test" in path.stem or "_suite" in path.stem
        if not is_test:
            check_includes(rel, module, raw, problems)
            check_calls(rel, module, strip_comments(raw), problems)
    for path in sorted(root.glob("cmd/*/*.[ch]")):
        files += 1
        check_program(path.relative_to(root), path.relative_to(root).parts[1],
                      path.read_text(encoding="utf-8"), problems)
    for path in sorted(root.glob("include/varve/*.h")):
        for m in INCLUDE.finditer(path.read_text(encoding="utf-8")):
            if not m.group(1).startswith("varve/"):
                problems.append(f"{path.relative_to(root)}: public headers include only varve/")
    for p in problems:
        print(p)
    print(f"check_layers: {files} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
