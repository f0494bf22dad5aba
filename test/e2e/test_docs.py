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

# How an example's symbol comes to be declared: the user, and the declaration with the symbol and its type.
DECLARATIONS = [
    (r"nn\.load_param (@[\w.]+) : ([^\n]+)", "nn.param {} : {}"),
    (r"ns\.read_noise (@[\w.]+) : ([^\n]+)", 'ns.noise {} uniform lim 1.0 site "tokens" : {}'),
    (r"ns\.basis @\w+ of (@[\w.]+)()", "nn.param {} : tensor<192x3x16x16xf32>"),
]


def declarations(example: str) -> str:
    lines = []
    for pattern, form in DECLARATIONS:
        lines += [
            form.format(*match)
            for match in re.findall(pattern, example)
            if not re.search(rf"nn\.param {re.escape(match[0])}\b", example)
        ]
    return "\n".join(dict.fromkeys(lines))


def parse(text: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [tool("ns-opt"), "-", "--allow-unregistered-dialect"], input=text, capture_output=True, text=True
    )


def close(example: str) -> str:
    """The example as a module of its own. A value it uses and does not define is defined after it (a module's body is a graph
    region), first with a type that cannot be right; the parser's complaint then names the type that is."""
    head, types = declarations(example), {}
    for _ in range(64):
        definitions = "\n".join(f'{value} = "test.value"() : () -> {kind}' for value, kind in types.items())
        text = f"{head}\n{example}\n{definitions}\n"
        result = parse(text)
        if missing := re.search(r"use of undeclared SSA value name.*?\n(.*)\n(\s*)\^", result.stderr):
            value = re.match(r"%[\w$.-]+", missing.group(1)[len(missing.group(2)) :]).group()
            types[value] = "none"
        elif wrong := re.search(
            r"(?:definition of SSA value|use of value) '(%[\w$.-]+?)(?:#\d+)?'.*?(?:used here with type|prior uses:) '([^'\n]+)'",
            result.stderr,
            flags=re.S,
        ):
            types[wrong.group(1)] = wrong.group(2)
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
