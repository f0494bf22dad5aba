"""Pages that cannot rot: generated pages equal the TableGen files, every op has an example, and ns-opt parses each of them."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT, run, tool

PAGES = sorted((ROOT / "docs" / "Dialects").glob("*.md"))


def test_generated_pages_are_fresh():
    run([sys.executable, ROOT / "docs" / "generate.py", "--check"])


def sections():
    """(op, its example or None) of every op on the generated pages."""
    for page in PAGES:
        for part in re.split(r"^### ", page.read_text(), flags=re.M)[1:]:
            if (name := re.match(r"`(\w+\.\w+)` \(::", part)) is not None:
                example = re.search(r"```mlir\n(.*?)```", part, flags=re.S)
                yield name.group(1), example and example.group(1)


EXAMPLES = list(sections())

# How a symbol that an example uses is declared, by the kind the verifier asks for; the type is the one the example gives it.
DECLARATIONS = {"nn.param": "nn.param {} : {}", "ns.noise": 'ns.noise {} uniform lim 1.0 site "tokens" : {}'}
# "%x is defined as A, used as B": the parser says so in one of two ways.
WRONG_TYPE = r"(?:definition of SSA value|use of value) '(%[\w$.-]+?)(?:#\d+)?'.*?(?:used here with type|prior uses:) '([^'\n]+)'"
TYPE_OF_SYMBOL = r"{}[^\n]*? : (tensor<[^>]*>)"


def parse(text: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [tool("ns-opt"), "-", "--allow-unregistered-dialect"], input=text, capture_output=True, text=True
    )


def close(example: str) -> str:
    """The example as a module of its own. A value it uses and does not define is defined after it (a module's body is a graph
    region), first with a type that cannot be right; the parser's complaint then names the type that is. A symbol it uses
    and does not declare is declared when the verifier asks for it."""
    symbols, types = {}, {}
    for _ in range(64):
        definitions = [f'{value} = "test.value"() : () -> {kind}' for value, kind in types.items()]
        text = "\n".join([*symbols.values(), example, *definitions]) + "\n"
        complaint = parse(text).stderr
        if missing := re.search(r"use of undeclared SSA value name.*?\n(.*)\n(\s*)\^", complaint):
            value = re.match(r"%[\w$.-]+", missing.group(1)[len(missing.group(2)) :]).group()
            types[value] = "none"
        elif wrong := re.search(WRONG_TYPE, complaint, flags=re.S):
            types[wrong.group(1)] = wrong.group(2)
        elif (symbol := re.search(r"expected (@[\w.]+) to be an? ([\w.]+)(?: or [\w.]+)?, but got none", complaint)) and symbol.group(
            1
        ) not in symbols:
            name, kind = symbol.groups()
            given = re.search(TYPE_OF_SYMBOL.format(re.escape(name)), example)
            default = "tensor<192x3x16x16xf32>" if kind == "nn.param" else "tensor<1x196x192xf32>"
            is_value = given and not given.group(1).startswith("tensor<9x")  # hyper-parameters are no parameters
            symbols[name] = DECLARATIONS[kind].format(name, given.group(1) if is_value else default)
        else:
            return text
    return text


def test_there_are_pages():
    assert {page.stem for page in PAGES} == {"nn", "ns", "rt"} and len(EXAMPLES) > 50


@pytest.mark.parametrize("op, example", EXAMPLES, ids=[op for op, _ in EXAMPLES])
def test_example_parses_and_verifies(op, example):
    assert example, f"{op} has no example in its description"
    assert re.search(rf"{re.escape(op)}\b", example), f"the example of {op} does not show it"
    text = close(example)
    result = parse(text)
    assert result.returncode == 0, f"{text}\n{result.stderr}"


def test_paths_in_the_pages_exist():
    """Files that README and docs name by path."""
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
