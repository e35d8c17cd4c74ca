// Capabilities from the registries of formats and passes; see capabilities.h.
#include "core/recipe/capabilities.h"

#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "core/formats/format.h"
#include "core/passes/pass.h"
#include "core/recipe/run.h"
#include "core/runtime/session.h"
#include "google/protobuf/descriptor.h"

namespace modelpress {
namespace {

// Options are the fields of the pass's message, those of nested messages with dots
// ("weights.include").
void AddOptions(const google::protobuf::Descriptor& message, const std::string& prefix,
                PassCapability* capability) {
  for (int i = 0; i < message.field_count(); ++i) {
    const google::protobuf::FieldDescriptor& field = *message.field(i);
    const std::string name = absl::StrCat(prefix, field.name());
    if (field.message_type() != nullptr && !field.is_repeated()) {
      AddOptions(*field.message_type(), absl::StrCat(name, "."), capability);
    } else {
      capability->add_options(name);
    }
  }
}

}  // namespace

Capabilities DescribeCapabilities() {
  Capabilities capabilities;
  capabilities.set_version(std::string(Version()));
  capabilities.set_runtime_version(RuntimeVersion());
  for (const auto& format : FormatRegistry::Get().formats()) {
    FormatCapability& row = *capabilities.add_formats();
    row.set_name(std::string(format->name()));
    row.set_description(std::string(format->description()));
    for (std::string_view extension : format->extensions())
      row.add_extensions(std::string(extension));
    row.set_can_write(format->can_write());
  }
  for (const auto& pass : PassRegistry::Get().passes()) {
    PassCapability& row = *capabilities.add_passes();
    row.set_name(std::string(pass->name()));
    row.set_summary(std::string(pass->summary()));
    const auto* field = PassStep::descriptor()->FindFieldByName(row.name());
    if (field != nullptr && field->message_type() != nullptr)
      AddOptions(*field->message_type(), "", &row);
  }
  return capabilities;
}

}  // namespace modelpress
