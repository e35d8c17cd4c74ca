// Constants in another shape or type: see fold_views.h.
#include "core/rewrite/fold_views.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/model/graph.h"
#include "core/model/integers.h"
#include "core/model/tensor.h"
#include "core/rewrite/turn_constant.h"

namespace modelpress {
namespace {

constexpr uint64_t kSmall = 1 << 16;
constexpr size_t kMostAxes = 64;

using Dims64 = std::vector<int64_t>;

// The shape that Reshape gives; nothing where it is not valid or elements would be lost.
std::optional<Dims64> Reshaped(const Dims64& from, const Dims64& target, bool allow_zero) {
  Dims64 dims = target;
  int free = -1;
  int64_t known = 1, count = 1;
  if (std::ranges::contains(from, 0)) return std::nullopt;
  for (const int64_t dim : from) count *= dim;  // of a tensor that is there: no overflow
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == 0 && !allow_zero) {
      if (i >= from.size()) return std::nullopt;
      dims[i] = from[i];
    }
    if (dims[i] == -1 && free < 0) {
      free = static_cast<int>(i);
    } else if (dims[i] < 1 || __builtin_mul_overflow(known, dims[i], &known)) {
      return std::nullopt;
    }
  }
  if (free >= 0) {
    if (count % known != 0) return std::nullopt;
    dims[free] = count / known;
    known *= dims[free];
  }
  return known == count && count > 0 ? std::optional(dims) : std::nullopt;
}

std::optional<Dims64> Unsqueezed(const Dims64& from, const Dims64& axes) {
  const int64_t rank = static_cast<int64_t>(from.size() + axes.size());
  std::vector<bool> is_new(static_cast<size_t>(rank), false);
  for (int64_t axis : axes) {
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank || is_new[axis]) return std::nullopt;
    is_new[axis] = true;
  }
  Dims64 dims;
  size_t next = 0;
  for (const bool added : is_new) dims.push_back(added ? 1 : from[next++]);
  return dims;
}

std::optional<Dims64> Squeezed(const Dims64& from, const Dims64& axes) {
  const int64_t rank = static_cast<int64_t>(from.size());
  std::vector<bool> gone(from.size(), false);
  for (int64_t axis : axes) {
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank || from[axis] != 1) return std::nullopt;
    gone[axis] = true;
  }
  Dims64 dims;
  for (size_t i = 0; i < from.size(); ++i) {
    if (!gone[i]) dims.push_back(from[i]);
  }
  return dims;
}

class Folder {
 public:
  Folder(Model* model, WeightArena* arena) : model_(*model), arena_(*arena) {}

  absl::Status Run() {
    onnx::GraphProto& main = *model_.mutable_proto().mutable_graph();
    absl::flat_hash_set<std::string> fixed;
    for (const auto& input : main.input()) fixed.insert(input.name());
    for (int i = 0; i < main.initializer_size(); ++i) {
      if (!fixed.contains(main.initializer(i).name())) places_[main.initializer(i).name()] = i;
    }
    ForEachGraph(model_.mutable_proto(), [&](onnx::GraphProto& graph, int) {
      for (const onnx::NodeProto& node : graph.node()) {
        for (const std::string& input : node.input()) ++reads_[input];
      }
      for (const auto& output : graph.output()) {
        ++reads_[output.name()];
        outputs_.insert(output.name());
      }
    });
    for (onnx::NodeProto& node : *main.mutable_node()) {
      for (std::string& input : *node.mutable_input()) Redirect(&input);
      if (node.output_size() != 1 || !IsDefaultDomain(node.domain()) ||
          outputs_.contains(node.output(0)))
        continue;
      MP_RETURN_IF_ERROR(Fold(node));
    }
    // Subgraphs read what the main graph made.
    ForEachGraph(model_.mutable_proto(), [&](onnx::GraphProto& graph, int) {
      for (onnx::NodeProto& node : *graph.mutable_node()) {
        for (std::string& input : *node.mutable_input()) Redirect(&input);
      }
      if (&graph == &main) return;
      for (auto& output : *graph.mutable_output()) {
        std::string name = output.name();
        Redirect(&name);
        output.set_name(name);
      }
    });
    return absl::OkStatus();
  }

