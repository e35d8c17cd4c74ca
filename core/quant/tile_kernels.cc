// SIMD kernels: tiles of float32 values to codes of few bits; see tile_kernels.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/quant/tile_kernels.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#include "core/quant/tile_kernels.h"

#include <algorithm>
#include <cfloat>

HWY_BEFORE_NAMESPACE();
namespace modelpress::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::CappedTag<float, 16>;
using IntTag = hn::RebindToSigned<FloatTag>;
using Vec = hn::Vec<FloatTag>;

HWY_INLINE Vec Const(float value) { return hn::Set(FloatTag(), value); }
HWY_INLINE Vec Clamp(Vec x, Vec low, Vec high) { return hn::Min(hn::Max(x, low), high); }
// Halves up, for x >= 0. The largest float below 1/2, as 1/2 itself would round it up too; halves
// are rounded up by the addition.
HWY_INLINE Vec RoundHalfUp(Vec x) {
  return hn::ConvertTo(FloatTag(), hn::ConvertTo(IntTag(), hn::Add(x, Const(0x1.fffffep-2f))));
}

// |x|^-0.3 within 1e-4 (0 gives a large number): 2^(-0.3 log2 |x|), the logarithm from the exponent
// and the series of artanh, the power from the exponential series.
HWY_INLINE Vec PowerMinusThreeTenths(Vec x) {
  const FloatTag d;
  const IntTag di;
  const auto bits = hn::BitCast(di, hn::Max(hn::Abs(x), Const(FLT_MIN)));
  const auto exponent = hn::Sub(hn::ShiftRight<23>(bits), hn::Set(di, 127));
  const auto mantissa =
      hn::BitCast(d, hn::Or(hn::And(bits, hn::Set(di, 0x7fffff)), hn::Set(di, 0x3f800000)));
  const auto y = hn::Div(hn::Sub(mantissa, Const(1)), hn::Add(mantissa, Const(1)));
  const auto y2 = hn::Mul(y, y);
  auto series = hn::Add(hn::Mul(y2, Const(1.0f / 7)), Const(1.0f / 5));
  series = hn::Add(hn::Mul(series, y2), Const(1.0f / 3));
  series = hn::Add(hn::Mul(series, y2), Const(1));
  const auto log2 =
      hn::Add(hn::ConvertTo(d, exponent), hn::Mul(hn::Mul(series, y), Const(2.885390082f)));
  // In [-5, 38]; the whole part goes to the exponent.
  const auto power = hn::Mul(log2, Const(-0.3f));
  const auto whole = hn::ConvertTo(di, hn::Add(power, Const(64)));  // truncated: floor of positives
  const auto f =
      hn::Mul(hn::Sub(hn::Add(power, Const(64)), hn::ConvertTo(d, whole)), Const(0.6931471806f));
  auto exp = hn::Add(hn::Mul(f, Const(1.0f / 120)), Const(1.0f / 24));
  exp = hn::Add(hn::Mul(exp, f), Const(1.0f / 6));
  exp = hn::Add(hn::Mul(exp, f), Const(0.5f));
  exp = hn::Add(hn::Mul(exp, f), Const(1));
  exp = hn::Add(hn::Mul(exp, f), Const(1));
  return hn::Mul(exp, hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(whole, hn::Set(di, 127 - 64)))));
}

// One register of columns of a tile, and the best parameters found for it so far.
class Columns {
 public:
  Columns(const float* values, size_t rows, const BlockRule& rule, const float* importance)
      : values_(values),
        rows_(rows),
        rule_(rule),
        importance_(importance),
        levels_(Const(static_cast<float>(rule.levels()))) {}

