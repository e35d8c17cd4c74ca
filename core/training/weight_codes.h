// Codes of quantized weights as numbers, and back into the form in which the model holds them.
#pragma once

#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "core/model/model.h"
#include "core/training/trainable.h"

namespace modelpress {

// Everything as floats, row-major.
struct DecodedCodes {
  // Of the weight's shape.
  std::vector<float> codes;
  // One for each block, or index on the axis, or a single one.
  std::vector<float> scales, zero_points;
  std::vector<int64_t> scale_dims;
  // Smallest and largest code that occurs, and the largest step by which all of them are reached from the smallest: codes
  // of 2 bits are stored as every fourth of 4 bits.
  float low = 0, high = 0, step = 1;

  // Which scale belongs to an element.
  uint64_t ScaleIndex(const Trainable& weight, uint64_t element) const;
};

// MODEL_MALFORMED where sizes do not add up.
absl::StatusOr<DecodedCodes> DecodeCodes(const Model& model, const Trainable& weight);

// The bytes of the tensor with other codes. What pads the last block keeps its code.
absl::StatusOr<std::vector<std::byte>> EncodeCodes(const Model& model, const Trainable& weight,
                                                   std::span<const float> codes);

}  // namespace modelpress
