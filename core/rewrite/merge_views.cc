// Views next to each other: see merge_views.h.
#include "core/rewrite/merge_views.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/model/graph.h"
#include "core/rewrite/turn_constant.h"
#include "core/rewrite/value_shapes.h"
#include "core/rewrite/view_axes.h"

namespace modelpress {
namespace {

bool IsView(std::string_view op) { return op == "Reshape" || op == "Squeeze" || op == "Unsqueeze"; }

bool Broadcasts(std::string_view op) {
  constexpr std::string_view kOps[] = {"Add", "Sub",        "Mul",     "Div",  "Pow",
                                       "Min", "Max",        "Where",   "And",  "Or",
                                       "Xor", "Equal",      "Greater", "Less", "GreaterOrEqual",
                                       "Mod", "LessOrEqual"};
  return std::ranges::contains(kOps, op);
}

Axes PermutationOf(const onnx::NodeProto& node) {
  const onnx::AttributeProto* perm = FindAttribute(node, "perm");
  if (perm == nullptr) return {};
  Axes axes(perm->ints().begin(), perm->ints().end());
  return IsPermutation(axes) ? axes : Axes();
}

void SetInt(onnx::NodeProto* node, const char* name, int64_t value) {
  for (onnx::AttributeProto& attribute : *node->mutable_attribute()) {
    if (attribute.name() == name) return attribute.set_i(value);
  }
  onnx::AttributeProto& attribute = *node->add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx::AttributeProto::INT);
  attribute.set_i(value);
}

void MakeTranspose(onnx::NodeProto* node, const std::string& input, const Axes& perm) {
  node->set_op_type("Transpose");
  node->clear_input();
  node->add_input(input);
  node->clear_attribute();
  onnx::AttributeProto& attribute = *node->add_attribute();
  attribute.set_name("perm");
  attribute.set_type(onnx::AttributeProto::INTS);
  attribute.mutable_ints()->Add(perm.begin(), perm.end());
}

class Merger {
 public:
  Merger(onnx::GraphProto* graph, ConstantTurner* turner, GraphShapes* shapes)
      : graph_(*graph), turner_(*turner), shapes_(*shapes) {
    for (const auto& output : graph_.output()) outputs_.insert(output.name());
    for (onnx::NodeProto& node : *graph_.mutable_node()) {
      for (const std::string& input : node.input()) ++reads_[input];
      for (const onnx::AttributeProto& attribute : node.attribute()) {
        if (!attribute.has_g()) continue;
        has_inner_ = true;
        CountInner(attribute.g());
      }
      for (const std::string& output : node.output()) makers_[output] = &node;
    }
  }

  int Run() {
    for (onnx::NodeProto& node : *graph_.mutable_node()) {
      for (std::string& input : *node.mutable_input()) {
        if (const auto found = renamed_.find(input); found != renamed_.end()) input = found->second;
      }
      if (!IsDefaultDomain(node.domain()) || node.output_size() != 1 || node.input_size() == 0)
        continue;
      const std::string& op = node.op_type();
      changed_ += (IsView(op) && View(&node)) || (op == "Squeeze" && Unwrap(&node)) ||
                  (op == "Reshape" && SplitFirst(&node)) || (op == "Gather" && Pick(&node)) ||
                  (op == "Gemm" && TurnGemm(&node)) || (Broadcasts(op) && Shrink(&node)) ||
                  (op == "Expand" && Unchanged(&node, node.input(0)));
    }
    if (has_inner_) {  // they read what has another name now
      for (const auto& [from, to] : renamed_) ReplaceAllUses(graph_, from, to);
    }
    return changed_;
  }

 private:
  void CountInner(const onnx::GraphProto& graph) {
    for (const auto& output : graph.output()) reads_[output.name()] += 2;
    for (const onnx::NodeProto& node : graph.node()) {
      for (const std::string& input : node.input()) reads_[input] += 2;
      for (const onnx::AttributeProto& attribute : node.attribute()) {
        if (attribute.has_g()) CountInner(attribute.g());
      }
    }
  }

