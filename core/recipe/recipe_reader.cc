// YAML trees into messages by their descriptors: see recipe_reader.h.
#include "core/recipe/recipe_reader.h"

#include <cctype>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "core/base/format_string.h"
#include "core/base/nearest_name.h"
#include "core/base/status.h"
#include "core/base/utf8.h"
#include "core/recipe/yaml_to_message.h"
#include "core/recipe/yaml_tree.h"
#include "google/protobuf/util/json_util.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::OneofDescriptor;
using google::protobuf::Reflection;

std::string Join(std::string_view path, std::string_view field) {
  return path.empty() ? std::string(field) : FormatString("{}.{}", path, field);
}

// The path's error, with the line of the text where there is one.
Error FieldError(std::string_view path, const YamlNode& node, std::string_view message) {
  const std::string where = path.empty() ? "the top level" : std::string(path);
  Error error(ERROR_REASON_RECIPE_INVALID,
              node.line > 0 ? FormatString("{} (line {}): {}", where, node.line, message)
                            : FormatString("{}: {}", where, message));
  error.With("field", path);
  return error;
}

std::string_view KindName(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kScalar:
      return "a single value";
    case YamlNode::Kind::kList:
      return "a list";
    case YamlNode::Kind::kMap:
      return "fields";
  }
  return "nothing";
}

// "GRANULARITY_" for enum Granularity: the prefix of its values' names, by the style of our protos.
std::string EnumPrefix(const EnumDescriptor& type) {
  std::string prefix;
  for (const char c : type.name()) {
    if (absl::ascii_isupper(c) && !prefix.empty()) prefix += '_';
    prefix += absl::ascii_toupper(c);
  }
  return prefix + "_";
}

absl::StatusOr<const EnumValueDescriptor*> ReadEnum(const EnumDescriptor& type,
                                                    const YamlNode& node, std::string_view path) {
  const std::string prefix = EnumPrefix(type);
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    const EnumValueDescriptor& value = *type.value(i);
    std::string short_name = value.name();
    if (short_name.starts_with(prefix)) short_name.erase(0, prefix.size());
    short_name = absl::AsciiStrToLower(short_name);
    if (value.number() == 0 && short_name == "unspecified") continue;
    if (node.scalar == short_name || node.scalar == value.name()) return &value;
    names.push_back(std::move(short_name));
  }
  Error error = FieldError(
      path, node, FormatString("'{}' is not one of {}", node.scalar, absl::StrJoin(names, ", ")));
  if (const std::string nearest = NearestName(absl::AsciiStrToLower(node.scalar), names);
      !nearest.empty()) {
    error.With("nearest", nearest).Remedy(FormatString("did you mean '{}'?", nearest));
  }
  return error;
}

