// How each operator ties positions of its inputs and outputs together, and what of it must be put
// right when some of them are gone. One file for each family of operators; an operator without a
// rule keeps everything it touches.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "core/channels/channel_axes.h"
#include "core/channels/rewriter.h"

namespace modelpress {

struct OperatorRule {
  std::string_view op;
  void (*join)(ChannelAxes& axes, const onnx::NodeProto& node);
  // Null: nothing of the node depends on extents. Called for every node of this kind when positions
  // have been chosen; shapes are still the old ones.
  absl::Status (*rewrite)(ChannelRewriter& rewriter, onnx::NodeProto& node) = nullptr;
};

std::span<const OperatorRule>
LayerRules();  // Conv, ConvTranspose, Gemm, MatMul, Gather, recurrent layers
std::span<const OperatorRule> ElementwiseRules();  // activations, sums, products, comparisons
std::span<const OperatorRule> NormRules();         // normalizations, Softmax
std::span<const OperatorRule> SpatialRules();      // pooling, Resize, reductions, Pad
std::span<const OperatorRule> JoiningRules();      // Concat, Split, Slice
std::span<const OperatorRule>
ReshapeRules();  // Reshape, Flatten, Transpose, Squeeze, Expand, Shape

// Null for operators that are not followed.
const OperatorRule* FindRule(const onnx::NodeProto& node);

// What several families share.

// The axes of an `axes` attribute or of input `input`, counted from the front of `rank` axes;
// nothing if they are computed or do not fit. Absent axes are an empty list.
std::optional<std::vector<int>> AxesOf(const ChannelAxes& axes, const onnx::NodeProto& node,
                                       int input, int rank);
// An axis attribute, counted from the front; -1 if it does not fit.
int AxisOf(const onnx::NodeProto& node, int64_t fallback, int rank);
// Outputs after the first are not followed.
void KeepOtherOutputs(ChannelAxes& axes, const onnx::NodeProto& node);

}  // namespace modelpress
