"""A small residual network, written by hand in the nn dialect, against the same network in PyTorch: logits, losses, gradients.

Uneven extents, a stem with padding, strides that do not divide the grid, a max pool, a depthwise convolution, a 1x1 projection.
"""

import types

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import run, tool, write_npz
from torch import nn
from torch.nn import functional as F

IMAGE, BATCH, CLASSES = (3, 18, 25), 3, 6
MEAN, STD = (0.4, 0.5, 0.3), (0.2, 0.25, 0.3)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 18, 7, stride=2, padding=3, bias=False)
        self.bn0 = nn.BatchNorm2d(18)
        self.conv1 = nn.Conv2d(18, 20, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(20)
        self.depthwise = nn.Conv2d(20, 20, 3, padding=2, dilation=2, groups=20)
        self.bn2 = nn.BatchNorm2d(20, eps=1e-3)
        self.project = nn.Conv2d(18, 20, 1, stride=2, bias=False)
        self.bn3 = nn.BatchNorm2d(20)
        self.point = nn.Conv2d(20, 9, 1)
        self.head = nn.Linear(9, CLASSES)

    def forward(self, image):
        mean, std = (torch.tensor(v, dtype=image.dtype).view(1, 3, 1, 1) for v in (MEAN, STD))
        x = F.relu(self.bn0(self.stem((image - mean) / std)))
        x = F.max_pool2d(x, 3, 2, 1)
        y = F.silu(self.bn1(self.conv1(x)))
        y = self.bn2(self.depthwise(y)) + self.bn3(self.project(x))
        return self.head(self.point(F.relu(y)).mean((2, 3)))


class Writer:
    """The lines of `@forward`; each method adds an op and returns its value."""

    def __init__(self, state):
        self.state, self.lines, self.grids = state, [], {}

    def add(self, text, shape, grid=None):
        name = f"%v{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        self.grids[name] = (grid, shape)
        return name

    def type(self, value):
        return f"tensor<?x{'x'.join(map(str, self.grids[value][1]))}xf32>"

    def param(self, name):
        kind = param_type(self.state[name])
        return self.add(f"nn.load_param @{name} : {kind}", None), kind

    def op(self, text, value, shape, grid):
        kind = f"tensor<?x{'x'.join(map(str, shape))}xf32>"
        arrow = "" if shape == self.grids[value][1] else f" -> {kind}"
        return self.add(f"{text} : {self.type(value)}{arrow}", shape, grid)

    def conv(self, name, x, module):
        grid, (_, channels) = self.grids[x]
        (w, wt), operands = self.param(f"{name}.weight"), ""
        types = [self.type(x), wt]
        if module.bias is not None:
            b, bt = self.param(f"{name}.bias")
            operands, types = f", {b}", [*types, bt]
        s, p, d, k = (list(v) for v in (module.stride, module.padding, module.dilation, module.kernel_size))
        out = [(grid[i] + 2 * p[i] - d[i] * (k[i] - 1) - 1) // s[i] + 1 for i in (0, 1)]
        shape = (out[0] * out[1], module.out_channels)
        return self.add(
            f"nn.conv {x}, {w}{operands} grid {grid} stride {s} padding {p} dilation {d} groups {module.groups} : "
            f"({', '.join(types)}) -> tensor<?x{shape[0]}x{shape[1]}xf32>",
            shape,
            out,
        )

    def norm(self, name, x, eps):
        grid, shape = self.grids[x]
        values = [self.param(f"{name}.{part}") for part in ("weight", "bias", "running_mean", "running_var")]
        g, b, m, v = (value for value, _ in values)
        kind = values[0][1]
        return self.add(
            f"nn.batch_norm {x}, {g}, {b} running {m}, {v} eps {eps:e} : {self.type(x)}, {kind}, {kind}, {kind}",
            shape,
            grid,
        )

    def activation(self, kind, x):
        grid, shape = self.grids[x]
        return self.op(f"nn.activation {kind} {x}", x, shape, grid)


def param_type(tensor):
    return f"tensor<{'x'.join(map(str, tensor.shape))}xf32>"


def write(folder, net):
    """model.mlir and its weights, of a network of this shape."""
    state = {name: value for name, value in net.state_dict().items() if not name.endswith("num_batches_tracked")}
    w = Writer(state)
    image = f"tensor<?x{'x'.join(map(str, IMAGE))}xf32>"
    w.grids["%image"] = (None, IMAGE)
    x = w.add(f"nn.normalize %image mean {list(MEAN)} std {list(STD)} : {image}", IMAGE)
    x = w.op(f"nn.image_to_tokens {x}", x, (IMAGE[1] * IMAGE[2], 3), list(IMAGE[1:]))
    x = w.activation("relu", w.norm("bn0", w.conv("stem", x, net.stem), 1e-5))
    grid, (_, channels) = w.grids[x]
    out = [(g - 1) // 2 + 1 for g in grid]
    x = w.op(
        f"nn.max_pool {x} grid {grid} kernel [3, 3] stride [2, 2] padding [1, 1]", x, (out[0] * out[1], channels), out
    )
    y = w.activation("silu", w.norm("bn1", w.conv("conv1", x, net.conv1), 1e-5))
    y = w.norm("bn2", w.conv("depthwise", y, net.depthwise), 1e-3)
    p = w.norm("bn3", w.conv("project", x, net.project), 1e-5)
    y = w.add(f"nn.add {y}, {p} : {w.type(y)}, {w.type(p)}", w.grids[y][1], w.grids[y][0])
    y = w.conv("point", w.activation("relu", y), net.point)
    z = w.op(f"nn.mean_tokens {y}", y, (9,), None)
    (h, ht), (b, bt) = w.param("head.weight"), w.param("head.bias")
    logits = f"tensor<?x{CLASSES}xf32>"
    y = w.add(f"nn.linear {z}, {h}, {b} : (tensor<?x9xf32>, {ht}, {bt}) -> {logits}", (CLASSES,))
    safetensors.torch.save_file(
        {name: value.float().contiguous() for name, value in state.items()}, folder / "w.safetensors"
    )
    size = (folder / "w.safetensors").stat().st_size
    model = (
        f'{{classes = {CLASSES} : i64, image = {list(IMAGE)}, mean = {list(MEAN)}, name = "cnn", std = {list(STD)}}}'
    )
    flags = {
        name: " buffer" if "running" in name else " no_decay" if value.dim() < 2 else ""
        for name, value in state.items()
    }
    (folder / "model.mlir").write_text(
        "\n".join(
            [
                f'module attributes {{nn.model = {model}, nn.weights = #nn.file<"w.safetensors", size = {size}, header = "", content = "">}} {{'
            ]
            + [f"nn.param @{name}{flags[name]} : {param_type(value)}" for name, value in state.items()]
            + [f"func.func @forward(%image: {image}) -> {logits} {{", *w.lines, f"return {y} : {logits}", "}", "}"]
        )
    )


def make_net(dtype):
    torch.manual_seed(0)
    net = Net()
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if name.endswith("running_var") or (name.startswith("bn") and name.endswith("weight")):
                value.uniform_(0.5, 1.5)
            elif name.endswith("running_mean") or name.endswith("bias"):
                value.normal_(0, 0.2)
    return net.to(dtype).eval()


def compile_net(folder, net, dtype, *flags):
    runtime = pytest.importorskip("nullspace.runtime")
    write(folder, net)
    precision = {torch.float32: "f32", torch.float64: "f64"}[dtype]
    run(
        [
            tool("ns-compile"),
            folder / "model.mlir",
            "--emit=library",
            "--site=image",
            f"--precision={precision}",
            f"--batch={BATCH}",
            *flags,
            "-o",
            folder / "model.so",
        ]
    )
    return runtime.Model(folder / "model.so", folder / "w.safetensors")


def batch(dtype):
    random = np.random.default_rng(3)
    return (
        torch.tensor(random.uniform(size=(BATCH, *IMAGE)), dtype=dtype),
        torch.tensor(random.integers(CLASSES, size=BATCH)),
    )


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-11), (torch.float32, 2e-5)])
def test_logits_and_gradients(dtype, tolerance, tmp_path):
    net = make_net(dtype)
    model = compile_net(tmp_path, net, dtype)
    image, labels = batch(dtype)
    weights = [0.5, 0.2, 0.3]
    model.slot("image")[:] = image.numpy()
    model.slot("labels")[:] = labels.numpy()
    model.slot("weights")[:] = weights

    def close(found, wanted, name):
        wanted = wanted.detach().numpy()
        error = np.abs(found - wanted).max()
        assert error <= tolerance * np.abs(wanted).max(), f"{name}: {error} of {np.abs(wanted).max()}"

    model.run("forward")
    close(model.slot("logits"), net(image), "logits")

    image.requires_grad_()
    losses = F.cross_entropy(net(image), labels, reduction="none")
    (losses @ torch.tensor(weights, dtype=dtype)).backward()
    model.run("value_and_grad")
    close(model.slot("losses"), losses, "losses")
    close(model.slot("image_grad"), image.grad, "image")
    model.slot("accumulate")[:] = 0
    model.run("finetune_step")
    gradients = model.param_grads()
    wanted = dict(net.named_parameters())
    assert sorted(gradients) == sorted(wanted), "running statistics have no gradient"
    for name, parameter in wanted.items():
        close(gradients[name], parameter.grad, name)


