// Setting the smallest weights to zero; see magnitude.h.
#include "core/quant/magnitude.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <mutex>
#include <numeric>

#include "core/base/status.h"
#include "core/quant/float16.h"
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
  DataType type;
  size_t element_bytes;
};

float Value(const Piece& piece, size_t i) {
  if (piece.type == DataType::kFloat) {
    float value;
    std::memcpy(&value, piece.values + i * sizeof(value), sizeof(value));
    return value;
  }
  uint16_t half;
  std::memcpy(&half, piece.values + i * sizeof(half), sizeof(half));
  return piece.type == DataType::kFloat16 ? HalfToFloat(half)
                                          : std::bit_cast<float>(static_cast<uint32_t>(half) << 16);
}

uint32_t MagnitudeBits(const Piece& piece, size_t i) {
  return std::bit_cast<uint32_t>(Value(piece, i)) & 0x7fffffff;
}

std::vector<Piece> Pieces(const Magnitudes& tensor) {
  std::vector<Piece> pieces;
  const size_t size = tensor.type == DataType::kFloat ? sizeof(float) : sizeof(uint16_t);
  const uint64_t count = tensor.values.size() / size;
  for (uint64_t at = 0; at < count; at += kPieceElements) {
    pieces.push_back({tensor.values.data() + at * size, std::min(kPieceElements, count - at),
                      tensor.type, size});
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

absl::StatusOr<MagnitudeCut> FindCut(std::span<const Magnitudes> tensors, uint64_t zeros,
                                     const JobContext& context) {
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
        const uint32_t bits = MagnitudeBits(pieces[p], i);
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

absl::StatusOr<CutResult> ApplyCut(const Magnitudes& tensor, MagnitudeCut* cut,
                                   std::span<std::byte> result, const JobContext& context,
                                   const ByteProgress& progress) {
  const std::vector<Piece> pieces = Pieces(tensor);
  // Each piece must know how many ties the pieces before it use up.
  std::vector<uint64_t> ties_before(pieces.size() + 1, 0);
  if (cut->ties > 0) {
    MP_RETURN_IF_ERROR(ForEachPiece(pieces, context, [&](size_t p) {
      uint64_t equal = 0;
      for (size_t i = 0; i < pieces[p].count; ++i) {
        equal += MagnitudeBits(pieces[p], i) == cut->bits;
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
      const float value = Value(pieces[p], i);
      const uint32_t bits = MagnitudeBits(pieces[p], i);
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
      }
      part.zeros += zero || value == 0;
      const size_t size = pieces[p].element_bytes;
      std::byte* const to = result.data() + (p * kPieceElements + i) * size;
      if (zero) {
        std::memset(to, 0, size);
      } else {
        std::memcpy(to, pieces[p].values + i * size, size);
      }
    }
    if (progress) progress(pieces[p].count * pieces[p].element_bytes);
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

absl::StatusOr<bool> AllFinite(const Magnitudes& tensor, const JobContext& context) {
  const std::vector<Piece> pieces = Pieces(tensor);
  std::vector<uint8_t> finite(pieces.size(), 1);
  MP_RETURN_IF_ERROR(ForEachPiece(pieces, context, [&](size_t p) {
    if (tensor.type == DataType::kFloat) {
      const auto* floats = reinterpret_cast<const float*>(pieces[p].values);
      finite[p] = RangeOf(floats, pieces[p].count, true).finite;
      return;
    }
    for (size_t i = 0; i < pieces[p].count; ++i) {
      if (!std::isfinite(Value(pieces[p], i))) finite[p] = 0;
    }
  }));
  return std::ranges::all_of(finite, [](uint8_t ok) { return ok != 0; });
}

}  // namespace modelpress
