// Values of the schema of exported programs (torch/_export/serde/schema.py) in their JSON form. Everything here gives
// MODEL_MALFORMED for what is not as the schema has it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/formats/pt2/program.h"
#include "nlohmann/json.hpp"

namespace modelpress::pt2 {

// MODEL_MALFORMED.
absl::Status Bad(std::string_view what);
// The member of that name; null if there is none or `object` is no object.
const nlohmann::json* Member(const nlohmann::json& object, std::string_view key);
absl::StatusOr<std::string> Text(const nlohmann::json& object, std::string_view key);
absl::StatusOr<int64_t> Int(const nlohmann::json& value);
// Infinities and NaN may be texts.
absl::StatusOr<double> Float(const nlohmann::json& value);
absl::StatusOr<const nlohmann::json*> Array(const nlohmann::json& value);
// {"as_int": ...} or {"as_expr": ...}.
absl::StatusOr<Extent> ParseExtent(const nlohmann::json& value);
// A TensorMeta.
absl::StatusOr<TensorMeta> ParseTensorMeta(const nlohmann::json& value);

}  // namespace modelpress::pt2
