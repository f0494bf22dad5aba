// RUN: ns-opt %s --nn-bind-batch=batch=0 --verify-diagnostics

// expected-error @below {{expected option batch to be at least 1, but got 0}}
module {
}
