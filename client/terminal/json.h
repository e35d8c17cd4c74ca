// Results for programs: protobuf's JSON mapping with the field names of the .proto files.
#pragma once

#include <string>

#include "google/protobuf/message.h"

namespace modelpress {

// Indented, ends with a newline.
std::string ToJson(const google::protobuf::Message& message);

}  // namespace modelpress
