// Results for programs: protobuf's JSON mapping with the field names of the .proto files.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "google/protobuf/message.h"

namespace modelpress {

// Indented, ends with a newline.
std::string ToJson(const google::protobuf::Message& message);

// What ToJson wrote, fields that this build does not know left out. REQUEST_INVALID, naming `path`, if it is none.
absl::Status FromJson(std::string_view text, const std::string& path,
                      google::protobuf::Message* message);

}  // namespace modelpress
