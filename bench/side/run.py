#!/usr/bin/python3
"""Engines side by side: run.py [--form short|middle|full] [options]

Runs the programs side_ENGINE of a build directory, interleaved: in each round every engine runs a
group of rows before any runs the next group, so that a slow minute of the machine hits all. Prints
one JSON line a row with the medians of all rounds, and a table with varve's ratio to the best peer
of the same durability. --raw FILE keeps every single line.

    tools/setup.sh bench
    meson setup build-bench --buildtype=release -Dbench_peers=true && ninja -C build-bench benches
    bench/side/run.py --build build-bench --form middle --rounds 3 --table out.md --raw out.jsonl
"""
import argparse
import collections
import datetime
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MIB = 1 << 20
GIB = 1 << 30
PEERS = ["rocksdb", "lmdb", "leveldb", "wiredtiger"]

# keys of 116 bytes; seconds a row of reads; seconds at most a row of writes (but for the loads that
# reads need); keys of 4 and 64 KiB.
FORMS = {
    "short": {"keys": 200_000, "row_s": 0.25, "cap_s": 1.5, "k4": 10_000, "k64": 1_000, "cache": GIB},
    "middle": {"keys": 2_000_000, "row_s": 1.0, "cap_s": 5, "k4": 60_000, "k64": 4_000, "cache": GIB},
    "full": {"keys": 5_000_000, "row_s": 1.5, "cap_s": 6, "k4": 150_000, "k64": 10_000, "cache": GIB},
}
# What a short look at one engine leaves out.
SHORT_GROUPS = ["fillseq", "fillseq1000", "main", "sync1", "sync8", "sync64", "4k"]
GROUPS = ["main", "sync1", "sync8", "sync64", "fillseq", "fillseq1000", "fillrandom", "4k", "64k",
          "cold"]

# Debian builds RocksDB and LevelDB with assertions. RocksDB: what the same version without them
# gained on this kind of machine, row by row, never below 1. LevelDB has not been built without: the
# rule of thumb for writes, 1.5 for random and single keys, 2 for ordered batches.
NO_ASSERTS = {
    "rocksdb": {
        "fillseq": 1.71, "fillseq/1000": 2.16, "fillrandom": 1.48, "fillrandom/1000": 1.51,
        "overwrite": 1.51, "overwrite/1000": 1.63, "deleterandom": 1.56, "fillsync:1": 1.03,
        "fillsync:64": 1.07, "readrandom:2": 1.07, "readmissing": 1.38, "readseq": 1.32,
        "readseq-after-fillseq": 1.30, "seekrandom/10": 1.01, "seekrandom/100": 1.23,
        "seekrandom-held/10": 1.01, "readwhilewriting+writer": 1.42, "fillrandom 4K": 1.45,
        "overwrite 4K": 1.49, "fillrandom 64K": 1.56, "overwrite 64K": 1.71,
        "deleterange/10000": 1.27},
    "leveldb": {
        "fillseq": 1.5, "fillseq/1000": 2.0, "fillrandom": 1.5, "fillrandom/1000": 1.5,
        "overwrite": 1.5, "overwrite/1000": 1.5, "deleterandom": 1.5, "fillrandom 4K": 1.5,
        "overwrite 4K": 1.5, "fillrandom 64K": 1.5, "overwrite 64K": 1.5,
        "readwhilewriting+writer": 1.5, "deleterange/10000": 1.5},
}
MEDIANS = ["per_s", "p50_us", "p99_us", "p999_us", "max_us", "cpu_us_op", "cpu_us_op_before_settling",
           "settle_s", "per_s_settled", "written_bytes", "write_amp", "disk_mb", "rss_peak_mb"]


