// Arithmetic on small integer constants: see fold_integers.h.
#include "core/rewrite/fold_integers.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/model/graph.h"
#include "core/model/integers.h"

namespace modelpress {
namespace {

constexpr size_t kMostElements = 64;

struct Integers {
  DataType type = DataType::kInt64;
  std::vector<int64_t> dims;
  std::vector<int64_t> values;

  bool is_scalar() const { return dims.empty(); }
};

std::optional<Integers> Read(const Model& model, const onnx::TensorProto& tensor) {
  auto values = ReadIntegers(model, tensor, kMostElements);
  if (!values.has_value()) return std::nullopt;
  return Integers{Type(tensor), {tensor.dims().begin(), tensor.dims().end()}, *std::move(values)};
}

bool InRange(DataType type, int64_t value) {
  return type != DataType::kInt32 || (value >= std::numeric_limits<int32_t>::min() &&
                                      value <= std::numeric_limits<int32_t>::max());
}

// Two operands of one shape, or one of them a single element.
template <typename Compute>
std::optional<Integers> Elementwise(const Integers& a, const Integers& b, DataType type,
                                    const Compute& compute) {
  if (a.type != b.type) return std::nullopt;
  const bool a_one = a.values.size() == 1 && a.dims.size() <= b.dims.size();
  const bool b_one = b.values.size() == 1 && b.dims.size() <= a.dims.size();
  if (a.dims != b.dims && !a_one && !b_one) return std::nullopt;
  Integers result{type, b_one ? a.dims : b.dims, {}};
  const size_t count = b_one ? a.values.size() : b.values.size();
  for (size_t i = 0; i < count; ++i) {
    const std::optional<int64_t> value =
        compute(a.values[a.values.size() == 1 ? 0 : i], b.values[b.values.size() == 1 ? 0 : i]);
    if (!value.has_value() || !InRange(type, *value)) return std::nullopt;
    result.values.push_back(*value);
  }
  return result;
}

std::optional<Integers> Arithmetic(const std::string& op, const Integers& a, const Integers& b) {
  using Value = std::optional<int64_t>;
  // Small numbers only: nothing overflows.
  const auto small = [](const Integers& x) {
    return std::ranges::all_of(
        x.values, [](int64_t value) { return value > -(1LL << 31) && value < (1LL << 31); });
  };
  if (op == "And" || op == "Or") {
    const bool both = op == "And";
    return Elementwise(a, b, DataType::kBool, [both](int64_t x, int64_t y) -> Value {
      return (both ? (x != 0 && y != 0) : (x != 0 || y != 0)) ? 1 : 0;
    });
  }
  if (op == "Less")
    return Elementwise(a, b, DataType::kBool, [](int64_t x, int64_t y) -> Value { return x < y; });
  if (op == "LessOrEqual")
    return Elementwise(a, b, DataType::kBool, [](int64_t x, int64_t y) -> Value { return x <= y; });
  if (op == "Greater")
    return Elementwise(a, b, DataType::kBool, [](int64_t x, int64_t y) -> Value { return x > y; });
  if (op == "GreaterOrEqual") {
    return Elementwise(a, b, DataType::kBool, [](int64_t x, int64_t y) -> Value { return x >= y; });
  }
  if (op == "Equal")
    return Elementwise(a, b, DataType::kBool, [](int64_t x, int64_t y) -> Value { return x == y; });
  if (!small(a) || !small(b) || a.type == DataType::kBool) return std::nullopt;
  if (op == "Add")
    return Elementwise(a, b, a.type, [](int64_t x, int64_t y) -> Value { return x + y; });
  if (op == "Sub")
    return Elementwise(a, b, a.type, [](int64_t x, int64_t y) -> Value { return x - y; });
  if (op == "Mul")
    return Elementwise(a, b, a.type, [](int64_t x, int64_t y) -> Value { return x * y; });
  if (op == "Max")
    return Elementwise(a, b, a.type, [](int64_t x, int64_t y) -> Value { return std::max(x, y); });
  if (op == "Min")
    return Elementwise(a, b, a.type, [](int64_t x, int64_t y) -> Value { return std::min(x, y); });
  return std::nullopt;
}

std::optional<Integers> Reshaped(const Integers& x, std::vector<int64_t> dims) {
  int64_t known = 1;
  int64_t free = -1;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == -1 && free < 0) {
      free = static_cast<int64_t>(i);
    } else if (dims[i] < 1 || dims[i] > static_cast<int64_t>(kMostElements)) {
      return std::nullopt;
    } else {
      known *= dims[i];
      if (known > static_cast<int64_t>(kMostElements)) return std::nullopt;
    }
  }
  const int64_t count = static_cast<int64_t>(x.values.size());
  if (free >= 0) {
    if (count % known != 0) return std::nullopt;
    dims[free] = count / known;
  } else if (known != count) {
    return std::nullopt;
  }
  return Integers{x.type, std::move(dims), x.values};
}

std::optional<Integers> Concatenated(const onnx::NodeProto& node,
                                     const std::vector<Integers>& parts) {
  Integers result{parts[0].type, {0}, {}};
  const int64_t axis = IntAttribute(node, "axis", 0);
  for (const Integers& part : parts) {
    if (part.dims.size() != 1 || part.type != result.type || (axis != 0 && axis != -1))
      return std::nullopt;
    result.values.insert(result.values.end(), part.values.begin(), part.values.end());
  }
  if (result.values.size() > kMostElements) return std::nullopt;
  result.dims[0] = static_cast<int64_t>(result.values.size());
  return result;
}

