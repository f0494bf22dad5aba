"""lit configuration: how to run the .mlir tests, and what is available to them."""

import os

import lit.formats
from lit.llvm import llvm_config  # set up by lit.site.cfg.py

config.name = "nullspace"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["Inputs", "Unit", "e2e"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = config.ns_test_binary_dir

config.environment["FILECHECK_OPTS"] = "-enable-var-scope --allow-unused-prefixes=false"
config.environment["OMP_NUM_THREADS"] = "1"
config.substitutions.append(("%python", config.ns_python))
config.substitutions.append(("%libraries", config.ns_library_dir))
config.substitutions.append(("%inputs", os.path.join(config.test_source_root, "Inputs")))
llvm_config.add_tool_substitutions(
    ["ns-opt", "ns-import", "ns-compile", "FileCheck", "count", "not", "split-file"],
    [config.ns_tools_dir, config.llvm_tools_dir],
)

# Statistics count only in an LLVM built with assertions; distributions' builds are not.
if config.llvm_assertions:
    config.available_features.add("asserts")

# What compiles and assembles device code (docs/decisions/gpu-device-code.md).
cuda = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda"
config.substitutions.append(("%cuda", cuda))
if all(os.path.exists(os.path.join(cuda, path)) for path in ("bin/ptxas", "bin/fatbinary", "nvvm/libdevice/libdevice.10.bc")):
    config.available_features.add("cuda-toolkit")