  // Range, plain scale and zero point. Returns whether all values are finite.
  HWY_INLINE bool Range() {
    const FloatTag d;
    const IntTag di;
    auto min = hn::Zero(d), max = hn::Zero(d);
    auto bits = hn::Zero(di);
    for (size_t k = 0; k < rows_; ++k) {
      const auto x = hn::LoadU(d, values_ + k * kTileColumns);
      min = hn::Min(min, x);
      max = hn::Max(max, x);
      bits = hn::Max(bits, hn::BitCast(di, hn::Abs(x)));
    }
    if (hn::ReduceMax(di, bits) >= 0x7f800000) return false;
    Vec scale;
    if (rule_.symmetric) {
      const auto extreme = hn::IfThenElse(hn::Gt(max, hn::Neg(min)), max, min);
      scale = hn::Div(extreme, Const(static_cast<float>(-rule_.middle())));
    } else {
      scale = hn::Div(hn::Sub(max, min), levels_);
      const auto by_parts = hn::Sub(hn::Div(max, levels_), hn::Div(min, levels_));
      scale = hn::IfThenElse(hn::Gt(scale, Const(FLT_MAX)), by_parts, scale);
    }
    const auto tiny = hn::Lt(hn::Abs(scale), Const(FLT_MIN));
    plain_scale_ = hn::IfThenElse(tiny, Const(1), scale);
    inverse_ = hn::Div(Const(1), plain_scale_);
    if (rule_.symmetric) {
      plain_zero_ = Const(static_cast<float>(rule_.middle()));
      exact_zero_ = plain_zero_;
    } else {
      exact_zero_ = hn::Sub(hn::Zero(d), hn::Div(min, plain_scale_));
      exact_zero_ = hn::IfThenZeroElse(tiny, Clamp(exact_zero_, hn::Zero(d), levels_));
      plain_zero_ = RoundHalfUp(exact_zero_);
    }
    multiplier_ = Const(1);
    scale_ = Const(1);
    zero_ = plain_zero_;
    return true;
  }

  HWY_INLINE void Search() {
    if (rule_.method == BlockMethod::kRoundToNearest) return;
    Prepare();
    if (rule_.method == BlockMethod::kMseClip) {
      Try(Const(1), plain_zero_, /*fit=*/false);
      for (int i = 0; i <= 10; ++i) {
        const auto factor = Const(1.0f + 0.1f * static_cast<float>(i));
        Try(factor, StoredZero(ZeroAt(factor)), /*fit=*/false);
      }
      return;
    }
    Try(Const(1), plain_zero_, /*fit=*/true);
    if (rule_.method == BlockMethod::kHqq) {
      for (const float factor : {0.9f, 1.0f, 1.15f, 1.3f, 1.45f}) HalfQuadratic(factor);
      return;
    }
    if (rule_.symmetric) {
      for (const float factor :
           {0.9f, 0.95f, 1.05f, 1.1f, 1.15f, 1.2f, 1.25f, 1.3f, 1.4f, 1.5f, 1.6f}) {
        Try(Const(factor), plain_zero_, /*fit=*/true);
      }
      return;
    }
    for (int i = 0; i < 8; ++i) FitBoth(Const(0.9f + 0.1f * static_cast<float>(i)));
  }

