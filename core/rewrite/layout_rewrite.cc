// Writing a graph anew: see layout_rewrite.h.
#include "core/rewrite/layout_rewrite.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/status.h"

namespace modelpress {
namespace {

using Node = LayoutGraph::Node;
using Value = LayoutGraph::Value;

class Rewriter {
 public:
  Rewriter(const LayoutGraph& layout, ConstantTurner* constants, UniqueNames* names,
           onnx::GraphProto* graph)
      : layout_(layout),
        nodes_(layout.nodes()),
        values_(layout.values()),
        constants_(*constants),
        names_(*names),
        graph_(*graph),
        stored_(values_.size()),
        original_(values_.size()) {}

  absl::Status Run() {
    for (size_t i = 0; i < values_.size(); ++i) {
      const int value = static_cast<int>(i);
      if (values_[i].producer.node >= 0 || !Changed(value)) continue;
      original_[i] = values_[i].name;
      EmitTranspose(values_[i].name, Stored(value), Order(value));
    }
    for (const Node& node : nodes_) {
      if (node.transpose.empty()) {
        MP_RETURN_IF_ERROR(RewriteNode(node));
      } else {
        RewriteTranspose(node);
      }
    }
    RenameCopies();
    Replace();
    return absl::OkStatus();
  }

 private:
  class Edit;

  Permutation Order(int value) const { return layout_.Order(value); }
  onnx::NodeProto& Emit() { return made_.emplace_back(); }

  void EmitTranspose(const std::string& from, const std::string& to, const Permutation& perm) {
    onnx::NodeProto& node = Emit();
    node.set_op_type("Transpose");
    node.set_name(names_.Make(to + "/Transpose"));
    node.add_input(from);
    node.add_output(to);
    onnx::AttributeProto* attribute = node.add_attribute();
    attribute->set_name("perm");
    attribute->set_type(onnx::AttributeProto::INTS);
    attribute->mutable_ints()->Add(perm.begin(), perm.end());
  }

  bool Changed(int value) const { return !IsIdentity(Order(value)); }

  // The name under which a value is stored in its group's order.
  const std::string& Stored(int value) {
    std::string& name = stored_[value];
    if (name.empty()) {
      const Value& found = values_[value];
      const bool taken = Changed(value) && (found.named || found.producer.node < 0);
      name = taken ? names_.Make(found.name + "/turned") : found.name;
    }
    return name;
  }

  // The name under which it is there in its original order.
  std::string Original(int value) {
    if (!Changed(value)) return Stored(value);
    std::string& name = original_[value];
    if (name.empty()) {
      const Value& found = values_[value];
      name = found.named ? found.name : names_.Make(found.name + "/original");
      EmitTranspose(Stored(value), name, Inverse(Order(value)));
    }
    return name;
  }

  void RewriteTranspose(const Node& node) {
    const int in = node.inputs[0], out = node.outputs[0];
    const Permutation rest = RestOfTranspose(node.transpose, Order(in), Order(out));
    if (!IsIdentity(rest)) {
      EmitTranspose(Stored(in), Stored(out), rest);
    } else if (!values_[out].named || Changed(out)) {
      // The name that the source gave is on the value behind the Transpose.
      if (MayRename(Stored(in)) && !renamed_.contains(Stored(in)) && IsMadeUp(in) && !IsMadeUp(out))
        renamed_[Stored(in)] = Stored(out);
      stored_[out] = Stored(in);
    } else {
      onnx::NodeProto& copy = Emit();
      copy.set_op_type("Identity");
      copy.set_name(names_.Make(values_[out].name + "/Identity"));
      copy.add_input(Stored(in));
      copy.add_output(values_[out].name);
      copies_.push_back({Stored(in), values_[out].name, MayRename(Stored(in))});
    }
    if (values_[out].named && Changed(out)) Original(out);
  }

  // Whether a value is named after the node that makes it, "<anything>/<operator>" and maybe a number: what readers of
  // other formats call values that the source has no name for.
  bool IsMadeUp(int value) const {
    const Value& found = values_[value];
    if (found.producer.node < 0) return false;
    std::string_view name = found.name;
    const size_t last = name.find_last_not_of("0123456789");
    if (last != std::string_view::npos && name[last] == '_') name = name.substr(0, last);
    const std::string& op = nodes_[found.producer.node].proto->op_type();
    return name.ends_with(op) && name.size() > op.size() &&
           name[name.size() - op.size() - 1] == '/';
  }

