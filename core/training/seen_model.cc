// Tapping values: see seen_model.h.
#include "core/training/seen_model.h"

#include <algorithm>

#include "core/base/format_string.h"
#include "core/base/nearest_name.h"
#include "core/model/graph.h"

namespace modelpress {

absl::Status SeenModel::Load(const std::vector<std::string>& values, const JobContext& context) {
  for (size_t i = 0; i < values.size(); ++i) MP_RETURN_IF_ERROR(CheckName(values[i], i));
  SessionOptions options{.threads = static_cast<int>(context.pool->threads())};
  for (const std::string& value : values) options.taps.push_back({"", value});
  seen_.resize(values.size());
  options.observer = [this](size_t tap, const Tensor& value) {
    // The value does not outlive the call.
    std::span<std::byte> bytes;
    auto copy = Tensor::Make(value.type, value.dims, &bytes);
    if (!copy.ok()) return;
    std::ranges::copy(value.bytes, bytes.begin());
    seen_[tap] = *std::move(copy);
  };
  MP_ASSIGN_OR_RETURN(session_, Session::Create(model_, options));
  return absl::OkStatus();
}

absl::Status SeenModel::Run(const TensorMap& feed) {
  for (auto& value : seen_) value.reset();
  return session_->Run(feed).status();
}

Error SeenModel::Refuse(size_t i, std::string_view what) const {
  const std::string path = FormatString("training.hints[{}].{}", i, field_);
  return Error(ERROR_REASON_RECIPE_INVALID, FormatString("{} {}", path, what)).With("field", path);
}

absl::Status SeenModel::CheckName(const std::string& name, size_t i) const {
  std::vector<std::string> names;
  for (const onnx::NodeProto& node : model_.proto().graph().node()) {
    if (IsConstantNode(node)) continue;
    for (const std::string& output : node.output()) {
      if (!output.empty()) names.push_back(output);
    }
  }
  if (std::ranges::contains(names, name)) return absl::OkStatus();
  Error error = Refuse(i, FormatString("names '{}', which no operator makes", name));
  if (const std::string nearest = NearestName(name, names); !nearest.empty()) {
    error.With("nearest", nearest).Remedy(FormatString("did you mean '{}'?", nearest));
  }
  return error;
}

}  // namespace modelpress
