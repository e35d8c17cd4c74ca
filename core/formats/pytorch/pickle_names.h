// The names that a pickle of weights may mention: classes of storages, types of elements, and what rebuilds tensors.
#pragma once

#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "core/model/tensor_type.h"

namespace modelpress::pytorch {

// What is known of "module name" (storages and dtypes without their module); "" for all others.
std::string_view KnownGlobal(std::string_view global);
// Of a class of storages ("FloatStorage"); bytes for untyped ones, until a dtype says otherwise.
DataType StorageType(std::string_view name);
// Of a dtype ("float32").
std::optional<DataType> DtypeNamed(std::string_view name);

// MODEL_MALFORMED.
absl::Status MalformedPickle(std::string_view what);
// OP_UNSUPPORTED for a global ("module name") that rebuilds no tensor.
absl::Status RefusedGlobal(std::string_view global);

}  // namespace modelpress::pytorch
