"""Damaged and hostile checkpoints: an error that names the file, nothing run, nothing allocated, no crash."""

import io
import pickle
import resource
import struct
import subprocess
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import compile_model

LIMIT = 300 << 20  # bytes of address space that a refusal may take beyond what the session has


@pytest.fixture(scope="module")
def model(small):
    runtime = pytest.importorskip("nullspace.runtime")
    return runtime.Model(compile_model(small, "library", "--batch=2"))


@pytest.fixture
def refuse(model, tmp_path):
    """The error that loading these bytes gives."""
    from nullspace import runtime

    def load(content: bytes, name: str = "c.pth") -> str:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(runtime.NullspaceError) as error:
            model.load_weights(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
        return str(error.value)

    return load


def archive(entries: dict[str, bytes], compression=zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as file:
        for name, content in entries.items():
            file.writestr(zipfile.ZipInfo(name), content, compression)
    return out.getvalue()


def checkpoint(program: bytes, storages: dict[str, bytes] = {}) -> bytes:
    """A PyTorch file with this pickle."""
    return archive({"c/data.pkl": program} | {f"c/data/{key}": value for key, value in storages.items()})


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def tensor(
    shape: bytes = b"K\x02\x85",
    strides: bytes = b"K\x01\x85",
    offset: bytes = b"K\x00",
    key: str = "0",
    kind="FloatStorage",
):
    """The opcodes of one tensor; shape and strides are those of tuples."""
    storage = b"(" + text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text(key) + text("cpu") + b"K\x02tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + shape + strides + b"\x89)tR"


def entry(value: bytes) -> bytes:
    return b"\x80\x02}" + text("head.bias") + value + b"s."


def number(value: int) -> bytes:
    content = pickle.encode_long(value)
    return b"\x8a" + bytes([len(content)]) + content


def files(model_state: dict, folder) -> dict[str, bytes]:
    """The same state dict in three formats."""
    torch.save(model_state, folder / "a.pth")
    safetensors.torch.save_file(model_state, folder / "a.safetensors")
    np.savez(folder / "a.npz", **{k: v.numpy() for k, v in model_state.items()})
    return {name: (folder / name).read_bytes() for name in ("a.pth", "a.safetensors", "a.npz")}


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a.npz"])
def test_every_truncation_is_refused(small, refuse, tmp_path, name):
    content = files(small.model.state_dict(), tmp_path)[name]
    for size in {*range(0, 200, 3), *range(0, len(content), len(content) // 60), len(content) - 1}:
        refuse(content[:size], name)


@pytest.mark.parametrize("name", ["a.pth", "a.npz"])
def test_flipped_bits_are_found(small, model, tmp_path, name):
    """An error, or, in a byte that carries nothing, the same weights: these formats have checksums."""
    from nullspace import runtime

    content = files(small.model.state_dict(), tmp_path)[name]
    random, refused = np.random.default_rng(0), 0
    places = [*random.integers(0, len(content), 150), *(len(content) - 1 - random.integers(0, 3000, 100))]
    for place in places:
        bent = bytearray(content)
        bent[place] ^= 1 << int(random.integers(8))
        (tmp_path / "bent").write_bytes(bent)
        try:
            model.load_weights(tmp_path / "bent")
        except runtime.NullspaceError:
            refused += 1
        else:
            assert all(np.array_equal(model.param(k), v.numpy()) for k, v in small.model.state_dict().items())
    assert refused > len(places) / 2


# What Python's pickle would run: opcodes around a shell command.
CALLS = {
    "reduce": lambda command: b"cos\nsystem\n" + text(command) + b"\x85R",
    "stack_global": lambda command: text("os") + text("system") + b"\x93" + text(command) + b"\x85R",
    "inst": lambda command: b"(" + text(command) + b"ios\nsystem\n",
    "obj": lambda command: b"(cos\nsystem\n" + text(command) + b"o",
    "newobj": lambda command: b"cos\nsystem\n" + text(command) + b"\x85\x81",
    "newobj_ex": lambda command: b"cos\nsystem\n" + text(command) + b"\x85}\x92",
    "build": lambda command: (
        b"cos\nsystem\n" + text(command) + b"\x85R}" + text("__setstate__") + text(command) + b"sb"
    ),
    "eval": lambda command: b"cbuiltins\neval\n" + text(f"__import__('os').system('{command}')") + b"\x85R",
}


@pytest.mark.parametrize("call", CALLS)
def test_nothing_is_run(refuse, tmp_path, call):
    mark = tmp_path / "mark"
    opcodes = CALLS[call](f"touch {mark}")
    alone = refuse(checkpoint(b"\x80\x02" + opcodes + b"."))
    assert "expected a state dict, found a pickled object of" in alone and "nothing of it was run" in alone
    inside = refuse(checkpoint(entry(opcodes)))
    assert "found no tensors; 'head.bias' is a pickled object of" in inside
    under = refuse(checkpoint(b"\x80\x02}" + text("state_dict") + opcodes + b"s."))
    assert "'state_dict' is a pickled object of" in under
    assert not mark.exists()
    if call == "reduce":  # the threat is real
        pickle.loads(b"\x80\x02" + opcodes + b".")
        assert mark.exists()


def test_whole_modules_and_old_formats_say_how_to_save(small, refuse, tmp_path):
    torch.save(small.model, tmp_path / "whole.pth")
    error = refuse((tmp_path / "whole.pth").read_bytes())
    assert "VisionTransformer" in error and "torch.save(model.state_dict(), FILE)" in error
    torch.save(small.model.state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert "PyTorch before 1.6" in refuse((tmp_path / "old.pth").read_bytes())
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(tmp_path / "script.pt")
    assert "TorchScript" in refuse((tmp_path / "script.pt").read_bytes())
    assert "give it to ns-import" in refuse(small.pt2.read_bytes())


LARGE = number(1 << 62)
BAD_TENSORS = {
    "storage missing": (tensor(key="1"), "its storage '1' is missing"),
    "storage outside": (tensor(key="../../../etc/passwd"), "is missing"),
    "storage absolute": (tensor(key="/etc/passwd"), "is missing"),
    "too long": (tensor(shape=b"K\x03\x85"), "reach beyond its storage of 8 bytes"),
    "offset": (tensor(offset=b"K\x01"), "reach beyond"),
    "offset negative": (tensor(offset=b"J\xff\xff\xff\xff"), "expected an offset"),
    "stride negative": (tensor(strides=b"J\xff\xff\xff\xff\x85"), "expected an offset, a shape and as many strides"),
    "huge extent": (tensor(shape=LARGE + b"\x85"), "reach beyond"),
    "huge product": (tensor(shape=LARGE + LARGE + b"\x86", strides=b"K\x00K\x00\x86"), "reach beyond"),
    "expanded": (tensor(shape=number(1 << 40) + b"\x85", strides=b"K\x00\x85"), "reach beyond"),
    "huge stride": (tensor(strides=LARGE + b"\x85"), "reach beyond"),
    "wide number": (tensor(shape=b"\x8a\xff" + b"\x7f" * 255 + b"\x85"), "expected an offset, a shape"),
    "many dimensions": (tensor(shape=b"(" + b"K\x01" * 99 + b"t"), "expected an offset, a shape"),
    "unlike ranks": (tensor(strides=b"K\x01K\x01\x86"), "as many strides"),
    "shape a string": (tensor(shape=text("x")), "expected an offset, a shape"),
    "odd type": (tensor(kind="ComplexFloatStorage"), "unknown element type"),
    "no storage": (b"ctorch._utils\n_rebuild_tensor_v2\n(K\x00K\x00K\x00K\x00tR", "expected a storage"),
    "no arguments": (b"ctorch._utils\n_rebuild_tensor_v2\n)R", "expected a storage"),
    "bare id": (b"ctorch._utils\n_rebuild_tensor_v2\n(K\x00QK\x00))tR", "expected a storage's type and key"),
}


@pytest.mark.parametrize("case", BAD_TENSORS)
def test_tensors_that_lie(refuse, case):
    opcodes, message = BAD_TENSORS[case]
    error = refuse(checkpoint(entry(opcodes), {"0": bytes(8)}))
    assert "tensor 'head.bias'" in error and message in error


BOMBS = {
    "marks": b"(" * 3_000_000 + b".",
    "nested tuples": b"\x80\x02)" + b"\x85" * 900_000 + b".",
    "nested lists": b"\x80\x02" + b"]" * 900_000 + b"a" * 899_999 + b".",
    "doubling tuples": b"\x80\x02)" + b"2\x86" * 100 + b".",
    "doubling by memo": b"\x80\x02]q\x00" + b"0(" + b"h\x00" * 200 + b"tq\x00" * 200 + b".",
    "calls with many arguments": b"\x80\x02("
    + b"N" * 100_000
    + b"tq\x00"
    + b"0ccollections\nOrderedDict\nq\x01"
    + b"h\x01h\x00R" * 200_000
    + b".",
    "long string": b"\x80\x02X\xff\xff\xff\xff.",
    "longer string": b"\x80\x05\x8d" + b"\xff" * 8 + b".",
    "long number": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "nothing to pop": b"\x80\x020.",
    "no mark": b"\x80\x02}u.",
    "key without value": b"\x80\x02}(Nu.",
    "memo": b"\x80\x02j\xff\xff\xff\xff.",
    "extension": b"\x80\x02\x82\x01.",
    "no end": b"\x80\x02N",
    "empty": b"",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_pickles_that_explode(refuse, bomb):
    """Within the limit: Python's own reader needs gigabytes for some of these."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    content = checkpoint(BOMBS[bomb])
    resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT, hard))
    try:
        error = refuse(content)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert "bad_alloc" not in error


def npy(description: str, data: bytes = bytes(8), version: int = 1) -> bytes:
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(description)) + description.encode() + data


BAD_ARRAYS = {
    "not an array": (b"x" * 40, "expected a NumPy array"),
    "header too long": (b"\x93NUMPY\x02\x00" + b"\xff" * 20, "is too long"),
    "huge": (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}"), "impossible shape"),
    "too few": (
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}"),
        "expected 3 elements of 4 bytes, found 8",
    ),
    "negative": (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}"), "impossible shape"),
    "objects": (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"), "little-endian numeric array"),
    "big-endian": (npy("{'descr': '>f4', 'fortran_order': False, 'shape': (2,)}"), "little-endian numeric array"),
    "no order": (npy("{'descr': '<f4', 'shape': (2,)}"), "states no order"),
    "empty header": (npy(""), "states no order"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_arrays_that_lie(refuse, case):
    content, message = BAD_ARRAYS[case]
    error = refuse(archive({"head.bias.npy": content}), "c.npz")
    assert "entry 'head.bias.npy'" in error and message in error


def test_archives_that_lie(refuse):
    zeros = checkpoint(b"N.", {"0": bytes(100)})
    assert "is compressed: re-save it with numpy.savez" in refuse(
        archive({"a.npy": bytes(1 << 20)}, zipfile.ZIP_DEFLATED), "c.npz"
    )
    assert "found compression method 8" in refuse(archive({"c/data.pkl": b"N."}, zipfile.ZIP_DEFLATED))
    assert "of neither" in refuse(archive({"../../x": b"", "/etc/passwd": b"x"}))
    assert "expected NumPy arrays only" in refuse(archive({"a.npy": b"", "../x": b""}), "c.npz")
    assert "no zip directory" in refuse(zeros[:-1])
    end = zeros.rindex(b"PK\5\6")
    patched = lambda at, value: zeros[: end + at] + value + zeros[end + at + len(value) :]
    assert "expected 65535 entries" in refuse(patched(10, b"\xff\xff"))
    assert "does not lie before its end record" in refuse(patched(16, b"\xff" * 4))
    locator = b"PK\6\7" + bytes(4) + b"\xff" * 8 + bytes(4)
    assert "ZIP64 locator points to byte 18446744073709551615" in refuse(zeros[:end] + locator + zeros[end:])
    central = zeros.index(b"PK\1\2")
    sized = zeros[: central + 20] + b"\xff\xff\xff\x7f" * 2 + zeros[central + 28 :]
    assert "expected 2147483647 bytes" in refuse(sized)
    assert "has no ZIP64 sizes" in refuse(zeros[: central + 20] + b"\xff\xff\xff\xff" * 2 + zeros[central + 28 :])


def test_what_is_no_checkpoint(refuse, model, tmp_path):
    from nullspace import runtime

    for content in (
        b"",
        b"x",
        b"\x1f\x8b" + bytes(100),
        bytes(1000),
        b"<html>Not found</html>",
        b"version https://git-lfs",
    ):
        assert "expected a .safetensors file, a PyTorch checkpoint" in refuse(content)
    for path in (tmp_path, tmp_path / "missing.pth", "/dev/zero"):
        with pytest.raises(runtime.NullspaceError, match=str(path)):
            model.load_weights(path)


def test_all_misfits_at_once(small, refuse, tmp_path):
    state = dict(small.model.state_dict())
    del state["blocks.1.mlp.fc2.bias"], state["cls_token"]
    state |= {
        "left.over": torch.zeros(3),
        "head.bias": torch.zeros(11),
        "norm.bias": torch.zeros(64, dtype=torch.int32),
    }
    torch.save(state, tmp_path / "a.pth")
    error = refuse((tmp_path / "a.pth").read_bytes())
    for part in (
        "5 entries do not fit the model vit_tiny_patch16_224:",
        "missing: 'blocks.1.mlp.fc2.bias' [64]",
        "missing: 'cls_token' [1, 1, 64]",
        "not of this model: 'left.over' [3]",
        "'head.bias': expected shape [10], found [11]",
        "'norm.bias': expected F64, F32, F16 or BF16, found I32",
    ):
        assert part in error


def test_misfits_name_the_checkpoints_own_entries(small, refuse, tmp_path):
    """Under translated names, too."""
    from test_checkpoints import hf_vit

    state = hf_vit().state_dict()
    state["vit.layers.1.attention.k_proj.weight"] = torch.zeros(64, 32)
    state["classifier.bias"] = torch.zeros(11)
    del state["vit.layers.0.attention.q_proj.bias"]
    torch.save(state, tmp_path / "a.pth")
    error = refuse((tmp_path / "a.pth").read_bytes())
    for part in (
        "'head.bias': expected shape [10], found [11] in 'classifier.bias'",
        "'blocks.1.attn.qkv.weight': expected shape [192, 64], found [64, 64], [64, 32], [64, 64] in 'vit.layers.1.attention.q_proj.weight', ",
        "missing: 'blocks.0.attn.qkv.bias' [192]",
        "not of this model: 'vit.layers.0.attention.k_proj.bias' [64]",
    ):
        assert part in error


def test_import_writes_nothing_for_a_bad_checkpoint(small, tmp_path):
    (tmp_path / "c.pth").write_bytes(checkpoint(b"\x80\x02cos\nsystem\n)R."))
    from conftest import tool

    command = [tool("ns-import"), small.pt2, "-o", tmp_path / "m.mlir", "--weights", tmp_path / "c.pth"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (
        result.returncode == 1 and "c.pth: expected a state dict, found a pickled object of os.system" in result.stderr
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.pth"]
