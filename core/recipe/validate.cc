// Ranges, combinations and order of everything in a recipe: see ValidateRecipe.
#include <algorithm>
#include <cmath>

#include "core/base/format_string.h"
#include "core/base/nearest_name.h"
#include "core/base/status.h"
#include "core/formats/format.h"
#include "core/measure/metric_rules.h"
#include "core/passes/pass.h"
#include "core/recipe/recipe_reader.h"

namespace modelpress {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr int kMaxPasses = 64;
constexpr int kMaxBounds = 256;
constexpr uint32_t kMaxBatchSize = 65536;
constexpr uint32_t kMaxSyntheticSamples = 65536;

Error Invalid(std::string_view field, std::string_view message) {
  return Error(ERROR_REASON_RECIPE_INVALID, FormatString("{}: {}", field, message))
      .With("field", field);
}

// What a text could not have said but a message off the wire can: enum numbers without a name,
// numbers that are not finite.
absl::Status CheckValues(const Message& message, const std::string& path) {
  const Reflection& access = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  access.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const std::string name = path.empty() ? field->name() : path + "." + field->name();
    const int count = field->is_repeated() ? access.FieldSize(message, field) : 1;
    for (int i = 0; i < count; ++i) {
      const bool repeated = field->is_repeated();
      const std::string where = repeated ? FormatString("{}[{}]", name, i) : name;
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        MP_RETURN_IF_ERROR(CheckValues(repeated ? access.GetRepeatedMessage(message, field, i)
                                                : access.GetMessage(message, field),
                                       where));
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE) {
        const double value = repeated ? access.GetRepeatedDouble(message, field, i)
                                      : access.GetDouble(message, field);
        if (!std::isfinite(value)) return Invalid(where, "must be a finite number");
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
        const int value = repeated ? access.GetRepeatedEnumValue(message, field, i)
                                   : access.GetEnumValue(message, field);
        if (field->enum_type()->FindValueByNumber(value) == nullptr) {
          return Invalid(where, FormatString("{} is no value of this field", value));
        }
      }
    }
  }
  return absl::OkStatus();
}

// A pass reports fields relative to its step; the caller needs them relative to the recipe.
absl::Status WithStepPath(const absl::Status& status, int index) {
  if (status.ok()) return status;
  ErrorDetail detail = DetailOf(status);
  const std::string step = FormatString("passes[{}]", index);
  std::string& field = (*detail.mutable_metadata())["field"];
  field = field.empty() ? step : step + "." + field;
  return StatusFromDetail(detail, FormatString("{}: {}", step, std::string(status.message())));
}

