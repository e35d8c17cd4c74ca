// The judging part of the full gate: original and artifact run side by side on the same samples.
#pragma once

#include "core/gate/gate.h"

namespace modelpress {

// What the later steps of the gate need from judging.
struct Judged {
  // One feed that both models ran on; empty inputs if nothing could be run (the report's notes say
  // why).
  TensorMap first_inputs;
  bool ran = false;
};

// Loads both models, runs them and fills report.judgement and notes. Errors as RunGate's.
absl::StatusOr<Judged> Judge(const GateInput& input, const JobContext& context, Report* report);

// `inputs` with every float32 value as the type that `session` declares for it: a model converted
// without keeping its input types takes float16.
TensorMap FitInputs(const TensorMap& inputs, const Session& session);

}  // namespace modelpress
