"""Ours: the entries of the executable that ns-compile made for this kind of step, called without a copy between."""

import numpy as np
from problem import NOISE_LR, WEIGHT_DECAY, WEIGHT_LR, threads

ENTRIES = {
    "synth": ("synth_step", "synth_update"),
    "finetune": ("finetune_step_noised", "finetune_update"),
    "forward": ("forward",),
}
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


def load() -> None:
    from nullspace import runtime  # noqa: F401


def prepare(problem):
    from nullspace import runtime

    return Steps(problem, runtime.Model(str(problem.executable), threads=threads()))


class Steps:
    def __init__(self, problem, model):
        self.model, self.kind, self.entries, self.count, self.first = (
            model,
            problem.kind,
            ENTRIES[problem.kind],
            0,
            None,
        )
        model.slot("image")[:] = problem.images()
        if self.kind == "forward":
            return
        noise = model.slot("noise")
        noise[:] = problem.noise(noise.shape)
        model.slot("weights")[:] = 1 / problem.batch
        model.slot("accumulate")[...] = 0
        if self.kind == "finetune":
            model.slot("labels")[:] = problem.labels()
        else:
            model.run("forward")
            model.slot("clean_logits")[:] = model.slot("logits")

    def step(self):
        self.count += 1
        corrections = 1 - BETA1**self.count, 1 - BETA2**self.count
        if self.kind == "synth":
            self.model.slot("noise_hyper")[:] = (NOISE_LR, BETA1, BETA2, EPS, 0.0, *corrections, 0.0, 0.0)
        elif self.kind == "finetune":
            self.model.slot("hyper")[:] = (WEIGHT_LR, BETA1, BETA2, EPS, WEIGHT_DECAY, *corrections)
        self.model.run(self.entries[0])
        if self.first is None and self.kind != "forward":
            gradient = (
                self.model.slot("noise.grad")
                if self.kind == "synth"
                else self.model.param_grads()["blocks.0.attn.qkv.weight"]
            )
            self.first = {"loss": np.array(self.model.slot("loss")).reshape(()), "gradient": np.array(gradient)}
        for entry in self.entries[1:]:
            self.model.run(entry)

    def result(self):
        return self.first if self.kind != "forward" else {"logits": np.array(self.model.slot("logits"))}
