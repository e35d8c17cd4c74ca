// Parameters, forward and loss: see trained_model.h.
#include "core/trainer/trained_model.h"

#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/trainer/hint.h"

namespace modelpress::trainer {

absl::StatusOr<std::unique_ptr<TrainedModel>> TrainedModel::Make(const TrainRequest& request,
                                                                 const InheritedFiles& files) {
  MP_ASSIGN_OR_RETURN(Model model, files.ReadModel(request));
  auto trained = std::unique_ptr<TrainedModel>(new TrainedModel(request, std::move(model)));
  GraphOptions options;
  for (const TrainParameter& spec : request.parameters()) {
    options.variables.insert(spec.tensor());
    if (spec.coded()) options.decoded.insert(spec.tensor());
    trained->parameters_.push_back(Parameter::Make(spec, files));
  }
  for (int i = 0; i < request.hints_size(); ++i) {
    options.more_outputs.push_back(request.hints(i).value());
    trained->parameters_.push_back(Parameter::OfValues(
        trained->adapter_,
        FirstAdapter(request.hints(i), request.seed(), static_cast<uint64_t>(i))));
  }
  MP_ASSIGN_OR_RETURN(trained->graph_, Graph::Make(trained->model_, options));
  return trained;
}

std::vector<at::Tensor> TrainedModel::Leaves() const {
  std::vector<at::Tensor> leaves;
  for (const Parameter& parameter : parameters_) leaves.push_back(parameter.Seen());
  return leaves;
}

absl::StatusOr<at::Tensor> TrainedModel::Loss(const TrainBatch& batch,
                                              const std::vector<at::Tensor>& leaves,
                                              bool batch_statistics, Decisions* decisions) const {
  Values fed = batch.inputs;
  for (int i = 0; i < request_.parameters_size(); ++i) {
    fed[request_.parameters(i).tensor()] = leaves[static_cast<size_t>(i)];
  }
  MP_ASSIGN_OR_RETURN(const Values outputs, graph_->Run(fed, batch_statistics));
  at::Tensor loss;
  for (int i = 0; i < request_.targets_size(); ++i) {
    const TrainTarget& target = request_.targets(i);
    const at::Tensor& output = outputs.at(target.output());
    if (output.sizes() != batch.teacher[i].sizes()) {
      return Error(
                 ERROR_REASON_RUNTIME_FAILED,
                 FormatString("output '{}' has another shape than the teacher's", target.output()))
          .With("stage", "training");
    }
    const at::Tensor part =
        DistillationLoss(target, request_.training(), output, batch.teacher[i], batch.labels[i]);
    loss = loss.defined() ? loss + part : part;
    if (decisions != nullptr) decisions->Add(target, output, batch.teacher[i], batch.labels[i]);
  }
  for (size_t i = 0; i < batch.hints.size(); ++i) {
    const TrainHint& hint = request_.hints(static_cast<int>(i));
    const at::Tensor& adapter = leaves[static_cast<size_t>(request_.parameters_size()) + i];
    loss =
        loss + HintLoss(hint, adapter, outputs.at(hint.value()), batch.hints[i]) * batch.hint_share;
  }
  return loss;
}

uint64_t TrainedModel::trained_values() const {
  uint64_t count = 0;
  for (int i = 0; i < request_.parameters_size(); ++i) {
    if (request_.parameters(i).statistic()) continue;
    count += static_cast<uint64_t>(parameters_[static_cast<size_t>(i)].count());
  }
  return count;
}

absl::Status TrainedModel::WriteResults(const std::vector<at::Tensor>& values) const {
  for (size_t i = 0; i < static_cast<size_t>(request_.parameters_size()); ++i) {
    MP_RETURN_IF_ERROR(parameters_[i].WriteResult(values[i]));
  }
  return absl::OkStatus();
}

}  // namespace modelpress::trainer
