// What translations give, and shapes: see operator.h.
#include <map>
#include <string>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {

const TensorMeta& OperatorContext::Target(int o) const {
  return scope_.Meta(o < output_count() ? std::string_view(outputs_[o]) : std::string_view());
}

void OperatorContext::Bind(int o, const std::string& value) {
  if (!status_.ok() || o >= output_count() || outputs_[o].empty()) return;
  results_.emplace_back(o, value);
}

void OperatorContext::Finish() {
  if (!status_.ok()) return;
  // Values that were there before have other names already, under which others know them.
  std::map<std::string, std::string> renamed;
  for (const auto& [o, value] : results_) {
    auto place = renamed.find(value);
    if (place == renamed.end()) {
      const std::string name = builder().Makes(value, first_node_)
                                   ? builder().Rename(value, outputs_[o], /*must=*/false)
                                   : value;
      place = renamed.emplace(value, name).first;
    }
    scope_.Bind(outputs_[o], place->second);
    if (zeros_ && o == 0) conversion().zeros.insert(place->second);
    if (const std::string number = FillOf(value); !number.empty())
      conversion().fills[place->second] = number;
  }
}

void OperatorContext::Out(const std::string& value, DataType type, int o) {
  if (!status_.ok() || o >= output_count() || outputs_[o].empty()) return;
  const DataType wanted = OutType(o);
  if (wanted == DataType::kUndefined)
    return Refuse("its result is of a type that ONNX does not have");
  Bind(o, Cast(value, type, wanted));
}

std::string OperatorContext::ShapeOf(const TensorMeta& meta, const std::string& value) {
  if (meta.is_static()) return Ints64(meta.dims());
  return Add("Shape", {value});
}

std::string OperatorContext::ShapeOf(std::string_view name) {
  return ShapeOf(Meta(name), In(name));
}

namespace {

// As the value is kept: complex numbers have an axis of their parts behind the others.
TensorMeta Kept(TensorMeta meta) {
  if (IsComplex(meta.type)) meta.sizes.push_back({.value = 2});
  return meta;
}

}  // namespace

std::string OperatorContext::Reshape(const std::string& value, const TensorMeta& source,
                                     const TensorMeta& target) {
  if (!status_.ok() || source.sizes == target.sizes) return value;
  const TensorMeta from = Kept(source), to = Kept(target);
  if (to.is_static()) return builder().Reshape(value, to.dims());
  Ints dims;
  int open = 0;
  bool has_zero = false;
  for (size_t i = 0; i < to.sizes.size(); ++i) {
    if (to.sizes[i].value.has_value()) {
      dims.push_back(*to.sizes[i].value);
      has_zero |= dims.back() == 0;
    } else if (i < from.sizes.size() && from.sizes[i] == to.sizes[i]) {
      dims.push_back(0);
    } else {
      dims.push_back(-1);
      ++open;
    }
  }
  if (open <= 1 && !has_zero) return builder().Reshape(value, dims, /*copy_zeros=*/true);
  absl::StatusOr<std::string> shape = scope_.ShapeValue(to.sizes);
  if (!shape.ok()) {
    Fail(shape.status());
    return "";
  }
  return Add("Reshape", {value, *shape}, {{"allowzero", int64_t{1}}});
}

std::string OperatorContext::FillOf(const std::string& value) const {
  const auto found = scope_.conversion().fills.find(value);
  return found == scope_.conversion().fills.end() ? "" : found->second;
}

const onnx::TensorProto* OperatorContext::NumberConstant(const std::string& value) {
  if (conversion().variables.contains(value)) return nullptr;
  const onnx::TensorProto* constant = model().FindConstant(value);
  return constant != nullptr && constant->dims_size() == 0 ? constant : nullptr;
}

std::string OperatorContext::Repeated(const std::string& value, const Ints& dims) {
  constexpr uint64_t kMostConstant = 1024;
  const onnx::TensorProto* number = NumberConstant(value);
  const absl::StatusOr<uint64_t> count = ElementCount(dims);
  if (number == nullptr || !count.ok() || *count > kMostConstant) return "";
  const absl::StatusOr<std::span<const std::byte>> one = model().model().Bytes(*number);
  if (!one.ok()) return "";
  std::vector<std::byte> all;
  for (uint64_t i = 0; i < *count; ++i) all.insert(all.end(), one->begin(), one->end());
  return model().Constant(modelpress::Type(*number), dims, all);
}

std::string OperatorContext::Expand(const std::string& value, const TensorMeta& to) {
  if (!status_.ok()) return "";
  if (to.is_static()) {
    if (std::string all = Repeated(value, Kept(to).dims()); !all.empty()) {
      conversion().fills[all] = value;
      return all;
    }
  }
  absl::StatusOr<std::string> shape = scope_.ShapeValue(Kept(to).sizes);
  if (!shape.ok()) {
    Fail(shape.status());
    return "";
  }
  std::string all = Add("Expand", {value, *shape});
  if (NumberConstant(value) != nullptr) conversion().fills[all] = value;
  return all;
}

}  // namespace modelpress::pt2
