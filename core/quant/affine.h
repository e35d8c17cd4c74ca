// Affine quantization of real numbers to 8-bit codes: x ~ scale * (code - zero_point).
//
// The rules are those of ONNX Runtime's quantizer
// (onnxruntime/python/tools/quantization/quant_utils.py, compute_scale_zp), so that scales and
// codes agree with it bit for bit. Everything here is pure and thread-safe.
#pragma once

#include <cstdint>

namespace modelpress {

enum class CodeType { kInt8, kUint8 };

struct AffineRule {
  CodeType type = CodeType::kInt8;
  bool symmetric = true;
  // Half of the codes: 8-bit products of pairs then fit in 16 bits, which CPUs without VNNI add them
  // in.
  bool reduced = false;
};

// Smallest and largest code of a rule. Symmetric int8 leaves -128 unused, so that the grid is
// symmetric too. Reduced: -64..64 and 0..127.
struct CodeLimits {
  int32_t lowest = 0;
  int32_t highest = 0;
};
CodeLimits LimitsOf(const AffineRule& rule);

// Smallest and largest of some values and of 0: the grid always holds 0 exactly.
struct ValueRange {
  float min = 0;
  float max = 0;
  // False if a value is NaN or infinite; min and max are then meaningless.
  bool finite = true;

  void Merge(const ValueRange& other);
};

struct AffineParameters {
  float scale = 1;
  int32_t zero_point = 0;

  bool operator==(const AffineParameters&) const = default;
};

// symmetric:  a = max(|min|, |max|), scale = 2a / (highest - lowest), zero_point = round((lowest +
// highest) / 2) asymmetric: scale = (max - min) / (highest - lowest), zero_point = round(lowest -
// min / scale) computed in double precision, scale then cast to float. A scale below the smallest
// normal float becomes 1 with zero point 0 (all values are then 0 or next to it). Rounding is half
// to even. `range` must be finite.
AffineParameters ChooseParameters(const ValueRange& range, const AffineRule& rule);
// The same for any codes, such as those of 16 bits.
AffineParameters ChooseParameters(const ValueRange& range, const CodeLimits& limits,
                                  bool symmetric);

}  // namespace modelpress