  // Whether nothing outside of the graph's nodes knows this name of a stored value.
  bool MayRename(const std::string& name) const {
    const std::optional<int> found = layout_.Find(name);
    if (!found.has_value()) return true;  // made here
    const Value& value = values_[*found];
    return value.producer.node >= 0 && !value.named;
  }

  absl::Status RewriteNode(const Node& node);
  void RenameCopies();
  void Replace();

  const LayoutGraph& layout_;
  const std::vector<Node>& nodes_;
  const std::vector<Value>& values_;
  ConstantTurner& constants_;
  UniqueNames& names_;
  onnx::GraphProto& graph_;
  std::vector<onnx::NodeProto> made_;
  // Names of values in their order and in the original one, "" until they are asked for.
  std::vector<std::string> stored_, original_;
  // Weights of dense layers in another order, by node.
  absl::flat_hash_map<const onnx::NodeProto*, std::string> turned_weights_;
  std::map<std::string, std::string> renamed_;
  struct Copy {
    std::string from, to;
    bool may_rename;
  };
  std::vector<Copy> copies_;
};

// Collects what a node needs around it.
class Rewriter::Edit final : public LayoutEdit {
 public:
  Edit(Rewriter* rewriter, onnx::NodeProto* node) : rewriter_(*rewriter), node_(*node) {}

  std::string Ints(const std::vector<int64_t>& values, DataType type) override {
    return rewriter_.constants_.MakeInts(values, type);
  }

  std::string Broadcast(const std::string& value, const Permutation& perm) override {
    const ValueShape& shape = *rewriter_.layout_.Shape(value);
    if (rewriter_.layout_.IsConstant(value)) {
      absl::StatusOr<std::string> turned = rewriter_.constants_.Turn(value, perm);
      if (!turned.ok()) status_ = turned.status();
      return turned.ok() ? *turned : value;
    }
    const std::optional<int> found = rewriter_.layout_.Find(value);
    const std::string original = found.has_value() ? rewriter_.Original(*found) : value;
    const bool one = shape.is_static() && shape.elements(1) == 1;
    const int64_t missing = static_cast<int64_t>(perm.size()) - shape.rank();
    if (one || missing <= 0) return original;
    std::vector<int64_t> axes(missing);
    std::iota(axes.begin(), axes.end(), 0);
    onnx::NodeProto& pad = rewriter_.Emit();
    pad.set_op_type("Unsqueeze");
    const std::string padded = rewriter_.names_.Make(value + "/Unsqueeze");
    pad.set_name(padded);
    pad.add_input(original);
    pad.add_input(Ints(axes, DataType::kInt64));
    pad.add_output(padded);
    const std::string turned = rewriter_.names_.Make(value + "/turned");
    rewriter_.EmitTranspose(padded, turned, perm);
    return turned;
  }

  void TurnRows(const onnx::NodeProto& dense, const std::vector<int64_t>& dims,
                const Permutation& perm) override {
    const auto turned = rewriter_.constants_.TurnRows(dense.input(1), dims, perm,
                                                      /*rows_last=*/WeightsAreTransposed(dense));
    if (turned.ok()) {
      rewriter_.turned_weights_[&dense] = *turned;
    } else {
      status_ = turned.status();
    }
  }

  void GatherOutput(int output, const std::vector<int64_t>& indices) override {
    gathered_ = output;
    indices_ = indices;
  }

  // Behind the node.
  void Finish() {
    if (gathered_ < 0) return;
    const std::string wanted = node_.output(gathered_);
    const std::string raw = rewriter_.names_.Make(wanted + "/turned");
    node_.set_output(gathered_, raw);
    after_.set_op_type("Gather");
    after_.set_name(rewriter_.names_.Make(wanted + "/Gather"));
    after_.add_input(raw);
    after_.add_input(Ints(indices_, DataType::kInt64));
    after_.add_output(wanted);
  }
  bool has_after() const { return gathered_ >= 0; }
  const onnx::NodeProto& after() const { return after_; }
  const absl::Status& status() const { return status_; }

