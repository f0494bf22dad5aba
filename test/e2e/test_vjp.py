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


def linear(name, result, source, rows):
    """A line that makes an operand of parameter `name`."""
    return f"%{result} = nn.linear %{source}, %{name} : ({X}, {matrix(rows)}) -> {tokens(TOKENS, rows)}"


# name: (parameters that may be trained and their types; lines that make %y, or %z for one token; tokens and width of the result;
# is %x, which comes from the parameter `embed`, an operand? %fixed comes from buffers)
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
    "patch_embed": (dict(stem="tensor<12x1x2x2xf32>", bias=V), [], (5, 12), False),
    # The class token's way through attention: sliced queries, split projection.
    "sunk_selection": (dict(w=matrix(36), p=matrix(12)),
                       [linear("w", "q", "x", 36), f"%a = nn.attention %q heads 2 scale 0.4 : ({tokens(5, 36)}) -> {X}",
                        linear("p", "o", "a", 12), f"%r = nn.add %x, %o : {X}, {X}",
                        f"%z = nn.select_token %r[0] : {X} -> tensor<?x12xf32>"], (None, 12), True),
}
EMBED = {"embed": matrix(12)}


def write_network(folder, case, trained, seed=0):
    """model.mlir and its weights; buffers are the parameters that are not in `trained`."""
    parameters, lines, (count, width), _ = CASES[case]
    stem = {"stem": "tensor<12x1x2x2xf32>", "bias": V}
    parameters = stem | EMBED | parameters | {"head": matrix(CLASSES, width)}
    random = np.random.default_rng(seed)
    weights = {}
    for name, kind in parameters.items():
        weights[name] = (0.5 * random.normal(size=[int(n) for n in kind[7:].split("x")[:-1]])).astype(np.float32)
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


def check_gradient(loss, variable, gradient, name, seed=2):
    """`gradient` of `loss()` by `variable`, a view, along two random directions, by the five-point central difference."""
    random = np.random.default_rng(seed)
    start = variable.copy()
    for _ in range(2):
        direction = random.normal(size=start.shape)
        values = []
        for distance in (-2, -1, 1, 2):
            variable[:] = start + distance * STEP * direction
            values.append(loss())
        variable[:] = start
        difference = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * STEP)
        product = float((gradient * direction).sum())
        bound = TOLERANCE * (np.linalg.norm(gradient) * np.linalg.norm(direction) + 1e-6)
        assert abs(difference - product) <= bound, f"{name}: {product} by the rule, {difference} by differences"


def subsets(names):
    return itertools.chain.from_iterable(itertools.combinations(names, n) for n in range(1, len(names) + 1))


@pytest.mark.parametrize("case", CASES)
def test_every_subset_of_wanted_operands(case, tmp_path):
    parameters, _, _, reads_x = CASES[case]
    names = [*(EMBED if reads_x else ()), *parameters]
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
                check_gradient(loss, model.param(name), gradients[name], name)


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
