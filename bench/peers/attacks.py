"""torchattacks on the same model, images and parameters. A step turns the 8-bit images into floats, attacks them, and asks the model about
the result, as our evaluation does. Weights want no gradient.
"""

import numpy as np
import torch_steps
from problem import LAST_ITERATE

from peers import timm_common


def load() -> None:
    timm_common.load()
    import torchattacks  # noqa: F401


def prepare(problem, autocast: bool = False):
    return Attack(problem, autocast)


def attack_of(kind: str, network):
    """With the numbers of problem.ATTACKS."""
    import torchattacks as ta

    tiny = {"norm": "Linf", "eps": 0.001 / 255}
    return {
        "fgsm": lambda: ta.FGSM(network, eps=4 / 255),
        "pgd": lambda: ta.PGD(network, eps=8 / 255, alpha=2 / 255, steps=10, random_start=False),
        "mim": lambda: ta.MIFGSM(network, eps=8 / 255, alpha=2 / 255, steps=10, decay=1.0),
        "cw": lambda: ta.CW(network, c=10000, kappa=1000, steps=10, lr=0.01),
        "apgd-ce": lambda: ta.APGD(network, **tiny, steps=10),
        "fab-t": lambda: ta.FAB(network, **tiny, steps=3, multi_targeted=True, n_classes=3),
        "square": lambda: ta.Square(network, **tiny, n_queries=15),
    }[kind]()


class Attack:
    def __init__(self, problem, autocast: bool):
        load()
        import torch

        model = timm_common.build(problem).requires_grad_(False)
        normalize = timm_common.normalisation(model)
        self.network = torch.nn.Module()
        self.network.model = model

        def logits(image):
            with torch_steps.precision(autocast, problem.device):
                return model(normalize(image)).float()

        self.network.forward = logits
        self.network.eval()
        self.attack, self.kind = attack_of(problem.kind, self.network), problem.kind
        self.torch, self.pixels = torch, torch.from_numpy(problem.pixels()).to(problem.device)
        with torch.no_grad():
            self.labels = self.network(self.images()).argmax(1)

    def images(self):
        return self.pixels.permute(0, 3, 1, 2).float().div_(255).contiguous()

    def step(self):
        self.adversarial = self.attack(self.images(), self.labels)
        with self.torch.no_grad():
            self.stands = self.network(self.adversarial).argmax(1) == self.labels

    def result(self):
        found = {"stands": self.stands.cpu().numpy().astype(np.float32)}
        return found | ({"adversarial": self.adversarial.cpu().numpy()} if self.kind in LAST_ITERATE else {})
