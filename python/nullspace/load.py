"""python -m nullspace.load SOURCE --weights FILE -o CHECKPOINT

Brings weights that the executables wrote (`last.safetensors`, `best.safetensors`) back into the framework's own module and
its own checkpoint format. As a function, `load` returns the module.
"""

import argparse
import pathlib
import sys

import torch
from torch import nn

from . import sources
from ._command import user_errors
from ._files import replacing

FORMATS = (".safetensors", ".pth", ".pt")


def load(source: str, weights: str, **options) -> nn.Module:
    """The module that `source` names (see nullspace.sources) with the parameters of the file `weights`, in eval mode. Names
    and shapes must match one to one, but for buffers that are no weights. `options` are the fields of sources.Request, such as
    num_classes. Raises UserError."""
    model, _ = sources.build(sources.Request(source, **options))
    sources.load_weights(model, _as_state(model, sources.read_checkpoint(weights)), weights)
    return model


def _as_state(model: nn.Module, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`weights` as a state dict of `model`: an executable's file holds constants that PyTorch makes anew (masks, tables of positions;
    those that the import computed are called nullspace.*), and none of its counters and indices."""
    state = model.state_dict()
    constants = {name for name, _ in model.named_buffers()} - state.keys()
    indices = {name: tensor for name, tensor in state.items() if not tensor.is_floating_point()}
    trained = {k: v for k, v in weights.items() if k not in constants and not k.startswith("nullspace.")}
    return indices | trained


def save(model: nn.Module, checkpoint: str) -> None:
    """Writes the state dict as timm and PyTorch read it: .safetensors, or .pth and .pt by torch.save. Raises UserError."""
    state = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    with replacing(checkpoint) as draft:
        if draft.suffix == ".safetensors":
            import safetensors.torch

            safetensors.torch.save_file(state, draft, metadata={"format": "pt"})
        else:
            torch.save(state, draft)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="nullspace.load", description="Brings hardened weights back into the framework's own format."
    )
    sources.add_arguments(parser)
    parser.add_argument("--weights", required=True, metavar="FILE", help="weights that an executable wrote")
    parser.add_argument(
        "-o", "--output", required=True, metavar="CHECKPOINT", help="|".join(FORMATS) + "; for hf: sources a folder"
    )
    args = parser.parse_args(argv)
    request = sources.request_from(args)
    to_folder = request.source.startswith("hf:")
    if not to_folder and pathlib.Path(args.output).suffix not in FORMATS:
        parser.error(f"-o {args.output}: expected a name that ends in one of {', '.join(FORMATS)}")
    with user_errors(parser.prog):
        model = load(weights=args.weights, **vars(request))
        if to_folder:
            model.__class__ = type(model).__mro__[1]  # without the export's LogitsOnly
            model.save_pretrained(args.output)
        else:
            save(model, args.output)
    print(f"{args.output}: {sum(p.numel() for p in model.parameters()):,} parameters from {args.weights}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
