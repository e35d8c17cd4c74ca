// Trained tensors: see parameter.h.
#include "core/trainer/parameter.h"

#include <algorithm>

namespace modelpress::trainer {
namespace {

at::Tensor Spread(const at::Tensor& parameters, const TrainParameter& spec, at::IntArrayRef dims) {
  if (spec.axis() < 0) return parameters.reshape({1}).expand({1});
  if (spec.block_size() > 0) {
    return parameters.repeat_interleave(spec.block_size(), spec.axis())
        .narrow(spec.axis(), 0, dims[spec.axis()])
        .contiguous();
  }
  std::vector<int64_t> shape(dims.size(), 1);
  shape[spec.axis()] = -1;
  return parameters.reshape(shape);
}

}  // namespace

Parameter Parameter::OfValues(const TrainParameter& spec, const at::Tensor& values) {
  Parameter parameter;
  parameter.spec_ = &spec;
  parameter.values_ = values.clone();
  if (spec.keep_zeros()) parameter.KeepZeros(parameter.values_);
  parameter.values_.requires_grad_();
  return parameter;
}

Parameter Parameter::Make(const TrainParameter& spec, const InheritedFiles& files) {
  Parameter parameter;
  parameter.spec_ = &spec;
  const std::vector<int64_t> dims(spec.dims().begin(), spec.dims().end());
  parameter.values_ = files.Floats(spec.values(), dims).clone();
  if (spec.coded()) {
    const std::vector<int64_t> scale_dims(spec.scale_dims().begin(), spec.scale_dims().end());
    parameter.scale_ = Spread(files.Floats(spec.scales(), scale_dims), spec, dims).clone();
    parameter.zero_point_ =
        Spread(files.Floats(spec.zero_points(), scale_dims), spec, dims).clone();
    parameter.low_ = (spec.low() - parameter.zero_point_) * parameter.scale_;
    parameter.high_ = (spec.high() - parameter.zero_point_) * parameter.scale_;
  }
  if (spec.keep_zeros()) {
    parameter.KeepZeros(spec.coded() ? parameter.Codes(parameter.values_) - parameter.zero_point_
                                     : parameter.values_);
  }
  if (!spec.statistic()) parameter.values_.requires_grad_();
  return parameter;
}

void Parameter::KeepZeros(const at::Tensor& start) {
  mask_ = at::ne(start, 0).to(at::kFloat);
  if (mask_.numel() == 0) return;
  const double live = mask_.sum().item<double>(), all = static_cast<double>(mask_.numel());
  live_share_ = std::max(live, 1.0) / all;
}

at::Tensor Parameter::Codes(const at::Tensor& values) const {
  const double low = spec_->low(), step = spec_->step();
  const at::Tensor steps = at::round((values / scale_ + (zero_point_ - low)) / step);
  return at::clamp(steps * step + low, low, spec_->high());
}

at::Tensor Parameter::Seen() const {
  if (!spec_->coded()) return values_;
  const at::NoGradGuard no_gradients;
  at::Tensor rounded = (Codes(values_) - zero_point_) * scale_;
  if (mask_.defined()) rounded = rounded * mask_;
  return rounded.requires_grad_();
}

void Parameter::MaskGradient() {
  const at::NoGradGuard no_gradients;
  at::Tensor gradient = values_.grad();
  if (mask_.defined() && gradient.defined()) gradient.mul_(mask_);
}

void Parameter::Constrain() {
  const at::NoGradGuard no_gradients;
  if (spec_->coded()) values_.copy_(at::minimum(at::maximum(values_, low_), high_));
  if (mask_.defined()) values_.mul_(mask_);
}

absl::Status Parameter::WriteResult(const at::Tensor& from) const {
  const at::NoGradGuard no_gradients;
  at::Tensor result = from.detach().contiguous();
  if (spec_->coded()) {
    result = Codes(result);
    // A value of 0 is the zero point's code, as the mask wants it.
    if (mask_.defined()) result = at::where(mask_ > 0, result, zero_point_.expand_as(result));
    result = result.contiguous();
  }
  return InheritedFiles::Write(spec_->result(), 0,
                               std::as_bytes(std::span(result.const_data_ptr<float>(),
                                                       static_cast<size_t>(result.numel()))));
}

}  // namespace modelpress::trainer
