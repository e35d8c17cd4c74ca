// From joined positions to groups of channels; see dependency_groups.h.
#include "core/channels/dependency_groups.h"

#include <algorithm>
#include <functional>
#include <set>

#include "absl/container/flat_hash_set.h"
#include "core/base/format_string.h"
#include "core/channels/rules.h"

namespace modelpress {
namespace {

// What inner graphs of a node read from outside, and what may be overridden by the caller.
void KeepOutside(ChannelAxes& axes, const onnx::GraphProto& graph) {
  for (const auto& input : graph.input()) axes.KeepValue(input.name(), "an input of the model", "");
  for (const auto& output : graph.output()) {
    axes.KeepValue(output.name(), "an output of the model", "");
  }
}

void KeepReadInside(ChannelAxes& axes, const onnx::NodeProto& node) {
  const std::function<void(const onnx::NodeProto&)> visit = [&](const onnx::NodeProto& inner) {
    for (const onnx::AttributeProto& attribute : inner.attribute()) {
      const auto graph = [&](const onnx::GraphProto& body) {
        for (const onnx::NodeProto& child : body.node()) {
          for (const std::string& input : child.input()) {
            axes.KeepValue(input, "a subgraph reads it", NodeName(node));
          }
          visit(child);
        }
        for (const auto& output : body.output()) {
          axes.KeepValue(output.name(), "a subgraph gives it back", NodeName(node));
        }
      };
      if (attribute.has_g()) graph(attribute.g());
      for (const onnx::GraphProto& body : attribute.graphs()) graph(body);
    }
  };
  visit(node);
}

bool HasSubgraph(const onnx::NodeProto& node) {
  return std::ranges::any_of(node.attribute(), [](const auto& attribute) {
    return attribute.has_g() || attribute.graphs_size() > 0;
  });
}

// Constants that cannot be cut: elements smaller than a byte, or no tensor at all.
void KeepOddConstant(ChannelAxes& axes, const std::string& name, const std::string& node) {
  const onnx::TensorProto* tensor = axes.Constant(name);
  if (tensor == nullptr || BitsPerElement(Type(*tensor)) % 8 != 0 ||
      BitsPerElement(Type(*tensor)) == 0) {
    axes.KeepValue(name, "a constant that cannot be cut", node);
  }
}

void ApplyRules(ChannelAxes& axes) {
  const onnx::GraphProto& graph = axes.graph();
  KeepOutside(axes, graph);
  for (const auto& tensor : graph.initializer()) KeepOddConstant(axes, tensor.name(), "");
  for (const onnx::NodeProto& node : graph.node()) {
    if (node.op_type() == "Constant" && IsDefaultDomain(node.domain())) {
      for (const std::string& output : node.output()) {
        KeepOddConstant(axes, output, NodeName(node));
      }
      continue;
    }
    if (HasSubgraph(node)) KeepReadInside(axes, node);
    const OperatorRule* rule = FindRule(node);
    if (rule == nullptr || node.input_size() == 0 || node.output_size() == 0 ||
        node.input(0).empty() || node.output(0).empty()) {
      axes.KeepNode(node, FormatString("the operator {} is not followed", node.op_type()));
    } else {
      rule->join(axes, node);
    }
  }
  axes.Finish();
}

// Where a class of joined positions lies: axis number and positions there.
struct Place {
  int axis = 0;
  std::vector<uint32_t> positions;
};

class Grouping {
 public:
  Grouping(ChannelAxes& axes, Dependencies& result) : axes_(axes), result_(result) {}

  void Run() {
    NoteRoles();
    CollectClasses();
    for (const uint32_t root : order_) AddChannel(root);
    for (size_t i = 0; i < result_.groups.size(); ++i) Describe(result_.groups[i]);
    // Order of the nodes that make them.
    std::ranges::stable_sort(result_.groups, {}, [](const DependencyGroup& group) {
      return group.producers.empty() ? -1 : group.producers[0];
    });
  }

