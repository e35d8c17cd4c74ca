// Running sums and the like along an axis.
//
//   cumsum -> CumSum
//   cumprod, cummax, cummin, logcumsumexp -> a doubling scan: combined with itself shifted by 1, 2, 4, ... places, so that
//     after log2(n) steps each element has taken in all before it (Hillis and Steele, 1986). The extent must be known.
// Places of cummax and cummin are those of the last of equal elements, as torch's are.
#include <limits>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

enum class Combine { kMul, kMax, kMin, kLogAdd };

std::string LogAdd(OperatorContext& c, const std::string& a, const std::string& b, DataType type) {
  const std::string larger = c.Add("Max", {a, b});
  const std::string apart = c.Add("Abs", {c.Add("Sub", {a, b})});
  const std::string sum =
      c.Add("Log", {c.Add("Add", {c.Number(type, 1), c.Add("Exp", {c.Add("Neg", {apart})})})});
  const std::string unknown = c.Add("IsNaN", {apart});  // both minus infinity
  return c.Add("Where", {unknown, larger, c.Add("Add", {larger, sum})});
}

std::string Step(OperatorContext& c, Combine combine, const std::string& a, const std::string& b,
                 DataType type) {
  switch (combine) {
    case Combine::kMul:
      return c.Add("Mul", {a, b});
    case Combine::kMax:
      return c.Add("Max", {a, b});
    case Combine::kMin:
      return c.Add("Min", {a, b});
    case Combine::kLogAdd:
      return LogAdd(c, a, b, type);
  }
  return a;
}

// The scan; the first elements of each step have nothing before them and stay.
std::string Scan(OperatorContext& c, std::string x, int64_t axis, int64_t extent, Combine combine,
                 DataType type) {
  constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();
  for (int64_t shift = 1; shift < extent; shift *= 2) {
    const std::string head = c.Slice(x, axis, 0, shift);
    const std::string tail =
        Step(c, combine, c.Slice(x, axis, shift, kEnd), c.Slice(x, axis, 0, -shift), type);
    x = c.Concat({head, tail}, axis);
  }
  return x;
}

void CumSum(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string x = c.InAs("self", type);
  const int rank = c.Rank("self");
  const int64_t axis = c.Axis("dim", 0, rank);
  if (rank == 0) return c.Out(x, type);
  c.Out(c.Add("CumSum", {x, c.model().Int64(axis)}), type);
}

void Running(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string x = c.InAs("self", type);
  const int rank = c.Rank("self");
  const int64_t axis = c.Axis("dim", 0, rank), extent = rank == 0 ? 1 : c.Extent("self", axis);
  if (extent < 0)
    return c.Refuse("the extent of its axis is not known before the model runs",
                    "give --input-shape");
  const std::string_view name = c.name();
  const Combine combine = name == "cumprod"  ? Combine::kMul
                          : name == "cummax" ? Combine::kMax
                          : name == "cummin" ? Combine::kMin
                                             : Combine::kLogAdd;
  const std::string y = Scan(c, x, axis, extent, combine, type);
  c.Out(y, type);
  if (!name.starts_with("cumm") || !c.Wants(1)) return;
  Ints numbers, dims(static_cast<size_t>(rank - axis), 1);
  for (int64_t i = 0; i < extent; ++i) numbers.push_back(i);
  if (rank > 0) dims[0] = extent;
  const std::string place = c.Reshape(c.Ints64(numbers), rank == 0 ? Ints{} : dims);
  const std::string own = c.Add("Where", {c.Add("Equal", {x, y}), place, c.model().Int64(-1)});
  c.Out(Scan(c, own, axis, extent, Combine::kMax, DataType::kInt64), DataType::kInt64, 1);
}

}  // namespace

void RegisterPt2Operators_cumulative(OperatorRegistry& registry) {
  registry.Add("aten.cumsum", CumSum);
  registry.Add({"aten.cumprod", "aten.cummax", "aten.cummin", "aten.logcumsumexp"}, Running);
}

}  // namespace modelpress::pt2
