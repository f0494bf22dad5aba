"""The steps that are compared on a GPU. Each has `step()`, which enqueues one, `finish()`, which waits for what was enqueued, and `result()`.

PyTorch is as careful as it can be: frozen weights want no gradient and are bfloat16 once and for all, trained ones are float32 under autocast, the
optimizer is fused, clean logits are computed once; inputs stay on the device. `compiled` is torch.compile(mode="max-autotune"), which records CUDA graphs.
"""

import contextlib

import cuda_problem as problems
import numpy as np
from peers import nullspace_executable, timm_common
from peers.nullspace_executable import ENTRIES
from peers.timm_common import Inputs, TrainingStep
from problem import NOISE_LR, Problem

OURS = "nullspace"
OURS_WITH_CUDNN = "nullspace_cudnn"  # attention by cuDNN: which of ours is faster?
OURS_IN_FP8 = "nullspace_fp8"  # frozen weights in FP8: an experiment
PEERS = (
    *("eager_bf16", "compiled_bf16", "published_bf16", "torchattacks_bf16"),
    *(OURS_WITH_CUDNN, OURS_IN_FP8, "eager_f32"),
)
# Of these steps alone.
KINDS_OF = {
    "published_bf16": ("synth", "finetune"),
    "torchattacks_bf16": tuple(problems.ATTACKS),
    OURS_WITH_CUDNN: problems.CUDNN_KINDS,
    OURS_IN_FP8: ("synth",),
}


def of_kind(kind: str) -> tuple[str, ...]:
    """Whom to compare with; eager in float32 is what all results are compared with."""
    return tuple(p for p in PEERS if kind in KINDS_OF.get(p, (kind,)))


def prepare(name: str, problem: Problem, pack, weights):
    if name.startswith(OURS):
        compiled = problems.make_fp8(problem) if name == OURS_IN_FP8 else problem
        path = problems.executable(compiled, pack, "library" if name == OURS_WITH_CUDNN else "expanded")
        if not path.exists():
            raise FileNotFoundError(f"{path.name} is not in the pack")
        return ours(problem, path, weights)
    if name == "torchattacks_bf16":
        return TorchAttacks(problem)
    narrow, compiled = name.endswith("bf16"), name.startswith("compiled")
    if name == "published_bf16":
        return Published(problem)
    kinds = {"synth": Synthesis, "finetune": Finetune, "forward": Forward}
    return kinds.get(problem.kind, Attack)(problem, narrow, compiled)


def wait(device: str):
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def faster(function, compiled: bool, device: str):
    import torch

    if not compiled:
        return function
    return torch.compile(function, mode="max-autotune" if device == "cuda" else "default")


class Torch:
    """What all PyTorch peers have: the model in two halves, and its arithmetic."""

    def __init__(self, problem: Problem, narrow: bool, trains: bool = False):
        import torch

        self.torch, self.problem = torch, problem
        self.inputs = Inputs(problem)
        self.narrow, self.autocast = narrow and not trains, narrow and trains
        if not trains:
            self.inputs.model.requires_grad_(False)
        if self.narrow:
            self.inputs.model.bfloat16()
        if problem.device == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def arithmetic(self):
        if not self.autocast:
            return contextlib.nullcontext()
        return self.torch.autocast(self.problem.device, self.torch.bfloat16)

    def tokens(self, image):
        image = self.inputs.normalize(image)
        return self.inputs.model.patch_embed(image.bfloat16() if self.narrow else image)

    def logits(self, tokens, noise=None):
        if noise is not None:
            tokens = self.inputs.noised(tokens, noise.to(tokens.dtype))
        return self.inputs.logits(tokens).float()

    def finish(self):
        wait(self.problem.device)


class Forward(Torch):
    def __init__(self, problem, narrow, compiled):
        super().__init__(problem, narrow)
        self.function = faster(lambda image: self.logits(self.tokens(image)), compiled, problem.device)

    def step(self):
        with self.torch.no_grad():
            self.found = self.function(self.inputs.image)

    def result(self):
        return {"logits": self.found.cpu().numpy()}


class Training(Torch):
    def step(self):
        self.training.step()

    def result(self):
        return self.training.result()


class Synthesis(Training):
    def __init__(self, problem, narrow, compiled):
        super().__init__(problem, narrow)
        torch = self.torch
        with torch.no_grad():
            clean = self.logits(self.tokens(self.inputs.image))
        noise = torch.nn.Parameter(self.inputs.noise.clone())
        optimizer = torch.optim.AdamW([noise], lr=NOISE_LR, weight_decay=0.0, fused=True)

        def loss(image, noise, clean):
            return (self.logits(self.tokens(image), noise) - clean).square().sum(1).mean()

        function = faster(loss, compiled, problem.device)
        self.training = TrainingStep(lambda: function(self.inputs.image, noise, clean), optimizer, noise)


