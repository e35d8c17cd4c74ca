// An ONNX graph that libtorch runs, and differentiates where what is fed wants gradients.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "core/model/model.h"
#include "core/trainer/operator.h"

namespace modelpress::trainer {

using Values = absl::flat_hash_map<std::string, at::Tensor>;

struct GraphOptions {
  at::ScalarType float_type = at::kFloat;
  // Initializers that are fed at each run instead of being read from the model.
  absl::flat_hash_set<std::string> variables;
  // Those among them that are codes in the model and are fed as what they decode to.
  absl::flat_hash_set<std::string> decoded;
  // Values that are wanted beside the model's outputs.
  std::vector<std::string> more_outputs;
};

// Immutable after making. What depends on constants alone is computed once. Values are let go after their last reader.
class Graph {
 public:
  // The model must outlive the graph. OP_UNSUPPORTED names every operator type that is missing, and the first node.
  static absl::StatusOr<std::unique_ptr<Graph>> Make(const Model& model,
                                                     const GraphOptions& options);

  // Inputs and variables in, outputs (and more_outputs) out. `batch_statistics`: see OperatorCall::Settings. OP_UNSUPPORTED or
  // RUNTIME_FAILED with the node.
  absl::StatusOr<Values> Run(const Values& fed, bool batch_statistics) const;

 private:
  struct Step {
    onnx::NodeProto node;
    OperatorFunction function = nullptr;
    OperatorCall::Settings settings;
    // Places in the list of values; -1: absent.
    std::vector<int> inputs, outputs;
    // Values that nobody reads after this step.
    std::vector<int> released;
  };

  Graph() = default;
  int Slot(const std::string& name);
  absl::Status ReadConstants(const Model& model, const GraphOptions& options);
  absl::Status AddSteps(const Model& model, const GraphOptions& options);
  absl::Status FoldConstants();
  void FindLastReaders();
  static absl::Status RunStep(const Step& step, std::vector<at::Tensor>& values,
                              bool batch_statistics);

  absl::flat_hash_map<std::string, int> slots_;
  // By slot; defined for what is known before any run.
  std::vector<at::Tensor> constants_;
  std::vector<std::string> fed_;  // inputs and variables
  std::vector<std::string> outputs_;
  std::vector<Step> steps_;
};

}  // namespace modelpress::trainer
