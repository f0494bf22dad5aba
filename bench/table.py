"""Tables from the benchmark's records: on a terminal, and in a Markdown file between the lines `<!-- begin NAME -->` and `<!-- end NAME -->`.

usage: table.py [--record bench/out/cpu.json] docs/benchmark.md
"""

import argparse
import json
import pathlib
import re

import machine
import peers
from peers import OURS
from problem import ALL_KINDS, ATTACKS, MODELS, OUT
from rich.console import Console
from rich.table import Table

TRAINING = ("synth", "finetune")


def ratio(q) -> str:
    return f"{q[1]:.2f} ({q[0]:.2f}–{q[2]:.2f})"


def speed_cell(c: dict, peer: str) -> str:
    if peer in c["ratio_quartiles"]:
        return ratio(c["ratio_quartiles"][peer])
    return "missing" if peer in c["missing"] else ""


def what(c: dict) -> list[str]:
    calls = "" if c["per_call"] == c["batch"] else f" in {c['batch'] // c['per_call']}"
    narrow = "" if c.get("precision", "f32") == "f32" else f", {c['precision']}"
    return [f"{c['model']}, {c['batch']}{calls}", c["kind"] + narrow]


def speed(comparisons, kinds, precision="f32") -> tuple[list[str], list[list[str]]]:
    """Head and rows: ours in ms, and each peer's time over ours."""
    chosen = [c for c in comparisons if c["kind"] in kinds and c.get("precision") == precision and "seconds" in c]
    names = [p for p in peers.NAMES if any(p in c["ratio_quartiles"] or p in c["missing"] for c in chosen)]
    rows = []
    for c in chosen:
        busy = " (busy machine)" if c["other_work_cores"] > machine.ALLOWED_CORES else ""
        rows.append(
            [*what(c), f"{1e3 * c['seconds_quartiles'][OURS][1]:.0f}{busy}", *(speed_cell(c, p) for p in names)]
        )
    return ["model, batch", "step", "ours, ms", *(peers.NAMES[p] for p in names)], rows


def sgemm(comparisons) -> tuple[list[str], list[list[str]]]:
    head = ["model, batch", "step", "useful GFLOP", "GFLOP/s", "best sgemm", "share", "sgemm over all shapes", "share"]
    rows = []
    for c in comparisons:
        if s := c.get("sgemm"):
            got, best, mixed = s["useful_gflop_per_s"], s["best_sgemm_gflop_per_s"], s["mixed_sgemm_gflop_per_s"]
            figures = [f"{got:.0f}", f"{best:.0f}", f"{got / best:.0%}", f"{mixed:.0f}", f"{got / mixed:.0%}"]
            rows.append([*what(c), f"{s['useful_gflop']:.1f}", *figures])
    return head, rows


def memory(comparisons) -> tuple[list[str], list[list[str]]]:
    """MB: peaks above what each holds after its imports; the regions of our artefact."""
    head = ["model, batch", "step", "ours", "eager", "ours / eager", "whole: ours", "eager", "weights", "work", "others"]
    rows = []
    for c in comparisons:
        m = c.get("memory", {})
        if not {OURS, "eager"} <= set(m):
            continue
        ours, eager, regions = m[OURS], m["eager"], m[OURS]["regions_mb"]
        above = ours["peak_without_idle_mb"], eager["peak_without_idle_mb"]
        others = ", ".join(f"{peers.NAMES[p]} {m[p]['peak_without_idle_mb']:.0f}" for p in m if p not in (OURS, "eager"))
        figures = [f"{above[0]:.0f}", f"{above[1]:.0f}", f"{above[0] / above[1]:.2f}"]
        whole = [f"{f['peak_mb']:.0f}" for f in (ours, eager)]
        rows.append([*what(c), *figures, *whole, f"{regions['params']:.0f}", f"{regions['work']:.0f}", others])
    return head, rows


def start(models: dict) -> tuple[list[str], list[list[str]]]:
    head = ["model, batch", "ns-compile, s", "torch.compile cold, s", "start to end of step 1, s", "of it", "eager, s"]
    rows = []
    for key, m in models.items():
        compiled = ", ".join(f"{emit} {s:.1f}" for emit, s in m["ns_compile_s"].items())
        parts = ", ".join(f"{name} {s:.2f}" for name, s in m.get("parts_s", {}).items() if s >= 0.01)
        cold = f"{m['cold_torch_compile_s']:.0f}" if "cold_torch_compile_s" in m else ""
        first, eager = (f"{m[k]:.2f}" if k in m else "" for k in ("executable_s", "eager_s"))
        rows.append([key, compiled, cold, first, parts, eager])
    return head, rows


def missing(comparisons) -> tuple[list[str], list[list[str]]]:
    rows = [[*what(c), peers.NAMES[p], why] for c in comparisons for p, why in c.get("missing", {}).items()]
    return ["model, batch", "step", "peer", "why it is not in the table"], rows


def order(c: dict) -> tuple:
    base = next((i for i, name in enumerate(MODELS) if c["model"] == name), len(MODELS))
    return base, c["model"], ALL_KINDS.index(c["kind"]), c["batch"]


def tables(record: dict) -> dict[str, tuple[list[str], list[list[str]]]]:
    comparisons = sorted(record.get("comparisons", {}).values(), key=order)
    return {
        "training": speed(comparisons, TRAINING),
        "forward": speed(comparisons, ("forward",)),
        "attacks": speed(comparisons, tuple(ATTACKS)),
        "bf16": speed(comparisons, ALL_KINDS, "bf16"),
        "sgemm": sgemm(comparisons),
        "memory": memory(comparisons),
        "start": start(record.get("models", {})),
        "missing": missing(comparisons),
    }


def print_record(record: dict, console: Console) -> None:
    for title, (head, rows) in tables(record).items():
        if not rows:
            continue
        printed = Table(title=title, caption="a ratio over 1: we are faster" if "ours, ms" in head else None)
        for i, name in enumerate(head):
            printed.add_column(name, justify="left" if i < 2 else "right")
        for row in rows:
            printed.add_row(*row)
        console.print(printed)


def markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def write(record: dict, page: pathlib.Path) -> None:
    text = page.read_text()
    for name, (head, rows) in tables(record).items():
        body = markdown(head, rows) if rows else "None."
        pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.S)
        text = pattern.sub(lambda m: f"{m[1]}{body}\n{m[2]}", text)
    page.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=pathlib.Path, default=OUT / "cpu.json")
    parser.add_argument("page", type=pathlib.Path)
    args = parser.parse_args()
    write(json.loads(args.record.read_text()), args.page)


if __name__ == "__main__":
    main()
