"""Building the model that a SOURCE names: `timm:NAME`, `hf:DIR`, `torchvision:NAME` or `py:FILE.py:FUNCTION`.

`build` returns the module in eval mode, in float32, on the CPU, together with what belongs to it but is not in its
graph (`ModelInfo`: image size, mean and std, resize and crop). Shared by `nullspace.export` and `nullspace.load`.
"""

import argparse
import ast
import dataclasses
import importlib.util
import inspect
import json
import pathlib
import pickle
import sys

import torch
from torch import nn

from . import UserError, _torchvision_shim  # noqa: F401  (the shim comes before torchvision and timm)

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclasses.dataclass
class ModelInfo:
    """What the compiler needs beside the graph; becomes `nullspace.json` in the export."""

    name: str
    source: str
    image: list[int]  # channels, height, width
    mean: list[float]  # of pixels in [0, 1]; the model sees (x - mean) / std
    std: list[float]
    interpolation: str = "bicubic"
    crop_pct: float = 0.875
    classes: int = 0  # set by the export, from the logits
    no_weight_decay: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Request:
    """The flags shared by `export` and `load`."""

    source: str
    checkpoint: str | None = None
    img_size: int | None = None
    num_classes: int | None = None
    model_kwargs: dict = dataclasses.field(default_factory=dict)
    seed: int = 0
    mean: list[float] | None = None
    std: list[float] | None = None

    def constructor_arguments(self) -> dict:
        given = {"num_classes": self.num_classes, "img_size": self.img_size}
        return {k: v for k, v in given.items() if v is not None} | self.model_kwargs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", help="timm:NAME, hf:DIR, torchvision:NAME, or py:FILE.py:FUNCTION (returns the nn.Module)"
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="weights to start from: .safetensors, .pth, .pt, .npz (timm); default: a seeded random start",
    )
    parser.add_argument("--img-size", type=_positive, metavar="N", help="side of the image, in pixels")
    parser.add_argument("--num-classes", type=_positive, metavar="N")
    parser.add_argument(
        "--model-kwargs",
        nargs="*",
        action="extend",
        default=[],
        type=_key_value,
        metavar="K=V",
        help="arguments of the model's constructor, as Python literals",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random start (default 0)")
    parser.add_argument("--mean", type=_numbers, metavar="A,B,C", help="of pixels in [0, 1]; default: the model's own")
    parser.add_argument("--std", type=_numbers, metavar="A,B,C")


def request_from(args: argparse.Namespace) -> Request:
    fields = {f.name: getattr(args, f.name) for f in dataclasses.fields(Request)}
    return Request(**fields | {"model_kwargs": dict(args.model_kwargs)})


def build(request: Request) -> tuple[nn.Module, ModelInfo]:
    """The model with its weights, and its information. Raises UserError."""
    kind, _, name = request.source.partition(":")
    builders = {"timm": _build_timm, "hf": _build_hf, "torchvision": _build_torchvision, "py": _build_py}
    if kind not in builders or not name:
        raise UserError(
            f"source '{request.source}': expected timm:NAME, hf:DIR, torchvision:NAME or py:FILE.py:FUNCTION"
        )
    torch.manual_seed(request.seed)
    model, info = builders[kind](name, request)
    if request.checkpoint:
        load_weights(model, read_checkpoint(request.checkpoint), request.checkpoint, adapt=True)
    for field in ("mean", "std"):
        if getattr(request, field) is not None:
            setattr(info, field, list(getattr(request, field)))
        if len(values := getattr(info, field)) != info.image[0]:
            raise UserError(
                f"{field} of {request.source}: expected {info.image[0]} numbers, one for each channel, found {len(values)}"
            )
    if min(info.std) <= 0:
        raise UserError(f"std of {request.source}: expected positive numbers, found {info.std}")
    return model.eval().float(), info


def read_checkpoint(path: str) -> dict[str, torch.Tensor]:
    """The state dict in a .safetensors or PyTorch file, cleaned as timm does: EMA first, wrappers' prefixes dropped. Runs
    no code from the file. Raises UserError."""
    file = pathlib.Path(path)
    if not file.is_file():
        raise UserError(f"{path}: no such file")
    try:
        if file.suffix == ".safetensors":
            import safetensors.torch

            return safetensors.torch.load_file(path)
        if file.suffix == ".npz":
            return {"npz": path}
        # DeiT's checkpoints carry their command line; it is data.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, OSError, EOFError, KeyError) as error:
        raise UserError(f"{path}: cannot be read as a checkpoint: {_first_line(error)}") from None
    except Exception as error:  # safetensors' own error type has no public name
        raise UserError(f"{path}: cannot be read as a checkpoint: {_first_line(error)}") from None
    for key in ("state_dict_ema", "model_ema", "state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise UserError(f"{path}: expected a state dict (names and tensors), found {type(content).__name__}")
    for prefix in ("_orig_mod.", "module.", "_orig_mod."):
        content = {k.removeprefix(prefix): v for k, v in content.items()}
    return content


def load_weights(model: nn.Module, weights: dict[str, torch.Tensor], path: str, adapt: bool = False) -> None:
    """Puts `weights` into `model`. Every name and shape must match; all that do not are listed. With `adapt`, timm's own
    rules for foreign checkpoints (older names, other image sizes) are tried first where they do not. Raises UserError."""
    if "npz" in weights and isinstance(weights["npz"], str):
        if not hasattr(model, "load_pretrained"):
            raise UserError(f"{path}: .npz checkpoints are read for timm's models only")
        model.load_pretrained(weights["npz"])
        return
    expected = model.state_dict()
    rules = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if adapt and rules and _mismatches(expected, weights):
        try:
            weights = rules(dict(weights), model)
        except (KeyError, RuntimeError, ValueError, AttributeError, TypeError):
            pass  # not a checkpoint of this family: the list below says what is wrong
    for name, value in expected.items():  # the importer makes vectors of layer scales C x 1 x 1
        if name in weights and weights[name].squeeze().shape == value.squeeze().shape:
            weights = weights | {name: weights[name].reshape(value.shape)}
    if problems := _mismatches(expected, weights):
        raise UserError(f"{path} does not fit the model:\n  " + "\n  ".join(problems))
    model.load_state_dict(weights, strict=True)


def _mismatches(expected: dict, found: dict) -> list[str]:
    problems = [f"missing: {k}, expected {_shape(v)}" for k, v in expected.items() if k not in found]
    problems += [f"not in the model: {k}, found {_shape(v)}" for k, v in found.items() if k not in expected]
    problems += [
        f"{k}: expected {_shape(v)}, found {_shape(found[k])}"
        for k, v in expected.items()
        if k in found and v.shape != found[k].shape
    ]
    return problems


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _construct(what: str, function, *args, **kwargs) -> nn.Module:
    try:
        model = function(*args, **kwargs)
    except UserError:
        raise
    except Exception as error:  # whatever a constructor raises over its arguments is the user's to mend
        raise UserError(f"{what} cannot be built: {type(error).__name__}: {_first_line(error)}") from None
    if not isinstance(model, nn.Module):
        raise UserError(f"{what}: expected a torch.nn.Module, found {type(model).__name__}")
    return model


def _build_timm(name: str, request: Request) -> tuple[nn.Module, ModelInfo]:
    import timm

    timm.layers.set_fused_attn(True)  # so that scaled_dot_product_attention stays one op in the graph
    if not timm.is_model(name.split(".")[0]):
        near = timm.list_models(f"*{name.split('.')[0][:12]}*")[:5]
        raise UserError(f"timm has no model '{name}'" + (f"; near: {', '.join(near)}" if near else ""))
    model = _construct(f"timm:{name}", timm.create_model, name, pretrained=False, **request.constructor_arguments())
    config = dict(model.pretrained_cfg)
    image = list(config.get("input_size", (3, 224, 224)))
    if size := getattr(getattr(model, "patch_embed", None), "img_size", None):
        image[1:] = size
    elif request.img_size:
        image[1:] = [request.img_size] * 2
    image[0] = request.model_kwargs.get("in_chans", image[0])
    parameters = dict(model.named_parameters())
    no_decay = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
    return model, ModelInfo(
        name=name,
        source=f"timm:{name}",
        image=image,
        mean=_per_channel(config["mean"], image[0]),
        std=_per_channel(config["std"], image[0]),
        interpolation=config.get("interpolation", "bicubic"),
        crop_pct=config.get("crop_pct") or 0.875,
        no_weight_decay=sorted(n for n in no_decay if n in parameters),
    )


def _per_channel(values, channels: int) -> list[float]:
    values = list(values)
    return values if len(values) == channels else [sum(values) / len(values)] * channels


def _build_torchvision(name: str, request: Request) -> tuple[nn.Module, ModelInfo]:
    import torchvision.models

    kwargs = request.constructor_arguments()
    size = kwargs.pop("img_size", None)
    if name not in torchvision.models.list_models():
        raise UserError(f"torchvision has no model '{name}'")
    if size and name.startswith("vit_"):  # the others take images of any size
        kwargs["image_size"] = size
    model = _construct(f"torchvision:{name}", torchvision.models.get_model, name, weights=None, **kwargs)
    preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    crop, resize = (
        getattr(preset, field, [fallback])[0] for field, fallback in (("crop_size", 224), ("resize_size", 256))
    )
    size = size or getattr(model, "image_size", crop)
    return model, ModelInfo(
        name,
        f"torchvision:{name}",
        [3, size, size],
        list(getattr(preset, "mean", IMAGENET_MEAN)),
        list(getattr(preset, "std", IMAGENET_STD)),
        preset.interpolation.value if hasattr(preset, "interpolation") else "bilinear",
        crop / resize,
    )


def _build_hf(directory: str, request: Request) -> tuple[nn.Module, ModelInfo]:
    """A folder as `save_pretrained` writes it. Without weights in it: a seeded random start."""
    try:
        from transformers import AutoConfig, AutoModelForImageClassification
    except ImportError:
        raise UserError("hf: sources need the package 'transformers' (pip install transformers)") from None
    folder, what = pathlib.Path(directory), f"hf:{directory}"
    if not (folder / "config.json").is_file():
        raise UserError(f"{directory}: expected a folder with config.json and weights, as save_pretrained writes it")
    settings = dict(request.model_kwargs)
    attention = {"attn_implementation": settings.pop("attn_implementation", "sdpa")}
    if request.num_classes:
        settings["num_labels"] = request.num_classes
    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True, **settings)
    except Exception as error:  # whatever the file holds
        raise UserError(f"{folder / 'config.json'}: {type(error).__name__}: {_first_line(error)}") from None
    has_weights = any(any(folder.glob(pattern)) for pattern in ("*.safetensors", "pytorch_model*.bin"))

    if has_weights:
        load = AutoModelForImageClassification.from_pretrained
        model = _construct(what, load, directory, config=config, local_files_only=True, **attention)
    else:
        model = _construct(what, AutoModelForImageClassification.from_config, config, **attention)
    size = _sides(getattr(config, "image_size", None) or 224)
    if request.img_size and size != [request.img_size] * 2:
        size = [request.img_size] * 2
        state = model.state_dict() | _resampled_positions(model, *size)
        config.image_size = request.img_size
        model = _construct(what, AutoModelForImageClassification.from_config, config, **attention)
        model.load_state_dict(state)

    _return_logits(model)
    channels = getattr(config, "num_channels", 3)
    info = ModelInfo(folder.name, what, [channels, *size], [0.5] * channels, [0.5] * channels, "bilinear", 1.0)
    _read_preprocessor(folder / "preprocessor_config.json", info)
    return model, info


def _return_logits(model: nn.Module) -> None:
    """Makes a transformers model one that returns the logits alone, under the same parameter names."""

    class LogitsOnly(type(model)):
        def forward(self, pixel_values):
            return super().forward(pixel_values).logits

    model.__class__ = LogitsOnly


def _sides(size) -> list[int]:
    """Height and width, of which transformers' settings have one, two, or names."""
    if isinstance(size, dict):
        size = [size.get("height", size.get("shortest_edge")), size.get("width", size.get("shortest_edge"))]
    return [size, size] if isinstance(size, int) else list(size)


def _resampled_positions(model: nn.Module, height: int, width: int) -> dict[str, torch.Tensor]:
    """The table of positions that a transformers model computes from its own for images of another size, by its name; empty where it has
    none."""
    embeddings = getattr(model.base_model, "embeddings", None)
    table = getattr(embeddings, "position_embeddings", None)
    if table is None or not hasattr(embeddings, "interpolate_pos_encoding"):
        return {}
    patches = embeddings.patch_embeddings
    down, across = _sides(patches.patch_size)
    count = table.shape[1] - patches.num_patches + (height // down) * (width // across)
    with torch.no_grad():
        resampled = embeddings.interpolate_pos_encoding(torch.zeros(1, count, table.shape[2]), height, width)
    return {name: resampled.clone() for name, parameter in model.named_parameters() if parameter is table}


def _read_preprocessor(path: pathlib.Path, info: ModelInfo) -> None:
    """Pixel bounds, resize and crop from transformers' preprocessor_config.json into `info`, where there is one. Raises UserError."""
    if not path.is_file():
        return
    try:
        given = json.loads(path.read_text())
        if given.get("do_normalize", True):
            info.mean, info.std = list(given.get("image_mean", info.mean)), list(given.get("image_std", info.std))
        else:
            info.mean, info.std = [0.0] * info.image[0], [1.0] * info.image[0]
        info.interpolation = {2: "bilinear", 3: "bicubic"}.get(given.get("resample"), info.interpolation)
        if given.get("do_center_crop") and given.get("size") and given.get("crop_size"):
            info.crop_pct = _sides(given["crop_size"])[0] / _sides(given["size"])[0]
        elif given.get("crop_pct"):
            info.crop_pct = float(given["crop_pct"])
    except (ValueError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise UserError(f"{path}: expected an image processor's settings: {_first_line(error)}") from None


def _build_py(location: str, request: Request) -> tuple[nn.Module, ModelInfo]:
    path, _, function = location.rpartition(":")
    if not path or not pathlib.Path(path).is_file():
        raise UserError(f"py:{location}: expected py:FILE.py:FUNCTION with an existing file")
    spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"{path}: {type(error).__name__}: {_first_line(error)}") from None
    if not callable(getattr(module, function, None)):
        raise UserError(f"{path}: has no function '{function}'")
    builder = getattr(module, function)
    accepted = inspect.signature(builder).parameters
    kwargs = {k: v for k, v in request.constructor_arguments().items() if k in accepted or k in request.model_kwargs}
    model = _construct(f"py:{location}", builder, **kwargs)
    if isinstance(model, getattr(sys.modules.get("transformers"), "PreTrainedModel", ())):
        _return_logits(model)
    config = getattr(model, "pretrained_cfg", {})
    image = list(config.get("input_size", (3, 0, 0)))
    if size := request.img_size or getattr(getattr(model, "patch_embed", None), "img_size", None):
        image[1:] = [size, size] if isinstance(size, int) else size
    if not image[1]:
        raise UserError(f"py:{location}: the image size is not known; give --img-size")
    # A module of one's own is taken to see pixels in [0, 1] unless it or the command line says otherwise.
    return model, ModelInfo(
        function,
        f"py:{location}",
        image,
        list(config.get("mean", [0.0] * image[0])),
        list(config.get("std", [1.0] * image[0])),
        config.get("interpolation", "bicubic"),
        config.get("crop_pct") or 0.875,
        sorted(model.no_weight_decay()) if hasattr(model, "no_weight_decay") else [],
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a positive number, found '{text}'")
    return int(text)


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers with commas between them, found '{text}'") from None


def _key_value(text: str) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"expected K=V, found '{text}'")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value
