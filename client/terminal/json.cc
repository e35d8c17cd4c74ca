// JSON; see json.h.
#include "client/terminal/json.h"

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "google/protobuf/util/json_util.h"

namespace modelpress {

std::string ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  // A 0 that was measured must not look like something that was not.
  options.always_print_primitive_fields = true;
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(message, &json, options).ok()) return "{}\n";
  if (json.empty() || json.back() != '\n') json += '\n';
  return json;
}

absl::Status FromJson(std::string_view text, const std::string& path,
                      google::protobuf::Message* message) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  const auto parsed =
      google::protobuf::util::JsonStringToMessage({text.data(), text.size()}, message, options);
  if (parsed.ok()) return absl::OkStatus();
  return Error(ERROR_REASON_REQUEST_INVALID, FormatString("{} is no report of modelpress: {}", path,
                                                          std::string(parsed.message())))
      .With("path", path)
      .Remedy("give a file that --report wrote with a name ending in .json");
}

}  // namespace modelpress
