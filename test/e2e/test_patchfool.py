"""Patch-Fool (Fu et al. 2022): its entries against PyTorch and central differences, and `evaluate` against the published algorithm, float64.

The algorithm below is that of the authors' code (github.com/RICE-EIC/Patch-Fool), with gradients of each image's own loss: a batch of one."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import compile_model, export_and_import, run, small_vit, write_npz
from families import build
from test_attacks import margin
from test_evaluate import outcomes

BATCH, COUNT, PATCH = 4, 24, 8
TOKENS, PREFIX, LAYERS = 19, 3, 6  # 16 patches behind a class token and 2 registers
LOSS_LAYERS = range(1, LAYERS // 2)


@pytest.fixture(scope="module")
def six(cases):
    return small_vit(
        cases,
        statistics=dict(mean=[0.5, 0.4, 0.3], std=[0.2, 0.25, 0.3]),
        depth=LAYERS,
        embed_dim=32,
        reg_tokens=PREFIX - 1,
    )


class Attending(torch.nn.Module):
    """Logits and every layer's probabilities, B x heads x queries x keys, of normalised images."""

    def __init__(self, golden):
        super().__init__()
        self.golden, self.maps = golden, []
        for block in golden.net.blocks:
            block.attn.fused_attn = False
            block.attn.attn_drop.register_forward_hook(lambda module, args, result: self.maps.append(result))

    def forward(self, normalised):
        self.maps.clear()
        return self.golden.net(normalised), list(self.maps)


def attention_loss(probabilities, patch):
    """Mean over queries of the logarithm of the heads' mean, by image; `patch`: a token of each."""
    rows = torch.arange(len(patch))
    return probabilities.mean(1)[rows, :, patch].log().mean(1)


@pytest.fixture(scope="module")
def library(six):
    from nullspace import runtime

    model = runtime.Model(str(compile_model(six, "library", f"--batch={BATCH}", "--precision=f64")))
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(BATCH, *six.info.image, generator=generator, dtype=torch.float64)
    model.slot("weights")[:] = 1
    return model, six.golden(), image, torch.arange(BATCH)


def differentiate(model, image, labels, patch):
    model.slot("image")[:] = image.numpy()
    model.slot("labels")[:] = labels.numpy()
    model.slot("patch")[:] = F.one_hot(patch, TOKENS).numpy()
    model.run("patchfool_grad")
    names = ["losses", "image_grad"] + [
        f"attention_{what}_{layer}" for layer in LOSS_LAYERS for what in ("loss", "grad")
    ]
    found = [np.array(model.slot(name)) for name in names]
    return found[0::2], found[1::2]


