// Padding: pad, constant_pad_nd, reflection_pad, replication_pad.
//
//   constant -> Pad (negative amounts cut; Slice where nothing is added)    reflect -> Pad "reflect"    replicate -> Pad "edge"
//   circular -> Pad "wrap"
// torch lists amounts from the last axis on, begin and end of each.
#include <algorithm>
#include <limits>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();

std::string Cut(OperatorContext& c, std::string x, Ints& begins, Ints& ends) {
  Ints first, last, axes;
  for (size_t axis = 0; axis < begins.size(); ++axis) {
    if (begins[axis] >= 0 && ends[axis] >= 0) continue;
    first.push_back(std::max<int64_t>(0, -begins[axis]));
    last.push_back(ends[axis] < 0 ? ends[axis] : kEnd);
    axes.push_back(static_cast<int64_t>(axis));
    begins[axis] = std::max<int64_t>(0, begins[axis]);
    ends[axis] = std::max<int64_t>(0, ends[axis]);
  }
  return axes.empty() ? x : c.builder().Slice(x, first, last, axes);
}

void Pad(OperatorContext& c) {
  const std::string_view name = c.name();
  std::string mode = c.Text("mode", "constant");
  if (name.starts_with("reflection")) mode = "reflect";
  if (name.starts_with("replication")) mode = "replicate";
  const int rank = c.Rank("self");
  const Ints amounts = c.IntList(name == "pad" || name == "constant_pad_nd" ? "pad" : "padding");
  if (amounts.size() % 2 != 0 || amounts.size() > 2 * static_cast<size_t>(rank)) {
    return c.Malformed("its amounts do not fit its axes");
  }
  Ints begins(static_cast<size_t>(rank), 0), ends = begins;
  for (size_t i = 0; i < amounts.size() / 2; ++i) {
    constexpr int64_t kMost = int64_t{1} << 40;
    const auto absurd = [](int64_t amount) { return amount > kMost || amount < -kMost; };
    if (absurd(amounts[2 * i]) || absurd(amounts[2 * i + 1])) {
      return c.Malformed("its amounts are absurd");
    }
    begins[begins.size() - 1 - i] = amounts[2 * i];
    ends[ends.size() - 1 - i] = amounts[2 * i + 1];
  }
  const DataType own = c.OutType();
  const bool kernel =
      own != DataType::kInt16 && own != DataType::kUint16 && own != DataType::kBfloat16;
  const DataType type = kernel ? own : ComputeType(c.Target().type);
  std::string x = c.InAs("self", type);
  const auto adds = [](const Ints& list) {
    return std::ranges::any_of(list, [](int64_t amount) { return amount > 0; });
  };
  if (mode != "constant" || (!adds(begins) && !adds(ends))) x = Cut(c, x, begins, ends);
  Ints pads = begins;
  pads.insert(pads.end(), ends.begin(), ends.end());
  if (std::ranges::all_of(pads, [](int64_t amount) { return amount == 0; })) return c.Out(x, type);
  if (mode == "constant") {
    Names inputs = {x, c.Ints64(pads)};
    if (c.Has("value") && c.Float("value", 0) != 0) inputs.push_back(c.InAs("value", type));
    return c.Out(c.Add("Pad", std::move(inputs)), type);
  }
  if (mode == "replicate") mode = "edge";
  if (mode == "circular") mode = "wrap";
  if (mode != "reflect" && mode != "edge" && mode != "wrap")
    return c.Refuse("its mode is not known");
  c.Out(c.Add("Pad", {x, c.Ints64(pads)}, {{"mode", mode}}), type);
}

}  // namespace

void RegisterPt2Operators_pad(OperatorRegistry& registry) {
  registry.Add({"aten.pad", "aten.constant_pad_nd", "aten.reflection_pad1d",
                "aten.reflection_pad2d", "aten.reflection_pad3d", "aten.replication_pad1d",
                "aten.replication_pad2d", "aten.replication_pad3d"},
               Pad);
}

}  // namespace modelpress::pt2
