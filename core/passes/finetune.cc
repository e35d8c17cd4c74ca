// finetune: the model as earlier steps left it is trained until it answers like the original again.
//
//   samples --> original --> teacher's outputs (once, cached in scratch)
//   samples --> model    --> outputs --loss--> gradients --> AdamW or SGD --> weights, biases, codes
//
//   loss = alpha T^2 KL(softmax(teacher / T) || softmax(model / T)) + (1 - alpha) cross-entropy(label)
//   q = clamp(round(w / scale + zero_point)), d loss / d w = d loss / d ((q - zero_point) scale)
//
// Sources: Hinton, Vinyals and Dean 2015 (distillation); Bengio et al. 2013 (the straight-through gradient of rounding).
// Weights that are 0 stay 0, codes stay codes on their grid, so the file keeps its size. The training runs in a process of
// its own, modelpress-trainer, the only one with libtorch. Of all values that were seen those of the least validation loss
// are taken: where no step made it less, nothing is changed. A learning rate that nobody gave is found by short trainings
// (core/training/short_training.h), and so is whether values inside of the model follow those of the original too
// (core/training/own_hints.h); a head that chooses (TopK, NonMaxSuppression) is left as it is, and what it chooses among is
// trained by (core/training/differentiable_part.h).
#include <memory>
#include <optional>

#include "absl/strings/str_join.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/passes/pass.h"
#include "core/quant/function_inlining.h"
#include "core/quant/weight_selection.h"
#include "core/training/augmentation.h"
#include "core/training/differentiable_part.h"
#include "core/training/own_hints.h"
#include "core/training/short_training.h"
#include "core/training/train_model.h"
#include "core/training/trainer_process.h"

