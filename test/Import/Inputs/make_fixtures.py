"""Writes the .pt2 files of this folder: python make_fixtures.py (with PyTorch, timm and nullspace). Kept in git, so that the
tests of ns-import need no Python. Stack traces, which hold paths of this machine, are dropped."""

import json
import pathlib
import tempfile
import zipfile

from nullspace import sources
from nullspace.export import export

HERE = pathlib.Path(__file__).parent
TINY = dict(patch_size=8, embed_dim=16, depth=2, num_heads=2, mlp_ratio=2)
FIXTURES = {
    "vit": ("timm:vit_tiny_patch16_224", TINY),
    "registers": ("timm:vit_small_patch14_reg4_dinov2", TINY | dict(reg_tokens=2, depth=1)),
    "distilled": ("timm:deit_tiny_distilled_patch16_224", TINY | dict(depth=1)),
    "qk_norm_average": (
        "timm:vit_tiny_patch16_224",
        TINY | dict(depth=1, qk_norm=True, qkv_bias=False, global_pool="avg"),
    ),
    "outside": ("timm:vit_tiny_patch16_224", TINY | dict(act_layer="mish", global_pool="avgmax")),
}


def main():
    for name, (source, kwargs) in FIXTURES.items():
        model, info = sources.build(sources.Request(source, img_size=16, num_classes=4, model_kwargs=kwargs))
        with tempfile.TemporaryDirectory() as folder:
            fresh = pathlib.Path(folder, f"{name}.pt2")
            export(model, info, str(fresh))
            with zipfile.ZipFile(fresh) as old, zipfile.ZipFile(HERE / f"{name}.pt2", "w") as new:
                for entry in old.infolist():
                    data = old.read(entry)
                    if entry.filename.endswith("models/model.json"):
                        data = without_traces(data)
                    if "sample_inputs" not in entry.filename:
                        new.writestr(zipfile.ZipInfo(entry.filename), data)


def without_traces(text: bytes) -> bytes:
    content = json.loads(text)
    for node in content["graph_module"]["graph"]["nodes"]:
        node["metadata"] = {"nn_module_stack": node["metadata"].get("nn_module_stack", "")}
    return json.dumps(content, separators=(",", ":")).encode()


if __name__ == "__main__":
    main()
