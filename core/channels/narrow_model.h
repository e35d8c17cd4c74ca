// A narrower model made from a trained one: whole channels, neurons and attention heads removed,
// and what reads them refitted so that it gives what it gave before.
//
//   dense  x [784] --> Gemm [1120] --> Relu --> Gemm [1000] --> Relu --> Gemm [10]
//   narrow x [784] --> Gemm [140]  --> Relu --> Gemm [125]  --> Relu --> Gemm [10]      width 1/8
//
// Inputs and outputs stay as they are, so the narrow model takes the dense one's place anywhere; as
// a student it starts from the teacher's own weights.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/data/samples.h"
#include "core/model/model.h"
#include "modelpress/v1/pass_report.pb.h"

namespace modelpress {

// What makes a channel dispensable.
enum class ChannelImportance {
  // The one with the least loss on held-back samples: of kReconstruction and kEnergy with a refit,
  // of kEnergy and kL2 without; kL2 where there are no samples.
  kMeasured,
  // L2 norm of the weights that make it.
  kL2,
  // Its share of the energy of what is computed from it: mean of x_c^2 over samples times the
  // squared norm of the weights that read it. Needs samples.
  kEnergy,
  // The error that is left in what is computed from it when the others take its place
  // (reconstruction.h). Needs samples and is meant for models that are refitted; groups with more
  // than 2048 inputs of a reader fall back to kEnergy.
  kReconstruction,
};

struct NarrowOptions {
  // Exactly one of the two: the share of the channels of each group that stays, or the share of the
  // multiply-accumulates that may be left (bisected over all groups together). Both in (0, 1).
  std::optional<double> width, macs;
  ChannelImportance importance = ChannelImportance::kMeasured;
  // No group gets fewer channels than this (it keeps all if it has no more), and what stays is a
  // multiple of `multiple`, rounded up. 0: what suits the kernels, see MultipleFor in selection.h.
  uint64_t min_channels = 1, multiple = 1;
  // Globs over names of nodes, values and constants: groups that touch one stay whole.
  std::vector<std::string> keep;
  // Readers of removed channels are refitted by ridge regression onto the dense model's outputs;
  // needs samples.
  bool refit = true;
};

struct NarrowedModel {
  Model model;
  // One row for each layer that was changed, and one for each group of channels that stays whole,
  // with why.
  std::vector<v1::Change> changes;
  std::vector<v1::Skip> skips;
  std::vector<std::string> notes;
  // Multiply-accumulates of one sample and elements of weights, before and after.
  double macs_before = 0, macs_after = 0;
  uint64_t parameters_before = 0, parameters_after = 0;
};

// Progress 0..1 and what is being worked on; may be null.
using NarrowProgress = std::function<void(double fraction, std::string_view detail)>;

// Removes channels of `dense` and refits. `samples` may be null: then importance is kL2 and nothing
// is refitted. Every fifth feed is held back from the fit and judges it: a layer is refitted only
// where that is better there than cutting alone. Fewer feeds than 20 all judge, each the fits made
// without it, and are all fitted on in the end. New weights go to `arena`. The same bytes for any
// number of threads; choices that rest on runs of the runtime are reproducible per kind of CPU.
//
// Where no channel can be removed, or the target asks for none, the model comes back as it was,
// without changes.
//
// Errors: RECIPE_INVALID where the multiply-accumulates cannot be brought down so far; those of
// Session and Samples; cancellation.
absl::StatusOr<NarrowedModel> NarrowModel(const Model& dense, const Samples* samples,
                                          const NarrowOptions& options, WeightArena& arena,
                                          const JobContext& context,
                                          const NarrowProgress& progress);

}  // namespace modelpress
