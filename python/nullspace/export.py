"""python -m nullspace.export SOURCE -o model.pt2

Builds a PyTorch model, exports its raw `torch.export` graph for any batch size, and saves graph and weights as one
.pt2 archive for `ns-import`. What is not in the graph (pixel bounds, resize and crop) goes with it as the extra file
`nullspace.json`.
"""

import argparse
import dataclasses
import json
import logging
import sys
import warnings

import torch

from . import UserError, __version__, sources
from ._command import user_errors
from ._files import replacing

EXAMPLE_BATCH, MAX_BATCH = 2, 4096  # a batch of 1 would be specialised


def export(model: torch.nn.Module, info: sources.ModelInfo, output: str) -> sources.ModelInfo:
    """Exports `model` (eval mode, float32) to the file `output`; returns `info` with the number of classes filled in. Raises UserError."""
    example = torch.zeros(EXAMPLE_BATCH, *info.image)
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(model, (example,), dynamic_shapes=({0: batch},))
            if any(_mutates(node) for node in program.graph.nodes):
                program = program.run_decompositions({})
    except Exception as error:  # torch.export raises many types; each means: not exportable
        raise UserError(
            f"{info.source}: torch.export failed: {type(error).__name__}: {str(error).strip().splitlines()[0]}"
        ) from None
    results = [node.meta["val"] for node in program.graph.output_node().args[0]]
    if len(results) != 1 or results[0].dim() != 2:
        found = ", ".join("x".join(map(str, getattr(r, "shape", ()))) for r in results)
        raise UserError(f"{info.source}: expected one result, the logits, of shape batch x classes, found {found}")
    info = dataclasses.replace(info, classes=int(results[0].shape[1]))
    record = dataclasses.asdict(info) | {"versions": _versions()}
    with replacing(output) as draft:
        torch.export.save(program, draft, extra_files={"nullspace.json": json.dumps(record)})
    return info


def _mutates(node: torch.fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return node.op == "call_function" and schema is not None and schema.is_mutable


def _versions() -> dict[str, str]:
    packages = {name: sys.modules.get(name) for name in ("torch", "timm", "torchvision", "transformers")}
    return {"nullspace": __version__} | {name: module.__version__ for name, module in packages.items() if module}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="nullspace.export", description="Exports a PyTorch image classifier for ns-import."
    )
    sources.add_arguments(parser)
    parser.add_argument("-o", "--output", required=True, metavar="model.pt2")
    args = parser.parse_args(argv)
    if not args.output.endswith(".pt2"):
        parser.error(f"-o {args.output}: expected a name that ends in .pt2")
    logging.getLogger("torch").setLevel(logging.ERROR)
    with user_errors(parser.prog):
        info = export(*sources.build(sources.request_from(args)), args.output)
    print(f"{args.output}: {info.name}, image {'x'.join(map(str, info.image))}, {info.classes} classes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
