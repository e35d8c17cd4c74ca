// Pooling, resizing, reductions and padding: over axes that are no channels.
#include "core/channels/rules.h"

#include <algorithm>

namespace modelpress {
namespace {

constexpr std::string_view kSpatial = "positions in space are no channels";

// Batch and channels stay, the other axes are computed over.
void JoinPool(ChannelAxes& axes, const onnx::NodeProto& node) {
  const std::string &x = node.input(0), &y = node.output(0);
  const int rank = axes.Rank(x);
  if (rank < 2 || axes.Rank(y) != rank) return axes.KeepNode(node, "the shape is not known");
  axes.Join(x, 0, y, 0, node);
  axes.Join(x, 1, y, 1, node);
  for (int axis = 2; axis < rank; ++axis) {
    axes.Keep(x, axis, kSpatial, node);
    axes.Keep(y, axis, kSpatial, node);
  }
  KeepOtherOutputs(axes, node);
}

// The input that lists sizes; -1 if the node has scales.
int SizesInput(const onnx::NodeProto& node) {
  const bool sizes = node.op_type() == "Resize" && node.input_size() > 3 && !node.input(3).empty();
  return sizes ? 3 : -1;
}

void JoinResize(ChannelAxes& axes, const onnx::NodeProto& node) {
  const std::string &x = node.input(0), &y = node.output(0);
  const int rank = axes.Rank(x);
  const auto resized = AxesOf(axes, node, /*input=*/-1, rank);
  if (rank < 0 || axes.Rank(y) != rank || !resized.has_value()) {
    return axes.KeepNode(node, "the shape is not known");
  }
  const int scales_input = axes.opset() >= 11 && node.op_type() == "Resize" ? 2 : 1;
  std::vector<bool> same(static_cast<size_t>(rank), !resized->empty());
  const auto note = [&](size_t i, bool is_same) {
    const size_t axis = resized->empty() ? i : static_cast<size_t>((*resized)[i]);
    if (axis < same.size()) same[axis] = is_same;
  };
  if (const int input = SizesInput(node); input > 0) {
    const auto sizes = axes.Integers(node.input(input));
    if (!sizes.has_value()) return axes.KeepNode(node, "its sizes are computed");
    for (size_t i = 0; i < sizes->size(); ++i) {
      const int axis = resized->empty() ? static_cast<int>(i) : (*resized)[i];
      note(i, (*sizes)[i] == axes.Extent(x, axis));
    }
  } else {
    std::optional<std::vector<float>> scales;
    if (const auto* attribute = FindAttribute(node, "scales")) {
      scales.emplace(attribute->floats().begin(), attribute->floats().end());
    } else if (scales_input < node.input_size()) {
      scales = axes.Floats(node.input(scales_input));
    }
    if (!scales.has_value()) return axes.KeepNode(node, "its scales are computed");
    for (size_t i = 0; i < scales->size(); ++i) note(i, (*scales)[i] == 1);
  }
  for (int axis = 0; axis < rank; ++axis) {
    if (same[static_cast<size_t>(axis)]) {
      axes.Join(x, axis, y, axis, node);
    } else {
      axes.Keep(x, axis, kSpatial, node);
      axes.Keep(y, axis, kSpatial, node);
    }
  }
}

absl::Status RewriteResize(ChannelRewriter& rewriter, onnx::NodeProto& node) {
  if (const int input = SizesInput(node); input > 0 && FindAttribute(node, "axes") == nullptr) {
    return rewriter.PatchExtents(node, input, node.output(0));
  }
  return absl::OkStatus();
}

void JoinReduce(ChannelAxes& axes, const onnx::NodeProto& node) {
  const std::string &x = node.input(0), &y = node.output(0);
  const int rank = axes.Rank(x);
  auto reduced = AxesOf(axes, node, /*input=*/1, rank);
  if (rank < 0 || axes.Rank(y) < 0 || !reduced.has_value()) {
    return axes.KeepNode(node, "a reduction over axes that are not known");
  }
  if (reduced->empty() && IntAttribute(node, "noop_with_empty_axes", 0) != 0) {
    return axes.JoinAll(x, y, node);
  }
  const bool keep = IntAttribute(node, "keepdims", 1) != 0;
  int out = 0;
  for (int axis = 0; axis < rank; ++axis) {
    const bool over = reduced->empty() || std::ranges::find(*reduced, axis) != reduced->end();
    if (over) {
      axes.Keep(x, axis, "the operator sums over this axis", node);
    } else {
      axes.Join(x, axis, y, out, node);
    }
    if (!over || keep) ++out;
  }
}

void JoinPad(ChannelAxes& axes, const onnx::NodeProto& node) {
  const std::string &x = node.input(0), &y = node.output(0);
  const int rank = axes.Rank(x);
  std::optional<std::vector<int64_t>> pads;
  if (const auto* attribute = FindAttribute(node, "pads")) {
    pads.emplace(attribute->ints().begin(), attribute->ints().end());
  } else if (node.input_size() > 1) {
    pads = axes.Integers(node.input(1));
  }
  auto padded = AxesOf(axes, node, /*input=*/3, rank);
  if (rank < 0 || axes.Rank(y) != rank || !pads.has_value() || !padded.has_value()) {
    return axes.KeepNode(node, "its padding is computed");
  }
  if (padded->empty()) {
    for (int axis = 0; axis < rank; ++axis) padded->push_back(axis);
  }
  const size_t count = padded->size();
  if (pads->size() != 2 * count) return axes.KeepNode(node, "its padding does not fit");
  for (int axis = 0; axis < rank; ++axis) {
    const auto place = static_cast<size_t>(std::ranges::find(*padded, axis) - padded->begin());
    if (place == count || ((*pads)[place] == 0 && (*pads)[place + count] == 0)) {
      axes.Join(x, axis, y, axis, node);
    } else {
      axes.Keep(x, axis, "it is padded", node);
      axes.Keep(y, axis, "it is padded", node);
    }
  }
}

}  // namespace

std::span<const OperatorRule> SpatialRules() {
  static constexpr OperatorRule kRules[] = {
      {"MaxPool", JoinPool},
      {"AveragePool", JoinPool},
      {"LpPool", JoinPool},
      {"GlobalAveragePool", JoinPool},
      {"GlobalMaxPool", JoinPool},
      {"GlobalLpPool", JoinPool},
      {"Resize", JoinResize, RewriteResize},
      {"Upsample", JoinResize},
      {"Pad", JoinPad},
      {"ReduceL1", JoinReduce},
      {"ReduceL2", JoinReduce},
      {"ReduceLogSum", JoinReduce},
      {"ReduceLogSumExp", JoinReduce},
      {"ReduceMax", JoinReduce},
      {"ReduceMean", JoinReduce},
      {"ReduceMin", JoinReduce},
      {"ReduceProd", JoinReduce},
      {"ReduceSum", JoinReduce},
      {"ReduceSumSquare", JoinReduce},
  };
  return kRules;
}

}  // namespace modelpress
