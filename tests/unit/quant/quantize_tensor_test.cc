// Codes and scales against the formula in plain double code, and the promises about threads,
// alignment and instruction sets.
#include "core/quant/quantize_tensor.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hwy/targets.h"

namespace modelpress {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;

// A job with `threads` threads and nothing else.
struct Work {
  explicit Work(size_t threads) : pool(threads) {
    context.pool = &pool;
    context.cancellation = &cancellation;
  }
  ThreadPool pool;
  Cancellation cancellation;
  JobContext context;
};

struct Coded {
  std::vector<uint8_t> codes;
  QuantizedTensor result;
};

Coded Encode(std::span<const float> values, const ChannelLayout& layout, const AffineRule& rule,
             size_t threads = 1, float dead_zone = kNoDeadZone) {
  Work work(threads);
  Coded coded;
  coded.codes.resize(values.size());
  auto result =
      QuantizeTensor(std::as_bytes(values), layout, rule, dead_zone,
                     std::as_writable_bytes(std::span(coded.codes)), work.context, nullptr);
  EXPECT_TRUE(result.ok()) << result.status();
  coded.result = *std::move(result);
  return coded;
}

// ONNX Runtime's rule, written once more in the plainest way: range in double, scale cast to float,
// float division.
struct Expected {
  std::vector<AffineParameters> parameters;
  std::vector<uint8_t> codes;
  double signal = 0, noise = 0;
};
Expected Reference(std::span<const float> values, const ChannelLayout& layout,
                   const AffineRule& rule) {
  const bool is_signed = rule.type == CodeType::kInt8;
  const double qmin = is_signed ? (rule.symmetric ? -127 : -128) : 0;
  const double qmax = is_signed ? 127 : 255;
  Expected expected;
  expected.codes.resize(values.size());
  for (uint64_t c = 0; c < layout.channels; ++c) {
    std::vector<size_t> places;
    for (uint64_t o = 0; o < layout.outer; ++o) {
      for (uint64_t i = 0; i < layout.inner; ++i) {
        places.push_back((o * layout.channels + c) * layout.inner + i);
      }
    }
    double low = 0, high = 0;
    for (const size_t place : places) {
      low = std::min<double>(low, values[place]);
      high = std::max<double>(high, values[place]);
    }
    if (rule.symmetric) high = std::max(high, -low), low = -high;
    const double exact = (high - low) / (qmax - qmin);
    float scale = static_cast<float>(exact);
    double zero =
        rule.symmetric ? std::nearbyint((qmin + qmax) / 2) : std::nearbyint(qmin - low / exact);
    if (exact < FLT_MIN) scale = 1, zero = 0;
    expected.parameters.push_back({scale, static_cast<int32_t>(zero)});
    for (const size_t place : places) {
      const float quotient = values[place] / scale;
      const double code = std::clamp(std::nearbyint(quotient) + zero, qmin, qmax);
      expected.codes[place] = static_cast<uint8_t>(static_cast<int>(code));
      const double back = (code - zero) * scale;
      expected.signal += static_cast<double>(values[place]) * values[place];
      expected.noise += (values[place] - back) * (values[place] - back);
    }
  }
  return expected;
}

TEST(QuantizeTensorTest, LiteralInt8) {
  // Largest magnitude 254, so 2 per code; 1 and 3 lie between two codes and go to the even one.
  const float values[] = {254, -254, 1, 3, -1, -3, 0, 4};
  const Coded coded = Encode(values, WholeTensor(8), {});
  EXPECT_EQ(coded.result.parameters[0], (AffineParameters{2.0f, 0}));
  std::vector<int> codes;
  for (const uint8_t code : coded.codes) codes.push_back(static_cast<int8_t>(code));
  EXPECT_THAT(codes, ElementsAre(127, -127, 0, 2, 0, -2, 0, 2));
}

TEST(QuantizeTensorTest, LiteralUint8Asymmetric) {
  // Range -10 .. 245: scale 1, zero point 10.
  const float values[] = {-10, 245, 0, 0.5f, 1.5f};
  const Coded coded = Encode(values, WholeTensor(5), {CodeType::kUint8, false});
  EXPECT_EQ(coded.result.parameters[0], (AffineParameters{1.0f, 10}));
  EXPECT_THAT(coded.codes, ElementsAre(0, 255, 10, 10, 12));
}

TEST(QuantizeTensorTest, ZerosAndTinyValuesGetScaleOne) {
  const float values[] = {0, 0, 1e-40f, -1e-40f};
  const Coded coded = Encode(values, {1, 2, 2}, {});
  EXPECT_THAT(coded.result.parameters,
              ElementsAre(AffineParameters{1.0f, 0}, AffineParameters{1.0f, 0}));
  EXPECT_THAT(coded.codes, ElementsAre(0, 0, 0, 0));
}

TEST(QuantizeTensorTest, DeadZoneIsInclusive) {
  const float values[] = {127, 2, -2, 2.5f, -3};
  const Coded coded = Encode(values, WholeTensor(5), {}, 1, 2.0f);
  EXPECT_THAT(coded.codes, ElementsAre(127, 0, 0, 2, static_cast<uint8_t>(-3)));
}

TEST(QuantizeTensorTest, FindsWhatIsNotFiniteAnywhere) {
  constexpr float kBad[] = {std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()};
  for (const float bad : kBad) {
    for (const ChannelLayout& layout :
         {ChannelLayout{1, 3, 35}, ChannelLayout{35, 3, 1}, ChannelLayout{1, 1, 105}}) {
      for (const bool symmetric : {true, false}) {
        for (size_t place = 0; place < 105; ++place) {
          std::vector<float> values(105, 0.5f);
          EXPECT_TRUE(Encode(values, layout, {CodeType::kInt8, symmetric}).result.finite);
          values[place] = bad;
          EXPECT_FALSE(Encode(values, layout, {CodeType::kInt8, symmetric}).result.finite)
              << bad << " at " << place;
        }
      }
    }
  }
}

// Shapes that reach every path: cached rows, long rows, interleaved long runs, columns, partial
// blocks, many pieces.
const ChannelLayout kLayouts[] = {
    {1, 1, 1},   {1, 7, 9},   {1, 5, 1024}, {1, 2, 70000},  {1, 1, 600000},
    {3, 5, 300}, {2, 3, 5},   {40, 16, 1},  {1000, 33, 1},  {300, 2000, 1},
    {7, 3, 255}, {5, 4, 256}, {1, 4096, 1}, {2, 300, 1000}, {9000, 31, 2},
};

std::vector<float> Generate(const ChannelLayout& layout, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> values(layout.elements());
  // Channels of very different magnitudes, as trained weights have.
  for (size_t i = 0; i < values.size(); ++i) {
    const uint64_t channel = i / layout.inner % layout.channels;
    values[i] = normal(random) * std::pow(10.0f, static_cast<float>(channel % 9) - 4);
  }
  return values;
}

TEST(QuantizeTensorTest, EqualsTheFormulaOnEveryInstructionSet) {
  constexpr uint32_t kSeed = 20261125;
  SCOPED_TRACE(::testing::Message() << "seed " << kSeed);
  for (const ChannelLayout& layout : kLayouts) {
    std::mt19937 random(kSeed);
    const std::vector<float> values = Generate(layout, random);
    for (const AffineRule& rule :
         {AffineRule{CodeType::kInt8, true}, AffineRule{CodeType::kInt8, false},
          AffineRule{CodeType::kUint8, true}, AffineRule{CodeType::kUint8, false}}) {
      const Expected expected = Reference(values, layout, rule);
      std::optional<ErrorSums> first;
      for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
        SCOPED_TRACE(::testing::Message() << hwy::TargetName(target) << " layout " << layout.outer
                                          << " x " << layout.channels << " x " << layout.inner);
        hwy::SetSupportedTargetsForTest(target);
        const Coded coded = Encode(values, layout, rule);
        hwy::SetSupportedTargetsForTest(0);
        EXPECT_TRUE(coded.result.parameters == expected.parameters);
        EXPECT_TRUE(coded.codes == expected.codes);
        EXPECT_THAT(coded.result.sums.signal, DoubleNear(expected.signal, expected.signal * 1e-5));
        // The quotient is a float: errors below 2^-24 of a value are not seen.
        EXPECT_THAT(coded.result.sums.noise,
                    DoubleNear(expected.noise, expected.noise * 1e-3 + expected.signal * 1e-13));
        if (!first.has_value()) first = coded.result.sums;
        EXPECT_EQ(coded.result.sums.noise, first->noise);
        EXPECT_EQ(coded.result.sums.signal, first->signal);
      }
    }
  }
}

