// Holding a model against outputs that the caller has from elsewhere (the framework that a converted model comes from).
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/model/model.h"

namespace modelpress {

struct ExpectedOutput {
  std::string name;
  double max_abs_error = 0;
  // Of the expected values, largest minus smallest, at least their largest magnitude and 0.01.
  double range = 0;
  bool holds = false;
};

// `folder` has one NumPy array for each input and for each output to be compared: NAME.npy (characters that cannot stand in
// file names as '_'), or in0.npy, in1.npy, ..., out0.npy, ... in the model's order. Where all inputs lack both and there are as
// many other arrays (but for out*.npy), these are taken in the order of their names; outputs likewise (but for in*.npy).
// `notes`, if given, says what was taken so. The model runs once, on one thread.
// Floats may differ by `tolerance` times the range, 8- and 16-bit integers (codes) by 2, other integers not at all; not
// finite values must be the same. DATA_MISSING for an input without an array or where no output has one; DATA_INVALID for
// shapes that differ.
absl::StatusOr<std::vector<ExpectedOutput>> CompareWithExpected(
    const Model& model, const std::string& folder, double tolerance,
    std::vector<std::string>* notes = nullptr);

}  // namespace modelpress
