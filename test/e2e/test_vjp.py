"""Every derivative rule, compiled in float64, against central differences, for every subset of wanted operands.

Each case is a network of one op between a patch embedding and a frozen head. An operand is wanted where the parameter that it
comes from is trained and not where that parameter is a buffer: the subset decides what the backward pass computes and keeps.
"""

import itertools

import numpy as np
import pytest
import safetensors.numpy
from conftest import run, tool

BATCH, TOKENS, WIDTH, CLASSES = 3, 5, 12, 7  # no multiple of a vector's lanes
STEP = 1e-3
TOLERANCE = 1e-7  # of |gradient| |direction|; the five-point rule is good to 1e-10 here

X = f"tensor<?x{TOKENS}x{WIDTH}xf32>"
V = f"tensor<{WIDTH}xf32>"


def tokens(count, width=WIDTH):
    return f"tensor<?x{count}x{width}xf32>"


def matrix(rows, columns=WIDTH):
    return f"tensor<{rows}x{columns}xf32>"


def linear(name, result, source, rows, count=TOKENS):
    """A line that makes an operand of parameter `name`."""
    return f"%{result} = nn.linear %{source}, %{name} : ({tokens(count)}, {matrix(rows)}) -> {tokens(count, rows)}"


# Six tokens, %t.
SIX = f"%t = nn.prepend_tokens %x, %cls : ({X}, tensor<1x1x12xf32>) -> {tokens(6)}"


def relative_bias(count, grid, prefix, heads):
    """Lines of an attention of `count` tokens whose bias is looked up in the table %b."""
    rows = (2 * grid[0] - 1) * (2 * grid[1] - 1) + 3 * prefix
    source, kind, bias = "%t" if count == 6 else "%x", tokens(count), f"tensor<{heads}x{count}x{count}xf32>"
    return [*([SIX] if count == 6 else []), f"%r = nn.relative_bias %b grid {grid} prefix {prefix} : {matrix(rows, heads)} -> {bias}",
            f"%y = nn.attention {', '.join([source] * 3)} bias %r heads {heads} scale 0.4 : "
            f"({', '.join([kind] * 3)}, {bias}) -> {kind}"]


def conv(grid, channels, weight, stride, padding, dilation, groups, result, bias=True):
    """A case: a convolution of %x seen as `grid` of `channels`, to tokens and width `result`."""
    count, vector, w = grid[0] * grid[1], f"tensor<{result[1]}xf32>", f"tensor<{'x'.join(map(str, weight))}xf32>"
    parameters = dict(w=w, b=vector) if bias else dict(w=w)
    return (parameters,
            [f"%g = nn.reshape_tokens %x : {X} -> {tokens(count, channels)}",
             f"%y = nn.conv %g, {'%w, %b' if bias else '%w'} grid {grid} stride {stride} padding {padding} dilation {dilation} "
             f"groups {groups} : ({tokens(count, channels)}, {', '.join(parameters.values())}) -> {tokens(*result)}"],
            result, True)


def grid_op(count, channels, text, result=None):
    """A case: an op without parameters on %x seen as `count` tokens of `channels`."""
    into = f" -> {tokens(*result)}" if result else ""
    return ({}, [f"%g = nn.reshape_tokens %x : {X} -> {tokens(count, channels)}", f"%y = nn.{text} : {tokens(count, channels)}{into}"],
            result or (count, channels), True)


