// Putting weights back: a serialised skeleton with the reference of each weight replaced by other fields, as a list of
// pieces to be written one after the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace modelpress::onnx_format {

// What stands in a weight's TensorProto in place of its external_data and data_location.
struct Replacement {
  std::string fields;               // serialised
  std::span<const std::byte> tail;  // follows `fields`, not copied (content of raw_data)
};

// Pieces refer to the skeleton, the replacements and `lengths`. Moving keeps them valid, copying would not.
struct SplicedModel {
  SplicedModel() = default;
  SplicedModel(SplicedModel&&) = default;
  SplicedModel& operator=(SplicedModel&&) = default;

  std::vector<std::span<const std::byte>> pieces;
  // Bytes of all pieces together.
  uint64_t size = 0;
  // Rewritten tags and lengths of messages that hold weights.
  std::deque<std::string> lengths;
};

// `skeleton` is a ModelProto serialised from a Model, whose weights have the location "#N"; `replacements` is by N. Both
// must outlive the result. Reads nothing but the skeleton. INTERNAL_BUG if it is not what it should be.
absl::StatusOr<SplicedModel> Splice(std::span<const std::byte> skeleton,
                                    const std::vector<Replacement>& replacements);

}  // namespace modelpress::onnx_format
