// Which ranges, bias corrections and exceptions a statically quantized model gets.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/data/samples.h"
#include "core/measure/model_loss.h"
#include "core/measure/static_quantizer.h"
#include "core/measure/static_report.h"

namespace modelpress::v1 {
class QuantizeStatic;
}  // namespace modelpress::v1

namespace modelpress {

// Nothing is owned; all of it outlives the choosing.
struct StaticChoiceInput {
  // The float model that the quantizer was made from.
  Model& model;
  const v1::QuantizeStatic& options;
  StaticQuantizer& quantizer;
  // Biases are fitted on these feeds, layers compared on those.
  const Samples& fit;
  const Samples& compared;
  // Judges candidates.
  const LossMeter& meter;
  WeightArena& arena;
  const JobContext& job;
  // 0..1 and what was tried last; may be null.
  std::function<void(double fraction, std::string_view detail)> progress;
};

struct StaticChoice {
  StaticFindings findings;
  // What was tried and what came of it, for the report.
  std::vector<std::string> notes;
  // Why a candidate was passed over that the runtime did not run; empty if none was.
  std::string failure;
  // Runs of samples by other meters than `meter`.
  uint64_t samples_run = 0;
};

// The ways to choose ranges that `options` allow are tried with all layers in integers, and the best is
// kept. Mean errors go into biases where the model then loses less. Where it still loses more than
// options.limits, layers stay in float, the fewest that will do (static_exceptions.h). The quantizer is
// left with the ranges and corrections that were chosen. Errors: those of LossMeter.
absl::StatusOr<StaticChoice> ChooseStatic(const StaticChoiceInput& input);

}  // namespace modelpress
