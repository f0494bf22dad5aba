"""Arms madry and trades of finetuning against PyTorch loops at the same random numbers, and the entries that they run."""

import signal
import subprocess
import time

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from conftest import adamw, column, compile_model, cosine, moved_elsewhere, run, write_npz
from nullspace import runtime

BATCH, IMAGES = 4, 8  # a step is two calls
EPS, SIZE, ATTACK_STEPS, BETA = 4 / 255, 1.5 / 255, 3, 2.5
SEED, STREAM = 5, 12  # Stream::TrainingAttack
FLAGS = ["--attack-eps", "4/255", "--attack-step-size", SIZE, "--attack-steps", ATTACK_STEPS, "--beta", BETA, "--seed", SEED]


def philox(elements: np.ndarray, draw: int) -> np.ndarray:
    """Rng(SEED, STREAM, draw).bits of these elements: Salmon et al., SC'11, as include/ns/Runtime/Rng.h lays the counter out."""
    mask, block = np.uint64(0xFFFFFFFF), (elements // 4).astype(np.uint64)
    words = [block & mask, block >> np.uint64(32), np.full_like(block, draw), np.full_like(block, STREAM)]
    key = [np.uint64(SEED), np.uint64(0)]
    for _ in range(10):
        a, b = np.uint64(0xD2511F53) * words[0], np.uint64(0xCD9E8D57) * words[2]
        words = [(b >> np.uint64(32)) ^ words[1] ^ key[0], b & mask, (a >> np.uint64(32)) ^ words[3] ^ key[1], a & mask]
        key = [(key[0] + np.uint64(0x9E3779B9)) & mask, (key[1] + np.uint64(0xBB67AE85)) & mask]
    return np.stack(words, 1)[np.arange(len(elements)), elements % 4]


def uniform(count: int, draw: int) -> torch.Tensor:
    return torch.tensor(philox(np.arange(count), draw) / 2.0**32)


def normal(count: int, draw: int) -> torch.Tensor:
    bits = philox(np.arange(2 * count), draw) / 2.0**32
    return torch.tensor(np.sqrt(-2 * np.log(bits[::2] + 2.0**-33)) * np.cos(2 * np.pi * bits[1::2]))


def divergence(clean: torch.Tensor, adversarial: torch.Tensor) -> torch.Tensor:
    return F.kl_div(adversarial.log_softmax(1), clean.softmax(1), reduction="sum")


def attacked(net, x, y, arm, step):
    """The images of a step after projected ascent from their random starts."""
    starts = [step * IMAGES + i for i in range(IMAGES)]
    if arm == "madry":
        start = x + torch.stack([EPS * (2 * uniform(x[0].numel(), draw) - 1) for draw in starts]).view_as(x)
    else:
        start = x + 1e-3 * torch.stack([normal(x[0].numel(), draw) for draw in starts]).view_as(x)
    found, clean = start.clamp(0, 1), net(x).detach()
    for _ in range(ATTACK_STEPS):
        found.requires_grad_()
        loss = F.cross_entropy(net(found), y, reduction="sum") if arm == "madry" else divergence(clean, net(found))
        (gradient,) = torch.autograd.grad(loss, found)
        found = torch.clamp(found.detach() + SIZE * gradient.sign(), x - EPS, x + EPS).clamp(0, 1)
    return found


@pytest.fixture(scope="module")
def executable(small):
    return compile_model(small, "finetune", f"--batch={BATCH}", "--precision=f64")


@pytest.mark.parametrize("arm", ["madry", "trades"])
def test_steps_follow_pytorch(small, executable, tmp_path, arm):
    steps, lr, decay = 6, 1e-3, 0.05
    x, y, *_ = write_npz(tmp_path / "data.npz", small.info, train=IMAGES, val=8)
    run([executable, "--data-dir", tmp_path / "data.npz", "--output", tmp_path / "run", "--arm", arm, "--rounds", 1,
         "--steps-per-round", steps, "--lr", lr, "--min-lr", 0.1 * lr, "--weight-decay", decay, "--batch-size", IMAGES,
         "--aug", "none", "--holdout-samples", 0, "--no-shuffle", *FLAGS])  # fmt: skip

    net, x = small.golden(), x.double()
    optimizer = adamw(net.net, small.info, lr, decay)
    start = {name: p.detach().clone() for name, p in net.net.named_parameters()}
    losses = []
    for step in range(steps):
        found = attacked(net, x, y, arm, step)
        if arm == "madry":
            loss = F.cross_entropy(net(found), y)
        else:
            loss = F.cross_entropy(net(x), y) + BETA * divergence(net(x), net(found)) / IMAGES
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = cosine(step, steps, lr, low=0.1 * lr)
        optimizer.step()
        losses.append(loss.item())
    np.testing.assert_allclose(column(tmp_path / "run" / "summary.csv", "loss"), losses, rtol=1e-7)
    found = safetensors.torch.load_file(tmp_path / "run" / "last.safetensors")
    assert not moved_elsewhere(net.net, start, found, tolerance=1e-4)


def test_entries_of_trades_are_pytorchs(small, executable):
    """Loss, its gradient by every parameter and by the pixels; and the latter against central differences."""
    model, net = runtime.Model(str(executable)), small.golden()
    generator = torch.Generator().manual_seed(3)
    image, adversarial = torch.rand(2, BATCH, *small.info.image, generator=generator, dtype=torch.float64)
    labels = torch.randint(small.info.classes, (BATCH,), generator=generator)
    weights = torch.tensor([0.4, 0.3, 0.2, 0.0], dtype=torch.float64)  # of a partial batch
    for name, value in (("labels", labels), ("weights", weights)):
        model.slot(name)[:] = value.numpy()
    model.slot("beta")[...] = BETA

    def loss_of(clean, found):
        apart = (clean.softmax(1) * (clean.log_softmax(1) - found.log_softmax(1))).sum(1)
        return (weights * (F.cross_entropy(clean, labels, reduction="none") + BETA * apart)).sum()

    model.slot("clean_image")[:], model.slot("image")[:] = image.numpy(), adversarial.numpy()
    expected = loss_of(net(image), net(adversarial))
    expected.backward()
    model.run("finetune_step_trades")
    assert abs(float(np.ravel(model.slot("loss"))[0]) - expected.item()) <= 1e-9 * expected.item()
    found = model.param_grads()
    largest = max(p.grad.abs().max().item() for p in net.parameters())
    for name, parameter in net.net.named_parameters():
        assert np.abs(found[name] - parameter.grad.numpy()).max() <= 1e-8 * largest, name

    clean = net(image).detach()
    model.slot("clean_logits")[:] = clean.numpy()

    def by_pixels(pixels):
        model.slot("image")[:] = pixels.numpy()
        model.run("trades_grad")
        return float(np.ravel(model.slot("loss"))[0]), np.array(model.slot("image_grad"))

    variable = adversarial.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss_of(clean, net(variable)), variable)
    _, found = by_pixels(adversarial)
    assert gradient.abs().max() > 0 and np.abs(found - gradient.numpy()).max() <= 1e-8 * gradient.abs().max().item()
    direction, step = torch.randn(image.shape, generator=generator, dtype=torch.float64), 1e-6
    above, below = (by_pixels(adversarial + sign * step * direction)[0] for sign in (1, -1))
    slope = (found * direction.numpy()).sum()
    assert abs((above - below) / (2 * step) - slope) <= 1e-6 * np.abs(found * direction.numpy()).sum()


