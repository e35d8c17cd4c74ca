// Distances between vectors, by their formulas.
//
//   cosine_similarity, pairwise_distance, cdist (all rows of two tensors), pdist (all pairs of rows of one)
#include <cmath>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

std::string Length(OperatorContext& c, const std::string& x, const Ints& axes, bool keep) {
  if (axes.empty()) return c.Add("Abs", {x});
  return c.Add("ReduceL2", {x, c.Ints64(axes)}, {{"keepdims", int64_t{keep}}});
}

void Cosine(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string a = c.InAs("x1", type), b = c.InAs("x2", type);
  const int rank = std::max(c.Rank("x1"), c.Rank("x2"));
  int64_t axis = c.Axis("dim", 1, rank);
  // From the end, where one of them has fewer axes.
  if (c.Rank("x1") != c.Rank("x2")) axis -= rank;
  const std::string epsilon = c.Number(type, c.Float("eps", 1e-8));
  const auto divided = [&](const std::string& x) {
    return c.Add("Div", {x, c.Add("Max", {Length(c, x, {axis}, true), epsilon})});
  };
  c.Out(c.Add("ReduceSum", {c.Add("Mul", {divided(a), divided(b)}), c.Ints64({axis})},
              {{"keepdims", int64_t{0}}}),
        type);
}

// The norm of order p of `apart` along its last axis.
std::string Distance(OperatorContext& c, const std::string& apart, double p, DataType type,
                     bool keep) {
  const Attributes attributes = {{"keepdims", int64_t{keep}}};
  const std::string axes = c.Ints64({-1});
  if (p == 2) return Length(c, apart, {-1}, keep);
  const std::string magnitude = c.Add("Abs", {apart});
  if (p == 1) return c.Add("ReduceSum", {magnitude, axes}, attributes);
  if (std::isinf(p)) return c.Add("ReduceMax", {magnitude, axes}, attributes);
  if (p == 0) {
    const std::string is =
        c.Cast(c.Add("Greater", {magnitude, c.Number(type, 0)}), DataType::kBool, type);
    return c.Add("ReduceSum", {is, axes}, attributes);
  }
  const std::string sum =
      c.Add("ReduceSum", {c.Add("Pow", {magnitude, c.Number(type, p)}), axes}, attributes);
  return c.Add("Pow", {sum, c.Number(type, 1 / p)});
}

void PairwiseDistance(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string apart = c.Add("Add", {c.Add("Sub", {c.InAs("x1", type), c.InAs("x2", type)}),
                                          c.Number(type, c.Float("eps", 1e-6))});
  c.Out(Distance(c, apart, c.Float("p", 2), type, c.Bool("keepdim", false)), type);
}

void Cdist(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string a = c.Unsqueeze(c.InAs("x1", type), {-2}),
                    b = c.Unsqueeze(c.InAs("x2", type), {-3});
  c.Out(Distance(c, c.Add("Sub", {a, b}), c.Float("p", 2), type, false), type);
}

// Distances of all pairs of rows, i < j.
void PairDistances(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const int64_t rows = c.Extent("self", 0);
  if (rows < 0) return c.Refuse("its number of rows is not known before the model runs");
  if (!c.Affordable(static_cast<double>(rows) * static_cast<double>(rows))) return;
  Ints first, second;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = i + 1; j < rows; ++j) {
      first.push_back(i);
      second.push_back(j);
    }
  }
  const std::string x = c.InAs("self", type);
  const auto taken = [&](const Ints& indices) {
    return c.Add("Gather", {x, c.Ints64(indices)}, {{"axis", int64_t{0}}});
  };
  c.Out(Distance(c, c.Add("Sub", {taken(first), taken(second)}), c.Float("p", 2), type, false),
        type);
}

}  // namespace

void RegisterPt2Operators_distances(OperatorRegistry& registry) {
  registry.Add("aten.cosine_similarity", Cosine);
  registry.Add("aten.pairwise_distance", PairwiseDistance);
  registry.Add({"aten.pdist", "aten._pdist_forward"}, PairDistances);
  registry.Add({"aten.cdist", "aten._cdist_forward"}, Cdist);
}

}  // namespace modelpress::pt2
