#!/usr/bin/env python3
"""Write the golden files of the log's format, from docs/format/wal.md and nothing else.

The C code never made these bytes: it must read them and make the same ones. Run it only when the
format's version changes.
"""
import os
import struct

BLOCK = 4096
LOG_ID = 0x0123456789ABCDEF
EPOCH = 1
HERE = os.path.dirname(os.path.abspath(__file__))

TABLE = []
for n in range(256):
    for _ in range(8):
        n = (n >> 1) ^ (0x82F63B78 if n & 1 else 0)
    TABLE.append(n)


def crc32c(crc, data):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


SEED = crc32c(0, struct.pack("<Q", LOG_ID))


def header(magic, capacity, number=0, base=0, first=0, prev=0, epoch=0):
    fields = magic + struct.pack("<IIQQ16xQQQQQI4xQ", 1, BLOCK, 0, 0, LOG_ID, capacity, number,
                                 base, first, prev, epoch)
    body = fields.ljust(BLOCK - 4, b"\0")
    return body + struct.pack("<I", crc32c(0, body))


def batch(position, prev, synced, records):
    directory = b""
    payloads = b""
    for kind, shard, index, term, time_ns, payload in records:
        directory += struct.pack("<B3xIQQqII", kind, shard, index, term, time_ns, len(payload),
                                 crc32c(0, payload))
        payloads += payload
    length = 32 + len(directory) + len(payloads)
    front = struct.pack("<IQIIQ", length, position, prev, len(records), synced)
    crc = crc32c(crc32c(SEED, directory), front)
    return crc, struct.pack("<I", crc) + front + directory + payloads


def filler(position, prev, synced):
    room = BLOCK - position % BLOCK
    if room < 40:
        room += BLOCK
    epoch = struct.pack("<Q", EPOCH)
    front = struct.pack("<IQIIQ", room, position, prev, 0, synced)
    crc = crc32c(crc32c(SEED, epoch), front)
    return crc, (struct.pack("<I", crc) + front + epoch).ljust(room, b"\0")


def main():
    log = b""
    chain = 0
    groups = [
        (0, [(1, 3, 1, 2, 1700000000123456789, b"hello, varve")]),
        (0, [(2, 4, 17, 0, 0, b""), (3, 4, 9, 5, 0, b""), (4, 4, 16, 0, 0, b""),
             (5, 3, 1, 0, 0, b"")]),
        (0, None),
        (BLOCK, [(1, 0, 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF, -1, b""),
                 (1, 63, 2, 1, 1, bytes(range(256)))]),
        (BLOCK, None),
    ]
    for synced, records in groups:
        if records is None:
            chain, data = filler(len(log), chain, synced)
        else:
            chain, data = batch(len(log), chain, synced, records)
        log += data
    with open(os.path.join(HERE, "golden.seg"), "wb") as out:
        out.write(header(b"VARVEWAL", len(log), number=1, epoch=EPOCH) + log)
    with open(os.path.join(HERE, "golden.ring"), "wb") as out:
        out.write(header(b"VARVERNG", 8 * BLOCK))  # its data, all zero, is left out


if __name__ == "__main__":
    main()
