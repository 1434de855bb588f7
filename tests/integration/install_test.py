#!/usr/bin/python3
"""What `make install` gives: programs, man pages, completions, headers, both libraries in a directory
where the loader looks, with or without dpkg-dev, and a pkg-config file, with which a program that knows nothing of the build tree is compiled, linked and run; each public header
compiles alone, as C and as C++.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from varvelib import BUILD, ROOT, TempDir  # noqa: E402

HEADERS = sorted(p.name for p in (ROOT / "include/varve").glob("*.h"))


def run(*args, **kwargs):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, check=False,
                          timeout=120, **kwargs)
    assert done.returncode == 0, f"{' '.join(map(str, args))}: {done.stdout}{done.stderr}"
    return done.stdout


def install(tmp):
    """(root, prefix below it) of an installation into a directory of its own."""
    root = tmp / "root"
    run("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", root)
    found = list(root.rglob("varve.pc"))
    assert len(found) == 1, found
    prefix = next(line.split("=")[1] for line in found[0].read_text().splitlines()
                  if line.startswith("prefix="))
    return root, root / prefix.lstrip("/"), found[0]


def everything_is_there(root, prefix):
    for name in ("bin/varve", "bin/varved", "share/man/man1/varve.1", "share/man/man1/varved.1",
                 "share/bash-completion/completions/varve", "share/zsh/site-functions/_varve",
                 *(f"include/varve/{h}" for h in HEADERS)):
        assert (prefix / name).exists(), f"{name} is not installed"
    libraries = sorted(p.name for p in prefix.rglob("libvarve*"))
    assert {"libvarve.a", "libvarve.so", "libvarve.so.0"} <= set(libraries), libraries
    assert "varve" in run(prefix / "bin/varve", "--version")
    for p in root.rglob("*"):
        if p.is_file() and p.suffix in (".pc", ".h", ".1"):
            assert str(ROOT) not in p.read_text(), f"{p} names the build machine's tree"


def without(name, tmp):
    """A PATH that has every program but one."""
    tmp.mkdir()
    for folder in os.environ["PATH"].split(os.pathsep):
        for p in sorted(pathlib.Path(folder).glob("*")):
            if p.name != name and not (tmp / p.name).is_symlink():
                (tmp / p.name).symlink_to(p)
    return dict(os.environ, PATH=str(tmp))


def the_library_is_where_the_loader_looks(tmp):
    """Not in lib64, which Debian's loader and pkg-config pass over."""
    for name, env in (("with", dict(os.environ)), ("bare", without("dpkg-architecture", tmp / "bin"))):
        build = tmp / name
        run("meson", "setup", build, ROOT, "--prefix=/usr/local", env=env)
        places = json.loads(run("meson", "introspect", "--installed", build)).values()
        ours = {str(pathlib.Path(p).parent) for p in places if "/libvarve." in p}
        assert ours == {"/usr/local/lib"}, (name, ours)


def make_install(tmp):
    """PREFIX and DESTDIR reach the files and the pkg-config file; the build stays as it was."""
    dry = run("make", "-n", "install", f"BUILD={BUILD}", "PREFIX=/opt/varve", f"DESTDIR={tmp / 'stage'}",
              cwd=ROOT)
    assert "-Dprefix=/opt/varve" in dry and f"--destdir {tmp / 'stage'}" in dry, dry
    dry = run("make", "-n", "install", f"BUILD={BUILD}", cwd=ROOT)
    assert "-Dprefix" not in dry and "--destdir" not in dry, dry


def programs_build(tmp, root, pc):
    env = dict(os.environ, PKG_CONFIG_PATH=str(pc.parent), PKG_CONFIG_SYSROOT_DIR=str(root))

    def config(*args):
        return run("pkg-config", *args, "varve", env=env).split()
    source = tmp / "ten_lines.c"
    shutil.copy(ROOT / "examples/ten_lines.c", source)
    libdir = pc.parent.parent
    run("cc", "-Wall", "-Werror", *config("--cflags"), source, "-o", tmp / "shared",
        *config("--libs"))
    assert "libvarve.so.0" in run("readelf", "-d", tmp / "shared")
    out = run(tmp / "shared", tmp / "data", env=dict(os.environ, LD_LIBRARY_PATH=str(libdir)))
    assert out == "hello\n", out
    static = [libdir / "libvarve.a" if f == "-lvarve" else f for f in config("--static", "--libs")]
    run("cc", *config("--cflags"), source, "-o", tmp / "static", *static)
    assert run(tmp / "static", tmp / "data") == "hello\n"


def headers_compile_alone(tmp, prefix):
    compilers = [("cc", ["-x", "c", "-std=c11"])]
    if shutil.which("c++"):
        compilers.append(("c++", ["-x", "c++", "-std=c++11"]))
    else:
        print("SKIPPED the headers in C++: no c++")
    for compiler, flags in compilers:
        for header in HEADERS:
            for extra in ([], ["varve/varve.h"]):  # alone, and behind the others
                text = "".join(f"#include <{h}>\n" for h in (*extra, f"varve/{header}"))
                source = tmp / "one.txt"
                source.write_text(text + f"#include <varve/{header}>\nint main(void) {{ return 0; }}\n"
                                  if compiler == "cc" else
                                  text + f"#include <varve/{header}>\nint main() {{ return 0; }}\n")
                run(compiler, *flags, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only",
                    f"-I{prefix / 'include'}", source)
    if shutil.which("c++"):
        run("c++", "-std=c++11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
            f"-I{prefix / 'include'}", ROOT / "examples/header_test.cc")


def main():
    with TempDir() as path:
        tmp = pathlib.Path(path)
        root, prefix, pc = install(tmp)
        everything_is_there(root, prefix)
        the_library_is_where_the_loader_looks(tmp)
        make_install(tmp)
        programs_build(tmp, root, pc)
        headers_compile_alone(tmp, prefix)
    print(f"ok: {len(HEADERS)} headers, a program against each library")


if __name__ == "__main__":
    main()
