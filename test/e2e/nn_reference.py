"""What an imported network computes, by PyTorch in float64: a reader of the text that ns-import writes.

One op a line, in the custom form of include/ns/Dialect/NN/IR/NNOps.td. Used to test the importer without the compiler.
"""

import pathlib
import re

import safetensors.torch
import torch
from torch.nn import functional as F

NAME = r"%[\w.$-]+"
LINE = re.compile(rf"\s*({NAME}) = nn\.(\w+) (.*)$")


class Network:
    """`Network(path)(image)`: logits of `@forward` in the file, with the weights that its module names."""

    def __init__(self, path: pathlib.Path):
        text = pathlib.Path(path).read_text()
        weights = pathlib.Path(path).parent / re.search(r'#nn\.file<"([^"]+)"', text)[1]
        state = safetensors.torch.load_file(weights)
        self.declared = re.findall(r"^\s*nn\.param @(\S+)", text, re.M)
        self.weights = {name.strip('"'): state[name.strip('"')].double() for name in self.declared}
        self.image = re.search(rf"func\.func @forward\(({NAME}):", text)[1]
        self.result = re.search(rf"return ({NAME}) :", text)[1]
        body = text[text.index("func.func @forward") :]
        self.ops = [match.groups() for line in body.splitlines() if (match := LINE.match(line))]
        expected = len([line for line in body.splitlines() if " nn." in line])
        assert len(self.ops) == expected, "a line of the file is not understood"

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        values = {self.image: image.double()}
        for result, op, rest in self.ops:
            head, types = rest.rsplit(" : ", 1)
            operands, shape = head.split("{")[0], result_shape(types)
            if op == "load_param":
                values[result] = self.weights[operands.strip().lstrip("@").strip('"')]
            else:
                arguments = [values[name] for name in re.findall(NAME, operands)]
                values[result] = getattr(Ops, op)(operands, shape, *arguments)
            found = list(values[result].shape)
            assert found == [len(image) if d is None else d for d in shape], (result, found, shape)
        return values[self.result]


def result_shape(types: str) -> list[int | None]:
    """Of `(A, B) -> C`, `A -> C`, or `A, B` where the result is an A. None: the batch."""
    text = types.split("->")[-1] if "->" in types else types
    extents = re.search(r"tensor<((?:(?:\?|\d+)x)*)f32>", text)[1].split("x")[:-1]
    return [None if extent == "?" else int(extent) for extent in extents]


def number(key, text):
    return float(re.search(rf"{key} (-?[\d.]+(?:[eE][+-]?\d+)?)", text)[1])


def numbers(key, text):
    return [float(part) for part in re.search(rf"{key} \[([^\]]*)\]", text)[1].split(",")]


def integers(key, text):
    return [int(n) for n in numbers(key, text)]


