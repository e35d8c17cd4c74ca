// From a model and packed samples to a trained model: see train_model.h.
#include "core/training/train_model.h"

#include <algorithm>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/quant/skip.h"
#include "core/training/trainer_process.h"
#include "core/training/trainer_request.h"
#include "core/training/weight_codes.h"

namespace modelpress {
namespace {

class ModelTraining {
 public:
  ModelTraining(Model& model, const std::vector<Trainable>& parameters, const TrainingData& data,
                const TrainOptions& options, WeightArena& arena, const JobContext& context,
                v1::PassReport* report)
      : model_(model),
        data_(data),
        options_(options),
        arena_(arena),
        context_(context),
        report_(*report),
        request_(model, parameters, data, options, context) {}

  absl::StatusOr<TrainingRun> Run() {
    MP_RETURN_IF_ERROR(request_.Make());
    uint32_t restarts = 0;
    MP_ASSIGN_OR_RETURN(TrainResult result,
                        RunTrainer(
                            request_.request(), request_.files(), context_,
                            [this](const TrainProgress& progress) { Tell(progress); }, &restarts));
    TrainingRun& run = *result.mutable_run();
    run.set_name(options_.name);
    run.set_restarts(restarts);
    run.set_labelled_samples(data_.labelled);
    if (options_.trial) return run;
    *report_.add_trainings() = run;
    for (const PlacedParameter& placed : request_.placed()) {
      MP_RETURN_IF_ERROR(
          run.best_step() > 0
              ? TakeResult(placed)
              : Skip(placed, "no step of the training made the validation loss less"));
    }
    return run;
  }

 private:
  void Tell(const TrainProgress& progress) {
    if (!options_.progress) return;
    std::string text = FormatString("{}: step {} of {}, loss {:.4f}", options_.name,
                                    progress.step(), progress.steps(), progress.loss());
    if (progress.has_point()) {
      last_point_ = FormatString(", validation {:.4f}", progress.point().validation_loss());
      if (progress.point().has_agreement()) {
        last_point_ += FormatString(", agreement {:.4f}", progress.point().agreement());
      }
      if (progress.point().has_accuracy()) {
        last_point_ += FormatString(", accuracy {:.4f}", progress.point().accuracy());
      }
    }
    text += last_point_;
    if (progress.samples_per_second() > 0) {
      text += FormatString(", {:.0f} samples/s, {:.0f} s left", progress.samples_per_second(),
                           progress.seconds_left());
    }
    options_.progress(static_cast<double>(progress.step()) /
                          static_cast<double>(std::max<uint64_t>(1, progress.steps())),
                      text);
  }

  absl::Status Skip(const PlacedParameter& placed, std::string_view why) {
    *report_.add_skips() =
        MakeSkip(SkipReason::kNothingGained, placed.trainable->name, placed.trainable->node, why);
    return absl::OkStatus();
  }

  absl::Status TakeResult(const PlacedParameter& placed) {
    const Trainable& trainable = *placed.trainable;
    const std::span<const float> result = request_.ResultOf(placed);
    uint64_t changed = 0;
    const std::span<const float> before =
        trainable.is_coded ? std::span<const float>(placed.codes.codes) : request_.StartOf(placed);
    for (uint64_t i = 0; i < placed.count; ++i) changed += result[i] != before[i];
    if (changed == 0) return Skip(placed, "the training has not changed it");
    Change& change = *report_.add_changes();
    change.set_tensor(trainable.name);
    change.set_node(trainable.node);
    const std::vector<int64_t> dims(trainable.tensor->dims().begin(),
                                    trainable.tensor->dims().end());
    if (trainable.is_coded) {
      change.set_what(FormatString("trained, {} of {} codes changed{}", changed, placed.count,
                                   placed.keep_zeros ? "; zeros kept" : ""));
      MP_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                          EncodeCodes(model_, trainable, result));
      return model_.SetBytes(trainable.tensor, Type(*trainable.tensor), dims, bytes, arena_);
    }
    const auto zeros = static_cast<uint64_t>(std::ranges::count(result, 0.0f));
    const bool keeps = placed.keep_zeros && zeros > 0;
    change.set_what(trainable.is_statistic ? "statistics of the training batches"
                    : keeps                ? FormatString("trained, {} values stay 0", zeros)
                                           : std::string("trained"));
    if (keeps) {
      change.set_sparsity(static_cast<double>(zeros) / static_cast<double>(placed.count));
    }
    return model_.SetBytes(trainable.tensor, DataType::kFloat, dims, std::as_bytes(result), arena_);
  }

  Model& model_;
  const TrainingData& data_;
  const TrainOptions& options_;
  WeightArena& arena_;
  const JobContext& context_;
  v1::PassReport& report_;
  TrainerRequest request_;
  std::string last_point_;
};

}  // namespace

const TrainingPoint& BestPoint(const TrainingRun& run) {
  for (const TrainingPoint& point : run.points()) {
    if (point.step() == run.best_step()) return point;
  }
  return TrainingPoint::default_instance();
}

absl::StatusOr<TrainingRun> TrainModel(Model& model, const std::vector<Trainable>& parameters,
                                       const TrainingData& data, const TrainOptions& options,
                                       WeightArena& arena, const JobContext& context,
                                       v1::PassReport* report) {
  return ModelTraining(model, parameters, data, options, arena, context, report).Run();
}

}  // namespace modelpress