def test_attention_received_is_pytorchs(library):
    model, golden, image, _ = library
    weights = torch.rand(BATCH, TOKENS, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    model.slot("image")[:] = image.numpy()
    model.slot("query_weights")[:] = weights.numpy()
    model.run("attention_received")
    found = np.array(model.slot("attention")).reshape(BATCH, LAYERS, TOKENS)
    with torch.no_grad():
        maps = Attending(golden)((image - golden.mean) / golden.std)[1]
    expected = torch.stack([torch.einsum("bq,bqk->bk", weights, p.mean(1)) for p in maps], 1).numpy()
    assert np.abs(found - expected).max() <= 1e-12 and np.ptp(expected) > 0.1


def test_losses_and_gradients_are_pytorchs(library):
    model, golden, image, labels = library
    patch = torch.tensor([3, 18, 7, 11])
    losses, gradients = differentiate(model, image, labels, patch)
    variable = image.clone().requires_grad_()
    logits, maps = Attending(golden)((variable - golden.mean) / golden.std)
    expected = [F.cross_entropy(logits, labels, reduction="none")]
    expected += [attention_loss(maps[layer], patch) for layer in LOSS_LAYERS]
    for found, gradient, loss in zip(losses, gradients, expected, strict=True):
        (slope,) = torch.autograd.grad(loss.sum(), variable, retain_graph=True)
        assert np.abs(found - loss.detach().numpy()).max() <= 1e-10
        assert np.abs(gradient - slope.numpy()).max() <= 1e-9 * slope.abs().max().item()
        assert slope.abs().max() > 0


def test_gradients_are_central_differences(library):
    model, _, image, labels = library
    patch = torch.tensor([5, 4, 12, 3])
    direction = torch.randn(image.shape, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    step = 1e-6
    _, gradients = differentiate(model, image, labels, patch)
    above, _ = differentiate(model, image + step * direction, labels, patch)
    below, _ = differentiate(model, image - step * direction, labels, patch)
    for high, low, gradient in zip(above, below, gradients, strict=True):
        expected = (gradient * direction.numpy()).sum((1, 2, 3))
        assert np.abs((high - low) / (2 * step) - expected).max() <= 1e-6 * max(1, np.abs(expected).max())


def uniforms(image, restart, count, seed=42):
    """The runtime's numbers in [0, 1) for the start of an attack: Philox4x32-10 (ns/Runtime/Rng.h)."""
    step, blocks = image * 4096 + restart, np.arange((count + 3) // 4, dtype=np.uint64)
    mask = np.uint64(0xFFFFFFFF)
    words = [blocks & mask, blocks >> np.uint64(32), np.full_like(blocks, step), np.full_like(blocks, 7)]
    keys = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        a, b = np.uint64(0xD2511F53) * words[0], np.uint64(0xCD9E8D57) * words[2]
        high = [
            (b >> np.uint64(32)) ^ words[1] ^ np.uint64(keys[0]),
            (a >> np.uint64(32)) ^ words[3] ^ np.uint64(keys[1]),
        ]
        words = [high[0], b & mask, high[1], a & mask]
        keys = [(keys[0] + 0x9E3779B9) & 0xFFFFFFFF, (keys[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return torch.from_numpy(np.stack(words, 1).reshape(-1)[:count] / 2.0**32)


def uniform_images(shape, restart):
    return torch.stack([uniforms(i, restart, int(np.prod(shape[1:]))).view(shape[1:]) for i in range(shape[0])])


def random_patches(count, num_patch):
    chosen = []
    for i in range(count):
        draws, order = uniforms(i, 2, 16), list(range(16))
        for at, draw in zip(range(15, 0, -1), draws):
            j = int(draw * (at + 1))
            order[at], order[j] = order[j], order[at]
        chosen.append(order[:num_patch])
    return torch.tensor(chosen)


def largest(mask, count):
    threshold = mask.flatten(1).sort(dim=1, descending=True).values[:, count - 1]
    return (mask >= threshold.view(-1, 1, 1, 1)).to(mask.dtype)


def pcgrad(part, ce, exact):
    """What of each image's gradient does not oppose cross-entropy's; the authors' code divides by its norm, once."""
    part, ce = part.flatten(1), ce.flatten(1)
    dot, norm = (part * ce).sum(1, keepdim=True), ce.norm(dim=1, keepdim=True)
    return torch.where(dot < 0, part - dot / (norm**2 if exact else norm) * ce, part)


def chosen_patches(model, x, start, labels, select, count, layer):
    """The first `count` patches by the attention they receive or by saliency, or random ones: N x count."""
    if select == "Attn":
        score = model(start)[1][layer].mean(1).mean(-2)[:, PREFIX:]
    elif select == "Saliency":
        (g,) = torch.autograd.grad(F.cross_entropy(model(start)[0], labels, reduction="sum"), start)
        score = F.conv2d(g.abs(), torch.ones(1, 3, PATCH, PATCH, dtype=g.dtype), stride=PATCH).flatten(1)
    else:
        return random_patches(len(x), count)
    return score.argsort(dim=1, descending=True)[:, :count]


def bounded(delta, original, mask, std, low, high, l2, linf):
    """delta within `l2` in each channel of the masked patches, within `linf` of each pixel, and inside the image's range."""
    if l2:
        moved = (delta - original) * mask
        size = moved.flatten(2).norm(dim=2)
        radius = (l2 / std).view(1, 3)
        delta = original + moved * torch.where(size < radius, 1, radius / size)[..., None, None]
    if linf:
        delta = torch.maximum(torch.minimum(delta, original + linf / std), original - linf / std)
    return delta.clamp(low, high)


def patch_fool(
    golden,
    x,
    labels,
    select="Attn",
    num_patch=1,
    sparse=0,
    random_sparse=False,
    mask_stop=200,
    attention=True,
    weight=0.002,
    layer=4,
    l2=0.0,
    linf=0.0,
    iters=250,
    lr=0.22,
    step_size=10,
    gamma=0.95,
    exact=False,
    best=False,
):
    """Margins of the right class: of the last iterate, or the least of all."""
    model, mean, std = Attending(golden), golden.mean, golden.std
    low, high = (0 - mean) / std, (1 - mean) / std
    original = (x - mean) / std
    start = original.clone().requires_grad_()
    chosen = chosen_patches(model, x, start, labels, select, num_patch, layer)
    mask = F.one_hot(chosen, 16).sum(1).to(x.dtype).view(-1, 1, 4, 4)
    mask = mask.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)
    learnable = mask * uniform_images((len(x), 1, 32, 32), 1)
    learns = sparse and not random_sparse
    if sparse and random_sparse:
        mask = largest(learnable, sparse)
    delta = uniform_images(x.shape, 0)
    delta = original + linf / std * (2 * delta - 1) if linf else (delta - mean) / std
    delta = delta.clamp(low, high).requires_grad_()
    learnable.requires_grad_(bool(learns))
    descent, mask_descent = torch.optim.Adam([delta], lr=lr), torch.optim.Adam([learnable], lr=1e-2)
    schedule = torch.optim.lr_scheduler.StepLR(descent, step_size=step_size, gamma=gamma)
    least, changes = torch.full((len(x),), torch.inf, dtype=x.dtype), mask
    for iteration in range(iters):
        learning, through = learns and iteration < mask_stop, mask
        if learning:
            changes = largest(learnable.detach(), sparse)
            through = ((changes - learnable).detach() + learnable) * mask
        elif learns:
            through = changes
        logits, maps = model(original * (1 - changes) + delta * through)
        if best and iteration:
            least = torch.minimum(least, margin(logits.detach(), labels))
        variables = [delta, learnable] if learning else [delta]
        losses = [F.cross_entropy(logits, labels, reduction="sum")]
        if attention:
            losses += [attention_loss(maps[i], chosen[:, 0] + PREFIX).sum() for i in LOSS_LAYERS]
        for variable in variables:
            gradients = [torch.autograd.grad(loss, variable, retain_graph=True)[0] for loss in losses]
            total = gradients[0].clone()
            for part in gradients[1:]:
                total += weight * pcgrad(part, gradients[0], exact).view_as(total)
            variable.grad = -total
        descent.step()
        schedule.step()
        with torch.no_grad():
            if learning:
                mask_descent.step()
                learnable -= learnable.flatten(1).amin(1).view(-1, 1, 1, 1)
                learnable += 1e-6
                learnable *= mask
            delta.copy_(bounded(delta, original, mask, std, low, high, l2, linf))
    if learns and iters - 1 < mask_stop:
        changes = largest(learnable.detach(), sparse)
    with torch.no_grad():
        logits, _ = model(original * (1 - changes) + delta * changes)
    return torch.minimum(least, margin(logits, labels))


LAST = "iterate=last,atten_select=3"
ATTACKS = {
    f"train_attack_iters=5,{LAST}": dict(iters=5, layer=3),
    "train_attack_iters=6,attack_learning_rate=0.03,step_size=2,gamma=0.7,atten_loss_weight=0.4,mild_l_inf=8/255": dict(
        iters=6, lr=0.03, step_size=2, gamma=0.7, weight=0.4, linf=8 / 255, best=True
    ),
    f"train_attack_iters=4,attack_learning_rate=0.1,atten_loss_weight=0.5,num_patch=2,pcgrad=exact,patch_select=Saliency,{LAST}": dict(
        iters=4, lr=0.1, weight=0.5, num_patch=2, exact=True, select="Saliency"
    ),
    f"train_attack_iters=5,attack_mode=CE_loss,patch_select=Rand,num_patch=2,mild_l_inf=12/255,{LAST}": dict(
        iters=5, attention=False, select="Rand", num_patch=2, linf=12 / 255
    ),
    f"train_attack_iters=8,mild_l_2=0.3,atten_loss_weight=0.1,{LAST}": dict(iters=8, l2=0.3, weight=0.1, layer=3),
    f"train_attack_iters=6,num_patch=2,sparse_pixel_num=30,atten_loss_weight=0.3,{LAST}": dict(
        iters=6, num_patch=2, sparse=30, weight=0.3, layer=3
    ),
    "train_attack_iters=7,num_patch=2,sparse_pixel_num=6,learnable_mask_stop=3": dict(
        iters=7, num_patch=2, sparse=6, mask_stop=3, best=True
    ),
    f"train_attack_iters=6,num_patch=3,sparse_pixel_num=8,random_sparse_pixel=yes,{LAST}": dict(
        iters=6, num_patch=3, sparse=8, random_sparse=True, layer=3
    ),
}


@pytest.fixture(scope="module")
def attacked(six, tmp_path_factory):
    folder = tmp_path_factory.mktemp("patchfool")
    *_, x, _ = write_npz(folder / "data.npz", six.info, train=4, val=COUNT)
    golden = six.golden()
    with torch.no_grad():
        y = golden(x).argmax(1)
    np.savez(folder / "data.npz", **dict(np.load(folder / "data.npz")) | {"y_val": y.numpy()})
    flags = [flag for text in ATTACKS for flag in ("--attack", f"patchfool:{text}")]
    executable = compile_model(six, "evaluate", "--batch=5", "--precision=f64")
    run([executable, "--data-dir", folder / "data.npz", "--output", folder / "out", *flags])
    return outcomes(folder / "out"), golden, x.double(), y


@pytest.mark.parametrize("text", ATTACKS)
def test_who_falls_is_pytorchs(attacked, text):
    found, golden, x, y = attacked
    margins = patch_fool(golden, x, y, **ATTACKS[text]).numpy()
    assert found["clean"].all() and 0 < (margins > 0).sum() < COUNT, "all or nothing falls: nothing is tested"
    assert np.abs(margins).min() > 1e-6, "a matter of rounding"
    assert (found[f"patchfool:{text}"] == (margins > 0)).all()


@pytest.mark.parametrize(
    "text, message",
    [
        ("patch_select=Best", "expected patch_select=Attn or Saliency or Rand"),
        ("num_patch=17", "num_patch of at most the image's 16 patches"),
        ("sparse_pixel_num=65", "at most the 64 pixels of the patches"),
        ("mild_l_2=1,mild_l_inf=0.1", "one of mild_l_2 and mild_l_inf"),
        ("mild_l_inf=8", "mild_l_inf = 8 is out of range"),
        ("atten_select=6", "atten_select below the 6 layers"),
        ("random_sparse_pixel=yes", "expected sparse_pixel_num"),
        ("patch_size=4", "expected patch_size to be that of the model's tokens, 8x8"),
    ],
)
def test_bad_plans_are_usage_errors(six, attacked, tmp_path, text, message):
    write_npz(tmp_path / "data.npz", six.info, train=4, val=1)
    executable = compile_model(six, "evaluate", "--batch=5", "--precision=f64")
    flags = ["--data-dir", tmp_path / "data.npz", "--output", tmp_path / "out", "--attack", f"patchfool:{text}"]
    failed = run([executable, *flags], check=False)
    assert failed.returncode == 2 and message in failed.stderr


@pytest.mark.parametrize(
    "family, why",
    [
        ("timm_convnext", "the network has no attention between its tokens"),
        ("timm_swin", "layer layers.0.blocks.0.attn attends within windows of 16 tokens, not over the image"),
    ],
)
def test_a_network_without_attention_over_its_patches_says_so(family, why, tmp_path):
    model, info, _ = build(family, tmp_path)
    case = export_and_import(model, info, tmp_path)
    write_npz(tmp_path / "data.npz", case.info, train=4, val=2)
    executable = compile_model(case, "evaluate", "--batch=2")
    data = ["--data-dir", tmp_path / "data.npz", "--output", tmp_path / "out"]
    failed = run([executable, *data, "--attack", "patchfool"], check=False)
    assert (
        failed.returncode == 2
        and f"expected a model with attention between all its patches, found none: {why}" in failed.stderr
    )
    without = "patchfool:attack_mode=CE_loss,patch_select=Saliency,patch_size=16,train_attack_iters=2"
    run([executable, *data, "--attack", without])
    assert (outcomes(tmp_path / "out")[without] <= outcomes(tmp_path / "out")["clean"]).all()
