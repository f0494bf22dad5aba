"""Ours: the entries of the executable that ns-compile made for this kind of step, called without a copy between; attacks run the loop of
its evaluation.
"""

import numpy as np
from problem import ATTACKS, LAST_ITERATE, NOISE_LR, WEIGHT_DECAY, WEIGHT_LR

from peers.timm_common import watched_name

ENTRIES = {"synth": ("synth_step", "synth_update"), "finetune": ("finetune_step_noised", "finetune_update")}
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


def load() -> None:
    from nullspace import runtime  # noqa: F401


def prepare(problem):
    from nullspace import runtime

    model = runtime.Model(str(problem.executable), threads=problem.threads)
    kinds = {"synth": Training, "finetune": Training, "forward": Forward}
    return kinds.get(problem.kind, Attack)(problem, model)


class Forward:
    def __init__(self, problem, model):
        self.model = model
        narrow = problem.precision == "bf16"  # `forward` measures, in float32
        self.entry, self.logits = ("clean_logits", "clean_logits") if narrow else ("forward", "logits")
        model.slot("image")[:] = problem.images()

    def step(self):
        self.model.run(self.entry)

    def result(self):
        return {"logits": np.array(self.model.slot(self.logits))}


class Attack:
    def __init__(self, problem, model):
        self.model, self.kind, self.text, self.pixels = model, problem.kind, ATTACKS[problem.kind], problem.pixels()
        self.labels = model.forward(problem.images()).argmax(1)

    def step(self):
        self.stands = self.model.attack(self.text, self.pixels, self.labels)

    def result(self):
        found = {"stands": self.stands.astype(np.float32)}
        return found | ({"adversarial": np.array(self.model.slot("image"))} if self.kind in LAST_ITERATE else {})


class Training:
    """A step of the whole batch: one call for each micro-batch, then the update."""

    def __init__(self, problem, model):
        self.model, self.kind, self.count, self.first = model, problem.kind, 0, None
        noise = model.slot("noise")
        noise[:] = problem.noise(noise.shape)
        model.changed("noise")
        arrays = {"image": problem.images()}
        if self.kind == "finetune":
            arrays["labels"] = problem.labels()
        else:
            arrays["clean_logits"] = model.clean_logits(arrays["image"])  # which sets the images' weights
        model.slot("weights")[:] = 1 / problem.batch
        n = model.batch
        self.pieces = [{name: a[i : i + n] for name, a in arrays.items()} for i in range(0, problem.batch, n)]
        self.fill(self.pieces[0])

    def fill(self, piece):
        for name, array in piece.items():
            self.model.slot(name)[:] = array

    def step(self):
        step, update = ENTRIES[self.kind]
        loss = 0.0
        for index, piece in enumerate(self.pieces):
            if len(self.pieces) > 1:
                self.fill(piece)
            self.model.slot("accumulate")[...] = index > 0
            self.model.run(step)
            loss += float(self.model.slot("loss").reshape(-1)[0])
        if self.first is None:
            self.first = {"loss": np.array(loss), "gradient": np.array(self.gradient())}
        self.set_rates()
        self.model.run(update)

    def gradient(self):
        if self.kind == "synth":
            return self.model.slot("noise.grad")
        gradients = self.model.param_grads()
        return gradients[watched_name(gradients)]

    def set_rates(self):
        self.count += 1
        corrections = 1 - BETA1**self.count, 1 - BETA2**self.count
        if self.kind == "synth":
            self.model.slot("noise_hyper")[:] = (NOISE_LR, BETA1, BETA2, EPS, 0.0, *corrections, 0.0, 0.0)
        else:
            self.model.slot("hyper")[:] = (WEIGHT_LR, BETA1, BETA2, EPS, WEIGHT_DECAY, *corrections)

    def result(self):
        return self.first
