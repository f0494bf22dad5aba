"""Transfer sets, published test sets, statistics and resumption of the evaluate executable, on the linear model of
test/Unit/Runtime/FakeArtifact.c against NumPy."""

import csv
import json
import math
import shutil
import signal
import subprocess
import time

import numpy as np
import PIL.Image
import pytest
import safetensors.numpy
from conftest import compile_model, run, run_with_peak, tool
from test_runtime_data import CLASSES, SIDE, compile_fake, drive, logits_of

NAMES = [f"n{k:02d}" for k in range(CLASSES)]


@pytest.fixture(scope="module")
def artefact(tmp_path_factory):
    return compile_fake(tmp_path_factory.mktemp("fake") / "evaluate.so", "evaluate")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two sets of weights: (path, values)."""
    folder = tmp_path_factory.mktemp("weights")
    found = []
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        values = {
            "head.weight": rng.normal(size=(CLASSES, 3 * SIDE * SIDE)).astype(np.float32),
            "head.bias": rng.normal(size=CLASSES).astype(np.float32),
        }
        safetensors.numpy.save_file(values, folder / f"{seed}.safetensors")
        found.append((folder / f"{seed}.safetensors", values))
    return found


def pictures(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, SIDE, SIDE, 3), dtype=np.uint8)


def write_classes(folder, images, labels, names=NAMES):
    for index, (image, label) in enumerate(zip(images, labels)):
        (folder / names[label]).mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(image).save(folder / names[label] / f"{index:03d}.png")


@pytest.fixture(scope="module")
def data(tmp_path_factory, models):
    """60 images in class folders, labelled by the first model but for a few."""
    folder = tmp_path_factory.mktemp("data")
    images = pictures(60)
    labels = logits_of(models[0][1], images).argmax(1)
    labels[::7] = (labels[::7] + 1) % CLASSES
    write_classes(folder / "val", images, labels)
    for name in NAMES:
        (folder / "train" / name).mkdir(parents=True)
    return folder


def evaluate(artefact, weights, data, output, *flags):
    return drive(artefact, "--data-dir", data, "--output", output, "--weights", weights[0], *flags)


def passed(result):
    assert result.returncode == 0, result.stderr
    return result


def results(output):
    return json.loads((output / "results.json").read_text())


def measured(output, kind):
    return [m for m in results(output)["measurements"] if m["kind"] == kind]


def bits(measurement):
    packed = np.frombuffer(bytes.fromhex(measurement["outcomes"]), np.uint8)
    return np.unpackbits(packed)[: measurement["n"]].astype(bool)


def read_png(path):
    return np.asarray(PIL.Image.open(path).convert("RGB"))


# Transfer ------------------------------------------------------------------------------------------------------------

ATTACKS = ["fgsm:eps=0.03", "pgd:eps=1.5,alpha=0.5,norm=l2,steps=5", "square:eps=0.1,queries=30"]


@pytest.fixture(scope="module")
def saved(artefact, models, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    flags = [word for attack in ATTACKS for word in ("--attack", attack)]
    passed(evaluate(artefact, models[0], data, folder / "out", "--save-adversarial", folder / "images", *flags))
    return folder


def test_saved_images_keep_eps_and_the_manifest_says_what_they_are(saved, models, data):
    manifests = sorted((saved / "images").glob("*/manifest.json"))
    assert len(manifests) == len(ATTACKS)
    for path in manifests:
        manifest = json.loads(path.read_text())
        found = {m["column"]: m for m in results(saved / "out")["measurements"]}[manifest["attack"]]
        attacked = np.stack([read_png(path.parent / e["file"]) for e in manifest["images"]])
        originals = np.stack([read_png(data / "val" / e["source"]) for e in manifest["images"]])
        labels = np.array([e["label"] for e in manifest["images"]])
        difference = (attacked.astype(float) - originals) / 255
        l2, linf = np.sqrt((difference**2).sum((1, 2, 3))), np.abs(difference).max((1, 2, 3))
        eps = manifest["parameters"]["eps"]
        assert (linf if manifest["parameters"].get("norm") != "l2" else l2).max() <= eps + 1e-5
        np.testing.assert_allclose([e["linf"] for e in manifest["images"]], linf, atol=1e-9)
        np.testing.assert_allclose([e["l2"] for e in manifest["images"]], l2, atol=1e-9)
        after = logits_of(models[0][1], attacked).argmax(1)
        assert (after == [e["prediction_after"] for e in manifest["images"]]).all()
        assert found["parameters"]["saved"]["accuracy"] == np.sum(after == labels) / found["n"]
        assert manifest["weights_xxh3"] == results(saved / "out")["weights_xxh3"]
        assert linf.max() > 0 and (after != labels).any()


def test_transfer_to_another_model(saved, artefact, models, data, tmp_path):
    passed(evaluate(artefact, models[1], data, tmp_path / "out", "--transfer", saved / "images"))
    found = measured(tmp_path / "out", "transfer")
    assert {m["parameters"]["attack"] for m in found} == set(ATTACKS)
    for m in found:
        folder = saved / "images" / m["parameters"]["set"]
        entries = json.loads((folder / "manifest.json").read_text())["images"]
        labels = np.array([e["label"] for e in entries])
        predict = lambda files: logits_of(models[1][1], np.stack([read_png(f) for f in files])).argmax(1)
        attacked = predict([folder / e["file"] for e in entries]) == labels
        clean = predict([data / "val" / e["source"] for e in entries]) == labels
        assert m["value"] == attacked.mean() and m["n"] == len(entries) and (bits(m) == attacked).all()
        assert m["parameters"]["clean_accuracy"] == clean.mean()
        assert m["parameters"]["fooling_rate"] == pytest.approx((clean & ~attacked).sum() / clean.sum())
    with open(tmp_path / "out" / "outcomes" / f"transfer-{folder.name}.csv", newline="") as file:
        assert [row["correct"] == "1" for row in csv.DictReader(file)] == attacked.tolist()


def lie(change):
    """A change of a manifest, as a function of its text."""

    def changed(text):
        manifest = json.loads(text)
        change(manifest, manifest["images"][1])
        return json.dumps(manifest)

    return changed


@pytest.mark.parametrize(
    "change, expected",
    [
        (lie(lambda m, e: e.update(label=99)), "image 1: label: expected a class in 0 .. 4, found 99"),
        (lie(lambda m, e: e.update(file="../../secret.png")), "below the manifest's folder"),
        (lie(lambda m, e: e.update(file="n00/gone.png")), "1 of its"),
        (lie(lambda m, e: e.update(source="n00/none.png")), "expected its source 'n00/none.png'"),
        (lie(lambda m, e: e.update(label=(e["label"] + 1) % CLASSES)), "expected its source"),
        (lie(lambda m, e: m["parameters"].update(eps=0.001)), "farther from their originals than its eps"),
        (lie(lambda m, e: m.update(classes=1000)), "expected images of 5 classes, as the model has, found 1000"),
        (lie(lambda m, e: m.update(images=[])), "found none"),
        (lie(lambda m, e: m.update(images=7)), "manifest.json"),
        (lie(lambda m, e: e.pop("source")), "image 1"),
        (lambda text: text[:100], "found no JSON"),
        (lambda text: "{}", "format nullspace-adversarial"),
    ],
)
def test_a_manifest_that_lies_is_refused(saved, artefact, models, data, tmp_path, change, expected):
    shutil.copytree(saved / "images" / "fgsm-eps=0.03", tmp_path / "set")
    path = tmp_path / "set" / "manifest.json"
    path.write_text(change(path.read_text()))
    result = evaluate(artefact, models[1], data, tmp_path / "out", "--transfer", tmp_path / "set")
    assert result.returncode == 1 and expected in result.stderr and "manifest.json" in result.stderr, result.stderr


def test_a_truncated_picture_of_a_transfer_set_is_named(saved, artefact, models, data, tmp_path):
    shutil.copytree(saved / "images" / "fgsm-eps=0.03", tmp_path / "set")
    picture = sorted((tmp_path / "set").glob("*/*.png"))[3]
    picture.write_bytes(picture.read_bytes()[:40])
    result = evaluate(artefact, models[1], data, tmp_path / "out", "--transfer", tmp_path / "set")
    assert result.returncode == 1 and picture.name in result.stderr and "PNG" in result.stderr


def test_class_folders_without_a_manifest_are_a_transfer_set(artefact, models, data, tmp_path):
    images, labels = pictures(20, 5), np.arange(20) % CLASSES
    write_classes(tmp_path / "DamageNet", images, labels)
    passed(evaluate(artefact, models[0], data, tmp_path / "out", "--transfer", tmp_path / "DamageNet"))
    (found,) = measured(tmp_path / "out", "transfer")
    assert found["value"] == np.mean(logits_of(models[0][1], images).argmax(1) == labels)
    assert found["parameters"]["set"] == "DamageNet" and found["n"] == 20


def test_foreign_files_are_not_written_over(artefact, models, data, tmp_path):
    (tmp_path / "images" / "fgsm-eps=0.03").mkdir(parents=True)
    (tmp_path / "images" / "fgsm-eps=0.03" / "mine.txt").write_text("x")
    flags = ["--attack", "fgsm:eps=0.03", "--save-adversarial", tmp_path / "images"]
    result = evaluate(artefact, models[0], data, tmp_path / "out", *flags)
    assert result.returncode == 1 and "found other files" in result.stderr
    assert (tmp_path / "images" / "fgsm-eps=0.03" / "mine.txt").exists()


# Published sets ------------------------------------------------------------------------------------------------------


def test_masked_numeric_and_mapped_folders(artefact, models, data, tmp_path):
    images = pictures(24, 6)
    few = np.array([1, 3])[np.arange(24) % 2]
    write_classes(tmp_path / "a" / "imagenet-a", images, few)  # as the archive unpacks
    write_classes(tmp_path / "v2", images, np.arange(24) % 4, names=["0", "1", "2", "3"])
    write_classes(tmp_path / "sketch", images, np.arange(24) % 3)
    flags = ["--shifted", f"imagenet-a:{tmp_path / 'a'}", "--shifted", f"imagenet-v2:{tmp_path / 'v2'}",
             "--shifted", f"imagenet-sketch:{tmp_path / 'sketch'}"]  # fmt: skip
    result = passed(evaluate(artefact, models[0], data, tmp_path / "out", *flags))
    found = {m["column"]: m for m in measured(tmp_path / "out", "shifted")}
    logits = logits_of(models[0][1], images)
    by_class = lambda labels: np.concatenate([np.flatnonzero(labels == k) for k in range(CLASSES)])
    masked = np.where(np.isin(np.arange(CLASSES), [1, 3]), logits, -np.inf).argmax(1) == few
    assert (bits(found["imagenet-a"]) == masked[by_class(few)]).all()
    assert found["imagenet-a"]["value"] != np.mean(logits.argmax(1) == few)  # the mask decides some
    for name, count in (("imagenet-v2", 4), ("imagenet-sketch", 3)):
        labels = np.arange(24) % count
        assert (bits(found[name]) == (logits.argmax(1) == labels)[by_class(labels)]).all()
        assert found[name]["parameters"]["missing"]["count"] == CLASSES - count
    assert found["imagenet-v2"]["parameters"]["missing"]["classes"] == ["n04"]
    assert "imagenet-sketch: images of 3 classes, expected 5; without: n03, n04" in result.stderr


def test_what_a_set_needs_is_said(artefact, models, data, tmp_path):
    write_classes(tmp_path / "set", pictures(4), np.arange(4), names=["n9999", "m1", "m2", "m3"])
    shifted = lambda flag: evaluate(artefact, models[0], data, tmp_path / "out", "--shifted", flag)
    assert "--class-map" in shifted(f"x:{tmp_path / 'set'}").stderr
    write_classes(tmp_path / "set", pictures(1), [0])
    assert "4 folders are no class of the model: m1, m2, m3, n9999" in shifted(f"x:{tmp_path / 'set'}").stderr
    assert "found nothing" in shifted("x:/nowhere").stderr
    for flag in ("imagenet-a", ":/x", "x:"):
        assert shifted(flag).returncode == 2


@pytest.mark.parametrize("once", [False, True])
def test_arrays_as_of_cifar_10_c(artefact, models, data, tmp_path, once):
    folder, each = tmp_path / "CIFAR-10-C", 12
    folder.mkdir()
    labels = np.arange(each) % CLASSES
    arrays = {kind: pictures(5 * each, seed) for seed, kind in enumerate(("fog", "glass_blur"))}
    np.save(folder / "labels.npy", (labels if once else np.tile(labels, 5)).astype(np.uint8))
    for kind, array in arrays.items():
        np.save(folder / f"{kind}.npy", array)
    result = passed(evaluate(artefact, models[0], data, tmp_path / "out", "--shifted", f"cifar-10-c:{folder}"))
    found = measured(tmp_path / "out", "corruption")
    assert len(found) == 10 and "13 missing" in result.stderr and "gaussian_noise.npy" in result.stderr
    for m in found:
        kind, severity = m["parameters"]["corruption"], m["parameters"]["severity"]
        block = arrays[kind][(severity - 1) * each : severity * each]
        assert (bits(m) == (logits_of(models[0][1], block).argmax(1) == labels)).all()


@pytest.mark.parametrize(
    "name, array, expected",
    [
        ("fog", np.zeros((59, 4, 4, 3), np.uint8), "expected uint8 images 60 x H x W x 3, found '|u1' of shape [59"),
        ("fog", np.zeros((60, 4, 4, 3), np.float32), "found '<f4'"),
        ("fog", np.zeros((60, 3, 4, 4), np.uint8), "shape [60, 3, 4, 4]"),
        ("fog", np.asfortranarray(np.zeros((60, 4, 4, 3), np.uint8)), "fortran"),
        ("labels", np.full(60, 7), "labels.npy[0]: expected a class in 0 .. 4, found 7"),
        ("labels", np.full(60, -1), "found -1"),
        ("labels", np.zeros(60), "whole numbers"),
    ],
)
def test_wrong_arrays_are_named(artefact, models, data, tmp_path, name, array, expected):
    np.save(tmp_path / "labels.npy", np.zeros(60, np.int64))
    np.save(tmp_path / "fog.npy", np.zeros((60, 4, 4, 3), np.uint8))
    np.save(tmp_path / f"{name}.npy", array)
    result = evaluate(artefact, models[0], data, tmp_path / "out", "--shifted", f"c:{tmp_path}")
    assert result.returncode == 1 and expected in result.stderr and f"{name}.npy" in result.stderr, result.stderr


# Statistics ----------------------------------------------------------------------------------------------------------


def exact_mcnemar(b, c):
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    return min(1.0, 2 * tail)


@pytest.mark.parametrize("count, name", [(20, "exact"), (60, "chi_square")])
def test_two_weights_are_compared_image_by_image(artefact, models, data, tmp_path, count, name):
    flags = ["--attack", "fgsm:eps=0.01", "--max-samples", count]
    passed(evaluate(artefact, models[0], data, tmp_path / "a", *flags))
    passed(evaluate(artefact, models[1], data, tmp_path / "b", *flags, "--compare", tmp_path / "a"))
    tests = {m["parameters"]["of"]: m for m in measured(tmp_path / "b", "mcnemar")}
    assert set(tests) == {"clean", "fgsm:eps=0.01"}
    mine, other = ({m["column"]: bits(m) for m in results(tmp_path / f)["measurements"] if "column" in m} for f in "ba")
    for column, test in tests.items():
        b, c = int((mine[column] & ~other[column]).sum()), int((~mine[column] & other[column]).sum())
        assert (test["parameters"]["only_this"], test["parameters"]["only_other"]) == (b, c)
        assert test["parameters"]["test"] == name == ("exact" if b + c < 25 else "chi_square")
        chi_square = math.erfc(max(abs(b - c) - 1, 0) / math.sqrt(2 * (b + c)))
        assert test["value"] == pytest.approx(exact_mcnemar(b, c) if name == "exact" else chi_square, rel=1e-9)
    flags = ["--max-samples", 17, "--compare", tmp_path / "a"]
    other_images = evaluate(artefact, models[1], data, tmp_path / "c", *flags)
    assert other_images.returncode == 1 and "other images" in other_images.stderr
    (tmp_path / "bad.json").write_text('{"measurements": [{"n": 8, "column": "clean", "images": "x", "outcomes": "zz"}]}')
    for bad, what in ((tmp_path / "bad.json", "bits in hex digits"), (tmp_path / "none", "none/results.json")):
        result = evaluate(artefact, models[1], data, tmp_path / "d", "--compare", bad)
        assert result.returncode == 1 and what in result.stderr and "clean" not in result.stdout, result.stderr


def test_bitmaps_are_the_columns_of_outcomes(artefact, models, data, tmp_path):
    passed(evaluate(artefact, models[0], data, tmp_path, "--attack", "fgsm:eps=0.01", "--max-samples", 37))
    with open(tmp_path / "outcomes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = results(tmp_path)
    (images,) = found["image_sets"].items()
    assert images[1]["n"] == 37
    for m in found["measurements"]:
        assert bits(m).tolist() == [row[m["column"]] == "1" for row in rows] and m["images"] == images[0]


def test_several_seeds(artefact, models, data, tmp_path):
    flags = ["--attack", "pgd:eps=0.02,alpha=0.02,steps=1", "--attack", "fgsm:eps=0.01", "--seeds", "0,1,2"]
    passed(evaluate(artefact, models[0], data, tmp_path / "out", *flags))
    runs, (seeds,) = measured(tmp_path / "out", "pgd"), measured(tmp_path / "out", "seeds")
    assert [m["parameters"]["seed"] for m in runs] == [0, 1, 2] and len(measured(tmp_path / "out", "fgsm")) == 1
    values = [m["value"] for m in runs]
    assert seeds["parameters"]["values"] == values and seeds["value"] == pytest.approx(np.mean(values))
    assert seeds["parameters"]["std"] == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    assert seeds["interval"] == [min(values), max(values)]
    assert len({m["outcomes"] for m in runs}) > 1
    one = passed(evaluate(artefact, models[0], data, tmp_path / "one", "--attack", flags[1], "--seed", 1))
    assert measured(tmp_path / "one", "pgd")[0]["outcomes"] == runs[1]["outcomes"], one.stdout
    assert evaluate(artefact, models[0], data, tmp_path / "x", "--seeds", "1,1").returncode == 2


def test_bootstrap_intervals(artefact, models, data, tmp_path):
    for output in ("a", "b"):
        passed(evaluate(artefact, models[0], data, tmp_path / output, "--interval", "bootstrap"))
    (clean,), (again,) = (measured(tmp_path / output, "clean") for output in "ab")
    assert clean["interval"] == again["interval"]
    p, n = clean["value"], clean["n"]
    width = clean["interval"][1] - clean["interval"][0]
    assert clean["interval"][0] < p < clean["interval"][1]
    assert width == pytest.approx(2 * 1.96 * math.sqrt(p * (1 - p) / n), rel=0.25)


# Resumption ----------------------------------------------------------------------------------------------------------

LONG = ["--attack", "fgsm:eps=0.01", "--attack", "pgd:eps=0.02,alpha=0.002,steps=200",
        "--attack", "square:eps=0.02,queries=300", "--seeds", "0,1"]  # fmt: skip


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM])
def test_an_interrupted_evaluation_goes_on_and_gives_the_same_file(artefact, models, data, tmp_path, stop):
    extra = [*LONG, "--shifted", f"again:{data}"]
    passed(evaluate(artefact, models[0], data, tmp_path / "whole", *extra, "--save-adversarial", tmp_path / "images"))
    wanted = (tmp_path / "whole" / "results.json").read_bytes()
    pictures_wanted = {p.relative_to(tmp_path): p.read_bytes() for p in (tmp_path / "images").glob("*/*/*.png")}
    shutil.rmtree(tmp_path / "images")  # the same path, since results.json has it
    command = [tool("nsrt-driver"), artefact, "--data-dir", data, "--output", tmp_path / "out", "--weights",
               models[0][0], *extra, "--save-adversarial", tmp_path / "images"]  # fmt: skip
    journal, interruptions, status = tmp_path / "out" / "journal.jsonl", 0, None
    for lines in (3, 20, 40, 90, 10**9):  # in each of the measurements
        lines = max(lines, journal.read_bytes().count(b"\n") + 1 if journal.exists() else 0)  # it got somewhere
        process = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") >= lines):
            time.sleep(0.001)
        process.send_signal(stop) if process.poll() is None else None
        error = process.communicate(timeout=60)[1].decode()
        status = process.returncode
        assert status in (0, 143, -9), error
        assert "taken over" in error or interruptions == 0
        interruptions += status != 0
    assert status == 0 and interruptions >= 2
    assert (tmp_path / "out" / "results.json").read_bytes() == wanted
    found = {p.relative_to(tmp_path): p.read_bytes() for p in (tmp_path / "images").glob("*/*/*.png")}
    assert found == pictures_wanted


def test_a_damaged_journal_and_other_settings(artefact, models, data, tmp_path):
    passed(evaluate(artefact, models[0], data, tmp_path, *LONG))
    wanted = (tmp_path / "results.json").read_bytes()
    journal = tmp_path / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    for broken in (lines[:9] + [lines[9][:-20]], lines[:9] + [lines[9].replace(b"1", b"0")] + lines[10:], lines[:4]):
        journal.write_bytes(b"".join(broken))
        passed(evaluate(artefact, models[0], data, tmp_path, *LONG))
        assert (tmp_path / "results.json").read_bytes() == wanted
        assert journal.read_bytes() == b"".join(lines)
    journal.write_bytes(b"".join(lines[:9]))  # interrupted
    other = evaluate(artefact, models[1], data, tmp_path, *LONG)
    assert other.returncode == 1 and "weights: expected" in other.stderr and "--restart" in other.stderr
    passed(evaluate(artefact, models[1], data, tmp_path, "--restart"))
    assert results(tmp_path)["weights"] == str(models[1][0])
    passed(evaluate(artefact, models[0], data, tmp_path))  # after a finished one: replaced


def test_an_attack_more_takes_over_the_rest(artefact, models, data, tmp_path):
    passed(evaluate(artefact, models[0], data, tmp_path / "a", "--attack", "fgsm:eps=0.01"))
    more = ["--attack", "fgsm:eps=0.01", "--attack", "bim:eps=0.01"]
    result = passed(evaluate(artefact, models[0], data, tmp_path / "a", *more))
    assert "taken over" in result.stderr and "clean: " not in result.stderr
    passed(evaluate(artefact, models[0], data, tmp_path / "b", *more))
    assert (tmp_path / "a" / "results.json").read_bytes() == (tmp_path / "b" / "results.json").read_bytes()


def test_memory_does_not_grow_with_the_images(artefact, models, tmp_path):
    peaks = []
    for n in (50, 500):
        folder = tmp_path / str(n)
        noise = np.random.default_rng(n).integers(0, 256, (10, 256, 256, 3), dtype=np.uint8)
        for index in range(n):
            path = folder / "val" / NAMES[index % CLASSES]
            path.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(noise[index % 10]).save(path / f"{index}.png", compress_level=0)
        command = [tool("nsrt-driver"), artefact, "--data-dir", folder, "--output", folder / "out", "--weights",
                   models[0][0], "--attack", "fgsm:eps=0.01", "--noise", noise_file(tmp_path)]  # fmt: skip
        result, peak = run_with_peak(command)
        assert result.returncode == 0, result.stderr
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 8e6, peaks  # one image is 0.2 MB: 450 more would be 88 MB


def noise_file(folder):
    path = folder / "noise.safetensors"
    safetensors.numpy.save_file({"noise": np.zeros((1, 48), np.float32)}, path)
    return path


# Corruptions on disk -------------------------------------------------------------------------------------------------


def test_corruptions_read_back_from_disk_give_the_same_accuracies(small, tmp_path):
    side = small.info.image[1]
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    names = [f"c{k}" for k in range(10)]
    images = [np.asarray(PIL.Image.fromarray(c).resize((side, side))) for c in coarse]
    write_classes(tmp_path / "data" / "val", images, np.arange(20) % 10, names)
    exe = compile_model(small, "evaluate", "--batch=8")
    flags = ["--data-dir", tmp_path / "data"]
    kinds = ["--corruption", "fog:2", "--corruption", "glass_blur:4"]
    run([exe, *flags, *kinds, "--output", tmp_path / "a", "--save-corrupted", tmp_path / "png"])
    run([exe, *flags, *kinds, "--output", tmp_path / "b", "--save-corrupted", tmp_path / "jpeg", "--corruption-jpeg", 85])
    run([exe, *flags, "--output", tmp_path / "c", "--shifted", f"c:{tmp_path / 'png'}", "--shifted", f"j:{tmp_path / 'jpeg'}"])
    read = {m["column"]: m["outcomes"] for m in measured(tmp_path / "c", "corruption")}
    streamed = {"c": measured(tmp_path / "a", "corruption"), "j": measured(tmp_path / "b", "corruption")}
    assert len(read) == 4
    for name, found in streamed.items():
        for m in found:
            assert read[f"{name}/{m['column']}"] == m["outcomes"]
    first = PIL.Image.open(next((tmp_path / "jpeg" / "fog" / "2").glob("c0/*.jpeg")))
    assert first.format == "JPEG" and first.size == (side, side)
