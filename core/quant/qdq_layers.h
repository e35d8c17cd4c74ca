// The layers of a model that the runtime can run in 8-bit integers with fixed ranges, and how
// activations flow between them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/model/graph.h"
#include "core/model/model.h"
#include "core/model/value_key.h"
#include "modelpress/v1/pass_report.pb.h"

namespace modelpress {

// One node with an integer kernel: Conv (QLinearConv), MatMul (MatMulIntegerToFloat, or QLinearMatMul
// where its output is quantized), Gemm (QGemm); ONNX Runtime 1.21.
struct QdqLayer {
  // The graph and the node's output: the same in every copy of the model.
  ValueKey key;
  std::string node, op_type;
  // Inputs that are activations: 0, 1, or both of a MatMul of two activations.
  std::vector<int> activations;
  // The input that is a constant weight and the axis of its output channels, if it has one that the
  // kernel takes scales for.
  std::optional<int> weight;
  std::string weight_name, bias_name;
  std::optional<size_t> channel_axis;
  // Input 2 is a constant of one value for each output channel.
  bool has_bias = false;
  // A Conv's kernel gives codes: its output must be quantized.
  bool quantizes_output = false;
};

struct QdqLayers {
  std::vector<QdqLayer> layers;
  // Conv, ConvTranspose, MatMul, Gemm and recurrent nodes without an integer kernel, each with a
  // reason.
  std::vector<v1::Skip> skips;
};

// Gives every node that lacks one a name ("Conv_<output>"), so that reports and the runtime's
// optimized graph can be told apart.
void NameNodes(onnx::ModelProto& model);

// Layers in the order of the model. `model` is not changed. Errors: MODEL_MALFORMED.
absl::StatusOr<QdqLayers> FindQdqLayers(Model& model, const GraphIndex& index);

// Whether some value that is not a constant is quantized: QuantizeLinear or DynamicQuantizeLinear of
// such a value, or an integer operator.
bool HasQuantizedActivations(onnx::ModelProto& model, const GraphIndex& index);

}  // namespace modelpress