 private:
  void Redirect(std::string* name) const {
    if (const auto found = renamed_.find(*name); found != renamed_.end()) *name = found->second;
  }

  onnx::TensorProto* Constant(const std::string& name) {
    const auto found = places_.find(name);
    if (found == places_.end()) return nullptr;
    return model_.mutable_proto().mutable_graph()->mutable_initializer(found->second);
  }

  std::optional<Dims64> Ints(const onnx::NodeProto& node, int input) {
    if (input >= node.input_size()) return std::nullopt;
    const onnx::TensorProto* tensor = Constant(node.input(input));
    return tensor == nullptr ? std::nullopt : ReadIntegers(model_, *tensor, kMostAxes);
  }

  absl::Status Fold(const onnx::NodeProto& node) {
    const std::string& op = node.op_type();
    if (node.input_size() == 0) return absl::OkStatus();
    onnx::TensorProto* tensor = Constant(node.input(0));
    if (tensor == nullptr) return absl::OkStatus();
    if (op == "Cast") return Cast(node, *tensor);
    if (op == "Transpose") return Transpose(node, tensor);
    const Dims64 from(tensor->dims().begin(), tensor->dims().end());
    std::optional<Dims64> to;
    if (op == "Reshape" || op == "Unsqueeze" || op == "Squeeze") {
      const std::optional<Dims64> argument = Ints(node, 1);
      if (!argument.has_value()) return absl::OkStatus();
      to = op == "Reshape"     ? Reshaped(from, *argument, IntAttribute(node, "allowzero", 0) != 0)
           : op == "Unsqueeze" ? Unsqueezed(from, *argument)
                               : Squeezed(from, *argument);
    }
    if (!to.has_value() || to->size() > kMostAxes) return absl::OkStatus();
    if (reads_[tensor->name()] == 1) {
      tensor->mutable_dims()->Assign(to->begin(), to->end());
      renamed_[node.output(0)] = tensor->name();
      reads_[tensor->name()] = reads_[node.output(0)];
      return absl::OkStatus();
    }
    const WeightRef* weight = model_.Weight(*tensor);
    MP_ASSIGN_OR_RETURN(const auto bytes, model_.Bytes(*tensor));
    if (bytes.size() > kSmall) return absl::OkStatus();
    onnx::TensorProto made;
    made.set_name(node.output(0));
    if (weight != nullptr) {
      const WeightRef same = *weight;
      MP_RETURN_IF_ERROR(model_.SetBytes(&made, Type(*tensor), *to, same));
    } else {
      MP_RETURN_IF_ERROR(model_.SetInline(&made, Type(*tensor), *to, bytes));
    }
    return Add(std::move(made));
  }

  absl::Status Transpose(const onnx::NodeProto& node, onnx::TensorProto* tensor) {
    const onnx::AttributeProto* attribute = FindAttribute(node, "perm");
    const Dims64 from(tensor->dims().begin(), tensor->dims().end());
    const DataType type = Type(*tensor);
    if (attribute == nullptr || attribute->ints_size() != tensor->dims_size() ||
        type == DataType::kString || BitsPerElement(type) < 8 || BitsPerElement(type) % 8 != 0)
      return absl::OkStatus();
    const Dims64 perm(attribute->ints().begin(), attribute->ints().end());
    Dims64 sorted = perm, to;
    std::ranges::sort(sorted);
    for (size_t i = 0; i < sorted.size(); ++i) {
      if (sorted[i] != static_cast<int64_t>(i)) return absl::OkStatus();
      to.push_back(from[static_cast<size_t>(perm[i])]);
    }
    MP_ASSIGN_OR_RETURN(const auto bytes, model_.Bytes(*tensor));
    const bool only_reader = reads_[tensor->name()] == 1;
    if (!only_reader && bytes.size() > kSmall) return absl::OkStatus();
    onnx::TensorProto made;
    made.set_name(only_reader ? tensor->name() : node.output(0));
    if (bytes.size() <= kInlineBytes) {
      std::vector<std::byte> copy(bytes.size());
      TransposeBytes(bytes, from, perm, BitsPerElement(type) / 8, copy);
      MP_RETURN_IF_ERROR(model_.SetInline(&made, type, to, copy));
    } else {
      MP_ASSIGN_OR_RETURN(WeightArena::Room room, arena_.Allocate(bytes.size()));
      TransposeBytes(bytes, from, perm, BitsPerElement(type) / 8, room.bytes);
      MP_RETURN_IF_ERROR(model_.SetWeight(&made, type, to, std::move(room.weight)));
    }
    if (!only_reader) return Add(std::move(made));
    *tensor = std::move(made);
    renamed_[node.output(0)] = tensor->name();
    reads_[tensor->name()] = reads_[node.output(0)];
    return absl::OkStatus();
  }

