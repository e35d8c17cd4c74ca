// Holding a model against given outputs: see expectation.h.
#include "core/measure/expectation.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/data/npy.h"
#include "core/runtime/session.h"

namespace modelpress {
namespace {

namespace fs = std::filesystem;

std::string FileName(std::string name) {
  for (char& letter : name) {
    if (letter == '/' || letter == '\\' || letter == ':' ||
        static_cast<unsigned char>(letter) < 0x20)
      letter = '_';
  }
  return name + ".npy";
}

// The array under either name; nullopt if there is none.
absl::StatusOr<std::optional<Tensor>> Load(const std::string& folder, const std::string& name,
                                           std::string_view kind, size_t number) {
  for (const std::string& file : {FileName(name), FormatString("{}{}.npy", kind, number)}) {
    const fs::path path = fs::path(folder) / file;
    std::error_code error;
    if (!fs::is_regular_file(path, error)) continue;
    MP_ASSIGN_OR_RETURN(const auto mapped, MappedFile::OpenForReading(path.string()));
    absl::StatusOr<Tensor> tensor = ReadNpy(mapped->bytes(), mapped);
    if (!tensor.ok()) return Annotate(tensor.status(), "file", path.string());
    return std::optional(*std::move(tensor));
  }
  return std::optional<Tensor>();
}

ExpectedOutput Compare(const std::string& name, const Tensor& expected, const Tensor& found,
                       double tolerance) {
  ExpectedOutput result{.name = name};
  double low = 0, high = 0, magnitude = 0.01;
  bool same = true, first = true;
  for (uint64_t i = 0; i < expected.element_count(); ++i) {
    const double a = ElementAsDouble(expected, i), b = ElementAsDouble(found, i);
    if (!std::isfinite(a) || !std::isfinite(b)) {
      same &= (std::isnan(a) && std::isnan(b)) || a == b;
      continue;
    }
    result.max_abs_error = std::max(result.max_abs_error, std::abs(a - b));
    low = first ? a : std::min(low, a);
    high = first ? a : std::max(high, a);
    magnitude = std::max(magnitude, std::abs(a));
    first = false;
  }
  result.range = std::max(high - low, magnitude);
  double limit = 0;
  if (IsFloatingPoint(found.type)) limit = tolerance * result.range;
  if (!IsFloatingPoint(found.type) && found.type != DataType::kBool &&
      BitsPerElement(found.type) <= 16)
    limit = 2;
  result.holds = same && result.max_abs_error <= limit;
  return result;
}

}  // namespace

absl::StatusOr<std::vector<ExpectedOutput>> CompareWithExpected(const Model& model,
                                                                const std::string& folder,
                                                                double tolerance) {
  MP_ASSIGN_OR_RETURN(const auto session, Session::Create(model, {}));
  TensorMap inputs;
  for (size_t i = 0; i < session->inputs().size(); ++i) {
    const std::string& name = session->inputs()[i].name;
    MP_ASSIGN_OR_RETURN(const std::optional<Tensor> tensor, Load(folder, name, "in", i));
    if (!tensor.has_value()) {
      return Error(ERROR_REASON_DATA_MISSING,
                   FormatString("{} has no array for input '{}'", folder, name))
          .With("needed", FileName(name));
    }
    inputs[name] = *tensor;
  }
  MP_ASSIGN_OR_RETURN(const TensorMap outputs, session->Run(inputs));
  std::vector<ExpectedOutput> compared;
  for (size_t i = 0; i < session->outputs().size(); ++i) {
    const std::string& name = session->outputs()[i].name;
    MP_ASSIGN_OR_RETURN(const std::optional<Tensor> expected, Load(folder, name, "out", i));
    if (!expected.has_value()) continue;
    const Tensor& found = outputs.at(name);
    if (expected->dims != found.dims) {
      return Error(ERROR_REASON_DATA_INVALID,
                   FormatString("the expected output '{}' has another shape", name))
          .With("output", name);
    }
    compared.push_back(Compare(name, *expected, found, tolerance));
  }
  if (compared.empty()) {
    return Error(ERROR_REASON_DATA_MISSING, FormatString("{} has no array for any output", folder))
        .With("needed", "out0.npy");
  }
  return compared;
}

}  // namespace modelpress
