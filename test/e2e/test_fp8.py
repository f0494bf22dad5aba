"""--precision=fp8 (an experiment, for a GPU's synthesis): products of frozen weights in e4m3, on the emulated driver.

The oracle is PyTorch in float64 that rounds what the artefact rounds: torch.float8_e4m3fn where a frozen weight is multiplied, bfloat16 elsewhere.
Numbers of 4 bits differ by 6 %, so one that lies beside a boundary rounds to the other side for a difference in the last bit of a float32: what is asked
of a gradient is that it lies much nearer to the oracle's than the oracle's does to the exact one.
"""

import csv
import json
import os

import numpy as np
import pytest
import safetensors
import torch
import torch.nn.functional as F
from conftest import compile_model, images, run, small_vit, tool, write_npz
from test_cuda import use_emulator

runtime = pytest.importorskip("nullspace.runtime")
BATCH = 3
FP8 = ["--target=cuda", "--device-code=emulate", "--precision=fp8"]


def bf16(x):
    return x.to(torch.bfloat16).double()


def e4m3(x):
    """Each row over a power of two for which its largest element is between 224 and 448, rounded, and back."""
    half = (x.abs().amax(-1, keepdim=True) / 224).clamp(min=2.0**-100)
    scale = torch.exp2(torch.floor(torch.log2(half)))
    return (x / scale).float().to(torch.float8_e4m3fn).double() * scale


class Frozen(torch.autograd.Function):
    """x W^T; `quantize` is e4m3 or bf16. Rows for tokens are bfloat16."""

    @staticmethod
    def forward(ctx, x, w, quantize):
        ctx.w, ctx.quantize = w, quantize
        y = quantize(x) @ quantize(w).T
        return bf16(y) if x.dim() == 3 else y

    @staticmethod
    def backward(ctx, dy):
        dx = ctx.quantize(dy) @ ctx.quantize(ctx.w.T.contiguous()).T
        return (bf16(dx) if dy.dim() == 3 else dx), None, None


