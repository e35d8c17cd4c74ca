// Which tensors of a model are codes of quantized weights, and how they are read back.
#pragma once

#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "core/model/graph.h"

namespace modelpress {

// Pointers are into the model.
struct QuantizedWeight {
  // The code that means 0; null: 0 does.
  const onnx::TensorProto* zero_point = nullptr;
  // Along which zero points differ, as the operator says it; beyond the rank where it is not known.
  int64_t axis = 1;
  int64_t block_size = 0;
  // Rows and columns of the matrix behind com.microsoft.MatMulNBits' packed 4-bit codes, whose
  // layout is its own (see its documentation); 0 for tensors that hold one element per weight.
  int64_t packed_rows = 0, packed_columns = 0;
};

struct QuantizedWeights {
  absl::flat_hash_map<const onnx::TensorProto*, QuantizedWeight> weights;
  absl::flat_hash_set<const onnx::TensorProto*> scales_and_zero_points;
};

// Weights of DequantizeLinear and of the integer operators, also where codes are gathered or
// rearranged on the way, and codes that are cast and multiplied by a scale.
QuantizedWeights FindQuantizedWeights(const GraphIndex& index, onnx::ModelProto& proto);

}  // namespace modelpress