absl::Status ValidatePasses(const Recipe& recipe) {
  if (recipe.passes_size() > kMaxPasses) {
    return Invalid("passes",
                   FormatString("{} passes; at most {} are run", recipe.passes_size(), kMaxPasses));
  }
  // The first step that leaves no float weights.
  const Pass* encoding = nullptr;
  int encoding_step = 0;
  for (int i = 0; i < recipe.passes_size(); ++i) {
    const absl::StatusOr<const Pass*> pass = PassRegistry::Get().ForStep(recipe.passes(i));
    if (!pass.ok()) return WithStepPath(pass.status(), i);
    MP_RETURN_IF_ERROR(WithStepPath((*pass)->Validate(recipe.passes(i)), i));
    if (encoding != nullptr && (*pass)->needs_float_weights()) {
      return Error(ERROR_REASON_PASS_ORDER,
                   FormatString("passes[{}]: {} must come before {} (passes[{}])", i,
                                (*pass)->name(), encoding->name(), encoding_step))
          .With("field", FormatString("passes[{}]", i))
          .With("rule", FormatString("{} before {}", (*pass)->name(), encoding->name()))
          .Remedy("swap the two");
    }
    if (encoding == nullptr && (*pass)->encodes_weights()) {
      encoding = *pass;
      encoding_step = i;
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateBound(const QualityBound& bound, const std::string& path,
                           const Judging& judging) {
  const MetricRule* rule = FindMetric(bound.metric());
  if (rule == nullptr) {
    Error error =
        Invalid(path + ".metric", FormatString("there is no metric '{}'", bound.metric()));
    if (const std::string nearest = NearestName(bound.metric(), MetricNames()); !nearest.empty()) {
      error.With("nearest", nearest).Remedy(FormatString("did you mean '{}'?", nearest));
    }
    return error;
  }
  if (!bound.has_min() && !bound.has_max() && !bound.has_max_drop() &&
      !bound.has_max_relative_drop()) {
    return Invalid(path, "needs one of min, max, max_drop or max_relative_drop");
  }
  if (bound.has_min() && bound.has_max() && bound.min() > bound.max()) {
    return Invalid(path + ".min", "is above max");
  }
  if (bound.max_drop() < 0) return Invalid(path + ".max_drop", "must not be negative");
  if (bound.max_relative_drop() < 0)
    return Invalid(path + ".max_relative_drop", "must not be negative");
  if ((bound.has_max_drop() || bound.has_max_relative_drop()) && !rule->allows_drop) {
    return Invalid(path, FormatString("{} compares with the original already, so it cannot drop",
                                      rule->name))
        .Remedy("use min or max");
  }
  if (!bound.output().empty() && !rule->per_output) {
    return Invalid(path + ".output",
                   FormatString("{} is not measured for each output", rule->name));
  }
  if (judging.gate() == Judging::GATE_STRUCTURE && !rule->without_running) {
    return Invalid(path + ".metric",
                   FormatString("{} is not measured by the structure gate", rule->name))
        .Remedy("use gate: full, or bound size_bytes or size_ratio");
  }
  if (rule->name == "latency_ratio" && judging.has_latency() && !judging.latency()) {
    return Invalid(path + ".metric", "judging.latency is off, so latency_ratio is not measured");
  }
  return absl::OkStatus();
}

absl::Status ValidateOutput(const Output& output) {
  if (output.format().empty()) return absl::OkStatus();
  std::vector<std::string> names;
  for (const auto& format : FormatRegistry::Get().formats()) {
    if (format->can_write()) names.emplace_back(format->name());
  }
  if (std::ranges::find(names, output.format()) != names.end()) return absl::OkStatus();
  Error error = Invalid("output.format",
                        FormatString("'{}' is no format that can be written", output.format()));
  if (const std::string nearest = NearestName(output.format(), names); !nearest.empty()) {
    error.With("nearest", nearest).Remedy(FormatString("did you mean '{}'?", nearest));
  }
  return error;
}

}  // namespace

absl::Status ValidateRecipe(const Recipe& recipe) {
  if (recipe.ByteSizeLong() > kMaxRecipeBytes) {
    return Error(ERROR_REASON_RECIPE_INVALID,
                 FormatString("the recipe is larger than {} bytes", kMaxRecipeBytes))
        .With("limit", std::to_string(kMaxRecipeBytes));
  }
  MP_RETURN_IF_ERROR(CheckValues(recipe, ""));
  MP_RETURN_IF_ERROR(ValidatePasses(recipe));
  if (recipe.quality_size() > kMaxBounds) {
    return Invalid("quality", FormatString("more than {} bounds", kMaxBounds));
  }
  for (int i = 0; i < recipe.quality_size(); ++i) {
    MP_RETURN_IF_ERROR(
        ValidateBound(recipe.quality(i), FormatString("quality[{}]", i), recipe.judging()));
  }
  if (recipe.judging().batch_size() > kMaxBatchSize) {
    return Invalid("judging.batch_size", FormatString("at most {}", kMaxBatchSize));
  }
  if (recipe.judging().synthetic_samples() > kMaxSyntheticSamples) {
    return Invalid("judging.synthetic_samples", FormatString("at most {}", kMaxSyntheticSamples));
  }
  return ValidateOutput(recipe.output());
}

}  // namespace modelpress
