"""`cmake --install` gives what an out-of-tree pass needs: the example plugin builds against the install tree, and its lit test passes."""

import pathlib
import re
import shutil
import sys

import pytest
from conftest import BUILD, ROOT, run, tool


def test_example_plugin_builds_against_the_install_tree(tmp_path):
    tool("ns-opt")
    if not shutil.which("cmake") or not shutil.which("ninja"):
        pytest.skip("no cmake or ninja")
    prefix, work = tmp_path / "prefix", tmp_path / "build"
    run(["cmake", "--install", BUILD, "--prefix", prefix])
    package = next(prefix.glob("lib*/**/cmake/Nullspace/NullspaceConfig.cmake")).parent
    lit = pathlib.Path(sys.executable).parent / "lit"
    run(
        [
            "cmake",
            "-S",
            ROOT / "examples/standalone-pass",
            "-B",
            work,
            "-G",
            "Ninja",
            f"-DNullspace_DIR={package}",
            f"-DLIT_COMMAND={lit}",
        ]
    )
    run(["ninja", "-C", work])
    result = run([lit, "-v", work / "test"])
    assert re.search(r"Passed *: 1\b", result.stdout), result.stdout
    assert f'config.ns_opt = "{prefix}' in (work / "test" / "lit.site.cfg.py").read_text()
