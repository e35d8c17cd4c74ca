// Sets of values whose channels must take the same factors: union-find for channel_groups.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "onnx/onnx_pb.h"

namespace modelpress {

// What is known of a set.
struct ChannelSet {
  int parent = 0;
  std::string name;  // of its first value
  uint64_t values = 1;
  uint64_t channels = 0;  // 0: not known yet
  int64_t axis = 0;       // from the end; 0: not known yet
  int rank = 0;           // 0: not known
  // Some layer makes a value of it; some layer reads one.
  bool made = false, read = false;
  // Why it must stay as it is, and the node that says so; empty: it need not.
  std::string reason, stopper;
};

// Sets are numbers; those that were joined are one set with two numbers. Operations are O(log n)
// amortized. Not thread-safe.
class ChannelSets {
 public:
  // The set of a value, by the graph that defines it; a new one where it was not seen yet.
  int Of(const onnx::GraphProto* graph, const std::string& value);
  ChannelSet& operator[](int set) { return sets_[Root(set)]; }
  // The number that all numbers of one set have in common.
  int Root(int set);
  int size() const { return static_cast<int>(sets_.size()); }

  // Nothing may scale the set. The first reason counts.
  void Fix(int set, std::string_view reason, std::string_view node);
  // Makes one set of two; fixes both where their channels differ. Returns the set.
  int Join(int a, int b, std::string_view node);
  // Says where a set has its channels and how many; fixes it where that contradicts what is known.
  void SetChannels(int set, uint64_t channels, int64_t axis, int rank, std::string_view node);

 private:
  absl::flat_hash_map<std::pair<const onnx::GraphProto*, std::string>, int> numbers_;
  std::vector<ChannelSet> sets_;
};

}  // namespace modelpress
