#!/usr/bin/env python3
"""Writes docs/supported-models.md from what it sees: each model is built at its real size, exported, imported, compiled and
compared with PyTorch in float64. `make docs-models`; about a minute for each model.

usage: supported.py [NAME ...] [--render]

Results are kept in docs/data/supported.json; NAMEs (any part of a source) run again, others only where there is no result yet.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("NULLSPACE_BUILD", ROOT / "build"))
BIN, RESULTS, PAGE = BUILD / "bin", ROOT / "docs/data/supported.json", ROOT / "docs/supported-models.md"
LOGITS, GRADIENT = 1e-5, {"f32": 1e-4, "f64": 1e-6}  # allowed errors, of the largest entry
IMAGES = 2

# Source, then options of the export. hf:CONFIG(k=v) stands for a folder with that configuration.
MODELS = [
    "timm:vit_tiny_patch16_224",
    "timm:vit_base_patch16_224",
    "timm:vit_base_patch32_224",
    "timm:vit_large_patch16_224",
    "timm:deit_tiny_distilled_patch16_224",
    "timm:deit3_small_patch16_224",
    "timm:vit_small_patch14_reg4_dinov2 img_size=224 num_classes=1000",
    "timm:vit_base_patch16_siglip_224 num_classes=1000",
    "timm:eva02_tiny_patch14_224 num_classes=1000",
    "timm:beit_base_patch16_224",
    "timm:swin_tiny_patch4_window7_224",
    "timm:resnet18",
    "timm:resnet50",
    "timm:convnext_tiny",
    "torchvision:vit_b_16",
    "torchvision:swin_t",
    "torchvision:resnet18",
    "torchvision:resnet50",
    "torchvision:convnext_tiny",
    "hf:ViTConfig",
    "hf:ViTConfig attn_implementation=eager",
    "hf:DeiTConfig",
    "hf:Dinov2Config",
    "hf:Dinov2WithRegistersConfig",
    "hf:SwinConfig",
    "hf:SwinConfig attn_implementation=eager",
]


class Outside(Exception):
    """A step that did not work: what it said."""


def run(*command) -> str:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if result.returncode:
        said = [line for line in result.stderr.splitlines() if "error" in line] or result.stderr.splitlines()[-1:]
        raise Outside(said[0] if said else f"{command[0]}: exit status {result.returncode}")
    return result.stderr + result.stdout


def build(entry: str, folder: pathlib.Path):
    """The PyTorch model with woken weights, and its information."""
    sys.path.insert(0, str(ROOT / "test/e2e"))
    from families import wake
    from nullspace import sources

    source, *options = entry.split()
    options = dict(option.split("=") for option in options)
    fields = {key: int(options.pop(key)) for key in ("img_size", "num_classes") if key in options}
    if source.startswith("hf:"):
        import transformers

        kind = source[3:].replace("Config", "ForImageClassification")
        getattr(transformers, source[3:])(num_labels=1000, architectures=[kind]).save_pretrained(folder / "hf")
        source = f"hf:{folder / 'hf'}"
    model, info = sources.build(sources.Request(source, model_kwargs=options, **fields))
    return wake(model), info


def compare(model, info, libraries: dict[str, pathlib.Path]) -> dict:
    """Largest errors of logits (float32) and of the gradients by pixels (float64: in float32 a relu or a maximum whose inputs all
    but meet may take the other side, in PyTorch as here), as shares of the largest entry."""
    import numpy as np
    import torch
    from nullspace import runtime

    generator = torch.Generator().manual_seed(0)
    image = torch.rand(IMAGES, *info.image, generator=generator)
    labels = torch.arange(IMAGES)
    golden = model.double()
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, -1, 1, 1) for v in (info.mean, info.std))
    pixels = image.double().requires_grad_()
    logits = golden((pixels - mean) / std)
    torch.nn.functional.cross_entropy(logits, labels, reduction="sum").backward()
    found = runtime.Model(libraries["f32"]).forward(image.numpy())
    gradient = runtime.Model(libraries["f64"]).value_and_grad(image.numpy(), labels.numpy())[2]
    share = lambda found, golden: float(np.abs(found - golden.detach().numpy()).max() / golden.detach().abs().max())
    return {"logits": share(found, logits), "gradient": share(gradient, pixels.grad), "gradient_in": "f64"}


def nullspace_of(mlir: pathlib.Path, folder: pathlib.Path) -> str:
    """What ns-compute-basis says of the first layer, in a few words."""
    said = run(BIN / "ns-opt", mlir, f"--ns-compute-basis=file={folder / 'basis.safetensors'}", "-o", folder / "o.mlir")
    remark = re.search(r"remark: (.*)", said)[1]
    if patch := re.search(r"\((\d+ x \d+)\): rank \d+, nullity (\d+) \(structural (\d+), numerical (\d+)\)", remark):
        size, nullity, structural, numerical = patch.groups()
        return f"{nullity} for each patch ({structural} structural, {numerical} numerical) of {size}"
    if image := re.search(r"\((\d+ x \d+)\): nullity at least (\d+),.*singular values (\S+) to at most (\S+)", remark):
        size, nullity, largest, smallest = image.groups()
        none = ", none in noise" if "nothing of the image" in remark else ""
        estimate = re.search(r"leaves nullity (\d+ \+- \d+)", remark)
        found = f", {estimate[1]} by noise" if estimate else none
        return f"at least {nullity}{found}, of the image: {size}, sigma {largest} to {smallest}"
    return remark


def sites_of(mlir: pathlib.Path) -> str:
    """The default site and its shape, and the number of blocks."""
    text = run(BIN / "ns-opt", mlir, "--ns-insert-noise")
    site, shape = re.search(r'ns\.noise @noise .* site "([^"]+)" : tensor<1x([\dx]+)xf32>', text).groups()
    try:
        run(BIN / "ns-opt", mlir, "--ns-insert-noise=site=block.4000000000")
    except Outside as error:
        blocks = re.search(r"got (\d+) blocks", str(error))[1]
    return f"{site} {shape}; {blocks} blocks"


def examine(entry: str) -> dict:
    """All columns of one model; `failed` says at which step it stopped, with what."""
    record = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        pt2, mlir = folder / "model.pt2", folder / "model.mlir"
        step = "build"
        try:
            model, info = build(entry, folder)
            record["parameters"] = sum(p.numel() for p in model.parameters())
            step = "export"
            from nullspace.export import export

            export(model, info, str(pt2))
            step = "import"
            run(BIN / "ns-import", pt2, "-o", mlir)
            ops = re.findall(r"= nn\.(\w+)", mlir.read_text())
            ops = [op for op in ops if op != "load_param"]
            record |= {"ops": len(ops), "kinds": sorted(set(ops))}
            step = "nullspace"
            record["nullspace"] = nullspace_of(mlir, folder)
            step = "sites"
            record["sites"] = sites_of(mlir)
            step = "compile"
            libraries = {precision: folder / f"{precision}.so" for precision in ("f32", "f64")}
            for precision, library in libraries.items():
                flags = ["--emit=library", "--cpu=native", f"--precision={precision}", f"--batch={IMAGES}"]
                run(BIN / "ns-compile", mlir, *flags, "-o", library)
            step = "run"
            record |= compare(model, info, libraries)
        except Exception as error:  # whatever a step raises is the answer for this model
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            record["failed"] = f"{step}: {said.replace(name + '/', '')}"[:300]
    return record


def verdict(record: dict) -> str:
    if "failed" in record:
        return f"no ({record['failed']})"
    right = record["logits"] <= LOGITS and record["gradient"] <= GRADIENT[record["gradient_in"]]
    return "yes" if right else "no (errors above the bounds)"


def render(results: dict) -> str:
    lines = [
        "# Supported models",
        "",
        "<!-- Made by `make docs-models`, which ran each of them; do not edit. -->",
        "",
        "Each model at its real size, with random weights away from their start: exported, imported, compiled for two images, and compared with",
        f"PyTorch in float64. Supported means: logits in float32 within {LOGITS:g}, gradients by the pixels within {GRADIENT['f64']:g} in float64 ({GRADIENT['f32']:g} where the table says f32), of the largest entry.",
        "The nullspace is that of the first layer on pixels, normalisation included; the site is where noise goes by default.",
        "",
        "| model | supported | parameters | ops | nullspace | site | logits | gradient |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for entry in MODELS:
        record = results.get(entry)
        if not record:
            lines.append(f"| {entry} | not run | | | | | | |")
            continue
        number = lambda key: f"{record[key]:.1e}" if key in record else ""
        cells = [
            entry,
            verdict(record),
            f"{record['parameters'] / 1e6:.1f} M" if "parameters" in record else "",
            str(record.get("ops", "")),
            record.get("nullspace", ""),
            record.get("sites", ""),
            number("logits"),
            number("gradient") + (" (f32)" if record.get("gradient_in") == "f32" else ""),
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    kinds = sorted({kind for record in results.values() for kind in record.get("kinds", [])})
    lines += ["", "Ops they need: " + ", ".join(f"`nn.{kind}`" for kind in kinds) + "."]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="models to run again")
    parser.add_argument("--render", action="store_true", help="run nothing: write the page from the results there are")
    parser.add_argument("--examine", metavar="MODEL", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.examine:
        print(json.dumps(examine(args.examine)))
        return 0
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    wanted = lambda entry: any(name in entry for name in args.names) if args.names else entry not in results
    for entry in [] if args.render else filter(wanted, MODELS):
        # A process for each, so that none keeps the memory of the one before.
        command = [sys.executable, __file__, "--examine", entry]
        answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        last = (answer.stdout.splitlines() or [""])[-1]
        results[entry] = json.loads(last) if answer.returncode == 0 else {"failed": f"exit status {answer.returncode}"}
        print(f"{entry}: {verdict(results[entry])}", flush=True)
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    PAGE.write_text(render(results))
    return int(any(verdict(record) != "yes" for record in results.values()))


if __name__ == "__main__":
    sys.exit(main())
