"""The published procedure as its public code does it: every weight wants a gradient, the clean pass is repeated at every
step, and finetuning makes two passes. (The objective and the optimizer's settings are ours, so that results can be compared.)
"""

from peers import timm_common

load = timm_common.load


def prepare(problem):
    return {"synth": synthesis, "finetune": finetune}[problem.kind](timm_common.Inputs(problem))


def synthesis(inputs):
    import torch

    noise, optimizer = timm_common.noise_and_optimizer(inputs)

    def loss():
        with torch.no_grad():
            clean = inputs.logits(inputs.tokens(inputs.image))
        return (inputs.logits(inputs.noised(inputs.tokens(inputs.image), noise)) - clean).square().sum(1).mean()

    return timm_common.TrainingStep(loss, optimizer, noise)


def finetune(inputs):
    import torch.nn.functional as F

    def loss():
        clean = inputs.logits(inputs.tokens(inputs.image))
        noised = inputs.logits(inputs.noised(inputs.tokens(inputs.image), inputs.noise))
        return F.cross_entropy(clean, inputs.labels) + F.cross_entropy(noised, inputs.labels)

    model = inputs.model
    return timm_common.TrainingStep(loss, timm_common.weight_optimizer(model), timm_common.watched_weight(model))
