// RUN: ns-opt %s --pass-pipeline='builtin.module(func.func(rt-plan-memory),rt-outline-kernels,canonicalize,cse)' | FileCheck %s

#point = affine_map<(r, k, c) -> (r, c)>
#inner = affine_map<(r, k, c) -> (r * 40 + k, c)>
#column = affine_map<(r, k, c) -> (0, c)>
#row = affine_map<(r, k, c) -> (r, 0)>

module attributes {rt.layout = {params = [{name = "bias", offset = 0 : i64}], state = [], io = [{name = "x", offset = 0 : i64}, {name = "y", offset = 8388608 : i64}]}} {

// One kernel for both programs: they differ in their operands only. Attributes of the program stay.
// CHECK-LABEL: func.func @flat
// CHECK: rt.launch @kernels::@flat_0 grid [512, 1, 1] block [256, 1, 1] {{.*}} [0] {nn.layer = "a", rt.offsets = array<i64: -1>, rt.space = array<i64: 512, 1, 1024>}
// CHECK: rt.launch @kernels::@flat_0 grid [512, 1, 1] block [256, 1, 1] {{.*}} [0] {nn.layer = "b"
func.func @flat() {
  %x = rt.slot io "x" : tensor<512x1024xf32>
  %y = rt.slot io "y" : tensor<512x1024xf32>
  %0 = rt.fused [512, 1, 1024] ins(%x : tensor<512x1024xf32>) into(%y : tensor<512x1024xf32>) [0] maps [#point] -> [#point] {nn.layer = "a"} : tensor<512x1024xf32> {
  ^bb0(%a: f32):
    %e = math.exp %a : f32
    rt.yield %e : f32
  }
  %1 = rt.fused [512, 1, 1024] ins(%y : tensor<512x1024xf32>) into(%x : tensor<512x1024xf32>) [0] maps [#point] -> [#point] {nn.layer = "b"} : tensor<512x1024xf32> {
  ^bb0(%a: f32):
    %e = math.exp %a : f32
    rt.yield %e : f32
  }
  return
}

// CHECK-LABEL: func.func @in_place
// CHECK: rt.launch @kernels::@flat_1
func.func @in_place() {
  %x = rt.slot io "x" : tensor<65x10xbf16>
  %b = rt.slot params "bias" : tensor<10xf32>
  %0 = rt.fused [65, 1, 10] ins(%x, %b : tensor<65x10xbf16>, tensor<10xf32>) into(%x : tensor<65x10xbf16>) [0] maps [#point, #column] -> [#point] : tensor<65x10xbf16> {
  ^bb0(%a: bf16, %bias: f32):
    %w = arith.extf %a : bf16 to f32
    %s = arith.addf %w, %bias : f32
    %n = arith.truncf %s : f32 to bf16
    rt.yield %n : bf16
  }
  return
}

// A warp for each row, four to a block.
// CHECK-LABEL: func.func @warp
// CHECK: rt.launch @kernels::@rows_2 grid [256, 1, 1] block [128, 1, 1]
func.func @warp() {
  %x = rt.slot io "x" : tensor<1024x1000xf32>
  %y = rt.slot io "y" : tensor<1024xf32>
  %0 = rt.fused [1024, 1, 1000] ins(%x : tensor<1024x1000xf32>) into(%y : tensor<1024xf32>) [0] maps [#point] -> [#row] : tensor<1024xf32> {
  ^bb0(%a: f32):
    %s = rt.row_reduce max %a : f32
    rt.yield %s : f32
  }
  return
}

// Few long rows: a block for each.
// CHECK-LABEL: func.func @block
// CHECK: rt.launch @kernels::@rows_3 grid [8, 1, 1] block [1024, 1, 1]
func.func @block() {
  %x = rt.slot io "x" : tensor<8x8192xf32>
  %y = rt.slot io "y" : tensor<8xf32>
  %0 = rt.fused [8, 1, 8192] ins(%x : tensor<8x8192xf32>) into(%y : tensor<8xf32>) [0] maps [#point] -> [#row] : tensor<8xf32> {
  ^bb0(%a: f32):
    %s = rt.row_reduce add %a : f32
    rt.yield %s : f32
  }
  return
}

// CHECK-LABEL: func.func @loop
// CHECK: rt.launch @kernels::@rows_4 grid [2, 1, 1] block [1024, 1, 1]
func.func @loop() {
  %x = rt.slot io "x" : tensor<2x1000000xf32>
  %y = rt.slot io "y" : tensor<2x1000000xf32>
  %0 = rt.fused [2, 1, 1000000] ins(%x : tensor<2x1000000xf32>) into(%y : tensor<2x1000000xf32>) [0] maps [#point] -> [#point] : tensor<2x1000000xf32> {
  ^bb0(%a: f32):
    %s = rt.row_reduce add %a : f32
    %d = arith.subf %a, %s : f32
    rt.yield %d : f32
  }
  return
}

// Blocks of 64 columns.
// CHECK-LABEL: func.func @sums
// CHECK: rt.launch @kernels::@sums_5 grid [64, 3, 1] block [512, 1, 1]
func.func @sums() {
  %x = rt.slot io "x" : tensor<2560x192xf32>
  %y = rt.slot io "y" : tensor<64x192xf32>
  %0 = rt.fused [64, 40, 192] ins(%x : tensor<2560x192xf32>) into(%y : tensor<64x192xf32>) [0] maps [#inner] -> [#point] : tensor<64x192xf32> {
  ^bb0(%a: f32):
    rt.yield %a : f32
  }
  return
}

// CHECK-LABEL: func.func @view
// CHECK: rt.launch @kernels::@flat_6
func.func @view() {
  %x = rt.slot io "x" : tensor<65536xf32>
  %y = rt.slot io "y" : tensor<32768xf32>
  %v = rt.view %x offset 2 : tensor<65536xf32> -> tensor<32768xf32>
  %0 = rt.fused [32768, 1, 1] ins(%v : tensor<32768xf32>) into(%y : tensor<32768xf32>) [0] maps [#point] -> [#point] : tensor<32768xf32> {
  ^bb0(%a: f32):
    %e = arith.negf %a : f32
    rt.yield %e : f32
  }
  return
}

// CHECK: gpu.module @kernels {

// A thread takes a vector, loads and stores are of 128 bits.
// CHECK: gpu.func @flat_0(%[[X:.*]]: memref<524288xf32, 1> {llvm.align = 16 : i64, llvm.noalias, llvm.readonly}, %[[Y:.*]]: memref<524288xf32, 1> {llvm.align = 16 : i64, llvm.noalias}) kernel attributes {known_block_size = array<i32: 256, 1, 1>}
// CHECK: %[[V:.*]] = vector.load %[[X]][%[[AT:.*]]] {alignment = 16 : i64} : memref<524288xf32, 1>, vector<4xf32>
// CHECK-NEXT: %[[E:.*]] = math.exp %[[V]] : vector<4xf32>
// CHECK-NEXT: vector.store %[[E]], %[[Y]][%[[AT]]] {alignment = 16 : i64}

// In place: no promise that nothing else writes there. Rows of ten divide into pairs. The last block has threads without work, which read the last pair and store nothing.
// CHECK: gpu.func @flat_1(%[[X:.*]]: memref<650xbf16, 1> {llvm.align = 16 : i64}, %{{.*}}: memref<10xf32, 1> {llvm.align = 16 : i64, llvm.noalias, llvm.readonly}, %[[Y:.*]]: memref<650xbf16, 1> {llvm.align = 16 : i64})
// CHECK: %[[EXISTS:.*]] = arith.cmpi ult, %[[N:.*]], %c325_i32
// CHECK: arith.select %[[EXISTS]], %[[N]], %c324_i32
// CHECK: vector.load %[[X]][{{.*}}] {alignment = 4 : i64} : memref<650xbf16, 1>, vector<2xbf16>
// CHECK: scf.if %[[EXISTS]]
// CHECK: vector.store %{{.*}}, %[[Y]][{{.*}}] {alignment = 4 : i64} : memref<650xbf16, 1>, vector<2xbf16>

// A row of 250 vectors in a warp: eight for each lane, of the last one of which some do not exist. No shared memory.
// CHECK: gpu.func @rows_2({{.*}}) kernel
// CHECK-COUNT-8: vector.load %{{.*}} {alignment = 16 : i64} : memref<1024000xf32, 1>, vector<4xf32>
// CHECK: arith.maxnumf
// CHECK-COUNT-5: gpu.shuffle{{ *}}xor %{{.*}}, %{{.*}}, %c32_i32 : f32
// CHECK-NOT: gpu.shuffle
// CHECK: memref.store

// Warps of one row meet in shared memory, once.
// CHECK: gpu.func @rows_3({{.*}}) workgroup(%[[SHARED:.*]] : memref<32xf32, #gpu.address_space<workgroup>> {llvm.align = 16 : i64})
// CHECK-COUNT-5: gpu.shuffle
// CHECK: memref.store %{{.*}}, %[[SHARED]]
// CHECK: gpu.barrier
// CHECK: memref.load %[[SHARED]]
// CHECK-COUNT-5: gpu.shuffle
// CHECK-NOT: gpu.barrier
// CHECK: memref.store

// Too long for registers: two passes, the second of which stores.
// CHECK: gpu.func @rows_4
// CHECK: scf.for
// CHECK: vector.load
// CHECK: scf.yield
// CHECK: gpu.barrier
// CHECK: scf.for
// CHECK: vector.load
// CHECK: vector.store

// Thirty-two groups of 16 lanes share out k; the first adds up what they found.
// CHECK: gpu.func @sums_5({{.*}}) workgroup(%[[SHARED:.*]] : memref<2048xf32, #gpu.address_space<workgroup>>
// CHECK-COUNT-2: vector.load %{{.*}} {alignment = 16 : i64} : memref<491520xf32, 1>, vector<4xf32>
// CHECK: vector.store %{{.*}}, %[[SHARED]]
// CHECK-NEXT: gpu.barrier
// CHECK: scf.if
// CHECK-COUNT-32: vector.load %[[SHARED]]
// CHECK: vector.store %{{.*}} {alignment = 16 : i64} : memref<12288xf32, 1>, vector<4xf32>

// A view that begins at byte 8: two loads of 64 bits, one store of 128.
// CHECK: gpu.func @flat_6(%[[X:.*]]: memref<32768xf32, 1> {llvm.align = 8 : i64,
// CHECK-COUNT-2: vector.load %[[X]][{{.*}}] {alignment = 8 : i64} : memref<32768xf32, 1>, vector<2xf32>
// CHECK: vector.shuffle
// CHECK: vector.store %{{.*}} {alignment = 16 : i64} : memref<32768xf32, 1>, vector<4xf32>
}