# Cases of ops on grids, as in CASES.
GRIDS = {
    "conv": conv([4, 5], 3, (4, 3, 3, 3), [1, 1], [1, 1], [1, 1], 1, (20, 4)),
    "conv_strided": conv([5, 4], 3, (4, 3, 3, 2), [2, 1], [1, 1], [1, 1], 1, (15, 4), bias=False),
    "conv_dilated": conv([5, 3], 4, (5, 4, 2, 2), [1, 2], [1, 0], [2, 1], 1, (5, 5)),
    # As many channels as a vector has lanes, or taps apart: pixel by pixel, not line by line.
    "conv_deep": conv([3, 1], 20, (2, 20, 3, 3), [1, 1], [1, 1], [1, 1], 1, (3, 2)),
    "conv_apart": conv([4, 5], 3, (4, 3, 3, 3), [1, 1], [1, 2], [1, 2], 1, (20, 4)),
    "conv_apart_strided": conv([5, 4], 3, (4, 3, 3, 2), [2, 2], [1, 1], [1, 2], 1, (6, 4), bias=False),
    "conv_1x1": conv([3, 4], 5, (7, 5, 1, 1), [1, 1], [0, 0], [1, 1], 1, (12, 7)),
    "conv_1x1_strided": conv([3, 4], 5, (7, 5, 1, 1), [2, 2], [0, 0], [1, 1], 1, (4, 7), bias=False),
    "conv_wide_padding": conv([2, 5], 6, (2, 6, 3, 3), [1, 1], [3, 2], [1, 1], 1, (42, 2)),
    "conv_stem": conv([6, 10], 1, (9, 1, 7, 7), [2, 2], [3, 3], [1, 1], 1, (15, 9)),
    "conv_depthwise": conv([4, 5], 3, (3, 1, 3, 3), [1, 2], [1, 1], [1, 1], 3, (12, 3)),
    "conv_depthwise_dilated": conv([5, 3], 4, (4, 1, 3, 2), [1, 1], [2, 1], [2, 1], 4, (20, 4), bias=False),
    "max_pool": grid_op(20, 3, "max_pool %g grid [4, 5] kernel [3, 3] stride [2, 2] padding [1, 1]", (6, 3)),
    "max_pool_uneven": grid_op(12, 5, "max_pool %g grid [3, 4] kernel [2, 3] stride [1, 2] padding [0, 1]", (4, 5)),
    "batch_norm": (dict(g=V, b=V, running_mean=V, running_var=V),
                   [f"%y = nn.batch_norm %x, %g, %b running %running_mean, %running_var eps 0.01 : {X}, {V}, {V}, {V}"], (5, 12), True),
    "batch_norm_of_batch": (dict(g=V, b=V), [f"%y = nn.batch_norm %x, %g, %b eps 0.01 : {X}, {V}"], (5, 12), True),
    "permute_tokens": grid_op(20, 3, "permute_tokens %g digits [2, 2, 5] order [2, 0, 1]"),
    "roll_tokens": grid_op(20, 3, "roll_tokens %g grid [4, 5] by [-1, 7]"),
    **{kind: ({}, [f"%y = nn.activation {kind} %x : {X}"], (5, 12), True)
       for kind in ("relu", "silu", "sigmoid", "tanh", "quick_gelu")},
}
# Their gradients jump: the differences must stay between two jumps.
KINKED = {"relu", "max_pool", "max_pool_uneven"}

