// SIMD kernels: the range of values of rows and of columns of float32 numbers.
//
// The bits of |x| order like the numbers themselves (IEEE 754: exponent above mantissa), with
// infinity and NaN above all finite ones; so one integer maximum gives both max |x| and whether
// everything is finite.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/quant/range_kernels.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#include "core/quant/range_kernels.h"

#include <algorithm>
#include <bit>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace modelpress::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using BitsTag = hn::RebindToSigned<FloatTag>;
// Columns that are worked on together: their accumulators stay in the first-level cache.
constexpr size_t kPanel = 2048;

HWY_INLINE hn::Vec<BitsTag> AbsoluteBits(hn::Vec<FloatTag> value) {
  return hn::BitCast(BitsTag(), hn::Abs(value));
}

uint32_t MaxAbsoluteBits(const float* values, size_t count) {
  const FloatTag d;
  const BitsTag di;
  const size_t lanes = hn::Lanes(d);
  auto a = hn::Zero(di), b = a, c = a, e = a;
  size_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    a = hn::Max(a, AbsoluteBits(hn::LoadU(d, values + i)));
    b = hn::Max(b, AbsoluteBits(hn::LoadU(d, values + i + lanes)));
    c = hn::Max(c, AbsoluteBits(hn::LoadU(d, values + i + 2 * lanes)));
    e = hn::Max(e, AbsoluteBits(hn::LoadU(d, values + i + 3 * lanes)));
  }
  for (; i + lanes <= count; i += lanes) {
    a = hn::Max(a, AbsoluteBits(hn::LoadU(d, values + i)));
  }
  if (i < count) a = hn::Max(a, AbsoluteBits(hn::LoadN(d, values + i, count - i)));
  return static_cast<uint32_t>(hn::ReduceMax(di, hn::Max(hn::Max(a, b), hn::Max(c, e))));
}

// Lowers *low and raises *high; returns the largest bits of |x|.
uint32_t SignedExtremes(const float* values, size_t count, float* low, float* high) {
  const FloatTag d;
  const BitsTag di;
  const size_t lanes = hn::Lanes(d);
  auto min = hn::Set(d, *low);
  auto max = hn::Set(d, *high);
  auto bits = hn::Zero(di);
  size_t i = 0;
  for (; i < count; i += lanes) {
    // LoadN fills with 0, which every range holds.
    const auto x =
        i + lanes <= count ? hn::LoadU(d, values + i) : hn::LoadN(d, values + i, count - i);
    min = hn::Min(min, x);
    max = hn::Max(max, x);
    bits = hn::Max(bits, AbsoluteBits(x));
  }
  *low = hn::ReduceMin(d, min);
  *high = hn::ReduceMax(d, max);
  return static_cast<uint32_t>(hn::ReduceMax(di, bits));
}

// Raises max[i] to |x| of `kRows` rows at `p`, in one register of columns. `load` and `store` see
// whole or partial ones.
template <size_t kRows, typename Load, typename Store>
HWY_INLINE void RaiseMax(const float* p, size_t stride, float* max, const Load& load,
                         const Store& store) {
  auto bits = hn::BitCast(BitsTag(), load(max));
  for (size_t row = 0; row < kRows; ++row) {
    bits = hn::Max(bits, AbsoluteBits(load(p + row * stride)));
  }
  store(hn::BitCast(FloatTag(), bits), max);
}

template <size_t kRows>
HWY_INLINE void RaisePanel(const float* p, size_t stride, size_t count, float* max) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  size_t c = 0;
  for (; c + lanes <= count; c += lanes) {
    RaiseMax<kRows>(
        p + c, stride, max + c, [d](const float* from) HWY_ATTR { return hn::LoadU(d, from); },
        [d](auto value, float* to) HWY_ATTR { hn::StoreU(value, d, to); });
  }
  if (const size_t rest = count - c; rest > 0) {
    RaiseMax<kRows>(
        p + c, stride, max + c,
        [d, rest](const float* from) HWY_ATTR { return hn::LoadN(d, from, rest); },
        [d, rest](auto value, float* to) HWY_ATTR { hn::StoreN(value, d, to, rest); });
  }
}

// max[c] becomes max |x| of column c.
void ColumnAbsoluteMax(const float* matrix, size_t rows, size_t columns, float* max) {
  for (size_t panel = 0; panel < columns; panel += kPanel) {
    const size_t count = std::min(columns - panel, kPanel);
    const float* p = matrix + panel;
    size_t row = 0;
    // Four rows for each load and store of the maxima.
    for (; row + 4 <= rows; row += 4) RaisePanel<4>(p + row * columns, columns, count, max + panel);
    for (; row < rows; ++row) RaisePanel<1>(p + row * columns, columns, count, max + panel);
  }
}

uint32_t ColumnExtremes(const float* matrix, size_t rows, size_t columns, float* min, float* max) {
  const FloatTag d;
  const BitsTag di;
  const size_t lanes = hn::Lanes(d);
  auto bits = hn::Zero(di);
  for (size_t panel = 0; panel < columns; panel += kPanel) {
    const size_t end = std::min(columns, panel + kPanel);
    for (size_t row = 0; row < rows; ++row) {
      const float* p = matrix + row * columns;
      for (size_t c = panel; c < end; c += lanes) {
        const size_t n = std::min(lanes, end - c);
        const auto x = hn::LoadN(d, p + c, n);
        hn::StoreN(hn::Min(hn::LoadN(d, min + c, n), x), d, min + c, n);
        hn::StoreN(hn::Max(hn::LoadN(d, max + c, n), x), d, max + c, n);
        bits = hn::Max(bits, AbsoluteBits(x));
      }
    }
  }
  return static_cast<uint32_t>(hn::ReduceMax(di, bits));
}

}  // namespace modelpress::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace modelpress {
namespace {

HWY_EXPORT(MaxAbsoluteBits);
HWY_EXPORT(SignedExtremes);
HWY_EXPORT(ColumnAbsoluteMax);
HWY_EXPORT(ColumnExtremes);

constexpr uint32_t kInfinityBits = 0x7f800000;

}  // namespace

ValueRange RangeOf(const float* values, size_t count, bool symmetric) {
  ValueRange range;
  uint32_t bits = 0;
  if (symmetric) {
    bits = HWY_DYNAMIC_DISPATCH(MaxAbsoluteBits)(values, count);
    range.max = std::bit_cast<float>(bits);
    range.min = -range.max;
  } else {
    bits = HWY_DYNAMIC_DISPATCH(SignedExtremes)(values, count, &range.min, &range.max);
  }
  range.finite = bits < kInfinityBits;
  return range;
}

bool ColumnRanges(const float* matrix, size_t rows, size_t columns, bool symmetric, float* min,
                  float* max) {
  if (!symmetric) {
    return HWY_DYNAMIC_DISPATCH(ColumnExtremes)(matrix, rows, columns, min, max) < kInfinityBits;
  }
  HWY_DYNAMIC_DISPATCH(ColumnAbsoluteMax)(matrix, rows, columns, max);
  return std::all_of(max, max + columns,
                     [](float value) { return std::bit_cast<uint32_t>(value) < kInfinityBits; });
}

}  // namespace modelpress
#endif  // HWY_ONCE