  onnx::NodeProto* Maker(const std::string& value, std::string_view op) const {
    const auto found = makers_.find(value);
    if (found == makers_.end() || !IsDefaultDomain(found->second->domain()) ||
        found->second->input_size() == 0 || (!op.empty() && found->second->op_type() != op))
      return nullptr;
    return found->second;
  }
  const ValueShape* Static(const std::string& value) const {
    const auto found = shapes_.find(value);
    return found == shapes_.end() || !found->second.is_static() ? nullptr : &found->second;
  }
  std::optional<Axes> Ints(const onnx::NodeProto& node, int input) const {
    return input < node.input_size() ? turner_.Ints(node.input(input)) : std::nullopt;
  }
  bool ReadOnce(const std::string& value) const {
    const auto found = reads_.find(value);
    return found != reads_.end() && found->second == 1 && !outputs_.contains(value);
  }
  void SetInput(onnx::NodeProto* node, int input, const std::string& value) {
    --reads_[node->input(input)];
    ++reads_[value];
    node->set_input(input, value);
  }

  // The node's readers read `value` instead, which is the same.
  bool Redirect(const onnx::NodeProto& node, const std::string& value) {
    if (outputs_.contains(node.output(0))) return false;
    renamed_[node.output(0)] = value;
    reads_[value] += reads_[node.output(0)];
    return true;
  }
  bool Unchanged(onnx::NodeProto* node, const std::string& value) {
    const ValueShape *from = Static(value), *to = Static(node->output(0));
    return from != nullptr && to != nullptr && from->dims == to->dims && Redirect(*node, value);
  }

  bool View(onnx::NodeProto* node) {
    std::string source = node->input(0);
    for (const onnx::NodeProto* before = Maker(source, ""); before != nullptr;
         before = Maker(source, "")) {
      if (!IsView(before->op_type())) break;
      source = before->input(0);
      if (Unchanged(node, source)) return true;
    }
    if (Unchanged(node, node->input(0))) return true;
    const std::optional<Axes> target = Ints(*node, 1);
    if (node->op_type() != "Reshape" || source == node->input(0) || !target.has_value() ||
        std::ranges::contains(*target, 0))
      return false;
    SetInput(node, 0, source);
    return true;
  }

  // Unsqueeze - Transpose - Squeeze
  bool Unwrap(onnx::NodeProto* node) {
    const onnx::NodeProto* transpose = Maker(node->input(0), "Transpose");
    if (transpose == nullptr) return false;
    const onnx::NodeProto* unsqueeze = Maker(transpose->input(0), "Unsqueeze");
    if (unsqueeze == nullptr) return false;
    const Axes perm = PermutationOf(*transpose);
    const std::optional<Axes> added = Ints(*unsqueeze, 1), taken = Ints(*node, 1);
    if (perm.empty() || !added.has_value() || !taken.has_value()) return false;
    const std::optional<Axes> left = PermutationWithout(perm, *added, *taken);
    if (!left.has_value()) return false;
    const std::string source = unsqueeze->input(0);
    if (std::ranges::is_sorted(*left)) return Redirect(*node, source);
    ++reads_[source];
    --reads_[node->input(0)];
    MakeTranspose(node, source, *left);
    return true;
  }

  // Reshape - Transpose - Reshape, of which the last one only splits axes: the first one splits them.
  bool SplitFirst(onnx::NodeProto* node) {
    const std::string middle = node->input(0);
    const onnx::NodeProto* transpose = Maker(middle, "Transpose");
    if (transpose == nullptr || !ReadOnce(middle) || !ReadOnce(transpose->input(0))) return false;
    onnx::NodeProto* first = Maker(transpose->input(0), "Reshape");
    const Axes perm = PermutationOf(*transpose);
    if (first == nullptr || perm.empty()) return false;
    const std::optional<Axes> before = Ints(*first, 1), after = Ints(*node, 1);
    if (!before.has_value() || !after.has_value()) return false;
    const std::optional<SplitView> view = SplitBeforeTranspose(*before, perm, *after);
    if (!view.has_value()) return false;
    SetInput(first, 1, turner_.MakeInts(view->dims, DataType::kInt64));
    const std::string split = first->output(0);
    shapes_.erase(split);
    if (!std::ranges::contains(view->dims, -1)) {
      ValueShape shape;
      if (const auto known = shapes_.find(node->output(0)); known != shapes_.end())
        shape.type = known->second.type;
      shape.dims = view->dims;
      shapes_[split] = std::move(shape);
    }
    MakeTranspose(node, split, view->perm);
    reads_[middle] = 0;
    return true;
  }

