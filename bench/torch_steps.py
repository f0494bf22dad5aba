"""The careful PyTorch steps that `eager` times as they are and `compiled` times under torch.compile."""

from peers.timm_common import Inputs, weight_optimizer
from problem import NOISE_LR, Problem


def build(problem: Problem, compiled: bool):
    return {"synth": Synthesis, "finetune": Finetune, "forward": Forward}[problem.kind](Inputs(problem), compiled)


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


class Synthesis:
    def __init__(self, inputs: Inputs, compiled: bool):
        import torch

        self.inputs = inputs
        inputs.model.requires_grad_(False)
        with torch.no_grad():
            self.clean = inputs.logits(inputs.tokens(inputs.image))
        self.noise = torch.nn.Parameter(inputs.noise.clone())
        self.optimizer = torch.optim.AdamW([self.noise], lr=NOISE_LR, weight_decay=0.0)

        def loss(image, noise, clean):
            return (inputs.logits(inputs.tokens(image) + noise) - clean).square().sum(1).mean()

        self.function = torch.compile(loss) if compiled else loss
        self.first = None

    def step(self):
        self.optimizer.zero_grad()
        loss = self.function(self.inputs.image, self.noise, self.clean)
        loss.backward()
        self.optimizer.step()
        if self.first is None:
            self.first = {"loss": loss.detach().numpy().copy(), "gradient": self.noise.grad.numpy().copy()}

    def result(self):
        return self.first


class Finetune:
    def __init__(self, inputs: Inputs, compiled: bool):
        import torch
        import torch.nn.functional as F

        self.inputs = inputs
        self.optimizer = weight_optimizer(inputs.model)
        labels = torch.cat([inputs.labels, inputs.labels])

        def loss(image, noise, labels):
            tokens = inputs.tokens(image)
            # Clean and noised images as one batch of twice the size: 2 * mean over 2B = mean over B + mean over B.
            return 2 * F.cross_entropy(inputs.logits(torch.cat([tokens, tokens + noise])), labels)

        function = torch.compile(loss) if compiled else loss
        self.function = lambda: function(inputs.image, inputs.noise, labels)
        self.first = None

    def step(self):
        self.optimizer.zero_grad()
        loss = self.function()
        loss.backward()
        self.optimizer.step()
        if self.first is None:
            self.first = {
                "loss": loss.detach().numpy().copy(),
                "gradient": self.inputs.model.blocks[0].attn.qkv.weight.grad.numpy().copy(),
            }

    def result(self):
        return self.first
