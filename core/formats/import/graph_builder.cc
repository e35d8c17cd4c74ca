// Building an ONNX model: see graph_builder.h.
#include "core/formats/import/graph_builder.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"
#include "core/model/graph.h"

namespace modelpress::import {
namespace {

template <typename T>
std::span<const std::byte> BytesOf(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

void SetValue(const Attribute& source, onnx::AttributeProto* attribute) {
  using onnx::AttributeProto;
  attribute->set_name(std::string(source.name));
  std::visit(
      [&](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, int64_t>) {
          attribute->set_type(AttributeProto::INT);
          attribute->set_i(value);
        } else if constexpr (std::is_same_v<T, float>) {
          attribute->set_type(AttributeProto::FLOAT);
          attribute->set_f(value);
        } else if constexpr (std::is_same_v<T, std::string>) {
          attribute->set_type(AttributeProto::STRING);
          attribute->set_s(value);
        } else if constexpr (std::is_same_v<T, std::vector<int64_t>>) {
          attribute->set_type(AttributeProto::INTS);
          attribute->mutable_ints()->Add(value.begin(), value.end());
        } else if constexpr (std::is_same_v<T, std::vector<float>>) {
          attribute->set_type(AttributeProto::FLOATS);
          attribute->mutable_floats()->Add(value.begin(), value.end());
        } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
          attribute->set_type(AttributeProto::STRINGS);
          for (const std::string& text : value) attribute->add_strings(text);
        } else {
          attribute->set_type(AttributeProto::GRAPH);
          *attribute->mutable_g() = value;
        }
      },
      source.value);
}

}  // namespace

std::string ModelBuilder::Unique(std::string_view base,
                                 absl::flat_hash_map<std::string, int>* used) {
  std::string name(base.empty() ? "value" : base);
  auto [place, is_new] = used->try_emplace(name, 0);
  if (is_new) return name;
  for (int number = place->second + 1;; ++number) {
    std::string candidate = absl::StrCat(name, "_", number);
    if (used->contains(candidate)) continue;
    (*used)[name] = number;
    used->emplace(candidate, 0);
    return candidate;
  }
}

std::string ModelBuilder::Constant(DataType type, std::span<const int64_t> dims,
                                   std::span<const std::byte> bytes) {
  std::string key = absl::StrCat(static_cast<int>(type), ":");
  for (const int64_t dim : dims) absl::StrAppend(&key, dim, ",");
  key.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const auto found = shared_.find(key);
  if (found != shared_.end()) return found->second;
  std::string base = "const";
  if (bytes.size() == 8 && type == DataType::kInt64) {
    int64_t value = 0;
    std::memcpy(&value, bytes.data(), sizeof(value));
    const auto bits = static_cast<uint64_t>(value);
    base = absl::StrCat("const_", value < 0 ? "minus_" : "", value < 0 ? 0 - bits : bits);
  }
  // Sizes were derived from the values above, so this cannot fail.
  absl::StatusOr<std::string> name = Weight(base, type, dims, bytes);
  std::string result = name.ok() ? *std::move(name) : std::string();
  shared_.emplace(std::move(key), result);
  return result;
}

std::string ModelBuilder::Int64s(std::span<const int64_t> values) {
  const int64_t count = static_cast<int64_t>(values.size());
  return Constant(DataType::kInt64, std::span(&count, 1), std::as_bytes(values));
}
std::string ModelBuilder::Int64(int64_t value) {
  return Constant(DataType::kInt64, {}, BytesOf(value));
}
std::string ModelBuilder::Int32(int32_t value) {
  return Constant(DataType::kInt32, {}, BytesOf(value));
}
std::string ModelBuilder::Float(float value) {
  return Constant(DataType::kFloat, {}, BytesOf(value));
}
std::string ModelBuilder::Floats(std::span<const float> values, std::span<const int64_t> dims) {
  return Constant(DataType::kFloat, dims, std::as_bytes(values));
}
std::string ModelBuilder::Bool(bool value) { return Constant(DataType::kBool, {}, BytesOf(value)); }

