// Options of a distillation: see distill_options.h.
#include "core/distill/distill_options.h"

#include <string>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/distill/requirement.h"
#include "core/training/training_options.h"

namespace modelpress {
namespace {

constexpr uint32_t kMostStudents = 100;

}  // namespace

absl::Status ValidateDistill(const Distill& options) {
  const auto refuse = [](std::string_view name, std::string_view rule) {
    const std::string path = FormatString("distill.{}", name);
    return Error(ERROR_REASON_RECIPE_INVALID, FormatString("{} {}", path, rule))
        .With("field", path);
  };
  MP_RETURN_IF_ERROR(ValidateTraining(options.training(), "distill.training"));
  const auto share = [](double s) { return s > 0 && s < 1; };
  if (options.has_width() && !share(options.width())) {
    return refuse("width", "must lie between 0 and 1");
  }
  if (options.has_shrink() && !share(options.shrink())) {
    return refuse("shrink", "must lie between 0 and 1");
  }
  if (options.max_students() > kMostStudents) {
    return refuse("max_students", FormatString("must be at most {}", kMostStudents));
  }
  if (options.max_seconds() < 0) return refuse("max_seconds", "must not be negative");
  if (options.has_confidence() && !(options.confidence() >= 0.5 && options.confidence() < 1)) {
    return refuse("confidence", "must be at least 0.5 and less than 1");
  }
  return ValidateBounds(options.bounds(), "distill.bounds");
}

double ShrinkOf(const Distill& options) { return options.has_shrink() ? options.shrink() : 0.7; }

double ConfidenceOf(const Distill& options) {
  return options.has_confidence() ? options.confidence() : 0.9;
}

uint32_t MostStudentsOf(const Distill& options) {
  return options.max_students() > 0 ? options.max_students() : 12;
}

}  // namespace modelpress
