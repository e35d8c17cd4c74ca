// Which convolutions the runtime computes faster in integers than in float, on this machine.
#pragma once

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "core/data/samples.h"
#include "core/measure/dynamic_choice.h"

namespace modelpress {

// Times every Conv alone, on an input of the extents that it has for the first of `samples`, in both
// forms by turns (see latency.h), and sets `time_ratio` of its unit. Units that take more than 0.8 of
// the float time are no longer chosen, nor those whose input was not seen. Timings differ from run to
// run: choices near the border may too. Errors: those of GatherStatistics and Session.
absl::Status LeaveOutSlowConvolutions(Model& model, const std::vector<DynamicWeight>& weights,
                                      const Samples& samples, WeightArena& arena,
                                      const JobContext& context, std::vector<DynamicUnit>* units);

// The same for the model as a whole, which pays for what stands between the layers: time with all
// chosen units over time without the convolutions among them, on the first of `samples`. Where that
// is above 0.95, the convolutions are no longer chosen. Nothing is measured and returned where none
// is chosen.
absl::StatusOr<std::optional<double>> LeaveOutUselessConvolutions(
    const Model& model, const std::vector<DynamicWeight>& weights, const Samples& samples,
    WeightArena& arena, const JobContext& context, std::vector<DynamicUnit>* units);

}  // namespace modelpress
