// The control of a distillation: what the same net learns from labels alone.
#pragma once

#include "absl/status/status.h"
#include "core/distill/student_training.h"

namespace modelpress {

// Trains the chosen student from random weights on the labelled samples alone, as many steps. A row of the report and a
// note compare the two; without enough labels only a note says so.
absl::Status RunControl(Distillation& distillation, const MadeStudent& chosen);

}  // namespace modelpress
