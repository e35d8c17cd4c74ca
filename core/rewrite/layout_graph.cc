// Groups of values and the order of each: see layout_graph.h.
#include "core/rewrite/layout_graph.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <utility>

namespace modelpress {
namespace {

// Extent that stands for one that is not known when bytes are counted.
constexpr double kUnknownExtent = 16;
// One Transpose, whatever it moves.
constexpr double kNodeCost = 1;
constexpr int kSweeps = 8;
constexpr size_t kMaxCandidates = 6;
constexpr double kImpossible = std::numeric_limits<double>::infinity();

bool IsPermutation(const Permutation& perm, int64_t rank) {
  Permutation sorted = perm;
  std::ranges::sort(sorted);
  return static_cast<int64_t>(perm.size()) == rank && rank > 0 && IsIdentity(sorted);
}

bool Fits(const LayoutGraph::Value& value, const Permutation& order) {
  if (order.empty() || order.size() == value.shape->dims.size()) return true;
  return IsChannelsFirst(order) && value.shape->rank() >= 3;
}

double Moving(const LayoutGraph::Value& value) { return value.bytes + kNodeCost; }

}  // namespace

LayoutGraph::LayoutGraph(const onnx::GraphProto& graph, const ConstantTurner& constants,
                         std::vector<const GraphShapes*> shapes)
    : constants_(constants), shapes_(std::move(shapes)) {
  Collect(graph);
  Group();
}

std::optional<int> LayoutGraph::Find(const std::string& name) const {
  const auto found = numbers_.find(name);
  return found == numbers_.end() ? std::nullopt : std::optional(found->second);
}

const ValueShape* LayoutGraph::Shape(const std::string& value) const {
  for (const GraphShapes* shapes : shapes_) {
    if (const auto found = shapes->find(value); found != shapes->end()) return &found->second;
  }
  return nullptr;
}

std::vector<const onnx::NodeProto*> LayoutGraph::DenseReaders(const std::string& value) const {
  const auto found = readers_.find(value);
  if (found == readers_.end()) return {};
  for (const onnx::NodeProto* reader : found->second) {
    const bool dense = reader != nullptr && IsDefaultDomain(reader->domain()) &&
                       reader->input_size() >= 2 && reader->input(0) == value &&
                       IsConstant(reader->input(1)) && Shape(reader->input(1))->rank() == 2 &&
                       BitsPerElement(Shape(reader->input(1))->type) >= 8 &&
                       (reader->op_type() == "MatMul" ||
                        (reader->op_type() == "Gemm" && IntAttribute(*reader, "transA", 0) == 0));
    if (!dense) return {};
  }
  return found->second;
}

int LayoutGraph::ValueNumber(const std::string& name) {
  if (name.empty() || IsConstant(name)) return -1;
  const ValueShape* shape = Shape(name);
  if (shape == nullptr) return -1;
  const auto [place, is_new] = numbers_.try_emplace(name, static_cast<int>(values_.size()));
  if (is_new) {
    Value& value = values_.emplace_back();
    value.name = name;
    value.shape = shape;
    value.bytes = shape->elements(kUnknownExtent) * std::max(BitsPerElement(shape->type), 8) / 8;
  }
  return place->second;
}

void LayoutGraph::Collect(const onnx::GraphProto& graph) {
  for (const onnx::NodeProto& proto : graph.node()) {
    for (const std::string& input : proto.input()) readers_[input].push_back(&proto);
    for (const onnx::AttributeProto& attribute : proto.attribute()) {
      if (attribute.has_g()) MarkCaptured(attribute.g());
    }
  }
  for (const auto& output : graph.output()) readers_[output.name()].push_back(nullptr);
  for (const onnx::NodeProto& proto : graph.node()) {
    const int number = static_cast<int>(nodes_.size());
    Node& node = nodes_.emplace_back();
    node.proto = &proto;
    node.rule = RuleOf(proto, *this);
    for (int i = 0; i < proto.input_size(); ++i) {
      node.inputs.push_back(ValueNumber(proto.input(i)));
      if (node.inputs.back() >= 0) values_[node.inputs.back()].uses.push_back({number, i});
    }
    for (int o = 0; o < proto.output_size(); ++o) {
      node.outputs.push_back(ValueNumber(proto.output(o)));
      if (node.outputs.back() >= 0) values_[node.outputs.back()].producer = {number, o};
    }
    if (proto.op_type() == "Transpose" && IsDefaultDomain(proto.domain()) && !node.inputs.empty() &&
        !node.outputs.empty() && node.inputs[0] >= 0 && node.outputs[0] >= 0) {
      if (const onnx::AttributeProto* perm = FindAttribute(proto, "perm"); perm != nullptr) {
        node.transpose.assign(perm->ints().begin(), perm->ints().end());
        if (!IsPermutation(node.transpose, values_[node.inputs[0]].shape->rank()))
          node.transpose.clear();
      }
    }
    for (const onnx::AttributeProto& attribute : proto.attribute()) {
      if (attribute.has_g()) MarkCaptured(attribute.g());
    }
  }
  for (const auto& output : graph.output()) MarkNamed(output.name());
}

void LayoutGraph::MarkNamed(const std::string& name) {
  readers_[name].push_back(nullptr);
  const auto found = numbers_.find(name);
  if (found != numbers_.end()) values_[found->second].named = true;
}

// Names that a subgraph reads; those it defines itself may be among them, which costs nothing.
void LayoutGraph::MarkCaptured(const onnx::GraphProto& graph) {
  for (const onnx::NodeProto& node : graph.node()) {
    for (const std::string& input : node.input()) MarkNamed(input);
    for (const onnx::AttributeProto& attribute : node.attribute()) {
      if (attribute.has_g()) MarkCaptured(attribute.g());
    }
  }
  for (const auto& output : graph.output()) MarkNamed(output.name());
}

int LayoutGraph::Root(int value) {
  while (parents_[value] != value) value = parents_[value] = parents_[parents_[value]];
  return value;
}

void LayoutGraph::Group() {
  parents_.resize(values_.size());
  std::iota(parents_.begin(), parents_.end(), 0);
  for (const Node& node : nodes_) {
    int first = -1;
    const auto tie = [&](const std::vector<int>& values, const std::vector<Port>& ports) {
      for (size_t i = 0; i < values.size(); ++i) {
        if (values[i] < 0 || ports[i] != Port::kTied) continue;
        if (first < 0) {
          first = values[i];
        } else {
          parents_[Root(values[i])] = Root(first);
        }
      }
    };
    tie(node.inputs, node.rule.inputs);
    tie(node.outputs, node.rule.outputs);
  }
  std::map<int, int> groups;
  for (size_t i = 0; i < values_.size(); ++i) {
    const auto [place, is_new] =
        groups.try_emplace(Root(static_cast<int>(i)), static_cast<int>(members_.size()));
    if (is_new) members_.emplace_back();
    values_[i].group = place->second;
    members_[place->second].push_back(static_cast<int>(i));
  }
  orders_.resize(members_.size());
}

Permutation LayoutGraph::Order(const Value& value, const Permutation& order) const {
  if (order.empty() || order.size() == value.shape->dims.size()) {
    if (!order.empty()) return order;
    Permutation identity(value.shape->dims.size());
    std::iota(identity.begin(), identity.end(), 0);
    return identity;
  }
  return ChannelsFirst(value.shape->rank());
}

Permutation RestOfTranspose(const Permutation& perm, const Permutation& in,
                            const Permutation& out) {
  const Permutation place = Inverse(in);
  Permutation rest(perm.size());
  for (size_t i = 0; i < perm.size(); ++i) rest[i] = place[perm[out[i]]];
  return rest;
}

// What it costs to keep the members of `group` in `order`.
double LayoutGraph::Cost(int group, const Permutation& order) const {
  double cost = 0;
  for (const int number : members_[group]) {
    const Value& value = values_[number];
    if (!Fits(value, order)) return kImpossible;
    const Permutation own = Order(value, order);
    const bool changed = !IsIdentity(own);
    bool original = value.named;
    for (const PortUse& use : value.uses) {
      const Node& node = nodes_[use.node];
      if (!node.transpose.empty()) {
        const Value& out = values_[node.outputs[0]];
        const Permutation other = out.group == group ? Order(out, order) : Order(node.outputs[0]);
        if (!IsIdentity(RestOfTranspose(node.transpose, own, other))) cost += Moving(value);
        continue;
      }
      const Port port = node.rule.inputs[use.port];
      if (!changed) continue;
      if (port == Port::kTied && !Accepts(*node.proto, *this, true, use.port, own))
        return kImpossible;
      if (port == Port::kTied && node.rule.channels_first_only && !IsChannelsFirst(own))
        return kImpossible;
      original |= port == Port::kBarrier || port == Port::kIgnored ||
                  (port == Port::kFree && !Accepts(*node.proto, *this, true, use.port, own));
    }
    if (value.producer.node < 0) {
      if (changed) cost += Moving(value);
      continue;  // the original is there
    }
    const Node& node = nodes_[value.producer.node];
    if (!node.transpose.empty()) {
      const Value& in = values_[node.inputs[0]];
      // Within one group it was counted at its input.
      if (in.group != group &&
          !IsIdentity(RestOfTranspose(node.transpose, Order(node.inputs[0]), own)))
        cost += Moving(value);
    } else if (changed) {
      const Port port = node.rule.outputs[value.producer.port];
      if (port == Port::kTied && !Accepts(*node.proto, *this, false, value.producer.port, own))
        return kImpossible;
      const bool made_original =
          port == Port::kBarrier ||
          (port == Port::kFree && !Accepts(*node.proto, *this, false, value.producer.port, own));
      if (made_original) {
        cost += Moving(value);
        continue;
      }
    }
    if (changed && original) cost += Moving(value);
  }
  return cost;
}

// Orders in which a Transpose beside the group vanishes.
std::vector<Permutation> LayoutGraph::Candidates(int group) const {
  std::vector<Permutation> candidates = {{}};
  const auto add = [&](Permutation order) {
    if (IsIdentity(order)) order.clear();
    if (candidates.size() < kMaxCandidates && !std::ranges::contains(candidates, order))
      candidates.push_back(std::move(order));
  };
  for (const int number : members_[group]) {
    const Value& value = values_[number];
    for (const PortUse& use : value.uses) {
      const Node& node = nodes_[use.node];
      if (node.transpose.empty()) continue;
      const Permutation out = Order(node.outputs[0]);
      Permutation order(out.size());
      for (size_t i = 0; i < out.size(); ++i) order[i] = node.transpose[out[i]];
      add(std::move(order));
    }
    if (value.producer.node < 0) continue;
    const Node& node = nodes_[value.producer.node];
    if (node.transpose.empty()) continue;
    const Permutation in = Order(node.inputs[0]), place = Inverse(node.transpose);
    Permutation order(in.size());
    for (size_t i = 0; i < in.size(); ++i) order[i] = place[in[i]];
    add(std::move(order));
  }
  return candidates;
}

void LayoutGraph::Choose() {
  std::vector<int> order(members_.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order,
                           [&](int a, int b) { return members_[a].size() > members_[b].size(); });
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    bool changed = false;
    for (const int group : order) {
      const std::vector<Permutation> candidates = Candidates(group);
      if (candidates.size() == 1 && orders_[group].empty()) continue;
      double best = Cost(group, orders_[group]);
      for (const Permutation& candidate : candidates) {
        if (candidate == orders_[group]) continue;
        const double cost = Cost(group, candidate);
        if (cost < best) {
          best = cost;
          orders_[group] = candidate;
          changed = true;
        }
      }
    }
    if (!changed) return;
  }
}

}  // namespace modelpress
