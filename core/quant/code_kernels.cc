// SIMD kernels: float32 numbers to 8-bit codes, with the squared error counted on the way.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/quant/code_kernels.cc"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#include "core/quant/code_kernels.h"

#include <algorithm>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace modelpress::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// At most 16 lanes; targets with 4 or 8 use 4 or 2 registers for the 16 virtual ones.
constexpr size_t kVirtualLanes = 16;
using FloatTag = hn::CappedTag<float, kVirtualLanes>;
using FloatVec = hn::Vec<FloatTag>;
// Float sums are moved to double after this many blocks: 256 additions lose at most 2^-16 of a sum.
constexpr size_t kBlocksPerSum = 256;
// Matrices are read in order: so many elements ahead come into the cache (half a page).
constexpr size_t kPrefetch = 512;

// What a register of values is divided by, clipped to (code - zero point) and weighted with.
struct Operands {
  FloatVec scale, low, high;
  hn::Vec<hn::RebindToUnsigned<FloatTag>> zero_point;
  FloatVec weight;
};

// Adds the 16 virtual lanes to `total`, in order. Lanes come by value: accumulators whose address
// is taken would live in memory.
HWY_NOINLINE void AddLanes(FloatVec a, FloatVec b, FloatVec c, FloatVec e, double* total) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  // Of wide targets only the first registers are used.
  HWY_ALIGN float sums[4 * kVirtualLanes];
  hn::StoreU(a, d, sums);
  hn::StoreU(b, d, sums + lanes);
  hn::StoreU(c, d, sums + 2 * lanes);
  hn::StoreU(e, d, sums + 3 * lanes);
  for (size_t i = 0; i < kVirtualLanes; ++i) *total += sums[i];
}

// One register of values: codes are stored, squares added. The sums are in units of the scale: no
// square overflows.
template <bool kDeadZone, bool kWeighted>
HWY_INLINE void QuantizeVector(FloatVec x, const Operands& by, FloatVec dead_zone, uint8_t* codes,
                               FloatVec& signal, FloatVec& noise) {
  const FloatTag d;
  const hn::RebindToUnsigned<FloatTag> du;
  const hn::Rebind<uint8_t, FloatTag> d8;
  auto value = hn::Div(x, by.scale);
  // Between 2^23 and 2^24 floats are the integers: adding 1.5 * 2^23 rounds half to even, and the
  // sum's low byte is the two's complement of the integer. Cheaper than a conversion to int and
  // back.
  const auto shift = hn::Set(d, 12582912.0f);
  auto shifted = hn::Add(hn::Min(hn::Max(value, by.low), by.high), shift);
  if constexpr (kDeadZone) {
    shifted = hn::IfThenElse(hn::Le(hn::Abs(x), dead_zone), shift, shifted);
  }
  auto error = hn::Sub(value, hn::Sub(shifted, shift));
  if constexpr (kWeighted) {
    error = hn::Mul(error, by.weight);
    value = hn::Mul(value, by.weight);
  }
  signal = hn::Add(signal, hn::Mul(value, value));
  noise = hn::Add(noise, hn::Mul(error, error));
  // The integer is within the limits of the code, so that its low byte is the code.
  const auto code = hn::TruncateTo(d8, hn::Add(hn::BitCast(du, shifted), by.zero_point));
  hn::StoreU(code, d8, codes);
}