# name: (parameters that may be trained (never: running statistics) and their types; lines that make %y, or %z for one token; tokens and
# width of the result; is %x, which comes from the parameter `embed`, an operand? %fixed comes from buffers)
CASES = {
    "linear": (dict(w=matrix(9), b="tensor<9xf32>"),
               [f"%y = nn.linear %x, %w, %b : ({X}, {matrix(9)}, tensor<9xf32>) -> {tokens(5, 9)}"], (5, 9), True),
    "linear_no_bias": (dict(w=matrix(9)), [linear("w", "y", "x", 9)], (5, 9), True),
    "layer_norm": (dict(g=V, b=V), [f"%y = nn.layer_norm %x, %g, %b eps 0.01 : {X}, {V}, {V}"], (5, 12), True),
    "layer_norm_per_head": (dict(g="tensor<6xf32>", b="tensor<6xf32>"),
                            [f"%y = nn.layer_norm %x, %g, %b eps 0.01 : {X}, tensor<6xf32>, tensor<6xf32>"], (5, 12), True),
    "layer_norm_plain": ({}, [f"%y = nn.layer_norm %x eps 0.01 : {X}"], (5, 12), True),
    "gelu": ({}, [f"%y = nn.gelu %x approximate none : {X}"], (5, 12), True),
    "gelu_tanh": ({}, [f"%y = nn.gelu %x approximate tanh : {X}"], (5, 12), True),
    "scale": ({}, [f"%y = nn.scale %x by -1.5 : {X}"], (5, 12), True),
    "layer_scale": (dict(g=V), [f"%y = nn.layer_scale %x, %g : {X}, {V}"], (5, 12), True),
    "add": (dict(w=matrix(12)), [linear("w", "r", "fixed", 12), f"%y = nn.add %x, %r : {X}, {X}"], (5, 12), True),
    "add_to_itself": ({}, [f"%y = nn.add %x, %x : {X}, {X}"], (5, 12), True),
    "add_broadcast": (dict(p="tensor<1x5x12xf32>"), [f"%y = nn.add %x, %p : {X}, tensor<1x5x12xf32>"], (5, 12), True),
    "prepend_tokens": (dict(c="tensor<1x1x12xf32>", r="tensor<1x2x12xf32>"),
                       [f"%y = nn.prepend_tokens %x, %c, %r : ({X}, tensor<1x1x12xf32>, tensor<1x2x12xf32>) -> {tokens(8)}"],
                       (8, 12), True),
    "slice_tokens": ({}, [f"%y = nn.slice_tokens %x from 1 : {X} -> {tokens(3)}"], (3, 12), True),
    "slice_channels": ({}, [f"%y = nn.slice_channels %x from 2 : {X} -> {tokens(5, 7)}"], (5, 7), True),
    "slice_rows": (dict(w=matrix(20)), [f"%s = nn.slice_rows %w from 3 : {matrix(20)} -> {matrix(9)}",
                                        f"%y = nn.linear %x, %s : ({X}, {matrix(9)}) -> {tokens(5, 9)}"], (5, 9), True),
    "select_token": ({}, [f"%z = nn.select_token %x[2] : {X} -> tensor<?x12xf32>"], (None, 12), True),
    "attention_packed": (dict(w=matrix(36)), [linear("w", "p", "x", 36),
                         f"%y = nn.attention %p heads 2 scale 0.4 : ({tokens(5, 36)}) -> {X}"], (5, 12), True),
    "attention_query": (dict(q=matrix(12), w=matrix(24)), [linear("q", "a", "fixed", 12), linear("w", "k", "fixed", 24),
                        f"%y = nn.attention %a, %k heads 2 scale 0.4 : ({X}, {tokens(5, 24)}) -> {X}"], (5, 12), False),
    "attention_separate": (dict(q=matrix(12), k=matrix(12), v=matrix(12)),
                           [linear("q", "a", "fixed", 12), linear("k", "c", "fixed", 12), linear("v", "d", "fixed", 12),
                            f"%y = nn.attention %a, %c, %d heads 3 scale 0.4 : ({X}, {X}, {X}) -> {X}"], (5, 12), False),
    "attention_bias": (dict(w=matrix(36), b="tensor<2x5x5xf32>"), [linear("w", "p", "x", 36),
                       f"%y = nn.attention %p bias %b heads 2 scale 0.4 : ({tokens(5, 36)}, tensor<2x5x5xf32>) -> {X}"],
                       (5, 12), True),
    "attention_query_bias": (dict(b="tensor<3x2x5xf32>"), [f"%q = nn.slice_tokens %x from 1 : {X} -> {tokens(2)}",
                             f"%y = nn.attention %q, %x, %x bias %b mask %constant heads 3 scale 0.4 : "
                             f"({tokens(2)}, {X}, {X}, tensor<3x2x5xf32>, tensor<1x2x5xf32>) -> {tokens(2)}"], (2, 12), True),
    "attention_windows": (dict(w=matrix(36), b="tensor<2x3x3xf32>"), [SIX, linear("w", "p", "t", 36, 6),
                          f"%y = nn.attention %p bias %b mask %constant heads 2 scale 0.4 window 3 : "
                          f"({tokens(6, 36)}, tensor<2x3x3xf32>, tensor<2x3x3xf32>) -> {tokens(6)}"], (6, 12), True),
    "attention_windows_plain": ({}, [SIX, f"%y = nn.attention %t, %t, %t heads 2 scale 0.4 window 2 : "
                                f"({tokens(6)}, {tokens(6)}, {tokens(6)}) -> {tokens(6)}"], (6, 12), True),
    "relative_bias": (dict(b=matrix(15, 2)), relative_bias(6, [2, 3], 0, 2), (6, 12), True),
    "relative_bias_column": (dict(b=matrix(9, 1)), relative_bias(5, [5, 1], 0, 1), (5, 12), True),
    "relative_bias_prefix": (dict(b=matrix(12, 3)), relative_bias(5, [2, 2], 1, 3), (5, 12), True),
    "relative_bias_row_prefix": (dict(b=matrix(12, 2)), relative_bias(6, [1, 5], 1, 2), (6, 12), True),
    **{f"rotary_{heads}_heads_after_{prefix}{flag}": ({}, [
        f"%y = nn.rotary %x, %sin, %cos heads {heads} prefix {prefix}{flag} : {X}, {matrix(5 - prefix, 12 // heads)}"],
        (5, 12), True) for heads, prefix, flag in [(1, 0, ""), (3, 0, ""), (2, 1, " transposed"), (6, 3, ""), (1, 4, "")]},
    "mul": (dict(w=matrix(12)), [linear("w", "r", "fixed", 12), f"%y = nn.mul %x, %r : {X}, {X}"], (5, 12), True),
    "mul_by_itself": ({}, [f"%y = nn.mul %x, %x : {X}, {X}"], (5, 12), True),
    "mul_broadcast": (dict(p="tensor<1x5x12xf32>"), [f"%y = nn.mul %x, %p : {X}, tensor<1x5x12xf32>"], (5, 12), True),
    "concat_channels": (dict(w=matrix(7)), [linear("w", "l", "x", 7), f"%y = nn.concat_channels %l, %x, %l : "
                        f"({tokens(5, 7)}, {X}, {tokens(5, 7)}) -> {tokens(5, 26)}"], (5, 26), True),
    "concat_features": ({}, [f"%s = nn.select_token %x[0] : {X} -> tensor<?x12xf32>", f"%m = nn.mean_tokens %x : {X} -> tensor<?x12xf32>",
                        "%z = nn.concat_channels %s, %m : (tensor<?x12xf32>, tensor<?x12xf32>) -> tensor<?x24xf32>"], (None, 24), True),
    "concat_rows": (dict(v=matrix(4), w=matrix(5)), [f"%j = nn.concat_rows %v, %w : ({matrix(4)}, {matrix(5)}) -> {matrix(9)}",
                    linear("j", "y", "x", 9)], (5, 9), True),
    "concat_vectors": (dict(a="tensor<4xf32>", b="tensor<32xf32>"), [
        "%j = nn.concat_rows %a, %b : (tensor<4xf32>, tensor<32xf32>) -> tensor<36xf32>",
        f"%p = nn.linear %x, %packed, %j : ({X}, {matrix(36)}, tensor<36xf32>) -> {tokens(5, 36)}",
        f"%y = nn.attention %p heads 2 scale 0.4 : ({tokens(5, 36)}) -> {X}"], (5, 12), True),
    "expand_batch": (dict(q="tensor<1x2x12xf32>"), [
        f"%e = nn.expand_batch %q like %x : (tensor<1x2x12xf32>, {X}) -> {tokens(2)}",
        f"%y = nn.attention %e, %x, %x heads 2 scale 0.4 : ({tokens(2)}, {X}, {X}) -> {tokens(2)}"], (2, 12), True),
    "patch_embed": (dict(stem="tensor<12x1x2x2xf32>", bias=V), [], (5, 12), False),
    **GRIDS,
    # The class token's way through attention: sliced queries, split projection.
    "sunk_selection": (dict(w=matrix(36), p=matrix(12)),
                       [linear("w", "q", "x", 36), f"%a = nn.attention %q heads 2 scale 0.4 : ({tokens(5, 36)}) -> {X}",
                        linear("p", "o", "a", 12), f"%r = nn.add %x, %o : {X}, {X}",
                        f"%z = nn.select_token %r[0] : {X} -> tensor<?x12xf32>"], (None, 12), True),
}
EMBED = {"embed": matrix(12)}
# Parameters of a case that are never trained.
CONSTANTS = {
    "attention_query_bias": dict(constant="tensor<1x2x5xf32>"),
    "attention_windows": dict(constant="tensor<2x3x3xf32>", cls="tensor<1x1x12xf32>"),
    "attention_windows_plain": dict(cls="tensor<1x1x12xf32>"),
    "relative_bias": dict(cls="tensor<1x1x12xf32>"),
    "relative_bias_row_prefix": dict(cls="tensor<1x1x12xf32>"),
    "concat_vectors": dict(packed=matrix(36)),
} | {case: dict.fromkeys(["sin", "cos"], lines[0].rsplit(", ", 1)[1]) for case, (_, lines, _, _) in CASES.items() if "rotary" in case}


