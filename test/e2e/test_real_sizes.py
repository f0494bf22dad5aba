"""Gradients at the sizes that people use, under --full: of the cross-entropy, by every parameter and by the image, one model of each
family, against PyTorch's autograd in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Case, compile_model, export_and_import, images
from families import wake
from nullspace import sources
from test_gradients import compare

BATCH, CLASSES = 2, 1000

# source: fields of the request
MODELS = {
    "timm:vit_base_patch16_224": {},
    "timm:deit_tiny_distilled_patch16_224": {},
    "timm:deit3_small_patch16_224": {},
    "timm:vit_small_patch14_reg4_dinov2": dict(num_classes=CLASSES, img_size=224),
    "timm:vit_base_patch16_siglip_224": dict(num_classes=CLASSES),
    "timm:eva02_tiny_patch14_224": dict(num_classes=CLASSES),
    "timm:beit_base_patch16_224": {},
    "timm:swin_tiny_patch4_window7_224": {},
    "timm:resnet18": {},
    "timm:resnet50": {},
    "timm:convnext_tiny": {},
    "torchvision:vit_b_16": {},
    "torchvision:swin_t": {},
    "torchvision:resnet18": {},
    "torchvision:resnet50": {},
    "torchvision:convnext_tiny": {},
    "hf:ViTConfig": {},
    "hf:DeiTConfig": {},
    "hf:Dinov2Config": {},
    "hf:Dinov2WithRegistersConfig": {},
    "hf:SwinConfig": {},
}


def real_case(source: str, folder) -> Case:
    """The model with woken weights, exported and imported."""
    fields = MODELS[source]
    if source.startswith("hf:"):
        import transformers

        kind = source[3:].replace("Config", "ForImageClassification")
        getattr(transformers, source[3:])(num_labels=CLASSES, architectures=[kind]).save_pretrained(folder)
        source = f"hf:{folder}"
    model, info = sources.build(sources.Request(source, **fields))
    return export_and_import(wake(model), info, folder)


@pytest.mark.parametrize("source", MODELS)
def test_gradients_by_every_parameter(full, tmp_path, source):
    if not full:
        pytest.skip("real sizes are for --full")
    runtime = pytest.importorskip("nullspace.runtime")
    case = real_case(source, tmp_path)
    # Some of a residual network's 10^7 relus have an input within float32's rounding of 0, where its slope jumps: float64 tells an
    # error from such a jump.
    precision = "f64" if "resnet" in source else "f32"
    model = runtime.Model(compile_model(case, "library", f"--batch={BATCH}", f"--precision={precision}"))
    golden, image, labels = case.golden(), images(BATCH, case.info), torch.tensor([3, CLASSES - 1])
    variable = image.double().requires_grad_()
    loss = F.cross_entropy(golden(variable), labels)
    loss.backward()
    for slot, value in dict(image=image, labels=labels, accumulate=torch.zeros(())).items():
        model.slot(slot)[:] = value.numpy()
    model.slot("weights")[:] = 1 / BATCH
    model.run("finetune_step")
    assert abs(float(np.ravel(model.slot("loss"))[0]) - loss.item()) <= 1e-5 * abs(loss.item())
    found = model.param_grads()
    read = {name: p.grad for name, p in golden.net.named_parameters() if p.grad is not None}
    compare(found, {name: g.reshape(found[name].shape) for name, g in read.items()})  # a scale may be C or C x 1 x 1
    model.run("value_and_grad")
    compare({"image": model.slot("image_grad")}, {"image": variable.grad})
