// Constants in another order of axes, against the definition.
#include "core/rewrite/turn_constant.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "gtest/gtest.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

// out[index] = source[index turned back], element by element.
std::vector<std::byte> Plainly(const std::vector<std::byte>& source,
                               const std::vector<int64_t>& dims, const std::vector<int64_t>& perm,
                               size_t width) {
  const size_t rank = dims.size();
  std::vector<std::byte> out(source.size());
  const size_t count = source.size() / width;
  for (size_t at = 0; at < count; ++at) {
    std::vector<size_t> place(rank);
    size_t rest = at;
    for (size_t i = rank; i-- > 0;) {
      const size_t extent = static_cast<size_t>(dims[static_cast<size_t>(perm[i])]);
      place[static_cast<size_t>(perm[i])] = rest % extent;
      rest /= extent;
    }
    size_t from = 0;
    for (size_t i = 0; i < rank; ++i) from = from * static_cast<size_t>(dims[i]) + place[i];
    std::memcpy(out.data() + at * width, source.data() + from * width, width);
  }
  return out;
}

TEST(TransposeBytes, IsItsDefinitionForAnyShapeAndOrder) {
  const uint32_t seed = 20;
  std::mt19937 generator(seed);
  const auto below = [&](uint32_t limit) { return generator() % limit; };
  for (int round = 0; round < 600; ++round) {
    const size_t rank = below(6), width = size_t{1} << below(4);
    std::vector<int64_t> dims, perm;
    size_t count = 1;
    for (size_t i = 0; i < rank; ++i) {
      dims.push_back(below(4) == 0 ? 1 : 1 + below(rank < 4 ? 40 : 7));
      count *= static_cast<size_t>(dims.back());
      perm.push_back(static_cast<int64_t>(i));
    }
    for (size_t i = rank; i-- > 1;) std::swap(perm[i], perm[below(static_cast<uint32_t>(i) + 1)]);
    std::vector<std::byte> source(count * width), out(count * width);
    for (std::byte& byte : source) byte = static_cast<std::byte>(generator());
    TransposeBytes(source, dims, perm, static_cast<int>(width), out);
    ASSERT_EQ(out, Plainly(source, dims, perm, width))
        << "seed " << seed << ", round " << round << ", rank " << rank << ", width " << width;
  }
}

TEST(TransposedWeight, IsMadeInPiecesOfAnyShape) {
  testing::TestJob job;
  WeightArena arena(&job.scratch());
  struct Case {
    std::vector<int64_t> dims, perm;
    size_t width;
  };
  // More than a buffer: pieces of the first axis, of the second one (a row of the output's first axis does not fit), along
  // the source's last axis, and of a copy.
  const std::vector<Case> cases = {{{700, 3, 3, 41}, {0, 3, 1, 2}, 4},
                                   {{300, 3, 700}, {1, 2, 0}, 2},
                                   {{1200, 901}, {1, 0}, 1},
                                   {{2, 3, 40'000}, {1, 0, 2}, 8},
                                   {{1, 300'000, 1}, {2, 0, 1}, 4}};
  uint8_t value = 0;
  for (const Case& test : cases) {
    size_t count = test.width;
    for (const int64_t extent : test.dims) count *= static_cast<size_t>(extent);
    std::vector<std::byte> source(count);
    for (std::byte& byte : source) byte = static_cast<std::byte>(value += 41);
    const absl::StatusOr<WeightRef> weight =
        TransposedWeight(source, test.dims, test.perm, static_cast<int>(test.width), arena);
    ASSERT_TRUE(weight.ok()) << weight.status();
    const std::span<const std::byte> made = weight->bytes();
    EXPECT_TRUE(std::ranges::equal(made, Plainly(source, test.dims, test.perm, test.width)))
        << ::testing::PrintToString(test.dims);
  }
}

}  // namespace
}  // namespace modelpress
