"""Tables of bench/out/cuda.json: printed, or written into a page between its marks. Without a record the page says that nothing was measured.

usage: cuda_table.py [--record FILE] PAGE
"""

import argparse
import pathlib
import re

from cuda_problem import KINDS, MODELS, read_json
from problem import OUT
from table import markdown, ratio

OURS = "nullspace"
NOT_RUN = "Not measured: no GPU was at hand."
NAMES = {
    "eager_bf16": "eager",
    "compiled_bf16": "torch.compile",
    "published_bf16": "published",
    "torchattacks_bf16": "torchattacks",
    "nullspace_cudnn": "ours with cuDNN",
    "nullspace_fp8": "ours with FP8",
    "eager_f32": "eager float32",
}
TRAINING = ("synth", "finetune")
MAIN, LARGE = "vit_base_patch16_224", ("vit_base_patch16_224", "vit_large_patch16_224")


def goals():
    """(model, step, what, function of the comparison, least or most, whether it is the least) of what is to be reached."""
    for model in list(MODELS)[1:]:
        for kind in TRAINING:
            least = {(MAIN, "synth"): 1.4, (MAIN, "finetune"): 1.3}.get((model, kind), 1.2)
            yield model, kind, "torch.compile / ours", lambda c: middle(c, "compiled_bf16"), least, True
            if (model, kind) == (MAIN, "synth"):
                yield model, kind, "published / ours", lambda c: middle(c, "published_bf16"), 3.0, True
            if model in LARGE:
                yield model, kind, "share of the dense bf16 peak", lambda c: c.get("share_of_peak"), 0.5, True
            yield model, kind, "kernels' share of copy bandwidth", share_of_copy, 0.85, True
            yield model, kind, "memory, ours / PyTorch", memory_ratio, 0.7, False


def middle(c: dict, peer: str) -> float | None:
    found = c.get("ratio_quartiles", {}).get(peer)
    return found[1] if found else None


def share_of_copy(c: dict) -> float | None:
    return c.get("kernels", {}).get("share_of_copy")


def memory_ratio(c: dict) -> float | None:
    """Against whichever of eager and torch.compile takes less."""
    peaks = {name: m["peak_mb"] for name, m in c.get("memory", {}).items() if "peak_mb" in m}
    others = [peaks[name] for name in ("eager_bf16", "compiled_bf16") if name in peaks]
    return peaks[OURS] / min(others) if OURS in peaks and others else None


def comparisons(record: dict) -> list[tuple[str, str, dict]]:
    """(model, step, comparison), in the order of the lists of both."""
    found = []
    for key, c in record.get("comparisons", {}).items():
        model, kind = key.split()[:2]
        found.append((model, kind, c))
    return sorted(found, key=lambda f: (list(MODELS).index(f[0]), KINDS.index(f[1])))


def reach(record: dict) -> tuple[list[str], list[list[str]]]:
    known = {(model, kind): c for model, kind, c in comparisons(record)}
    rows = []
    for model, kind, what, function, bound, is_least in goals():
        value = function(known.get((model, kind), {}))
        verdict = "" if value is None else "yes" if (value >= bound) == is_least or value == bound else "no"
        shown = "not measured" if value is None else f"{value:.2f}"
        rows.append([model, kind, what, f"{'at least' if is_least else 'at most'} {bound}", shown, verdict])
    return ["model", "step", "what", "wanted", "found", "reached"], rows


