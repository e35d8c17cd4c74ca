// The model of a request as something with parameters and a loss.
#pragma once

#include <memory>
#include <vector>

#include "core/trainer/batches.h"
#include "core/trainer/files.h"
#include "core/trainer/graph.h"
#include "core/trainer/loss.h"
#include "core/trainer/parameter.h"

namespace modelpress::trainer {

class TrainedModel {
 public:
  // Both must outlive it. OP_UNSUPPORTED names the operators that are missing.
  static absl::StatusOr<std::unique_ptr<TrainedModel>> Make(const TrainRequest& request,
                                                            const InheritedFiles& files);

  // What the graph sees of the parameters, in their order: of floats the values themselves, of codes what the values round
  // to, as a leaf of its own (the gradient of one is that of the other).
  std::vector<at::Tensor> Leaves() const;
  // The loss of a batch, hints included where the batch has them. `batch_statistics`: see OperatorCall::Settings.
  // Decisions are added where `decisions` is not null. Thread-safe without batch_statistics. Errors: those of Graph::Run;
  // RUNTIME_FAILED where a shape is not the teacher's.
  absl::StatusOr<at::Tensor> Loss(const TrainBatch& batch, const std::vector<at::Tensor>& leaves,
                                  bool batch_statistics, Decisions* decisions) const;

  // Those of the request in order, then the adapter of each hint.
  std::vector<Parameter>& parameters() { return parameters_; }
  // How many numbers of the model are trained.
  uint64_t trained_values() const;
  // Writes the results of the request's parameters, from values like those of parameters().
  absl::Status WriteResults(const std::vector<at::Tensor>& values) const;

 private:
  TrainedModel(const TrainRequest& request, Model model)
      : request_(request), model_(std::move(model)) {}

  const TrainRequest& request_;
  Model model_;
  std::unique_ptr<Graph> graph_;
  TrainParameter adapter_;  // of every adapter
  std::vector<Parameter> parameters_;
};

}  // namespace modelpress::trainer