// Sets, or appends to, one scalar field.
absl::Status ReadScalar(const YamlNode& node, const FieldDescriptor& field, std::string_view path,
                        Message& message) {
  const Reflection& access = *message.GetReflection();
  const bool repeated = field.is_repeated();
  const std::string& text = node.scalar;
  if (node.kind != YamlNode::Kind::kScalar) {
    return FieldError(path, node,
                      FormatString("expected a single value, found {}", KindName(node)));
  }
  const auto not_a = [&](std::string_view what) {
    return FieldError(path, node, FormatString("expected {}, found '{}'", what, text));
  };
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      repeated ? access.AddString(&message, &field, text)
               : access.SetString(&message, &field, text);
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_BOOL:
      if (text != "true" && text != "false") return not_a("true or false");
      repeated ? access.AddBool(&message, &field, text == "true")
               : access.SetBool(&message, &field, text == "true");
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      double value = 0;
      if (!absl::SimpleAtod(text, &value) || !std::isfinite(value)) return not_a("a finite number");
      repeated ? access.AddDouble(&message, &field, value)
               : access.SetDouble(&message, &field, value);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_INT32: {
      int32_t value = 0;
      if (!absl::SimpleAtoi(text, &value)) return not_a("a whole number of 32 bits");
      repeated ? access.AddInt32(&message, &field, value)
               : access.SetInt32(&message, &field, value);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_INT64: {
      int64_t value = 0;
      if (!absl::SimpleAtoi(text, &value)) return not_a("a whole number of 64 bits");
      repeated ? access.AddInt64(&message, &field, value)
               : access.SetInt64(&message, &field, value);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_UINT32: {
      uint32_t value = 0;
      if (!absl::SimpleAtoi(text, &value)) return not_a("a whole number from 0 to 4294967295");
      repeated ? access.AddUInt32(&message, &field, value)
               : access.SetUInt32(&message, &field, value);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_UINT64: {
      uint64_t value = 0;
      if (!absl::SimpleAtoi(text, &value)) return not_a("a whole number that is not negative");
      repeated ? access.AddUInt64(&message, &field, value)
               : access.SetUInt64(&message, &field, value);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_ENUM: {
      MP_ASSIGN_OR_RETURN(const EnumValueDescriptor* value,
                          ReadEnum(*field.enum_type(), node, path));
      repeated ? access.AddEnum(&message, &field, value) : access.SetEnum(&message, &field, value);
      return absl::OkStatus();
    }
    default:
      return Error(ERROR_REASON_INTERNAL_BUG,
                   FormatString("field {} has a type that is not read", path));
  }
}

absl::Status UnknownField(const Descriptor& type, std::string_view name, std::string_view path,
                          const YamlNode& node) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  const bool is_pass = &type == PassStep::descriptor();
  Error error(is_pass ? ERROR_REASON_UNKNOWN_PASS : ERROR_REASON_RECIPE_INVALID,
              FormatString("{}{}: there is no {} of this name", Join(path, name),
                           node.line > 0 ? FormatString(" (line {})", node.line) : "",
                           is_pass ? "pass" : "field"));
  error.With("field", Join(path, name));
  if (is_pass) error.With("pass", name);
  if (const std::string nearest = NearestName(name, names); !nearest.empty()) {
    error.With("nearest", nearest).Remedy(FormatString("did you mean '{}'?", nearest));
  } else {
    error.Remedy(FormatString("known names are {}", absl::StrJoin(names, ", ")));
  }
  return error;
}

absl::Status ReadField(const YamlNode& node, const FieldDescriptor& field, const std::string& path,
                       Message& message) {
  const Reflection& access = *message.GetReflection();
  const bool of_messages = field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
  if (!field.is_repeated()) {
    if (of_messages) return YamlToMessage(node, path, access.MutableMessage(&message, &field));
    return ReadScalar(node, field, path, message);
  }
  if (node.kind == YamlNode::Kind::kNull)
    return absl::OkStatus();  // "passes:" with all of them commented out
  if (field.is_map() && node.kind == YamlNode::Kind::kMap) {
    for (const auto& [name, value] : node.fields) {
      Message& entry = *access.AddMessage(&message, &field);
      entry.GetReflection()->SetString(&entry, field.message_type()->map_key(), name);
      MP_RETURN_IF_ERROR(
          ReadField(value, *field.message_type()->map_value(), Join(path, name), entry));
    }
    return absl::OkStatus();
  }
  // One value where a list of values is expected is that list.
  if (node.kind == YamlNode::Kind::kScalar && !of_messages)
    return ReadScalar(node, field, path, message);
  // So are the fields of one message, as dotted options of a command line give them; but not of a choice (passes), where
  // several of them would be taken for a list.
  if (node.kind == YamlNode::Kind::kMap && of_messages && !field.is_map() &&
      field.message_type()->real_oneof_decl_count() == 0) {
    return YamlToMessage(node, FormatString("{}[0]", path), access.AddMessage(&message, &field));
  }
  if (node.kind != YamlNode::Kind::kList) {
    return FieldError(path, node, FormatString("expected a list, found {}", KindName(node)));
  }
  for (size_t i = 0; i < node.items.size(); ++i) {
    const std::string item = FormatString("{}[{}]", path, i);
    MP_RETURN_IF_ERROR(of_messages
                           ? YamlToMessage(node.items[i], item, access.AddMessage(&message, &field))
                           : ReadScalar(node.items[i], field, item, message));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status YamlToMessage(const YamlNode& node, const std::string& path, Message* message) {
  if (node.kind == YamlNode::Kind::kNull)
    return absl::OkStatus();  // "fold_batch_norm:" has no options
  const Descriptor& type = *message->GetDescriptor();
  if (node.kind != YamlNode::Kind::kMap) {
    Error error = FieldError(path, node, FormatString("expected fields, found {}", KindName(node)));
    if (node.kind == YamlNode::Kind::kScalar && type.FindFieldByName(node.scalar) != nullptr) {
      error.Remedy(FormatString("write '{}: {{}}'", node.scalar));
    }
    return error;
  }
  for (const auto& [name, value] : node.fields) {
    const FieldDescriptor* field = type.FindFieldByName(name);
    if (field == nullptr) return UnknownField(type, name, path, value);
    const OneofDescriptor* choice = field->real_containing_oneof();
    if (choice != nullptr) {
      const FieldDescriptor* taken =
          message->GetReflection()->GetOneofFieldDescriptor(*message, choice);
      if (taken != nullptr && taken != field) {
        return FieldError(
            Join(path, name), value,
            FormatString("'{}' is given too; only one of them may be", taken->name()));
      }
    }
    MP_RETURN_IF_ERROR(ReadField(value, *field, Join(path, name), *message));
  }
  return absl::OkStatus();
}

absl::Status ReadYaml(std::string_view text, Message* message) {
  if (text.size() > kMaxRecipeBytes) {
    return Error(ERROR_REASON_RECIPE_INVALID, FormatString("the text has {} bytes; the limit is {}",
                                                           text.size(), kMaxRecipeBytes))
        .With("limit", std::to_string(kMaxRecipeBytes));
  }
  if (!IsUtf8(text)) return Error(ERROR_REASON_RECIPE_INVALID, "the text is not UTF-8");
  MP_ASSIGN_OR_RETURN(const YamlNode root, ParseYaml(text));
  return YamlToMessage(root, "", message);
}

absl::StatusOr<Recipe> ReadRecipe(std::string_view text) {
  Recipe recipe;
  MP_RETURN_IF_ERROR(ReadYaml(text, &recipe));
  return recipe;
}

std::string RecipeText(const Recipe& recipe) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  // Fails only for Any and for field masks, of which a recipe has none.
  (void)google::protobuf::util::MessageToJsonString(recipe, &text, options);
  return text;
}

}  // namespace modelpress