class Ops:
    """One function for each op: (text of the operands, shape of the result, operands...)."""

    @staticmethod
    def normalize(text, shape, x):
        mean, std = (torch.tensor(numbers(key, text), dtype=x.dtype).view(1, -1, 1, 1) for key in ("mean", "std"))
        return (x - mean) / std

    @staticmethod
    def patch_embed(text, shape, x, w, b=None):
        return F.conv2d(x, w, b, stride=[int(n) for n in numbers("patch", text)]).flatten(2).transpose(1, 2)

    @staticmethod
    def linear(text, shape, x, w, b=None):
        return F.linear(x, w, b)

    @staticmethod
    def layer_norm(text, shape, x, gamma=None, beta=None):
        group = x.shape[-1] if gamma is None else gamma.numel()
        return F.layer_norm(x.unflatten(-1, (-1, group)), (group,), gamma, beta, number("eps", text)).flatten(-2)

    @staticmethod
    def attention(text, shape, *inputs):
        *inputs, mask = inputs if " mask " in text else (*inputs, None)
        *inputs, bias = inputs if " bias " in text else (*inputs, None)
        q, k, v = {
            1: lambda a: a.chunk(3, -1),
            2: lambda q, kv: (q, *kv.chunk(2, -1)),
            3: lambda q, k, v: (q, k, v),
        }[len(inputs)](*inputs)
        window = int(number("window", text)) if " window " in text else None
        heads, batch = int(number("heads", text)), len(q)
        # B x windows x heads x N x d
        q, k, v = (
            t.unflatten(1, (-1, window or t.shape[1])).unflatten(-1, (heads, -1)).transpose(2, 3) for t in (q, k, v)
        )
        added = torch.zeros(q.shape[1], heads, q.shape[3], k.shape[3], dtype=q.dtype)
        added = added + (0 if bias is None else bias) + (0 if mask is None else mask.unsqueeze(1))
        result = F.scaled_dot_product_attention(q, k, v, added, scale=number("scale", text))
        return result.transpose(2, 3).flatten(3).reshape(batch, -1, shape[-1])

    @staticmethod
    def rotary(text, shape, x, sin, cos):
        heads, prefix = int(number("heads", text)), int(number("prefix", text))
        head, sin, cos = x[:, prefix:].unflatten(-1, (heads, -1)), sin.unsqueeze(1), cos.unsqueeze(1)
        turn = lambda t: torch.stack([-t[..., 1::2], t[..., ::2]], -1).flatten(-2)
        turned = head * cos + (-turn(head * sin) if " transposed" in text else turn(head) * sin)
        return torch.cat([x[:, :prefix], turned.flatten(-2)], 1)

    @staticmethod
    def relative_bias(text, shape, table):
        height, width = (int(n) for n in numbers("grid", text))
        prefix = int(number("prefix", text))
        y, x = (t.flatten() for t in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
        grid = (y[:, None] - y + height - 1) * (2 * width - 1) + x[:, None] - x + width - 1
        index = torch.full((height * width + prefix,) * 2, len(table) - 3)
        index[:, :prefix] = len(table) - 2
        index[:prefix, :prefix] = len(table) - 1
        index[prefix:, prefix:] = grid
        return table[index].permute(2, 0, 1)

    @staticmethod
    def gelu(text, shape, x):
        return F.gelu(x, approximate=re.search(r"approximate (\w+)", text)[1])

    @staticmethod
    def add(text, shape, a, b):
        return a + b

    @staticmethod
    def mul(text, shape, a, b):
        return a * b

    @staticmethod
    def scale(text, shape, x):
        return number("by", text) * x

    @staticmethod
    def layer_scale(text, shape, x, gamma):
        return x * gamma

    @staticmethod
    def prepend_tokens(text, shape, x, *tokens):
        return torch.cat([t.expand(len(x), -1, -1) for t in tokens] + [x], 1)

    @staticmethod
    def select_token(text, shape, x):
        return x[:, int(re.search(r"\[(\d+)\]", text)[1])]

    @staticmethod
    def slice_tokens(text, shape, x):
        start = int(number("from", text))
        return x[:, start : start + shape[1]]

    @staticmethod
    def slice_channels(text, shape, x):
        start = int(number("from", text))
        return x[..., start : start + shape[-1]]

    @staticmethod
    def slice_rows(text, shape, x):
        start = int(number("from", text))
        return x[start : start + shape[0]]

    @staticmethod
    def concat_channels(text, shape, *inputs):
        return torch.cat(inputs, -1)

    @staticmethod
    def concat_rows(text, shape, *inputs):
        return torch.cat(inputs)

    @staticmethod
    def expand_batch(text, shape, x, like):
        return x.expand(len(like), *x.shape[1:])

    @staticmethod
    def mean_tokens(text, shape, x):
        return x.mean(1)

    @staticmethod
    def activation(text, shape, x):
        kind = text.split()[0]
        return x * (1.702 * x).sigmoid() if kind == "quick_gelu" else getattr(F, kind)(x)

    @staticmethod
    def image_to_tokens(text, shape, x):
        return x.flatten(2).transpose(1, 2)

    @staticmethod
    def conv(text, shape, x, w, b=None):
        image = x.unflatten(1, integers("grid", text)).permute(0, 3, 1, 2)
        geometry = (integers(key, text) for key in ("stride", "padding", "dilation"))
        return F.conv2d(image, w, b, *geometry, int(number("groups", text))).flatten(2).transpose(1, 2)

    @staticmethod
    def max_pool(text, shape, x):
        image = x.unflatten(1, integers("grid", text)).permute(0, 3, 1, 2)
        geometry = (integers(key, text) for key in ("kernel", "stride", "padding"))
        return F.max_pool2d(image, *geometry).flatten(2).transpose(1, 2)

    @staticmethod
    def batch_norm(text, shape, x, gamma, beta, mean=None, var=None):
        if mean is None:  # of the batch
            var, mean = torch.var_mean(x, tuple(range(x.dim() - 1)), correction=0)
        return (x - mean) / (var + number("eps", text)).sqrt() * gamma + beta

    @staticmethod
    def permute_tokens(text, shape, x):
        order = [0, *(1 + n for n in integers("order", text)), -1]
        return x.unflatten(1, integers("digits", text)).permute(order).reshape(x.shape)

    @staticmethod
    def roll_tokens(text, shape, x):
        return x.unflatten(1, integers("grid", text)).roll(integers("by", text), (1, 2)).flatten(1, 2)

    @staticmethod
    def reshape_tokens(text, shape, x):
        return x.reshape(len(x), *shape[1:])
