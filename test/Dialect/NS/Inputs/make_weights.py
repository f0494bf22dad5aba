"""Writes a safetensors file with one entry `w`: make_weights.py FILE DTYPE SHAPE VALUES, such as `w.safetensors F32 1x2x1x1 1,1`."""

import json
import struct
import sys

path, dtype, shape, values = sys.argv[1:]
code = {"F32": "f", "F64": "d", "F16": "e"}.get(dtype, "i")
data = struct.pack(f"<{values.count(',') + 1}{code}", *(float(v) if code != "i" else int(v) for v in values.split(",")))
entry = {"dtype": dtype, "shape": [int(n) for n in shape.split("x")], "data_offsets": [0, len(data)]}
header = json.dumps({"w": entry}).encode()
with open(path, "wb") as file:
    file.write(struct.pack("<Q", len(header)) + header + data)
