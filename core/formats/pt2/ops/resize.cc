// Images of other sizes, and samples at points.
//
//   upsample_nearest -> Resize nearest, asymmetric, floor        _upsample_nearest_exact -> half_pixel, round up at halves
//   upsample_linear, bilinear, trilinear, bicubic -> Resize linear or cubic (a = -0.75), align_corners or half_pixel
//   grid_sampler -> GridSample      affine_grid_generator -> constant base points times theta
// Where factors were given, points are computed from them and not from the sizes, as torch does.
#include <algorithm>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

std::string_view Input(OperatorContext& c) { return c.Has("self") ? "self" : "input"; }

// Factors of the spatial axes; empty where sizes are given.
std::vector<double> Factors(OperatorContext& c, int axes) {
  std::vector<double> factors;
  if (const Argument* list = c.Find("scale_factors"); list != nullptr) {
    factors = list->floats;
    if (factors.empty()) {
      for (const SymInt& value : list->ints) factors.push_back(static_cast<double>(value.value));
    }
  } else {
    // Overloads that always have sizes may say the factors that they came from.
    constexpr std::string_view kNames[] = {"scales_d", "scales_h", "scales_w"};
    const bool single = c.Has("scales");
    for (int i = 3 - axes; i < 3; ++i) {
      const std::string_view name = single ? "scales" : kNames[i];
      if (c.Has(name)) factors.push_back(c.Float(name, 1));
    }
  }
  if (!factors.empty() && factors.size() != static_cast<size_t>(axes)) {
    c.Malformed("it has another number of factors than of axes");
    factors.assign(static_cast<size_t>(axes), 1);
  }
  for (const double factor : factors) {
    if (!(factor > 0) || factor > 65536) c.Malformed("a factor is not valid");
  }
  return factors;
}

void Upsample(OperatorContext& c) {
  const std::string_view name = c.name(), self = Input(c);
  const int axes = name.contains("1d") ? 1 : name.contains("2d") ? 2 : 3;
  if (c.Rank(self) != axes + 2)
    return c.Malformed("its input has other axes than batch, channels and its own");
  const DataType type = FloatOnly(c.Target().type);
  std::string x = c.InAs(self, type);
  const std::vector<double> factors = Factors(c, axes);
  const bool line = axes == 1 && !name.contains("nearest");
  std::string scales, sizes;
  if (!factors.empty()) {
    std::vector<float> values = {1, 1};
    if (line) values.push_back(1);
    for (const double factor : factors) values.push_back(static_cast<float>(factor));
    scales = c.model().Floats(values, Ints{static_cast<int64_t>(values.size())});
  } else {
    absl::StatusOr<std::string> shape = c.scope().ShapeValue(c.Target().sizes);
    if (!shape.ok()) return c.Fail(shape.status());
    sizes = *shape;
    if (line) {
      const Names parts = {c.Slice(sizes, 0, 0, 2), c.Ints64({1}), c.Slice(sizes, 0, 2, 3)};
      sizes = c.Concat(parts, 0);
    }
  }
  if (line) x = c.Unsqueeze(x, {2});  // the runtime interpolates along two axes
  Attributes attributes;
  if (name.contains("nearest")) {
    const bool exact = name.contains("exact");
    attributes = {
        {"mode", std::string("nearest")},
        {"coordinate_transformation_mode",
         exact ? std::string("half_pixel") : std::string("asymmetric")},
        {"nearest_mode", exact ? std::string("round_prefer_ceil") : std::string("floor")}};
  } else {
    const bool corners = c.Bool("align_corners", false), cubic = name.contains("cubic");
    attributes = {{"mode", cubic ? std::string("cubic") : std::string("linear")},
                  {"coordinate_transformation_mode",
                   corners ? std::string("align_corners") : std::string("half_pixel")}};
    if (cubic) attributes.push_back({"cubic_coeff_a", -0.75F});
  }
  std::string y = c.Add("Resize", {x, "", scales, sizes}, std::move(attributes));
  if (line) y = c.Squeeze(y, {2});
  c.Out(y, type);
}

void GridSample(OperatorContext& c) {
  const DataType type = FloatOnly(c.Target().type);
  const int64_t mode = c.Int("interpolation_mode", 0), padding = c.Int("padding_mode", 0);
  if (mode < 0 || mode > 2 || padding < 0 || padding > 2)
    return c.Malformed("its mode is not known");
  constexpr const char* kModes[] = {"linear", "nearest", "cubic"};
  constexpr const char* kPaddings[] = {"zeros", "border", "reflection"};
  c.Out(c.Add("GridSample", {c.InAs("input", type), c.InAs("grid", type)},
              {{"mode", std::string(kModes[mode])},
               {"padding_mode", std::string(kPaddings[padding])},
               {"align_corners", int64_t{c.Bool("align_corners", false)}}}),
        type);
}

void AffineGrid(OperatorContext& c) {
  const DataType type = FloatOnly(c.Target().type);
  const Ints size = c.IntList("size");
  if (size.size() != 4 && size.size() != 5)
    return c.Malformed("its size has other than four or five axes");
  double count = 1;
  for (size_t i = 2; i < size.size(); ++i)
    count *= static_cast<double>(std::max<int64_t>(size[i], 0));
  if (!c.Affordable(count * static_cast<double>(size.size() - 1))) return;
  const bool corners = c.Bool("align_corners", false);
  const auto point = [&](int64_t i, int64_t extent) {
    if (extent <= 1) return 0.0F;
    const double step = 2.0 / static_cast<double>(corners ? extent - 1 : extent);
    return static_cast<float>((corners ? -1.0 : -1.0 + step / 2) + step * static_cast<double>(i));
  };
  // x, y(, z) and 1 of every point, x the fastest.
  std::vector<float> base;
  const int64_t depth = size.size() == 5 ? size[2] : 1, height = size[size.size() - 2],
                width = size.back();
  for (int64_t z = 0; z < depth; ++z) {
    for (int64_t y = 0; y < height; ++y) {
      for (int64_t x = 0; x < width; ++x) {
        base.push_back(point(x, width));
        base.push_back(point(y, height));
        if (size.size() == 5) base.push_back(point(z, depth));
        base.push_back(1);
      }
    }
  }
  const int64_t columns = static_cast<int64_t>(size.size()) - 1, rows = static_cast<int64_t>(count);
  const std::string points =
      c.Cast(c.model().Floats(base, Ints{rows, columns}), DataType::kFloat, type);
  const std::string grid =
      c.Add("MatMul", {points, c.builder().Transpose(c.InAs("theta", type), {0, 2, 1})});
  Ints dims = {size[0]};
  dims.insert(dims.end(), size.begin() + 2, size.end());
  dims.push_back(columns - 1);
  c.Out(c.Reshape(grid, dims), type);
}

}  // namespace

void RegisterPt2Operators_resize(OperatorRegistry& registry) {
  registry.Add({"aten.upsample_nearest1d", "aten.upsample_nearest2d", "aten.upsample_nearest3d",
                "aten._upsample_nearest_exact1d", "aten._upsample_nearest_exact2d",
                "aten._upsample_nearest_exact3d", "aten.upsample_linear1d",
                "aten.upsample_bilinear2d", "aten.upsample_trilinear3d", "aten.upsample_bicubic2d"},
               Upsample);
  registry.Add({"aten.grid_sampler", "aten.grid_sampler_2d", "aten.grid_sampler_3d"}, GridSample);
  registry.Add("aten.affine_grid_generator", AffineGrid);
}

}  // namespace modelpress::pt2
