// What of a model can be trained: float weights, biases, scales and offsets of normalizations, and the codes of quantized
// weights.
#pragma once

#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/model/graph.h"
#include "core/model/model.h"
#include "modelpress/v1/pass_report.pb.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {

// How codes are read back: (code - zero_point) scale, scales by block or along an axis.
struct CodeGrid {
  // com.microsoft.MatMulNBits' own layout; see core/quant/pack_codes.h. `dims` of the weight are then [N, K].
  bool matmul_nbits = false;
  onnx::TensorProto* scales = nullptr;
  // Null: 0, or 8 for MatMulNBits.
  onnx::TensorProto* zero_points = nullptr;
  // -1: a single scale. block_size 0: one scale for each index on the axis.
  int64_t axis = -1, block_size = 0;
};

// Pointers are into the model.
struct Trainable {
  onnx::TensorProto* tensor = nullptr;
  // Under which the main graph reads it.
  std::string name;
  // The first reader.
  std::string node;
  // Shape of the floats.
  std::vector<int64_t> dims;
  // A matrix or a filter, no bias, scale or offset: it decays, and its zeros stay.
  bool is_weight = false;
  // Running mean or variance of a BatchNormalization.
  bool is_statistic = false;
  // Where it holds codes.
  bool is_coded = false;
  CodeGrid grid;
};

struct Trainables {
  std::vector<Trainable> parameters;
  // Every other constant that a float weight or its codes could be, with why it is left alone.
  std::vector<v1::Skip> skips;
};

// The parameters of the main graph in the order of the model. `statistics`: those of BatchNormalization too. Errors:
// MODEL_MALFORMED.
absl::StatusOr<Trainables> FindTrainables(Model& model, const GraphIndex& index,
                                          const WeightSelection& selection, bool statistics);

}  // namespace modelpress
