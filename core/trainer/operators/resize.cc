// Resize and Upsample: along each axis a product with a matrix of interpolation weights.
#include <algorithm>
#include <cmath>

#include "core/trainer/operator.h"

namespace modelpress::trainer {
namespace {

struct ResizeRule {
  std::string mode, coordinates, nearest;
  double cubic_a = -0.75, extrapolation = 0;
  bool antialias = false, exclude_outside = false;
};

// Position in the input of output `i`, by coordinate_transformation_mode (ONNX, Resize).
double SourceOf(const ResizeRule& rule, int64_t i, int64_t in, int64_t out, double scale,
                double roi_start, double roi_end) {
  const double x = static_cast<double>(i);
  const double in_length = static_cast<double>(in), out_length = static_cast<double>(out);
  if (rule.coordinates == "asymmetric") return x / scale;
  if (rule.coordinates == "align_corners") {
    return out == 1 ? 0 : x * (in_length - 1) / (out_length - 1);
  }
  if (rule.coordinates == "pytorch_half_pixel") return out > 1 ? (x + 0.5) / scale - 0.5 : 0;
  if (rule.coordinates == "half_pixel_symmetric") {
    const double adjustment = out_length / (scale * in_length);
    const double offset = in_length / 2 * (1 - adjustment);
    return offset + (x + 0.5) / scale - 0.5;
  }
  if (rule.coordinates == "tf_crop_and_resize") {
    return out > 1 ? roi_start * (in_length - 1) +
                         x * (roi_end - roi_start) * (in_length - 1) / (out_length - 1)
                   : 0.5 * (roi_start + roi_end) * (in_length - 1);
  }
  return (x + 0.5) / scale - 0.5;
}

int64_t NearestOf(const ResizeRule& rule, double source) {
  if (rule.nearest == "floor") return static_cast<int64_t>(std::floor(source));
  if (rule.nearest == "ceil") return static_cast<int64_t>(std::ceil(source));
  if (rule.nearest == "round_prefer_ceil") return static_cast<int64_t>(std::floor(source + 0.5));
  return static_cast<int64_t>(std::ceil(source - 0.5));
}

// Keys' cubic kernel, and the triangle.
double Kernel(const ResizeRule& rule, double x) {
  x = std::abs(x);
  if (rule.mode == "linear") return std::max(0.0, 1 - x);
  const double a = rule.cubic_a;
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

// [out, in] weights. Rows whose source lies outside are left 0 with tf_crop_and_resize; `outside` says which.
std::vector<double> Weights(const ResizeRule& rule, int64_t in, int64_t out, double scale,
                            double roi_start, double roi_end, std::vector<bool>* outside) {
  std::vector<double> weights(static_cast<size_t>(in * out), 0);
  outside->assign(static_cast<size_t>(out), false);
  const double stretch = rule.antialias && scale < 1 ? 1 / scale : 1;
  const double reach = (rule.mode == "cubic" ? 2 : 1) * stretch;
  for (int64_t i = 0; i < out; ++i) {
    const double source = SourceOf(rule, i, in, out, scale, roi_start, roi_end);
    double* const row = weights.data() + i * in;
    if (rule.coordinates == "tf_crop_and_resize" &&
        (source < 0 || source > static_cast<double>(in - 1))) {
      (*outside)[static_cast<size_t>(i)] = true;
      continue;
    }
    if (rule.mode == "nearest") {
      row[std::clamp<int64_t>(NearestOf(rule, source), 0, in - 1)] = 1;
      continue;
    }
    double sum = 0;
    const auto first = static_cast<int64_t>(std::floor(source - reach)) + 1;
    const auto last = static_cast<int64_t>(std::ceil(source + reach)) - 1;
    for (int64_t at = first; at <= last; ++at) {
      const bool beyond = at < 0 || at >= in;
      if (beyond && rule.exclude_outside) continue;
      const double weight = Kernel(rule, (source - static_cast<double>(at)) / stretch);
      row[std::clamp<int64_t>(at, 0, in - 1)] += weight;
      sum += weight;
    }
    if (sum != 0) {
      for (int64_t at = 0; at < in; ++at) row[at] /= sum;
    }
  }
  return weights;
}

at::Tensor ResizeAxis(const ResizeRule& rule, const at::Tensor& x, int64_t axis, int64_t out,
                      double scale, double roi_start, double roi_end) {
  std::vector<bool> outside;
  const std::vector<double> weights =
      Weights(rule, x.size(axis), out, scale, roi_start, roi_end, &outside);
  const at::Tensor matrix =
      at::tensor(weights, at::kDouble).view({out, x.size(axis)}).to(x.scalar_type());
  at::Tensor y = at::matmul(x.transpose(axis, -1), matrix.t()).transpose(axis, -1);
  if (std::ranges::contains(outside, true)) {
    std::vector<int64_t> shape(x.dim(), 1), rows(outside.begin(), outside.end());
    shape[axis] = out;
    const at::Tensor is_outside = at::tensor(rows, at::kLong).view(shape).to(at::kBool);
    y = at::where(is_outside, at::full({}, rule.extrapolation, y.options()), y);
  }
  return y;
}

Tensors Resize(const OperatorCall& call) {
  const at::Tensor& input = call[0];
  const bool old = call.node().op_type() == "Upsample" || call.opset() < 11;
  const ResizeRule rule{
      .mode = call.String("mode", "nearest"),
      .coordinates =
          call.String("coordinate_transformation_mode", old ? "asymmetric" : "half_pixel"),
      .nearest = call.String("nearest_mode", old ? "floor" : "round_prefer_floor"),
      .cubic_a = call.Float("cubic_coeff_a", -0.75f),
      .extrapolation = call.Float("extrapolation_value", 0),
      .antialias = call.Int("antialias", 0) != 0,
      .exclude_outside = call.Int("exclude_outside", 0) != 0,
  };
  std::vector<int64_t> axes = call.Ints("axes");
  if (axes.empty()) {
    for (int64_t i = 0; i < input.dim(); ++i) axes.push_back(i);
  }
  std::vector<double> scales = call.Floats("scales");
  const size_t scales_at = old ? 1 : 2;
  if (scales.empty() && call.Has(scales_at) && call[scales_at].numel() > 0) {
    const at::Tensor given = call[scales_at].detach().to(at::kDouble).contiguous();
    scales.assign(given.const_data_ptr<double>(), given.const_data_ptr<double>() + given.numel());
  }
  std::vector<int64_t> sizes = old ? std::vector<int64_t>() : call.IntsAt(3);
  if (sizes.size() != axes.size() && scales.size() != axes.size()) {
    throw OperatorError("sizes or scales must be given for each axis");
  }
  std::vector<double> roi;
  if (!old && call.Has(1) && rule.coordinates == "tf_crop_and_resize") {
    const at::Tensor given = call[1].detach().to(at::kDouble).contiguous();
    roi.assign(given.const_data_ptr<double>(), given.const_data_ptr<double>() + given.numel());
    if (roi.size() != 2 * axes.size()) throw OperatorError("roi has another length than the axes");
  }
  const std::string policy = call.String("keep_aspect_ratio_policy", "stretch");
  if (!sizes.empty() && policy != "stretch") {
    double common = policy == "not_larger" ? INFINITY : 0;
    for (size_t i = 0; i < axes.size(); ++i) {
      const double scale = static_cast<double>(sizes[i]) / input.size(Axis(axes[i], input.dim()));
      common = policy == "not_larger" ? std::min(common, scale) : std::max(common, scale);
    }
    scales.assign(axes.size(), common);
    for (size_t i = 0; i < axes.size(); ++i) {
      sizes[i] = std::lround(common * input.size(Axis(axes[i], input.dim())));
    }
  }
  at::Tensor y = input.is_floating_point() ? input : input.to(at::kFloat);
  for (size_t i = 0; i < axes.size(); ++i) {
    const int64_t axis = Axis(axes[i], y.dim()), in = y.size(axis);
    const double scale =
        scales.empty() ? static_cast<double>(sizes[i]) / static_cast<double>(in) : scales[i];
    const int64_t out = sizes.empty() ? static_cast<int64_t>(std::floor(in * scale)) : sizes[i];
    if (out == in && scale == 1 && roi.empty()) continue;
    y = ResizeAxis(rule, y, axis, out, scale, roi.empty() ? 0 : roi[i],
                   roi.empty() ? 1 : roi[i + axes.size()]);
  }
  return {y.to(input.scalar_type())};
}

Tensors GridSample(const OperatorCall& call) {
  const std::string mode = call.String("mode", "linear"),
                    padding = call.String("padding_mode", "zeros");
  const int64_t interpolation = mode == "nearest" ? 1 : mode.ends_with("cubic") ? 2 : 0;
  const int64_t border = padding == "border" ? 1 : padding == "reflection" ? 2 : 0;
  return {
      at::grid_sampler(call[0], call[1], interpolation, border, call.Int("align_corners", 0) != 0)};
}

}  // namespace

void RegisterOperators_resize(OperatorRegistry& registry) {
  registry.Add("Resize", Resize);
  registry.Add("Upsample", Resize);
  registry.Add("GridSample", GridSample);
}

}  // namespace modelpress::trainer
