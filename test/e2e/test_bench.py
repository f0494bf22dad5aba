"""The benchmark's own honesty: it notices other work, and its peers compute the same step."""

import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "bench"))

import machine
import problem as problems


def test_other_work_is_noticed():
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.3)
        assert machine.other_cores(1.0) > 0.3
    finally:
        busy.kill()
        busy.wait()


def test_own_work_is_not_other_work(monkeypatch):
    busy, own, clock = iter([100.0, 103.0]), iter([10.0, 12.5]), iter([0.0, 2.0])
    monkeypatch.setattr(machine, "busy_seconds", lambda: next(busy))
    monkeypatch.setattr(machine, "own_seconds", lambda: next(own))
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(clock))
    assert machine.OtherWork().cores() == pytest.approx(0.25)


@pytest.mark.parametrize("kind", ["synth", "finetune"])
def test_pytorch_peers_agree(kind):
    """Careful and published steps differ in cost, not in result."""
    from peers import eager, published

    work = problems.Problem("vit_tiny_patch16_224", kind, 2, options=(("depth", 1),))
    results = []
    for peer in (eager, published):
        steps = peer.prepare(work)
        steps.step()
        results.append(steps.result())
    for name, golden in results[0].items():
        assert np.abs(results[1][name] - golden).max() <= 1e-4 * np.abs(golden).max(), name


KINDS = [*((kind, "f32") for kind in ("synth", "finetune", "forward", "fgsm")), ("forward", "bf16"), ("fgsm", "bf16")]


@pytest.mark.parametrize("kind,precision", KINDS)
def test_every_peer_computes_the_same(monkeypatch, tmp_path, kind, precision):
    """Ours and all peers that are installed; a missing one is listed."""
    import compare
    import peers
    import processes

    if kind == "fgsm":
        pytest.importorskip("torchattacks", reason="torchattacks comes with bench/requirements.txt")
    for module in (problems, compare, processes):
        monkeypatch.setattr(module, "OUT", tmp_path)
    micro = 1 if kind == "synth" else 0
    work = problems.Problem("vit_tiny_patch16_224", kind, 2, precision, micro, options=(("depth", 1),))
    names = [name for name in peers.of(kind, precision) if name not in ("compiled", "iree_cpu")]  # which compile for long
    processes.compile_model(work, [work.emit])
    if "onnx_runtime" in names:
        processes.export_onnx(work)
    ready, _, errors, missing = compare.set_up(work, (peers.OURS, *names))
    assert set(ready) == set(errors) and set(ready) | set(missing) == {peers.OURS, *names}
    assert len(ready) >= 2 and not any("not timed" in why for why in missing.values())


def test_torchattacks_agrees_on_every_attack(monkeypatch, tmp_path):
    pytest.importorskip("torchattacks", reason="torchattacks comes with bench/requirements.txt")
    import compare
    import peers
    import processes

    for module in (problems, compare, processes):
        monkeypatch.setattr(module, "OUT", tmp_path)
    works = [problems.Problem("vit_tiny_patch16_224", kind, 2, options=(("depth", 1),)) for kind in problems.ATTACKS]
    processes.compile_model(works[0], [works[0].emit])
    for work in works:
        ready, _, _, missing = compare.set_up(work, (peers.OURS, "attacks"))
        assert set(ready) == {peers.OURS, "attacks"}, missing


def test_disagreement_is_noticed():
    import compare

    work = problems.Problem("vit_tiny_patch16_224", "forward", 2)
    golden = {"logits": np.array([1.0, -2.0])}
    assert compare.check_equal({"logits": np.array([1.001, -2.0])}, golden, work) == pytest.approx(5e-4)
    for wrong in (1.01, np.nan):
        with pytest.raises(compare.Disagreement):
            compare.check_equal({"logits": np.array([wrong, -2.0])}, golden, work)