  // Codes by the best parameters. Squares are in units of the plain scale.
  HWY_INLINE void Finish(uint8_t* codes, float* scales, float* zeros, float* signal, float* noise,
                         float* plain_noise) {
    const FloatTag d;
    // The outermost code must not decode to infinity.
    const auto steps = hn::Max(zero_, hn::Sub(levels_, zero_));
    const auto largest = hn::Div(Const(FLT_MAX * (1 - 1e-6f)), hn::Abs(plain_scale_));
    scale_ = hn::Min(scale_, hn::Div(largest, steps));
    const hn::Rebind<uint8_t, FloatTag> d8;
    const hn::RebindToUnsigned<FloatTag> du;
    const auto spread = Const(static_cast<float>(rule_.spread()));
    const bool plain = rule_.method == BlockMethod::kRoundToNearest;
    auto squares = hn::Zero(d), errors = hn::Zero(d), plain_errors = hn::Zero(d);
    for (size_t k = 0; k < rows_; ++k) {
      const auto n = Normal(k);
      const auto code = Code(n, multiplier_, zero_);
      const auto error = hn::Sub(n, hn::Mul(hn::Sub(code, zero_), scale_));
      const auto counts = Importance(k);
      squares = hn::Add(squares, hn::Mul(counts, hn::Mul(n, n)));
      errors = hn::Add(errors, hn::Mul(counts, hn::Mul(error, error)));
      if (!plain) {
        const auto other = hn::Sub(n, hn::Sub(Code(n, Const(1), plain_zero_), plain_zero_));
        plain_errors = hn::Add(plain_errors, hn::Mul(counts, hn::Mul(other, other)));
      }
      const auto stored = hn::BitCast(du, hn::ConvertTo(IntTag(), hn::Mul(code, spread)));
      hn::StoreU(hn::TruncateTo(d8, stored), d8, codes + k * kTileColumns);
    }
    hn::StoreU(hn::Div(hn::Mul(scale_, plain_scale_), spread), d, scales);
    hn::StoreU(hn::Mul(zero_, spread), d, zeros);
    // Back from units of the scale in double: squares of floats may overflow.
    HWY_ALIGN float unit[16];
    hn::StoreU(plain_scale_, d, unit);
    hn::StoreU(squares, d, signal);
    hn::StoreU(errors, d, noise);
    hn::StoreU(plain ? errors : plain_errors, d, plain_noise);
    std::copy_n(unit, hn::Lanes(d), units_);
  }

  float* units_ = nullptr;  // where Finish puts the plain scales

 private:
  HWY_INLINE Vec Normal(size_t k) const {
    return hn::Mul(hn::LoadU(FloatTag(), values_ + k * kTileColumns), inverse_);
  }
  HWY_INLINE Vec Code(Vec n, Vec multiplier, Vec zero) const {
    return RoundHalfUp(Clamp(hn::Add(hn::Mul(n, multiplier), zero), hn::Zero(FloatTag()), levels_));
  }
  HWY_INLINE Vec Importance(size_t k) const {
    return importance_ != nullptr ? Const(importance_[k]) : Const(1);
  }
  // How much the error of a value counts in the search.
  HWY_INLINE Vec Weight(Vec n, size_t k) const {
    if (rule_.method != BlockMethod::kKQuant) return Importance(k);
    return hn::Mul(Importance(k), hn::Add(hn::Abs(n), offset_));
  }
  // The zero point (not rounded) of a range that is `factor` times shorter around the same middle.
  HWY_INLINE Vec ZeroAt(Vec factor) const {
    if (rule_.symmetric) return plain_zero_;
    return hn::Sub(hn::Mul(exact_zero_, factor),
                   hn::Mul(hn::Sub(factor, Const(1)), hn::Mul(levels_, Const(0.5f))));
  }
  // The nearest zero point that can be stored.
  HWY_INLINE Vec StoredZero(Vec zero) const {
    if (rule_.symmetric) return plain_zero_;
    const auto spread = Const(static_cast<float>(rule_.spread()));
    const auto highest = Const(static_cast<float>((1 << rule_.stored_bits()) - 1));
    const auto stored = RoundHalfUp(Clamp(hn::Mul(zero, spread), hn::Zero(FloatTag()), highest));
    return hn::Div(stored, spread);
  }

  // Sums that no candidate changes.
  HWY_INLINE void Prepare() {
    const FloatTag d;
    auto squares = hn::Zero(d);
    for (size_t k = 0; k < rows_; ++k) {
      const auto n = Normal(k);
      squares = hn::Add(squares, hn::Mul(n, n));
    }
    // A little, so that blocks of zeros have weights too.
    offset_ = hn::Add(hn::Sqrt(hn::Div(squares, Const(static_cast<float>(rows_)))), Const(1e-6f));
    weights_ = weighted_ = weighted_squares_ = hn::Zero(d);
    for (size_t k = 0; k < rows_; ++k) {
      const auto n = Normal(k);
      const auto weight = Weight(n, k);
      const auto product = hn::Mul(weight, n);
      weights_ = hn::Add(weights_, weight);
      weighted_ = hn::Add(weighted_, product);
      weighted_squares_ = hn::Add(weighted_squares_, hn::Mul(product, n));
    }
    best_ = Const(FLT_MAX);
  }

