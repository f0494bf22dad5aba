"""Small models of every family that is imported: one line each, for all tests that run over families.

`build(name, folder)` gives the module in eval mode, what belongs to it, and the request that `nullspace.load` needs to build
it again. Weights are seeded, and woken: attention is peaked, no norm, scale, bias table or running statistic is at its start, where
errors hide.
"""

import dataclasses
import pathlib

import torch
from nullspace import sources
from torch import nn

SIDE, CLASSES = 32, 10
SELF = pathlib.Path(__file__).resolve()


@dataclasses.dataclass(frozen=True)
class Family:
    """`source` as on the command line; {folder} stands for a transformers folder that `config` (a function) describes."""

    source: str
    options: dict = dataclasses.field(default_factory=dict)
    config: object = None
    batch_norm: bool = False


def _timm(name: str, **kwargs) -> Family:
    return Family(f"timm:{name}", dict(num_classes=CLASSES, img_size=SIDE, model_kwargs=kwargs))


def _py(function: str, batch_norm: bool = False) -> Family:
    pixels = dict(mean=[0.5, 0.4, 0.3], std=[0.2, 0.25, 0.3])
    return Family(f"py:{SELF}:{function}", dict(img_size=SIDE, **pixels), batch_norm=batch_norm)


def _hf(config, attention: str = "sdpa") -> Family:
    return Family("hf:{folder}", dict(model_kwargs={"attn_implementation": attention}), config)


# ---------------------------------------------------------------------------------------------------------------------
# Builders of `py:` sources
# ---------------------------------------------------------------------------------------------------------------------


def _timm_module(name: str, **kwargs) -> nn.Module:
    import timm

    return timm.create_model(name, num_classes=CLASSES, **kwargs)


def timm_resnet18() -> nn.Module:
    return _timm_module("resnet18", layers=(1, 1, 1, 1), channels=(16, 16, 32, 32), stem_width=16)


def timm_resnet50() -> nn.Module:
    return _timm_module("resnet50", layers=(1, 2, 1, 1), channels=(8, 16, 16, 16))


def timm_convnext() -> nn.Module:
    return _timm_module("convnext_tiny", depths=(1, 2, 1, 1), dims=(16, 24, 32, 48))


def torchvision_vit() -> nn.Module:
    from torchvision.models import VisionTransformer

    return VisionTransformer(SIDE, 8, num_layers=2, num_heads=4, hidden_dim=64, mlp_dim=128, num_classes=CLASSES)


def _torchvision_resnet(block: str, layers: list[int]) -> nn.Module:
    from torchvision.models import resnet

    return resnet.ResNet(getattr(resnet, block), layers, num_classes=CLASSES)


def torchvision_resnet18() -> nn.Module:
    return _torchvision_resnet("BasicBlock", [1, 1, 1, 1])


def torchvision_resnet50() -> nn.Module:
    return _torchvision_resnet("Bottleneck", [1, 1, 1, 1])


def torchvision_convnext() -> nn.Module:
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    return ConvNeXt([CNBlockConfig(16, 24, 1), CNBlockConfig(24, 32, 1), CNBlockConfig(32, None, 1)], num_classes=CLASSES)


def torchvision_swin() -> nn.Module:
    from torchvision.models import SwinTransformer

    return SwinTransformer([2, 2], 32, [2, 2], [2, 4], window_size=[4, 4], num_classes=CLASSES)


