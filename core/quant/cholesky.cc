// Cholesky factorization by block columns; see cholesky.h.
//
// For each block column: what the columns before it contribute is subtracted (a matrix product, in
// tiles of rows), the block on the diagonal is factored, and the rows below it are multiplied by
// its inverse (Golub and Van Loan, Matrix Computations, 4.2.5: the left-looking form).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/quant/cholesky.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#include "core/quant/cholesky.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/base/status.h"

HWY_BEFORE_NAMESPACE();
namespace modelpress::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// At most 8 lanes, so that a block is a whole number of pairs of registers everywhere.
using DoubleTag = hn::CappedTag<double, 8>;
constexpr size_t kWidth = 64;  // of a block; see kBlock

// c[rows][kWidth] (stride ldc) = start - a[rows][depth] (stride lda) * b[depth][kWidth], with start
// = c, or 0 where `replace`; the product is then not subtracted but stored.
template <size_t kRows>
HWY_INLINE void Rows(double* c, size_t ldc, const double* a, size_t lda, const double* b,
                     size_t depth, bool replace) {
  const DoubleTag d;
  const size_t lanes = hn::Lanes(d);
  for (size_t column = 0; column < kWidth; column += 2 * lanes) {
    auto s00 = hn::Zero(d), s01 = s00, s10 = s00, s11 = s00;
    auto s20 = s00, s21 = s00, s30 = s00, s31 = s00;
    const double* at = b + column;
    for (size_t k = 0; k < depth; ++k, at += kWidth) {
      const auto b0 = hn::LoadU(d, at);
      const auto b1 = hn::LoadU(d, at + lanes);
      const auto a0 = hn::Set(d, a[k]);
      s00 = hn::Add(s00, hn::Mul(a0, b0));
      s01 = hn::Add(s01, hn::Mul(a0, b1));
      if constexpr (kRows > 1) {
        const auto a1 = hn::Set(d, a[lda + k]);
        s10 = hn::Add(s10, hn::Mul(a1, b0));
        s11 = hn::Add(s11, hn::Mul(a1, b1));
        const auto a2 = hn::Set(d, a[2 * lda + k]);
        s20 = hn::Add(s20, hn::Mul(a2, b0));
        s21 = hn::Add(s21, hn::Mul(a2, b1));
        const auto a3 = hn::Set(d, a[3 * lda + k]);
        s30 = hn::Add(s30, hn::Mul(a3, b0));
        s31 = hn::Add(s31, hn::Mul(a3, b1));
      }
    }
    const auto store = [&](size_t row, auto left, auto right) HWY_ATTR {
      double* to = c + row * ldc + column;
      if (!replace) {
        left = hn::Sub(hn::LoadU(d, to), left);
        right = hn::Sub(hn::LoadU(d, to + lanes), right);
      }
      hn::StoreU(left, d, to);
      hn::StoreU(right, d, to + lanes);
    };
    store(0, s00, s01);
    if constexpr (kRows > 1) {
      store(1, s10, s11);
      store(2, s20, s21);
      store(3, s30, s31);
    }
  }
}

void Product(double* c, size_t ldc, const double* a, size_t lda, const double* b, size_t rows,
             size_t depth, bool replace) {
  size_t row = 0;
  for (; row + 4 <= rows; row += 4) {
    Rows<4>(c + row * ldc, ldc, a + row * lda, lda, b, depth, replace);
  }
  for (; row < rows; ++row) Rows<1>(c + row * ldc, ldc, a + row * lda, lda, b, depth, replace);
}

}  // namespace modelpress::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace modelpress {
namespace {

HWY_EXPORT(Product);

constexpr size_t kBlock = 64;
// Rows that one piece of work takes on.
constexpr size_t kRowsPerPiece = 64;

// Factors the block of `width` columns at `block` (stride `size`) and gives the transposed inverse
// of the factor, padded with zeros. False if it is not positive definite.
bool FactorBlock(double* block, size_t size, size_t width, std::vector<double>& inverse) {
  for (size_t i = 0; i < width; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      double sum = block[i * size + j];
      for (size_t k = 0; k < j; ++k) sum -= block[i * size + k] * block[j * size + k];
      if (i != j) {
        block[i * size + j] = sum / block[j * size + j];
      } else if (sum > 0 && std::isfinite(sum)) {
        block[i * size + i] = std::sqrt(sum);
      } else {
        return false;
      }
    }
  }
  // inverse[k * kBlock + c] is element (c, k) of L^-1, by forward substitution.
  inverse.assign(kBlock * kBlock, 0);
  for (size_t k = 0; k < width; ++k) {
    inverse[k * kBlock + k] = 1 / block[k * size + k];
    for (size_t c = k + 1; c < width; ++c) {
      double sum = 0;
      for (size_t i = k; i < c; ++i) sum -= block[c * size + i] * inverse[k * kBlock + i];
      inverse[k * kBlock + c] = sum / block[c * size + c];
    }
  }
  return true;
}

}  // namespace