  // Keeps the candidate where it is better. `fit`: its scale by least squares instead of 1 /
  // multiplier.
  HWY_INLINE void Try(Vec multiplier, Vec zero, bool fit) {
    const FloatTag d;
    auto product = hn::Zero(d), squares = hn::Zero(d);
    for (size_t k = 0; k < rows_; ++k) {
      const auto n = Normal(k);
      const auto weight = Weight(n, k);
      const auto step = hn::Sub(Code(n, multiplier, zero), zero);
      const auto weighted = hn::Mul(weight, step);
      product = hn::Add(product, hn::Mul(weighted, n));
      squares = hn::Add(squares, hn::Mul(weighted, step));
    }
    auto scale = hn::Div(Const(1), multiplier);
    if (fit) {
      const auto fitted = hn::Div(product, hn::Max(squares, Const(FLT_MIN)));
      scale = hn::IfThenElse(hn::Gt(fitted, Const(1e-3f)), fitted, scale);
    }
    // sum w (n - scale step)^2
    const auto error = hn::Add(hn::Sub(weighted_squares_, hn::Mul(hn::Add(scale, scale), product)),
                               hn::Mul(hn::Mul(scale, scale), squares));
    const auto better = hn::Lt(error, best_);
    best_ = hn::IfThenElse(better, error, best_);
    multiplier_ = hn::IfThenElse(better, multiplier, multiplier_);
    zero_ = hn::IfThenElse(better, zero, zero_);
    scale_ = hn::IfThenElse(better, scale, scale_);
  }

  // Scale and minimum together by least squares for the codes at this range; then the nearest zero
  // point that can be stored.
  HWY_INLINE void FitBoth(Vec factor) {
    const FloatTag d;
    const auto start = ZeroAt(factor);
    auto codes = hn::Zero(d), squares = hn::Zero(d), products = hn::Zero(d);
    for (size_t k = 0; k < rows_; ++k) {
      const auto n = Normal(k);
      const auto code = Code(n, factor, start);
      const auto weighted = hn::Mul(Weight(n, k), code);
      codes = hn::Add(codes, weighted);
      squares = hn::Add(squares, hn::Mul(weighted, code));
      products = hn::Add(products, hn::Mul(weighted, n));
    }
    const auto mean = hn::Div(codes, weights_);
    const auto variance = hn::Sub(squares, hn::Mul(mean, codes));
    const auto covariance = hn::Sub(products, hn::Mul(mean, weighted_));
    auto scale = hn::Div(covariance, hn::Max(variance, Const(FLT_MIN)));
    const auto usable = hn::And(hn::Gt(scale, Const(1e-3f)), hn::Lt(scale, Const(1e3f)));
    scale = hn::IfThenElse(usable, scale, hn::Div(Const(1), factor));
    const auto multiplier = hn::Div(Const(1), scale);
    const auto zero = hn::Sub(mean, hn::Mul(hn::Div(weighted_, weights_), multiplier));
    Try(multiplier, StoredZero(zero), /*fit=*/true);
  }

  HWY_INLINE void HalfQuadratic(float factor) {
    const FloatTag d;
    const auto multiplier = Const(factor);
    const auto count = Const(static_cast<float>(rows_));
    auto zero = ZeroAt(multiplier);
    float beta = 10;
    for (int iteration = 0; iteration < 20; ++iteration) {
      const auto strength = Const(1 / beta);
      auto sum = hn::Zero(d);
      for (size_t k = 0; k < rows_; ++k) {
        const auto value = hn::Mul(Normal(k), multiplier);
        const auto code = RoundHalfUp(Clamp(hn::Add(value, zero), hn::Zero(d), levels_));
        const auto error = hn::Sub(value, hn::Sub(code, zero));
        const auto size = hn::Abs(error);
        const auto shrunk =
            hn::Max(hn::Zero(d), hn::Sub(size, hn::Mul(PowerMinusThreeTenths(size), strength)));
        sum = hn::Add(sum, hn::Sub(code, hn::Sub(value, hn::CopySign(shrunk, error))));
      }
      zero = hn::Div(sum, count);
      beta *= 1.01f;
    }
    Try(multiplier, StoredZero(zero), /*fit=*/true);
  }

