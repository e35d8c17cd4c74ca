// The acceptance gate: no artifact leaves unchecked.
//
// Structure gate: the written files are read back, the ONNX checker passes, inputs and outputs are those of the
// original. Full gate: the artifact also loads in the runtime, runs on the caller's samples (or seeded synthetic ones)
// beside the original, and is compared, measured and timed; then every bound of the recipe is decided.
#pragma once

#include <string>
#include <vector>

#include "core/data/samples.h"
#include "core/formats/format.h"

namespace modelpress::v1 {
class Recipe;
class Report;
}  // namespace modelpress::v1

namespace modelpress {

struct GateInput {
  // The artifact is what the original was read as, from another format, and nothing else was asked for: it has to pass the
  // checker, load and run, which is all there is to find out.
  bool only_converted = false;
  const Model* original = nullptr;
  // The artifact as written to disk and read back.
  const Model* artifact = nullptr;
  // Files of both, for sizes.
  std::vector<std::shared_ptr<const MappedFile>> original_files;
  std::vector<std::shared_ptr<const MappedFile>> artifact_files;
  const DataSet* data = nullptr;  // null: synthetic samples
  const Recipe* recipe = nullptr;
  ProgressTracker* progress = nullptr;  // may be null
};

// Fills original, artifact, judgement, bounds and notes of the report. OK also when bounds were missed: see
// MissedBound. ARTIFACT_REJECTED if the artifact does not check, load or run although the original does; if the
// original does not run either, that is the error (OP_UNSUPPORTED or MODEL_MALFORMED).
absl::Status RunGate(const GateInput& input, const JobContext& context, Report* report);

// OK, or QUALITY_BOUND_MISSED for the first bound that was missed.
absl::Status MissedBound(const Report& report);

// The ONNX checker and the model's own rules on a skeleton. MODEL_MALFORMED.
absl::Status CheckModel(const Model& model);

}  // namespace modelpress
