// Cholesky factorization of large matrices in double precision, in parallel.
#pragma once

#include <cstddef>
#include <span>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"

namespace modelpress {

// A = L L^T for the symmetric matrix whose lower triangle is in `matrix` (size x size, row-major);
// L replaces it, and what is above the diagonal becomes meaningless. False if A is not positive
// definite (in double precision), with the matrix spoilt. Every element is summed in the same order
// for any number of threads and on every instruction set. O(size^3 / 6) multiplications. Errors:
// only cancellation.
absl::StatusOr<bool> Cholesky(std::span<double> matrix, size_t size, const JobContext& context);

}  // namespace modelpress
