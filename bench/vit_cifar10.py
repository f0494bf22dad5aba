"""The ViT that bench/cifar10.py hardens, for `nullspace.export py:bench/vit_cifar10.py:model`."""

SIDE = 64


def model():
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(img_size=SIDE, patch_size=8, embed_dim=128, depth=6, num_heads=4, num_classes=10)
