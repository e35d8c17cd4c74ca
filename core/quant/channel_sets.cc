// Sets of values whose channels must take the same factors; see channel_sets.h.
#include "core/quant/channel_sets.h"

#include <algorithm>

namespace modelpress {
namespace {

constexpr std::string_view kTwoKinds = "channels of two kinds meet";

}  // namespace

int ChannelSets::Of(const onnx::GraphProto* graph, const std::string& value) {
  const auto [place, fresh] = numbers_.try_emplace(std::pair(graph, value), size());
  if (fresh) {
    ChannelSet& set = sets_.emplace_back();
    set.parent = place->second;
    set.name = value;
  }
  return Root(place->second);
}

int ChannelSets::Root(int set) {
  while (sets_[set].parent != set) set = sets_[set].parent = sets_[sets_[set].parent].parent;
  return set;
}

void ChannelSets::Fix(int set, std::string_view reason, std::string_view node) {
  ChannelSet& root = sets_[Root(set)];
  if (!root.reason.empty()) return;
  root.reason = reason;
  root.stopper = node;
}

int ChannelSets::Join(int a, int b, std::string_view node) {
  a = Root(a);
  b = Root(b);
  if (a == b) return a;
  ChannelSet& x = sets_[a];
  ChannelSet& y = sets_[b];
  if ((x.channels != 0 && y.channels != 0 && x.channels != y.channels) ||
      (x.axis != 0 && y.axis != 0 && x.axis != y.axis)) {
    Fix(a, kTwoKinds, node);
    Fix(b, kTwoKinds, node);
    return a;
  }
  y.parent = a;
  x.values += y.values;
  x.channels = std::max(x.channels, y.channels);
  if (x.axis == 0) x.axis = y.axis;
  if (x.rank == 0) x.rank = y.rank;
  x.made |= y.made;
  x.read |= y.read;
  if (x.reason.empty()) {
    x.reason = y.reason;
    x.stopper = y.stopper;
  }
  return a;
}

void ChannelSets::SetChannels(int set, uint64_t channels, int64_t axis, int rank,
                              std::string_view node) {
  ChannelSet& root = sets_[Root(set)];
  if ((root.channels != 0 && root.channels != channels) || (root.axis != 0 && root.axis != axis)) {
    return Fix(set, kTwoKinds, node);
  }
  root.channels = channels;
  root.axis = axis;
  if (rank != 0) root.rank = rank;
}

}  // namespace modelpress
