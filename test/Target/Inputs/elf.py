"""elf.py FILE: prints the kind of an ELF file, whether it may be executed, and the kind of the artefact that follows a driver."""

import os
import struct
import sys

KINDS = {1: "ELF relocatable", 2: "ELF executable", 3: "ELF shared"}


def kind(data):
    return KINDS[struct.unpack_from("<H", data, 16)[0]] if data[:4] == b"\x7fELF" else "no ELF"


with open(sys.argv[1], "rb") as file:
    data = file.read()
print(kind(data))
if os.access(sys.argv[1], os.X_OK):
    print("executable file")
if data.endswith(b"NSRTEXE1"):
    (size,) = struct.unpack_from("<Q", data, len(data) - 16)
    print("artefact:", kind(data[len(data) - 16 - size :]))
