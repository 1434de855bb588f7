#!/usr/bin/env python3
"""Turn a file into a C array: embed.py INPUT NAME OUTPUT.c"""
import sys


def main():
    source, name, target = sys.argv[1:4]
    with open(source, "rb") as f:
        data = f.read()
    with open(target, "w", encoding="ascii") as out:
        out.write("#include <stddef.h>\n")
        out.write(f"extern const unsigned char {name}[];\nextern const size_t {name}_len;\n")
        out.write(f"const unsigned char {name}[] = {{\n")
        for i in range(0, len(data), 16):
            out.write(",".join(str(b) for b in data[i:i + 16]) + ",\n")
        out.write(f"}};\nconst size_t {name}_len = {len(data)};\n")


if __name__ == "__main__":
    main()
