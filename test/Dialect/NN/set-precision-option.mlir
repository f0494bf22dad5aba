// RUN: ns-opt %s --nn-set-precision=precision=f16 --verify-diagnostics

// expected-error @below {{expected option precision to be f32 or f64, but got f16}}
module {
}
