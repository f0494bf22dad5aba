"""Files made to fill the memory, one of each format: ns-import refuses them within their own size and a fixed base."""

import io
import struct
import zipfile

import numpy as np
import pytest
import safetensors.numpy
from conftest import ROOT, run_with_peak, tool
from test_hostile import archive
from test_runtime_data import CLASSES, SIDE, compile_fake

# What ns-import takes for any file: the program and its libraries (80 MB), and at most 64 MiB for each list of what a file holds.
BASE = 192 << 20
EXPORT = ROOT / "test/Import/Inputs/vit.pt2"


def pt2(graph: str) -> bytes:
    model = (
        '{"schema_version":{"major":8},"graph_module":{"signature":{"input_specs":[],"output_specs":[]},"graph":%s}}'
    )
    fixed = {"archive_format": "pt2", "archive_version": "0", "byteorder": "little"}
    entries = {f"m/{name}": text.encode() for name, text in fixed.items()}
    return archive(entries | {"m/models/model.json": (model % graph).encode()})


def varint(value: int) -> bytes:
    return bytes([value & 127 | 128]) + varint(value >> 7) if value > 127 else bytes([value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def onnx_model(graph: bytes) -> bytes:
    return b"\x08\x0a" + field(8, b"\x10\x17") + field(7, graph)


def safetensors_file(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


def entries_of(count: int, form: str) -> bytes:
    return ("{" + ",".join(form % i for i in range(count)) + "}").encode()


def npy(shape: tuple, content: bytes) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return out.getvalue() + content


MILLION = 1_000_000
VALUE = '"%d":{"dtype":7,"sizes":[{"as_int":1}],"strides":[{"as_int":1}],"storage_offset":{"as_int":0}}'
MODELS = {
    "nodes.pt2": lambda: pt2('{"nodes":[' + ",".join(['{"":{"":{"":0}}}'] * 400_000) + '],"tensor_values":{}}'),
    "empty_nodes.pt2": lambda: pt2(
        '{"nodes":[' + ",".join(['{"target":"a","inputs":[],"outputs":[]}'] * 180_000) + '],"tensor_values":{}}'
    ),
    "values.pt2": lambda: pt2('{"nodes":[],"tensor_values":' + entries_of(60_000, VALUE).decode() + "}"),
    "one_node.pt2": lambda: pt2('{"nodes":[{"a":[' + ",".join(['{"":0}'] * MILLION) + ']}],"tensor_values":{}}'),
    "long.pt2": lambda: pt2('{"nodes":[' + "0," * (8 * MILLION) + '0],"tensor_values":{}}'),
    "attributes.onnx": lambda: onnx_model(b"".join(field(1, field(5, b"") * 60_000) for _ in range(100))),
    "names.onnx": lambda: onnx_model(b"".join(field(1, field(1, b"") * 60_000) for _ in range(100))),
    "numbers.onnx": lambda: onnx_model(field(1, b"".join(field(5, field(8, bytes(60_000))) for _ in range(200)))),
}
CHECKPOINTS = {
    "tuples.pth": lambda: archive({"c/data.pkl": b"\x80\x02" + b")" * (20 * MILLION) + b"."}),
    "marks.pth": lambda: archive({"c/data.pkl": b"(" * (20 * MILLION) + b"."}),
    "memo.pth": lambda: archive(
        {"c/data.pkl": b"\x80\x02N" + b"".join(b"r" + struct.pack("<I", i) for i in range(3 * MILLION)) + b"."}
    ),
    "items.pth": lambda: archive({"c/data.pkl": b"\x80\x02]N" + b"2" * (20 * MILLION) + b"."}),
    "entries.safetensors": lambda: safetensors_file(entries_of(MILLION, '"%d":{}')),
    "metadata.safetensors": lambda: safetensors_file(b'{"__metadata__":' + entries_of(MILLION, '"%d":""') + b"}"),
    "name.safetensors": lambda: safetensors_file(b'{"' + b"x" * (20 * MILLION) + b'":{}}'),
    "arrays.npz": lambda: archive({f"{i}.npy": npy((), b"0") for i in range(120_000)}),
}


@pytest.mark.parametrize("name", [*MODELS, *CHECKPOINTS])
def test_peak_of_ns_import(tmp_path, name):
    path, output = tmp_path / name, tmp_path / "m.mlir"
    path.write_bytes((MODELS | CHECKPOINTS)[name]())
    source = [path, "--mean=0,0,0"] if name in MODELS else [EXPORT, f"--weights={path}"]
    result, peak = run_with_peak([tool("ns-import"), *source, "-o", output])
    assert result.returncode == 1 and str(path) in result.stderr and "bad_alloc" not in result.stderr
    assert peak <= path.stat().st_size + BASE, f"{peak >> 20} MiB: {result.stderr[:500]}"
    assert not output.exists()


# ---------------------------------------------------------------------------------------------------------------------
# Data sets, which may be compressed: their own size is that of the bytes that come out
# ---------------------------------------------------------------------------------------------------------------------


def evaluate_with_peak(folder, images: bytes, size: int):
    """The runtime on a data set whose x_val.npy is this, deflated, by an archive that says it is `size` bytes."""
    content = archive({"x_val.npy": images, "y_val.npy": npy((1,), b"\0")}, zipfile.ZIP_DEFLATED)
    at = content.index(b"PK\1\2") + 24
    path = folder / "d.npz"
    path.write_bytes(content[:at] + struct.pack("<I", size) + content[at + 4 :])
    artefact = compile_fake(folder / "evaluate.so", "evaluate")
    weights = {"head.weight": np.zeros((CLASSES, 3 * SIDE * SIDE), "f"), "head.bias": np.zeros(CLASSES, "f")}
    safetensors.numpy.save_file(weights, folder / "w.safetensors")
    flags = ["--data-dir", path, "--output", folder / "out", "--weights", folder / "w.safetensors"]
    result, peak = run_with_peak([tool("nsrt-driver"), artefact, *flags])
    assert result.returncode == 1
    return result.stderr, peak - path.stat().st_size


def test_compressed_images_of_another_shape(tmp_path):
    """300 MB out of 300 kB: the array's own header is read before the rest is unpacked."""
    images = npy((1 << 20, 1, 1, 3), bytes(300 * MILLION))
    error, peak = evaluate_with_peak(tmp_path, images, len(images))
    assert "x_val: expected 3145728 elements of 1 bytes, found 300000000 bytes" in error
    assert peak <= BASE, peak >> 20


def test_compressed_images_cut_short(tmp_path):
    """9 MB that both headers call a gigabyte: memory follows what comes out."""
    header = len(npy((333 * MILLION, 1, 1, 3), b""))
    images = npy((333 * MILLION, 1, 1, 3), np.random.default_rng(0).bytes(9 * MILLION))
    error, peak = evaluate_with_peak(tmp_path, images, header + 999 * MILLION)
    assert "x_val.npy': its compressed data are damaged" in error
    assert peak <= BASE, peak >> 20
