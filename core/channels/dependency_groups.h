// Groups of channels: for each channel everything that must be removed with it.
//
//   x --> Conv --> BatchNormalization --> Relu --> Add --> Conv
//                                      Conv ------/
//
//   one group: rows of the first weight and of what makes the other summand, BatchNormalization's
//   vectors, columns of the last weight
//
// Idea and name of the dependency graph: Fang et al. 2023, "DepGraph: towards any structural
// pruning". Here positions are joined one by one (channel_axes.h), so that offsets, blocks and
// heads need no cases of their own.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "core/channels/channel_axes.h"
#include "core/channels/rewriter.h"

namespace modelpress {

// Channels that lie on the same axes, equally many positions each.
struct DependencyGroup {
  struct Member {
    AxisRef axis;
    bool is_constant = false;
    // Of each channel, ascending: those of channel c are [c * width, (c + 1) * width).
    std::vector<uint32_t> positions;
    size_t width = 1;
  };
  // The first layer that makes it, for reports.
  std::string name;
  uint64_t channels = 0;
  std::vector<Member> members;
  // Numbers of layers whose output, or input, channels are members.
  std::vector<int> producers, consumers;
  // Why it must stay whole, and the node that says so; empty: it need not.
  std::string reason, node;
  // What one channel of the whole model takes: elements of constants, multiply-accumulates.
  double parameters_per_channel = 0, macs_per_channel = 0;

  const Member* Find(const std::string& value, int axis) const;
};

// Extents that shape inference does not know, as they were in one inference.
using ObservedShapes = absl::flat_hash_map<std::string, std::vector<int64_t>>;

struct Dependencies {
  // In the order of the nodes that make them; only groups that a layer with a constant weight
  // makes.
  std::vector<DependencyGroup> groups;
  std::vector<ChannelLayer> layers;
  ValueShapes shapes;
  ObservedShapes observed;

  // Multiply-accumulates of one inference with these positions left. Extents that are not known
  // count as 1.
  double Macs(const ChannelLayer& layer, const KeptPositions& kept) const;
  double Macs(const KeptPositions& kept) const;
};

// Groups of the main graph; what subgraphs read stays whole. `observed` may be empty. Pointers of
// `index` are into `model`. O(positions). Deterministic.
Dependencies FindDependencyGroups(Model& model, const GraphIndex& index, ObservedShapes observed);

// By group: numbers of the channels that go.
using RemovedChannels = std::vector<std::vector<uint32_t>>;

// Which positions stay when these channels go.
KeptPositions KeptAfter(const Dependencies& dependencies, const RemovedChannels& removed);

}  // namespace modelpress
