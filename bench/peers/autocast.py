"""The careful step of `eager` under autocast to bfloat16."""

import torch_steps

from peers import timm_common

load = timm_common.load


def prepare(problem):
    return torch_steps.steps(problem, autocast=True)
