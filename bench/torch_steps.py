"""The careful PyTorch steps that `eager` times as they are, `compiled` under torch.compile, `autocast` in bfloat16."""

import contextlib

from peers.timm_common import Inputs, TrainingStep, build, noise_and_optimizer, normalisation, watched_weight, weight_optimizer
from problem import Problem


def steps(problem: Problem, compiled: bool = False, autocast: bool = False):
    return {"synth": synthesis, "finetune": finetune, "forward": Forward}[problem.kind](problem, compiled, autocast)


def precision(autocast: bool, device: str = "cpu"):
    import torch

    return torch.autocast(device, torch.bfloat16) if autocast else contextlib.nullcontext()


class Forward:
    def __init__(self, problem: Problem, compiled: bool, autocast: bool):
        import torch

        self.torch, self.autocast = torch, autocast
        model = build(problem).requires_grad_(False)
        normalize = normalisation(model)
        function = lambda image: model(normalize(image))
        self.image = torch.from_numpy(problem.images())
        self.function = torch.compile(function) if compiled else function

    def step(self):
        with self.torch.no_grad(), precision(self.autocast):
            self.logits = self.function(self.image)

    def result(self):
        return {"logits": self.logits.float().numpy()}


def synthesis(problem: Problem, compiled: bool, autocast: bool):
    import torch

    inputs = Inputs(problem)
    inputs.model.requires_grad_(False)
    with torch.no_grad(), precision(autocast):
        clean = inputs.logits(inputs.tokens(inputs.image)).float()
    noise, optimizer = noise_and_optimizer(inputs)

    def loss(image, noise, clean):
        with precision(autocast):
            logits = inputs.logits(inputs.noised(inputs.tokens(image), noise))
        return (logits.float() - clean).square().sum(1).mean()

    function = torch.compile(loss) if compiled else loss
    return TrainingStep(lambda: function(inputs.image, noise, clean), optimizer, noise)


def finetune(problem: Problem, compiled: bool, autocast: bool):
    import torch
    import torch.nn.functional as F

    inputs = Inputs(problem)
    labels = torch.cat([inputs.labels, inputs.labels])

    def loss(image, noise, labels):
        with precision(autocast):
            tokens = inputs.tokens(image)
            # Clean and noised images as one batch of twice the size: 2 * mean over 2B = mean over B + mean over B.
            logits = inputs.logits(torch.cat([tokens, inputs.noised(tokens, noise)]))
        return 2 * F.cross_entropy(logits.float(), labels)

    function = torch.compile(loss) if compiled else loss
    return TrainingStep(
        lambda: function(inputs.image, inputs.noise, labels),
        weight_optimizer(inputs.model),
        watched_weight(inputs.model),
    )