class MemoryGroup:
    """A memory cgroup (version 1) for the cold rows: the page cache counts too."""

    def __init__(self, limit):
        self.path = pathlib.Path(f"/sys/fs/cgroup/memory/varve-side-{os.getpid()}")
        self.limit = limit

    def __enter__(self):
        try:
            self.path.mkdir()
            (self.path / "memory.limit_in_bytes").write_text(str(self.limit), encoding="ascii")
        except OSError as e:
            raise RuntimeError(f"cold rows need a memory cgroup: {e}") from e
        return self

    def __exit__(self, *_):
        try:
            self.path.rmdir()
        except OSError as e:
            print(f"run.py: {self.path} is left: {e}", file=sys.stderr)

    def join(self):
        (self.path / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")


TOUCH = ("import ctypes, mmap, sys\n"
         "n = int(sys.argv[1])\n"
         "m = mmap.mmap(-1, n)\n"
         "ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(m)), 1, n)\n")


def touch_memory():
    """On a virtual machine memory that nobody used for a while has to be found by the host again: its
    first touch takes ten times as long. Whoever runs first would pay for all: so memory is touched
    and given back before each engine, for every engine alike."""
    subprocess.run([sys.executable, "-c", TOUCH, str(1536 * MIB)], check=False)


class Runner:
    def __init__(self, args, form):
        self.args = args
        self.form = form
        self.rows = []
        self.failures = []
        self.raw = open(args.raw, "w", encoding="utf-8") if args.raw else None

    def program(self, engine):
        return self.args.build / "bench" / "side" / f"side_{engine.split(':')[0]}"

    def command(self, engine, group, directory, **more):
        values = {"dir": directory, "group": group, "keys": self.form["keys"],
                  "row-s": self.form["row_s"], "cap-s": self.form["cap_s"],
                  "cache": self.form["cache"], "seed": self.args.seed}
        values.update(more)
        if engine.startswith("varve:"):
            values["engine"] = engine.split(":")[1]
            if self.args.tune:
                values["tune"] = self.args.tune
        flat = [str(self.program(engine))]
        for name, value in values.items():
            flat += [f"--{name.replace('_', '-')}", str(value)]
        return flat

    def call(self, command, engine, round_number, join=None):
        done = subprocess.run(command, capture_output=True, text=True, timeout=self.args.timeout,
                              preexec_fn=join, check=False)
        for line in done.stdout.splitlines():
            row = json.loads(line)
            row["engine"] = engine
            row["round"] = round_number
            self.rows.append(row)
            self.keep(row)
        if done.returncode != 0:
            said = done.stderr.strip().splitlines()
            raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: "
                               f"{said[-1] if said else ''}")

    def run_group(self, engine, group, round_number, directory):
        if group == "cold":
            # 580 MB of data in 256 MB with a cache of 64 MB, and in proportion.
            part = max(self.form["keys"] / 5_000_000, 0.4)
            self.call(self.command(engine, "coldload", directory), engine, round_number)
            with MemoryGroup(int(256 * part * MIB)) as held:
                self.call(self.command(engine, "cold", directory, cache=int(64 * part * MIB)),
                          engine, round_number, held.join)
        elif group in ("4k", "64k"):
            size = 4096 if group == "4k" else 65536
            self.call(self.command(engine, "large", directory, keys=self.form["k" + group[:-1]],
                                   value_size=size, suffix=f" {size // 1024}K"), engine,
                      round_number)
        else:
            self.call(self.command(engine, group, directory), engine, round_number)

    def run(self):
        for round_number in range(self.args.rounds):
            for group in self.args.groups:
                for engine in self.args.engines:
                    directory = pathlib.Path(tempfile.mkdtemp(prefix="varve-side-",
                                                              dir=self.args.dir))
                    touch_memory()
                    try:
                        self.run_group(engine, group, round_number, directory / "store")
                    except (RuntimeError, subprocess.TimeoutExpired) as e:
                        self.failures.append(f"{engine}: {group}: {e}")
                        print(f"run.py: {self.failures[-1]}", file=sys.stderr)
                    finally:
                        shutil.rmtree(directory, ignore_errors=True)

    def keep(self, line):
        if self.raw:
            print(json.dumps(line), file=self.raw, flush=True)

    def cost(self):
        done = subprocess.run(self.command(self.args.engines[0], "harness", "unused"),
                              capture_output=True, text=True, check=True)
        return json.loads(done.stdout)


def facts(args):
    def text(command):
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        return done.stdout.strip()

    with open("/proc/cpuinfo", encoding="ascii") as f:
        model = [line.split(":")[1].strip() for line in f if line.startswith("model name")]
    with open("/proc/meminfo", encoding="ascii") as f:
        memory = int(f.readline().split()[1]) // 1024
    filesystem = text(["findmnt", "-n", "-o", "FSTYPE", "-T", str(args.dir or tempfile.gettempdir())])
    changed = text(["git", "status", "--porcelain", "--untracked-files=no"])
    return {"bench": "side", "facts": True, "cpu": model[0], "cpus": len(model), "memory_mb": memory,
            "kernel": platform.release(), "filesystem": filesystem,
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "commit": text(["git", "rev-parse", "--short", "HEAD"]) + ("+" if changed else ""),
            "form": args.form, "command": " ".join(sys.argv), "load_before": os.getloadavg()[0]}


def replay(args, runner):
    """The lines of an earlier run; its facts."""
    with open(args.again, encoding="utf-8") as f:
        lines = [json.loads(line) for line in f]
    runner.rows = [line for line in lines if "row" in line]
    found = collections.OrderedDict((line["engine"], None) for line in runner.rows)
    args.engines = list(found)
    args.rounds = max(line["round"] for line in runner.rows) + 1
    return next(line for line in lines if line.get("facts"))


