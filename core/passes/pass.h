// A compression pass: one file of this folder, one options message and one line in recipe.proto's
// PassStep.
//
// A file opens with a picture of before and after and the formula with its source, and holds
// validation, estimate, Apply, examples and RegisterPass_<file stem>. The contract test walks the
// registry: examples hold, output is valid, bytes are deterministic, cancellation is honoured,
// nothing is silently skipped.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/job_context.h"
#include "core/data/samples.h"
#include "core/model/model.h"
#include "core/quant/skip.h"
#include "modelpress/v1/recipe.pb.h"
#include "modelpress/v1/report.pb.h"

namespace modelpress {

struct PassContext {
  const JobContext* job = nullptr;
  // The model as it came in, before any pass; weights shared.
  const Model* original = nullptr;
  // The student that the caller gave; null if there is none.
  const Model* student = nullptr;
  // The whole recipe: the requirement (quality) and the task (judging). Never null in a job.
  const Recipe* recipe = nullptr;
  // The caller's data; null if there is none.
  const DataSet* data = nullptr;
  WeightArena* arena = nullptr;
  uint64_t seed = 0;
  // What a long pass knows so far, for the report of a job that ends before the pass does; may be null.
  PassReport* so_far = nullptr;
  // Progress within this pass, 0..1; may be called from any thread.
  std::function<void(double fraction, std::string_view detail)> progress;
};

struct PassEstimate {
  uint64_t memory_bytes = 0;   // anonymous, beyond the skeleton
  uint64_t scratch_bytes = 0;  // new weights
  double seconds = 0;
};

// An example in ONNX text format (onnx.proto text, as onnx::OnnxParser reads). The contract test
// parses `before`, runs the pass with `options` (text of a PassStep in YAML), and checks
// `after_operators`.
struct PassExample {
  std::string_view description;
  std::string_view before;
  std::string_view options;
  // Operator types of the main graph after the pass, in order.
  std::vector<std::string_view> after_operators;
  // Largest output error on synthetic samples that the example allows (absolute), against `original`.
  double tolerance = 0;
  // The model before earlier passes of the recipe; empty: `before`.
  std::string_view original = {};
};

class Pass {
 public:
  virtual ~Pass() = default;
  // The file's stem and the field's name in PassStep.
  virtual std::string_view name() const = 0;
  // One line for people: what it does and when to use it.
  virtual std::string_view summary() const = 0;
  // Ranges and combinations of options. RECIPE_INVALID with `field` relative to the step
  // ("quantize_weights.type").
  virtual absl::Status Validate(const PassStep& step) const = 0;
  // Whether the pass leaves weights as codes or in another type. One that works on float32 weights
  // must come before every such pass of a recipe (PASS_ORDER).
  virtual bool encodes_weights() const { return false; }
  virtual bool needs_float_weights() const { return false; }
  // Whether it runs modelpress-trainer: TRAINER_MISSING where that is not installed.
  virtual bool trains() const { return false; }
  // Whether it trains the student that the caller gave (PassContext.student).
  virtual bool takes_student() const { return false; }
  virtual PassEstimate Estimate(const Model& model, const PassStep& step) const = 0;
  // Changes the model. A failed Run leaves it unusable. Errors: those of Apply; cancellation; NOTHING_CHANGED with the
  // counts of skips by reason if nothing changed and the step does not allow that.
  absl::StatusOr<PassReport> Run(Model& model, const PassStep& step, PassContext& context) const;
  virtual std::vector<PassExample> examples() const = 0;
  // What `tune` tries where the recipe does not say: each a list of steps that belong together.
  virtual std::vector<std::vector<PassStep>> tuning_candidates() const { return {}; }

 private:
  // What Run does to the model. Every candidate ends as a Change or a Skip in `report`, which has the pass's name and the
  // bytes before.
  virtual absl::Status Apply(Model& model, const PassStep& step, PassContext& context,
                             PassReport& report) const = 0;
};

class PassRegistry {
 public:
  static const PassRegistry& Get();

  void Add(std::unique_ptr<Pass> pass);
  // In name order.
  const std::vector<std::unique_ptr<Pass>>& passes() const { return passes_; }
  const Pass* Find(std::string_view name) const;
  // The pass of a step (its oneof case's field name); UNKNOWN_PASS if the step is empty.
  absl::StatusOr<const Pass*> ForStep(const PassStep& step) const;

 private:
  std::vector<std::unique_ptr<Pass>> passes_;
};

}  // namespace modelpress
