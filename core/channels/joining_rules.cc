// Concat, Split and Slice: channels at an offset.
#include "core/channels/rules.h"

#include <algorithm>

namespace modelpress {
namespace {

void JoinConcat(ChannelAxes& axes, const onnx::NodeProto& node) {
  const std::string& y = node.output(0);
  const int rank = axes.Rank(y);
  const int axis = AxisOf(node, 0, rank);
  for (const std::string& input : node.input()) {
    if (axis < 0 || axes.Rank(input) != rank) {
      return axes.KeepNode(node, "the shape of a Concat is not known");
    }
  }
  bool known = true;
  int64_t offset = 0;
  for (const std::string& input : node.input()) {
    for (int other = 0; other < rank; ++other) {
      if (other != axis) axes.Join(input, other, y, other, node);
    }
    const int64_t extent = axes.Extent(input, axis);
    known = known && extent >= 0;
    for (int64_t i = 0; known && i < extent; ++i) {
      axes.JoinPositions(input, axis, i, y, axis, offset + i);
    }
    if (extent >= 0) offset += extent;
  }
  if (known && offset == axes.Extent(y, axis)) return;
  for (const std::string& input : node.input()) {
    axes.Keep(input, axis, "it is joined to a value of unknown extent", node);
  }
  axes.Keep(y, axis, "it is joined of values of unknown extent", node);
}

void JoinSplit(ChannelAxes& axes, const onnx::NodeProto& node) {
  const std::string& x = node.input(0);
  const int rank = axes.Rank(x);
  const int axis = AxisOf(node, 0, rank);
  int64_t offset = 0;
  for (const std::string& output : node.output()) {
    if (axis < 0 || axes.Rank(output) != rank || axes.Extent(output, axis) < 0) {
      return axes.KeepNode(node, "the sizes of a Split are not known");
    }
    offset += axes.Extent(output, axis);
  }
  if (offset != axes.Extent(x, axis)) {
    return axes.KeepNode(node, "the sizes of a Split are not known");
  }
  offset = 0;
  for (const std::string& output : node.output()) {
    for (int other = 0; other < rank; ++other) {
      if (other != axis) axes.Join(x, other, output, other, node);
    }
    const int64_t extent = axes.Extent(output, axis);
    for (int64_t i = 0; i < extent; ++i) axes.JoinPositions(x, axis, offset + i, output, axis, i);
    offset += extent;
  }
}

absl::Status RewriteSplit(ChannelRewriter& rewriter, onnx::NodeProto& node) {
  const auto* dims = rewriter.Shape(node.input(0));
  if (dims == nullptr) return absl::OkStatus();
  const int axis = AxisOf(node, 0, static_cast<int>(dims->size()));
  if (axis < 0 || rewriter.Kept(node.input(0), axis) == nullptr) return absl::OkStatus();
  std::vector<int64_t> sizes;
  for (const std::string& output : node.output()) sizes.push_back(rewriter.Extent(output, axis));
  auto& attributes = *node.mutable_attribute();
  for (int i = attributes.size() - 1; i >= 0; --i) {
    const bool size = attributes[i].name() == "split" || attributes[i].name() == "num_outputs";
    if (size) attributes.DeleteSubrange(i, 1);
  }
  if (rewriter.opset() >= 13) {
    return rewriter.SetIntegers(node, 1, sizes);
  }
  onnx::AttributeProto& split = *attributes.Add();
  split.set_name("split");
  split.set_type(onnx::AttributeProto::INTS);
  for (const int64_t size : sizes) split.add_ints(size);
  return absl::OkStatus();
}

// One sliced axis, bounds counted from the front and within the extent.
struct Sliced {
  int axis = 0;
  int64_t start = 0, end = 0, step = 1;
};

// `integers(input)` reads a constant. Nothing if the bounds are computed.
template <typename Integers>
std::optional<std::vector<Sliced>> SlicesOf(const onnx::NodeProto& node,
                                            const std::vector<int64_t>& dims,
                                            const Integers& integers) {
  const auto list = [&](const char* name, int input) -> std::optional<std::vector<int64_t>> {
    if (const auto* attribute = FindAttribute(node, name)) {
      return std::vector<int64_t>(attribute->ints().begin(), attribute->ints().end());
    }
    if (input >= node.input_size() || node.input(input).empty()) return std::vector<int64_t>();
    return integers(node.input(input));
  };
  const auto starts = list("starts", 1), ends = list("ends", 2), axes = list("axes", 3),
             steps = list("steps", 4);
  if (!starts || !ends || !axes || !steps || starts->size() != ends->size() ||
      (!axes->empty() && axes->size() != starts->size()) ||
      (!steps->empty() && steps->size() != starts->size())) {
    return std::nullopt;
  }
  const auto rank = static_cast<int64_t>(dims.size());
  std::vector<Sliced> slices;
  for (size_t i = 0; i < starts->size(); ++i) {
    int64_t axis = axes->empty() ? static_cast<int64_t>(i) : (*axes)[i];
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank) return std::nullopt;
    Sliced slice{static_cast<int>(axis), (*starts)[i], (*ends)[i],
                 steps->empty() ? 1 : (*steps)[i]};
    const int64_t extent = dims[static_cast<size_t>(axis)];
    for (int64_t* bound : {&slice.start, &slice.end}) {
      if (extent < 0) break;
      if (*bound < 0) *bound = *bound < -extent ? 0 : *bound + extent;
      *bound = std::min(*bound, extent);
    }
    slices.push_back(slice);
  }
  return slices;
}

void JoinSlice(ChannelAxes& axes, const onnx::NodeProto& node) {
  const std::string &x = node.input(0), &y = node.output(0);
  const std::vector<int64_t>* dims = axes.shapes().Find(x);
  const auto slices =
      dims == nullptr
          ? std::nullopt
          : SlicesOf(node, *dims, [&](const std::string& name) { return axes.Integers(name); });
  if (!slices.has_value() || axes.Rank(y) != static_cast<int>(dims->size())) {
    return axes.KeepNode(node, "the bounds of a Slice are computed");
  }
  for (int axis = 0; axis < static_cast<int>(dims->size()); ++axis) {
    const auto slice = std::ranges::find(*slices, axis, &Sliced::axis);
    if (slice == slices->end()) {
      axes.Join(x, axis, y, axis, node);
      continue;
    }
    const int64_t extent = axes.Extent(y, axis);
    // Bounds that are attributes (before opset 10) are not rewritten.
    if (slice->step != 1 || extent < 0 || extent != slice->end - slice->start ||
        (FindAttribute(node, "starts") != nullptr && extent != axes.Extent(x, axis))) {
      axes.Keep(x, axis, "a part of it is cut out", node);
      axes.Keep(y, axis, "it is cut out of something", node);
      continue;
    }
    for (int64_t i = 0; i < extent; ++i) {
      axes.JoinPositions(x, axis, slice->start + i, y, axis, i);
    }
  }
}

absl::Status RewriteSlice(ChannelRewriter& rewriter, onnx::NodeProto& node) {
  const std::string& x = node.input(0);
  const std::vector<int64_t>* dims = rewriter.Shape(x);
  if (dims == nullptr || !rewriter.IsCut(x) || node.input_size() < 3) return absl::OkStatus();
  const auto slices =
      SlicesOf(node, *dims, [&](const std::string& name) { return rewriter.Integers(name); });
  const auto starts = rewriter.Integers(node.input(1)), ends = rewriter.Integers(node.input(2));
  if (!slices.has_value() || !starts.has_value() || !ends.has_value()) return absl::OkStatus();
  std::vector<int64_t> new_starts = *starts, new_ends = *ends;
  bool changed = false;
  for (size_t i = 0; i < slices->size(); ++i) {
    const auto* kept = rewriter.Kept(x, (*slices)[i].axis);
    if (kept == nullptr) continue;
    const auto below = [&](int64_t bound) {
      return static_cast<int64_t>(std::ranges::lower_bound(*kept, static_cast<uint32_t>(bound)) -
                                  kept->begin());
    };
    new_starts[i] = below((*slices)[i].start);
    new_ends[i] = below((*slices)[i].end);
    changed = true;
  }
  if (!changed) return absl::OkStatus();
  const std::string old_starts = node.input(1), old_ends = node.input(2);
  if (absl::Status status = rewriter.SetIntegers(node, 1, new_starts, old_starts); !status.ok()) {
    return status;
  }
  return rewriter.SetIntegers(node, 2, new_ends, old_ends);
}

}  // namespace

std::span<const OperatorRule> JoiningRules() {
  static constexpr OperatorRule kRules[] = {
      {"Concat", JoinConcat},
      {"Split", JoinSplit, RewriteSplit},
      {"Slice", JoinSlice, RewriteSlice},
  };
  return kRules;
}

}  // namespace modelpress
