// Writing QuantizeLinear / DequantizeLinear pairs, coded weights and integer biases into a graph.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "core/quant/affine.h"
#include "core/quant/qdq_layers.h"

namespace modelpress {

// The grid of activations.
struct ActivationRule {
  // uint8, int8, uint16 or int16.
  DataType type = DataType::kUint8;
  bool symmetric = false;

  CodeLimits limits() const;
};

// The codes of a layer's weight.
struct CodedMatrix {
  DataType type = DataType::kInt8;
  std::vector<int64_t> dims;
  WeightRef codes;
  std::vector<AffineParameters> parameters;
  // Where there is a scale for each channel.
  std::optional<size_t> axis;
};

// What becomes of a layer.
enum class LayerForm {
  kFloat,
  // Float activations; the weight is stored in codes and dequantized at every run.
  kCodedWeight,
  kInteger,
};

struct QdqRewrite {
  ActivationRule activations;
  // Biases as int32 codes at scale_x * scale_w; else they stay float.
  bool integer_bias = true;
  // Outputs of Convs become codes, which the runtime's kernel needs; else only inputs (TensorRT).
  bool quantize_outputs = true;
  // One pair for each reader instead of one for all (TensorRT).
  bool pair_for_each_reader = false;
};

// Rewrites `model` so that layers[i] has forms[i]. `ranges` has every value that QdqFlow gives a grid;
// `weights[i]` belongs to layers[i] (nothing for layers of two activations). An integer layer whose
// range is missing is INTERNAL_BUG.
//
//   x -> QuantizeLinear -> DequantizeLinear -.
//   W_quantized -> DequantizeLinear ---------+-> Conv -> QuantizeLinear -> DequantizeLinear -> y
//   B_quantized -> DequantizeLinear ---------'
//
// The runtime has no integer kernel of HardSigmoid, clip(alpha x + beta, 0, 1). But codes on a grid of
// x with scale 1 / (255 alpha) and zero point 255 beta are its codes on the grid of [0, 1], clipping
// included. So a stored one becomes a change of grids between two operators with a table of 256
// entries:
//
//   x -> LeakyRelu(1) -> QuantizeLinear(1 / (255 alpha), 255 beta) -> DequantizeLinear(1 / 255, 0) -> y
//
// Its range in `ranges` must be [0, 1].
absl::Status RewriteToQdq(Model& model, WeightArena& arena, const std::vector<QdqLayer>& layers,
                          const std::vector<LayerForm>& forms,
                          const std::map<ValueKey, ValueRange>& ranges,
                          const std::vector<std::optional<CodedMatrix>>& weights,
                          const QdqRewrite& rewrite);

// Which layers are kInteger.
std::vector<bool> IntegerLayers(const std::vector<LayerForm>& forms);

}  // namespace modelpress
