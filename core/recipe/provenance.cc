// Provenance and safe text: see provenance.h.
#include "core/recipe/provenance.h"

#include <map>
#include <vector>

#include "core/base/utf8.h"
#include "core/recipe/recipe_reader.h"
#include "core/recipe/run.h"
#include "modelpress/v1/report.pb.h"
#include "nlohmann/json.hpp"

namespace modelpress {
namespace {

constexpr std::string_view kPrefix = "modelpress.";
// Of the file that was converted: handed on from then on in place of the input's digest, so that converting first and then
// compressing gives the same bytes as both at once.
constexpr std::string_view kSource = "modelpress.source_sha256";
constexpr std::string_view kImport = "modelpress.import";

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

}  // namespace

void SetProvenance(const ModelSummary& original, Provenance provenance, const Recipe& recipe,
                   Model* model) {
  Recipe made = recipe;
  made.clear_quality();
  made.clear_judging();
  made.clear_import();
  std::map<std::string, std::string> properties = {
      {"modelpress.version", std::string(Version())},
      {"modelpress.input_sha256", original.sha256()},
      {"modelpress.recipe", RecipeText(made)},
  };
  for (const auto& [name, digest] : original.sidecar_sha256()) {
    properties["modelpress.input_sha256/" + name] = digest;
  }
  auto& all = *model->mutable_proto().mutable_metadata_props();
  std::map<std::string, std::string> source;
  std::string import_text;
  if (recipe.has_import()) {
    Recipe import;
    *import.mutable_import() = recipe.import();
    // In the order of names: the text of a map has none.
    import.mutable_import()->clear_renamed_weights();
    if (import.import().ByteSizeLong() > 0) import_text = RecipeText(import);
    const std::map<std::string, std::string> renamed(recipe.import().renamed_weights().begin(),
                                                     recipe.import().renamed_weights().end());
    if (!renamed.empty()) properties["modelpress.renamed_weights"] = nlohmann::json(renamed).dump();
  }
  if (provenance == Provenance::kConverted) {
    source[std::string(kSource)] = original.sha256();
    if (!import_text.empty()) source[std::string(kImport)] = import_text;
  } else if (provenance == Provenance::kWeightsPutIntoGraph) {
    if (!import_text.empty()) properties[std::string(kImport)] = import_text;
  } else {
    for (const auto& property : all) {
      if (property.key() == kSource || property.key() == kImport)
        source[property.key()] = property.value();
    }
  }
  if (source.contains(std::string(kSource))) {
    properties.erase("modelpress.input_sha256");
    properties.merge(source);
  }
  for (int i = all.size() - 1; i >= 0; --i) {
    if (all.Get(i).key().starts_with(kPrefix)) all.DeleteSubrange(i, 1);
  }
  for (const auto& [key, value] : properties) {
    onnx::StringStringEntryProto& property = *all.Add();
    property.set_key(key);
    property.set_value(value);
  }
}

void MakeUtf8(Message* message) {
  const auto& access = *message->GetReflection();
  std::vector<const FieldDescriptor*> fields;
  access.ListFields(*message, &fields);
  for (const FieldDescriptor* field : fields) {
    const bool repeated = field->is_repeated();
    const int count = repeated ? access.FieldSize(*message, field) : 1;
    for (int i = 0; i < count; ++i) {
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        MakeUtf8(repeated ? access.MutableRepeatedMessage(message, field, i)
                          : access.MutableMessage(message, field));
      } else if (field->type() == FieldDescriptor::TYPE_STRING) {
        const std::string text = repeated ? access.GetRepeatedString(*message, field, i)
                                          : access.GetString(*message, field);
        if (IsUtf8(text)) continue;
        repeated ? access.SetRepeatedString(message, field, i, ToUtf8(text))
                 : access.SetString(message, field, ToUtf8(text));
      }
    }
  }
}

}  // namespace modelpress
