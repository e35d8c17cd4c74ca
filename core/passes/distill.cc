// distill: a student with fewer channels, neurons and heads learns to answer like the original, the teacher.
//
//   x --> Gemm [1120] --> Relu --> Gemm [1000] --> Relu --> Gemm [10] --> teacher's scores
//   x --> Gemm [32]   --> Relu --> Gemm [28]   --> Relu --> Gemm [10] --> student's scores
//
//   loss = alpha T^2 KL(softmax(teacher / T) || softmax(student / T)) + (1 - alpha) cross-entropy(label)
//
// Sources: Hinton, Vinyals and Dean 2015 (distillation); the students are those of core/channels/narrow_model.h, refitted
// before they are trained; they are judged by confidence intervals on samples that are kept out of training
// (core/distill/interval.h), and made smaller until the requirement only just holds (core/distill/staircase.h).
#include <memory>

#include "core/base/status.h"
#include "core/distill/distill_model.h"
#include "core/distill/distill_options.h"
#include "core/passes/pass.h"
#include "core/quant/weight_selection.h"
#include "core/training/train_model.h"
#include "core/training/trainer_process.h"

namespace modelpress {
namespace {

// Of weights trained by one sample, on one core; only for plans.
constexpr double kBytesPerSecond = 1e9;
// Students of a search, and how large they are together for one of the model's size.
constexpr double kStudents = 12, kStudentShare = 0.3;

class DistillPass final : public Pass {
 public:
  std::string_view name() const override { return "distill"; }
  std::string_view summary() const override {
    return "a narrower student trained to answer like the original: the smallest that meets the "
           "requirement";
  }
  bool needs_float_weights() const override { return true; }
  bool trains() const override { return true; }
  bool takes_student() const override { return true; }
  absl::Status Validate(const PassStep& step) const override {
    return ValidateDistill(step.distill());
  }
  PassEstimate Estimate(const Model& model, const PassStep& step) const override {
    const uint64_t bytes = WeightBytes(model);
    const Training training = WithDefaults(step.distill().training());
    return {
        TrainerMemory(model, bytes, training.batch_size()), 64 * bytes + (64 << 20),
        10 + kStudents * (1 + static_cast<double>(training.steps()) * training.batch_size() *
                                  kStudentShare * static_cast<double>(bytes) / kBytesPerSecond)};
  }
  absl::Status Apply(Model& model, const PassStep& step, PassContext& context,
                     PassReport& report) const override;
  std::vector<PassExample> examples() const override;
};

absl::Status DistillPass::Apply(Model& model, const PassStep& step, PassContext& context,
                                PassReport& report) const {
  if (context.student != nullptr && step.distill().has_width()) {
    return Error(ERROR_REASON_RECIPE_INVALID,
                 "distill.width is of students that are made, and one is given")
        .With("field", "distill.width");
  }
  MP_RETURN_IF_ERROR(RequireTrainer());
  const DistillRequest request{
      .options = step.distill(),
      .recipe = context.recipe,
      .teacher = context.original,
      .student = context.student,
      .data = context.data,
      .seed = context.seed,
      .so_far = context.so_far,
      .progress = context.progress,
  };
  MP_RETURN_IF_ERROR(DistillModel(model, request, *context.arena, *context.job, &report));
  RemoveDead(model.mutable_proto());
  return absl::OkStatus();
}

std::vector<PassExample> DistillPass::examples() const {
  return {
      {"of four neurons two make nothing and go; the others need no training",
       R"(<ir_version: 8, opset_import: ["" : 17]>
          g (float[2, 3] x) => (float[2, 2] y)
          <float[4, 3] w = {0, 0, 0, 1, -2, 0.5, 0, 0, 0, 0.3, 1, -1}, float[4] b = {0, 0.5, 0, 0.1},
           float[2, 4] v = {3, 0.2, 1, -1, 0.3, 2, 0.1, 0.4}>
          { h = Gemm <transB = 1> (x, w, b)
            r = Relu(h)
            y = Gemm <transB = 1> (r, v) })",
       "distill: {width: 0.5, training: {steps: 5, batch_size: 4}, bounds: [{metric: sqnr_db, min: "
       "20}]}",
       {"Gemm", "Relu", "Gemm"},
       1e-2},
      {"the search stops before the channel that the outputs need",
       R"(<ir_version: 8, opset_import: ["" : 17]>
          g (float[1, 1, 4, 4] x) => (float[1, 2, 4, 4] y)
          <float[4, 1, 1, 1] w = {0.5, 0, -2, 0}, float[4] b = {0.1, 0, 0.1, 0},
           float[2, 4, 1, 1] v = {3, 0.2, 1, 1, -1, 1, 2, 1}>
          { h = Conv(x, w, b)
            r = Relu(h)
            y = Conv(r, v) })",
       "distill: {training: {steps: 5, batch_size: 4}, max_students: 3, bounds: [{metric: sqnr_db, "
       "min: 25}]}",
       {"Conv", "Relu", "Conv"},
       0.5},
  };
}

}  // namespace

void RegisterPass_distill(PassRegistry& registry) { registry.Add(std::make_unique<DistillPass>()); }

}  // namespace modelpress
