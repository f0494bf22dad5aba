"""The published procedure as its public code does it: every weight wants a gradient, the clean pass is repeated at every
step, and finetuning makes two passes. (The objective and the optimizer's settings are ours, so that results can be compared.)
"""

from problem import NOISE_LR

from peers import timm_common

load = timm_common.load


def prepare(problem):
    return {"synth": Synthesis, "finetune": Finetune}[problem.kind](timm_common.Inputs(problem))


class Synthesis:
    def __init__(self, inputs):
        import torch

        self.inputs, self.torch, self.first = inputs, torch, None
        self.noise = torch.nn.Parameter(inputs.noise.clone())
        self.optimizer = torch.optim.AdamW([self.noise], lr=NOISE_LR, weight_decay=0.0)

    def step(self):
        inputs = self.inputs
        with self.torch.no_grad():
            clean = inputs.logits(inputs.tokens(inputs.image))
        loss = (inputs.logits(inputs.tokens(inputs.image) + self.noise) - clean).square().sum(1).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.first is None:
            self.first = {"loss": loss.detach().numpy().copy(), "gradient": self.noise.grad.numpy().copy()}

    def result(self):
        return self.first


class Finetune:
    def __init__(self, inputs):
        self.inputs, self.first = inputs, None
        self.optimizer = timm_common.weight_optimizer(inputs.model)

    def step(self):
        import torch.nn.functional as F

        inputs = self.inputs
        clean = inputs.logits(inputs.tokens(inputs.image))
        noised = inputs.logits(inputs.tokens(inputs.image) + inputs.noise)
        loss = F.cross_entropy(clean, inputs.labels) + F.cross_entropy(noised, inputs.labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.first is None:
            self.first = {
                "loss": loss.detach().numpy().copy(),
                "gradient": inputs.model.blocks[0].attn.qkv.weight.grad.numpy().copy(),
            }

    def result(self):
        return self.first