  bool Pick(onnx::NodeProto* node) {
    const onnx::NodeProto* transpose = Maker(node->input(0), "Transpose");
    if (transpose == nullptr || node->input_size() != 2) return false;
    const auto index = shapes_.find(node->input(1));
    Axes perm = PermutationOf(*transpose);
    int64_t axis = IntAttribute(*node, "axis", 0);
    if (axis < 0) axis += static_cast<int64_t>(perm.size());
    if (index == shapes_.end() || index->second.rank() != 0 || axis < 0 ||
        axis >= static_cast<int64_t>(perm.size()))
      return false;
    const int64_t from = perm[static_cast<size_t>(axis)];
    perm.erase(perm.begin() + axis);
    if (!std::ranges::is_sorted(perm)) return false;
    SetInput(node, 0, transpose->input(0));
    SetInt(node, "axis", from);
    return true;
  }

  bool TurnGemm(onnx::NodeProto* node) {
    const onnx::NodeProto* transpose =
        node->input_size() > 1 ? Maker(node->input(1), "Transpose") : nullptr;
    if (transpose == nullptr || PermutationOf(*transpose) != Axes{1, 0}) return false;
    SetInput(node, 1, transpose->input(0));
    SetInt(node, "transB", 1 - IntAttribute(*node, "transB", 0));
    return true;
  }

  // Inputs that are Expanded, although another input has those extents anyway.
  bool Shrink(onnx::NodeProto* node) {
    bool any = false;
    for (int i = 0; i < node->input_size(); ++i) {
      const onnx::NodeProto* expand = Maker(node->input(i), "Expand");
      if (expand == nullptr) continue;
      const ValueShape *small = Static(expand->input(0)), *large = Static(node->input(i));
      if (small == nullptr || large == nullptr || small->rank() > large->rank()) continue;
      bool needless = false, rank_stays = small->rank() == large->rank();
      for (int64_t axis = 1; axis <= large->rank(); ++axis) {
        const int64_t wanted = large->dims[static_cast<size_t>(large->rank() - axis)];
        needless = axis <= small->rank() &&
                   small->dims[static_cast<size_t>(small->rank() - axis)] == wanted;
        needless |= wanted == 1;
        for (int k = 0; k < node->input_size() && !needless; ++k) {
          const ValueShape* other = k == i ? nullptr : Static(node->input(k));
          needless = other != nullptr && axis <= other->rank() &&
                     other->dims[static_cast<size_t>(other->rank() - axis)] == wanted;
        }
        if (!needless) break;
      }
      for (int k = 0; k < node->input_size() && !rank_stays; ++k) {
        const ValueShape* other = k == i ? nullptr : Static(node->input(k));
        rank_stays = other != nullptr && other->rank() >= large->rank();
      }
      if ((!needless && large->rank() > 0) || !rank_stays) continue;
      SetInput(node, i, expand->input(0));
      any = true;
    }
    return any;
  }

  onnx::GraphProto& graph_;
  ConstantTurner& turner_;
  GraphShapes& shapes_;
  absl::flat_hash_map<std::string, onnx::NodeProto*> makers_;
  absl::flat_hash_map<std::string, int> reads_;
  absl::flat_hash_set<std::string> outputs_;
  absl::flat_hash_map<std::string, std::string> renamed_;
  bool has_inner_ = false;
  int changed_ = 0;
};

}  // namespace

absl::StatusOr<int> MergeViews(Model& model, WeightArena& arena) {
  onnx::ModelProto& proto = model.mutable_proto();
  // Shape inference is what costs: not for one view alone.
  int views = 0;
  ForEachGraph(std::as_const(proto), [&](const onnx::GraphProto& graph, int) {
    for (const onnx::NodeProto& node : graph.node()) {
      const std::string& op = node.op_type();
      views += op == "Expand" || op == "Transpose" ? 2 : IsView(op) ? 1 : 0;
    }
  });
  if (views < 2) {
    ForEachGraph(proto, [](onnx::GraphProto& graph, int) { graph.clear_value_info(); });
    return 0;
  }
  auto shapes = InferValueShapes(proto);
  UniqueNames names(proto);
  ConstantTurner turner(&model, &arena, &names);
  int changed = 0;
  ForEachGraph(proto, [&](onnx::GraphProto& graph, int) {
    graph.clear_value_info();
    if (const auto found = shapes.find(&graph); found != shapes.end())
      changed += Merger(&graph, &turner, &found->second).Run();
  });
  MP_RETURN_IF_ERROR(turner.Finish());
  RemoveDead(proto);
  return changed;
}

}  // namespace modelpress