def medians(rows):
    """One line for each engine and row, in the order they first came."""
    found = collections.OrderedDict()
    for row in rows:
        found.setdefault((row["row"], row["engine"]), []).append(row)
    out = collections.OrderedDict()
    for key, runs in found.items():
        line = {k: v for k, v in runs[-1].items() if k not in ("round", "checked", "ops", "seconds")}
        for name in MEDIANS:
            values = [r[name] for r in runs if name in r]
            if values:
                line[name] = statistics.median(values)
        line["runs"] = [round(r["per_s"]) for r in runs]
        line["checked"] = sum(r["checked"] for r in runs)
        factor = NO_ASSERTS.get(key[1], {}).get(key[0], 1.0)
        line["no_asserts_factor"] = factor
        line["per_s_scaled"] = line["per_s"] * factor
        out[key] = line
    return out


def human(x, digits=3):
    for unit, size in (("M", 1e6), ("K", 1e3)):
        if x >= size:
            return f"{float(f'{x / size:.{digits}g}'):g}{unit}"
    return f"{float(f'{x:.{digits}g}'):g}"


def best_peer(out, row, field):
    peers = [line for (name, engine), line in out.items()
             if name == row and not engine.startswith("varve")]
    return max(peers, key=lambda line: line[field]) if peers else None


def least_cpu(out, row):
    peers = [line for (name, engine), line in out.items()
             if name == row and not engine.startswith("varve")]
    return min(peers, key=lambda line: line["cpu_us_op"]) if peers else None


