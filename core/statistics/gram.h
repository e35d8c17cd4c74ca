// Sums of x x^T over rows x: the Gram matrices from which weights are fitted.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "core/base/thread_pool.h"
#include "core/model/tensor.h"
#include "core/statistics/request.h"
#include "core/statistics/statistics.h"

namespace modelpress {

// Adds in blocks of rows whose borders depend on the calls alone, each element in the order of
// rows: the same bytes on every instruction set and for any number of threads. Not thread-safe.
class GramSum {
 public:
  explicit GramSum(int64_t size);

  // `count` rows of size() floats, one after the other.
  void Add(const float* rows, size_t count, ThreadPool& pool);
  // The mean over rows.
  Gram Finish() const;

  int64_t size() const { return size_; }

 private:
  int64_t size_;
  uint64_t rows_ = 0;
  std::vector<float> upper_;   // size x size, valid where column >= row
  std::vector<float> packed_;  // one block of rows, panel by panel
};

// Number and size of the Grams of a value with these extents; nothing if the layout does not fit
// it.
struct GramShape {
  int64_t groups = 0;
  int64_t size = 0;
};
std::optional<GramShape> GramShapeOf(const GramLayout& layout, std::span<const int64_t> dims);

// Adds the rows of `value` (float32, of a shape that GramShapeOf accepts) to `sums`, one for each
// group.
void AddRows(const GramLayout& layout, const Tensor& value, std::vector<GramSum>* sums,
             ThreadPool& pool);

}  // namespace modelpress
