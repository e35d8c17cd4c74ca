// PyTorch's type promotion (documentation of torch.Tensor, "Type promotion"): tensors with axes decide before those
// without, those before numbers, unless the later ones are of a higher category (bool < integer < floating < complex).
#pragma once

#include <span>

#include "core/formats/pt2/program.h"

namespace modelpress::pt2 {

struct Operand {
  enum class Class { kTensor, kZeroDimTensor, kNumber };
  ScalarType type = ScalarType::kUnknown;
  Class kind = Class::kTensor;
};

ScalarType PromoteTypes(ScalarType a, ScalarType b);
// kUnknown for no operands.
ScalarType ResultType(std::span<const Operand> operands);
bool IsFloating(ScalarType type);

}  // namespace modelpress::pt2
