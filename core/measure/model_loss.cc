// What a change does to a model's outputs; see model_loss.h.
#include "core/measure/model_loss.h"

#include <algorithm>
#include <limits>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/measure/comparison.h"
#include "core/statistics/calibration_samples.h"

namespace modelpress {
namespace {

// Synthetic samples say little, so a few do.
constexpr uint64_t kMaxSyntheticSamples = 16;

// Moves the bytes of float outputs from the heap into scratch.
absl::Status Spill(WeightArena& arena, TensorMap* outputs) {
  for (auto& [name, tensor] : *outputs) {
    if (tensor.bytes.empty()) continue;
    MP_ASSIGN_OR_RETURN(WeightArena::Room room, arena.Allocate(tensor.bytes.size()));
    std::ranges::copy(tensor.bytes, room.bytes.begin());
    tensor.bytes = room.bytes;
    tensor.owner = room.weight.file;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<LossMeter>> LossMeter::Make(const Model& reference,
                                                           const DataSet* data,
                                                           uint64_t max_samples, uint64_t seed,
                                                           WeightArena& arena,
                                                           const JobContext& context) {
  MP_RETURN_IF_ERROR(context.cancellation->Check());
  MP_ASSIGN_OR_RETURN(
      const auto session,
      Session::Create(reference, {.threads = static_cast<int>(context.pool->threads())}));
  MP_ASSIGN_OR_RETURN(auto samples,
                      OpenCalibrationSamples(reference, data, 0,
                                             std::min(max_samples, kMaxSyntheticSamples), seed));
  std::unique_ptr<LossMeter> meter(new LossMeter(std::move(samples), context));
  const uint64_t feeds = meter->samples_->batches();
  const uint64_t count = std::min(feeds, max_samples);
  if (count == 0) {
    return Error(ERROR_REASON_DATA_INVALID, "the data set holds no samples to calibrate on")
        .With("expected", "samples");
  }
  std::optional<TaskMeter> task;
  for (uint64_t i = 0; i < count; ++i) {
    MP_RETURN_IF_ERROR(context.cancellation->Check());
    meter->chosen_.push_back(i * feeds / count);
    MP_ASSIGN_OR_RETURN(Batch batch, meter->samples_->Read(meter->chosen_.back()));
    MP_ASSIGN_OR_RETURN(TensorMap outputs, session->Run(batch.inputs));
    if (i == 0) {
      // Labels only say where the classes are; ones that fit no output are no reason to stop.
      auto settings = ResolveTask(Judging(), session->outputs(), outputs, batch);
      if (!settings.ok()) {
        batch.labels.reset();
        settings = ResolveTask(Judging(), session->outputs(), outputs, batch);
      }
      MP_ASSIGN_OR_RETURN(meter->settings_, std::move(settings));
      if (batch.labels.has_value()) task.emplace(meter->settings_);
    }
    if (task.has_value() && !task->Add(outputs, batch).ok()) task.reset();
    if (!meter->settings_.output.empty()) {
      MP_ASSIGN_OR_RETURN(const ClassReader reader, ClassReader::Make(meter->settings_, outputs));
      meter->positions_ += reader.positions();
    }
    MP_RETURN_IF_ERROR(Spill(arena, &outputs));
    meter->outputs_.push_back(std::move(outputs));
  }
  if (task.has_value() && !task->labels_are_classes()) {
    meter->settings_ = {};
    meter->positions_ = 0;
  } else if (task.has_value()) {
    meter->threshold_ = task->Threshold();
    const TaskMetrics metrics = task->Finish(meter->threshold_);
    if (metrics.has_accuracy()) meter->accuracy_ = metrics.accuracy();
  }
  return meter;
}

absl::StatusOr<ModelLoss> LossMeter::Measure(const Model& candidate) const {
  MP_RETURN_IF_ERROR(context_.cancellation->Check());
  MP_ASSIGN_OR_RETURN(
      const auto session,
      Session::Create(candidate, {.threads = static_cast<int>(context_.pool->threads())}));
  OutputComparer comparer;
  AgreementMeter agreement(settings_);
  TaskMeter task(settings_);
  for (size_t i = 0; i < chosen_.size(); ++i) {
    MP_RETURN_IF_ERROR(context_.cancellation->Check());
    MP_ASSIGN_OR_RETURN(const Batch batch, samples_->Read(chosen_[i]));
    MP_ASSIGN_OR_RETURN(const TensorMap outputs, session->Run(batch.inputs));
    MP_RETURN_IF_ERROR(comparer.Add(outputs_[i], outputs, i, 1));
    MP_RETURN_IF_ERROR(agreement.Add(outputs_[i], outputs));
    if (accuracy_.has_value()) MP_RETURN_IF_ERROR(task.Add(outputs, batch));
  }
  ModelLoss loss{.sqnr_db = std::numeric_limits<double>::infinity(),
                 .agreement = agreement.Finish()};
  for (const OutputComparison& row : comparer.Finish()) {
    loss.sqnr_db = std::min(loss.sqnr_db, row.sqnr_db());
  }
  if (accuracy_.has_value()) loss.accuracy = task.Finish(threshold_).accuracy();
  return loss;
}

std::string LossMeter::description() const {
  return FormatString("{} {}samples{}", samples(), synthetic() ? "synthetic " : "",
                     synthetic() ? "" : " of the " + samples_->description());
}

}  // namespace modelpress
