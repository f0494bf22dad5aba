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
def test_pytorch_peers_agree(monkeypatch, kind):
    """Careful and published steps differ in cost, not in result."""
    import timm
    from peers import eager, published

    original = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name: original(name, depth=1))
    work = problems.Problem("vit_tiny_patch16_224", kind, 2)
    results = []
    for peer in (eager, published):
        steps = peer.prepare(work)
        steps.step()
        results.append(steps.result())
    for name, golden in results[0].items():
        assert np.abs(results[1][name] - golden).max() <= 1e-4 * np.abs(golden).max(), name