std::optional<Integers> Gathered(const onnx::NodeProto& node, const Integers& x,
                                 const Integers& indices) {
  if (x.dims.size() != 1 || indices.type == DataType::kBool || IntAttribute(node, "axis", 0) != 0)
    return std::nullopt;
  Integers result{x.type, indices.dims, {}};
  const int64_t count = static_cast<int64_t>(x.values.size());
  for (int64_t index : indices.values) {
    if (index < 0) index += count;
    if (index < 0 || index >= count) return std::nullopt;
    result.values.push_back(x.values[index]);
  }
  return result;
}

std::optional<Integers> Sliced(const std::vector<Integers>& in) {
  if (in.size() < 3 || in[0].dims.size() != 1 || in[1].values.size() != 1 ||
      in[2].values.size() != 1)
    return std::nullopt;
  if (in.size() > 3 && in[3].values != std::vector<int64_t>{0}) return std::nullopt;
  if (in.size() > 4 && in[4].values != std::vector<int64_t>{1}) return std::nullopt;
  const int64_t count = static_cast<int64_t>(in[0].values.size());
  const auto place = [count](int64_t at) {
    return std::clamp<int64_t>(at < 0 ? at + count : at, 0, count);
  };
  const int64_t start = place(in[1].values[0]), end = std::max(start, place(in[2].values[0]));
  return Integers{
      in[0].type, {end - start}, {in[0].values.begin() + start, in[0].values.begin() + end}};
}

std::optional<Integers> Evaluate(const onnx::NodeProto& node, const std::vector<Integers>& in) {
  const std::string& op = node.op_type();
  if (op == "Cast") {
    const DataType type = static_cast<DataType>(IntAttribute(node, "to", 0));
    if (type != DataType::kInt64 && type != DataType::kInt32) return std::nullopt;
    if (!std::ranges::all_of(in[0].values, [type](int64_t value) { return InRange(type, value); }))
      return std::nullopt;
    return Integers{type, in[0].dims, in[0].values};
  }
  if (op == "Not") {
    Integers result = in[0];
    for (int64_t& value : result.values) value = value == 0 ? 1 : 0;
    return result.type == DataType::kBool ? std::optional(result) : std::nullopt;
  }
  if (op == "Reshape" && in.size() == 2) return Reshaped(in[0], in[1].values);
  if (op == "Unsqueeze" && in.size() == 2 && in[0].is_scalar() && in[1].values.size() == 1)
    return Reshaped(in[0], {1});
  if (op == "Squeeze" && in[0].values.size() == 1) return Reshaped(in[0], {});
  if (op == "Concat") return Concatenated(node, in);
  if (op == "Gather" && in.size() == 2) return Gathered(node, in[0], in[1]);
  if (op == "Slice") return Sliced(in);
  if (in.size() == 2) return Arithmetic(op, in[0], in[1]);
  return std::nullopt;
}

onnx::TensorProto Tensor(const std::string& name, const Integers& integers) {
  onnx::TensorProto tensor;
  tensor.set_name(name);
  tensor.set_data_type(static_cast<int32_t>(integers.type));
  tensor.mutable_dims()->Add(integers.dims.begin(), integers.dims.end());
  std::string& raw = *tensor.mutable_raw_data();
  const auto write = [&](auto sample) {
    for (const int64_t wide : integers.values) {
      sample = static_cast<decltype(sample)>(wide);
      raw.append(reinterpret_cast<const char*>(&sample), sizeof(sample));
    }
  };
  if (integers.type == DataType::kInt64) write(int64_t{});
  if (integers.type == DataType::kInt32) write(int32_t{});
  if (integers.type == DataType::kBool) write(uint8_t{});
  return tensor;
}

}  // namespace

int FoldIntegers(Model& model) {
  onnx::GraphProto& main = *model.mutable_proto().mutable_graph();
  absl::flat_hash_map<std::string, Integers> known;
  absl::flat_hash_set<std::string> fixed;
  for (const auto& input : main.input()) fixed.insert(input.name());
  for (const onnx::TensorProto& tensor : main.initializer()) {
    if (fixed.contains(tensor.name())) continue;
    if (auto integers = Read(model, tensor); integers.has_value())
      known.emplace(tensor.name(), *std::move(integers));
  }
  std::vector<onnx::TensorProto> made;
  int folded = 0;
  ForEachGraph(model.mutable_proto(), [&](onnx::GraphProto& graph, int) {
    absl::flat_hash_set<std::string> outputs;
    for (const auto& output : graph.output()) outputs.insert(output.name());
    google::protobuf::RepeatedPtrField<onnx::NodeProto> kept;
    for (onnx::NodeProto& node : *graph.mutable_node()) {
      std::vector<Integers> inputs;
      bool all = node.input_size() > 0 && node.output_size() == 1 &&
                 IsDefaultDomain(node.domain()) && !outputs.contains(node.output(0));
      for (const std::string& input : node.input()) {
        const auto found = known.find(input);
        all &= found != known.end();
        if (!all) break;
        inputs.push_back(found->second);
      }
      std::optional<Integers> result = all ? Evaluate(node, inputs) : std::nullopt;
      if (!result.has_value()) {
        *kept.Add() = std::move(node);
        continue;
      }
      made.push_back(Tensor(node.output(0), *result));
      known.emplace(node.output(0), *std::move(result));
      ++folded;
    }
    graph.mutable_node()->Swap(&kept);
  });
  // Names are unique over all graphs of what readers make, and inner graphs see those of the main one.
  for (onnx::TensorProto& tensor : made) *main.add_initializer() = std::move(tensor);
  return folded;
}

}  // namespace modelpress