  absl::Status Cast(const onnx::NodeProto& node, const onnx::TensorProto& tensor) {
    const DataType to = static_cast<DataType>(IntAttribute(node, "to", 0)), from = Type(tensor);
    const auto readable = [](DataType type) {
      return type == DataType::kFloat || type == DataType::kFloat16 ||
             type == DataType::kBfloat16 || type == DataType::kDouble || type == DataType::kBool ||
             type == DataType::kInt8 || type == DataType::kUint8 || type == DataType::kInt16 ||
             type == DataType::kInt32;
    };
    // Integers of 64 bits only where they are small enough to be exact.
    const bool wide = from == DataType::kInt64;
    if (!readable(from) && !wide) return absl::OkStatus();
    MP_ASSIGN_OR_RETURN(const auto bytes, model_.Bytes(tensor));
    if (bytes.size() > kSmall) return absl::OkStatus();
    Tensor source{.type = from, .dims = {tensor.dims().begin(), tensor.dims().end()}};
    source.bytes = bytes;
    std::vector<double> values(source.element_count());
    for (uint64_t i = 0; i < values.size(); ++i) {
      values[i] = ElementAsDouble(source, i);
      if (wide && !(std::abs(values[i]) < 0x1p52)) return absl::OkStatus();
    }
    const auto write = [&](auto zero) {
      std::vector<std::byte> raw(values.size() * sizeof(zero));
      for (size_t i = 0; i < values.size(); ++i) {
        zero = static_cast<decltype(zero)>(values[i]);
        std::memcpy(raw.data() + i * sizeof(zero), &zero, sizeof(zero));
      }
      return raw;
    };
    const auto within = [&](double low, double high) {
      return !IsFloatingPoint(from) && std::ranges::all_of(values, [&](double value) {
        return value >= low && value <= high;
      });
    };
    std::vector<std::byte> raw;
    if (to == DataType::kFloat) {
      raw = write(float{});
    } else if (to == DataType::kDouble) {
      raw = write(double{});
    } else if (to == DataType::kInt64 && !IsFloatingPoint(from)) {
      raw = write(int64_t{});
    } else if (to == DataType::kInt32 && within(-0x1p31, 0x1p31 - 1)) {
      raw = write(int32_t{});
    } else if (to == DataType::kInt8 && within(-128, 127)) {
      raw = write(int8_t{});
    } else if (to == DataType::kUint8 && within(0, 255)) {
      raw = write(uint8_t{});
    } else {
      return absl::OkStatus();
    }
    onnx::TensorProto made;
    made.set_name(node.output(0));
    MP_RETURN_IF_ERROR(model_.SetBytes(&made, to, source.dims, raw, arena_));
    return Add(std::move(made));
  }

  // The node's output is an initializer from now on; the node is taken out of the way.
  absl::Status Add(onnx::TensorProto made) {
    onnx::GraphProto& main = *model_.mutable_proto().mutable_graph();
    const std::string old = made.name();
    made.set_name(old + "_folded");
    while (places_.contains(made.name()) || reads_.contains(made.name()))
      made.set_name(made.name() + "_");
    renamed_[old] = made.name();
    reads_[made.name()] = reads_[old];
    places_[made.name()] = main.initializer_size();
    *main.add_initializer() = std::move(made);
    return absl::OkStatus();
  }

  Model& model_;
  WeightArena& arena_;
  absl::flat_hash_map<std::string, int> places_;  // of initializers that nobody can override
  absl::flat_hash_map<std::string, int> reads_;   // by nodes and outputs of every graph
  absl::flat_hash_set<std::string> outputs_;
  absl::flat_hash_map<std::string, std::string> renamed_;
};

}  // namespace

absl::Status FoldViews(Model& model, WeightArena& arena) { return Folder(&model, &arena).Run(); }

}  // namespace modelpress
