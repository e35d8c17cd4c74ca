// Matching files with inputs: see split_arrays.h.
#include "core/data/split_arrays.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_join.h"
#include "core/base/format_string.h"
#include "core/base/nearest_name.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

constexpr std::string_view kExtension = ".npy";
constexpr size_t kListed = 12;

// Order of numbers where both names are numbers ("2" before "10"), of text otherwise.
bool NumberLess(std::string_view a, std::string_view b) {
  const auto significant = [](std::string_view text) -> std::optional<std::string_view> {
    if (text.empty() || text.find_first_not_of("0123456789") != std::string_view::npos) {
      return std::nullopt;
    }
    return text.substr(std::min(text.find_first_not_of('0'), text.size()));
  };
  const auto number_a = significant(a);
  const auto number_b = significant(b);
  if (!number_a.has_value() || !number_b.has_value()) return a < b;
  if (number_a->size() != number_b->size()) return number_a->size() < number_b->size();
  return *number_a != *number_b ? *number_a < *number_b : a < b;
}

template <typename Names>
std::string List(const Names& names) {
  std::vector<std::string> shown;
  for (const std::string& name : names) {
    if (shown.size() == kListed) {
      shown.push_back("...");
      break;
    }
    shown.push_back("'" + name + "'");
  }
  return shown.empty() ? "nothing" : absl::StrJoin(shown, ", ");
}

}  // namespace

SplitArrays::SplitArrays(const SplitFiles& files) : files_(files) {
  for (const std::string& name : files.tree->names()) {
    if (name.starts_with(files.prefix)) left_.insert(name.substr(files.prefix.size()));
  }
}

std::optional<std::string> SplitArrays::TakeArray(std::string_view name) {
  const std::string file = std::string(name) + std::string(kExtension);
  if (left_.erase(file) == 0) return std::nullopt;
  return file;
}

std::vector<std::string> SplitArrays::TakeFolder(std::string_view name) {
  const std::string folder = std::string(name) + "/";
  std::vector<std::string> stems;
  for (auto at = left_.lower_bound(folder); at != left_.end() && at->starts_with(folder);) {
    const std::string_view rest = std::string_view(*at).substr(folder.size());
    if (rest.find('/') != std::string_view::npos || !rest.ends_with(kExtension)) {
      ++at;  // a file of another input, or of none
      continue;
    }
    stems.emplace_back(rest.substr(0, rest.size() - kExtension.size()));
    at = left_.erase(at);
  }
  std::ranges::sort(stems, NumberLess);
  return stems;
}

absl::StatusOr<InputFeed> SplitArrays::TakeInput(const ValueInfo& input) {
  if (!input.is_tensor) {
    return Error(ERROR_REASON_DATA_INVALID,
                 FormatString("the model's input '{}' is no tensor and cannot be fed", input.name))
        .With("input", input.name);
  }
  const std::set<std::string, std::less<>> there = left_;
  const std::optional<std::string> file = TakeArray(input.name);
  std::vector<std::string> stems = TakeFolder(input.name);
  if (file.has_value() && !stems.empty()) {
    return Error(ERROR_REASON_DATA_INVALID,
                 FormatString("input '{}' has both the array '{}' and a folder of arrays",
                              input.name, *file))
        .With("input", input.name);
  }
  if (file.has_value()) {
    MP_ASSIGN_OR_RETURN(NpyArray array, OpenArray(*files_.tree, files_.prefix + *file));
    return InputFeed::FromArray(input, std::move(array), files_.prefix + *file);
  }
  if (stems.empty()) {
    std::vector<std::string> names;
    for (const std::string& name : there) names.push_back(name.substr(0, name.find('.')));
    const std::string wanted = input.name + std::string(kExtension);
    Error error(
        ERROR_REASON_DATA_INVALID,
        FormatString("the {} has no array for the model's input '{}': expected '{}{}' ({}), "
                     "found {}",
                     files_.description, input.name, files_.prefix, wanted, DescribeValue(input),
                     List(there)));
    error.With("input", input.name).With("expected", wanted).With("found", List(there));
    if (const std::string nearest = NearestName(input.name, names); !nearest.empty()) {
      error.With("nearest", nearest).Remedy(FormatString("rename '{}'?", nearest));
    }
    return error;
  }
  if (!sample_names_.has_value()) sample_names_ = stems;
  if (*sample_names_ != stems) {
    return Error(ERROR_REASON_DATA_INVALID,
                 FormatString("the files of input '{}' have other names than those of the inputs "
                              "before it",
                              input.name))
        .With("input", input.name)
        .Remedy("give every input the same file names, one per sample");
  }
  for (std::string& stem : stems) {
    stem = files_.prefix + input.name + "/" + stem + std::string(kExtension);
  }
  return InputFeed::FromFiles(input, files_.tree, std::move(stems));
}

absl::StatusOr<std::optional<Labels>> SplitArrays::TakeLabels() {
  if (const std::optional<std::string> file = TakeArray("labels"); file.has_value()) {
    MP_ASSIGN_OR_RETURN(NpyArray array, OpenArray(*files_.tree, files_.prefix + *file));
    MP_ASSIGN_OR_RETURN(Labels labels, Labels::FromArray(std::move(array)));
    return labels;
  }
  std::vector<std::string> stems = TakeFolder("labels");
  if (stems.empty()) return std::optional<Labels>();
  if (sample_names_ != stems) {
    return Error(ERROR_REASON_DATA_INVALID,
                 "the files of the labels have other names than those of the inputs")
        .With("input", "labels");
  }
  for (std::string& stem : stems) {
    stem = files_.prefix + "labels/" + stem + std::string(kExtension);
  }
  return Labels::FromFiles(files_.tree, std::move(stems));
}

absl::Status SplitArrays::CheckNothingLeft(const std::vector<ValueInfo>& inputs) const {
  if (left_.empty()) return absl::OkStatus();
  std::vector<std::string> names;
  for (const ValueInfo& input : inputs) names.push_back(input.name);
  const std::string& extra = *left_.begin();
  Error error(ERROR_REASON_DATA_INVALID,
              FormatString("'{}{}' belongs to none of the model's inputs {}", files_.prefix, extra,
                           List(names)));
  error.With("input", extra).With("expected", List(names)).With("found", extra);
  const std::string nearest = NearestName(extra.substr(0, extra.find_last_of('.')), names);
  if (!nearest.empty()) error.With("nearest", nearest);
  return error.Remedy("remove or rename it");
}

}  // namespace modelpress
