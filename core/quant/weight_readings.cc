// Following constants through operators that only move values; see weight_readings.h.
#include "core/quant/weight_readings.h"

#include <algorithm>
#include <cstring>

#include "absl/container/flat_hash_map.h"

namespace modelpress {
namespace {

bool Among(std::string_view value, std::initializer_list<std::string_view> list) {
  return std::ranges::find(list, value) != list.end();
}

bool IsMover(const onnx::NodeProto& node) {
  return IsDefaultDomain(node.domain()) &&
         Among(node.op_type(), {"Identity", "Cast", "Transpose", "Unsqueeze", "Squeeze", "Slice",
                                "Split", "Concat", "Reshape", "Flatten", "Expand", "Tile"});
}

// Whether the input holds the values that are moved, and not how.
bool IsMovedInput(const Use& use) { return use.input == 0 || use.node->op_type() == "Concat"; }

// Counted from the front; nothing outside of [0, rank).
std::optional<size_t> Place(int64_t axis, size_t rank) {
  const auto signed_rank = static_cast<int64_t>(rank);
  if (axis < -signed_rank || axis >= signed_rank) return std::nullopt;
  return static_cast<size_t>(axis < 0 ? axis + signed_rank : axis);
}

}  // namespace

MovedConstants::MovedConstants(const Model& model, const GraphIndex& index)
    : model_(model), index_(index) {
  ForEachGraph(model.proto(), [&](const onnx::GraphProto& graph, int) {
    for (const onnx::NodeProto& node : graph.node()) {
      if (!IsMover(node)) continue;
      if (!std::ranges::all_of(node.input(), [&](const std::string& input) {
            return input.empty() || IsConstant(graph, input);
          })) {
        continue;
      }
      for (const std::string& output : node.output()) {
        if (!output.empty()) moved_.insert({&graph, output});
      }
    }
  });
}

bool MovedConstants::IsConstant(const onnx::GraphProto& graph, const std::string& name) const {
  return index_.Constant(graph, name) != nullptr ||
         moved_.contains({index_.DefiningGraph(graph, name), name});
}

bool MovedConstants::Moves(const Use& use) const {
  return IsMover(*use.node) && IsMovedInput(use) && use.node->output_size() > 0 &&
         moved_.contains({use.graph, use.node->output(0)});
}

// The `axes` of Squeeze and Unsqueeze: an attribute before opset 13, then an input.
std::optional<std::vector<int64_t>> MovedConstants::AxesOf(const Use& use) const {
  std::vector<int64_t> axes;
  if (const auto* attribute = FindAttribute(*use.node, "axes"); attribute != nullptr) {
    axes.assign(attribute->ints().begin(), attribute->ints().end());
    return axes;
  }
  if (use.node->input_size() < 2) return std::nullopt;
  const onnx::TensorProto* tensor = index_.Constant(*use.graph, use.node->input(1));
  if (tensor == nullptr || Type(*tensor) != DataType::kInt64) return std::nullopt;
  const auto bytes = model_.Bytes(*tensor);
  if (!bytes.ok()) return std::nullopt;
  axes.resize(bytes->size() / sizeof(int64_t));
  if (!axes.empty()) std::memcpy(axes.data(), bytes->data(), axes.size() * sizeof(int64_t));
  return axes;
}

MovedConstants::Axes MovedConstants::After(const Use& use, const Axes& axes) const {
  const std::string& op = use.node->op_type();
  if (!axes.has_value()) return std::nullopt;
  // Concat and Tile put other values beside these on an axis that stays the same axis.
  if (Among(op, {"Identity", "Cast", "Slice", "Split", "Concat", "Tile"})) return axes;
  std::vector<std::optional<size_t>> result;
  if (op == "Transpose") {
    const onnx::AttributeProto* perm = FindAttribute(*use.node, "perm");
    for (size_t i = 0; i < axes->size(); ++i) {
      const bool given = perm != nullptr && static_cast<int>(i) < perm->ints_size();
      const auto from = Place(
          given ? perm->ints(static_cast<int>(i)) : static_cast<int64_t>(axes->size() - 1 - i),
          axes->size());
      if (!from.has_value()) return std::nullopt;
      result.push_back((*axes)[*from]);
    }
    return result;
  }
  if (op != "Squeeze" && op != "Unsqueeze") return std::nullopt;
  const auto given = AxesOf(use);
  if (!given.has_value() || given->size() > 64) return std::nullopt;
  const size_t rank = op == "Squeeze" ? axes->size() : axes->size() + given->size();
  std::vector<bool> chosen(rank);
  for (const int64_t axis : *given) {
    const auto place = Place(axis, rank);
    if (!place.has_value() || chosen[*place]) return std::nullopt;
    chosen[*place] = true;
  }
  size_t from = 0;
  for (size_t i = 0; i < rank; ++i) {
    if (op == "Squeeze") {
      if (!chosen[i]) result.push_back((*axes)[i]);
    } else {
      result.push_back(chosen[i] ? std::nullopt : (*axes)[from++]);
    }
  }
  return result;
}

Readings MovedConstants::Find(const onnx::GraphProto& graph, const std::string& name,
                              size_t rank) const {
  Readings result;
  std::vector<std::optional<size_t>> identity(rank);
  for (size_t i = 0; i < rank; ++i) identity[i] = i;
  struct Moved {
    Value value;
    Axes axes;
  };
  std::vector<Moved> reached = {{{&graph, name}, identity}};
  absl::flat_hash_map<Value, size_t> places = {{reached[0].value, 0}};
  std::vector<size_t> pending = {0};
  while (!pending.empty()) {
    const Moved from = reached[pending.back()];
    pending.pop_back();
    for (const Use& use : index_.Uses(*from.value.first, from.value.second)) {
      if (!Moves(use)) continue;
      const Axes axes = After(use, from.axes);
      for (const std::string& output : use.node->output()) {
        if (output.empty()) continue;
        const auto [place, is_new] = places.emplace(Value{use.graph, output}, reached.size());
        if (is_new) {
          reached.push_back({place->first, axes});
        } else {
          // Two ways with different axes: unknown, also behind it. A value comes here once at most.
          Axes& known = reached[place->second].axes;
          if (!known.has_value() || known == axes) continue;
          known.reset();
        }
        pending.push_back(place->second);
      }
    }
  }
  result.is_moved = reached.size() > 1;
  for (const Moved& moved : reached) {
    const auto& [scope, value] = moved.value;
    result.is_output = result.is_output || index_.IsGraphOutput(*scope, value);
    for (const Use& use : index_.Uses(*scope, value)) {
      if (!Moves(use)) result.readings.push_back({use, moved.axes});
    }
  }
  return result;
}

}  // namespace modelpress
