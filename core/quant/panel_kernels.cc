// SIMD kernels on panels; see panel_kernels.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/quant/panel_kernels.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#include "core/quant/panel_kernels.h"

HWY_BEFORE_NAMESPACE();
namespace modelpress::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::CappedTag<float, 16>;

void AddRows(const float* panel, const float* factors, size_t count, float* sum) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  // Four registers at a time: the additions of one do not wait for those of another.
  for (size_t c = 0; c < kTileColumns; c += 4 * lanes) {
    auto s0 = hn::LoadU(d, sum + c), s1 = hn::LoadU(d, sum + c + lanes);
    auto s2 = hn::LoadU(d, sum + c + 2 * lanes), s3 = hn::LoadU(d, sum + c + 3 * lanes);
    const float* row = panel + c;
    for (size_t i = 0; i < count; ++i, row += kTileColumns) {
      const auto factor = hn::Set(d, factors[i]);
      s0 = hn::Add(s0, hn::Mul(factor, hn::LoadU(d, row)));
      s1 = hn::Add(s1, hn::Mul(factor, hn::LoadU(d, row + lanes)));
      s2 = hn::Add(s2, hn::Mul(factor, hn::LoadU(d, row + 2 * lanes)));
      s3 = hn::Add(s3, hn::Mul(factor, hn::LoadU(d, row + 3 * lanes)));
    }
    hn::StoreU(s0, d, sum + c);
    hn::StoreU(s1, d, sum + c + lanes);
    hn::StoreU(s2, d, sum + c + 2 * lanes);
    hn::StoreU(s3, d, sum + c + 3 * lanes);
  }
}

}  // namespace modelpress::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace modelpress {
namespace {
HWY_EXPORT(AddRows);
}  // namespace

void AddRowsOf(const float* panel, const float* factors, size_t count, float* sum) {
  HWY_DYNAMIC_DISPATCH(AddRows)(panel, factors, count, sum);
}

}  // namespace modelpress
#endif  // HWY_ONCE