std::string ModelBuilder::ScalarOf(DataType type, double value) {
  const auto as = [&](auto zero) {
    return Constant(type, {}, BytesOf(static_cast<decltype(zero)>(value)));
  };
  switch (type) {
    case DataType::kInt64:
      return as(int64_t{});
    case DataType::kInt32:
      return as(int32_t{});
    case DataType::kInt16:
      return as(int16_t{});
    case DataType::kInt8:
      return as(int8_t{});
    case DataType::kUint8:
      return as(uint8_t{});
    case DataType::kUint16:
      return as(uint16_t{});
    case DataType::kUint32:
      return as(uint32_t{});
    case DataType::kUint64:
      return as(uint64_t{});
    case DataType::kBool:
      return Bool(value != 0);
    case DataType::kDouble:
      return as(double{});
    default:
      return as(float{});
  }
}

absl::StatusOr<std::string> ModelBuilder::Weight(std::string_view name, DataType type,
                                                 std::span<const int64_t> dims,
                                                 const WeightRef& bytes) {
  onnx::TensorProto tensor;
  tensor.set_name(UniqueValue(name));
  MP_RETURN_IF_ERROR(model_.SetBytes(&tensor, type, dims, bytes));
  auto* list = model_.mutable_proto().mutable_graph()->mutable_initializer();
  initializers_[tensor.name()] = list->size();
  std::string result = tensor.name();
  *list->Add() = std::move(tensor);
  return result;
}

absl::StatusOr<std::string> ModelBuilder::Weight(std::string_view name, DataType type,
                                                 std::span<const int64_t> dims,
                                                 std::span<const std::byte> bytes) {
  onnx::TensorProto tensor;
  tensor.set_name(UniqueValue(name));
  MP_RETURN_IF_ERROR(model_.SetBytes(&tensor, type, dims, bytes, arena_));
  auto* list = model_.mutable_proto().mutable_graph()->mutable_initializer();
  initializers_[tensor.name()] = list->size();
  std::string result = tensor.name();
  *list->Add() = std::move(tensor);
  return result;
}

const std::string& ModelBuilder::Current(const std::string& value) const {
  const std::string* name = &value;
  for (auto found = renamed_.find(*name); found != renamed_.end(); found = renamed_.find(*name))
    name = &found->second;
  return *name;
}

const onnx::TensorProto* ModelBuilder::FindConstant(const std::string& name) const {
  const auto found = initializers_.find(name);
  return found == initializers_.end() ? nullptr
                                      : &model_.proto().graph().initializer(found->second);
}

bool ModelBuilder::ConstantInts(const std::string& name, std::vector<int64_t>* values) const {
  const onnx::TensorProto* tensor = FindConstant(name);
  if (tensor == nullptr) return false;
  const auto bytes = model_.Bytes(*tensor);
  if (!bytes.ok()) return false;
  const auto read = [&](auto zero) {
    values->clear();
    for (size_t at = 0; at + sizeof(zero) <= bytes->size(); at += sizeof(zero)) {
      std::memcpy(&zero, bytes->data() + at, sizeof(zero));
      values->push_back(static_cast<int64_t>(zero));
    }
    return true;
  };
  switch (Type(*tensor)) {
    case DataType::kInt64:
      return read(int64_t{});
    case DataType::kInt32:
      return read(int32_t{});
    default:
      return false;
  }
}

std::string GraphBuilder::Add(std::string_view op, Names inputs, Attributes attributes) {
  return AddMany(op, std::move(inputs), std::move(attributes), 1)[0];
}

Names GraphBuilder::AddMany(std::string_view op, Names inputs, Attributes attributes, int outputs) {
  while (!inputs.empty() && inputs.back().empty()) inputs.pop_back();
  const std::string base = absl::StrCat(scope_, "/", std::string(op));
  const int number = graph_.node_size();
  onnx::NodeProto& node = *graph_.add_node();
  node.set_op_type(std::string(op));
  node.set_name(model_.UniqueNode(base));
  for (const std::string& input : inputs) {
    const std::string& name = model_.Current(input);
    model_.read_.insert(name);
    node.add_input(name);
  }
  for (const Attribute& attribute : attributes) SetValue(attribute, node.add_attribute());
  Names result;
  for (int i = 0; i < outputs; ++i) {
    result.push_back(model_.UniqueValue(outputs == 1 ? base : absl::StrCat(base, ".", i)));
    producer_[result.back()] = number;
    node.add_output(result.back());
  }
  return result;
}

