"""PyTorch eager, careful: frozen weights want no gradient, clean logits are computed once, the patch embedding once a step."""

import torch_steps

from peers import timm_common

load, prepare = timm_common.load, torch_steps.steps
