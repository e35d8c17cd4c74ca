// StartJob against the limits: see request_checks.h.
#include "server/jobs/request_checks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <ranges>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

constexpr size_t kMaxRequestIdBytes = 64;
constexpr size_t kMaxNameBytes = 255;

Error Invalid(std::string_view field, std::string_view message) {
  return Error(ERROR_REASON_REQUEST_INVALID, FormatString("{}: {}", field, message))
      .With("field", field);
}

bool HasControlCharacter(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return absl::ascii_iscntrl(static_cast<unsigned char>(c)); });
}

bool IsPlainName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && name != "." && name != ".." &&
         name.find('/') == std::string_view::npos && name.find('\\') == std::string_view::npos &&
         !HasControlCharacter(name);
}

bool IsRelativeName(std::string_view name) {
  if (name.empty() || name.size() > kMaxNameBytes) return false;
  return std::ranges::all_of(name | std::views::split('/'), [](auto part) {
    return IsPlainName(std::string_view(part.begin(), part.end()));
  });
}

absl::Status CheckRequestId(std::string_view id) {
  const bool valid = !id.empty() && id.size() <= kMaxRequestIdBytes &&
                     std::all_of(id.begin(), id.end(), [](char c) {
                       return c == '-' || absl::ascii_isalnum(static_cast<unsigned char>(c));
                     });
  if (valid) return absl::OkStatus();
  return Invalid("start.request_id", "must be 1 to 64 letters, digits and hyphens")
      .Remedy("use a UUID");
}

absl::Status CheckSpec(const Limits& limits, JobSpec* spec) {
  if (spec->ByteSizeLong() > limits.max_recipe_bytes()) {
    return Invalid("start.spec", FormatString("has {} bytes, over the limit of {}",
                                              spec->ByteSizeLong(), limits.max_recipe_bytes()));
  }
  if (spec->output_name().empty()) spec->set_output_name("model.onnx");
  if (!IsPlainName(spec->output_name())) {
    return Invalid("start.spec.output_name", "must be a plain file name of at most 255 bytes");
  }
  if (!std::isfinite(spec->deadline_seconds()) || spec->deadline_seconds() < 0) {
    return Invalid("start.spec.deadline_seconds",
                   "must be a number of seconds, or 0 for the default");
  }
  if (spec->deadline_seconds() == 0) spec->set_deadline_seconds(limits.default_deadline_seconds());
  spec->set_deadline_seconds(std::min(spec->deadline_seconds(), limits.max_deadline_seconds()));
  return absl::OkStatus();
}

absl::Status TooLarge(std::string_view what, uint64_t size, uint64_t limit) {
  return Error(ERROR_REASON_BLOB_TOO_LARGE,
               FormatString("{} has {} bytes, over the limit of {}", what, size, limit))
      .With("size", std::to_string(size))
      .With("limit", std::to_string(limit));
}

absl::Status CheckBlobs(const Limits& limits, const StartJob& start) {
  if (start.blobs_size() == 0) return Invalid("start.blobs", "is empty: a job needs a model");
  if (start.blobs_size() > static_cast<int>(limits.max_blobs())) {
    return Invalid("start.blobs", FormatString("has {} entries, over the limit of {}",
                                               start.blobs_size(), limits.max_blobs()));
  }
  uint64_t left = limits.max_job_bytes();
  std::array<int, Blob::Role_ARRAYSIZE> count{};
  absl::flat_hash_set<std::string_view> names;
  for (int i = 0; i < start.blobs_size(); ++i) {
    const Blob& blob = start.blobs(i);
    const std::string field = FormatString("start.blobs[{}]", i);
    if (blob.blob_id() != static_cast<uint32_t>(i + 1)) {
      return Invalid(field + ".blob_id",
                     FormatString("is {}, must be {}: ids count from 1", blob.blob_id(), i + 1));
    }
    if (!IsRelativeName(blob.name())) {
      return Invalid(field + ".name",
                     "must be a relative path of at most 255 bytes without \"..\"");
    }
    if (!names.insert(blob.name()).second) return Invalid(field + ".name", "is used twice");
    if (blob.role() == Blob::ROLE_UNSPECIFIED || !Blob::Role_IsValid(blob.role())) {
      return Invalid(field + ".role", "must be model, sidecar, data, student or graph");
    }
    ++count[blob.role()];
    if (blob.size_bytes() > limits.max_blob_bytes()) {
      return TooLarge("a blob", blob.size_bytes(), limits.max_blob_bytes());
    }
    if (blob.size_bytes() > left) {
      return TooLarge("the job", limits.max_job_bytes() - left + blob.size_bytes(),
                      limits.max_job_bytes());
    }
    left -= blob.size_bytes();
  }
  if (count[Blob::ROLE_MODEL] != 1) {
    return Invalid("start.blobs",
                   FormatString("has {} models, must have one", count[Blob::ROLE_MODEL]))
        .Remedy("further models have roles of their own: student, graph");
  }
  if (count[Blob::ROLE_DATA] > 1) return Invalid("start.blobs", "has more than one blob of data");
  if (count[Blob::ROLE_STUDENT] > 1) return Invalid("start.blobs", "has more than one student");
  if (count[Blob::ROLE_GRAPH] > 1) return Invalid("start.blobs", "has more than one graph");
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckStart(const Limits& limits, StartJob* start) {
  MP_RETURN_IF_ERROR(CheckRequestId(start->request_id()));
  MP_RETURN_IF_ERROR(CheckSpec(limits, start->mutable_spec()));
  return CheckBlobs(limits, *start);
}

}  // namespace modelpress