def write_network(folder, case, trained, seed=0):
    """model.mlir and its weights; buffers are the parameters that are not in `trained`."""
    parameters, lines, (count, width), _ = CASES[case]
    stem = {"stem": "tensor<12x1x2x2xf32>", "bias": V}
    parameters = stem | EMBED | parameters | CONSTANTS.get(case, {}) | {"head": matrix(CLASSES, width)}
    random = np.random.default_rng(seed)
    weights = {}
    for name, kind in parameters.items():
        weights[name] = (0.5 * random.normal(size=[int(n) for n in kind[7:].split("x")[:-1]])).astype(np.float32)
    if "running_var" in weights:
        weights["running_var"] = 0.3 + weights["running_var"] ** 2
    path = folder / "weights.safetensors"
    safetensors.numpy.save_file(weights, path)
    image = "tensor<?x1x2x10xf32>"
    pool = [] if count is None else [f"%z = nn.mean_tokens %y : {tokens(count, width)} -> tensor<?x{width}xf32>"]
    body = [f"%{name} = nn.load_param @{name} : {kind}" for name, kind in parameters.items()]
    body += [
        f"%i = nn.normalize %image mean [0.4] std [0.5] : {image}",
        f"%{'y' if case == 'patch_embed' else 'fixed'} = nn.patch_embed %i, %stem, %bias patch [2, 2] : "
        f"({image}, {stem['stem']}, {V}) -> {X}",
        *([] if case == "patch_embed" else [linear("embed", "x", "fixed", 12)]),
        *lines,
        *pool,
        f"%logits = nn.linear %z, %head : (tensor<?x{width}xf32>, {parameters['head']}) -> tensor<?x{CLASSES}xf32>",
        f"return %logits : tensor<?x{CLASSES}xf32>",
    ]
    declare = [f"nn.param @{n}{'' if n in trained else ' buffer'} : {kind}" for n, kind in parameters.items()]
    model = f'{{classes = {CLASSES} : i64, image = [1, 2, 10], mean = [0.4], name = "{case}", std = [0.5]}}'
    # Never compared: the weights are read from the file by its name.
    file = f'#nn.file<"weights.safetensors", size = {path.stat().st_size}, header = "", content = "">'
    (folder / "model.mlir").write_text(
        "\n".join(
            [f"module attributes {{nn.model = {model}, nn.weights = {file}}} {{", *declare]
            + [f"func.func @forward(%image: {image}) -> tensor<?x{CLASSES}xf32> {{", *body, "}", "}"]
        )
    )
    return path


