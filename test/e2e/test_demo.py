"""`make demo`, whole: the model trains, every command succeeds, and the report has what it promises."""

import json
import sys

from conftest import ROOT, run, tool


def test_demo(tmp_path):
    tool("ns-compile")
    page = tmp_path / "report.html"
    result = run([sys.executable, ROOT / "demo" / "run.py", "--output", tmp_path / "out", "--report", page])
    assert "nullity 128 (structural 128" in result.stderr  # 3 * 8 * 8 pixel values, 64 channels
    for arm in ("base", "none", "gaussian", "nullspace"):
        measured = json.loads((tmp_path / "out" / "evaluate" / arm / "results.json").read_text())["measurements"]
        found = {(m["kind"], m["parameters"].get("noise", "")): m["value"] for m in measured}
        assert found["clean", ""] > 0.9
        assert {"fgsm", "pgd", "square"} <= {kind for kind, _ in found}
        # A nullspace vector keeps predictions; the same numbers in another order do not.
        assert found["noise_same_argmax", "learned"] > found["noise_same_argmax", "permuted"] + 0.1
    text = page.read_text()
    for section in ("Results", "Accuracy by arm", "Learned against permuted noise", "Synthesis", "Finetuning"):
        assert f">{section}</h2>" in text
    assert text.count('<svg class="chart"') >= 6 and "nullspace" in text
    assert "Hardening a ViT" in result.stdout