absl::StatusOr<bool> Cholesky(std::span<double> matrix, size_t size, const JobContext& context) {
  if (matrix.size() != size * size) {
    return Error(ERROR_REASON_INTERNAL_BUG, "the matrix is not of the size that is said");
  }
  std::vector<double> left(size * kBlock), inverse;
  for (size_t first = 0; first < size; first += kBlock) {
    const size_t width = std::min(kBlock, size - first);
    const size_t pieces = (size - first + kRowsPerPiece - 1) / kRowsPerPiece;
    // The rows of this block column over all columns before it, transposed and padded.
    MP_RETURN_IF_ERROR(
        context.pool->ParallelFor((first + kBlock - 1) / kBlock, [&](size_t piece) -> absl::Status {
          for (size_t k = piece * kBlock; k < std::min(first, (piece + 1) * kBlock); ++k) {
            for (size_t c = 0; c < kBlock; ++c) {
              left[k * kBlock + c] = c < width ? matrix[(first + c) * size + k] : 0;
            }
          }
          return absl::OkStatus();
        }));
    // Tiles are worked on in a buffer: the last block column may be narrower than kBlock.
    const auto for_rows = [&](size_t start, const auto& body) {
      return context.pool->ParallelFor(pieces, [&](size_t piece) -> absl::Status {
        MP_RETURN_IF_ERROR(context.cancellation->Check());
        const size_t begin = std::max(start, first + piece * kRowsPerPiece);
        const size_t end = std::min(size, first + (piece + 1) * kRowsPerPiece);
        if (begin < end) body(begin, end - begin);
        return absl::OkStatus();
      });
    };
    const auto copy = [&](double* tile, size_t begin, size_t rows, bool back) {
      for (size_t r = 0; r < rows; ++r) {
        double* row = matrix.data() + (begin + r) * size + first;
        if (back) {
          std::copy_n(tile + r * kBlock, width, row);
        } else {
          std::copy_n(row, width, tile + r * kBlock);
        }
      }
    };
    if (first > 0) {
      MP_RETURN_IF_ERROR(for_rows(first, [&](size_t begin, size_t rows) {
        double tile[kRowsPerPiece * kBlock] = {};
        copy(tile, begin, rows, false);
        HWY_DYNAMIC_DISPATCH(Product)(tile, kBlock, matrix.data() + begin * size, size, left.data(),
                                      rows, first, false);
        copy(tile, begin, rows, true);
      }));
    }
    if (!FactorBlock(matrix.data() + first * size + first, size, width, inverse)) return false;
    MP_RETURN_IF_ERROR(for_rows(first + width, [&](size_t begin, size_t rows) {
      double tile[kRowsPerPiece * kBlock] = {}, result[kRowsPerPiece * kBlock];
      copy(tile, begin, rows, false);
      HWY_DYNAMIC_DISPATCH(Product)(result, kBlock, tile, kBlock, inverse.data(), rows, kBlock,
                                    true);
      copy(result, begin, rows, true);
    }));
  }
  return true;
}

}  // namespace modelpress
#endif  // HWY_ONCE
