// Each weights file is wrong in one way; the error names the file and the entry.
// RUN: rm -rf %t && mkdir %t
// RUN: not ns-opt %s --ns-compute-basis=weights-dir=%t 2>&1 | FileCheck %s --check-prefix=MISSING
// RUN: %python -c "open('%t/w.safetensors', 'wb').write(b'abc')"
// RUN: not ns-opt %s --ns-compute-basis=weights-dir=%t 2>&1 | FileCheck %s --check-prefix=SHORT
// RUN: %python -c "open('%t/w.safetensors', 'wb').write(b'\xff' * 64)"
// RUN: not ns-opt %s --ns-compute-basis=weights-dir=%t 2>&1 | FileCheck %s --check-prefix=LENGTH
// RUN: %python -c "open('%t/w.safetensors', 'wb').write(bytes([8] + [0] * 7) + b'not json')"
// RUN: not ns-opt %s --ns-compute-basis=weights-dir=%t 2>&1 | FileCheck %s --check-prefix=JSON
// RUN: %python -c "open('%t/w.safetensors', 'wb').write((3000005).to_bytes(8, 'little') + b'{\"a\":' + b'[' * 3000000)"
// RUN: not ns-opt %s --ns-compute-basis=weights-dir=%t 2>&1 | FileCheck %s --check-prefix=DEEP
// RUN: %python %S/Inputs/make_weights.py %t/w.safetensors F32 1x2 1,1
// RUN: not ns-opt %s --ns-compute-basis=weights-dir=%t 2>&1 | FileCheck %s --check-prefix=SHAPE
// RUN: %python %S/Inputs/make_weights.py %t/w.safetensors F32 1x2x1x1 1,nan
// RUN: not ns-opt %s --ns-compute-basis=weights-dir=%t 2>&1 | FileCheck %s --check-prefix=NAN
// RUN: %python %S/Inputs/make_weights.py %t/w.safetensors I32 1x2x1x1 1,1
// RUN: not ns-opt %s --ns-compute-basis=weights-dir=%t 2>&1 | FileCheck %s --check-prefix=DTYPE
// RUN: %python %S/Inputs/make_weights.py %t/w.safetensors F32 1x2x1x9999999999 1,1
// RUN: not ns-opt %s --ns-compute-basis=weights-dir=%t 2>&1 | FileCheck %s --check-prefix=HUGE
// RUN: %python %S/Inputs/make_weights.py %t/w.safetensors F32 1x2x1x1 1,1,1
// RUN: not ns-opt %s --ns-compute-basis=weights-dir=%t 2>&1 | FileCheck %s --check-prefix=OFFSETS
// RUN: %python %S/Inputs/make_weights.py %t/w.safetensors F32 1x2x1x1 1,1
// RUN: not ns-opt %s --ns-compute-basis="weights-dir=%t file=%t/no/such/folder.safetensors" 2>&1 | FileCheck %s --check-prefix=WRITE

// MISSING: cannot open {{.*}}w.safetensors: No such file or directory
// SHORT: w.safetensors: expected a safetensors file, found 3 bytes
// LENGTH: w.safetensors: expected a safetensors header of at most 56 bytes, found a length of 18446744073709551615
// JSON: w.safetensors: the safetensors header is not JSON:
// DEEP: w.safetensors: tensor 'a': expected dtype (a string), shape and data_offsets (non-negative integers), found an array
// SHAPE: w.safetensors: expected entry w to have shape [1, 2, 1, 1], but got [1, 2]
// NAN: w.safetensors: expected entry w to hold finite numbers, but got others
// DTYPE: w.safetensors: tensor 'w': expected F64, F32, F16 or BF16, found I32
// HUGE: w.safetensors: tensor 'w': expected 79999999992 bytes for shape [1, 2, 1, 9999999999] of F32, found
// OFFSETS: w.safetensors: tensor 'w': expected 8 bytes for shape [1, 2, 1, 1] of F32, found 12
// WRITE: folder.safetensors: expected to be writable, but got:

module attributes {nn.weights = #nn.file<"w.safetensors", size = 1, header = "", content = "">} {
  nn.param @w : tensor<1x2x1x1xf32>
  func.func @forward(%image: tensor<?x2x1x1xf32>) -> tensor<?x1xf32> {
    %w = nn.load_param @w : tensor<1x2x1x1xf32>
    %u = nn.patch_embed %image, %w patch [1, 1] : (tensor<?x2x1x1xf32>, tensor<1x2x1x1xf32>) -> tensor<?x1x1xf32>
    %z = nn.select_token %u[0] : tensor<?x1x1xf32> -> tensor<?x1xf32>
    return %z : tensor<?x1xf32>
  }
}
