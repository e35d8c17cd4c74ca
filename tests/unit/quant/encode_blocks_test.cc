// Codes of few bits against the methods' formulas in plain double code, through both layouts.
#include "core/quant/encode_blocks.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hwy/targets.h"

namespace modelpress {
namespace {

struct Work {
  explicit Work(size_t threads) : pool(threads) {
    context.pool = &pool;
    context.cancellation = &cancellation;
  }
  ThreadPool pool;
  Cancellation cancellation;
  JobContext context;
};

struct Stored {
  std::vector<std::byte> codes, zero_points, scales;
  EncodedBlocks result;

  bool operator==(const Stored& other) const {
    return codes == other.codes && zero_points == other.zero_points && scales == other.scales &&
           result.sums.noise == other.result.sums.noise;
  }
};

Stored Encode(std::span<const std::byte> values, const BlockLayout& layout, const BlockRule& rule,
              CodeLayout form, int offset, size_t threads = 1, DataType type = DataType::kFloat) {
  Work work(threads);
  Stored stored;
  const CodeSizes sizes = SizesOf(layout, rule.stored_bits(), form);
  stored.codes.resize(sizes.codes);
  stored.zero_points.resize(sizes.zero_points);
  stored.scales.resize(layout.scales() * sizeof(float));
  const CodeWriter writer(layout, rule.stored_bits(), form, offset, stored.codes,
                          stored.zero_points, stored.scales);
  auto result = EncodeBlocks(values, type, layout, rule, {}, &writer, work.context, nullptr);
  EXPECT_TRUE(result.ok()) << result.status();
  stored.result = *result;
  return stored;
}

int Element(std::span<const std::byte> bytes, int bits, uint64_t index, int offset) {
  const int stored = bits == 8 ? std::to_integer<int>(bytes[index])
                               : std::to_integer<int>(bytes[index / 2]) >> (index % 2 * 4) & 15;
  return (stored + offset) & ((1 << bits) - 1);
}

float Scale(const Stored& stored, uint64_t index) {
  float scale;
  std::memcpy(&scale, stored.scales.data() + index * sizeof(float), sizeof(float));
  return scale;
}

// What the runtime makes of the stored weight, by the operators' documentation.
std::vector<float> Decode(const Stored& stored, const BlockLayout& layout, const BlockRule& rule,
                          CodeLayout form, int offset) {
  std::vector<float> values(layout.view.elements());
  const uint64_t blocks = layout.blocks();
  for (uint64_t c = 0; c < layout.view.columns.count; ++c) {
    for (uint64_t k = 0; k < layout.view.rows.count; ++k) {
      const uint64_t block = k / layout.block_size;
      const uint64_t place = layout.view.columns.Offset(c) + layout.view.rows.Offset(k);
      uint64_t code = place, scale = layout.ScaleIndex(c, block), zero = scale;
      if (form == CodeLayout::kMatMulNBits) {
        code = (c * blocks + block) * layout.block_size + k % layout.block_size;
        scale = c * blocks + block;
        zero = c * ((blocks + 1) / 2 * 2) + block;
      }
      const int step = Element(stored.codes, rule.stored_bits(), code, offset) -
                       Element(stored.zero_points, rule.stored_bits(), zero, offset);
      values[place] = static_cast<float>(step) * Scale(stored, scale);
    }
  }
  return values;
}

double Noise(std::span<const float> a, std::span<const float> b) {
  double noise = 0;
  for (size_t i = 0; i < a.size(); ++i) noise += std::pow(static_cast<double>(a[i]) - b[i], 2);
  return noise;
}

std::vector<float> RandomValues(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = 0.1f * normal(random);
  return values;
}

// One block's parameters and codes, in the plainest way. Codes are not yet spread.
struct Block {
  double scale = 1, zero = 0;
  std::vector<double> codes;
};

Block PlainRounding(const std::vector<float>& x, const BlockRule& rule) {
  const float low = std::min(0.0f, std::ranges::min(x)), high = std::max(0.0f, std::ranges::max(x));
  Block block;
  float scale;
  if (rule.symmetric) {
    scale = (high > -low ? high : low) / static_cast<float>(-rule.middle());
    block.zero = rule.middle();
  } else {
    scale = (high - low) / static_cast<float>(rule.levels());
    block.zero =
        std::floor(std::clamp(-low / scale, 0.0f, static_cast<float>(rule.levels())) + 0.5f);
  }
  if (std::abs(scale) < FLT_MIN) {
    scale = 1;
    block.zero = rule.symmetric ? rule.middle() : 0;
  }
  block.scale = scale;
  for (const float value : x) {
    const float code = value * (1 / scale) + static_cast<float>(block.zero);
    block.codes.push_back(
        std::floor(std::clamp(code, 0.0f, static_cast<float>(rule.levels())) + 0.5f));
  }
  return block;
}

// Weighted least squares of x ~ scale * (code - zero).
double FittedScale(const std::vector<double>& n, const std::vector<double>& w, const Block& block) {
  double above = 0, below = 0;
  for (size_t i = 0; i < n.size(); ++i) {
    const double step = block.codes[i] - block.zero;
    above += w[i] * n[i] * step;
    below += w[i] * step * step;
  }
  return below > 0 ? above / below : 1;
}

double WeightedError(const std::vector<double>& n, const std::vector<double>& w,
                     const Block& block) {
  double error = 0;
  for (size_t i = 0; i < n.size(); ++i) {
    error += w[i] * std::pow(n[i] - block.scale * (block.codes[i] - block.zero), 2);
  }
  return error;
}

// mse_clip, kquant and hqq as tile_kernels.h states them, in double.
Block Reference(const std::vector<float>& x, const BlockRule& rule) {
  Block best = PlainRounding(x, rule);
  if (rule.method == BlockMethod::kRoundToNearest) return best;
  const double unit = best.scale, levels = rule.levels(), spread = rule.spread();
  const double highest = ((1 << rule.stored_bits()) - 1) / spread;
  std::vector<double> n, w;
  double square = 0;
  for (const float value : x) {
    n.push_back(value / unit);
    square += n.back() * n.back() / static_cast<double>(x.size());
  }
  for (const double value : n) {
    w.push_back(rule.method == BlockMethod::kKQuant ? std::abs(value) + std::sqrt(square) + 1e-6
                                                    : 1.0);
  }
  const double low = std::min(0.0, std::ranges::min(n)), start = -low;
  best.scale = 1;
  if (rule.method != BlockMethod::kMseClip) best.scale = FittedScale(n, w, best);
  double least = WeightedError(n, w, best);
  const auto stored = [&](double zero) {
    return rule.symmetric ? rule.middle()
                          : std::clamp(std::floor(zero * spread + 0.5) / spread, 0.0, highest);
  };
  const auto codes = [&](double multiplier, double zero) {
    std::vector<double> result;
    for (const double value : n) {
      result.push_back(std::floor(std::clamp(value * multiplier + zero, 0.0, levels) + 0.5));
    }
    return result;
  };
  const auto shifted = [&](double factor) { return start * factor - (factor - 1) * levels / 2; };
  const auto attempt = [&](double multiplier, double zero, bool fit) {
    Block block{1 / multiplier, zero, codes(multiplier, zero)};
    if (fit) block.scale = FittedScale(n, w, block);
    const double error = WeightedError(n, w, block);
    if (error < least) {
      least = error;
      best = block;
    }
  };
  if (rule.method == BlockMethod::kMseClip) {
    for (int i = 0; i <= 10; ++i) {
      const double factor = 1 + 0.1 * i;
      attempt(factor, stored(shifted(factor)), false);
    }
  } else if (rule.method == BlockMethod::kHqq) {
    for (const double factor : {0.9, 1.0, 1.15, 1.3, 1.45}) {
      double zero = shifted(factor), beta = 10;
      for (int i = 0; i < 20; ++i, beta *= 1.01) {
        const auto q = codes(factor, zero);
        double sum = 0;
        for (size_t k = 0; k < n.size(); ++k) {
          const double value = n[k] * factor, error = value - (q[k] - zero);
          const double size = std::abs(error);
          const double shrunk =
              size == 0 ? 0 : std::max(0.0, size - std::pow(size, 0.7 - 1) / beta);
          sum += q[k] - (value - std::copysign(shrunk, error));
        }
        zero = sum / static_cast<double>(n.size());
      }
      attempt(factor, stored(zero), true);
    }
  } else {
    for (const double factor : {0.9, 0.95, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.4, 1.5, 1.6}) {
      if (rule.symmetric) attempt(factor, rule.middle(), true);
    }
    for (int i = 0; i < 8 && !rule.symmetric; ++i) {
      const double factor = 0.9 + 0.1 * i;
      const auto q = codes(factor, shifted(factor));
      double sw = 0, sq = 0, sn = 0, sqq = 0, sqn = 0;
      for (size_t k = 0; k < n.size(); ++k) {
        sw += w[k], sq += w[k] * q[k], sn += w[k] * n[k];
        sqq += w[k] * q[k] * q[k], sqn += w[k] * q[k] * n[k];
      }
      const double variance = sqq - sq * sq / sw;
      double scale = variance > 0 ? (sqn - sq * sn / sw) / variance : 1 / factor;
      if (scale <= 1e-3) scale = 1 / factor;
      attempt(1 / scale, stored((sq - sn / scale) / sw), true);
    }
  }
  best.scale *= unit;
  return best;
}

std::vector<BlockRule> AllRules() {
  std::vector<BlockRule> rules;
  for (const int bits : {2, 3, 4, 8}) {
    for (const bool symmetric : {true, false}) {
      for (const BlockMethod method : {BlockMethod::kRoundToNearest, BlockMethod::kMseClip,
                                       BlockMethod::kKQuant, BlockMethod::kHqq}) {
        if (method == BlockMethod::kHqq && symmetric) continue;
        rules.push_back({bits, symmetric, method});
      }
    }
  }
  return rules;
}

struct Shape {
  std::vector<int64_t> dims;
  size_t axis;
  bool per_channel;
  uint64_t block_size;
};

// Every way in which columns lie: contiguous, rows, runs between, channels; odd sizes share bytes.
const Shape kShapes[] = {
    {{64, 130}, 0, false, 32},   {{70, 33}, 0, false, 16}, {{33, 80}, 1, false, 32},
    {{3, 40, 5}, 1, false, 16},  {{7, 45}, 0, true, 45},   {{45, 7}, 1, true, 45},
    {{5, 6, 3, 3}, 1, true, 45}, {{1, 1}, 0, false, 16},
};

BlockLayout LayoutOfShape(const Shape& shape) {
  if (!shape.per_channel) return {ColumnsAlong(shape.dims, shape.axis), shape.block_size};
  const MatrixView view = ColumnsOfChannels(shape.dims, shape.axis);
  return {view, view.rows.count};
}

std::vector<float> BlockOf(std::span<const float> values, const BlockLayout& layout, uint64_t c,
                           uint64_t block) {
  std::vector<float> x;
  const uint64_t first = block * layout.block_size;
  for (uint64_t k = first; k < std::min(layout.view.rows.count, first + layout.block_size); ++k) {
    x.push_back(values[layout.view.columns.Offset(c) + layout.view.rows.Offset(k)]);
  }
  return x;
}

TEST(EncodeBlocksTest, PlainRoundingIsTheFormulaBitForBit) {
  for (const Shape& shape : kShapes) {
    const BlockLayout layout = LayoutOfShape(shape);
    const std::vector<float> values = RandomValues(layout.view.elements(), 1);
    for (const BlockRule& rule : AllRules()) {
      if (rule.method != BlockMethod::kRoundToNearest) continue;
      const int spread = rule.spread();
      const Stored stored =
          Encode(std::as_bytes(std::span(values)), layout, rule, CodeLayout::kTensor, 0);
      for (uint64_t c = 0; c < layout.view.columns.count; ++c) {
        for (uint64_t b = 0; b < layout.blocks(); ++b) {
          const Block expected = PlainRounding(BlockOf(values, layout, c, b), rule);
          const uint64_t place = layout.ScaleIndex(c, b);
          ASSERT_EQ(Scale(stored, place),
                    static_cast<float>(expected.scale) / static_cast<float>(spread));
          ASSERT_EQ(Element(stored.zero_points, rule.stored_bits(), place, 0),
                    expected.zero * spread);
          for (size_t k = 0; k < expected.codes.size(); ++k) {
            const uint64_t at =
                layout.view.columns.Offset(c) + layout.view.rows.Offset(b * layout.block_size + k);
            ASSERT_EQ(Element(stored.codes, rule.stored_bits(), at, 0), expected.codes[k] * spread);
          }
        }
      }
    }
  }
}

TEST(EncodeBlocksTest, PlainRoundingByHand) {
  struct Case {
    BlockRule rule;
    std::vector<float> values;
    float scale;
    int zero_point;
    std::vector<int> codes;
  };
  // The largest float below 1/2 is rounded down, 1/2 itself up, as by roundf.
  const float below = 0x1.fffffep-2f;
  for (const Case& c : {
           // The value of largest magnitude becomes code 0: all 16 levels are used.
           Case{{4, true}, {-8, 7, 0.5f, -0.5f, 0.49f}, 1, 8, {0, 15, 9, 8, 8}},
           Case{{4, true}, {8, -7, 1}, -1, 8, {0, 15, 7}},
           Case{{4, true}, {3, -3}, 0.375f, 8, {15, 0}},
           Case{{4, false}, {15, below, 0.5f, 7.5f}, 1, 0, {15, 0, 1, 8}},
           Case{{4, false}, {-15, -below, -0.5f}, 1, 15, {0, 15, 15}},
           Case{{4, false}, {-5, 10}, 1, 5, {0, 15}},
           Case{{4, true}, {0, 0}, 1, 8, {8, 8}},
           Case{{4, false}, {0, 0}, 1, 0, {0, 0}},
           // Stored times 4, with zero points on quarters.
           Case{{2, false}, {-1, 2}, 0.25f, 4, {0, 12}},
           Case{{3, true}, {-4, 3}, 1, 4, {0, 7}},
           Case{{8, true}, {-128, 127}, 1, 128, {0, 255}},
       }) {
    const int64_t dims[] = {static_cast<int64_t>(c.values.size()), 1};
    const BlockLayout layout = {ColumnsAlong(dims, 0), 16};
    const Stored stored =
        Encode(std::as_bytes(std::span(c.values)), layout, c.rule, CodeLayout::kTensor, 0);
    EXPECT_EQ(Scale(stored, 0), c.scale);
    EXPECT_EQ(Element(stored.zero_points, c.rule.stored_bits(), 0, 0), c.zero_point);
    for (size_t k = 0; k < c.codes.size(); ++k) {
      EXPECT_EQ(Element(stored.codes, c.rule.stored_bits(), k, 0), c.codes[k]) << c.values[k];
    }
  }
}

TEST(EncodeBlocksTest, MethodsAreTheirFormulas) {
  const Shape shape = {{96, 50}, 0, false, 32};
  const BlockLayout layout = LayoutOfShape(shape);
  const std::vector<float> values = RandomValues(layout.view.elements(), 2);
  for (const BlockRule& rule : AllRules()) {
    const Stored stored =
        Encode(std::as_bytes(std::span(values)), layout, rule, CodeLayout::kTensor, 0);
    double expected = 0;
    for (uint64_t c = 0; c < layout.view.columns.count; ++c) {
      for (uint64_t b = 0; b < layout.blocks(); ++b) {
        const std::vector<float> x = BlockOf(values, layout, c, b);
        const Block block = Reference(x, rule);
        for (size_t k = 0; k < x.size(); ++k) {
          expected += std::pow(x[k] - block.scale * (block.codes[k] - block.zero), 2);
        }
      }
    }
    // Single precision may choose another candidate of nearly the same error.
    EXPECT_NEAR(stored.result.sums.noise / expected, 1, 2e-3)
        << rule.bits << (rule.symmetric ? " symmetric " : " asymmetric ")
        << static_cast<int>(rule.method);
    EXPECT_NEAR(Noise(values, Decode(stored, layout, rule, CodeLayout::kTensor, 0)) /
                    stored.result.sums.noise,
                1, 1e-4);
  }
}

TEST(EncodeBlocksTest, BothLayoutsDecodeToTheSameFloats) {
  // A last block that is not full, an odd number of blocks, an odd number of columns.
  for (const auto& [rows, columns] : {std::pair{64, 6}, {72, 33}, {16, 1}, {90, 65}}) {
    const std::vector<int64_t> dims = {rows, columns};
    const BlockLayout layout = {ColumnsAlong(dims, 0), 32};
    const std::vector<float> values = RandomValues(layout.view.elements(), 3);
    const auto bytes = std::as_bytes(std::span(values));
    for (const BlockRule& rule : AllRules()) {
      if (rule.stored_bits() != 4) continue;
      const auto tensor = Decode(Encode(bytes, layout, rule, CodeLayout::kTensor, 0), layout, rule,
                                 CodeLayout::kTensor, 0);
      const Stored packed = Encode(bytes, layout, rule, CodeLayout::kMatMulNBits, 0);
      EXPECT_EQ(tensor, Decode(packed, layout, rule, CodeLayout::kMatMulNBits, 0));
      // What is missing in the last block decodes to 0.
      const uint64_t blocks = layout.blocks();
      for (uint64_t k = layout.view.rows.count; k < blocks * 32; ++k) {
        EXPECT_EQ(Element(packed.codes, 4, k, 0), Element(packed.zero_points, 4, blocks - 1, 0));
      }
    }
  }
}

TEST(EncodeBlocksTest, SignedCodesAreTheSameNumbers) {
  const Shape shape = kShapes[0];
  const BlockLayout layout = LayoutOfShape(shape);
  const std::vector<float> values = RandomValues(layout.view.elements(), 4);
  const auto bytes = std::as_bytes(std::span(values));
  const BlockRule rule{4, false, BlockMethod::kKQuant};
  EXPECT_EQ(Decode(Encode(bytes, layout, rule, CodeLayout::kTensor, 0), layout, rule,
                   CodeLayout::kTensor, 0),
            Decode(Encode(bytes, layout, rule, CodeLayout::kTensor, 8), layout, rule,
                   CodeLayout::kTensor, 8));
}

TEST(EncodeBlocksTest, SameBytesForAnyAlignmentAndInstructionSet) {
  for (const Shape& shape : {Shape{{96, 101}, 0, false, 32}, Shape{{101, 96}, 1, false, 32}}) {
    const BlockLayout layout = LayoutOfShape(shape);
    const std::vector<float> values = RandomValues(layout.view.elements(), 5);
    std::vector<std::byte> shifted(values.size() * sizeof(float) + 1);
    std::memcpy(shifted.data() + 1, values.data(), values.size() * sizeof(float));
    for (const BlockRule& rule : AllRules()) {
      const Stored first =
          Encode(std::as_bytes(std::span(values)), layout, rule, CodeLayout::kTensor, 0);
      EXPECT_TRUE(Encode(std::span(shifted).subspan(1), layout, rule, CodeLayout::kTensor, 0) ==
                  first);
      for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
        hwy::SetSupportedTargetsForTest(target);
        EXPECT_TRUE(
            Encode(std::as_bytes(std::span(values)), layout, rule, CodeLayout::kTensor, 0) == first)
            << hwy::TargetName(target);
        hwy::SetSupportedTargetsForTest(0);
      }
    }
  }
}

TEST(EncodeBlocksTest, SameBytesForAnyThreads) {
  // Several pieces of work, whose codes and zero points share bytes.
  for (const Shape& shape : {Shape{{1025, 601}, 0, false, 32}, Shape{{601, 1025}, 1, false, 32}}) {
    const BlockLayout layout = LayoutOfShape(shape);
    const std::vector<float> values = RandomValues(layout.view.elements(), 6);
    const auto bytes = std::as_bytes(std::span(values));
    for (const BlockRule& rule : {BlockRule{4, false, BlockMethod::kRoundToNearest},
                                  BlockRule{3, false, BlockMethod::kKQuant}}) {
      const Stored one = Encode(bytes, layout, rule, CodeLayout::kTensor, 0);
      EXPECT_TRUE(Encode(bytes, layout, rule, CodeLayout::kTensor, 0, /*threads=*/4) == one);
    }
  }
}

TEST(EncodeBlocksTest, ExtremeValues) {
  const std::vector<int64_t> dims = {16, 5};
  const BlockLayout layout = {ColumnsAlong(dims, 0), 16};
  std::vector<float> values(80, 0.0f);
  values[0] = FLT_MAX, values[5] = -3e38f;  // column 0: the outermost codes must stay finite
  values[1] = 2e38f, values[6] = -2e38f;    // column 1: a range beyond the largest float
  values[2] = 1e-44f;                       // column 2: subnormal
  values[3] = 1e-30f, values[8] = 1e30f;    // column 3: squares overflow
  for (const BlockRule& rule : AllRules()) {
    const Stored stored =
        Encode(std::as_bytes(std::span(values)), layout, rule, CodeLayout::kTensor, 0);
    EXPECT_TRUE(stored.result.finite);
    EXPECT_TRUE(std::isfinite(stored.result.sums.noise));
    EXPECT_LE(stored.result.sums.noise, stored.result.sums.signal);
    for (const float value : Decode(stored, layout, rule, CodeLayout::kTensor, 0)) {
      EXPECT_TRUE(std::isfinite(value));
    }
  }
  values[7] = NAN;
  EXPECT_FALSE(
      Encode(std::as_bytes(std::span(values)), layout, {}, CodeLayout::kTensor, 0).result.finite);
}

TEST(EncodeBlocksTest, HalfPrecisionWeights) {
  const std::vector<int64_t> dims = {32, 3};
  const BlockLayout layout = {ColumnsAlong(dims, 0), 16};
  std::vector<float> values(96);
  std::vector<uint16_t> brain(96);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(static_cast<int>(i * 37 % 64) - 32);
    brain[i] = static_cast<uint16_t>(std::bit_cast<uint32_t>(values[i]) >> 16);
  }
  const BlockRule rule{4, false, BlockMethod::kKQuant};
  EXPECT_TRUE(Encode(std::as_bytes(std::span(brain)), layout, rule, CodeLayout::kTensor, 0, 1,
                     DataType::kBfloat16) ==
              Encode(std::as_bytes(std::span(values)), layout, rule, CodeLayout::kTensor, 0));
}

}  // namespace
}  // namespace modelpress
