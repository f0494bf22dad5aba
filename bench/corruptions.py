#!/usr/bin/env python3
"""Images per second of every corruption, one thread each, interleaved: ours (libnsrt) and the package imagecorruptions where it is
installed. Prints a table; with --json FILE writes it too.

usage: corruptions.py [--side N] [--repeat N] [--json FILE]
"""

import argparse
import json
import statistics
import time
import warnings

import numpy as np
from nullspace.runtime import CORRUPTIONS, corrupt
from rich.console import Console
from rich.table import Table


def reference():
    """imagecorruptions.corrupt, or None. The package predates NumPy 2 and scikit-image 0.19: two names are given back to it."""
    try:
        np.float_ = np.float64
        import imagecorruptions
        from imagecorruptions import corruptions
    except ImportError:
        return None
    gaussian = corruptions.gaussian

    def old_gaussian(image, sigma=1, multichannel=None, **others):
        return gaussian(image, sigma=sigma, **({"channel_axis": -1} if multichannel else {}), **others)

    corruptions.gaussian = old_gaussian
    return imagecorruptions.corrupt


def seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    peer = reference()
    image = np.random.default_rng(0).integers(0, 256, (args.side, args.side, 3)).astype(np.uint8)
    table = Table("kind", "ours, ms", "imagecorruptions, ms", "ratio", title=f"{args.side} x {args.side}, mean of severities 1 to 5")
    totals, rows = [0.0, 0.0], []
    for kind in CORRUPTIONS:
        times = ([], [])
        for severity in range(1, 6):
            calls = [lambda: corrupt(image, kind, severity)]
            if peer:
                calls.append(lambda: peer(image, corruption_name=kind, severity=severity))
            for call in calls:
                call()  # numba compiles, tables are made
            runs = [[seconds(call) for call in calls] for _ in range(args.repeat)]
            for which, column in enumerate(zip(*runs)):
                times[which].append(statistics.median(column))
        ours, theirs = (1e3 * statistics.mean(t) if t else float("nan") for t in times)
        totals = [totals[0] + ours, totals[1] + theirs]
        rows.append({"kind": kind, "ours_ms": ours, "imagecorruptions_ms": theirs})
        table.add_row(kind, f"{ours:.2f}", f"{theirs:.2f}", f"{theirs / ours:.1f}")
    table.add_row("all", f"{totals[0]:.1f}", f"{totals[1]:.1f}", f"{totals[1] / totals[0]:.1f}")
    Console().print(table)
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"side": args.side, "repeat": args.repeat, "kinds": rows}, file, indent=1)


if __name__ == "__main__":
    main()
