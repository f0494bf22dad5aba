"""Every attack of `evaluate` as a whole: interrupted anywhere, with pictures and without, in batches of any size."""

import numpy as np
import pytest
from conftest import compile_model, run
from test_evaluation_sets import results


@pytest.fixture(scope="module")
def attackable(small, tmp_path_factory):
    """24 images whose labels are the model's own predictions, so that there is something to attack."""
    folder, side = tmp_path_factory.mktemp("attackable"), small.info.image[1]
    images = np.random.default_rng(4).integers(0, 256, (24, side, side, 3), dtype=np.uint8)
    arrays = {"x_train": images, "y_train": np.zeros(24, int), "x_val": images, "y_val": np.zeros(24, int)}
    np.savez(folder / "data.npz", **arrays)
    exe = compile_model(small, "evaluate", "--batch=8")
    run([exe, "--data-dir", folder / "data.npz", "--output", folder / "p", "--save-logits", folder / "l.npy"])
    np.savez(folder / "data.npz", **arrays | {"y_val": np.load(folder / "l.npy").argmax(1)})
    return folder / "data.npz"


EVERY_ATTACK = ["apgd-ce:eps=2/255,steps=8", "apgd-t:eps=1/255,steps=5,targets=3", "fab-t:eps=1/255,steps=5,targets=3",
                "cw:steps=10,search=2", "autoattack:eps=1/255,steps=4,queries=20,targets=3", "mim:eps=1/255,steps=3",
                "patchfool:attack_mode=CE_loss,patch_select=Saliency,train_attack_iters=8"]  # fmt: skip


def attacked(exe, data, folder, saves=True):
    """A run of every attack: results.json's folder, and the pictures by their places."""
    flags = [word for attack in EVERY_ATTACK for word in ("--attack", attack)]
    saved = ["--save-adversarial", folder / "images"] if saves else []
    run([exe, "--data-dir", data, "--output", folder / "out", *flags, *saved])
    return {p.relative_to(folder): p.read_bytes() for p in (folder / "images").glob("*/*/*.png")}


def test_every_attack_can_be_interrupted_and_saved(small, attackable, tmp_path):
    exe, out = compile_model(small, "evaluate", "--batch=8"), tmp_path / "out"
    images = attacked(exe, attackable, tmp_path)
    wanted = (out / "results.json").read_bytes()
    for m in results(out)["measurements"][1:]:
        least = m["kind"] in ("fab-t", "cw")  # points on the boundary: rounding undoes many of them
        assert abs(m["parameters"]["saved"]["accuracy"] - m["value"]) <= (0.6 if least else 0.2), m
    assert min(m["value"] for m in results(out)["measurements"]) < 0.5
    journal = (out / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for kept in range(2, len(journal), len(journal) // 4):  # as after a kill: pieces and images written until then
        (out / "journal.jsonl").write_bytes(b"".join(journal[:kept]))
        (out / "results.json").unlink()
        assert attacked(exe, attackable, tmp_path) == images
        assert (out / "results.json").read_bytes() == wanted


def test_what_an_attack_does_to_an_image_does_not_depend_on_its_neighbours(small, attackable, tmp_path):
    """Images take turns in the rows of the batch. Other numbers of rows, fewer images, and attacks that need not keep the pictures."""
    images = attacked(compile_model(small, "evaluate", "--batch=8"), attackable, tmp_path / "8")
    other = compile_model(small, "evaluate", "--batch=3")
    assert attacked(other, attackable, tmp_path / "3") == images and images
    attacked(other, attackable, tmp_path / "fast", saves=False)
    outcomes = [(tmp_path / run / "out" / "outcomes.csv").read_text() for run in ("8", "3", "fast")]
    assert outcomes[0] == outcomes[1] == outcomes[2]
    arrays = dict(np.load(attackable))
    np.savez(tmp_path / "half.npz", **arrays | {"x_val": arrays["x_val"][:11], "y_val": arrays["y_val"][:11]})
    half = attacked(other, tmp_path / "half.npz", tmp_path / "half")
    assert half == {place: picture for place, picture in images.items() if place in half}
    assert (tmp_path / "half" / "out" / "outcomes.csv").read_text().splitlines() == outcomes[0].splitlines()[:12]
