// New weights for a graph: see put_weights.h.
#include "core/formats/weights/put_weights.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/format_string.h"
#include "core/base/nearest_name.h"
#include "core/model/graph.h"

namespace modelpress {
namespace {

constexpr size_t kMaxLines = 200;

std::string ShapeText(std::span<const int64_t> dims) {
  return absl::StrCat("[", absl::StrJoin(dims, ", "), "]");
}

// Readers of other formats put factors into the shape that they are multiplied in, [C] into [C, 1, 1].
std::vector<int64_t> WithoutOnes(std::span<const int64_t> dims) {
  std::vector<int64_t> result;
  std::ranges::copy_if(dims, std::back_inserter(result), [](int64_t dim) { return dim != 1; });
  return result;
}

// How many batches a BatchNorm of PyTorch has seen: training's business, which no graph has.
bool IsBatchCounter(const NamedTensor& weight) {
  return weight.name.ends_with("num_batches_tracked") && weight.dims.empty() &&
         weight.type == DataType::kInt64;
}

// What does not fit, as lines of one message.
class Mismatches {
 public:
  void Add(std::string_view tensor, const std::string& line) {
    if (lines_.empty()) first_ = tensor;
    lines_.push_back(line);
  }
  bool empty() const { return lines_.empty(); }
  absl::Status ToStatus() const {
    std::string message = FormatString("{} tensor{} cannot be put into the model:", lines_.size(),
                                       lines_.size() == 1 ? "" : "s");
    for (size_t i = 0; i < std::min(lines_.size(), kMaxLines); ++i)
      absl::StrAppend(&message, "\n  ", lines_[i]);
    if (lines_.size() > kMaxLines)
      absl::StrAppend(&message, "\n  and ", lines_.size() - kMaxLines, " more");
    return Error(ERROR_REASON_RECIPE_INVALID, message)
        .With("field", "import.renamed_weights")
        .Tensor(first_)
        .Remedy("give a table of renames, in which an empty name leaves a tensor out");
  }

 private:
  std::string first_;
  std::vector<std::string> lines_;
};

}  // namespace

absl::Status PutWeights(const std::vector<NamedTensor>& weights,
                        const std::map<std::string, std::string>& renames, Model* model,
                        std::vector<std::string>* notes) {
  std::map<std::string, onnx::TensorProto*> places;
  ForEachTensor(model->mutable_proto(), [&](const TensorSite& site) {
    if (!site.value_name.empty()) places.try_emplace(site.value_name, site.tensor);
  });
  std::vector<std::string> known;
  for (const auto& [name, tensor] : places) known.push_back(name);
  Mismatches mismatches;
  std::vector<std::pair<const NamedTensor*, onnx::TensorProto*>> fitting;
  std::set<std::string> replaced;
  int counters = 0;
  std::set<std::string> unused_renames;
  for (const auto& [from, to] : renames) unused_renames.insert(from);
  for (const NamedTensor& weight : weights) {
    const auto rename = renames.find(weight.name);
    unused_renames.erase(weight.name);
    const std::string& name = rename == renames.end() ? weight.name : rename->second;
    if (name.empty()) continue;
    const auto place = places.find(name);
    if (place == places.end() && rename == renames.end() && IsBatchCounter(weight)) {
      ++counters;
      continue;
    }
    if (place == places.end()) {
      const std::string near = NearestName(name, known);
      mismatches.Add(weight.name,
                     FormatString("'{}': the model has no weight '{}'{}", weight.name, name,
                                  near.empty() ? "" : FormatString("; the nearest is '{}'", near)));
      continue;
    }
    const onnx::TensorProto& tensor = *place->second;
    if (!replaced.insert(name).second) {
      mismatches.Add(weight.name,
                     FormatString("'{}': another tensor goes to '{}' already", weight.name, name));
    } else if (WithoutOnes(Dims(tensor)) != WithoutOnes(weight.dims)) {
      std::vector<int64_t> turned(weight.dims.rbegin(), weight.dims.rend());
      const bool transposed = turned.size() == 2 && std::ranges::equal(Dims(tensor), turned);
      mismatches.Add(
          weight.name,
          FormatString("'{}': its shape is {}, that of the model's '{}' is {}{}", weight.name,
                       ShapeText(weight.dims), name, ShapeText(Dims(tensor)),
                       transposed ? " (the exporter transposed it)" : ""));
    } else if (Type(tensor) != weight.type) {
      mismatches.Add(
          weight.name,
          FormatString("'{}': its type is {}, that of the model's '{}' is {}", weight.name,
                       DataTypeName(weight.type), name, DataTypeName(Type(tensor))));
    } else {
      fitting.emplace_back(&weight, place->second);
    }
  }
  for (const std::string& from : unused_renames) {
    mismatches.Add(
        from,
        FormatString("'{}': the table renames it, but there is no tensor of that name", from));
  }
  if (!mismatches.empty()) return mismatches.ToStatus();
  for (const auto& [weight, tensor] : fitting) {
    const std::vector<int64_t> dims(tensor->dims().begin(), tensor->dims().end());
    MP_RETURN_IF_ERROR(model->SetBytes(tensor, weight->type, dims, weight->data));
  }
  if (notes == nullptr) return absl::OkStatus();
  notes->push_back(FormatString("{} weights of the model were replaced", fitting.size()));
  if (counters > 0) {
    notes->push_back(
        FormatString("{} counters of batches (num_batches_tracked) were left out", counters));
  }
  std::vector<std::string> kept;
  for (const auto& [name, tensor] : places) {
    const absl::StatusOr<uint64_t> count = ElementCount(Dims(*tensor));
    const bool weighs = IsFloatingPoint(Type(*tensor)) && count.ok() && *count > 1;
    if (weighs && !replaced.contains(name)) kept.push_back(FormatString("'{}'", name));
  }
  if (!kept.empty()) {
    const size_t count = kept.size();
    if (count > kMaxLines) kept.resize(kMaxLines);
    notes->push_back(FormatString("{} weights of the model have no counterpart and stay: {}", count,
                                  absl::StrJoin(kept, ", ")));
  }
  return absl::OkStatus();
}

}  // namespace modelpress
