"""torchattacks on the same model, images and parameters. A step turns the 8-bit images into floats, attacks them, and asks the model about
the result, as our evaluation does. Weights want no gradient.
"""

import numpy as np

from peers import timm_common


def load() -> None:
    timm_common.load()
    import torchattacks  # noqa: F401


def prepare(problem):
    return Attack(problem)


class Attack:
    def __init__(self, problem):
        load()
        import torch
        import torchattacks

        model = timm_common.build(problem).requires_grad_(False)
        normalize = timm_common.normalisation(model)
        self.network = torch.nn.Module()
        self.network.model = model
        self.network.forward = lambda image: model(normalize(image))
        self.network.eval()
        # The same numbers as in problem.ATTACKS.
        if problem.kind == "fgsm":
            self.attack = torchattacks.FGSM(self.network, eps=4 / 255)
        else:
            self.attack = torchattacks.PGD(self.network, eps=8 / 255, alpha=2 / 255, steps=10, random_start=False)
        self.torch, self.pixels = torch, torch.from_numpy(problem.pixels())
        with torch.no_grad():
            self.labels = self.network(self.images()).argmax(1)

    def images(self):
        return self.pixels.permute(0, 3, 1, 2).float().div_(255).contiguous()

    def step(self):
        self.adversarial = self.attack(self.images(), self.labels)
        with self.torch.no_grad():
            self.stands = self.network(self.adversarial).argmax(1) == self.labels

    def result(self):
        return {"adversarial": self.adversarial.numpy(), "stands": self.stands.numpy().astype(np.float32)}
