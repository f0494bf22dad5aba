"""`ns-compile --report-flops` against closed forms of a vision transformer's steps, at the sizes people use. Nothing runs: the
module needs no weights."""

import dataclasses
import json
import pathlib
import re

import pytest
from conftest import ROOT, run, tool

TINY = ROOT / "test" / "Inputs" / "tiny-vit.mlir"
BATCH = 8


@dataclasses.dataclass(frozen=True)
class Size:
    """FLOPs of one image, 2 for each multiply-add: `D` channels, `N` tokens, patches of 16 x 16 pixels, an MLP of 4 D."""

    D: int
    depth: int
    N: int = 197
    classes: int = 1000

    @property
    def patches(self) -> float:
        return 2 * (self.N - 1) * 3 * 16**2 * self.D

    @property
    def linear(self) -> float:
        return 24 * self.N * self.D**2

    @property
    def attention(self) -> float:
        return 4 * self.N**2 * self.D

    @property
    def head(self) -> float:
        return 2 * self.D * self.classes

    @property
    def linears(self) -> float:
        return self.depth * self.linear + self.head

    @property
    def forward(self) -> float:
        return self.patches + self.linears + self.depth * self.attention

    @property
    def sunk_linear(self) -> float:
        """What the last block's products do less, as only the class token's row is read: queries, projection and MLP."""
        return 20 * (self.N - 1) * self.D**2

    @property
    def sunk_attention(self) -> float:
        return 4 * self.N * (self.N - 1) * self.D

    @property
    def sunk_forward(self) -> float:
        return self.forward - self.sunk_linear - self.sunk_attention

    @property
    def synthesis(self) -> float:
        """Noised pass and the gradient by its tokens; the clean logits are known. The patch embedding is taken once."""
        down = self.linears + 2 * self.depth * self.attention - self.sunk_linear - 2 * self.sunk_attention
        return self.sunk_forward + down

    @property
    def finetune(self) -> float:
        """Clean and noised halves forward and backward, with weight gradients; the patch embedding and its gradient once."""
        halves = 3 * (self.linears - self.sunk_linear) + 3 * (self.depth * self.attention - self.sunk_attention)
        return 2 * halves + 2 * self.patches


# GF an image of the model: forward, then synthesis with cached clean logits and patches, before and after the last block is
# sunk to its class token, then finetuning on clean and noised images before and after
TABLE = {
    "small": (Size(384, 12), (9.2, 18.9, 17.5, 55.0, 50.9)),
    "base": (Size(768, 12), (35.1, 71.2, 66.2, 210.3, 195.3)),
    "large": (Size(1024, 24), (123.1, 249.0, 241.0, 738.0, 712.0)),
}


def sized(size: Size, path: pathlib.Path):
    """The two blocks of the tiny model as a module of another size."""
    extents = {64: size.D, 192: 3 * size.D, 256: 4 * size.D, 17: size.N, 16: size.N - 1, 32: 224, 10: size.classes, 8: 16}

    def resize(match):
        numbers = [extents.get(int(n), int(n)) if n.isdigit() else n for n in match[1].split("x")]
        return f"tensor<{'x'.join(map(str, numbers))}xf32>"

    text = re.sub(r"tensor<([\dx?]+)xf32>", resize, TINY.read_text())
    text = text.replace("[3, 32, 32]", "[3, 224, 224]").replace("classes = 10 ", f"classes = {size.classes} ")
    text = text.replace("patch [8, 8]", "patch [16, 16]").replace("heads 4 ", f"heads {size.D // 64} ")
    params = re.search(r"(  nn\.param @blocks\.1\..*\n)+", text)[0]
    block = text[text.index("    %b1_norm1_weight") : text.index("    %norm_weight")]

    def numbered(k: int) -> str:
        found = re.sub(r"%r2\b", f"%r{k + 1}", block)
        found = re.sub(r"%([a-z]+)1\b", rf"%\g<1>{k}", found)
        return found.replace("%b1_", f"%b{k}_").replace("blocks.1.", f"blocks.{k}.")

    blocks = range(1, size.depth)
    text = re.sub(r"%r2\b", f"%r{size.depth}", text.replace(block, "BLOCKS"))
    text = text.replace("BLOCKS", "".join(numbered(k) for k in blocks))
    path.write_text(text.replace(params, "".join(params.replace("blocks.1.", f"blocks.{k}.") for k in blocks)))


