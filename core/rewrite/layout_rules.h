// What each operator lets be done to the order of axes of its inputs and outputs: the table behind layout.h.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/rewrite/value_shapes.h"

namespace modelpress {

// out.dims[i] = in.dims[perm[i]].
using Permutation = std::vector<int64_t>;

bool IsIdentity(const Permutation& perm);
Permutation Inverse(const Permutation& perm);
// {0, rank-1, 1, ..., rank-2}: images with channels last to channels first.
Permutation ChannelsFirst(int64_t rank);
// Whether `perm` is ChannelsFirst of its rank.
bool IsChannelsFirst(const Permutation& perm);

// What happens at an input or output when a group of values is stored in another order.
enum class Port {
  kBarrier,  // needs the original order
  kTied,     // in the group: all tied ports of a node have the same order
  kFree,     // any order that the node accepts, at no cost; not in the group of the others
  kIgnored,  // no data in the sense of layouts: axes, shapes, scalars
};

// How a node may be changed. Tied and free ports have orders; the node accepts them or not.
struct LayoutRule {
  std::vector<Port> inputs, outputs;
  // Tied ports of different ranks: only channels-first, which every rank has.
  bool channels_first_only = false;
};

// Looks at a graph's constants and shapes.
class LayoutView {
 public:
  virtual ~LayoutView() = default;
  virtual const ValueShape* Shape(const std::string& value) const = 0;
  // The integers of a constant; nullopt if it is none.
  virtual std::optional<std::vector<int64_t>> Ints(const std::string& value) const = 0;
  virtual bool IsConstant(const std::string& value) const = 0;
  // The nodes that read `value`, where all of them are dense layers of constant weights (Gemm or MatMul, the value their
  // first input, the weight their second); else empty.
  virtual std::vector<const onnx::NodeProto*> DenseReaders(const std::string& value) const = 0;
};

// What a changed node is given: names of constants and values in new orders.
class LayoutEdit {
 public:
  virtual ~LayoutEdit() = default;
  // A constant vector of int64 or int32 values.
  virtual std::string Ints(const std::vector<int64_t>& values,
                           DataType type = DataType::kInt64) = 0;
  // `value` padded with leading axes to the rank of `perm` and turned: constants where they lie, others by nodes.
  virtual std::string Broadcast(const std::string& value, const Permutation& perm) = 0;
  // The rows of a dense layer's weights in the order of features [dims] turned by `perm`, when that node's turn comes.
  virtual void TurnRows(const onnx::NodeProto& dense, const std::vector<int64_t>& dims,
                        const Permutation& perm) = 0;
  // A node behind the present one that takes `indices` of output `output`.
  virtual void GatherOutput(int output, const std::vector<int64_t>& indices) = 0;
};

// The rule of a node; all barriers for operators that the table does not have.
LayoutRule RuleOf(const onnx::NodeProto& node, const LayoutView& view);
// Whether the node can take input or output `port` in this order (kFree and kTied ports).
bool Accepts(const onnx::NodeProto& node, const LayoutView& view, bool is_input, int port,
             const Permutation& perm);
// Whether a Gemm or MatMul has its weights as [out, in].
bool WeightsAreTransposed(const onnx::NodeProto& dense);
// Changes attributes and constant inputs of `node` for its ports in the given orders (identity where nothing changes).
// The names of tied and free inputs are set by the caller.
void ApplyLayout(onnx::NodeProto& node, const LayoutView& view, const LayoutRule& rule,
                 const std::vector<Permutation>& inputs, const std::vector<Permutation>& outputs,
                 LayoutEdit& edit);

}  // namespace modelpress
