// Rows [x, y, 1] of a layer, read off its input after the cut and its output before, and their
// second moments.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/base/thread_pool.h"
#include "core/channels/ridge.h"
#include "core/model/tensor.h"
#include "core/statistics/gram.h"

namespace modelpress {

// What the rows of a layer are.
struct RowLayout {
  enum class Kind {
    kLast,        // x and y have channels on the last axis (MatMul, Gemm)
    kConv,        // x: patches; y: one position of the output
    kTransposed,  // ConvTranspose whose kernel is its stride; x: one position; y: what it makes
    kChannel,     // one group for each channel on axis `channel_axis`: x and y are single numbers
  };
  Kind kind = Kind::kLast;
  size_t groups = 1;
  // Of one group: numbers of x and of y.
  size_t inputs = 0, outputs = 0;
  // Positions on y's channel axis that the model still has after the cut, ascending; empty: all.
  std::vector<uint32_t> y_channels;
  int channel_axis = 1;
  // Of convolutions. `pads` is empty where they follow from the extents (auto_pad SAME;
  // `same_lower`).
  std::vector<int64_t> kernel, strides, dilations, pads;
  bool same_lower = false;
};

// Sums over rows. Not thread-safe; the same result for any number of threads.
class RowSums {
 public:
  explicit RowSums(const RowLayout& layout);

  // Adds at most `most` rows of each group of one feed, spread over its positions by a fixed rule
  // that `feed` shifts. False if the shapes do not fit the layout.
  bool Add(const Tensor& x, const Tensor& y, uint64_t feed, uint64_t most, ThreadPool& pool);
  uint64_t rows() const { return rows_; }
  RowMoments Moments(size_t group) const;

  // Bytes that the sums of a layout take.
  static double Bytes(const RowLayout& layout);

 private:
  bool AddLast(const Tensor& x, const Tensor& y, uint64_t feed, uint64_t most, ThreadPool& pool);
  bool AddConv(const Tensor& x, const Tensor& y, uint64_t feed, uint64_t most, ThreadPool& pool);
  bool AddTransposed(const Tensor& x, const Tensor& y, uint64_t feed, uint64_t most,
                     ThreadPool& pool);
  bool AddChannel(const Tensor& x, const Tensor& y, uint64_t feed, uint64_t most);
  void AddRows(size_t group, const std::vector<float>& rows, size_t count, ThreadPool& pool);

  RowLayout layout_;
  size_t size_ = 0;
  uint64_t rows_ = 0;
  // Few numbers a row: sums in double, upper triangles, one group after the other. Else by blocks
  // in float.
  std::vector<double> small_;
  std::vector<GramSum> large_;
};

}  // namespace modelpress
