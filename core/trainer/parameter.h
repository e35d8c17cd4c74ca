// Tensors that are trained: their values, what the graph sees of them, and what keeps them where they must stay.
#pragma once

#include <vector>

#include "core/trainer/files.h"

namespace modelpress::trainer {

// Float weights are their values; those that are 0 at the start may have to stay 0. Codes are
//
//   q = value / scale + zero_point, rounded to low, low + step, ..., high;   seen as (q - zero_point) scale
//
// (codes of 2 bits are stored as every fourth of 4 bits) with the gradient passing straight through (Bengio et al. 2013, "Estimating or propagating gradients"). Values are kept
// within the range of the codes, so that none drifts away to where it would never come back from.
class Parameter {
 public:
  // `spec` must outlive it.
  static Parameter Make(const TrainParameter& spec, const InheritedFiles& files);
  // Floats without files behind them.
  static Parameter OfValues(const TrainParameter& spec, const at::Tensor& values);

  const TrainParameter& spec() const { return *spec_; }
  // The leaf that the optimizer changes; float32, its own memory.
  at::Tensor& values() { return values_; }
  const at::Tensor& values() const { return values_; }
  // What the graph computes with: the values, or what they round to. Its gradient is that of the values.
  at::Tensor Seen() const;
  // The gradient of values that stay 0 becomes 0, so that it does not count where gradients are limited together.
  void MaskGradient();
  // Of the values, those that may change, as a share of all; never 0.
  double live_share() const { return live_share_; }
  // After a change of the values: zeros to 0, codes into their range.
  void Constrain();
  // Writes values (of codes: the codes, as float32) of `from`, which is like values(), to where the result is expected.
  absl::Status WriteResult(const at::Tensor& from) const;
  int64_t count() const { return values_.numel(); }

 private:
  at::Tensor Codes(const at::Tensor& values) const;
  // Keeps what is 0 in `start`.
  void KeepZeros(const at::Tensor& start);

  const TrainParameter* spec_ = nullptr;
  at::Tensor values_;
  // 1 where a value may change; undefined: everywhere.
  at::Tensor mask_;
  double live_share_ = 1;
  // Of the shape of the values; only for codes.
  at::Tensor scale_, zero_point_, low_, high_;
};

}  // namespace modelpress::trainer
