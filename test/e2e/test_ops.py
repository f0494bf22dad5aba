"""Every op, compiled in both precisions, against PyTorch: the networks of test_vjp.py, read by nn_reference.py."""

import numpy as np
import pytest
import torch
from conftest import run, tool
from nn_reference import Network
from test_vjp import BATCH, CASES, compile_case, write_network


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("precision, tolerance", [("f64", 1e-13), ("f32", 3e-6)])
def test_forward(case, precision, tolerance, tmp_path):
    runtime = pytest.importorskip("nullspace.runtime")
    weights = write_network(tmp_path, case, ("head",))
    library = tmp_path / "model.so"
    run(
        [
            tool("ns-compile"),
            tmp_path / "model.mlir",
            "--emit=library",
            f"--precision={precision}",
            f"--batch={BATCH}",
            "-o",
            library,
        ]
    )
    model = runtime.Model(library, weights)
    image = np.random.default_rng(1).uniform(size=(BATCH, 1, 2, 10)).astype(np.float32)
    expected = Network(tmp_path / "model.mlir")(torch.from_numpy(image)).numpy()
    assert np.abs(model.forward(image) - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("case", ["attention_windows", "relative_bias_prefix"])
def test_gradients_of_biases_do_not_depend_on_threads(case, tmp_path):
    """The bits: sums over images and windows are taken in one order."""
    trained = ("embed", *CASES[case][0])
    model = compile_case(tmp_path, case, trained)
    gradients = []
    for threads in (1, 2, 5):
        model.set_threads(threads)
        model.run("finetune_step")
        gradients.append({name: value.tobytes() for name, value in model.param_grads().items()})
    assert gradients[0] == gradients[1] == gradients[2]
    assert sorted(gradients[0]) == sorted(trained)
