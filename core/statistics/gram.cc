// Sums of x x^T; see gram.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/statistics/gram.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#include "core/statistics/gram.h"

#include <algorithm>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace modelpress::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Columns of a panel: x[row][0..32) lie together.
constexpr size_t kPanelColumns = 32;

// out[i][j] += sum over rows of a[row][i] * b[row][j], for 4 columns of panel a and all of panel b.
// Each sum runs over the rows in order, whatever the width of registers.
void AddTile(const float* a, const float* b, size_t rows, float* out, size_t stride) {
  const hn::CappedTag<float, kPanelColumns / 2> d;
  const size_t lanes = hn::Lanes(d);
  for (size_t j = 0; j < kPanelColumns; j += 2 * lanes) {
    const auto zero = hn::Zero(d);
    // Named registers: vectors of some targets cannot be elements of an array.
    auto s00 = zero, s01 = zero, s10 = zero, s11 = zero;
    auto s20 = zero, s21 = zero, s30 = zero, s31 = zero;
    for (size_t row = 0; row < rows; ++row) {
      const float* x = a + row * kPanelColumns;
      const float* y = b + row * kPanelColumns + j;
      const auto y0 = hn::LoadU(d, y);
      const auto y1 = hn::LoadU(d, y + lanes);
      const auto x0 = hn::Set(d, x[0]), x1 = hn::Set(d, x[1]);
      s00 = hn::Add(s00, hn::Mul(x0, y0));
      s01 = hn::Add(s01, hn::Mul(x0, y1));
      s10 = hn::Add(s10, hn::Mul(x1, y0));
      s11 = hn::Add(s11, hn::Mul(x1, y1));
      const auto x2 = hn::Set(d, x[2]), x3 = hn::Set(d, x[3]);
      s20 = hn::Add(s20, hn::Mul(x2, y0));
      s21 = hn::Add(s21, hn::Mul(x2, y1));
      s30 = hn::Add(s30, hn::Mul(x3, y0));
      s31 = hn::Add(s31, hn::Mul(x3, y1));
    }
    const auto add = [&](auto sum, float* to)
                         HWY_ATTR { hn::StoreU(hn::Add(hn::LoadU(d, to), sum), d, to); };
    add(s00, out + j);
    add(s01, out + j + lanes);
    add(s10, out + stride + j);
    add(s11, out + stride + j + lanes);
    add(s20, out + 2 * stride + j);
    add(s21, out + 2 * stride + j + lanes);
    add(s30, out + 3 * stride + j);
    add(s31, out + 3 * stride + j + lanes);
  }
}

}  // namespace modelpress::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace modelpress {
namespace {
HWY_EXPORT(AddTile);

constexpr size_t kPanel = 32;
constexpr size_t kTileRows = 4;
// Rows that are added up in registers before they go to the matrix: a block of panels stays in the
// second-level cache for sizes up to about 1000.
constexpr size_t kBlockRows = 256;

size_t Panels(int64_t size) { return (static_cast<size_t>(size) + kPanel - 1) / kPanel; }

}  // namespace

// The matrix is padded to whole panels.
GramSum::GramSum(int64_t size) : size_(size) {
  const size_t padded = Panels(size) * kPanel;
  upper_.resize(padded * padded);
}

void GramSum::Add(const float* rows, size_t count, ThreadPool& pool) {
  const auto size = static_cast<size_t>(size_);
  const size_t panels = Panels(size_);
  const size_t padded = panels * kPanel;
  packed_.resize(panels * kBlockRows * kPanel);
  for (size_t begin = 0; begin < count; begin += kBlockRows) {
    const size_t n = std::min(kBlockRows, count - begin);
    for (size_t panel = 0; panel < panels; ++panel) {
      const size_t columns = std::min(kPanel, size - panel * kPanel);
      float* to = packed_.data() + panel * kBlockRows * kPanel;
      for (size_t row = 0; row < n; ++row) {
        const float* from = rows + (begin + row) * size + panel * kPanel;
        std::copy_n(from, columns, to + row * kPanel);
        std::fill(to + row * kPanel + columns, to + (row + 1) * kPanel, 0.0f);
      }
    }
    const auto body = [&](size_t i) {
      const size_t right = panels - 1 - i;  // the longest first
      const float* b = packed_.data() + right * kBlockRows * kPanel;
      for (size_t left = 0; left <= right; ++left) {
        const float* a = packed_.data() + left * kBlockRows * kPanel;
        for (size_t tile = 0; tile < kPanel; tile += kTileRows) {
          float* out = upper_.data() + (left * kPanel + tile) * padded + right * kPanel;
          HWY_DYNAMIC_DISPATCH(AddTile)(a + tile, b, n, out, padded);
        }
      }
      return absl::OkStatus();
    };
    // A few panels are done before another thread has woken up.
    if (panels < 4) {
      for (size_t i = 0; i < panels; ++i) body(i).IgnoreError();
    } else {
      pool.ParallelFor(panels, body).IgnoreError();
    }
  }
  rows_ += count;
}