def adamw_step(model, index, rate, decay):
    model.slot("hyper")[:] = [rate, 0.9, 0.999, 1e-8, decay, 1 - 0.9**index, 1 - 0.999**index]
    model.run("finetune_update")


@pytest.mark.parametrize("arm", ["none", "noised", "trades"])
def test_training_of_batch_norms(arm, tmp_path):
    """Steps of two micro-batches in PyTorch's train(): statistics of each pass of the network, running ones updated by each."""
    net = make_net(torch.float64).train()
    model = compile_net(tmp_path, net, torch.float64, "--batch-norm=train")
    rate, decay = 1e-3, 0.05
    groups = [
        {"params": [p for p in net.parameters() if (p.dim() < 2) == small], "weight_decay": 0 if small else decay}
        for small in (False, True)
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate)
    noise = torch.tensor(0.3 * np.random.default_rng(5).normal(size=model.slot("noise").shape))
    model.slot("noise")[:] = noise.numpy()
    weights = [1 / (2 * BATCH)] * BATCH
    model.slot("weights")[:] = weights
    random, beta = np.random.default_rng(7), 1.7
    if arm == "trades":
        model.slot("beta")[...] = beta
    for step in range(1, 4):
        optimizer.zero_grad()
        for piece in range(2):
            image, labels = (
                torch.tensor(random.uniform(size=(BATCH, *IMAGE))),
                torch.tensor(random.integers(CLASSES, size=BATCH)),
            )
            other = (image + (noise if arm == "noised" else torch.tensor(random.normal(size=image.shape)))).clamp(0, 1)
            logits = [net(x) for x in ([image] if arm == "none" else [image, other])]
            if arm == "trades":
                apart = F.kl_div(logits[1].log_softmax(1), logits[0].softmax(1), reduction="none").sum(1)
                terms = F.cross_entropy(logits[0], labels, reduction="none") + beta * apart
            else:
                terms = sum(F.cross_entropy(z, labels, reduction="none") for z in logits)
            loss = terms @ torch.tensor(weights, dtype=torch.float64)
            loss.backward()
            if arm == "trades":  # reads both, the adversarial ones as what an attack leaves in `image`
                model.slot("clean_image")[:], image = image.numpy(), other
            model.slot("image")[:], model.slot("labels")[:] = image.numpy(), labels.numpy()
            model.slot("accumulate")[:] = piece
            model.run("finetune_step" + ("" if arm == "none" else f"_{arm}"))
            assert abs(model.slot("loss")[0] - loss.item()) <= 1e-9 * loss.item()
        optimizer.step()
        adamw_step(model, step, rate, decay)
        state = net.state_dict()
        for name in (name for name in state if not name.endswith("num_batches_tracked")):
            wanted = state[name].numpy()
            np.testing.assert_allclose(
                model.param(name), wanted, rtol=0, atol=1e-8 * np.abs(wanted).max(), err_msg=name
            )
    # Evaluation and synthesis keep to the running statistics.
    net.eval()
    model.run("forward")
    np.testing.assert_allclose(model.slot("logits"), net(image).detach().numpy(), rtol=1e-7, atol=1e-8)