def report(mlir: pathlib.Path, emit: str) -> dict:
    """Entry -> what the report says of it."""
    out = mlir.with_name(f"{mlir.stem}-{emit}.json")
    run([tool("ns-compile"), mlir, f"--emit={emit}", f"--batch={BATCH}", "--compile-to=plan", f"--report-flops={out}",
         "-o", mlir.with_name("planned.mlir")])  # fmt: skip
    found = json.loads(out.read_text())
    assert found["batch"] == BATCH
    return {entry["name"]: entry for entry in found["entries"]}


@pytest.mark.parametrize("name", TABLE)
def test_formulas_are_the_tables(name):
    size, (forward, synthesis, sunk_synthesis, finetune, sunk_finetune) = TABLE[name]
    close = lambda found, expected: found == pytest.approx(expected * 1e9, rel=0.01)
    assert close(size.forward, forward)
    assert close(size.linears * 2 + 3 * size.depth * size.attention, synthesis)
    assert close(size.synthesis, sunk_synthesis)
    assert close(6 * size.forward - 2 * size.patches, finetune)
    assert close(size.finetune, sunk_finetune)


@pytest.mark.parametrize("name", TABLE)
def test_useful_flops_are_the_formulas(tmp_path, name):
    size, (*_, sunk_synthesis, _, sunk_finetune) = TABLE[name]
    sized(size, tmp_path / "vit.mlir")
    entries = report(tmp_path / "vit.mlir", "finetune")
    exact = lambda entry, flops: entry["flops"] == pytest.approx(BATCH * flops, rel=1e-3)
    assert exact(entries["forward"], size.sunk_forward)
    assert exact(entries["synth_step"], size.synthesis)
    assert exact(entries["finetune_step_noised"], size.finetune)
    assert entries["synth_step"]["flops"] == pytest.approx(BATCH * sunk_synthesis * 1e9, rel=0.01)
    assert entries["finetune_step_noised"]["flops"] == pytest.approx(BATCH * sunk_finetune * 1e9, rel=0.01)


def test_parts_add_up_and_recomputation_is_apart(tmp_path):
    size = Size(384, 12)
    sized(size, tmp_path / "vit.mlir")
    for entry in report(tmp_path / "vit.mlir", "finetune").values():
        assert sum(entry["kinds"].values()) == entry["flops"]
        assert sum(layer["flops"] for layer in entry["layers"]) == entry["flops"]
        assert sum(layer["recomputed"] for layer in entry["layers"]) == entry["recomputed"]
    synth = report(tmp_path / "vit.mlir", "synth")["synth_step"]
    # attention's gradient takes four products and makes the scores again; of the last block for the class token alone
    scores = BATCH * 2 * size.N * size.D * (11 * size.N + 1)
    assert (synth["recomputed"], synth["kinds"]["attention_gradient"]) == (scores, 4 * scores)
    assert synth["kinds"]["attention"] == 2 * scores
    by_layer = {(layer["layer"], layer["kind"]): layer["flops"] for layer in synth["layers"]}
    assert by_layer["blocks.3.mlp.fc1", "product"] == BATCH * 8 * size.N * size.D**2
    assert by_layer["blocks.3.mlp.fc1", "input_gradient"] == BATCH * 8 * size.N * size.D**2
    assert ("blocks.3.mlp.fc1", "weight_gradient") not in by_layer
