// What a change does to a model's outputs; see model_loss.h.
#include "core/measure/model_loss.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

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
  MP_ASSIGN_OR_RETURN(
      auto samples,
      OpenCalibrationSamples(reference, data, 0, std::min(max_samples, kMaxSyntheticSamples), seed,
                             context));
  const uint64_t feeds = samples->batches();
  const uint64_t count = std::min(feeds, max_samples);
  std::vector<uint64_t> chosen;
  for (uint64_t i = 0; i < count; ++i) chosen.push_back(i * feeds / count);
  std::unique_ptr<LossMeter> meter(new LossMeter(*samples, std::move(chosen), context));
  meter->owned_ = std::move(samples);
  MP_RETURN_IF_ERROR(meter->RunReference(reference, arena));
  return meter;
}

absl::StatusOr<std::unique_ptr<LossMeter>> LossMeter::On(const Model& reference,
                                                         const Samples& samples, WeightArena& arena,
                                                         const JobContext& context) {
  std::vector<uint64_t> all(samples.batches());
  std::iota(all.begin(), all.end(), uint64_t{0});
  std::unique_ptr<LossMeter> meter(new LossMeter(samples, std::move(all), context));
  MP_RETURN_IF_ERROR(meter->RunReference(reference, arena));
  return meter;
}

absl::Status LossMeter::RunReference(const Model& reference, WeightArena& arena) {
  MP_RETURN_IF_ERROR(context_.cancellation->Check());
  if (chosen_.empty()) {
    return Error(ERROR_REASON_DATA_INVALID, "the data set holds no samples to calibrate on")
        .With("expected", "samples");
  }
  MP_ASSIGN_OR_RETURN(
      const auto session,
      Session::Create(reference, {.threads = static_cast<int>(context_.pool->threads())}));
  std::optional<TaskMeter> task;
  for (const uint64_t feed : chosen_) {
    MP_RETURN_IF_ERROR(context_.cancellation->Check());
    MP_ASSIGN_OR_RETURN(Batch batch, samples_->Read(feed));
    MP_ASSIGN_OR_RETURN(TensorMap outputs, session->Run(batch.inputs));
    ++samples_run_;
    if (!task.has_value()) {
      // Labels that fit no output, or are none of its classes, are no reason to stop.
      labels_ = batch.labels.has_value();
      auto settings = ResolveTask(Judging(), session->outputs(), outputs, batch);
      if (!settings.ok()) {
        labels_ = false;
        batch.labels.reset();
        settings = ResolveTask(Judging(), session->outputs(), outputs, batch);
      }
      MP_ASSIGN_OR_RETURN(settings_, std::move(settings));
      task.emplace(settings_);
    }
    if (labels_) labels_ = task->Add(outputs, batch).ok();
    if (!settings_.output.empty()) {
      MP_ASSIGN_OR_RETURN(const ClassReader reader, ClassReader::Make(settings_, outputs));
      positions_ += reader.positions();
    }
    MP_RETURN_IF_ERROR(Spill(arena, &outputs));
    outputs_.push_back(std::move(outputs));
  }
  if (labels_ && !task->labels_are_classes()) {
    settings_ = {};
    positions_ = 0;
  } else if (labels_) {
    threshold_ = task->Threshold();
    const TaskMetrics metrics = task->Finish(threshold_);
    if (metrics.has_accuracy() && std::isfinite(metrics.accuracy())) {
      accuracy_ = metrics.accuracy();
    }
  }
  return absl::OkStatus();
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
    ++samples_run_;
    MP_RETURN_IF_ERROR(comparer.Add(outputs_[i], outputs, i, 1));
    MP_RETURN_IF_ERROR(agreement.Add(outputs_[i], outputs));
    if (accuracy_.has_value()) MP_RETURN_IF_ERROR(task.Add(outputs, batch));
  }
  ModelLoss loss{.sqnr_db = std::numeric_limits<double>::infinity(),
                 .agreement = agreement.Finish(),
                 .samples = chosen_.size()};
  for (const OutputComparison& row : comparer.Finish()) {
    loss.sqnr_db = std::min(loss.sqnr_db, row.sqnr_db());
  }
  if (accuracy_.has_value()) loss.accuracy_drop = *accuracy_ - task.Finish(threshold_).accuracy();
  return loss;
}

std::string LossMeter::description() const {
  return FormatString("{} {}samples{}", samples(), synthetic() ? "synthetic " : "",
                      synthetic() ? "" : " of the " + samples_->description());
}

}  // namespace modelpress
