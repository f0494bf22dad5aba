"""Generated attention and its gradients on odd shapes, by themselves, against PyTorch in float64: bench/attention.py runs the op."""

import pathlib
import shutil
import sys

import numpy as np
import pytest
import torch
from conftest import BUILD, ROOT, tool

sys.path.insert(0, str(ROOT / "bench"))

from attention import Attention, Shape

# More than a block of rows, a vector, a tile; one less and one more; one of each.
SHAPES = {
    "vit": Shape(2, 3, 197, 197, 64, bias=True),
    "fifty": Shape(2, 2, 50, 50, 48, bias=True, score_bias=True, scores_grad=True),
    "three": Shape(2, 2, 3, 3, 16),
    "one": Shape(1, 2, 1, 1, 80, bias=True),
    "one_query": Shape(2, 2, 1, 197, 64),
    "more_keys": Shape(1, 1, 17, 300, 80),
    "more_queries": Shape(1, 3, 65, 16, 32, mask=True),
    "windows": Shape(2, 3, 49, 49, 32, windows=4, bias=True, score_bias=True, mask=True, scores_grad=True),
}


@pytest.fixture
def made(tmp_path):
    """made(shape, backward, **options): the op with its operands filled in."""
    tool("ns-opt")
    for program in ("cc", "/usr/lib/llvm-22/bin/llc"):
        if not shutil.which(program):
            pytest.skip(f"no {program}")

    def make(shape, backward, **options):
        attention = Attention(shape, backward, pathlib.Path(BUILD) / "bin", tmp_path, **options)
        attention.fill()
        return attention

    return make


def reference(attention):
    """PyTorch's results in float64, by name."""
    s = attention.shape
    load = lambda name: torch.from_numpy(attention.view(name)).double()
    leaves = {name: load(name).requires_grad_() for name in attention.operands}
    names = ["qkv"] if s.packed else ["q", "k", "v"]
    parts = [leaves[n] + (leaves[f"{n}_bias"] if s.bias else 0) for n in names]
    q, k, v = (attention.heads(t) for t in (parts[0].chunk(3, -1) if s.packed else parts))
    added = torch.zeros(len(q), s.heads, s.queries, s.keys, dtype=torch.float64)
    if s.score_bias:
        added = added + leaves["score_bias"]
    if s.mask:
        added = added + leaves["mask"].repeat(s.images, 1, 1).unsqueeze(1)
    added = added.detach().requires_grad_()
    # Written out: the fused op has zeros, not NaN, where a row has no key.
    out = (q @ k.transpose(-1, -2) * s.dim**-0.5 + added).softmax(-1) @ v
    out = out.transpose(1, 2).flatten(2).reshape(s.images, -1, s.width)
    if not attention.backward:
        return {"out": out.detach()}
    gradients = torch.autograd.grad(out, [leaves[n] for n in names] + [added], load("grad"))
    results = {f"d_{name}": gradient for name, gradient in zip(names, gradients, strict=False)}
    return results | {"d_scores": gradients[-1].reshape(attention.results["d_scores"])} if s.scores_grad else results


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("bits", [256, 512])
@pytest.mark.parametrize("name", SHAPES)
def test_against_pytorch(made, name, bits, backward):
    if bits == 512 and "avx512f" not in pathlib.Path("/proc/cpuinfo").read_text():
        pytest.skip("no AVX-512")
    attention = made(SHAPES[name], backward, vector_bits=bits)
    expected = reference(attention)
    bytes_of = []
    for threads in (1, 2, 3):
        attention.run(threads)
        bytes_of.append([attention.view(result).tobytes() for result in attention.results])
    assert bytes_of[0] == bytes_of[1] == bytes_of[2]
    for result, want in expected.items():
        found = torch.from_numpy(attention.view(result)).double()
        assert (found - want).abs().max() <= 2e-6 * want.abs().max(), result


# Products of the test's host, which sums one term after the other in float32.
EXPANDED = ("--rt-expand-attention", "--rt-fuse")


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_expanded_against_pytorch(made, name, backward):
    attention = made(SHAPES[name], backward, vector_bits=256, passes=EXPANDED)
    expected = reference(attention)
    attention.run()
    for result, want in expected.items():
        found = torch.from_numpy(attention.view(result)).double()
        assert (found - want).abs().max() <= 4e-6 * want.abs().max(), result


def test_expanded_special_values(made):
    """A NaN stays in its row; a masked key gets nothing; no zero of the padding meets an infinity."""
    attention = made(Shape(1, 2, 30, 50, 16, mask=True), True, vector_bits=256, passes=EXPANDED)
    mask = attention.view("mask")
    mask[:] = 0
    mask[0, :, 7] = -np.inf
    expected = reference(attention)
    attention.run()
    for result, want in expected.items():
        found = torch.from_numpy(attention.view(result)).double()
        assert found.isfinite().all() and (found - want).abs().max() <= 4e-6 * want.abs().max(), result
    attention.view("q")[0, 23, 3] = np.nan
    attention.run()
    expected = reference(attention)
    for result, want in expected.items():
        assert np.array_equal(np.isnan(attention.view(result)), want.isnan().numpy()), result


@pytest.mark.parametrize("backward", [False, True])
def test_special_values_stay_in_their_row(made, backward):
    """A NaN among the queries, a masked key, a row without any key: NaN where PyTorch's softmax has it, and nowhere else."""
    shape = Shape(1, 2, 30, 50, 16, mask=True)
    attention = made(shape, backward, vector_bits=256)
    mask = attention.view("mask")
    mask[:] = 0
    mask[0, :, 7] = -np.inf
    mask[0, 11, :] = -np.inf
    attention.view("q")[0, 23, 3] = np.nan
    expected = reference(attention)
    attention.run()
    for result, want in expected.items():
        found = torch.from_numpy(attention.view(result)).double()
        assert torch.equal(found.isnan(), want.isnan()), result
        whole = ~want.isnan()
        if whole.any():
            assert (found - want)[whole].abs().max() <= 4e-6 * want[whole].abs().max(), result
