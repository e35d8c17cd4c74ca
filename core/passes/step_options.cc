// By protobuf's reflection, so that a pass with such options is found without being listed: see step_options.h.
#include "core/passes/step_options.h"

#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

namespace modelpress {
namespace {

using google::protobuf::FieldDescriptor;

google::protobuf::Message* OptionsOf(PassStep* step) {
  const auto* access = PassStep::GetReflection();
  const auto* field =
      access->GetOneofFieldDescriptor(*step, PassStep::descriptor()->FindOneofByName("pass"));
  return field == nullptr ? nullptr : access->MutableMessage(step, field);
}

template <typename Field>
Field* FindOption(PassStep* step, const char* name) {
  google::protobuf::Message* options = OptionsOf(step);
  if (options == nullptr) return nullptr;
  const FieldDescriptor* field = options->GetDescriptor()->FindFieldByName(name);
  if (field == nullptr || field->is_repeated() || field->message_type() != Field::descriptor()) {
    return nullptr;
  }
  return static_cast<Field*>(options->GetReflection()->MutableMessage(options, field));
}

}  // namespace

LossLimits* LimitsOf(PassStep* step) { return FindOption<LossLimits>(step, "limits"); }

WeightSelection* WeightSelectionOf(PassStep* step) {
  return FindOption<WeightSelection>(step, "weights");
}

bool SelectOnly(std::string_view tensor, std::string_view node, PassStep* step) {
  if (WeightSelection* weights = WeightSelectionOf(step)) {
    weights->clear_include();
    weights->add_include(ExactGlob(tensor));
    return true;
  }
  google::protobuf::Message* options = OptionsOf(step);
  if (options == nullptr) return false;
  const FieldDescriptor* include = options->GetDescriptor()->FindFieldByName("include");
  if (include == nullptr || !include->is_repeated() ||
      include->cpp_type() != FieldDescriptor::CPPTYPE_STRING) {
    return false;
  }
  options->GetReflection()->ClearField(options, include);
  options->GetReflection()->AddString(options, include, ExactGlob(node));
  return true;
}

std::string ExactGlob(std::string_view name) {
  std::string glob;
  for (const char c : name) {
    if (c == '*' || c == '?' || c == '[') {
      glob += {'[', c, ']'};
    } else {
      glob += c;
    }
  }
  return glob;
}

}  // namespace modelpress
