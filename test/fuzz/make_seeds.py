"""Writes the seeds of the checkpoints' fuzzers: python test/fuzz/make_seeds.py (with PyTorch). Kept in git, so that fuzzing
needs no Python; a few hundred bytes each."""

import argparse
import io
import json
import pathlib
import shutil
import zipfile

import numpy as np
import safetensors.torch
import torch

SEEDS = pathlib.Path(__file__).parent / "seeds"
WIDTH = 4


def state() -> dict[str, torch.Tensor]:
    """What FuzzCheckpoint.h wants, under timm's names."""
    shapes = {
        "patch_embed.proj.weight": (WIDTH, 1, 2, 2),
        "blocks.0.attn.qkv.weight": (3 * WIDTH, WIDTH),
        "blocks.0.attn.qkv.bias": (3 * WIDTH,),
        "blocks.0.attn.proj.weight": (WIDTH, WIDTH),
        "blocks.0.mlp.fc1.weight": (WIDTH, WIDTH),
        "norm.weight": (WIDTH,),
        "head.bias": (2,),
    }
    return {name: torch.ones(shape) for name, shape in shapes.items()}


def transformers_names() -> dict[str, torch.Tensor]:
    place = "vit.encoder.layer.0"
    result = {
        "vit.embeddings.patch_embeddings.projection.weight": torch.ones(WIDTH, 1, 2, 2),
        f"{place}.attention.output.dense.weight": torch.ones(WIDTH, WIDTH),
        f"{place}.intermediate.dense.weight": torch.ones(WIDTH, WIDTH),
        "vit.layernorm.weight": torch.ones(WIDTH),
        "classifier.bias": torch.ones(2),
    }
    for part in ("query", "key", "value"):
        result[f"{place}.attention.attention.{part}.weight"] = torch.ones(WIDTH, WIDTH)
        result[f"{place}.attention.attention.{part}.bias"] = torch.ones(WIDTH)
    return result


def flax_names() -> dict[str, np.ndarray]:
    block = "Transformer/encoderblock_0"
    arrays = {
        "embedding/kernel": (2, 2, 1, WIDTH),
        f"{block}/MultiHeadDotProductAttention_1/out/kernel": (2, 2, WIDTH),
        f"{block}/MlpBlock_3/Dense_0/kernel": (WIDTH, WIDTH),
        "Transformer/encoder_norm/scale": (WIDTH,),
        "head/bias": (2,),
    }
    for part in ("query", "key", "value"):
        arrays[f"{block}/MultiHeadDotProductAttention_1/{part}/kernel"] = (WIDTH, 2, 2)
        arrays[f"{block}/MultiHeadDotProductAttention_1/{part}/bias"] = (2, 2)
    return {name: np.ones(shape, np.float32) for name, shape in arrays.items()}


def saved(content) -> bytes:
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


def pickled(content) -> bytes:
    return zipfile.ZipFile(io.BytesIO(saved(content))).read("archive/data.pkl")


def repacked(content: bytes) -> bytes:
    """Without the padding that aligns storages, and without what no reader needs: smaller."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.infolist():
            if entry.filename.endswith(("data.pkl", "byteorder")) or "/data/" in entry.filename:
                new.writestr(zipfile.ZipInfo(entry.filename), old.read(entry))
    return out.getvalue()


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def main():
    shutil.rmtree(SEEDS, ignore_errors=True)
    small = {"head.bias": torch.ones(2), "norm.weight": torch.nn.Parameter(torch.ones(2, 2).t())}
    half = {name: tensor.bfloat16() for name, tensor in small.items()}
    nested = {"model": small, "args": argparse.Namespace(lr=0.1), "state_dict_ema": {"module.head.bias": torch.ones(2)}}
    seeds = {
        "safetensors/timm": safetensors.torch.save(state(), metadata={"format": "pt"}),
        "safetensors/transformers": safetensors.torch.save(transformers_names()),
        "safetensors/half": safetensors.torch.save({k: v.contiguous() for k, v in half.items()}),
        "safetensors/index": json.dumps({"weight_map": {"head.bias": "model-00001-of-00002.safetensors"}}).encode(),
        "torch/plain": saved(small),
        "torch/transformers": repacked(saved(transformers_names())),
        "torch/nested": repacked(saved(nested)),
        "npz/flax": npz(flax_names()),
        "npz/flax_stacked": npz(
            {"params/embedding/kernel": np.ones((2, 2, 1, 4), np.float32)}
            | {"params/Transformer/encoderblock/LayerNorm_0/scale": np.ones((3, 4), np.float32)}
        ),
        "npz/plain": npz({"head.bias": np.ones(2, np.float16), "norm.weight": np.ones((2, 2)).T}),
        "pickle/plain": pickled(small),
        "pickle/nested": pickled(nested),
        "pickle/half": pickled(half | {"count": torch.tensor(3), "wide": torch.zeros(1, dtype=torch.uint16)}),
        "pickle/frames": pickled_with_frames(small),
    }
    for name, content in seeds.items():
        path = SEEDS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def pickled_with_frames(content) -> bytes:
    out = io.BytesIO()
    torch.save(content, out, pickle_protocol=4)
    return zipfile.ZipFile(out).read("archive/data.pkl")


if __name__ == "__main__":
    main()
