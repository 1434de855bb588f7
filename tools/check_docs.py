#!/usr/bin/env python3
"""Every relative link and every `path/file` named in the Markdown pages must lead somewhere."""
import pathlib
import re
import subprocess
import sys

LINK = re.compile(r"\[[^\]]*\]\(([^)#]+)(?:#[^)]*)?\)")
PATH = re.compile(r"`((?:src|cmd|docs|tests|tools|include|proto|fuzz|bench|examples|scripts)/[\w./-]+)`")


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.md"], cwd=root,
                            check=True, capture_output=True, text=True).stdout.split()
    problems = []
    for name in listed:
        page = root / name
        text = page.read_text(encoding="utf-8")
        for target in LINK.findall(text):
            if "://" in target or target.startswith("mailto:"):
                continue
            if not (page.parent / target).exists():
                problems.append(f"{name}: link to {target} leads nowhere")
        for target in PATH.findall(text):
            if "*" not in target and not (root / target.rstrip(".")).exists():
                problems.append(f"{name}: names {target}, which is not there")
    for p in problems:
        print(p)
    print(f"check_docs: {len(listed)} pages, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
