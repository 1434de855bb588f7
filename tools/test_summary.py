#!/usr/bin/env python3
"""Count the results of meson test runs: test_summary.py BUILD_DIR... prints 'N passed, N failed, N skipped'."""
import json
import pathlib
import sys


def main():
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for build in sys.argv[1:]:
        for log in (pathlib.Path(build) / "meson-logs").glob("testlog*.json"):
            for line in log.read_text(encoding="utf-8").splitlines():
                result = json.loads(line)["result"]
                key = {"OK": "passed", "EXPECTEDFAIL": "passed", "SKIP": "skipped"}.get(result, "failed")
                counts[key] += 1
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
