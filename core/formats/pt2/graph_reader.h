// The JSON of an exported program -> typed graphs, checked.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "core/formats/pt2/program.h"

namespace modelpress::pt2 {

// The program without its weights. MODEL_MALFORMED says which field is not as the schema has it, and which value is read
// before it is made; FORMAT_UNSUPPORTED for another major version of the schema.
absl::StatusOr<Program> ParseProgram(std::string_view json);

}  // namespace modelpress::pt2
