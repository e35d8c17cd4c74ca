// Setting the smallest weights to zero: finding the cut and applying it.
//
// Tensors are float32, float16 or bfloat16. Magnitudes are compared by the bits of |x| as float32,
// which order like the numbers (IEEE 754). Results do not depend on threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/model/tensor_type.h"
#include "core/quant/code_kernels.h"
#include "core/quant/quantize_tensor.h"

namespace modelpress {

// The values of one tensor, at any alignment.
struct Magnitudes {
  std::span<const std::byte> values;
  DataType type = DataType::kFloat;
};

// Values whose bits of |x| are below `bits` become 0, and so do the first `ties` (in index order)
// that equal it.
struct MagnitudeCut {
  uint32_t bits = 0;
  uint64_t ties = 0;

  // The magnitude up to which values become 0.
  double threshold() const;
};

// The cut for |x| <= threshold (>= 0, finite), rounded to the nearest float.
MagnitudeCut CutAt(double threshold);

// The cut that makes exactly `zeros` values of all tensors together 0: radix selection, three
// passes over the values and a few KiB of memory per thread. `zeros` is at most the number of
// values. Values must be finite. Errors: cancellation.
absl::StatusOr<MagnitudeCut> FindCut(std::span<const Magnitudes> tensors, uint64_t zeros,
                                     const JobContext& context);

struct CutResult {
  uint64_t zeros = 0;    // in the result
  uint64_t changed = 0;  // values that were not 0 before
  ErrorSums sums;
};

// Writes the values of one tensor with the cut applied. The ties that were used are taken from
// `cut->ties`, so that the next tensor goes on with the rest. Errors: cancellation.
absl::StatusOr<CutResult> ApplyCut(const Magnitudes& tensor, MagnitudeCut* cut,
                                   std::span<std::byte> result, const JobContext& context,
                                   const ByteProgress& progress);

// Whether no value is NaN or infinite.
absl::StatusOr<bool> AllFinite(const Magnitudes& tensor, const JobContext& context);

}  // namespace modelpress
