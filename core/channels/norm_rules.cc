// Normalizations: parameters go with the channels they belong to.
#include "core/channels/rules.h"

namespace modelpress {
namespace {

constexpr std::string_view kOver = "the operator computes over this axis";

// Scale, bias and statistics of each channel on axis 1.
void JoinChannelNorm(ChannelAxes& axes, const onnx::NodeProto& node) {
  const std::string& x = node.input(0);
  axes.JoinAll(x, node.output(0), node);
  for (int i = 1; i < node.input_size(); ++i) axes.Join(node.input(i), 0, x, 1, node);
  KeepOtherOutputs(axes, node);
}

// Over the axes from `axis` on; a removed channel is no longer part of mean and variance.
void JoinLayerNorm(ChannelAxes& axes, const onnx::NodeProto& node) {
  const std::string& x = node.input(0);
  const int rank = axes.Rank(x);
  axes.JoinAll(x, node.output(0), node);
  for (int i = 1; i < node.input_size(); ++i) {
    const std::string& parameter = node.input(i);
    const int offset = rank - axes.Rank(parameter);
    for (int axis = 0; axis < axes.Rank(parameter); ++axis) {
      if (axes.Extent(parameter, axis) == 1 && axes.Extent(x, axis + offset) != 1) continue;
      axes.Join(parameter, axis, x, axis + offset, node);
    }
  }
  KeepOtherOutputs(axes, node);
}

// Whole groups, so that what stays is normalized as before.
void JoinGroupNorm(ChannelAxes& axes, const onnx::NodeProto& node) {
  const std::string& x = node.input(0);
  axes.JoinAll(x, node.output(0), node);
  const int64_t groups = IntAttribute(node, "num_groups", 0);
  const int64_t channels = axes.Extent(x, 1);
  if (groups < 1 || channels <= 0 || channels % groups != 0) {
    return axes.KeepNode(node, "groups whose sizes are not known");
  }
  for (int64_t c = 0; c < channels; ++c) {
    axes.JoinPositions(x, 1, c / (channels / groups) * (channels / groups), x, 1, c);
  }
  for (int i = 1; i < node.input_size(); ++i) {
    const std::string& parameter = node.input(i);
    const int64_t extent = axes.Extent(parameter, 0);
    // One for each channel (opset 21), or for each group.
    if (extent != channels && extent != groups) return axes.KeepNode(node, "parameters of groups");
    for (int64_t p = 0; p < extent; ++p) {
      axes.JoinPositions(x, 1, p * (channels / extent), parameter, 0, p);
    }
  }
}

absl::Status RewriteGroupNorm(ChannelRewriter& rewriter, onnx::NodeProto& node) {
  const auto* kept = rewriter.Kept(node.input(0), 1);
  if (kept == nullptr) return absl::OkStatus();
  const int64_t channels = (*rewriter.Shape(node.input(0)))[1];
  for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
    if (attribute.name() != "num_groups") continue;
    attribute.set_i(attribute.i() * static_cast<int64_t>(kept->size()) / channels);
  }
  return absl::OkStatus();
}

void KeepAxis(ChannelAxes& axes, const onnx::NodeProto& node, int64_t fallback, bool and_later) {
  const std::string& x = node.input(0);
  const int axis = AxisOf(node, fallback, axes.Rank(x));
  if (axis < 0) return axes.KeepNode(node, kOver);
  axes.JoinAll(x, node.output(0), node);
  axes.Keep(x, axis, kOver, node);
  for (int later = axis + 1; and_later && later < axes.Rank(x); ++later) {
    axes.Keep(x, later, kOver, node);
  }
}

// Before opset 13 it is over all axes from `axis` on.
void JoinSoftmax(ChannelAxes& axes, const onnx::NodeProto& node) {
  const bool old = axes.opset() < 13;
  KeepAxis(axes, node, old ? 1 : -1, old);
}

void JoinOverLast(ChannelAxes& axes, const onnx::NodeProto& node) {
  KeepAxis(axes, node, -1, false);
}

void JoinOverChannels(ChannelAxes& axes, const onnx::NodeProto& node) {
  axes.JoinAll(node.input(0), node.output(0), node);
  axes.Keep(node.input(0), 1, kOver, node);
}

}  // namespace

std::span<const OperatorRule> NormRules() {
  static constexpr OperatorRule kRules[] = {
      {"BatchNormalization", JoinChannelNorm},
      {"InstanceNormalization", JoinChannelNorm},
      {"LayerNormalization", JoinLayerNorm},
      {"GroupNormalization", JoinGroupNorm, RewriteGroupNorm},
      {"Softmax", JoinSoftmax},
      {"LogSoftmax", JoinSoftmax},
      {"Hardmax", JoinSoftmax},
      {"LpNormalization", JoinOverLast},
      {"LRN", JoinOverChannels},
  };
  return kRules;
}

}  // namespace modelpress
