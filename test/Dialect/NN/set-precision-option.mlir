// RUN: ns-opt %s --nn-set-precision=precision=f16 --verify-diagnostics

// expected-error @below {{expected option precision to be f32, f64 or bf16, but got f16}}
module {
}