def compile_case(folder, case, trained, *flags):
    """A loaded library with its inputs set."""
    runtime = pytest.importorskip("nullspace.runtime")
    weights = write_network(folder, case, trained)
    library = folder / "model.so"
    run([tool("ns-compile"), folder / "model.mlir", "--emit=library", "--precision=f64", f"--batch={BATCH}", *flags,
         "-o", library])
    model = runtime.Model(library, weights)
    random = np.random.default_rng(1)
    model.slot("image")[:] = random.uniform(size=model.slot("image").shape)
    model.slot("labels")[:] = random.integers(CLASSES, size=BATCH)
    model.slot("weights")[:] = [0.7, 0.1, 0.4]
    model.slot("accumulate")[:] = 0
    model.slot("clean_logits")[:] = random.normal(size=(BATCH, CLASSES))
    model.slot("noise")[:] = random.normal(size=model.slot("noise").shape)
    return model


def check_gradient(loss, variable, gradient, name, seed=2, step=STEP):
    """`gradient` of `loss()` by `variable`, a view, along two random directions, by the five-point central difference."""
    random = np.random.default_rng(seed)
    start = variable.copy()
    for _ in range(2):
        direction = random.normal(size=start.shape)
        values = []
        for distance in (-2, -1, 1, 2):
            variable[:] = start + distance * step * direction
            values.append(loss())
        variable[:] = start
        difference = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
        product = float((gradient * direction).sum())
        bound = TOLERANCE * (np.linalg.norm(gradient) * np.linalg.norm(direction) + 1e-6)
        assert abs(difference - product) <= bound, f"{name}: {product} by the rule, {difference} by differences"