def ratio_table(out, engines):
    names = list(collections.OrderedDict((row, None) for row, _ in out))
    ours = [e for e in engines if e.startswith("varve")]
    head = ["row", "durability"] + engines
    for engine in ours:
        mark = "" if len(ours) == 1 else f" {engine.split(':')[1]}"
        head += [f"ratio{mark}, as packaged", f"ratio{mark}, scaled", f"CPU ratio{mark}"]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for name in names:
        some = next(line for (row, _), line in out.items() if row == name)
        cells = [name, some["durability"] if some["kind"] == "write" else "-"]
        for engine in engines:
            line = out.get((name, engine))
            cells.append("" if line is None else human(line["per_s"]))
        for engine in ours:
            line = out.get((name, engine))
            for field in ("per_s", "per_s_scaled"):
                best = best_peer(out, name, field)
                if line is None or best is None:
                    cells.append("")
                else:
                    cells.append(f"**{line['per_s'] / best[field]:.2f}** {best['engine']}")
            least = least_cpu(out, name)
            cells.append("" if line is None or least is None else
                         f"{least['cpu_us_op'] / line['cpu_us_op']:.2f} {least['engine']}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def tail_table(out, engines):
    """What flushes and compaction beside them cost single overwrites at the far end."""
    lines = ["", "### p99.9 of single overwrites, us", "",
             "| engine | nothing beside | flushes and compaction beside | ratio |",
             "| --- " * 4 + "|"]
    for engine in engines:
        calm, busy = out.get(("overwrite-calm", engine)), out.get(("overwrite", engine))
        if calm is not None and busy is not None:
            lines.append(f"| {engine} | {human(calm['p999_us'])} | {human(busy['p999_us'])} | "
                         f"{busy['p999_us'] / calm['p999_us']:.1f} |")
    return lines if len(lines) > 5 else []


def detail_table(out, engines, title, cell, only=None):
    lines = ["", f"### {title}", "", "| row | " + " | ".join(engines) + " |",
             "| --- " * (len(engines) + 1) + "|"]
    for name in collections.OrderedDict((row, None) for row, _ in out):
        picked = [out.get((name, engine)) for engine in engines]
        if only is not None and not any(line is not None and only(line) for line in picked):
            continue
        lines.append(f"| {name} | " +
                     " | ".join("" if line is None else cell(line) for line in picked) + " |")
    return lines


def report(out, info, about, cost, args, failures):
    engines = args.engines
    form = FORMS[args.form]
    lines = [f"Measured {info['date']} at commit {info['commit']}: `{info['command']}`",
             "",
             f"{info['cpus']} x {info['cpu']}, {info['memory_mb']} MB, kernel {info['kernel']}, "
             f"{info['filesystem']}; load average before {info['load_before']:.1f}. "
             f"{form['keys']:,} keys of 16 bytes, values of 100 (half random, half a repeat), "
             f"median of {args.rounds} interleaved rounds.",
             ""]
    lines += [f"- {a['engine']} {a['version']}: {a['settings']}" for a in about]
    lines += ["",
              "Operations (keys) a second; `/n` is keys a commit or items after the seek, `:t` "
              "threads. Durability `os`: survives the process; `sync`: on the disk. The ratio is "
              "varve over the best peer: as packaged, and with Debian's RocksDB and LevelDB scaled "
              "to what they would do without their assertions. The CPU ratio is the CPU an operation "
              "of the peer that needs least over varve's (background included, as packaged): it "
              "hardly feels a busy machine, but says nothing of waiting.", ""]
    lines += ratio_table(out, engines)
    lines += detail_table(out, engines, "Latency, us: p50 / p99 / p99.9 of one commit, read or seek",
                          lambda l: "" if "p50_us" not in l else
                          f"{human(l['p50_us'])} / {human(l['p99_us'])} / {human(l['p999_us'])}",
                          lambda l: "p50_us" in l)
    lines += tail_table(out, engines)
    lines += detail_table(out, engines,
                          "CPU us (user + system, background included) an operation / peak RSS, MB",
                          lambda l: f"{human(l['cpu_us_op'])} / {human(l['rss_peak_mb'])}")
    lines += detail_table(out, engines,
                          "Write amplification, settled / size on disk, MB / seconds to settle",
                          lambda l: "" if "write_amp" not in l else
                          f"{human(l['write_amp'])} / {human(l['disk_mb'])} / {l['settle_s']:.1f}",
                          lambda l: "write_amp" in l)
    lines += ["", f"The harness alone costs {cost['write_ns']:.0f} ns a write, {cost['read_ns']:.0f} ns "
              f"a read and {cost['scan_item_ns']:.0f} ns an item of a scan, for every engine alike. "
              f"{sum(line['checked'] for line in out.values()):,} answers were checked; "
              "none was wrong." if not failures else "Failed: " + "; ".join(failures)]
    return lines


def parse():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--form", choices=FORMS, default="short")
    p.add_argument("--rounds", type=int)
    p.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    p.add_argument("--dir", help="where stores are made: the disk to measure (default: TMPDIR)")
    p.add_argument("--engines", help="varve:lsm,rocksdb,...: default all that are built")
    p.add_argument("--groups", help=",".join(GROUPS))
    p.add_argument("--tune", help="options of varve, name=value,...: not for published figures")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--timeout", type=float, default=900, help="seconds a group may take")
    p.add_argument("--raw", help="write every line of every round there, after one of facts")
    p.add_argument("--again", help="no run: the report of an earlier one's --raw file")
    p.add_argument("--table", help="write the report there instead of to standard error")
    args = p.parse_args()
    if args.dir is None and "VARVE_BENCH_DIR" in os.environ:
        args.dir = os.environ["VARVE_BENCH_DIR"]
    built = [e for e in PEERS if (args.build / "bench" / "side" / f"side_{e}").exists()]
    args.engines = args.engines.split(",") if args.engines else ["varve:lsm"] + built
    args.engines = ["varve:lsm" if e == "varve" else e for e in args.engines]
    args.groups = args.groups.split(",") if args.groups else (
        SHORT_GROUPS if args.form == "short" else GROUPS)
    unknown = [g for g in args.groups if g not in GROUPS]
    if unknown:
        p.error(f"no group {unknown[0]}: {', '.join(GROUPS)}")
    args.rounds = args.rounds or {"short": 1, "middle": 3, "full": 5}[args.form]
    return args


def main():
    args = parse()
    runner = Runner(args, FORMS[args.form])
    missing = [e for e in args.engines if not runner.program(e).exists()]
    if missing and not args.again:
        sys.exit(f"run.py: {runner.program(missing[0])} is not built: ninja benches, for peers with "
                 "-Dbench_peers=true")
    if args.again:
        info = replay(args, runner)
        args.form = info["form"]
    else:
        info = facts(args)
        info["harness"] = runner.cost()
        info["about"] = [json.loads(subprocess.run([str(runner.program(e)), "--about"],
                                                   capture_output=True, text=True,
                                                   check=True).stdout) for e in args.engines]
        runner.keep(info)
        runner.run()
    out = medians(runner.rows)
    about = info["about"]
    cost = info["harness"]
    print(json.dumps(info))
    for line in out.values():
        best = best_peer(out, line["row"], "per_s")
        scaled = best_peer(out, line["row"], "per_s_scaled")
        if line["engine"].startswith("varve") and best is not None:
            line["ratio"] = round(line["per_s"] / best["per_s"], 3)
            line["ratio_scaled"] = round(line["per_s"] / scaled["per_s_scaled"], 3)
            line["best_peer"] = best["engine"]
        print(json.dumps({**line, "date": info["date"], "commit": info["commit"]}))
    text = "\n".join(report(out, info, about, cost, args, runner.failures)) + "\n"
    if args.table:
        pathlib.Path(args.table).write_text(text, encoding="utf-8")
    elif len(args.engines) > 1:
        print(text, file=sys.stderr)
    return 1 if runner.failures else 0


if __name__ == "__main__":
    sys.exit(main())