def steps(record: dict) -> tuple[list[str], list[list[str]]]:
    """Ours in ms, each peer's time over ours, useful FLOPs."""
    chosen = [f for f in comparisons(record) if "seconds_quartiles" in f[2]]
    names = [n for n in NAMES if any(n in c["seconds_quartiles"] or n in c["missing"] for _, _, c in chosen)]
    rows = []
    for model, kind, c in chosen:
        ours = c["seconds_quartiles"].get(OURS)
        cells = []
        for name in names:
            known = c.get("ratio_quartiles", {}).get(name)
            cells.append(ratio(known) if known else "missing" if name in c["missing"] else "")
        speed = f"{c['useful_flop_per_s'] / 1e12:.0f}" if "useful_flop_per_s" in c else ""
        share = f"{c['share_of_peak']:.0%}" if "share_of_peak" in c else ""
        time = f"{1e3 * ours[1]:.2f}" if ours else "missing"
        rows.append([f"{model}, {c['batch']}", kind, time, *cells, speed, share])
    return ["model, batch", "step", "ours, ms", *(NAMES[n] for n in names), "TFLOP/s", "of peak"], rows


def memory(record: dict) -> tuple[list[str], list[list[str]]]:
    chosen = [f for f in comparisons(record) if "peak_mb" in f[2].get("memory", {}).get(OURS, {})]
    names = [n for n in NAMES if any(n in c["memory"] for _, _, c in chosen)]
    rows = []
    for model, kind, c in chosen:
        cells = [f"{c['memory'][n]['peak_mb']:.0f}" if "peak_mb" in c["memory"].get(n, {}) else "" for n in names]
        rows.append([f"{model}, {c['batch']}", kind, f"{c['memory'][OURS]['peak_mb']:.0f}", *cells])
    return ["model, batch", "step", "ours, MB", *(NAMES[n] for n in names)], rows


def kernels(record: dict, most: int = 8) -> tuple[list[str], list[list[str]]]:
    """The generated kernels that take the most time of each step."""
    rows = []
    for model, kind, c in comparisons(record):
        for k in c.get("kernels", {}).get("kernels", [])[:most]:
            figures = [f"{k['seconds'] * 1e6:.0f}", str(k["launches"]), f"{k['bytes_per_s'] / 1e9:.0f}"]
            share = f"{k['share_of_copy']:.0%}" if k.get("share_of_copy") else ""
            rows.append([model, kind, k["kernel"], *figures, share])
    return ["model", "step", "kernel", "us a step", "launches", "GB/s", "of a copy"], rows


def tests(record: dict) -> tuple[list[str], list[list[str]]]:
    rows = []
    for gpu, found in record.get("tests", {}).items():
        for name, result in found.get("results", {}).items():
            rows.append([gpu, name, result["outcome"], result.get("why", "")])
    return ["GPU", "test", "outcome", "why"], rows


def missing(record: dict) -> tuple[list[str], list[list[str]]]:
    rows = [[f"{m} {k}", NAMES.get(p, p), why] for m, k, c in comparisons(record) for p, why in c["missing"].items()]
    rows += [[key, "", failure["why"]] for key, failure in record.get("failures", {}).items()]
    return ["step", "peer", "why it is not in the tables"], rows


TABLES = {f.__name__: f for f in (reach, steps, memory, kernels, tests, missing)}


def text(record: dict) -> str:
    """The tables for a terminal; the long one of kernels is the page's alone."""
    parts = []
    for name, table in TABLES.items():
        head, rows = table(record)
        if rows and name != "kernels":
            widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
            lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in [head, *rows]]
            parts.append("\n".join([f"{name}:", *lines]))
    return "\n\n".join(parts)


def write(record: dict, page: pathlib.Path) -> None:
    content = page.read_text()
    machines = record.get("machines", {}).values()
    where = "; ".join(f"{m['gpu']}, PyTorch {m['torch']}, {m['when']}" for m in machines) or NOT_RUN
    blocks = {name: markdown(*table(record)) for name, table in TABLES.items() if table(record)[1]} | {"where": where}
    for name in [*TABLES, "where"]:
        pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.S)
        body = blocks.get(name, "None." if machines else NOT_RUN)
        content = pattern.sub(lambda m: f"{m[1]}{body}\n{m[2]}", content)
    page.write_text(content)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=pathlib.Path, default=OUT / "cuda.json")
    parser.add_argument("page", type=pathlib.Path)
    args = parser.parse_args()
    write(read_json(args.record), args.page)


if __name__ == "__main__":
    main()
