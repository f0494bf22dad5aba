"""Exports the careful forward step of a problem to ONNX, normalisation inside, for a fixed batch.

usage: onnx_export.py PROBLEM FILE (PROBLEM: JSON, problem.py)
"""

import logging
import sys
import warnings

from problem import Problem


def main() -> None:
    from peers import timm_common

    problem = Problem.parse(sys.argv[1])
    model = timm_common.build(problem)
    import torch

    warnings.simplefilter("ignore")
    logging.disable()
    normalize, network = timm_common.normalisation(model), torch.nn.Module()
    network.model = model
    network.forward = lambda image: model(normalize(image))
    images = torch.from_numpy(problem.images())
    with torch.no_grad():
        torch.onnx.export(network.eval(), (images,), sys.argv[2], dynamo=True, external_data=False, verbose=False)


if __name__ == "__main__":
    main()
