"""torch.compile over the same careful step as `eager`."""

import torch_steps

from peers import timm_common

load = timm_common.load


def prepare(problem):
    return torch_steps.steps(problem, compiled=True)
