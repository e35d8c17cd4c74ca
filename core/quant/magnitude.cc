// Setting the smallest weights to zero; see magnitude.h.
#include "core/quant/magnitude.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <mutex>
#include <numeric>

#include "core/base/status.h"
#include "core/quant/range_kernels.h"

namespace modelpress {
namespace {

constexpr uint64_t kPieceElements = 256 * 1024;
// 31 bits of magnitude, from the top: 11 + 11 + 9.
struct Digit {
  int shift;
  int bits;
};
constexpr Digit kDigits[] = {{20, 11}, {9, 11}, {0, 9}};
using Histogram = std::array<uint64_t, 2048>;

struct Piece {
  const std::byte* values;
  size_t count;
};

uint32_t MagnitudeBits(const std::byte* values, size_t i) {
  uint32_t bits;
  std::memcpy(&bits, values + i * sizeof(bits), sizeof(bits));
  return bits & 0x7fffffff;
}

std::vector<Piece> Pieces(std::span<const std::byte> values) {
  std::vector<Piece> pieces;
  const uint64_t count = values.size() / sizeof(float);
  for (uint64_t at = 0; at < count; at += kPieceElements) {
    pieces.push_back({values.data() + at * sizeof(float), std::min(kPieceElements, count - at)});
  }
  return pieces;
}

absl::Status ForEachPiece(const std::vector<Piece>& pieces, const JobContext& context,
                          const std::function<void(size_t)>& body) {
  return context.pool->ParallelFor(pieces.size(), [&](size_t i) -> absl::Status {
    MP_RETURN_IF_ERROR(context.cancellation->Check());
    body(i);
    return absl::OkStatus();
  });
}

}  // namespace

double MagnitudeCut::threshold() const {
  const uint32_t last = ties > 0 || bits == 0 ? bits : bits - 1;
  return std::bit_cast<float>(last);
}

MagnitudeCut CutAt(double threshold) {
  // As a float, as which the weights are: 0.1 means the weight that prints as 0.1.
  const float limit = static_cast<float>(threshold);
  return {std::bit_cast<uint32_t>(limit) + 1, 0};
}

absl::StatusOr<MagnitudeCut> FindCut(std::span<const std::span<const std::byte>> tensors,
                                     uint64_t zeros, const JobContext& context) {
  std::vector<Piece> pieces;
  for (const auto& tensor : tensors) std::ranges::copy(Pieces(tensor), std::back_inserter(pieces));
  if (zeros == 0) return MagnitudeCut{};
  // After each digit: values below `prefix` are `below` many, and the cut starts with `prefix`.
  uint32_t prefix = 0;
  uint64_t below = 0;
  for (const Digit& digit : kDigits) {
    const uint32_t mask = (1u << digit.bits) - 1;
    const int known = digit.shift + digit.bits;
    Histogram total{};
    std::mutex mutex;
    MP_RETURN_IF_ERROR(ForEachPiece(pieces, context, [&](size_t p) {
      Histogram counts{};
      for (size_t i = 0; i < pieces[p].count; ++i) {
        const uint32_t bits = MagnitudeBits(pieces[p].values, i);
        if (bits >> known == prefix >> known) ++counts[(bits >> digit.shift) & mask];
      }
      const std::lock_guard lock(mutex);
      for (size_t bin = 0; bin <= mask; ++bin) total[bin] += counts[bin];
    }));
    uint32_t bin = 0;
    while (bin < mask && below + total[bin] < zeros) below += total[bin++];
    prefix |= bin << digit.shift;
  }
  return MagnitudeCut{prefix, zeros - below};
}

absl::StatusOr<CutResult> ApplyCut(std::span<const std::byte> values, MagnitudeCut* cut,
                                   std::span<std::byte> result, const JobContext& context,
                                   const ByteProgress& progress) {
  const std::vector<Piece> pieces = Pieces(values);
  // Each piece must know how many ties the pieces before it use up.
  std::vector<uint64_t> ties_before(pieces.size() + 1, 0);
  if (cut->ties > 0) {
    MP_RETURN_IF_ERROR(ForEachPiece(pieces, context, [&](size_t p) {
      uint64_t equal = 0;
      for (size_t i = 0; i < pieces[p].count; ++i) {
        equal += MagnitudeBits(pieces[p].values, i) == cut->bits;
      }
      ties_before[p + 1] = equal;
    }));
    std::partial_sum(ties_before.begin(), ties_before.end(), ties_before.begin());
  }
  std::vector<CutResult> parts(pieces.size());
  MP_RETURN_IF_ERROR(ForEachPiece(pieces, context, [&](size_t p) {
    uint64_t ties = cut->ties - std::min(cut->ties, ties_before[p]);
    CutResult& part = parts[p];
    for (size_t i = 0; i < pieces[p].count; ++i) {
      float value;
      std::memcpy(&value, pieces[p].values + i * sizeof(value), sizeof(value));
      const uint32_t bits = MagnitudeBits(pieces[p].values, i);
      const double square = static_cast<double>(value) * value;
      part.sums.signal += square;
      bool zero = bits < cut->bits;
      if (bits == cut->bits && ties > 0) {
        zero = true;
        --ties;
      }
      if (zero) {
        part.sums.noise += square;
        part.changed += value != 0;
        value = 0;
      }
      part.zeros += value == 0;
      std::byte* to = result.data() + (p * kPieceElements + i) * sizeof(value);
      std::memcpy(to, &value, sizeof(value));
    }
    if (progress) progress(pieces[p].count * sizeof(float));
  }));
  cut->ties -= std::min(cut->ties, ties_before.back());
  CutResult whole;
  for (const CutResult& part : parts) {
    whole.zeros += part.zeros;
    whole.changed += part.changed;
    whole.sums.Add(part.sums);
  }
  return whole;
}

absl::StatusOr<bool> AllFinite(std::span<const std::byte> values, const JobContext& context) {
  const std::vector<Piece> pieces = Pieces(values);
  std::vector<uint8_t> finite(pieces.size(), 1);
  MP_RETURN_IF_ERROR(ForEachPiece(pieces, context, [&](size_t p) {
    const auto* floats = reinterpret_cast<const float*>(pieces[p].values);
    finite[p] = RangeOf(floats, pieces[p].count, true).finite;
  }));
  return std::ranges::all_of(finite, [](uint8_t ok) { return ok != 0; });
}

}  // namespace modelpress
