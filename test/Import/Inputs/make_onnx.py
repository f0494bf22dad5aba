"""Writes the .onnx files of this folder: python make_onnx.py (with PyTorch, onnxscript, timm and nullspace). Kept in git, so that
the tests of ns-import need no Python. Of the exporter's metadata only what ns-import reads stays: the rest holds paths of this
machine."""

import pathlib
import warnings

import onnx
import torch
from nullspace import sources

HERE = pathlib.Path(__file__).parent
TINY = dict(patch_size=8, embed_dim=16, depth=2, num_heads=2, mlp_ratio=2)
KEPT = {
    "pkg.torch.onnx.name_scopes",
    "pkg.torch.onnx.fx_node",
    "pkg.torch.export.ExportedProgram.graph_signature",
}
# name: (model, opset, optimize, arguments of the model)
FIXTURES = {
    "vit": ("vit_tiny_patch16_224", 23, False, {}),
    "vit_optimized": ("vit_tiny_patch16_224", 23, True, {}),
    "vit_opset18": ("vit_tiny_patch16_224", 18, True, dict(depth=1)),
    "outside": ("vit_tiny_patch16_224", 23, True, dict(depth=2, act_layer="elu")),
}


def main():
    warnings.simplefilter("ignore")
    for name, (model, opset, optimize, kwargs) in FIXTURES.items():
        request = sources.Request(f"timm:{model}", img_size=16, num_classes=4, model_kwargs=TINY | kwargs)
        module, _ = sources.build(request)
        program = torch.onnx.export(
            module,
            (torch.zeros(2, 3, 16, 16),),
            dynamo=True,
            opset_version=opset,
            optimize=optimize,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
            verbose=False,
        )
        proto = program.model_proto
        for holder in (proto, proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.initializer):
            kept = [entry for entry in holder.metadata_props if entry.key in KEPT]
            del holder.metadata_props[:]
            holder.metadata_props.extend(kept)
        onnx.save(proto, HERE / f"{name}.onnx")


if __name__ == "__main__":
    main()
