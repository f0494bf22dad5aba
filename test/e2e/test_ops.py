"""Every op, compiled in both precisions, against PyTorch: the networks of test_vjp.py, read by nn_reference.py."""

import numpy as np
import pytest
import torch
from conftest import run, tool
from nn_reference import Network
from test_vjp import BATCH, CASES, write_network


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("precision, tolerance", [("f64", 1e-13), ("f32", 3e-6)])
def test_forward(case, precision, tolerance, tmp_path):
    runtime = pytest.importorskip("nullspace.runtime")
    weights = write_network(tmp_path, case, ("head",))
    library = tmp_path / "model.so"
    run([tool("ns-compile"), tmp_path / "model.mlir", "--emit=evaluate", f"--precision={precision}", f"--batch={BATCH}", "-o", library])
    model = runtime.Model(library, weights)
    image = np.random.default_rng(1).uniform(size=(BATCH, 1, 2, 10)).astype(np.float32)
    expected = Network(tmp_path / "model.mlir")(torch.from_numpy(image)).numpy()
    assert np.abs(model.forward(image) - expected).max() <= tolerance * np.abs(expected).max()
