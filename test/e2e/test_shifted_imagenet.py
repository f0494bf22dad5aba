"""ImageNet-A and -R: only their 200 classes compete, and what is missing of them is said."""

import csv
import json

import numpy as np
import PIL.Image
import pytest
import torch
from conftest import compile_model, run, small_vit

CLASSES = 1000
STINGRAY, COCK, GOLDFISH, TENCH = 6, 7, 1, 0  # in both sets or, as the goldfish, in R only; the other two in none


@pytest.fixture(scope="module")
def setting(cases, tmp_path_factory):
    """A model of 1,000 classes, its executable, and a class map."""
    folder = tmp_path_factory.mktemp("imagenet")
    case = small_vit(cases, num_classes=CLASSES, depth=1)
    (folder / "classes.txt").write_text("".join(f"c{k:03d}\n" for k in range(CLASSES)))
    write(folder / "data" / "val", [TENCH, GOLDFISH])
    return case, compile_model(case, "evaluate", "--batch=4"), folder


def write(folder, labels, each=3):
    """Pictures of noise in class folders; as a tensor in the order of the names, n x 3 x 32 x 32."""
    rng, found = np.random.default_rng(0), []
    for label in sorted(labels):
        (folder / f"c{label:03d}").mkdir(parents=True)
        for i in range(each):
            found.append(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
            PIL.Image.fromarray(found[-1]).save(folder / f"c{label:03d}" / f"{i}.png")
    return torch.from_numpy(np.stack(found).transpose(0, 3, 1, 2) / np.float32(255))


def evaluate(setting, output, *sets, check=True):
    _, executable, folder = setting
    flags = [word for name, path in sets for word in ("--shifted", f"{name}:{path}")]
    return run(
        [executable, "--data-dir", folder / "data", "--class-map", folder / "classes.txt", "--output", output, *flags],
        check=check,
    )


def test_only_the_classes_of_the_set_compete(setting, tmp_path):
    case = setting[0]
    pixels = {
        "imagenet-a": write(tmp_path / "a", [STINGRAY, 11, 13], 20),
        "imagenet-r": write(tmp_path / "r", [GOLDFISH, STINGRAY], 20),
    }
    result = evaluate(setting, tmp_path / "out", ("imagenet-a", tmp_path / "a"), ("imagenet-r", tmp_path / "r"))
    found = {m["column"]: m for m in json.loads((tmp_path / "out" / "results.json").read_text())["measurements"]}
    predictions = {}
    for name, images in pixels.items():
        with open(tmp_path / "out" / "outcomes" / f"{name}.csv", newline="") as file:
            predictions[name] = np.array([int(row["prediction"]) for row in csv.DictReader(file)])
        with torch.no_grad():
            logits = case.golden()(images)
        assert (predictions[name] != logits.argmax(1).numpy()).any()  # the mask decides some
        # No class that competes beats the prediction, and four fifths of the thousand do not compete.
        above = (logits > logits.gather(1, torch.from_numpy(predictions[name])[:, None])).sum(1)
        assert (above <= 800).all()
        parameters = found[name]["parameters"]
        assert parameters["masked"] and parameters["classes_expected"] == 200
        assert parameters["missing"]["count"] == 200 - parameters["classes"]
    assert found["imagenet-a"]["parameters"]["images_expected"] == 7500
    assert "imagenet-a: images of 3 classes, expected 200; without: c015, c017" in result.stderr
    assert "imagenet-r: 40 images, published with 30000" in result.stderr


@pytest.mark.parametrize("name,label", [("imagenet-a", GOLDFISH), ("imagenet-a", TENCH), ("imagenet-r", COCK)])
def test_images_of_other_classes_are_refused(setting, tmp_path, name, label):
    write(tmp_path / "set", [STINGRAY, label], 1)
    result = evaluate(setting, tmp_path / "out", (name, tmp_path / "set"), check=False)
    assert result.returncode == 1
    assert f"has images of class {label}, which is none of the 200 of {name}" in result.stderr
