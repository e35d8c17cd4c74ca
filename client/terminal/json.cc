// JSON; see json.h.
#include "client/terminal/json.h"

#include <memory>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/util/json_util.h"
#include "google/protobuf/util/type_resolver_util.h"

namespace modelpress {
namespace {

constexpr char kTypes[] = "type.googleapis.com";

// Maps in the order of their keys: by themselves they have another in every process.
std::string SortedBytes(const google::protobuf::Message& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

}  // namespace

std::string ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  // A 0 that was measured must not look like something that was not.
  options.always_print_primitive_fields = true;
  std::string json;
  const std::unique_ptr<google::protobuf::util::TypeResolver> resolver(
      google::protobuf::util::NewTypeResolverForDescriptorPool(
          kTypes, message.GetDescriptor()->file()->pool()));
  const std::string type = FormatString("{}/{}", kTypes, message.GetDescriptor()->full_name());
  if (!google::protobuf::util::BinaryToJsonString(resolver.get(), type, SortedBytes(message), &json,
                                                  options)
           .ok()) {
    return "{}\n";
  }
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