def subsets(names):
    return itertools.chain.from_iterable(itertools.combinations(names, n) for n in range(1, len(names) + 1))


@pytest.mark.parametrize("case", CASES)
def test_every_subset_of_wanted_operands(case, tmp_path):
    parameters, _, _, reads_x = CASES[case]
    names = [*(EMBED if reads_x else ()), *(name for name in parameters if not name.startswith("running"))]
    full = None
    for trained in reversed(list(subsets(names))):  # the largest first
        folder = tmp_path / "_".join(trained)
        folder.mkdir()
        model = compile_case(folder, case, trained)

        def loss():
            model.run("finetune_step")
            return float(model.slot("loss")[0])

        loss()
        gradients = {name: value.copy() for name, value in model.param_grads().items()}
        assert sorted(gradients) == sorted(trained)
        full = full or gradients
        for name in trained:
            scale = np.abs(full[name]).max()
            assert scale > 1e-6, f"{name}: a gradient of zero tests nothing"
            assert np.abs(gradients[name] - full[name]).max() <= 1e-12 * scale, f"{name} depends on what else is wanted"
            if len(trained) == len(names):
                step = 1e-7 if case in KINKED else STEP
                check_gradient(loss, model.param(name), gradients[name], name, step=step)


@pytest.mark.parametrize("entry", ["synth_step", "synth_step_l2"])
@pytest.mark.parametrize("site", ["tokens", "image"])
def test_synthesis_losses_by_the_noise(entry, site, tmp_path):
    model = compile_case(tmp_path, "gelu", ["embed"], f"--site={site}")
    if site == "image":  # some pixels beyond the clamp, none within a step of its kinks
        image, noise = model.slot("image"), model.slot("noise")
        noise[:] = np.where(np.arange(noise.size).reshape(noise.shape) % 3 == 0, 1.5, 0.3)
        image[:] = 0.1 + 0.5 * image

    def loss():
        model.run(entry)
        return float(model.slot("loss")[0])

    loss()
    check_gradient(loss, model.slot("noise"), model.slot("noise.grad").copy(), "noise")


def test_clean_and_noised_batches_in_one(tmp_path):
    model = compile_case(tmp_path, "layer_norm", ["embed", "g", "b"])

    def loss():
        model.run("finetune_step_noised")
        return float(model.slot("loss")[0])

    loss()
    gradients = {name: value.copy() for name, value in model.param_grads().items()}
    for name, gradient in gradients.items():
        check_gradient(loss, model.param(name), gradient, name)


def test_cross_entropy_by_the_image(tmp_path):
    model = compile_case(tmp_path, "layer_norm", ["embed"])

    def loss():
        model.run("value_and_grad")
        return float(model.slot("losses") @ model.slot("weights"))

    loss()
    check_gradient(loss, model.slot("image"), model.slot("image_grad").copy(), "image")


def test_gradients_accumulate_over_micro_batches(tmp_path):
    model = compile_case(tmp_path, "linear", ["embed", "w", "b"])
    model.run("finetune_step")
    once = {name: value.copy() for name, value in model.param_grads().items()}
    model.slot("accumulate")[:] = 1
    model.run("finetune_step")
    for name, gradient in model.param_grads().items():
        np.testing.assert_allclose(gradient, 2 * once[name], rtol=1e-12, atol=1e-15)