  const float* values_;
  size_t rows_;
  const BlockRule& rule_;
  const float* importance_;
  Vec levels_;
  Vec plain_scale_, inverse_, plain_zero_, exact_zero_;
  Vec offset_, weights_, weighted_, weighted_squares_;
  // In units of the plain scale: codes are round(n * multiplier + zero), values scale * (code -
  // zero).
  Vec best_, multiplier_, scale_, zero_;
};

TileCodes Code(const float* values, size_t rows, size_t columns, const BlockRule& rule,
               const float* importance, uint8_t* codes) {
  const size_t lanes = hn::Lanes(FloatTag());
  TileCodes result;
  float zeros[kTileColumns], units[kTileColumns];
  float signal[kTileColumns], noise[kTileColumns], plain_noise[kTileColumns];
  for (size_t c = 0; c < kTileColumns; c += lanes) {
    Columns part(values + c, rows, rule, importance);
    part.units_ = units + c;
    if (!part.Range()) {
      result.finite = false;
      return result;
    }
    part.Search();
    part.Finish(codes + c, result.scales + c, zeros + c, signal + c, noise + c, plain_noise + c);
  }
  for (size_t c = 0; c < kTileColumns; ++c) {
    result.zero_points[c] = static_cast<uint8_t>(zeros[c]);
    if (c >= columns) continue;
    const double unit = static_cast<double>(units[c]) * units[c];
    result.signal += signal[c] * unit;
    result.noise += noise[c] * unit;
    result.plain_noise += plain_noise[c] * unit;
  }
  return result;
}

void CodeWith(const float* values, size_t rows, const BlockRule& rule, const float* scales,
              const uint8_t* zero_points, uint8_t* codes) {
  const FloatTag d;
  const hn::Rebind<uint8_t, FloatTag> d8;
  const size_t lanes = hn::Lanes(d);
  const auto spread = Const(static_cast<float>(rule.spread()));
  const auto levels = Const(static_cast<float>(rule.levels()));
  for (size_t c = 0; c < kTileColumns; c += lanes) {
    const auto scale = hn::Mul(hn::LoadU(d, scales + c), spread);
    const auto zero =
        hn::Div(hn::ConvertTo(d, hn::PromoteTo(IntTag(), hn::LoadU(d8, zero_points + c))), spread);
    for (size_t k = 0; k < rows; ++k) {
      const auto x = hn::LoadU(d, values + k * kTileColumns + c);
      const auto code = RoundHalfUp(Clamp(hn::Add(hn::Div(x, scale), zero), hn::Zero(d), levels));
      const auto stored = hn::ConvertTo(IntTag(), hn::Mul(code, spread));
      hn::StoreU(hn::TruncateTo(d8, hn::BitCast(hn::RebindToUnsigned<FloatTag>(), stored)), d8,
                 codes + k * kTileColumns + c);
    }
  }
}

}  // namespace modelpress::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace modelpress {
namespace {
HWY_EXPORT(Code);
HWY_EXPORT(CodeWith);
}  // namespace

TileCodes CodeTile(const float* values, size_t rows, size_t columns, const BlockRule& rule,
                   const float* importance, uint8_t* codes) {
  return HWY_DYNAMIC_DISPATCH(Code)(values, rows, columns, rule, importance, codes);
}

void CodeTileWith(const float* values, size_t rows, const BlockRule& rule, const float* scales,
                  const uint8_t* zero_points, uint8_t* codes) {
  HWY_DYNAMIC_DISPATCH(CodeWith)(values, rows, rule, scales, zero_points, codes);
}

}  // namespace modelpress
#endif  // HWY_ONCE
