// Finding the weights that a pass may work on: floating-point constants that operators read as
// weights, wherever they hide: initializers and Constant nodes, subgraphs, behind operators that
// only move values.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/model/graph.h"
#include "core/model/model.h"
#include "modelpress/v1/pass_report.pb.h"

namespace modelpress::v1 {
class WeightSelection;
}  // namespace modelpress::v1

namespace modelpress {

// Shell-like match of the whole text: * any characters, ? one, [abc], [a-z], [!a] a set. Linear
// memory, O(n m) time.
bool GlobMatches(std::string_view pattern, std::string_view text);

// One weight and everyone who reads it: a weight shared by several nodes is one candidate and stays
// shared.
struct CandidateWeight {
  onnx::TensorProto* tensor = nullptr;
  // The graph that defines it; null for functions.
  onnx::GraphProto* graph = nullptr;
  // The Constant node that holds it; null for initializers.
  onnx::NodeProto* constant = nullptr;
  // The name under which it is read.
  std::string name;
  // Readings in that graph and below.
  std::vector<Use> uses;
  // Readings as a weight, straight or behind operators that only move values (weight_readings.h).
  std::vector<Use> weight_uses;
  // Such an operator is among the readers.
  bool is_moved = false;
  uint64_t elements = 0;
  // The axis along which output channels lie, where all readers as a weight agree.
  std::optional<size_t> channel_axis;

  // Name of the first reader, as a weight if there is one; for reports.
  std::string_view reader() const;
};

struct SelectedWeights {
  std::vector<CandidateWeight> weights;
  // Every other floating-point constant that some operator reads.
  std::vector<v1::Skip> skips;
};

// Axis of the output channels of a weight of `rank` at this reading: Conv 0, ConvTranspose 1, Gemm
// by transA/transB, MatMul the last of B and the last but one of A, Gather the axis it gathers on,
// LSTM/GRU/RNN 1 (gates x hidden size). Nothing for operators and inputs whose constants are not
// weights, and where the tensor has no such axis.
std::optional<size_t> ChannelAxis(const Use& use, size_t rank);
// Whether the reading is one of a weight, with or without a channel axis.
bool IsWeightInput(const Use& use);

// Every floating-point constant of the model (initializers and Constant nodes; main graph,
// subgraphs, functions) ends as a weight or as a skip. Order is that of the model. Pointers are
// into `model`, as those of `index`. Default minimum: 1024 elements. Errors: MODEL_MALFORMED for
// sizes that do not add up.
absl::StatusOr<SelectedWeights> SelectWeights(Model& model, const GraphIndex& index,
                                              const v1::WeightSelection& selection);

// Before IR version 4 every initializer had to be declared as an input too, which did not make it
// one. Takes such declarations away and raises the IR version to 4; later versions mean what they
// say and stay as they are. Passes call it before they build an index.
void SeparateInitializersFromInputs(Model& model);

// Bytes of all numeric tensors of the model: the weight bytes of reports.
uint64_t WeightBytes(const Model& model);

// Errors in a WeightSelection: RECIPE_INVALID with `field` = prefix + ".include" and so on.
absl::Status ValidateSelection(const v1::WeightSelection& selection, std::string_view field);

}  // namespace modelpress
