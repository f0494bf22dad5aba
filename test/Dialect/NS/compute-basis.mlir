// RUN: mkdir -p %t.dir
// RUN: %python %S/Inputs/make_weights.py %t.dir/w.safetensors F32 1x2x1x1 1,1
// RUN: ns-opt %s --ns-compute-basis="weights-dir=%t.dir file=%t.basis.safetensors" 2>&1 | FileCheck %s
// RUN: %python -c "from safetensors.numpy import load_file as l; b = l('%t.basis.safetensors'); print(b['basis'].shape, b['basis'][0, 1] / b['basis'][0, 0], b['singular_values'])" | FileCheck %s --check-prefix=FILE
// An image of the nullspace, of the norm asked for: the projection of (1, 1).
// RUN: %python -c "import numpy as n; from safetensors.numpy import save_file as s; s({'image': n.ones((2, 1, 1))}, '%t.dir/one.safetensors')"
// RUN: ns-opt %s --ns-compute-basis="weights-dir=%t.dir file=%t.basis.safetensors image=%t.dir/one.safetensors norm=10" -o %t.out
// RUN: %python -c "from safetensors.numpy import load_file as l; x = l('%t.basis.safetensors')['nullspace_image']; print(x.shape, x.ravel() / 20 ** .5)" | FileCheck %s --check-prefix=PROJECTED
// Without weights-dir the file lies beside the .mlir file.
// RUN: cp %s %t.dir/model.mlir
// RUN: ns-opt %t.dir/model.mlir --ns-compute-basis -o %t.out
// RUN: ns-opt %s --ns-compute-basis="weights-dir=%t.dir tol=2" 2>&1 | FileCheck %s --check-prefix=TOL

// The worked example of ns/Numerics/Nullspace.h: W = [1 1] with std (1, 2) hides (1, -2), since the second channel counts half.
// CHECK: remark: nullspace of w (1 x 2): rank 1, nullity 1 (structural 1, numerical 0), singular values 1.12 to 1.12,
// CHECK: ns.basis @patch_basis of @w patch {cols = 2 : i64, file = "{{.*}}.basis.safetensors", nullity = 1 : i64, rank = 1 : i64,
// CHECK-SAME: rows = 1 : i64, sigma_max = 1.118{{.*}}, structural = 1 : i64,
// FILE: (1, 2) -2.0{{[0-9]*}} [1.118

// PROJECTED: (2, 1, 1) [-1. 2.]

// A tolerance above every singular value makes all of it null.
// TOL: rank 0, nullity 2 (structural 1, numerical 1)

module attributes {nn.weights = #nn.file<"w.safetensors", size = 1, header = "", content = "">} {
  nn.param @w : tensor<1x2x1x1xf32>
  func.func @forward(%image: tensor<?x2x1x1xf32>) -> tensor<?x1xf32> {
    %w = nn.load_param @w : tensor<1x2x1x1xf32>
    %x = nn.normalize %image mean [0.5, 0.5] std [1.0, 2.0] : tensor<?x2x1x1xf32>
    %u = nn.patch_embed %x, %w patch [1, 1] : (tensor<?x2x1x1xf32>, tensor<1x2x1x1xf32>) -> tensor<?x1x1xf32>
    %z = nn.select_token %u[0] : tensor<?x1x1xf32> -> tensor<?x1xf32>
    return %z : tensor<?x1xf32>
  }
}