void GraphBuilder::Renamed(const std::string& value, const std::string& name) {
  const auto found = producer_.find(value);
  const int number = found->second;
  for (std::string& output : *graph_.mutable_node(number)->mutable_output()) {
    if (output == value) output = name;
  }
  producer_.erase(found);
  producer_[name] = number;
  model_.renamed_[value] = name;
}

std::string GraphBuilder::Rename(const std::string& value, std::string_view wanted, bool must) {
  const std::string old = model_.Current(value);
  if (!producer_.contains(old) || model_.read_.contains(old)) {
    if (!must) return old;
    const std::string copy = Add("Identity", {old});
    return Rename(copy, wanted, false);
  }
  std::string name = model_.UniqueValue(wanted);
  Renamed(old, name);
  return name;
}

bool GraphBuilder::AddToGemm(const std::string& value, const std::string& added) {
  const auto found = producer_.find(model_.Current(value));
  if (found == producer_.end()) return false;
  onnx::NodeProto& node = *graph_.mutable_node(found->second);
  const std::string& name = model_.Current(added);
  const auto other = producer_.find(name);
  const bool late = other != producer_.end() && other->second >= found->second;
  if (node.op_type() != "Gemm" || node.input_size() != 2 || late) return false;
  model_.read_.insert(name);
  node.add_input(name);
  return true;
}

bool GraphBuilder::KeepGatheredAxis(const std::string& value) {
  const std::string& name = model_.Current(value);
  const auto found = producer_.find(name);
  if (found == producer_.end() || model_.read_.contains(name)) return false;
  onnx::NodeProto& node = *graph_.mutable_node(found->second);
  if (node.op_type() != "Gather") return false;
  const onnx::TensorProto* index = model_.FindConstant(node.input(1));
  std::vector<int64_t> values;
  if (index == nullptr || index->dims_size() != 0 || !model_.ConstantInts(node.input(1), &values) ||
      values.size() != 1)
    return false;
  node.set_input(1, model_.Int64s(values));
  return true;
}

std::string GraphBuilder::AsOutput(const std::string& value, std::string_view wanted, bool again) {
  const std::string old = model_.Current(value);
  if (again || !producer_.contains(old)) return Rename(Add("Identity", {old}), wanted, false);
  if (old == wanted) return old;
  const std::string name = model_.UniqueValue(wanted);
  Renamed(old, name);
  if (model_.read_.contains(old)) ReplaceAllUses(graph_, old, name);
  return name;
}

std::string GraphBuilder::Transpose(const std::string& value, std::vector<int64_t> perm) {
  bool identity = true;
  for (size_t i = 0; i < perm.size(); ++i) identity &= perm[i] == static_cast<int64_t>(i);
  if (identity) return value;
  return Add("Transpose", {value}, {{"perm", std::move(perm)}});
}

std::string GraphBuilder::Reshape(const std::string& value, std::vector<int64_t> dims,
                                  bool copy_zeros) {
  bool has_zero = false;
  for (const int64_t dim : dims) has_zero |= dim == 0 && !copy_zeros;
  Attributes attributes;
  if (has_zero) attributes.push_back({"allowzero", int64_t{1}});
  return Add("Reshape", {value, model_.Int64s(dims)}, std::move(attributes));
}

std::string GraphBuilder::Cast(const std::string& value, DataType type) {
  std::vector<int64_t> ints;
  const onnx::TensorProto* constant = model_.FindConstant(value);
  if (constant != nullptr && Type(*constant) == type) return value;
  if (constant != nullptr && type == DataType::kInt64 && model_.ConstantInts(value, &ints)) {
    const std::vector<int64_t> dims(Dims(*constant).begin(), Dims(*constant).end());
    return model_.Constant(DataType::kInt64, dims, std::as_bytes(std::span(ints)));
  }
  return Add("Cast", {value}, {{"to", static_cast<int64_t>(type)}});
}

std::string GraphBuilder::Slice(const std::string& value, std::vector<int64_t> starts,
                                std::vector<int64_t> ends, std::vector<int64_t> axes,
                                std::vector<int64_t> steps) {
  Names inputs = {value, model_.Int64s(starts), model_.Int64s(ends), model_.Int64s(axes)};
  bool plain = true;
  for (const int64_t step : steps) plain &= step == 1;
  if (!plain) inputs.push_back(model_.Int64s(steps));
  return Add("Slice", std::move(inputs));
}

}  // namespace modelpress::import
