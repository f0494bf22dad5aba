"""Makes the GPU tests of a pack (bench/cuda_pack.py): small artefacts for a GPU, their weights and inputs, and what they must compute, so that
run.py needs neither the compiler nor PyTorch. Expected are PyTorch's results in float64, and of loops what the CPU's executables write.

A folder for each network: model.safetensors, expected.npz, and its libraries and executables; `tests.json` lists what is there to run.
"""

import json
import pathlib
import shutil
import sys

import numpy as np
import torch
import torch.nn.functional as F

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "test" / "e2e")]

import families
from conftest import Case, Pixels, images, make_case, run, tool, write_npz
from nullspace.export import export
from test_bf16 import Autocast

BATCH = 3
# A class token and noise behind the patch embedding; windows with bias and mask; a bias for each token pair; rotating positions; convolutions.
NETWORKS = ("vit", "timm_swin", "timm_beit", "timm_eva02", "timm_convnext")
LOOPS = {
    "synth": "--steps 6 --rounds 9 --batch-size 8 --train-fraction .6 --stop-samples 6 --eval-every 3 --lim .5 --eps 1e-9",
    "finetune": "--rounds 2 --steps-per-round 3 --batch-size 8 --lr 1e-3 --holdout-samples 2 --noise-steps 2 --noise-batch-size 8"
    " --stop-samples 4 --lim .5 --train-fraction .5",
    "evaluate": "--attack fgsm:eps=2/255 --attack pgd:eps=1/255,steps=3",
}


def build(name: str, folder: pathlib.Path) -> Case:
    if name == "vit":
        size = dict(patch_size=8, embed_dim=64, num_heads=4, depth=2)
        return make_case(folder, "timm:vit_tiny_patch16_224", scale=4.0, img_size=32, num_classes=10, model_kwargs=size)
    folder.mkdir(parents=True, exist_ok=True)
    model, info, _ = families.build(name, folder)
    case = Case(model, info, folder / "model.pt2", folder / "model.mlir")
    case.info = export(model, info, str(case.pt2))
    run([tool("ns-import"), case.pt2, "-o", case.mlir])
    return case


def results(net: Pixels, x: torch.Tensor, labels: torch.Tensor, noise: torch.Tensor | None) -> dict[str, np.ndarray]:
    """Logits, the image's gradient of the cross-entropy, those of the parameters, and the noise's of synthesis."""
    variable = x.clone().to(next(net.parameters()).dtype).requires_grad_()
    logits = net(variable)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    found = {"logits": logits, "image_grad": variable.grad * len(x), "loss": loss}
    found |= {f"grad:{n}": p.grad.clone() for n, p in net.net.named_parameters() if p.grad is not None}
    if noise is not None:
        delta = noise.clone().to(variable.dtype).requires_grad_()
        clean = net(x).detach()
        (net(x, delta) - clean).square().sum(1).mean().backward()
        found |= {"clean": clean, "noise_grad": delta.grad}
    return {name: value.detach().numpy().astype(np.float32) for name, value in found.items()}


def distance(found: dict, golden: dict, names) -> float:
    a, b = (np.concatenate([np.asarray(f[n], np.float64).ravel() for n in names]) for f in (found, golden))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def expect(name: str, case: Case, folder: pathlib.Path):
    """Writes inputs and expected results, and how far PyTorch's autocast is from them."""
    x, labels = images(BATCH, case.info), torch.arange(BATCH) % case.info.classes
    noise = None
    if name == "vit":
        noise = 0.5 * torch.randn(1, 16, 64, generator=torch.Generator().manual_seed(5))
    golden = results(case.golden(), x, labels, noise)
    narrow = results(Autocast(case.model, case.info), x, labels, noise)
    gradients = [n for n in golden if n.startswith("grad:")]
    autocast = {n: distance(narrow, golden, [n]) for n in golden if n in ("logits", "image_grad", "noise_grad")}
    autocast["gradients"] = distance(narrow, golden, gradients)
    inputs = {"image": x.numpy(), "labels": labels.numpy()} | ({} if noise is None else {"noise": noise.numpy()})
    np.savez(
        folder / "expected.npz",
        **{f"in:{n}": v for n, v in inputs.items()},
        **{f"autocast:{n}": v for n, v in autocast.items()},
        **golden,
    )


def compile_to(case: Case, path: pathlib.Path, emit: str, *flags):
    run([tool("ns-compile"), case.mlir, f"--emit={emit}", *flags, "-o", path])


def loops(case: Case, folder: pathlib.Path, work: pathlib.Path, target: list[str]) -> list[dict]:
    """The executables of the ViT on their data, and what the CPU's wrote."""
    tests = []
    write_npz(folder / "data.npz", case.info, train=24, val=10)
    for emit, flags in LOOPS.items():
        compile_to(case, work / emit, emit, "--batch=4")
        written = folder / f"{emit}-expected"
        done = run([work / emit, "--data-dir", folder / "data.npz", "--output", written, *flags.split()], check=False)
        assert done.returncode in (0, 3), done.stderr
        for path in sorted(written.rglob("*"), reverse=True):  # tables alone are compared
            if path.is_file() and path.suffix != ".csv":
                path.unlink()
            elif path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        compile_to(case, folder / emit, emit, "--batch=4", *target)
        tests.append({"name": f"vit {emit}", "check": "loop", "emit": emit, "flags": flags})
    return tests


def variants(case: Case, folder: pathlib.Path, target: list[str], has_cudnn: bool) -> list[dict]:
    """Attention by cuDNN; frozen weights in FP8."""
    tests = []
    if has_cudnn:
        compile_to(
            case, folder / "cudnn.so", "library", f"--batch={BATCH}", "--precision=bf16", "--attention=library", *target
        )
        tests.append({"name": "vit cudnn", "check": "library", "file": "cudnn.so", "precision": "bf16"})
    compile_to(case, folder / "fp8", "synth", "--batch=4", "--precision=fp8", *target)
    tests.append({"name": "vit fp8", "check": "runs", "file": "fp8", "flags": LOOPS["synth"]})
    return tests


def make(output: pathlib.Path, target: list[str], has_cudnn: bool, networks=NETWORKS) -> None:
    """`target`: flags of ns-compile that choose the GPU, or the emulator."""
    shutil.rmtree(output, ignore_errors=True)
    tests, work = [], output / "work"
    for name in networks:
        folder = output / name
        case = build(name, work / name)
        folder.mkdir(parents=True)
        shutil.copy2(case.weights, folder / "model.safetensors")
        expect(name, case, folder)
        site = [] if name == "vit" else ["--site=image"]
        for precision in ("f32", "bf16"):
            flags = [f"--batch={BATCH}", f"--precision={precision}", *site, *target]
            compile_to(case, folder / f"{precision}.so", "library", *flags)
            tests.append(
                {"name": f"{name} {precision}", "check": "library", "file": f"{precision}.so", "precision": precision}
            )
        more = []
        if name == "vit":
            more = loops(case, folder, work, target) + variants(case, folder, target, has_cudnn)
            if "--device-code=emulate" not in target:
                more += [
                    {"name": f"vit {t}", "check": "sanitizer", "tool": t}
                    for t in ("memcheck", "racecheck", "synccheck")
                ]
        tests += more
        for test in tests[-2 - len(more) :]:
            test["folder"] = name
    shutil.rmtree(work)
    (output / "tests.json").write_text(json.dumps(tests, indent=1))