class Finetune(Training):
    def __init__(self, problem, narrow, compiled):
        super().__init__(problem, narrow, trains=True)
        torch, inputs = self.torch, self.inputs
        labels = torch.cat([inputs.labels, inputs.labels])

        def loss(image, noise, labels):
            with self.arithmetic():
                tokens = self.tokens(image)
                both = torch.cat([tokens, inputs.noised(tokens, noise.to(tokens.dtype))])
                logits = inputs.logits(both)
            return 2 * torch.nn.functional.cross_entropy(logits.float(), labels)

        function = faster(loss, compiled, problem.device)
        optimizer = timm_common.weight_optimizer(inputs.model)
        for group in optimizer.param_groups:
            group["fused"], group["foreach"] = True, False
        self.training = TrainingStep(
            lambda: function(inputs.image, inputs.noise, labels), optimizer, timm_common.watched_weight(inputs.model)
        )


class Published(Training):
    """peers/published.py under autocast: every weight wants a gradient, the clean pass is repeated, finetuning makes two passes."""

    def __init__(self, problem):
        from peers import published

        super().__init__(problem, True, trains=True)
        build = {"synth": published.synthesis, "finetune": published.finetune}[problem.kind]
        self.training = build(self.inputs)

    def step(self):
        with self.arithmetic():
            self.training.step()


class Attack(Torch):
    """FGSM and PGD from 8-bit images, and what the model says of the result."""

    def __init__(self, problem, narrow, compiled):
        super().__init__(problem, narrow)
        torch = self.torch
        self.pixels = torch.from_numpy(problem.pixels()).to(problem.device)
        self.steps, self.size, self.limit = (1, 4 / 255, 4 / 255) if problem.kind == "fgsm" else (10, 2 / 255, 8 / 255)

        def gradient_sign(image, labels):
            image = image.detach().requires_grad_()
            loss = torch.nn.functional.cross_entropy(self.logits(self.tokens(image)), labels, reduction="sum")
            return torch.autograd.grad(loss, image)[0].sign()

        def stands(image, labels):
            return self.logits(self.tokens(image)).argmax(1) == labels

        # Autograd inside of a compiled function is not for every version: the loss is compiled, its gradient follows.
        self.gradient_sign = gradient_sign
        if compiled:
            forward = faster(lambda image: self.logits(self.tokens(image)), True, problem.device)

            def compiled_sign(image, labels):
                image = image.detach().requires_grad_()
                loss = torch.nn.functional.cross_entropy(forward(image), labels, reduction="sum")
                return torch.autograd.grad(loss, image)[0].sign()

            self.gradient_sign = compiled_sign
        self.stands_of = stands
        with torch.no_grad():
            self.labels = self.logits(self.tokens(self.images())).argmax(1)

    def images(self):
        return self.pixels.permute(0, 3, 1, 2).float().div_(255).contiguous()

    def step(self):
        clean = self.images()
        image = clean
        for _ in range(self.steps):
            image = image + self.size * self.gradient_sign(image, self.labels)
            image = self.torch.min(self.torch.max(image, clean - self.limit), clean + self.limit).clamp(0, 1)
        self.adversarial = image
        with self.torch.no_grad():
            self.stands = self.stands_of(image, self.labels)

    def result(self):
        return {"adversarial": self.adversarial.cpu().numpy(), "stands": self.stands.cpu().numpy().astype(np.float32)}


class TorchAttacks:
    """peers/attacks.py, its model under autocast."""

    def __init__(self, problem):
        from peers import attacks

        self.attack, self.device = attacks.prepare(problem, autocast=True), problem.device
        self.step, self.result = self.attack.step, self.attack.result

    def finish(self):
        wait(self.device)


def ours(problem: Problem, executable, weights):
    from nullspace import runtime

    model = runtime.Model(str(executable), weights=str(weights))
    if problem.kind in ENTRIES:
        return OurTraining(problem, model)
    return OurForward(problem, model) if problem.kind == "forward" else OurAttack(problem, model)


class OurForward(nullspace_executable.Forward):
    """In the arithmetic of the steps: `forward` itself is float32 in every artefact."""

    def step(self):
        self.model.start("clean_logits")

    def finish(self):
        self.logits = self.model.slot("clean_logits")

    def result(self):
        return {"logits": np.array(self.model.slot("clean_logits"))}


class OurAttack(nullspace_executable.Attack):
    def finish(self):
        pass  # an attack ends with its answers


class OurTraining(nullspace_executable.Training):
    def step(self):
        step, update = ENTRIES[self.kind]
        self.model.start(step)
        if self.first is None:
            loss = np.array(self.model.slot("loss").reshape(-1)[0])
            self.first = {"loss": loss, "gradient": np.array(self.gradient())}
        self.set_rates()
        self.model.start(update)

    def finish(self):
        # The next view waits: of an output of the last entry, or of the step before it where that has none.
        self.model.slot("noise_norm" if self.kind == "synth" else "loss")


def forget(device: str):
    """Gives back what ended comparisons held."""
    import gc

    import torch

    gc.collect()
    if device == "cuda":
        torch._dynamo.reset()
        gc.collect()
        torch.cuda.empty_cache()
