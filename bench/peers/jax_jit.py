"""JAX: the careful steps in plain jax.numpy, from the same weights (the importer's file), one jit of each whole step with its state donated.
ViT and DeiT with a class token, and Swin. Threads: XLA takes the cores that the process may use.
"""

import functools

import numpy as np
from problem import NOISE_LR, WEIGHT_DECAY, WEIGHT_LR

MEAN_STD = {
    "vit": ((0.5,) * 3, (0.5,) * 3),
    "deit": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "swin": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


def load() -> None:
    import jax
    import safetensors.numpy  # noqa: F401

    jax.config.update("jax_platforms", "cpu")


def prepare(problem):
    load()
    import jax

    if problem.threads == 1:
        raise NotImplementedError("XLA's threads are those of the process: run it under taskset")
    network = Network(problem)
    with jax.default_matmul_precision("highest"):
        return {"synth": Synthesis, "finetune": Finetune, "forward": Forward}[problem.kind](problem, network)


def linear(p, name, x):
    y = x @ p[f"{name}.weight"].T
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def layer_norm(p, name, x, eps):
    import jax.numpy as jnp

    mean = x.mean(-1, keepdims=True)
    variance = jnp.square(x - mean).mean(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(variance + eps) * p[f"{name}.weight"] + p[f"{name}.bias"]


def attention(p, name, x, heads, bias=None):
    """Softmax attention along axis 1 of x (rows, tokens, width); bias: added to the scores."""
    import jax
    import jax.numpy as jnp

    rows, tokens, width = x.shape
    q, k, v = linear(p, f"{name}.qkv", x).reshape(rows, tokens, 3, heads, width // heads).transpose(2, 0, 3, 1, 4)
    scores = jnp.matmul(q * (width // heads) ** -0.5, k.swapaxes(2, 3))
    mixed = jnp.matmul(jax.nn.softmax(scores if bias is None else scores + bias), v)
    return linear(p, f"{name}.proj", mixed.transpose(0, 2, 1, 3).reshape(x.shape))


def mlp(p, name, x):
    import jax

    return linear(p, f"{name}.fc2", jax.nn.gelu(linear(p, f"{name}.fc1", x), approximate=False))


class Network:
    """Parameters by name, and the two halves of the network as functions of them."""

    def __init__(self, problem):
        from safetensors.numpy import load_file

        family = problem.model.split("_")[0]
        if family not in MEAN_STD:
            raise NotImplementedError(f"no jax.numpy version of {problem.model}")
        self.params = {name: array for name, array in load_file(problem.weights).items() if array.dtype == np.float32}
        self.mean, self.std = (np.array(v, np.float32).reshape(1, 3, 1, 1) for v in MEAN_STD[family])
        self.depth = sum(name.endswith("norm1.weight") for name in self.params)
        self.patch = self.params["patch_embed.proj.weight"].shape[-1]
        self.width = self.params["patch_embed.proj.weight"].shape[0]
        self.grid = problem.side // self.patch
        self.swin = family == "swin"
        self.logits = self.swin_logits if self.swin else self.vit_logits

    def tokens(self, p, image):
        n, g, k = image.shape[0], self.grid, self.patch
        patches = ((image - self.mean) / self.std).reshape(n, 3, g, k, g, k).transpose(0, 2, 4, 1, 3, 5)
        kernel = p["patch_embed.proj.weight"].reshape(self.width, -1)
        tokens = patches.reshape(n, g * g, 3 * k * k) @ kernel.T + p["patch_embed.proj.bias"]
        return layer_norm(p, "patch_embed.norm", tokens, 1e-5) if self.swin else tokens

    def vit_logits(self, p, tokens):
        import jax.numpy as jnp

        cls = jnp.broadcast_to(p["cls_token"], (tokens.shape[0], 1, self.width))
        x = jnp.concatenate([cls, tokens], 1) + p["pos_embed"]
        for i in range(self.depth):
            name = f"blocks.{i}"
            x = x + attention(p, f"{name}.attn", layer_norm(p, f"{name}.norm1", x, 1e-6), self.width // 64)
            x = x + mlp(p, f"{name}.mlp", layer_norm(p, f"{name}.norm2", x, 1e-6))
        return linear(p, "head", layer_norm(p, "norm", x[:, 0], 1e-6))

    def swin_logits(self, p, tokens):
        stages = [sum(n.startswith(f"layers.{s}.") and n.endswith("norm1.weight") for n in p) for s in range(4)]
        side, width = self.grid, self.width
        x = tokens.reshape(-1, side, side, width)
        for stage, blocks in enumerate(stages):
            if stage:
                x = x.reshape(-1, side // 2, 2, side // 2, 2, width).transpose(0, 1, 3, 4, 2, 5)
                side, width, name = side // 2, width * 2, f"layers.{stage}.downsample"
                x = layer_norm(p, f"{name}.norm", x.reshape(-1, side, side, 2 * width), 1e-5)
                x = linear(p, f"{name}.reduction", x)
            for block in range(blocks):
                x = swin_block(p, f"layers.{stage}.blocks.{block}", x, width // 32, shifted=block % 2 == 1)
        return linear(p, "head.fc", layer_norm(p, "norm", x, 1e-5).mean((1, 2)))


WINDOW = 7


@functools.cache
def window_tables(side: int):
    """Which entry of the bias table each pair of a window's tokens takes, and the mask of shifted windows."""
    at = np.stack(np.meshgrid(np.arange(WINDOW), np.arange(WINDOW), indexing="ij")).reshape(2, -1)
    apart = at[:, :, None] - at[:, None, :] + WINDOW - 1
    region = np.digitize(np.arange(side), [side - WINDOW, side - WINDOW // 2])
    grid = (3 * region[:, None] + region[None]).reshape(side // WINDOW, WINDOW, side // WINDOW, WINDOW)
    rows = grid.transpose(0, 2, 1, 3).reshape(-1, WINDOW * WINDOW)
    mask = np.where(rows[:, None] != rows[:, :, None], np.float32(-100), np.float32(0))
    return apart[0] * (2 * WINDOW - 1) + apart[1], mask


def swin_block(p, name, x, heads, shifted):
    import jax.numpy as jnp

    n, side, _, width = x.shape
    count, shift = side // WINDOW, WINDOW // 2 if shifted and side > WINDOW else 0
    index, mask = window_tables(side)
    bias = p[f"{name}.attn.relative_position_bias_table"][index].transpose(2, 0, 1)
    if shift:
        bias = jnp.tile(bias + mask[:, None], (n, 1, 1, 1))
    y = jnp.roll(layer_norm(p, f"{name}.norm1", x, 1e-5), (-shift, -shift), (1, 2))
    y = y.reshape(n, count, WINDOW, count, WINDOW, width).transpose(0, 1, 3, 2, 4, 5)
    y = attention(p, f"{name}.attn", y.reshape(-1, WINDOW * WINDOW, width), heads, bias)
    y = y.reshape(n, count, count, WINDOW, WINDOW, width).transpose(0, 1, 3, 2, 4, 5).reshape(x.shape)
    x = x + jnp.roll(y, (shift, shift), (1, 2))
    return x + mlp(p, f"{name}.mlp", layer_norm(p, f"{name}.norm2", x, 1e-5))


class Forward:
    def __init__(self, problem, network):
        import jax

        self.params, self.image = jax.device_put(network.params), jax.device_put(problem.images())
        self.function = jax.jit(lambda p, image: network.logits(p, network.tokens(p, image)))

    def step(self):
        self.logits = self.function(self.params, self.image).block_until_ready()

    def result(self):
        return {"logits": np.asarray(self.logits)}


def adamw(value, m, v, gradient, count, rate, decay):
    """torch.optim.AdamW's update."""
    import jax.numpy as jnp

    m, v = BETA1 * m + (1 - BETA1) * gradient, BETA2 * v + (1 - BETA2) * gradient**2
    scale = jnp.sqrt(v) / jnp.sqrt(1 - BETA2**count) + EPS
    return value * (1 - rate * decay) - rate / (1 - BETA1**count) * m / scale, m, v


class Steps:
    """`function(state, count, ...) -> state, loss, gradient`, the state donated."""

    def run(self, *inputs):
        import jax

        self.count = getattr(self, "count", 0) + 1
        self.state, loss, gradient = self.function(self.state, np.float32(self.count), *inputs)
        jax.block_until_ready((self.state, loss, gradient))
        if self.count == 1:
            self.first = {"loss": np.asarray(loss), "gradient": np.asarray(gradient)}

    def result(self):
        return self.first


class Synthesis(Steps):
    def __init__(self, problem, network):
        import jax
        import jax.numpy as jnp

        self.params, self.image = jax.device_put(network.params), jax.device_put(problem.images())
        self.clean = jax.jit(lambda p, image: network.logits(p, network.tokens(p, image)))(self.params, self.image)
        noise = jnp.asarray(problem.noise((1, network.grid**2, network.width)))
        self.state = noise, jnp.zeros_like(noise), jnp.zeros_like(noise)

        def loss(noise, p, image, clean):
            logits = network.logits(p, network.tokens(p, image) + noise)
            return jnp.square(logits - clean).sum(1).mean()

        def step(state, count, p, image, clean):
            value, gradient = jax.value_and_grad(loss)(state[0], p, image, clean)
            return adamw(*state, gradient, count, NOISE_LR, 0.0), value, gradient

        self.function = jax.jit(step, donate_argnums=0)

    def step(self):
        self.run(self.params, self.image, self.clean)


class Finetune(Steps):
    def __init__(self, problem, network):
        import jax
        import jax.numpy as jnp

        from peers.timm_common import watched_name

        zeros = {name: np.zeros_like(array) for name, array in network.params.items()}
        self.state = jax.device_put((network.params, zeros, zeros))
        noise = problem.noise((1, network.grid**2, network.width))
        self.inputs = jax.device_put((problem.images(), np.tile(problem.labels(), 2), noise))
        no_decay = ("pos_embed", "cls_token")
        decays = {
            name: WEIGHT_DECAY if a.ndim > 1 and name not in no_decay and "bias_table" not in name else 0.0
            for name, a in network.params.items()
        }
        watched = watched_name(network.params)

        def loss(p, image, labels, noise):
            tokens = network.tokens(p, image)
            logits = network.logits(p, jnp.concatenate([tokens, tokens + noise]))
            return -2 * jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean()

        def step(state, count, image, labels, noise):
            p, m, v = state
            value, gradients = jax.value_and_grad(loss)(p, image, labels, noise)
            new = {k: adamw(p[k], m[k], v[k], gradients[k], count, WEIGHT_LR, decays[k]) for k in p}
            state = tuple({k: triple[i] for k, triple in new.items()} for i in range(3))
            return state, value, gradients[watched]

        self.function = jax.jit(step, donate_argnums=0)

    def step(self):
        self.run(*self.inputs)
