// Images of other sizes, smoothed before they are sampled (antialias): _upsample_bilinear2d_aa, _upsample_bicubic2d_aa.
//
// Each pixel of the result is a weighted mean of those of the source around its place, for each axis by itself; the weights
// are those of a triangle or a cubic (a = -0.5) that is as much wider as the axis shrinks. So it is a product with one matrix
// for each axis: as in aten/src/ATen/native/cpu/UpSampleKernel.cpp, _compute_weights_aa. (Resize with antialias gives other
// numbers in version 1.21 of the runtime.)
#include <algorithm>
#include <cmath>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

double Triangle(double x) { return std::max(0.0, 1 - std::abs(x)); }

double Cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

// Weights of [out, in] places; `scale` source pixels for each of the result.
std::vector<float> Weights(int64_t in, int64_t out, double scale, bool cubic) {
  const double reach = cubic ? 2 : 1, stretch = std::max(scale, 1.0), support = reach * stretch;
  std::vector<float> all(static_cast<size_t>(in * out), 0);
  std::vector<double> weights;
  for (int64_t o = 0; o < out; ++o) {
    const double center = scale * (static_cast<double>(o) + 0.5);
    const int64_t first = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5), 0);
    const int64_t last =
        std::clamp<int64_t>(static_cast<int64_t>(center + support + 0.5), first, in);
    double total = 0;
    weights.clear();
    for (int64_t i = first; i < last; ++i) {
      const double at = (static_cast<double>(i) - center + 0.5) / stretch;
      weights.push_back(cubic ? Cubic(at) : Triangle(at));
      total += weights.back();
    }
    for (int64_t i = first; i < last && total != 0; ++i)
      all[static_cast<size_t>(o * in + i)] =
          static_cast<float>(weights[static_cast<size_t>(i - first)] / total);
  }
  return all;
}

void Smoothed(OperatorContext& c) {
  const std::string_view self = c.Has("self") ? "self" : "input";
  if (c.Rank(self) != 4) return c.Malformed("its input is no batch of images");
  const DataType type = FloatOnly(c.Target().type);
  const bool corners = c.Bool("align_corners", false), cubic = c.name().contains("cubic");
  std::string y = c.InAs(self, type);
  for (const int64_t axis : {3, 2}) {
    const int64_t in = c.Extent(self, axis);
    const TensorMeta& target = c.Target();
    const int64_t out =
        target.rank() == 4 ? target.sizes[static_cast<size_t>(axis)].value.value_or(-1) : -1;
    if (in < 1 || out < 1)
      return c.Refuse("its extents are not known before the model runs", "give --input-shape");
    if (!c.Affordable(static_cast<double>(in) * static_cast<double>(out))) return;
    double factor = 0;
    if (const Argument* list = c.Find("scale_factors");
        list != nullptr && list->floats.size() == 2) {
      factor = list->floats[static_cast<size_t>(axis - 2)];
    } else if (list == nullptr) {
      factor = c.Float(axis == 3 ? "scales_w" : "scales_h", 0);
    }
    double scale = factor > 0 ? 1 / factor : static_cast<double>(in) / static_cast<double>(out);
    if (corners) scale = out > 1 ? static_cast<double>(in - 1) / static_cast<double>(out - 1) : 0;
    if (!(scale >= 0) || !(scale < 1e9)) return c.Malformed("its factors are absurd");
    std::vector<float> weights = Weights(in, out, scale, cubic);
    if (axis == 2) {
      const std::string rows =
          c.Cast(c.model().Floats(weights, Ints{out, in}), DataType::kFloat, type);
      y = c.Add("MatMul", {rows, y});
      continue;
    }
    std::vector<float> turned(weights.size());
    for (int64_t o = 0; o < out; ++o) {
      for (int64_t i = 0; i < in; ++i)
        turned[static_cast<size_t>(i * out + o)] = weights[static_cast<size_t>(o * in + i)];
    }
    y = c.Add("MatMul",
              {y, c.Cast(c.model().Floats(turned, Ints{in, out}), DataType::kFloat, type)});
  }
  c.Out(y, type);
}

}  // namespace

void RegisterPt2Operators_antialias(OperatorRegistry& registry) {
  registry.Add({"aten._upsample_bilinear2d_aa", "aten._upsample_bicubic2d_aa"}, Smoothed);
}

}  // namespace modelpress::pt2
