// SIMD kernels on panels; see panel_kernels.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/quant/panel_kernels.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#include "core/quant/panel_kernels.h"

#include <algorithm>

HWY_BEFORE_NAMESPACE();
namespace modelpress::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::CappedTag<float, 16>;

// One row, four registers at a time: the additions of one do not wait for those of another.
void AddOne(const float* panel, const float* factors, size_t count, float* sums) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  for (size_t c = 0; c < kTileColumns; c += 4 * lanes) {
    float* to = sums + c;
    auto s0 = hn::LoadU(d, to), s1 = hn::LoadU(d, to + lanes);
    auto s2 = hn::LoadU(d, to + 2 * lanes), s3 = hn::LoadU(d, to + 3 * lanes);
    const float* row = panel + c;
    for (size_t i = 0; i < count; ++i, row += kTileColumns) {
      const auto factor = hn::Set(d, factors[i]);
      s0 = hn::Add(s0, hn::Mul(factor, hn::LoadU(d, row)));
      s1 = hn::Add(s1, hn::Mul(factor, hn::LoadU(d, row + lanes)));
      s2 = hn::Add(s2, hn::Mul(factor, hn::LoadU(d, row + 2 * lanes)));
      s3 = hn::Add(s3, hn::Mul(factor, hn::LoadU(d, row + 3 * lanes)));
    }
    hn::StoreU(s0, d, to);
    hn::StoreU(s1, d, to + lanes);
    hn::StoreU(s2, d, to + 2 * lanes);
    hn::StoreU(s3, d, to + 3 * lanes);
  }
}

// Four rows, so that what is read of the panel serves four times.
void AddFour(const float* panel, const float* factors, size_t stride, size_t count, float* sums) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  for (size_t c = 0; c < kTileColumns; c += 2 * lanes) {
    float* to = sums + c;
    const auto load = [&](size_t row, size_t i)
                          HWY_ATTR { return hn::LoadU(d, to + row * kTileColumns + i * lanes); };
    auto s00 = load(0, 0), s01 = load(0, 1), s10 = load(1, 0), s11 = load(1, 1);
    auto s20 = load(2, 0), s21 = load(2, 1), s30 = load(3, 0), s31 = load(3, 1);
    const float* row = panel + c;
    const float* f = factors;
    for (size_t i = 0; i < count; ++i, row += kTileColumns, ++f) {
      const auto x0 = hn::LoadU(d, row), x1 = hn::LoadU(d, row + lanes);
      const auto f0 = hn::Set(d, f[0]), f1 = hn::Set(d, f[stride]);
      s00 = hn::Add(s00, hn::Mul(f0, x0));
      s01 = hn::Add(s01, hn::Mul(f0, x1));
      s10 = hn::Add(s10, hn::Mul(f1, x0));
      s11 = hn::Add(s11, hn::Mul(f1, x1));
      const auto f2 = hn::Set(d, f[2 * stride]), f3 = hn::Set(d, f[3 * stride]);
      s20 = hn::Add(s20, hn::Mul(f2, x0));
      s21 = hn::Add(s21, hn::Mul(f2, x1));
      s30 = hn::Add(s30, hn::Mul(f3, x0));
      s31 = hn::Add(s31, hn::Mul(f3, x1));
    }
    const auto store = [&](size_t of, size_t i, auto sum)
                           HWY_ATTR { hn::StoreU(sum, d, to + of * kTileColumns + i * lanes); };
    store(0, 0, s00);
    store(0, 1, s01);
    store(1, 0, s10);
    store(1, 1, s11);
    store(2, 0, s20);
    store(2, 1, s21);
    store(3, 0, s30);
    store(3, 1, s31);
  }
}

void Product(const float* panel, const float* factors, size_t stride, size_t rows, size_t count,
             float* sums) {
  size_t row = 0;
  for (; row + 4 <= rows; row += 4) {
    AddFour(panel, factors + row * stride, stride, count, sums + row * kTileColumns);
  }
  for (; row < rows; ++row) {
    AddOne(panel, factors + row * stride, count, sums + row * kTileColumns);
  }
}

}  // namespace modelpress::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace modelpress {
namespace {
HWY_EXPORT(Product);
}  // namespace

void AddProduct(const float* panel, const float* factors, size_t stride, size_t rows, size_t count,
                float* sums) {
  HWY_DYNAMIC_DISPATCH(Product)(panel, factors, stride, rows, count, sums);
}

void SubtractDecoded(const float* values, const uint8_t* codes, const TileCodes& parameters,
                     size_t rows, float* difference) {
  for (size_t k = 0; k < rows; ++k) {
    for (size_t c = 0; c < kTileColumns; ++c) {
      const int step = codes[k * kTileColumns + c] - parameters.zero_points[c];
      difference[k * kTileColumns + c] =
          values[k * kTileColumns + c] - static_cast<float>(step) * parameters.scales[c];
    }
  }
}

// Each row with those before it, twice, and with itself.
double QuadraticForm(const float* panel, std::span<const float> gram, uint64_t rows,
                     size_t columns) {
  constexpr uint64_t kRows = 32;
  double total = 0;
  float sums[kRows * kTileColumns];
  for (uint64_t first = 0; first < rows; first += kRows) {
    const uint64_t height = std::min(kRows, rows - first);
    const float* grams = gram.data() + first * rows;
    std::fill_n(sums, height * kTileColumns, 0.0f);
    AddProduct(panel, grams, rows, height, first, sums);
    for (uint64_t k = 0; k < height; ++k) {
      const float* g = grams + k * rows + first;
      float* sum = sums + k * kTileColumns;
      AddProduct(panel + first * kTileColumns, g, rows, 1, k, sum);
      const float* d = panel + (first + k) * kTileColumns;
      for (size_t c = 0; c < columns; ++c) {
        total += static_cast<double>(d[c]) *
                 (2.0 * sum[c] + static_cast<double>(g[k]) * static_cast<double>(d[c]));
      }
    }
  }
  return total;
}

}  // namespace modelpress
#endif  // HWY_ONCE