// A row-major matrix. at(column) gives the operands of the register that starts there; `rest` holds
// those of the last, partial block of each row, which is padded with zeros: they add nothing to
// either sum.
// `ahead`: how many elements further on the memory is that should be on its way into the cache (a
// block is one cache line); 0: none.
template <bool kDeadZone, bool kWeighted, typename At, typename AtRest>
HWY_INLINE ErrorSums Quantize(const float* matrix, size_t rows, size_t columns, uint8_t* codes,
                              float dead_zone_limit, size_t ahead, const At& at,
                              const AtRest& at_rest) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  const size_t whole = columns - columns % kVirtualLanes;
  const size_t rest = columns - whole;
  const auto dead_zone = hn::Set(d, dead_zone_limit);
  const auto zero = hn::Zero(d);
  ErrorSums total;
  // Named registers: vectors of some targets cannot be elements of an array.
  auto s0 = zero, s1 = zero, s2 = zero, s3 = zero;
  auto e0 = zero, e1 = zero, e2 = zero, e3 = zero;
  size_t blocks = 0;
  const auto block = [&](const float* x, uint8_t* c, size_t column, const auto& operands) HWY_ATTR
      __attribute__((always_inline)) {
        const auto step = [&](size_t i, FloatVec& signal, FloatVec& noise) HWY_ATTR
            __attribute__((always_inline)) {
              QuantizeVector<kDeadZone, kWeighted>(hn::LoadU(d, x + i), operands(column + i),
                                                   dead_zone, c + i, signal, noise);
            };
        step(0, s0, e0);
        if (lanes < 16) step(lanes, s1, e1);
        if (lanes < 8) {
          step(2 * lanes, s2, e2);
          step(3 * lanes, s3, e3);
        }
        if (++blocks == kBlocksPerSum) {
          AddLanes(s0, s1, s2, s3, &total.signal);
          AddLanes(e0, e1, e2, e3, &total.noise);
          s0 = s1 = s2 = s3 = e0 = e1 = e2 = e3 = zero;
          blocks = 0;
        }
      };
  for (size_t row = 0; row < rows; ++row) {
    const float* x = matrix + row * columns;
    uint8_t* c = codes + row * columns;
    for (size_t i = 0; i < whole; i += kVirtualLanes) {
      hwy::Prefetch(x + i + ahead);
      block(x + i, c + i, i, at);
    }
    if (rest > 0) {
      float padded[kVirtualLanes] = {};
      uint8_t padded_codes[kVirtualLanes];
      std::memcpy(padded, x + whole, rest * sizeof(float));
      block(padded, padded_codes, 0, at_rest);
      std::memcpy(c + whole, padded_codes, rest);
    }
  }
  AddLanes(s0, s1, s2, s3, &total.signal);
  AddLanes(e0, e1, e2, e3, &total.noise);
  return total;
}

template <bool kDeadZone>
ErrorSums Row(const float* values, size_t count, CodeLimits limits,
              const AffineParameters& parameters, float dead_zone, size_t ahead, uint8_t* codes) {
  const FloatTag d;
  const Operands operands = {
      hn::Set(d, parameters.scale),
      hn::Set(d, static_cast<float>(limits.lowest - parameters.zero_point)),
      hn::Set(d, static_cast<float>(limits.highest - parameters.zero_point)),
      hn::Set(hn::RebindToUnsigned<FloatTag>(), static_cast<uint32_t>(parameters.zero_point)),
      hn::Zero(d)};
  const auto at = [operands](size_t) HWY_ATTR __attribute__((always_inline)) { return operands; };
  return Quantize<kDeadZone, false>(values, 1, count, codes, dead_zone, ahead, at, at);
}

