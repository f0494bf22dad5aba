"""Attacks of --target=cuda: a step is one graph, of which nothing is fetched, and the images are the CPU's."""

import numpy as np
import pytest
from conftest import column
from test_cuda import BATCH, RECORD, case, cpu, gpu, where  # noqa: F401 (fixtures)
from test_cuda_executables import emulator, pair  # noqa: F401 (fixtures)

STEPS = 5
ATTACKS = [
    f"pgd:eps=4/255,alpha=1/255,steps={STEPS},start=clean",
    f"pgd:eps=.3,alpha=.1,steps={STEPS},norm=l2,start=clean",
    f"mim:eps=4/255,alpha=1/255,steps={STEPS},decay=.9",
    "fgsm:eps=4/255",
]


@pytest.fixture(scope="module")
def pixels(case):  # noqa: F811
    channels, height, width = case.info.image
    return np.random.default_rng(2).integers(0, 256, (BATCH, height, width, channels), np.uint8)


@pytest.fixture(scope="module")
def labels(cpu, pixels):  # noqa: F811
    return cpu.forward(pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255).argmax(1)


def attacked(model, attack, pixels, labels):
    stands = model.attack(attack, pixels, labels)
    return stands, np.array(model.slot("image"))


@pytest.mark.parametrize("attack", ATTACKS)
def test_images_are_the_cpus(cpu, gpu, pixels, labels, attack):  # noqa: F811
    (expected, images), (stands, found) = (attacked(model, attack, pixels, labels) for model in (cpu, gpu))
    assert (stands == expected).all()
    clean = pixels.transpose(0, 3, 1, 2) / 255
    assert np.abs(found - clean).max() > 0.9 / 255
    if "l2" in attack:
        assert np.abs(found - images).max() <= 1e-4
    else:  # signs of gradients near 0
        assert (np.abs(found - images) > 1e-6).mean() <= 0.01


def test_a_step_is_one_graph(case, gpu, where, pixels, labels):  # noqa: F811
    """The recorder: between the first and the last step nothing is copied to the host, and nobody waits."""
    if "--device-code=emulate" not in where:
        pytest.skip("the recorder is the emulator's")
    entries = {entry["name"]: len(entry["ops"]) for entry in gpu.metadata["entries"]}
    nodes = entries["value_and_grad"] + entries["attack_update"]
    assert entries["attack_update"] == 1
    before = len(RECORD.read_text().splitlines())
    gpu.attack(f"pgd:eps=4/255,steps={STEPS},restarts=2", pixels, labels)
    lines = RECORD.read_text().splitlines()[before:]
    launches = [i for i, line in enumerate(lines) if line == f"cuGraphLaunch stream 0 {nodes} nodes"]
    assert len(launches) == 2 * STEPS  # both restarts, the graph being there from the attacks before
    for first, last in ((launches[0], launches[STEPS - 1]), (launches[STEPS], launches[-1])):
        assert lines[first : last + 1] == [lines[first]] * STEPS
    fetched = [line for line in lines if line.startswith("cuMemcpyDtoH")]
    logits = f"{4 * BATCH * case.info.classes} bytes"  # of `forward`, after each restart
    assert len(fetched) == 2 and all(logits in line for line in fetched), fetched


@pytest.mark.parametrize("arm", ["madry", "trades"])
def test_adversarial_training(pair, emulator, monkeypatch, tmp_path, arm):  # noqa: F811
    """The same ascent inside of training steps of two pieces; but for the losses nothing is fetched in between."""
    monkeypatch.setitem(emulator, "NSEMU_RECORD", str(tmp_path / "record"))
    cpu, cuda = pair(
        tmp_path, "finetune", "--arm", arm, "--rounds", 1, "--steps-per-round", 2, "--batch-size", 8, "--lr", "1e-3",
        "--holdout-samples", 0, "--attack-steps", 3, "--attack-eps", "4/255", "--attack-step-size", ".01",
    )  # fmt: skip
    losses = [column(folder / "summary.csv", "loss") for folder in (cpu, cuda)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=2e-3)  # signs of gradients near 0
    lines = (tmp_path / "record").read_text().splitlines()
    steps = lines[: max(i for i, line in enumerate(lines) if line.startswith("cuGraphLaunch"))]
    fetched = [line for line in steps if line.startswith("cuMemcpyDtoH")]
    assert fetched and all(" 4 bytes" in line for line in fetched), fetched
