// RUN: ns-opt %s --split-input-file --verify-roundtrip --verify-diagnostics | FileCheck %s

// CHECK-LABEL: func.func @launches
func.func @launches(%x: tensor<4x17x8xf32>, %b: tensor<8xf32>, %d: tensor<4x8xf32>) -> tensor<4x17x8xf32> {
  // CHECK: rt.launch @kernels::@add grid [17, 1, 1] block [32, 1, 1] ins(%{{.*}}, %{{.*}} : tensor<4x17x8xf32>, tensor<8xf32>) : tensor<4x17x8xf32>
  %0 = rt.launch @kernels::@add grid [17, 1, 1] block [32, 1, 1] ins(%x, %b : tensor<4x17x8xf32>, tensor<8xf32>) : tensor<4x17x8xf32>
  // An op with a destination stays, though nobody reads its result.
  // CHECK: rt.launch @kernels::@sum grid [1, 1, 1] block [64, 1, 1] ins(%{{.*}} : tensor<4x17x8xf32>) into(%{{.*}} : tensor<4x8xf32>) [0] : tensor<4x8xf32>
  %1 = rt.launch @kernels::@sum grid [1, 1, 1] block [64, 1, 1] ins(%0 : tensor<4x17x8xf32>) into(%d : tensor<4x8xf32>) [0] : tensor<4x8xf32>
  return %0 : tensor<4x17x8xf32>
}
gpu.module @kernels {
  gpu.func @add(%x: memref<544xf32, 1>, %b: memref<8xf32, 1>, %y: memref<544xf32, 1>) kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    gpu.return
  }
  gpu.func @sum(%x: memref<544xf32, 1>, %y: memref<32xf32, 1>) kernel {
    gpu.return
  }
}

// -----

func.func @no_kernel(%x: tensor<8xf32>) {
  // expected-error @below {{'rt.launch' op expected @kernels::@gone to be a gpu.func}}
  %0 = rt.launch @kernels::@gone grid [1, 1, 1] block [32, 1, 1] ins(%x : tensor<8xf32>) : tensor<8xf32>
  return
}

// -----

func.func @arguments(%x: tensor<8xf32>) {
  // expected-error @below {{'rt.launch' op expected @kernels::@k to have 2 arguments, for inputs and results, but got 1}}
  %0 = rt.launch @kernels::@k grid [1, 1, 1] block [32, 1, 1] ins(%x : tensor<8xf32>) : tensor<8xf32>
  return
}
gpu.module @kernels {
  gpu.func @k(%x: memref<8xf32, 1>) kernel {
    gpu.return
  }
}

// -----

func.func @elements(%x: tensor<8xf32>) {
  // expected-error @below {{'rt.launch' op expected argument 1 of @kernels::@k to be a memref of 8 elements of 'f32', but got 'memref<9xf32, 1>'}}
  %0 = rt.launch @kernels::@k grid [1, 1, 1] block [32, 1, 1] ins(%x : tensor<8xf32>) : tensor<8xf32>
  return
}
gpu.module @kernels {
  gpu.func @k(%x: memref<8xf32, 1>, %y: memref<9xf32, 1>) kernel {
    gpu.return
  }
}

// -----

func.func @block(%x: tensor<8xf32>) {
  // expected-error @below {{'rt.launch' op expected block @kernels::@k is made for, 64, 1, 1, but got 32, 1, 1}}
  %0 = rt.launch @kernels::@k grid [1, 1, 1] block [32, 1, 1] ins(%x : tensor<8xf32>) : tensor<8xf32>
  return
}
gpu.module @kernels {
  gpu.func @k(%x: memref<8xf32, 1>, %y: memref<8xf32, 1>) kernel attributes {known_block_size = array<i32: 64, 1, 1>} {
    gpu.return
  }
}

// -----

func.func @sizes(%x: tensor<8xf32>) {
  // expected-error @below {{'rt.launch' op expected grid to be three positive sizes}}
  %0 = rt.launch @kernels::@k grid [1, 0, 1] block [32, 1, 1] ins(%x : tensor<8xf32>) : tensor<8xf32>
  return
}

// -----

func.func @destinations(%x: tensor<8xf32>) {
  // expected-error @below {{'rt.launch' op expected destination index 0 to be below 1, but got 1}}
  %0 = rt.launch @kernels::@k grid [1, 1, 1] block [32, 1, 1] ins(%x : tensor<8xf32>) into(%x : tensor<8xf32>) [1] : tensor<8xf32>
  return
}

// -----

func.func @destination_size(%x: tensor<8xf32>, %d: tensor<9xf32>) {
  // expected-error @below {{'rt.launch' op expected destination of result 0 to have 8 elements}}
  %0 = rt.launch @kernels::@k grid [1, 1, 1] block [32, 1, 1] ins(%x : tensor<8xf32>) into(%d : tensor<9xf32>) [0] : tensor<8xf32>
  return
}