def test_finetuning_executable_keeps_running_statistics(tmp_path):
    net = make_net(torch.float32)
    write(tmp_path, net)
    info = types.SimpleNamespace(image=IMAGE, classes=CLASSES)
    write_npz(tmp_path / "data.npz", info, train=4 * BATCH, val=BATCH)
    exe = tmp_path / "finetune"
    run(
        [
            tool("ns-compile"),
            tmp_path / "model.mlir",
            "--emit=finetune",
            "--batch-norm=train",
            f"--batch={BATCH}",
            "-o",
            exe,
        ]
    )

    def finetune(out, size, check=True):  # --weights: the module was written without hashes of the file
        return run(
            [
                exe,
                "--weights",
                tmp_path / "w.safetensors",
                "--data-dir",
                tmp_path / "data.npz",
                "--output",
                tmp_path / out,
                "--arm",
                "gaussian",
                "--noise-norm",
                "2",
                "--rounds",
                "1",
                "--steps-per-round",
                "2",
                "--batch-size",
                size,
                "--lr",
                "1e-3",
            ],
            check=check,
        )

    finetune("out", 2 * BATCH)
    before, after = (safetensors.torch.load_file(tmp_path / name) for name in ("w.safetensors", "out/last.safetensors"))
    assert before.keys() == after.keys()
    for name in before:  # statistics too: they are weights of the file
        assert not torch.equal(before[name], after[name]), name
    refused = finetune("refused", BATCH + 1, check=False)
    assert refused.returncode == 2 and f"expected a multiple of {BATCH}" in refused.stderr
