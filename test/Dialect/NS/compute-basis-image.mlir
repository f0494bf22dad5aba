// RUN: rm -rf %t && mkdir %t
// RUN: %python %S/Inputs/make_weights.py %t/w.safetensors F32 1x1x1x2 1,1
// RUN: %python -c "import numpy as n; from safetensors.numpy import save_file as s; s({'image': n.arange(4.).reshape(1, 1, 4) ** 2}, '%t/x.safetensors')"
// RUN: ns-opt %s --ns-compute-basis="weights-dir=%t file=%t/b.safetensors image=%t/x.safetensors norm=2" 2>&1 | FileCheck %s
// RUN: %python -c "from safetensors.numpy import load_file as l; b = l('%t/b.safetensors'); print(sorted(b), b['nullspace_image'].shape, b['nullspace_image'].ravel().round(6), b['singular_values'].round(6))" | FileCheck %s --check-prefix=FILE
// Without a file there is no projection.
// RUN: ns-opt %s --ns-compute-basis=weights-dir=%t 2>&1 | FileCheck %s --check-prefix=ALONE
// RUN: not ns-opt %s --ns-compute-basis="weights-dir=%t steps=0" 2>&1 | FileCheck %s --check-prefix=STEPS
// RUN: not ns-opt %s --ns-compute-basis="weights-dir=%t norm=-1" 2>&1 | FileCheck %s --check-prefix=NORM
// RUN: not ns-opt %s --ns-compute-basis="weights-dir=%t image=%t/x.safetensors" 2>&1 | FileCheck %s --check-prefix=NOFILE
// RUN: not ns-opt %s --ns-compute-basis="weights-dir=%t image=%t/w.safetensors file=%t/c.safetensors" 2>&1 | FileCheck %s --check-prefix=ENTRY

// A convolution is a map of the whole image: A = [1 1 0 0; 0 0 1 1] / 2, the worked example of ns/Numerics/Convolution.h with std 2. Of (0, 1, 4, 9) the nullspace
// keeps (-1, 1, -5, 5) / 2, here scaled from norm sqrt 13 to 2.
// CHECK: remark: nullspace of w over the image (2 x 4): nullity at least 2, from its shape; singular values 0.707 to at most 0.707 (1 steps), |A x|
// CHECK: ns.basis @image_basis of @w image {cols = 4 : i64, file = "{{.*}}b.safetensors", nullity = 2 : i64, rank = 2 : i64,
// FILE: ['nullspace_image', 'singular_values'] (1, 1, 4) [-0.27735 0.27735 -1.38675 1.38675] [0.707107 0.707107]
// ALONE: (1 steps){{$}}
// STEPS: error: expected option steps to be 1 to 10000, but got 0
// NORM: error: expected option norm to be at least 0, but got -1
// NOFILE: error: expected option image to come with option file, but got no file to write to
// ENTRY: w.safetensors: expected a tensor 'image', found none

module attributes {nn.weights = #nn.file<"w.safetensors", size = 1, header = "", content = "">} {
  nn.param @w : tensor<1x1x1x2xf32>
  func.func @forward(%image: tensor<?x1x1x4xf32>) -> tensor<?x1xf32> {
    %w = nn.load_param @w : tensor<1x1x1x2xf32>
    %x = nn.normalize %image mean [0.5] std [2.0] : tensor<?x1x1x4xf32>
    %t = nn.image_to_tokens %x : tensor<?x1x1x4xf32> -> tensor<?x4x1xf32>
    %u = nn.conv %t, %w grid [1, 4] stride [1, 2] padding [0, 0] dilation [1, 1] groups 1 : (tensor<?x4x1xf32>, tensor<1x1x1x2xf32>) -> tensor<?x2x1xf32>
    %z = nn.select_token %u[0] : tensor<?x2x1xf32> -> tensor<?x1xf32>
    return %z : tensor<?x1xf32>
  }
}