TEST(QuantizeTensorTest, ThreadsChangeNothing) {
  constexpr uint32_t kSeed = 7;
  for (const ChannelLayout& layout : kLayouts) {
    std::mt19937 random(kSeed);
    const std::vector<float> values = Generate(layout, random);
    const Coded one = Encode(values, layout, {}, 1);
    const Coded four = Encode(values, layout, {}, 4);
    EXPECT_TRUE(one.codes == four.codes);
    EXPECT_TRUE(one.result.parameters == four.result.parameters);
    EXPECT_EQ(one.result.sums.noise, four.result.sums.noise);
  }
}

TEST(QuantizeTensorTest, AlignmentChangesNothing) {
  std::mt19937 random(3);
  const ChannelLayout layout{1, 6, 77};
  const std::vector<float> values = Generate(layout, random);
  const Coded expected = Encode(values, layout, {});
  std::vector<std::byte> shifted(values.size() * sizeof(float) + 3);
  std::memcpy(shifted.data() + 3, values.data(), values.size() * sizeof(float));
  std::vector<uint8_t> codes(values.size());
  Work work(1);
  const auto result =
      QuantizeTensor(std::span(shifted).subspan(3), layout, {}, kNoDeadZone,
                     std::as_writable_bytes(std::span(codes)), work.context, nullptr);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(codes, expected.codes);
}

TEST(QuantizeTensorTest, StopsWhenCancelled) {
  std::vector<float> values(1 << 20, 1.0f);
  std::vector<uint8_t> codes(values.size());
  for (const ChannelLayout& layout :
       {ChannelLayout{1, 1024, 1024}, ChannelLayout{1024, 1024, 1}, ChannelLayout{1, 1, 1 << 20}}) {
    Work work(2);
    // The first piece that is finished cancels.
    const auto result = QuantizeTensor(std::as_bytes(std::span(values)), layout, {}, kNoDeadZone,
                                       std::as_writable_bytes(std::span(codes)), work.context,
                                       [&](uint64_t) { work.cancellation.Cancel(); });
    EXPECT_EQ(ReasonOf(result.status()), ERROR_REASON_JOB_CANCELLED);
  }
}

}  // namespace
}  // namespace modelpress
