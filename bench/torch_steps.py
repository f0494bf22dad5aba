"""The careful PyTorch steps that `eager` times as they are and `compiled` times under torch.compile."""

from peers.timm_common import Inputs, TrainingStep, noise_and_optimizer, watched_weight, weight_optimizer
from problem import Problem


def build(problem: Problem, compiled: bool):
    return {"synth": synthesis, "finetune": finetune, "forward": Forward}[problem.kind](Inputs(problem), compiled)


class Forward:
    def __init__(self, inputs: Inputs, compiled: bool):
        import torch

        self.inputs, self.torch = inputs, torch
        inputs.model.requires_grad_(False)
        function = lambda image: inputs.logits(inputs.tokens(image))
        self.function = torch.compile(function) if compiled else function

    def step(self):
        with self.torch.no_grad():
            self.logits = self.function(self.inputs.image)

    def result(self):
        return {"logits": self.logits.numpy()}


def synthesis(inputs: Inputs, compiled: bool):
    import torch

    inputs.model.requires_grad_(False)
    with torch.no_grad():
        clean = inputs.logits(inputs.tokens(inputs.image))
    noise, optimizer = noise_and_optimizer(inputs)

    def loss(image, noise, clean):
        return (inputs.logits(inputs.tokens(image) + noise) - clean).square().sum(1).mean()

    function = torch.compile(loss) if compiled else loss
    return TrainingStep(lambda: function(inputs.image, noise, clean), optimizer, noise)


def finetune(inputs: Inputs, compiled: bool):
    import torch
    import torch.nn.functional as F

    labels = torch.cat([inputs.labels, inputs.labels])

    def loss(image, noise, labels):
        tokens = inputs.tokens(image)
        # Clean and noised images as one batch of twice the size: 2 * mean over 2B = mean over B + mean over B.
        return 2 * F.cross_entropy(inputs.logits(torch.cat([tokens, tokens + noise])), labels)

    function = torch.compile(loss) if compiled else loss
    return TrainingStep(
        lambda: function(inputs.image, inputs.noise, labels),
        weight_optimizer(inputs.model),
        watched_weight(inputs.model),
    )
