// Products of matrices.
#include "core/trainer/operator.h"

namespace modelpress::trainer {
namespace {

Tensors MatMul(const OperatorCall& call) { return {at::matmul(call[0], call[1])}; }

Tensors Gemm(const OperatorCall& call) {
  const double alpha = call.Float("alpha", 1), beta = call.Float("beta", 1);
  const at::Tensor a = call.Int("transA", 0) != 0 ? call[0].t() : call[0];
  const at::Tensor b = call.Int("transB", 0) != 0 ? call[1].t() : call[1];
  if (!call.Has(2) || beta == 0) {
    const at::Tensor product = at::mm(a, b);
    return {alpha == 1 ? product : product * alpha};
  }
  return {at::addmm(call[2], a, b, beta, alpha)};
}

Tensors Einsum(const OperatorCall& call) {
  return {at::einsum(call.String("equation", ""), call.inputs())};
}

// com.microsoft, [N, K] decoded weights in the place of the codes.
Tensors MatMulNBits(const OperatorCall& call) {
  if (!call.settings().decoded) throw OperatorError("its codes are not trained, nor decoded here");
  at::Tensor product = at::matmul(call[0], call[1].t());
  return {call.Has(5) ? product + call[5] : product};
}

}  // namespace

void RegisterOperators_linear(OperatorRegistry& registry) {
  registry.Add("MatMul", MatMul);
  registry.Add("Gemm", Gemm);
  registry.Add("Einsum", Einsum);
  registry.Add("MatMulNBits", MatMulNBits, "com.microsoft");
}

}  // namespace modelpress::trainer
