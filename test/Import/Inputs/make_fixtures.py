"""Writes the .pt2 files of this folder: python make_fixtures.py (with PyTorch, timm and nullspace). Kept in git, so that the
tests of ns-import need no Python. Stack traces, which hold paths of this machine, are dropped."""

import json
import pathlib
import tempfile
import zipfile

from nullspace import sources
from nullspace.export import export

SELF = pathlib.Path(__file__)
HERE = SELF.parent
TINY = dict(patch_size=8, embed_dim=16, depth=2, num_heads=2, mlp_ratio=2)
FIXTURES = {
    "vit": ("timm:vit_tiny_patch16_224", TINY),
    "registers": ("timm:vit_small_patch14_reg4_dinov2", TINY | dict(reg_tokens=2, depth=1)),
    "distilled": ("timm:deit_tiny_distilled_patch16_224", TINY | dict(depth=1)),
    "qk_norm_average": (
        "timm:vit_tiny_patch16_224",
        TINY | dict(depth=1, qk_norm=True, qkv_bias=False, global_pool="avg"),
    ),
    "unfused": (f"py:{SELF}:unfused_vit", {}),
    "beit": ("timm:beit_base_patch16_224", TINY | dict(depth=1)),
    "eva02": ("timm:eva02_tiny_patch14_224", TINY | dict(depth=1)),
    "siglip": ("timm:vit_base_patch16_siglip_224", TINY | dict(depth=1)),
    "torchvision_vit": (f"py:{SELF}:torchvision_vit", {}),
    "transformers_dinov2": (f"py:{SELF}:transformers_dinov2", {}),
    "swin": (
        "timm:swin_tiny_patch4_window7_224",
        dict(patch_size=2, window_size=4, embed_dim=8, depths=(2, 1), num_heads=(2, 2), mlp_ratio=2),
    ),
    "resnet": (f"py:{SELF}:resnet", {}),
    "convnext": (f"py:{SELF}:convnext", {}),
    "outside_grid": (f"py:{SELF}:outside_grid", {}),
    "outside": ("timm:vit_tiny_patch16_224", TINY | dict(act_layer="mish", global_pool="avgmax")),
}


def unfused_vit():
    """timm's attention in single calls, the scale at the queries."""
    import timm

    model = timm.create_model("vit_tiny_patch16_224", img_size=16, num_classes=4, **TINY | dict(depth=1))
    for block in model.blocks:
        block.attn.fused_attn = False
    return model


def torchvision_vit():
    """Rows in the order N x B x C."""
    from torchvision.models import VisionTransformer

    return VisionTransformer(16, 8, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=4)


def transformers_dinov2():
    """Attention in single calls, with a mask computed from sizes, and a gated MLP."""
    import transformers

    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, mlp_ratio=2, image_size=16, patch_size=8,
        num_labels=4, use_swiglu_ffn=True,
    )  # fmt: skip
    config._attn_implementation = "eager"
    return transformers.Dinov2ForImageClassification(config)


def resnet():
    import timm

    return timm.create_model("resnet50", num_classes=4, layers=(1, 1, 1, 1), channels=(4, 4, 4, 4))


def convnext():
    """torchvision's: layer scales are C x 1 x 1."""
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    return ConvNeXt([CNBlockConfig(4, 8, 1), CNBlockConfig(8, None, 1)], num_classes=4)


def outside_grid():
    """Layers on a grid that no nn op stands for, once each."""
    from torch import nn

    class Outside(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 3, 2, 1)
            self.groups = nn.Conv2d(4, 4, 3, 1, 1, groups=2)
            self.seven = nn.AdaptiveAvgPool2d(7)
            self.ceiling = nn.MaxPool2d(3, 2, ceil_mode=True)
            self.head = nn.Linear(4, 4)

        def forward(self, image):
            x = self.stem(image)
            padded, shifted = nn.functional.pad(x, (0, 1, 0, 1)), x.roll(1, 1)
            branches = [self.groups(x), self.seven(x), self.ceiling(x), padded, shifted]
            return self.head(sum(branch.mean((2, 3)) for branch in branches))

    return Outside()


def main():
    for name, (source, kwargs) in FIXTURES.items():
        request = sources.Request(source, img_size=16, num_classes=4, model_kwargs=kwargs)
        model, info = sources.build(request)
        info.source = info.source.replace(str(HERE), "")
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
