// Random numbers that are the same on every machine: integer arithmetic only, because the distributions of <random> are
// up to the library and the logarithm and cosine of Box-Muller round differently from one libm to the next.
#pragma once

#include <cstdint>

namespace modelpress {

class Random {
 public:
  // Streams with different keys are independent for our purposes.
  Random(uint64_t seed, uint64_t key, uint64_t index) : state_(Mix(Mix(Mix(seed) + key) + index)) {}

  // SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
  uint64_t Next() { return Mix(state_ += 0x9E3779B97F4A7C15); }

  // Uniform in [0, bound), bound > 0, by multiplication (D. Lemire, "Fast random integer generation in an interval",
  // 2019) without its rejection step: the bias is below bound / 2^64.
  uint64_t Below(uint64_t bound) {
    return static_cast<uint64_t>(static_cast<unsigned __int128>(Next()) * bound >> 64);
  }

  // Standard normal to within sampling error: the sum of 12 uniform numbers has variance 1 (Irwin-Hall distribution). A
  // multiple of 2^-17 in (-6, 6), so exact as a float.
  float Normal() {
    int64_t sum = 0;
    for (int i = 0; i < 3; ++i) {
      const uint64_t bits = Next();
      for (int shift = 0; shift < 64; shift += 16)
        sum += static_cast<int64_t>(bits >> shift & 0xFFFF);
    }
    // Each piece of 16 bits stands for the middle of its interval.
    return static_cast<float>(2 * sum + 12 - 12 * 65536) / 131072.0f;
  }

 private:
  static uint64_t Mix(uint64_t x) {
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
    x = (x ^ x >> 27) * 0x94D049BB133111EB;
    return x ^ x >> 31;
  }

  uint64_t state_;
};

}  // namespace modelpress