namespace modelpress {
namespace {

// Of weights trained by one sample, on one core; only for plans.
constexpr double kBytesPerSecond = 1e9;
// The share of progress that packing samples takes.
constexpr double kPacking = 0.1;

bool MayChooseHints(const Training& training) {
  return training.hints().empty() && ShortTraining(training).has_value();
}

class FinetunePass final : public Pass {
 public:
  std::string_view name() const override { return "finetune"; }
  std::string_view summary() const override {
    return "the model so far trained against the original: pruned weights stay 0, quantized ones "
           "on "
           "their grids";
  }
  bool trains() const override { return true; }
  absl::Status Validate(const PassStep& step) const override {
    MP_RETURN_IF_ERROR(ValidateTraining(step.finetune().training(), "finetune.training"));
    return ValidateSelection(step.finetune().weights(), "finetune.weights");
  }
  PassEstimate Estimate(const Model& model, const PassStep& step) const override {
    const uint64_t bytes = WeightBytes(model);
    const Training training = WithDefaults(step.finetune().training());
    return {TrainerMemory(model, bytes, training.batch_size()),
            16 * bytes + (64 << 20) + (MayChooseHints(training) ? kOwnHintsBytes : 0),
            5 + static_cast<double>(training.steps()) * training.batch_size() *
                    static_cast<double>(bytes) / kBytesPerSecond};
  }
  absl::Status Apply(Model& model, const PassStep& step, PassContext& context,
                     PassReport& report) const override;
  std::vector<PassExample> examples() const override;
};

// The learning rate, and whether the model follows values inside of the original: what nobody has said.
absl::Status ChooseOptions(Model& model, const std::vector<Trainable>& parameters,
                           const TrainingData& data, bool choose_rate, PassContext& context,
                           TrainOptions& options, PassReport& report) {
  Training& training = options.training;
  std::vector<FeatureHint> own;
  if (MayChooseHints(training)) own = OwnHints(*context.original, model, data, *context.job);
  if (!own.empty()) {
    for (const FeatureHint& hint : own) *training.add_hints() = hint;
    // Values that are not finite, or whose extents depend on the sample, are nobody's mistake here.
    const auto values =
        PackHintValues(*context.original, model, training, data, *context.job, options.hint_cache);
    MP_RETURN_IF_ERROR(context.job->cancellation->Check());
    if (!values.ok()) {
      own.clear();
      training.clear_hints();
    }
  }
  std::optional<double> followed;
  if (choose_rate) {
    MP_ASSIGN_OR_RETURN(
        const ChosenRate chosen,
        ChooseLearningRate(model, parameters, data, options, *context.arena, *context.job));
    training.set_learning_rate(chosen.rate);
    report.add_notes(FormatString("learning rate {}", Describe(chosen)));
    for (const auto& [rate, loss] : chosen.tried) {
      if (rate == chosen.rate) followed = loss;
    }
  }
  if (own.empty()) return absl::OkStatus();
  TrainOptions trial = options;
  trial.training = *ShortTraining(training);
  trial.progress = [&](double, std::string_view) {
    options.progress(0, "finetune: trying with and without hints");
  };
  if (!followed.has_value()) {
    MP_ASSIGN_OR_RETURN(followed,
                        TryTraining(model, parameters, data, trial, *context.arena, *context.job));
  }
  trial.training.clear_hints();
  MP_ASSIGN_OR_RETURN(const double alone,
                      TryTraining(model, parameters, data, trial, *context.arena, *context.job));
  if (!(*followed < alone)) training.clear_hints();
  std::vector<std::string> names;
  for (const FeatureHint& hint : own) names.push_back(hint.teacher());
  report.add_notes(
      FormatString("values inside of the original {}: {}; validation loss after trainings of {} "
                   "steps {:.4g} with them, {:.4g} without",
                   training.hints().empty() ? "are not followed" : "are followed too",
                   absl::StrJoin(names, ", "), trial.training.steps(), *followed, alone));
  return absl::OkStatus();
}

absl::Status FinetunePass::Apply(Model& model, const PassStep& step, PassContext& context,
                                 PassReport& report) const {
  InlineFunctions(model, report.mutable_notes());
  SeparateInitializersFromInputs(model);
  HintCache hints;
  TrainOptions options{
      .training = WithDefaults(step.finetune().training()),
      .seed = context.seed,
      .name = "finetune",
      .original = context.original,
      .hint_cache = &hints,
      .progress =
          [&context](double fraction, std::string_view detail) {
            if (context.progress) context.progress(kPacking + (1 - kPacking) * fraction, detail);
          },
  };
  const GraphIndex index(model.mutable_proto());
  MP_ASSIGN_OR_RETURN(Trainables found, FindTrainables(model, index, step.finetune().weights(),
                                                       options.training.batch_norm_statistics()));
  for (v1::Skip& skip : found.skips) *report.add_skips() = std::move(skip);
  if (!found.parameters.empty()) {
    MP_RETURN_IF_ERROR(RequireTrainer());
    const std::optional<DifferentiablePart> part = FindDifferentiablePart(*context.original);
    if (part.has_value()) {
      report.add_notes(FormatString("trained by the values that '{}' chooses among: {}",
                                    absl::StrJoin(part->nodes, "', '"),
                                    absl::StrJoin(part->values, ", ")));
    }
    Judging judging = context.recipe != nullptr ? context.recipe->judging() : Judging();
    // What a head chooses among are no classes.
    if (part.has_value()) judging.set_task(Judging::TASK_NONE);
    MP_ASSIGN_OR_RETURN(const TrainingData data,
                        PackTrainingData(
                            part.has_value() ? part->model : *context.original, context.data,
                            options.training, context.seed, *context.job,
                            [&context](double fraction) {
                              if (context.progress)
                                context.progress(kPacking * fraction, "samples");
                            },
                            judging));
    if (context.data == nullptr) {
      report.add_notes(
          "trained on synthetic samples, as no data was given: they are nothing like real inputs");
    }
    report.add_notes(FormatString("{} training samples ({} with labels) of {}; {}", data.training,
                                  data.labelled, data.description, data.task));
    if (options.training.augmented_copies() == 0 && !data.exact && data.inputs.size() == 1 &&
        IsImage({.type = data.inputs[0].type, .dims = data.inputs[0].dims})) {
      report.add_notes(
          "the inputs look like images: where samples are few, training.augmented_copies may help");
    }
    options.training = WithDefaults(step.finetune().training(), data.training);
    const bool choose_rate = step.finetune().training().learning_rate() == 0;
    MP_RETURN_IF_ERROR(
        ChooseOptions(model, found.parameters, data, choose_rate, context, options, report));
    MP_ASSIGN_OR_RETURN(const TrainingRun run, TrainModel(model, found.parameters, data, options,
                                                          *context.arena, *context.job, &report));
    report.add_notes(FormatString(
        "{} steps, the values of step {} kept: validation loss {:.4f} before, {:.4f} after",
        run.steps(), run.best_step(), run.points(0).validation_loss(),
        BestPoint(run).validation_loss()));
  }
  RemoveDead(model.mutable_proto());
  return absl::OkStatus();
}

std::vector<PassExample> FinetunePass::examples() const {
  return {
      {"a model that is the original itself has nothing to learn",
       R"(<ir_version: 8, opset_import: ["" : 17]>
          g (float[2, 4] x) => (float[2, 2] y)
          <float[4, 2] w = {1, -0.5, 0, 0.25, -3, 0.1, 0.7, -0.9}, float[2] b = {0.1, -0.2}>
          { h = MatMul(x, w)
            y = Add(h, b) })",
       "finetune: {training: {steps: 5, batch_size: 4}}\nallow_no_change: true",
       {"MatMul", "Add"},
       1e-2},
      {"codes of quantized weights stay codes",
       R"(<ir_version: 8, opset_import: ["" : 17]>
          g (float[2, 4] x) => (float[2, 3] y)
          <int8[4, 3] c = {10, -50, 2, 3, -127, 1, 7, -90, 0, 4, 5, 6}, float s = {0.01}>
          { w = DequantizeLinear(c, s)
            h = MatMul(x, w)
            y = Relu(h) })",
       "finetune: {training: {steps: 5, batch_size: 4, optimizer: sgd}}\nallow_no_change: true",
       {"DequantizeLinear", "MatMul", "Relu"},
       1e-1},
  };
}

}  // namespace

void RegisterPass_finetune(PassRegistry& registry) {
  registry.Add(std::make_unique<FinetunePass>());
}

}  // namespace modelpress