 private:
  // Layers by the axis of their weight.
  void NoteRoles() {
    for (size_t i = 0; i < result_.layers.size(); ++i) {
      const ChannelLayer& layer = result_.layers[i];
      if (layer.weight.empty()) continue;
      const auto note = [&](int axis, auto& roles) {
        if (axis >= 0) roles[{layer.weight, axis}].push_back(static_cast<int>(i));
      };
      note(layer.output_axis, producers_);
      note(layer.input_axis, consumers_);
    }
  }

  // Only of what a layer makes: tables have far more rows than anything has channels.
  void CollectClasses() {
    absl::flat_hash_set<uint32_t> made;
    for (const ChannelAxes::Axis& axis : axes_.axes()) {
      if (!producers_.contains({axis.ref.value, axis.ref.axis})) continue;
      for (int64_t i = 0; i < axis.extent; ++i) {
        made.insert(axes_.Root(axis.first + static_cast<uint32_t>(i)));
      }
    }
    for (size_t a = 0; a < axes_.axes().size(); ++a) {
      const ChannelAxes::Axis& axis = axes_.axes()[a];
      for (int64_t i = 0; i < axis.extent; ++i) {
        const uint32_t root = axes_.Root(axis.first + static_cast<uint32_t>(i));
        if (!made.contains(root)) continue;
        auto [place, fresh] = classes_.try_emplace(root);
        if (fresh) order_.push_back(root);
        if (place->second.empty() || place->second.back().axis != static_cast<int>(a)) {
          place->second.push_back({static_cast<int>(a), {}});
        }
        place->second.back().positions.push_back(static_cast<uint32_t>(i));
      }
    }
  }

  void AddChannel(uint32_t root) {
    const std::vector<Place>& places = classes_[root];
    const ChannelAxes::Reason* reason = axes_.ReasonToKeep(root);
    Signature signature;
    signature.second = reason == nullptr ? "" : reason->reason + "\n" + reason->node;
    for (const Place& place : places)
      signature.first.push_back({place.axis, place.positions.size()});
    const auto [found, fresh] = numbers_.try_emplace(signature, result_.groups.size());
    if (fresh) {
      DependencyGroup& group = result_.groups.emplace_back();
      for (const Place& place : places) {
        const AxisRef& ref = axes_.axes()[place.axis].ref;
        group.members.push_back({.axis = ref,
                                 .is_constant = axes_.Constant(ref.value) != nullptr,
                                 .positions = {},
                                 .width = place.positions.size()});
      }
      if (reason != nullptr) {
        group.reason = reason->reason;
        group.node = reason->node;
      }
    }
    DependencyGroup& group = result_.groups[found->second];
    ++group.channels;
    for (size_t m = 0; m < places.size(); ++m) {
      auto& positions = group.members[m].positions;
      positions.insert(positions.end(), places[m].positions.begin(), places[m].positions.end());
    }
  }

  void Describe(DependencyGroup& group) {
    std::set<int> producers, consumers;
    absl::flat_hash_map<std::string, double> constants;
    for (const DependencyGroup::Member& member : group.members) {
      const auto add = [&](const auto& roles, std::set<int>& to) {
        if (const auto found = roles.find({member.axis.value, member.axis.axis});
            found != roles.end()) {
          to.insert(found->second.begin(), found->second.end());
        }
      };
      add(producers_, producers);
      add(consumers_, consumers);
      const std::vector<int64_t>* dims = result_.shapes.Find(member.axis.value);
      if (!member.is_constant || dims == nullptr) continue;
      double rest = static_cast<double>(member.width);
      for (size_t axis = 0; axis < dims->size(); ++axis) {
        if (static_cast<int>(axis) != member.axis.axis) rest *= static_cast<double>((*dims)[axis]);
      }
      group.parameters_per_channel += rest;
    }
    group.producers.assign(producers.begin(), producers.end());
    group.consumers.assign(consumers.begin(), consumers.end());
    group.name = result_.layers[group.producers[0]].node;
    for (const ChannelLayer& layer : result_.layers) {
      const double macs = result_.Macs(layer, {});
      double left = 1;
      for (const AxisRef& ref : layer.extents) {
        const DependencyGroup::Member* member = group.Find(ref.value, ref.axis);
        if (member == nullptr) continue;
        const std::vector<int64_t>* dims = result_.shapes.Find(ref.value);
        left *= 1 - static_cast<double>(member->width) / static_cast<double>((*dims)[ref.axis]);
      }
      group.macs_per_channel += macs * (1 - left);
    }
  }

