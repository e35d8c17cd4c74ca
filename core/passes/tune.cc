// tune: tries passes with their options on calibration samples and applies the best of those that
// keep within the bounds.
//
//   candidates (offered by the passes, or given)
//      -> each on a copy of the model -> bytes; loss on calibration samples -> a row of the trail
//   objective size: the fewest bytes within the bounds; latency: the shortest measured time
//
// A candidate that loses too much is tried again with exceptions: passes that choose their own
// (those with `limits`) are told stricter limits; of passes that only code weights, the layers
// with the noisiest codes get int8 codes instead, as few as will do, by bisection.
//
// Shares of samples are judged by their lower confidence bound (one standard error of a binomial),
// since what holds barely on the calibration samples may not hold on others.
#include <memory>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/passes/pass.h"
#include "core/passes/tuning.h"
#include "core/quant/weight_selection.h"

namespace modelpress {
namespace {

absl::Status Invalid(std::string_view field, std::string_view message) {
  return Error(ERROR_REASON_RECIPE_INVALID, FormatString("{}: {}", field, message))
      .With("field", field);
}

class TunePass final : public Pass {
 public:
  std::string_view name() const override { return "tune"; }
  std::string_view summary() const override {
    return "tries the other passes on calibration data and applies the smallest or fastest that "
           "keeps within bounds";
  }
  bool encodes_weights() const override { return true; }
  absl::Status Validate(const PassStep& step) const override;
  PassEstimate Estimate(const Model& model, const PassStep&) const override {
    const uint64_t bytes = WeightBytes(model);
    // One candidate's new weights beside the chosen one's; time is that of the calibration runs.
    return {256 << 20, 2 * bytes + (64 << 20), 30 + static_cast<double>(bytes) / 1e7};
  }
  absl::Status Apply(Model& model, const PassStep& step, PassContext& context,
                     PassReport& report) const override {
    {
      const GraphIndex index(model.mutable_proto());
      WeightSelection all;
      all.set_min_elements(1);
      MP_ASSIGN_OR_RETURN(const SelectedWeights found, SelectWeights(model, index, all));
      for (const v1::Skip& skip : found.skips) *report.add_skips() = skip;
      if (found.weights.empty()) return absl::OkStatus();
      report.clear_skips();
    }
    return TuneModel(model, step.tune(), context, &report);
  }
  std::vector<PassExample> examples() const override;
};

absl::Status TunePass::Validate(const PassStep& step) const {
  const Tune& options = step.tune();
  for (int i = 0; i < options.bounds_size(); ++i) {
    const QualityBound& bound = options.bounds(i);
    const std::string field = FormatString("tune.bounds[{}]", i);
    const std::string& metric = bound.metric();
    if (metric != "accuracy" && metric != "agreement" && metric != "sqnr_db") {
      return Invalid(
          field + ".metric",
          FormatString("'{}' is not measured here: accuracy, agreement or sqnr_db", metric));
    }
    if (bound.has_max() || bound.has_max_relative_drop() ||
        (bound.has_max_drop() && metric != "accuracy") ||
        (!bound.has_min() && !bound.has_max_drop())) {
      return Invalid(field, metric == "accuracy" ? "needs min or max_drop" : "needs min");
    }
  }
  for (int i = 0; i < options.candidates_size(); ++i) {
    const TuneCandidate& candidate = options.candidates(i);
    const std::string field = FormatString("tune.candidates[{}]", i);
    if (candidate.steps().empty()) return Invalid(field + ".steps", "is empty");
    for (int j = 0; j < candidate.steps_size(); ++j) {
      const std::string path = FormatString("{}.steps[{}]", field, j);
      if (candidate.steps(j).has_tune()) return Invalid(path, "tune cannot try itself");
      const absl::StatusOr<const Pass*> pass = PassRegistry::Get().ForStep(candidate.steps(j));
      const absl::Status status = pass.ok() ? (*pass)->Validate(candidate.steps(j)) : pass.status();
      if (!status.ok()) return Invalid(path, std::string(status.message()));
    }
  }
  return absl::OkStatus();
}

// A MatMul with a weight large enough for codes to be smaller than floats.
const std::string& ExampleText() {
  static const std::string* const text = [] {
    std::string values;
    for (int i = 0; i < 256; ++i) {
      values += FormatString("{}{}", i > 0 ? ", " : "", (i * 37 % 101 - 50) / 64.0);
    }
    return new std::string(R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[2, 16] x) => (float[2, 16] y) <float[16, 16] w = {)" +
                           values + R"(}>
          { y = MatMul(x, w) })");
  }();
  return *text;
}

std::vector<PassExample> TunePass::examples() const {
  return {
      {"int8 weights and float16 both keep 30 dB, and int8 is smaller",
       ExampleText(),
       "tune: {bounds: [{metric: sqnr_db, min: 30}], candidates: [{steps: [{quantize_weights: "
       "{weights: {min_elements: 1}}}]}, {steps: [{convert_float16: {}}]}]}",
       {"DequantizeLinear", "MatMul"},
       0.1},
      {"a bound that int8 misses leaves float16",
       ExampleText(),
       "tune: {bounds: [{metric: sqnr_db, min: 60}], candidates: [{steps: [{quantize_weights: "
       "{weights: {min_elements: 1}}}]}, {steps: [{convert_float16: {}}]}]}",
       {"Cast", "MatMul", "Cast"},
       0.01},
  };
}

}  // namespace

void RegisterPass_tune(PassRegistry& registry) { registry.Add(std::make_unique<TunePass>()); }

}  // namespace modelpress
