// The control run: see control.h.
#include "core/distill/control.h"

#include <algorithm>
#include <chrono>

#include "core/base/format_count.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/distill/student.h"
#include "core/measure/metric_rules.h"

namespace modelpress {
namespace {

bool HasBatchNorm(const Model& model) {
  return std::ranges::any_of(model.proto().graph().node(), [](const onnx::NodeProto& node) {
    return node.op_type() == "BatchNormalization";
  });
}

}  // namespace

absl::Status RunControl(Distillation& distillation, const MadeStudent& chosen) {
  const auto data = LabelledOnly(distillation.data, distillation.context);
  if (!data.ok() && ReasonOf(data.status()) == ERROR_REASON_DATA_MISSING) {
    distillation.Note(FormatString("no control run: it is trained on labels alone, and {}",
                                   std::string(data.status().message())));
    return absl::OkStatus();
  }
  MP_RETURN_IF_ERROR(data.status());
  const auto start = std::chrono::steady_clock::now();
  MadeStudent control{.width = chosen.width, .parameters = chosen.parameters, .macs = chosen.macs};
  MP_ASSIGN_OR_RETURN(control.model, WithRandomWeights(chosen.model, distillation.request.seed,
                                                       distillation.arena));
  AddRow(distillation, v1::Student::KIND_CONTROL, control);
  v1::Student& row = RowOf(distillation, control);
  MP_ASSIGN_OR_RETURN(control.verdict, distillation.judge->Judge(control.model));
  for (const auto& estimate : control.verdict.estimates) *row.add_before() = estimate;
  Training training = TrainingFor(distillation, control.width);
  training.set_alpha(0);
  training.clear_hints();
  if (HasBatchNorm(control.model)) training.set_batch_norm_statistics(true);
  MP_RETURN_IF_ERROR(TrainInPlace(
      distillation, control.model,
      FormatString("control, width {:.3g} (labels alone)", control.width), *data, training,
      /*later=*/0, &row));
  MP_ASSIGN_OR_RETURN(control.verdict, distillation.judge->Judge(control.model));
  SetVerdict(control.verdict, &row);
  row.set_seconds(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  const v1::MetricEstimate& student = chosen.verdict.estimates[0];
  const v1::MetricEstimate& alone = control.verdict.estimates[0];
  const bool better = FindMetric(student.metric())->higher_is_better
                          ? student.value() > alone.value()
                          : student.value() < alone.value();
  distillation.Note(FormatString(
      "{}: {} is {:.4f}; trained from random weights on {} labelled samples alone, the same net "
      "has {:.4f}",
      better ? "the student beats the control" : "THE STUDENT DOES NOT BEAT THE CONTROL",
      student.metric(), student.value(), FormatCount(data->labelled), alone.value()));
  distillation.Publish();
  return absl::OkStatus();
}

}  // namespace modelpress
