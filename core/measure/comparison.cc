// Comparing outputs: see comparison.h.
#include "core/measure/comparison.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/str_join.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/measure/numbers.h"

namespace modelpress {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// What one run of elements adds.
struct Part {
  double signal = 0, noise = 0, dot = 0, other = 0, max_error = 0;
  uint64_t not_finite = 0;
};

bool IsNumeric(DataType type) {
  return BitsPerElement(type) > 0 && type != DataType::kComplex64 && type != DataType::kComplex128;
}

Part CompareNumbers(const Tensor& original, const Tensor& artifact, uint64_t begin, uint64_t end) {
  const Numbers x(original), y(artifact);
  Part part;
  for (uint64_t i = begin; i < end; ++i) {
    const double a = x[i], b = y[i];
    if (std::isfinite(a) && std::isfinite(b)) {
      part.signal += a * a;
      part.other += b * b;
      part.dot += a * b;
      part.noise += (a - b) * (a - b);
      part.max_error = std::max(part.max_error, std::abs(a - b));
      continue;
    }
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    part.not_finite += std::isfinite(a);
    part.noise = part.max_error = kInfinity;
  }
  return part;
}

Part CompareEquality(const Tensor& original, const Tensor& artifact, uint64_t begin, uint64_t end) {
  Part part;
  const size_t size = original.type == DataType::kString ? 0 : BitsPerElement(original.type) / 8;
  for (uint64_t i = begin; i < end; ++i) {
    const bool same = original.type == artifact.type &&
                      (size == 0 ? original.strings[i] == artifact.strings[i]
                                 : std::ranges::equal(original.bytes.subspan(i * size, size),
                                                      artifact.bytes.subspan(i * size, size)));
    part.signal += 1;
    part.other += 1;
    part.dot += same;
    part.noise += !same;
    part.max_error = std::max(part.max_error, same ? 0.0 : 1.0);
  }
  return part;
}

std::string ShapeText(const std::vector<int64_t>& dims) {
  return FormatString("[{}]", absl::StrJoin(dims, ","));
}

Error Rejected(const std::string& output, std::string_view message) {
  return Error(ERROR_REASON_ARTIFACT_REJECTED, FormatString("output '{}': {}", output, message))
      .With("stage", "compare")
      .With("output", output);
}

}  // namespace

double SqnrDb(double signal, double noise) {
  if (noise == 0) return kInfinity;
  if (std::isinf(noise)) return -kInfinity;
  if (signal == 0) return 0;
  return 10 * std::log10(signal / noise);
}

absl::Status OutputComparer::Add(const TensorMap& original, const TensorMap& artifact,
                                 uint64_t first_sample, uint64_t samples) {
  for (const auto& [name, x] : original) {  // each has sums of its own: the order does not matter
    const auto found = artifact.find(name);
    if (found == artifact.end()) return Rejected(name, "the artifact does not have it");
    const Tensor& y = found->second;
    if (x.dims != y.dims) {
      return Rejected(name, FormatString("the original gives shape {}, the artifact {}",
                                         ShapeText(x.dims), ShapeText(y.dims)));
    }
    const bool numeric = IsNumeric(x.type);
    if (numeric != IsNumeric(y.type) || (!numeric && x.type != y.type)) {
      return Rejected(name, FormatString("the original gives {}, the artifact {}",
                                         DataTypeName(x.type), DataTypeName(y.type)));
    }
    const uint64_t count = x.element_count();
    // Samples lie along axis 0, or the feed counts as one sample.
    const bool split =
        samples > 1 && !x.dims.empty() && static_cast<uint64_t>(x.dims[0]) == samples;
    const uint64_t parts = split ? samples : 1;
    Sums& sums = sums_[name];
    for (uint64_t i = 0; i < parts; ++i) {
      const uint64_t begin = count / parts * i, end = count / parts * (i + 1);
      const Part part =
          numeric ? CompareNumbers(x, y, begin, end) : CompareEquality(x, y, begin, end);
      sums.signal += part.signal;
      sums.noise += part.noise;
      sums.dot += part.dot;
      sums.other += part.other;
      sums.max_error = std::max(sums.max_error, part.max_error);
      sums.not_finite += part.not_finite;
      const double db = SqnrDb(part.signal, part.noise);
      if (!sums.any || db < sums.worst_db) {
        sums.worst_db = db;
        sums.worst_sample = first_sample + i;
      }
      sums.any = true;
    }
  }
  return absl::OkStatus();
}

std::vector<OutputComparison> OutputComparer::Finish() const {
  std::vector<OutputComparison> rows;
  for (const auto& [name, sums] : sums_) {
    OutputComparison& row = rows.emplace_back();
    row.set_output(name);
    row.set_sqnr_db(SqnrDb(sums.signal, sums.noise));
    if (sums.signal > 0 && sums.other > 0) {
      // Rounding may carry the quotient past 1.
      row.set_cosine(
          std::clamp(sums.dot / std::sqrt(sums.signal) / std::sqrt(sums.other), -1.0, 1.0));
    } else {
      row.set_cosine(sums.signal == sums.other ? 1 : 0);
    }
    row.set_max_abs_error(sums.max_error);
    row.set_worst_sqnr_db(sums.worst_db);
    row.set_worst_sample(sums.worst_sample);
    row.set_not_finite(sums.not_finite);
  }
  return rows;
}

}  // namespace modelpress