template <bool kDeadZone>
ErrorSums Columns(const float* matrix, size_t rows, size_t columns, CodeLimits limits,
                  const float* scales, const float* zero_points, const float* weights,
                  float dead_zone, uint8_t* codes) {
  const FloatTag d;
  // Without zero points the limits are the same for every column.
  const Operands fixed = {hn::Zero(d), hn::Set(d, static_cast<float>(limits.lowest)),
                          hn::Set(d, static_cast<float>(limits.highest)),
                          hn::Zero(hn::RebindToUnsigned<FloatTag>()), hn::Zero(d)};
  const auto without_zero_points = [fixed](const float* scale, const float* weight) {
    return [=](size_t i) HWY_ATTR __attribute__((always_inline)) {
      return Operands{hn::LoadU(FloatTag(), scale + i), fixed.low, fixed.high, fixed.zero_point,
                      hn::LoadU(FloatTag(), weight + i)};
    };
  };
  const auto lookup = [limits](const float* scale, const float* zero_point, const float* weight) {
    return [=](size_t i) HWY_ATTR __attribute__((always_inline)) {
      const FloatTag d;
      const auto zero = hn::LoadU(d, zero_point + i);
      return Operands{hn::LoadU(d, scale + i),
                      hn::Sub(hn::Set(d, static_cast<float>(limits.lowest)), zero),
                      hn::Sub(hn::Set(d, static_cast<float>(limits.highest)), zero),
                      hn::BitCast(hn::RebindToUnsigned<FloatTag>(), hn::NearestInt(zero)),
                      hn::LoadU(d, weight + i)};
    };
  };
  // Columns that do not exist have a scale of 1 and a weight of 0.
  const size_t whole = columns - columns % kVirtualLanes;
  const size_t rest = columns - whole;
  float scale_rest[kVirtualLanes], zero_rest[kVirtualLanes] = {}, weight_rest[kVirtualLanes] = {};
  std::fill_n(scale_rest, kVirtualLanes, 1.0f);
  std::copy_n(scales + whole, rest, scale_rest);
  std::copy_n(weights + whole, rest, weight_rest);
  if (zero_points == nullptr) {
    return Quantize<kDeadZone, true>(matrix, rows, columns, codes, dead_zone, kPrefetch,
                                     without_zero_points(scales, weights),
                                     without_zero_points(scale_rest, weight_rest));
  }
  std::copy_n(zero_points + whole, rest, zero_rest);
  return Quantize<kDeadZone, true>(matrix, rows, columns, codes, dead_zone, kPrefetch,
                                   lookup(scales, zero_points, weights),
                                   lookup(scale_rest, zero_rest, weight_rest));
}

ErrorSums RowDispatch(const float* values, size_t count, const AffineRule& rule,
                      const AffineParameters& parameters, float dead_zone, size_t ahead,
                      uint8_t* codes) {
  const CodeLimits limits = LimitsOf(rule);
  return dead_zone >= 0 ? Row<true>(values, count, limits, parameters, dead_zone, ahead, codes)
                        : Row<false>(values, count, limits, parameters, dead_zone, ahead, codes);
}

ErrorSums ColumnsDispatch(const float* matrix, size_t rows, size_t columns, const AffineRule& rule,
                          const float* scales, const float* zero_points, const float* weights,
                          float dead_zone, uint8_t* codes) {
  const CodeLimits limits = LimitsOf(rule);
  return dead_zone >= 0 ? Columns<true>(matrix, rows, columns, limits, scales, zero_points, weights,
                                        dead_zone, codes)
                        : Columns<false>(matrix, rows, columns, limits, scales, zero_points,
                                         weights, dead_zone, codes);
}

}  // namespace modelpress::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace modelpress {
namespace {
HWY_EXPORT(RowDispatch);
HWY_EXPORT(ColumnsDispatch);
}  // namespace

ErrorSums QuantizeRow(const float* values, size_t count, const AffineRule& rule,
                      const AffineParameters& parameters, float dead_zone, size_t ahead,
                      uint8_t* codes) {
  ErrorSums sums =
      HWY_DYNAMIC_DISPATCH(RowDispatch)(values, count, rule, parameters, dead_zone, ahead, codes);
  const double unit = static_cast<double>(parameters.scale) * parameters.scale;
  return {sums.signal * unit, sums.noise * unit};
}

ErrorSums QuantizeColumns(const float* matrix, size_t rows, size_t columns, const AffineRule& rule,
                          const float* scales, const float* zero_points, const float* weight,
                          float dead_zone, uint8_t* codes) {
  return HWY_DYNAMIC_DISPATCH(ColumnsDispatch)(matrix, rows, columns, rule, scales, zero_points,
                                               weight, dead_zone, codes);
}

}  // namespace modelpress
#endif  // HWY_ONCE