def test_stopped_and_resumed_attacks_give_the_same_bits(small, executable, tmp_path):
    """SIGTERM in the attack inside a step or between steps; augmented, so the attack starts from what the loader drew."""
    write_npz(tmp_path / "data.npz", small.info, train=32, val=8)
    flags = ["--data-dir", tmp_path / "data.npz", "--arm", "trades", "--rounds", 3, "--steps-per-round", 5, "--batch-size", 8,
             "--lr", "1e-3", "--holdout-samples", 2, *FLAGS]  # fmt: skip
    run([executable, *flags, "--output", tmp_path / "whole"])
    output = tmp_path / "stopped"
    process = subprocess.Popen([str(c) for c in [executable, *flags, "--output", output]], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    while process.poll() is None and not (output / "optimizer.safetensors").exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) in (0, 143)
    run([executable, *flags, "--output", output, "--resume"])
    for name in ("last.safetensors", "best.safetensors"):
        assert (output / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    other = run([executable, *flags, "--output", output, "--resume", "--beta", 1], check=False)
    assert other.returncode == 1 and "--beta: expected 2.5, found 1" in other.stderr


@pytest.mark.parametrize(
    "flags, text",
    [
        (["--attack-eps", "8/0"], "--attack-eps: expected a number or a fraction in [0, 1], found '8/0'"),
        (["--attack-step-size", "2"], "--attack-step-size: expected a number or a fraction in [0, 1], found '2'"),
        (["--attack-steps", "0"], "--attack-steps"),
        (["--beta", "-1"], "--beta"),
        (["--arm", "pgd"], "--arm"),
    ],
)
def test_flags_out_of_range_are_usage_errors(executable, flags, text):
    result = run([executable, "--data-dir", "x", "--output", "y", *flags], check=False)
    assert result.returncode == 2 and text in result.stderr