class OwnCNN(nn.Module):
    """A module of nobody's library. Its stem has fewer outputs than inputs: much of an image is lost in it."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 7, stride=4, padding=3)
        self.norm = nn.BatchNorm2d(16)
        self.branch = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, image):
        x = torch.relu(self.norm(self.stem(image)))
        x = x + torch.nn.functional.gelu(self.branch(x))
        return self.head(x.mean((2, 3)))


def own_cnn() -> nn.Module:
    return OwnCNN()


# ---------------------------------------------------------------------------------------------------------------------
# Configurations of transformers
# ---------------------------------------------------------------------------------------------------------------------

_WIDTHS = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128)


def _config(name: str, **kwargs):
    def make():
        import transformers

        return getattr(transformers, name)(image_size=SIDE, num_labels=CLASSES, **kwargs)

    return make


_HF_VIT = _config("ViTConfig", patch_size=8, **_WIDTHS)
_HF_DEIT = _config("DeiTConfig", patch_size=8, architectures=["DeiTForImageClassification"], **_WIDTHS)
_HF_DEIT_DISTILLED = _config(
    "DeiTConfig", patch_size=8, architectures=["DeiTForImageClassificationWithTeacher"], **_WIDTHS
)
_HF_DINOV2 = _config(
    "Dinov2Config", patch_size=8, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, mlp_ratio=2
)
_HF_DINOV2_REG = _config(
    "Dinov2WithRegistersConfig",
    patch_size=8,
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    mlp_ratio=2,
    num_register_tokens=3,
)
_HF_SWIN = _config("SwinConfig", patch_size=2, embed_dim=32, depths=[2, 2], num_heads=[2, 4], window_size=4)

# ---------------------------------------------------------------------------------------------------------------------
# The table
# ---------------------------------------------------------------------------------------------------------------------

_VIT = dict(patch_size=8, embed_dim=64, depth=2, num_heads=4)

FAMILIES = {
    "timm_vit": _timm("vit_tiny_patch16_224", **_VIT),
    "timm_vit_gap": _timm("vit_little_patch16_reg4_gap_256", **_VIT),
    "timm_deit_distilled": _timm("deit_tiny_distilled_patch16_224", **_VIT),
    "timm_deit3": _timm("deit3_small_patch16_224", **_VIT),
    "timm_dinov2_reg": _timm("vit_small_patch14_reg4_dinov2", **_VIT),
    "timm_siglip": _timm("vit_base_patch16_siglip_224", **_VIT),
    "timm_eva02": _timm("eva02_tiny_patch14_224", **_VIT),
    "timm_beit": _timm("beit_base_patch16_224", **_VIT),
    "timm_swin": _timm(
        "swin_tiny_patch4_window7_224", patch_size=2, window_size=4, embed_dim=32, depths=(2, 2), num_heads=(2, 4)
    ),
    "timm_resnet18": _py("timm_resnet18", batch_norm=True),
    "timm_resnet50": _py("timm_resnet50", batch_norm=True),
    "timm_convnext": _py("timm_convnext"),
    "hf_vit": _hf(_HF_VIT),
    "hf_vit_eager": _hf(_HF_VIT, "eager"),
    "hf_deit": _hf(_HF_DEIT),
    "hf_deit_distilled": _hf(_HF_DEIT_DISTILLED),
    "hf_dinov2": _hf(_HF_DINOV2),
    "hf_dinov2_eager": _hf(_HF_DINOV2, "eager"),
    "hf_dinov2_reg": _hf(_HF_DINOV2_REG),
    "hf_swin": _hf(_HF_SWIN),
    "hf_swin_eager": _hf(_HF_SWIN, "eager"),
    "torchvision_vit": _py("torchvision_vit"),
    "torchvision_swin": _py("torchvision_swin"),
    "torchvision_resnet18": _py("torchvision_resnet18", batch_norm=True),
    "torchvision_resnet50": _py("torchvision_resnet50", batch_norm=True),
    "torchvision_convnext": _py("torchvision_convnext"),
    "own_cnn": _py("own_cnn", batch_norm=True),
}


def wake(model: nn.Module, seed: int = 0) -> nn.Module:
    """Moves every weight away from its start, in place."""
    random = torch.Generator().manual_seed(seed + 1)
    normal = lambda like: torch.randn(like.shape, generator=random)
    norms = {id(p) for m in model.modules() if "Norm" in type(m).__name__ for p in m.parameters(recurse=False)}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if id(parameter) in norms:
                parameter.copy_(0.2 * normal(parameter) + float(name.endswith("weight")))
            elif parameter.dim() == 1 and 0 < parameter.max() < 0.1 and parameter.min() == parameter.max():
                parameter.copy_(0.3 + 0.1 * normal(parameter))  # a layer scale
            elif parameter.dim() == 1:
                parameter.add_(0.1 * normal(parameter))
            elif parameter.dim() in (2, 4):
                parameter.copy_(normal(parameter) / parameter[0].numel() ** 0.5)
            else:
                parameter.add_(0.2 * normal(parameter))
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.add_(0.2 * normal(module.running_mean))
                module.running_var.mul_(0.5 + torch.rand(module.running_var.shape, generator=random))
    return model


def build(name: str, folder: pathlib.Path, seed: int = 0) -> tuple[nn.Module, sources.ModelInfo, sources.Request]:
    """The family's small model with woken weights; a transformers folder is made in `folder`."""
    family = FAMILIES[name]
    folder = pathlib.Path(folder, "transformers")
    if family.config:
        import transformers

        torch.manual_seed(seed)
        config = family.config()
        kind = (config.architectures or [None])[0]
        auto = transformers.AutoModelForImageClassification
        model = getattr(transformers, kind)(config) if kind else auto.from_config(config)
        wake(model, seed).save_pretrained(folder)
    request = sources.Request(family.source.format(folder=folder), seed=seed, **family.options)
    model, info = sources.build(request)
    return (model if family.config else wake(model, seed)), info, request
