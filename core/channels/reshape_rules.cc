// Reshape and its relatives: blocks of positions, heads of an attention.
//
//   [N, C, H, W] --> Flatten --> [N, C H W]        channel c is the block c H W .. (c + 1) H W
//   [N, T, H D] --> Reshape --> [N, T, H, D]       head h is the block h D .. (h + 1) D
//
// Where several axes are made one, only one of them can lose positions: the outermost that nothing
// else keeps.
#include "core/channels/rules.h"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace modelpress {
namespace {

constexpr int64_t kMostPositions = 1 << 22;

// Which axes of two shapes hold the same elements in the same order.
struct Matching {
  // Axis 0 to left - 1 are the same on both sides, by extent or by symbol.
  int left = 0;
  // Pairs of lists of axes with the same number of elements.
  std::vector<std::pair<std::vector<int>, std::vector<int>>> runs;
  // Axes of which nothing can be said.
  std::vector<int> lost_in, lost_out;
};

Matching Match(const std::vector<int64_t>& in, const std::vector<int64_t>& out) {
  Matching match;
  const auto exact = [](int64_t a, int64_t b) { return a == b && a != -1; };
  const auto alike = [&](int64_t a, int64_t b) { return exact(a, b) || (a < 0 && b < 0); };
  int begin = 0, in_end = static_cast<int>(in.size()), out_end = static_cast<int>(out.size());
  // Axes beyond a pair of unknown extents that may differ are only the same if all others are.
  std::vector<std::pair<int, int>> doubtful;
  bool sure = true;
  while (in_end > 0 && out_end > 0 && alike(in[in_end - 1], out[out_end - 1])) {
    --in_end, --out_end;
    sure = sure && exact(in[in_end], out[out_end]);
    if (sure) {
      match.runs.push_back({{in_end}, {out_end}});
    } else {
      doubtful.push_back({in_end, out_end});
    }
  }
  sure = true;
  while (begin < in_end && begin < out_end && alike(in[begin], out[begin])) {
    sure = sure && exact(in[begin], out[begin]);
    if (sure) {
      match.runs.push_back({{begin}, {begin}});
      match.left = begin + 1;
    } else {
      doubtful.push_back({begin, begin});
    }
    ++begin;
  }
  int64_t in_count = 1, out_count = 1;
  bool known = true;
  for (int i = begin; i < in_end; ++i) {
    known = known && in[i] > 0 && in_count <= kMostPositions;
    in_count *= known ? in[i] : 1;
  }
  for (int i = begin; i < out_end; ++i) {
    known = known && out[i] > 0 && out_count <= kMostPositions;
    out_count *= known ? out[i] : 1;
  }
  if (!known || in_count != out_count || in_count > kMostPositions) {
    for (int i = begin; i < in_end; ++i) match.lost_in.push_back(i);
    for (int i = begin; i < out_end; ++i) match.lost_out.push_back(i);
    for (const auto& [a, b] : doubtful) {
      match.lost_in.push_back(a);
      match.lost_out.push_back(b);
    }
    return match;
  }
  for (const auto& [a, b] : doubtful) match.runs.push_back({{a}, {b}});
  for (int i = begin, j = begin; i < in_end || j < out_end;) {
    std::vector<int> a, b;
    int64_t elements_a = 1, elements_b = 1;
    if (i < in_end) elements_a = in[i], a.push_back(i++);
    if (j < out_end) elements_b = out[j], b.push_back(j++);
    while (elements_a != elements_b) {
      if (elements_a < elements_b) {
        elements_a *= in[i], a.push_back(i++);
      } else {
        elements_b *= out[j], b.push_back(j++);
      }
    }
    match.runs.push_back({std::move(a), std::move(b)});
  }
  return match;
}

// A Reshape whose shape is computed can be given a constant one with 0 (the input's extent) and at
// most one -1.
std::optional<std::vector<int64_t>> ConstantShape(const std::vector<int64_t>& in,
                                                  const std::vector<int64_t>& out) {
  const int left = Match(in, out).left;
  std::vector<int64_t> shape;
  int free = 0;
  for (int axis = 0; axis < static_cast<int>(out.size()); ++axis) {
    if (out[axis] > 0) {
      shape.push_back(out[axis]);
    } else if (out[axis] == 0) {
      return std::nullopt;
    } else if (axis < left) {
      shape.push_back(0);
    } else {
      shape.push_back(-1);
      ++free;
    }
  }
  return free <= 1 ? std::optional(shape) : std::nullopt;
}

// The axis of a run that loses positions, if any does.
int Primary(ChannelAxes& axes, const std::string& value, const std::vector<int>& run) {
  for (const int axis : run) {
    if (axes.Extent(value, axis) > 1 && !axes.IsKept(value, axis)) return axis;
  }
  return -1;
}

// Positions of two runs of the same elements.
void JoinRun(ChannelAxes& axes, const onnx::NodeProto& node, const std::vector<int>& in,
             const std::vector<int>& out) {
  const std::string &x = node.input(0), &y = node.output(0);
  const int a = Primary(axes, x, in), b = Primary(axes, y, out);
  for (const auto& [value, run, primary] : {std::tuple(x, in, a), std::tuple(y, out, b)}) {
    for (const int axis : run) {
      const bool stays = axis != primary || a < 0 || b < 0;
      if (stays) axes.Keep(value, axis, "several axes become one", node);
    }
  }
  if (a < 0 || b < 0) return;
  // Elements from one position of the axis to the next, and positions.
  const auto below = [&](const std::string& value, const std::vector<int>& run, int primary) {
    int64_t elements = 1;
    for (const int axis : run) elements *= axis > primary ? axes.Extent(value, axis) : 1;
    return elements;
  };
  const int64_t step_a = below(x, in, a), step_b = below(y, out, b);
  int64_t total = 1;
  for (const int axis : in) total *= axes.Extent(x, axis);
  for (int64_t at = 0; at < total; at += std::gcd(step_a, step_b)) {
    axes.JoinPositions(x, a, at / step_a % axes.Extent(x, a), y, b,
                       at / step_b % axes.Extent(y, b));
  }
}

void JoinReshape(ChannelAxes& axes, const onnx::NodeProto& node) {
  const std::string &x = node.input(0), &y = node.output(0);
  const std::vector<int64_t>*in = axes.shapes().Find(x), *out = axes.shapes().Find(y);
  if (in == nullptr || out == nullptr) return axes.KeepNode(node, "the shape is not known");
  if (node.op_type() == "Reshape" && axes.Constant(node.input(1)) == nullptr &&
      !ConstantShape(*in, *out).has_value()) {
    return axes.KeepNode(node, "its shape is computed");
  }
  const Matching match = Match(*in, *out);
  for (const int axis : match.lost_in) axes.Keep(x, axis, "axes of unknown extents mix", node);
  for (const int axis : match.lost_out) axes.Keep(y, axis, "axes of unknown extents mix", node);
  for (const auto& [a, b] : match.runs) {
    if (a.size() == 1 && b.size() == 1) {
      axes.Join(x, a[0], y, b[0], node);
    } else {
      axes.Later([&axes, &node, a, b] { JoinRun(axes, node, a, b); });
    }
  }
}

absl::Status RewriteReshape(ChannelRewriter& rewriter, onnx::NodeProto& node) {
  const std::string x = node.input(0), y = node.output(0);
  if (rewriter.Integers(node.input(1)).has_value()) return rewriter.PatchExtents(node, 1, y);
  const std::vector<int64_t>*in = rewriter.Shape(x), *out = rewriter.Shape(y);
  if (in == nullptr || out == nullptr) return absl::OkStatus();
  auto shape = ConstantShape(*in, *out);
  if (!shape.has_value()) return absl::OkStatus();
  for (size_t axis = 0; axis < shape->size(); ++axis) {
    if ((*shape)[axis] > 0) (*shape)[axis] = rewriter.Extent(y, static_cast<int>(axis));
  }
  auto& attributes = *node.mutable_attribute();
  for (int i = attributes.size() - 1; i >= 0; --i) {
    if (attributes[i].name() == "allowzero") attributes.DeleteSubrange(i, 1);
  }
  return rewriter.SetIntegers(node, 1, *shape);
}

void JoinTranspose(ChannelAxes& axes, const onnx::NodeProto& node) {
  const std::string &x = node.input(0), &y = node.output(0);
  const int rank = axes.Rank(x);
  if (rank < 0 || axes.Rank(y) != rank) return axes.KeepNode(node, "the shape is not known");
  const auto* perm = FindAttribute(node, "perm");
  if (perm != nullptr && perm->ints_size() != rank) {
    return axes.KeepNode(node, "a permutation that does not fit");
  }
  for (int axis = 0; axis < rank; ++axis) {
    axes.Join(x, perm != nullptr ? static_cast<int>(perm->ints(axis)) : rank - 1 - axis, y, axis,
              node);
  }
}

// Squeeze and Unsqueeze: the axes of the longer shape that the other one has not.
void JoinSqueeze(ChannelAxes& axes, const onnx::NodeProto& node) {
  const bool longer = node.op_type() == "Unsqueeze";
  const std::string &x = node.input(0), &y = node.output(0);
  const std::string& long_value = longer ? y : x;
  const std::string& short_value = longer ? x : y;
  const int rank = axes.Rank(long_value);
  auto gone = AxesOf(axes, node, 1, rank);
  if (rank < 0 || axes.Rank(short_value) < 0 || !gone.has_value()) {
    return axes.KeepNode(node, "axes that are not known");
  }
  if (gone->empty() && !longer) {
    for (int axis = 0; axis < rank; ++axis) {
      if (axes.Extent(x, axis) == 1) gone->push_back(axis);
    }
  }
  if (rank - static_cast<int>(gone->size()) != axes.Rank(short_value)) {
    return axes.KeepNode(node, "axes that are not known");
  }
  int other = 0;
  for (int axis = 0; axis < rank; ++axis) {
    if (std::ranges::contains(*gone, axis)) {
      axes.Keep(long_value, axis, "an axis of one position", node);
      continue;
    }
    axes.Join(long_value, axis, short_value, other++, node);
  }
}

void JoinExpand(ChannelAxes& axes, const onnx::NodeProto& node) {
  const std::string &x = node.input(0), &y = node.output(0);
  const int rank = axes.Rank(y);
  if (axes.Rank(x) < 0 || rank < axes.Rank(x) || !axes.Integers(node.input(1)).has_value()) {
    return axes.KeepNode(node, "its shape is computed");
  }
  const int offset = rank - axes.Rank(x);
  for (int axis = 0; axis < rank; ++axis) {
    const int64_t extent = axis < offset ? 1 : axes.Extent(x, axis - offset);
    if (extent == 1 && axes.Extent(y, axis) != 1) {
      axes.Keep(y, axis, "one number is spread over it", node);
    } else if (axis >= offset) {
      axes.Join(x, axis - offset, y, axis, node);
    }
  }
}

absl::Status RewriteExpand(ChannelRewriter& rewriter, onnx::NodeProto& node) {
  return rewriter.PatchExtents(node, 1, node.output(0));
}

void JoinTile(ChannelAxes& axes, const onnx::NodeProto& node) {
  const std::string &x = node.input(0), &y = node.output(0);
  const auto repeats = node.input_size() > 1 ? axes.Integers(node.input(1)) : std::nullopt;
  const int rank = axes.Rank(x);
  if (rank < 0 || axes.Rank(y) != rank || !repeats.has_value() ||
      static_cast<int>(repeats->size()) != rank) {
    return axes.KeepNode(node, "its repeats are computed");
  }
  for (int axis = 0; axis < rank; ++axis) {
    if ((*repeats)[axis] == 1) {
      axes.Join(x, axis, y, axis, node);
    } else {
      axes.Keep(x, axis, "it is repeated", node);
      axes.Keep(y, axis, "it is repeated", node);
    }
  }
}

// What it makes may become shorter with what meets it.
void JoinConstantOfShape(ChannelAxes& axes, const onnx::NodeProto& node) {
  if (!axes.Integers(node.input(0)).has_value()) axes.KeepNode(node, "its shape is computed");
}

absl::Status RewriteConstantOfShape(ChannelRewriter& rewriter, onnx::NodeProto& node) {
  return rewriter.PatchExtents(node, 0, node.output(0));
}

// Whether numbers made of extents go nowhere but into shapes of Reshapes, which are put right.
bool OnlyShapesReshapes(ChannelAxes& axes, const std::string& value, int depth) {
  constexpr int kDeepest = 32;
  static constexpr std::string_view kArithmetic[] = {"Add",   "Cast",    "Concat",   "Div",
                                                     "Floor", "Gather",  "Identity", "Mul",
                                                     "Slice", "Squeeze", "Sub",      "Unsqueeze"};
  if (depth > kDeepest || axes.index().IsGraphOutput(axes.graph(), value)) return false;
  for (const Use& use : axes.index().Uses(axes.graph(), value)) {
    const onnx::NodeProto& node = *use.node;
    if (use.graph != &axes.graph() || !IsDefaultDomain(node.domain())) return false;
    if (node.op_type() == "Reshape" && use.input == 1) {
      const auto *in = axes.shapes().Find(node.input(0)), *out = axes.shapes().Find(node.output(0));
      if (in == nullptr || out == nullptr || !ConstantShape(*in, *out).has_value()) return false;
      continue;
    }
    if (std::ranges::find(kArithmetic, node.op_type()) == std::end(kArithmetic)) return false;
    if (!OnlyShapesReshapes(axes, node.output(0), depth + 1)) return false;
  }
  return true;
}

// Axes whose extents are used for anything else stay whole.
void JoinShape(ChannelAxes& axes, const onnx::NodeProto& node) {
  constexpr std::string_view kRead = "its extent is computed with";
  const std::string &x = node.input(0), &y = node.output(0);
  if (node.op_type() == "Size" || FindAttribute(node, "start") != nullptr ||
      FindAttribute(node, "end") != nullptr || axes.index().IsGraphOutput(axes.graph(), y)) {
    return axes.KeepValue(x, kRead, NodeName(node));
  }
  for (const Use& use : axes.index().Uses(axes.graph(), y)) {
    const auto entries =
        use.graph == &axes.graph() && use.node->op_type() == "Gather" && use.input == 0
            ? axes.Integers(use.node->input(1))
            : std::nullopt;
    const bool harmless = use.graph == &axes.graph() && use.node->op_type() != "Reshape" &&
                          use.node->output_size() == 1 &&
                          OnlyShapesReshapes(axes, use.node->output(0), 0);
    if (harmless) continue;
    if (!entries.has_value()) return axes.KeepValue(x, kRead, NodeName(*use.node));
    for (const int64_t entry : *entries) {
      axes.Keep(x, static_cast<int>(entry < 0 ? entry + axes.Rank(x) : entry), kRead, node);
    }
  }
}

}  // namespace

std::span<const OperatorRule> ReshapeRules() {
  static constexpr OperatorRule kRules[] = {
      {"Reshape", JoinReshape, RewriteReshape},
      {"Flatten", JoinReshape},
      {"Transpose", JoinTranspose},
      {"Squeeze", JoinSqueeze},
      {"Unsqueeze", JoinSqueeze},
      {"Expand", JoinExpand, RewriteExpand},
      {"Tile", JoinTile},
      {"ConstantOfShape", JoinConstantOfShape, RewriteConstantOfShape},
      {"Shape", JoinShape},
      {"Size", JoinShape},
  };
  return kRules;
}

}  // namespace modelpress
