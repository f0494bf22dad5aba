"""What the PyTorch peers share: the model, its weights those of the export, and its inputs as tensors."""

import copy
import functools

from problem import Problem


def load() -> None:
    from nullspace import _torchvision_shim  # noqa: F401

    # isort: split
    import timm
    import torch

    # 2: windows too; on a CPU scaled_dot_product_attention is the faster path for every family here.
    timm.layers.set_fused_attn(True, experimental=True)


def build(problem: Problem):
    """The model in eval mode; torch runs with the problem's threads from here on."""
    load()
    import torch

    torch.set_num_threads(problem.threads)
    if problem.device == "cpu":
        return initial(problem.model, problem.options)
    return copy.deepcopy(initial_once(problem.model, problem.options)).to(problem.device)


def initial(model: str, options: tuple):
    import timm
    import torch

    torch.manual_seed(0)  # as nullspace.export does
    return timm.create_model(model, **dict(options)).eval()


# On a GPU's clock: drawing the weights of a large model takes seconds, and each peer builds it.
initial_once = functools.lru_cache(maxsize=1)(initial)


def normalisation(model):
    import torch

    config, device = model.pretrained_cfg, next(model.parameters()).device
    mean, std = (torch.tensor(config[k], device=device).view(1, 3, 1, 1) for k in ("mean", "std"))
    return lambda image: (image - mean) / std


class Inputs:
    """The network in two halves: up to the noise's site (the compiler's default one), and behind it."""

    def __init__(self, problem: Problem):
        import torch

        self.model = build(problem)
        self.normalize = normalisation(self.model)
        self.image = torch.from_numpy(problem.images()).to(problem.device)
        self.labels = torch.from_numpy(problem.labels()).to(problem.device)
        self.grid = hasattr(self.model, "layers")  # Swin: tokens lie in a grid, image x H x W x D
        if hasattr(self.model, "patch_embed"):
            shape = 1, self.model.patch_embed.num_patches, self.model.embed_dim
            self.noise = torch.from_numpy(problem.noise(shape)).to(problem.device)

    def tokens(self, image):
        return self.model.patch_embed(self.normalize(image))

    def noised(self, tokens, noise):
        return tokens + (noise.view(1, *tokens.shape[1:]) if self.grid else noise)

    def logits(self, tokens):
        """The network behind the patch embedding, as timm's forward_features and forward_head."""
        model = self.model
        x = tokens if self.grid else model.norm_pre(model.patch_drop(model._pos_embed(tokens)))
        return model.forward_head(model.norm((model.layers if self.grid else model.blocks)(x)))


def weight_optimizer(model):
    """AdamW with the weight decay on matrices alone, as timm groups parameters."""
    import torch
    from problem import WEIGHT_DECAY, WEIGHT_LR

    no_decay = model.no_weight_decay()
    groups = {True: [], False: []}
    for name, parameter in model.named_parameters():
        groups[parameter.dim() > 1 and name not in no_decay].append(parameter)
    return torch.optim.AdamW(
        [{"params": groups[True], "weight_decay": WEIGHT_DECAY}, {"params": groups[False], "weight_decay": 0.0}],
        lr=WEIGHT_LR,
    )


def noise_and_optimizer(inputs: Inputs):
    """The noise as a parameter of its own, and AdamW over it."""
    import torch
    from problem import NOISE_LR

    noise = torch.nn.Parameter(inputs.noise.clone())
    return noise, torch.optim.AdamW([noise], lr=NOISE_LR, weight_decay=0.0)


class TrainingStep:
    """Steps of `optimizer` on what `loss()` returns. The result is the first loss and the first gradient of `watched`."""

    def __init__(self, loss, optimizer, watched):
        self.loss, self.optimizer, self.watched, self.first = loss, optimizer, watched, None

    def step(self):
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        self.optimizer.step()
        if self.first is None:
            found = {"loss": loss.detach(), "gradient": self.watched.grad}
            self.first = {name: x.float().cpu().numpy().copy() for name, x in found.items()}

    def result(self):
        return self.first


WATCHED = ("blocks.0.attn.qkv.weight", "layers.0.blocks.0.attn.qkv.weight")


def watched_name(names) -> str:
    """Of the matrix whose gradient is compared: the first block's queries, keys and values."""
    return next(name for name in WATCHED if name in names)


def watched_weight(model):
    parameters = dict(model.named_parameters())
    return parameters[watched_name(parameters)]
