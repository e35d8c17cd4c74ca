// GPTQ: rounding a weight row by row, with the error of each row made good by the rows after it.
//
// The error of y = x W for V in the place of W is tr((W - V)^T H (W - V)) with H the mean of x x^T.
// GPTQ (Frantar et al., 2022) rounds row i, e = (w_i - v_i) / U_ii, and subtracts U_ij e from every
// later row j, with U the upper Cholesky factor of H^-1. Written with H itself (Chee et al., QuIP,
// 2023, theorem 6: the same numbers) it needs no inverse: with H = F^T D F, F unit lower triangular,
//
//   row i is rounded from  w_i + sum over j < i of F_ij (w_j - v_j)
//
// Rows are taken block by block, since the rows of a block share a scale: blocks of larger mean
// square of x first, and within a block likewise. A block's scale comes from its rows as they are
// when it is begun.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "core/quant/encode_blocks.h"

namespace modelpress {

// F and the order of rows, for every weight that multiplies the same x.
struct GptqFactor {
  uint64_t block_size = 0;
  // order[i]: the row that is rounded i-th.
  std::vector<uint32_t> order;
  // F_ij at [i * rows + j], j < i, both counted in that order.
  std::vector<float> feedback;
};

// `gram` is the symmetric rows x rows matrix H. `damping` times the mean of its diagonal is added to
// the diagonal, and rows that x never touches (0 there) are then rounded on their own. Nothing if H
// is not positive definite even so, or not finite. Memory 12 rows^2 bytes. Errors: cancellation.
absl::StatusOr<std::optional<GptqFactor>> FactorGram(std::span<const float> gram, uint64_t rows,
                                                     uint64_t block_size, double damping,
                                                     const JobContext& context);

struct JudgedBlocks {
  EncodedBlocks blocks;
  // tr((W - V)^T H (W - V)) of what was written and of plain rounding, by the judging Gram.
  double error = 0;
  double plain_error = 0;
  // tr(W^T H W): the output itself.
  double output = 0;
};

// Writes the codes of a weight, as EncodeBlocks does; scales and zero points of a block by `rule`'s method.
// `judge`: the Gram of other samples than those of the factor. Columns are independent: the same
// result for any number of threads. Memory: 5 panels of 64 columns per thread.
absl::StatusOr<JudgedBlocks> EncodeGptq(std::span<const std::byte> values, DataType type,
                                        const BlockLayout& layout, const BlockRule& rule,
                                        const GptqFactor& factor, std::span<const float> judge,
                                        const CodeWriter& writer, const JobContext& context,
                                        const ByteProgress& progress);

// The same figures for EncodeBlocks with this rule and these facts; errors are those of the weight
// without the factors.
absl::StatusOr<JudgedBlocks> EncodeJudged(std::span<const std::byte> values, DataType type,
                                          const BlockLayout& layout, const BlockRule& rule,
                                          const RowFacts& facts, std::span<const float> judge,
                                          const CodeWriter& writer, const JobContext& context,
                                          const ByteProgress& progress);

}  // namespace modelpress
