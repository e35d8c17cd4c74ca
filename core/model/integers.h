// Constants of integers (axes, shapes, bounds) as numbers, whatever their width.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "core/model/model.h"

namespace modelpress {

// The elements of an int64, int32 or bool tensor of `model`; nothing for other types, for more than `most` elements, and
// where the bytes cannot be read.
std::optional<std::vector<int64_t>> ReadIntegers(const Model& model,
                                                 const onnx::TensorProto& tensor,
                                                 size_t most = std::numeric_limits<size_t>::max());

}  // namespace modelpress
