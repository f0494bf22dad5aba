// RUN: ns-opt %s --verify-diagnostics --nn-fold-frozen

// expected-error @below {{'func.func' op expected the name @prepare to be free for the entry that nn-fold-frozen makes}}
func.func @prepare() {
  return
}