  // Axes with the number of positions, and the reason to keep.
  using Signature = std::pair<std::vector<std::pair<int, size_t>>, std::string>;

  ChannelAxes& axes_;
  Dependencies& result_;
  std::map<std::pair<std::string, int>, std::vector<int>> producers_, consumers_;
  absl::flat_hash_map<uint32_t, std::vector<Place>> classes_;
  std::vector<uint32_t> order_;
  std::map<Signature, size_t> numbers_;
};

}  // namespace

const DependencyGroup::Member* DependencyGroup::Find(const std::string& value, int axis) const {
  for (const Member& member : members) {
    if (member.axis.axis == axis && member.axis.value == value) return &member;
  }
  return nullptr;
}

double Dependencies::Macs(const ChannelLayer& layer, const KeptPositions& kept) const {
  double macs = layer.factor;
  for (const AxisRef& ref : layer.extents) {
    if (const auto found = kept.find({ref.value, ref.axis}); found != kept.end()) {
      macs *= static_cast<double>(found->second.size());
      continue;
    }
    const std::vector<int64_t>* dims = shapes.Find(ref.value);
    int64_t extent =
        dims != nullptr && ref.axis < static_cast<int>(dims->size()) ? (*dims)[ref.axis] : -1;
    if (const auto seen = observed.find(ref.value);
        extent < 0 && seen != observed.end() && ref.axis < static_cast<int>(seen->second.size())) {
      extent = seen->second[ref.axis];
    }
    if (extent >= 0) macs *= static_cast<double>(extent);
  }
  return macs;
}

double Dependencies::Macs(const KeptPositions& kept) const {
  double macs = 0;
  for (const ChannelLayer& layer : layers) macs += Macs(layer, kept);
  return macs;
}

Dependencies FindDependencyGroups(Model& model, const GraphIndex& index, ObservedShapes observed) {
  ChannelAxes axes(model, index);
  ApplyRules(axes);
  Dependencies result;
  result.layers = axes.layers();
  result.shapes = axes.shapes();
  result.observed = std::move(observed);
  Grouping(axes, result).Run();
  return result;
}

KeptPositions KeptAfter(const Dependencies& dependencies, const RemovedChannels& removed) {
  std::map<std::pair<std::string, int>, std::vector<bool>> gone;
  for (size_t g = 0; g < dependencies.groups.size() && g < removed.size(); ++g) {
    if (removed[g].empty()) continue;
    for (const DependencyGroup::Member& member : dependencies.groups[g].members) {
      std::vector<bool>& flags = gone[{member.axis.value, member.axis.axis}];
      if (flags.empty()) {
        flags.resize(
            static_cast<size_t>((*dependencies.shapes.Find(member.axis.value))[member.axis.axis]));
      }
      for (const uint32_t channel : removed[g]) {
        for (size_t i = 0; i < member.width; ++i) {
          flags[member.positions[channel * member.width + i]] = true;
        }
      }
    }
  }
  KeptPositions kept;
  for (const auto& [axis, flags] : gone) {
    std::vector<uint32_t>& positions = kept[axis];
    for (uint32_t i = 0; i < flags.size(); ++i) {
      if (!flags[i]) positions.push_back(i);
    }
  }
  return kept;
}

}  // namespace modelpress