Gram GramSum::Finish() const {
  const auto size = static_cast<size_t>(size_);
  const size_t padded = Panels(size_) * kPanel;
  Gram gram{.size = size_, .rows = rows_, .matrix = std::vector<float>(size * size)};
  const double by = rows_ > 0 ? 1.0 / static_cast<double>(rows_) : 0;
  for (size_t i = 0; i < size; ++i) {
    for (size_t j = i; j < size; ++j) {
      const auto mean = static_cast<float>(upper_[i * padded + j] * by);
      gram.matrix[i * size + j] = mean;
      gram.matrix[j * size + i] = mean;
    }
  }
  return gram;
}

namespace {

// Output extents of the convolution, empty if the layout does not fit the value.
std::vector<int64_t> OutputExtents(const GramLayout& layout, std::span<const int64_t> dims) {
  if (dims.size() < 3 || layout.group <= 0 || dims[1] % layout.group != 0) return {};
  const size_t axes = dims.size() - 2;
  if (layout.kernel.size() != axes || layout.strides.size() != axes ||
      layout.dilations.size() != axes || layout.pads.size() != 2 * axes) {
    return {};
  }
  std::vector<int64_t> extents;
  for (size_t i = 0; i < axes; ++i) {
    if (layout.kernel[i] <= 0 || layout.strides[i] <= 0 || layout.dilations[i] <= 0) return {};
    const int64_t reach = layout.dilations[i] * (layout.kernel[i] - 1) + 1;
    const int64_t room = dims[i + 2] + layout.pads[i] + layout.pads[i + axes] - reach;
    if (room < 0) return {};
    extents.push_back(room / layout.strides[i] + 1);
  }
  return extents;
}

// Steps a position in `extents` on by one, the last axis fastest.
void Advance(std::vector<int64_t>* position, std::span<const int64_t> extents) {
  for (size_t i = extents.size(); i-- > 0;) {
    if (++(*position)[i] < extents[i]) return;
    (*position)[i] = 0;
  }
}

int64_t Product(std::span<const int64_t> extents) {
  int64_t product = 1;
  for (const int64_t extent : extents) product *= extent;
  return product;
}

// One patch: `channels` planes at `value`, the kernel at `position` of the output.
void CopyPatch(const GramLayout& layout, const float* value, int64_t channels,
               std::span<const int64_t> spatial, std::span<const int64_t> position, float* to) {
  const size_t axes = spatial.size();
  const int64_t plane = Product(spatial);
  const int64_t taps = Product(layout.kernel);
  std::vector<int64_t> tap(axes);
  for (int64_t k = 0; k < taps; ++k) {
    int64_t offset = 0;
    bool inside = true;
    for (size_t i = 0; i < axes; ++i) {
      const int64_t at =
          position[i] * layout.strides[i] + tap[i] * layout.dilations[i] - layout.pads[i];
      inside = inside && at >= 0 && at < spatial[i];
      offset = offset * spatial[i] + at;
    }
    for (int64_t c = 0; c < channels; ++c) {
      to[c * taps + k] = inside ? value[c * plane + offset] : 0.0f;
    }
    Advance(&tap, layout.kernel);
  }
}

}  // namespace

std::optional<GramShape> GramShapeOf(const GramLayout& layout, std::span<const int64_t> dims) {
  // Beyond this no weight has rows.
  constexpr int64_t kLargest = 1 << 20;
  if (layout.kind == GramLayout::Kind::kLast) {
    if (dims.empty() || dims.back() <= 0 || dims.back() > kLargest) return std::nullopt;
    return GramShape{1, dims.back()};
  }
  if (OutputExtents(layout, dims).empty()) return std::nullopt;
  const int64_t channels = dims[1] / layout.group;
  int64_t size = channels;
  for (const int64_t extent : layout.kernel) {
    if (size > kLargest / extent) return std::nullopt;
    size *= extent;
  }
  if (size <= 0) return std::nullopt;
  return GramShape{layout.group, size};
}

void AddRows(const GramLayout& layout, const Tensor& value, std::vector<GramSum>* sums,
             ThreadPool& pool) {
  const float* values = value.as<float>().data();
  if (layout.kind == GramLayout::Kind::kLast) {
    const size_t count = value.as<float>().size() / static_cast<size_t>((*sums)[0].size());
    (*sums)[0].Add(values, count, pool);
    return;
  }
  const std::vector<int64_t> extents = OutputExtents(layout, value.dims);
  const std::span<const int64_t> spatial = std::span(value.dims).subspan(2);
  const int64_t channels = value.dims[1] / layout.group;
  const int64_t plane = Product(spatial);
  const int64_t positions = Product(extents);
  const auto size = static_cast<size_t>((*sums)[0].size());
  std::vector<float> rows(kBlockRows * size);
  for (int64_t n = 0; n < value.dims[0]; ++n) {
    for (int64_t group = 0; group < layout.group; ++group) {
      const float* planes = values + (n * value.dims[1] + group * channels) * plane;
      std::vector<int64_t> position(extents.size());
      for (int64_t at = 0; at < positions;) {
        size_t count = 0;
        for (; count < kBlockRows && at < positions; ++count, ++at) {
          CopyPatch(layout, planes, channels, spatial, position, rows.data() + count * size);
          Advance(&position, extents);
        }
        (*sums)[static_cast<size_t>(group)].Add(rows.data(), count, pool);
      }
    }
  }
}

}  // namespace modelpress
#endif  // HWY_ONCE