class Product(torch.autograd.Function):
    """Of two activations, in bfloat16."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.operands = bf16(a), bf16(b)
        return bf16(ctx.operands[0] @ ctx.operands[1])

    @staticmethod
    def backward(ctx, d):
        a, b = ctx.operands
        return bf16(bf16(d) @ b.mT), bf16(a.mT @ bf16(d))


class Rounded(torch.autograd.Function):
    """What is bfloat16 on its way, forward or backward."""

    @staticmethod
    def forward(ctx, x, backward):
        ctx.backward = backward
        return x if backward else bf16(x)

    @staticmethod
    def backward(ctx, d):
        return (bf16(d) if ctx.backward else d), None


def linear(x, layer, norm=None, rows=slice(None)):
    """Rows of a layer behind a norm, whose gain and shift are folded into it."""
    w, b = layer.weight.flatten(1)[rows], layer.bias[rows]
    if norm is not None:
        x = F.layer_norm(x, x.shape[-1:], eps=norm.eps)
        w, b = w * norm.weight, b + w @ norm.bias
    quantize = e4m3 if all(extent % 16 == 0 for extent in w.shape) else bf16
    return Frozen.apply(x, w.detach(), quantize) + b


def quantized(golden, image, noise=None):
    """The logits of a ViT of timm by the arithmetic of --precision=fp8."""
    net, n = golden.net, len(image)
    size = net.patch_embed.proj.kernel_size
    patches = bf16(F.unfold((image.double() - golden.mean) / golden.std, size, stride=size).mT)
    x = linear(patches, net.patch_embed.proj)
    x = x if noise is None else x + noise
    x = torch.cat([net.cls_token.expand(n, -1, -1), x], 1) + net.pos_embed
    for block in net.blocks:
        attn = block.attn
        width = attn.num_heads * attn.head_dim
        heads = lambda y: y.unflatten(2, (-1, attn.num_heads, attn.head_dim)).permute(2, 0, 3, 1, 4)
        if block is not net.blocks[-1]:
            q, k, v = heads(Rounded.apply(linear(x, attn.qkv, block.norm1), True))
        else:  # the class token alone asks, and goes on
            (q,) = heads(Rounded.apply(linear(x[:, :1], attn.qkv, block.norm1, slice(width)), True))
            k, v = heads(Rounded.apply(linear(x, attn.qkv, block.norm1, slice(width, None)), True))
            x = x[:, :1]
        probabilities = (Product.apply(q, k.mT) * attn.scale).softmax(-1)
        o = Rounded.apply(Product.apply(probabilities, v), False).transpose(1, 2).flatten(2)
        x = x + linear(o, attn.proj)
        x = x + linear(F.gelu(linear(x, block.mlp.fc1, block.norm2)), block.mlp.fc2)
    return linear(x[:, 0], net.head, net.norm)


@pytest.fixture(scope="module", autouse=True)
def emulator(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    use_emulator(patch)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def case(cases):
    return small_vit(cases, depth=2)


@pytest.fixture(scope="module")
def synth(case):
    return runtime.Model(compile_model(case, "synth", f"--batch={BATCH}", *FP8))


@pytest.fixture(scope="module")
def inputs(case, synth):
    torch.manual_seed(5)
    return images(BATCH, case.info), 0.5 * torch.randn(synth.slot("noise").shape)


def distance(found, golden):
    return float((torch.as_tensor(np.asarray(found)).double().reshape(golden.shape) - golden).norm() / golden.norm())


def test_logits(case, synth, inputs):
    image, _ = inputs
    golden = case.golden().requires_grad_(False)
    exact, expected = golden(image), quantized(golden, image)
    for turn in range(2):
        found = synth.clean_logits(image.numpy())
        assert distance(found, expected) <= 1e-3 * distance(expected, exact)
    assert distance(synth.forward(image.numpy()), exact) <= 1e-5  # what measures is float32


def test_synthesis_gradient(case, synth, inputs):
    image, noise = inputs
    golden = case.golden().requires_grad_(False)

    def gradient(model):
        variable = noise.double().requires_grad_()
        (model(image, variable) - model(image)).square().sum(1).mean().backward()
        return variable.grad

    exact, expected = gradient(golden), gradient(lambda *x: quantized(golden, *x))
    for turn in range(2):  # as it is called, captured and launched
        _, found = synth.synth_gradient(image.numpy(), synth.clean_logits(image.numpy()), noise.numpy())
        assert distance(found, expected) <= 0.05 * distance(expected, exact)
        assert 1e-3 < distance(found, exact) <= 1.2 * distance(expected, exact)


def test_images_do_not_see_one_another(synth, inputs):
    """Scales belong to rows: an image has the same logits to the bit in any batch, and without noise there is no loss."""
    image, noise = (x.numpy() for x in inputs)
    clean = synth.clean_logits(image)
    np.testing.assert_array_equal(synth.clean_logits(np.stack([image[2], 0 * image[0], image[1]]))[[0, 2]], clean[[2, 1]])
    loss, grad = synth.synth_gradient(image, clean, 0 * noise)
    assert loss == 0 and not grad.any()


def test_nan_is_kept(synth, inputs):
    image = inputs[0].numpy().copy()
    image[1, 0, 3, 3] = np.nan
    logits = synth.clean_logits(image)
    assert np.isnan(logits[1]).all() and np.isfinite(logits[[0, 2]]).all()


def test_noise_is_verified_in_float32(case, inputs, tmp_path):
    """A whole synthesis: it ends by the float32 test, and says what the noise costs in both arithmetics."""
    write_npz(tmp_path / "data.npz", case.info, train=40, val=8)
    common = ["--data-dir", tmp_path / "data.npz", "--seed", "3", "--train-fraction", "0.5", "--stop-samples", 8]
    flags = ["--steps", 30, "--lr", "0.05", "--batch-size", 4, "--eval-every", 5, "--eps", "0.02"]
    program = compile_model(case, "synth", "--batch=4", *FP8)
    said = run([program, *common, *flags, "--output", tmp_path / "fp8"]).stdout
    with safetensors.safe_open(tmp_path / "fp8" / "noise.safetensors", "np") as file:
        facts = file.metadata()
        assert file.get_tensor("noise").size
    assert facts["precision"] == "fp8" and facts["converged"] == "yes" and float(facts["stop_value"]) < 0.02
    assert int(facts["steps"]) < 30 and "in FP8" in said
    # The float32 artefact of the CPU says the same of that noise, and PyTorch of its loss in float64.
    wide = compile_model(case, "synth", "--batch=4")
    run(
        [wide, *common, "--output", tmp_path / "f32", "--steps", 1, "--lr", "0", "--weight-decay", "0", "--init"]
        + [tmp_path / "fp8" / "noise.safetensors"],
        check=False,
    )
    with safetensors.safe_open(tmp_path / "f32" / "noise.safetensors", "np") as file:
        assert float(file.metadata()["stop_value"]) == pytest.approx(float(facts["stop_value"]), rel=1e-4)
    with open(tmp_path / "fp8" / "summary.csv", newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < 0.5 * losses[0]
    fp8, float32 = float(facts["stop_loss_fp8"]), float(facts["stop_loss_float32"])
    assert fp8 == pytest.approx(float32, rel=0.5) and fp8 != float32 and 0.2 * losses[-1] < float32 < 5 * losses[-1]


def test_no_stop_images_no_noise(case, tmp_path):
    write_npz(tmp_path / "data.npz", case.info, train=8, val=4)
    program = compile_model(case, "synth", "--batch=4", *FP8)
    result = run(
        [program, "--data-dir", tmp_path / "data.npz", "--output", tmp_path / "o", "--stop-samples", 0], check=False
    )
    assert result.returncode == 1 and "--stop-samples: expected at least 1 with an artefact of precision fp8" in result.stderr


def test_older_gpus_are_refused(case, tmp_path):
    """What it needs is in the artefact, and said where it is missing."""
    program = compile_model(case, "synth", "--batch=4", *FP8)
    assert json.loads(run([program, "--info"]).stdout)["device"]["capability"] == 89
    write_npz(tmp_path / "data.npz", case.info, train=8, val=4)
    result = run(
        [program, "--data-dir", tmp_path / "data.npz", "--output", tmp_path / "o"],
        check=False,
        env=os.environ | {"NSEMU_CAPABILITY": "80"},
    )
    assert result.returncode == 1
    assert "expected a GPU of compute capability 8.9 or later for products of FP8" in result.stderr
    assert "of 8.0" in result.stderr


def test_no_device_code_for_older_gpus(case, tmp_path):
    """The default architectures are those that have FP8."""
    flags = ["--target=cuda", "--precision=fp8", "--compile-to=kernels", "-o", tmp_path / "k.mlir"]
    run([tool("ns-compile"), case.mlir, *flags])
    assert "f8E4M3FN" in (tmp_path / "k.mlir").read_text()
    result = run([tool("ns-compile"), case.mlir, *flags, "--arch=sm_80"], check=False)
    assert result.returncode == 2 and "--arch: expected sm_89 or later with --precision=fp8" in result.stderr