 private:
  Rewriter& rewriter_;
  onnx::NodeProto& node_;
  onnx::NodeProto after_;
  int gathered_ = -1;
  std::vector<int64_t> indices_;
  absl::Status status_;
};

absl::Status Rewriter::RewriteNode(const Node& node) {
  onnx::NodeProto proto = *node.proto;
  const auto orders = [&](const std::vector<int>& numbers, const std::vector<Port>& ports,
                          bool is_input) {
    std::vector<Permutation> found(numbers.size());
    for (size_t i = 0; i < numbers.size(); ++i) {
      if (numbers[i] < 0 || ports[i] == Port::kBarrier || ports[i] == Port::kIgnored) continue;
      Permutation order = Order(numbers[i]);
      if (ports[i] == Port::kTied ||
          Accepts(*node.proto, layout_, is_input, static_cast<int>(i), order)) {
        found[i] = std::move(order);
      }
    }
    return found;
  };
  const std::vector<Permutation> inputs = orders(node.inputs, node.rule.inputs, true);
  const std::vector<Permutation> outputs = orders(node.outputs, node.rule.outputs, false);
  if (const auto turned = turned_weights_.find(node.proto); turned != turned_weights_.end()) {
    proto.set_input(1, turned->second);
  }
  Edit edit(this, &proto);
  if (!inputs.empty() && !outputs.empty())
    ApplyLayout(proto, layout_, node.rule, inputs, outputs, edit);
  MP_RETURN_IF_ERROR(edit.status());
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (node.inputs[i] < 0) continue;
    const int port = static_cast<int>(i);
    if (!inputs[i].empty()) {
      proto.set_input(port, Stored(node.inputs[i]));
    } else if (proto.input(port) == node.proto->input(port)) {  // not replaced by the edit
      proto.set_input(port, Original(node.inputs[i]));
    }
  }
  std::vector<std::pair<std::string, int>> to_turn;
  for (size_t o = 0; o < node.outputs.size(); ++o) {
    const int value = node.outputs[o];
    if (value < 0) continue;
    const int port = static_cast<int>(o);
    if (!outputs[o].empty() || !Changed(value)) {
      proto.set_output(port, Stored(value));
      continue;
    }
    original_[value] =
        values_[value].named ? values_[value].name : names_.Make(values_[value].name + "/made");
    proto.set_output(port, original_[value]);
    to_turn.push_back({original_[value], value});
  }
  edit.Finish();
  made_.push_back(std::move(proto));
  if (edit.has_after()) made_.push_back(edit.after());
  for (const auto& [name, value] : to_turn) EmitTranspose(name, Stored(value), Order(value));
  for (const int value : node.outputs) {
    if (value >= 0 && values_[value].named && Changed(value)) Original(value);
  }
  return absl::OkStatus();
}

// An output that turned out to be another value under its own name: that value takes the name.
void Rewriter::RenameCopies() {
  absl::flat_hash_set<std::string> gone;
  for (const Copy& copy : copies_) {
    if (!copy.may_rename || renamed_.contains(copy.from) || gone.contains(copy.from)) continue;
    renamed_[copy.from] = copy.to;
    gone.insert(copy.from);
    std::erase_if(made_, [&](const onnx::NodeProto& node) {
      return node.op_type() == "Identity" && node.output_size() == 1 && node.output(0) == copy.to &&
             node.input(0) == copy.from;
    });
  }
}

void Rewriter::Replace() {
  graph_.clear_node();
  for (onnx::NodeProto& node : made_) {
    const auto rename = [&](std::string* name) {
      if (const auto found = renamed_.find(*name); found != renamed_.end()) *name = found->second;
    };
    for (std::string& input : *node.mutable_input()) rename(&input);
    for (std::string& output : *node.mutable_output()) rename(&output);
    *graph_.add_node() = std::move(node);
  }
}

}  // namespace

absl::Status RewriteLayout(const LayoutGraph& layout, ConstantTurner* constants, UniqueNames* names,
                           onnx::GraphProto* graph) {
  return Rewriter(layout, constants, names, graph).Run();
}

}  // namespace modelpress
