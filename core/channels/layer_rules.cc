// Conv, ConvTranspose, Gemm, MatMul, Gather of a table, recurrent layers: what makes channels of
// others.
#include "core/channels/rules.h"

#include <algorithm>
#include <utility>

namespace modelpress {
namespace {

constexpr std::string_view kSpatial = "positions in space are no channels";

std::string In(const onnx::NodeProto& node, int i) {
  return i < node.input_size() ? node.input(i) : std::string();
}

// Everything in groups: what is read of a group, made of it and belongs to it is removed together.
void JoinGroups(ChannelAxes& axes, const onnx::NodeProto& node, int64_t groups) {
  const std::string x = In(node, 0), w = In(node, 1), b = In(node, 2), y = node.output(0);
  const int64_t inputs = axes.Extent(x, 1), outputs = axes.Extent(y, 1);
  // Rows of the weight: outputs of a Conv, inputs of a ConvTranspose.
  const int64_t rows = axes.Extent(w, 0);
  if (inputs <= 0 || outputs <= 0 || rows <= 0 || inputs % groups != 0 || outputs % groups != 0 ||
      rows % groups != 0) {
    return axes.KeepNode(node, "groups whose sizes are not known");
  }
  for (int64_t group = 0; group < groups; ++group) {
    const auto join = [&](const std::string& value, int axis, int64_t count) {
      if (value.empty()) return;
      for (int64_t i = 0; i < count; ++i) {
        axes.JoinPositions(x, 1, group * (inputs / groups), value, axis, group * count + i);
      }
    };
    join(x, 1, inputs / groups);
    join(y, 1, outputs / groups);
    join(w, 0, rows / groups);
    join(b, 0, outputs / groups);
  }
  axes.Keep(w, 1, "channels within a group", node);
}

void JoinConvolution(ChannelAxes& axes, const onnx::NodeProto& node) {
  const std::string x = In(node, 0), w = In(node, 1), b = In(node, 2), y = node.output(0);
  const bool transposed = node.op_type() == "ConvTranspose";
  const int rank = axes.Rank(w);
  if (rank < 3 || axes.Rank(x) != rank || axes.Rank(y) != rank) {
    return axes.KeepNode(node, "the shape of a convolution is not known");
  }
  const int64_t groups = IntAttribute(node, "group", 1);
  if (groups < 1) return axes.KeepNode(node, "groups that do not fit");
  axes.Join(x, 0, y, 0, node);
  ChannelLayer layer{NodeName(node), node.op_type(), y, x, 1, w};
  layer.extents = {{w, 0}, {w, 1}};
  const std::string& over = transposed ? x : y;
  layer.extents.push_back({over, 0});
  for (int axis = 2; axis < rank; ++axis) {
    for (const std::string* value : {&x, &w, &y}) axes.Keep(*value, axis, kSpatial, node);
    layer.factor *= static_cast<double>(std::max<int64_t>(1, axes.Extent(w, axis)));
    layer.extents.push_back({over, axis});
  }
  if (groups > 1) {
    JoinGroups(axes, node, groups);
  } else {
    layer.output_axis = transposed ? 1 : 0;
    layer.input_axis = transposed ? 0 : 1;
    axes.Join(x, 1, w, layer.input_axis, node);
    axes.Join(w, layer.output_axis, y, 1, node);
    if (!b.empty()) axes.Join(b, 0, y, 1, node);
  }
  axes.AddLayer(std::move(layer));
}

absl::Status RewriteConvolution(ChannelRewriter& rewriter, onnx::NodeProto& node) {
  const int64_t groups = IntAttribute(node, "group", 1);
  const auto* kept = rewriter.Kept(node.input(1), 0);
  if (groups <= 1 || kept == nullptr) return absl::OkStatus();
  const int64_t rows = (*rewriter.Shape(node.input(1)))[0];
  for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
    if (attribute.name() != "group") continue;
    attribute.set_i(groups * static_cast<int64_t>(kept->size()) / rows);
  }
  return absl::OkStatus();
}

// Axes of `value` from the right against those of `of`, where they are not spread from extent 1.
void JoinBroadcast(ChannelAxes& axes, const std::string& value, const std::string& of,
                   const onnx::NodeProto& node) {
  const int offset = axes.Rank(of) - axes.Rank(value);
  for (int axis = 0; axis < axes.Rank(value); ++axis) {
    if (axis + offset < 0) return axes.KeepValue(value, "has more axes than it is added to", "");
    if (axes.Extent(value, axis) == 1 && axes.Extent(of, axis + offset) != 1) continue;
    axes.Join(value, axis, of, axis + offset, node);
  }
}

void JoinGemm(ChannelAxes& axes, const onnx::NodeProto& node) {
  const std::string a = In(node, 0), b = In(node, 1), c = In(node, 2), y = node.output(0);
  if (axes.Rank(a) != 2 || axes.Rank(b) != 2 || axes.Rank(y) != 2) {
    return axes.KeepNode(node, "the shape of a product is not known");
  }
  const int a_inner = IntAttribute(node, "transA", 0) != 0 ? 0 : 1;
  const int b_inner = IntAttribute(node, "transB", 0) != 0 ? 1 : 0;
  axes.Join(a, 1 - a_inner, y, 0, node);
  axes.Join(a, a_inner, b, b_inner, node);
  axes.Join(b, 1 - b_inner, y, 1, node);
  if (!c.empty()) JoinBroadcast(axes, c, y, node);
  ChannelLayer layer{NodeName(node), "Gemm", y, a, a_inner};
  if (axes.Constant(b) != nullptr) {
    layer.weight = b;
    layer.input_axis = b_inner;
    layer.output_axis = 1 - b_inner;
  }
  layer.extents = {{y, 0}, {b, 0}, {b, 1}};
  axes.AddLayer(std::move(layer));
}

void JoinMatMul(ChannelAxes& axes, const onnx::NodeProto& node) {
  const std::string a = In(node, 0), b = In(node, 1), y = node.output(0);
  const int a_rank = axes.Rank(a), b_rank = axes.Rank(b), y_rank = axes.Rank(y);
  if (a_rank < 2 || b_rank < 2 || y_rank != std::max(a_rank, b_rank)) {
    return axes.KeepNode(node, "the shape of a product is not known, or it is of a vector");
  }
  axes.Join(a, a_rank - 1, b, b_rank - 2, node);
  axes.Join(a, a_rank - 2, y, y_rank - 2, node);
  axes.Join(b, b_rank - 1, y, y_rank - 1, node);
  for (const auto& [value, rank] : {std::pair(a, a_rank), std::pair(b, b_rank)}) {
    for (int axis = 0; axis < rank - 2; ++axis) {
      const int out = axis + y_rank - rank;
      if (axes.Extent(value, axis) == 1 && axes.Extent(y, out) != 1) continue;
      axes.Join(value, axis, y, out, node);
    }
  }
  ChannelLayer layer{NodeName(node), "MatMul", y, a, a_rank - 1};
  if (axes.Constant(b) != nullptr && b_rank == 2) {
    layer.weight = b;
    layer.input_axis = 0;
    layer.output_axis = 1;
  } else if (axes.Constant(a) != nullptr && a_rank == 2) {
    layer.value = b;
    layer.value_axis = b_rank - 2;
    layer.weight = a;
    layer.input_axis = 1;
    layer.output_axis = 0;
  }
  layer.extents.push_back({a, a_rank - 1});
  for (int axis = 0; axis < y_rank; ++axis) layer.extents.push_back({y, axis});
  axes.AddLayer(std::move(layer));
}

// Rows of an embedding table, or entries of a value.
void JoinGather(ChannelAxes& axes, const onnx::NodeProto& node) {
  const std::string data = In(node, 0), indices = In(node, 1), y = node.output(0);
  const int rank = axes.Rank(data), index_rank = axes.Rank(indices);
  const int axis = AxisOf(node, 0, rank);
  if (rank < 1 || index_rank < 0 || axis < 0 || axes.Rank(y) != rank + index_rank - 1) {
    return axes.KeepNode(node, "the shape of a Gather is not known");
  }
  axes.Keep(data, axis, "entries are chosen by number", node);
  for (int i = 0; i < rank; ++i) {
    if (i != axis) axes.Join(data, i, y, i < axis ? i : i + index_rank - 1, node);
  }
  for (int i = 0; i < index_rank; ++i) axes.Join(indices, i, y, axis + i, node);
  if (axes.Constant(data) == nullptr || rank != 2 || axis != 0) return;
  ChannelLayer layer{NodeName(node), "Gather", y};
  layer.weight = data;
  layer.output_axis = 1;
  layer.factor = 0;
  axes.AddLayer(std::move(layer));
}

// Inputs may become fewer; the state stays.
void JoinRecurrent(ChannelAxes& axes, const onnx::NodeProto& node) {
  constexpr std::string_view kState = "the state of a recurrent layer";
  const std::string x = In(node, 0), w = In(node, 1), r = In(node, 2);
  if (axes.Rank(x) != 3 || axes.Rank(w) != 3) return axes.KeepNode(node, kState);
  axes.Join(x, 2, w, 2, node);
  for (int axis = 0; axis < 2; ++axis) {
    axes.Keep(x, axis, kState, node);
    axes.Keep(w, axis, kState, node);
  }
  for (int i = 2; i < node.input_size(); ++i) axes.KeepValue(node.input(i), kState, NodeName(node));
  for (const std::string& output : node.output()) {
    axes.KeepValue(output, kState, NodeName(node));
  }
  ChannelLayer layer{NodeName(node), node.op_type(), node.output(0), x, 2};
  layer.extents = {{x, 0}, {x, 1}, {w, 0}, {w, 1}, {w, 2}};
  if (axes.Constant(w) != nullptr) {
    layer.weight = w;
    layer.input_axis = 2;
  }
  axes.AddLayer(layer);
  layer.weight.clear();
  layer.input_axis = -1;
  layer.extents = {{x, 0}, {x, 1}, {r, 0}, {r, 1}, {r, 2}};
  axes.AddLayer(std::move(layer));
}

}  // namespace

std::span<const OperatorRule> LayerRules() {
  static constexpr OperatorRule kRules[] = {
      {"Conv", JoinConvolution, RewriteConvolution},
      {"ConvTranspose", JoinConvolution, RewriteConvolution},
      {"Gemm", JoinGemm},
      {"MatMul", JoinMatMul},
      {"Gather", JoinGather},
      {"LSTM", JoinRecurrent},
      {"GRU", JoinRecurrent},
      {"RNN", JoinRecurrent},
  };
  return kRules;
}

}  // namespace modelpress
