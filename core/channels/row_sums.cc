// Reading rows off tensors; see row_sums.h.
#include "core/channels/row_sums.h"

#include <algorithm>

namespace modelpress {
namespace {

// Rows of up to this many numbers are summed one by one.
constexpr size_t kSmall = 24;
constexpr size_t kBlock = 256;

// `count` positions out of `total`, spread evenly by the golden ratio (Weyl's sequence), or all in
// order.
class Spread {
 public:
  Spread(uint64_t total, uint64_t most, uint64_t feed)
      : total_(total), count_(std::min(total, most)), shift_(feed * 0x9E3779B97F4A7C15u) {}
  uint64_t count() const { return count_; }
  uint64_t At(uint64_t i) const {
    if (count_ == total_) return i;
    const uint64_t turn = shift_ + (i + 1) * 0x9E3779B97F4A7C15u;
    return static_cast<uint64_t>((static_cast<unsigned __int128>(turn) * total_) >> 64);
  }

 private:
  uint64_t total_, count_, shift_;
};

uint64_t Product(std::span<const int64_t> extents) {
  uint64_t product = 1;
  for (const int64_t extent : extents) product *= static_cast<uint64_t>(extent);
  return product;
}

std::vector<int64_t> PlaceOf(uint64_t position, std::span<const int64_t> extents) {
  std::vector<int64_t> place(extents.size());
  for (size_t i = extents.size(); i-- > 0;) {
    place[i] = static_cast<int64_t>(position % static_cast<uint64_t>(extents[i]));
    position /= static_cast<uint64_t>(extents[i]);
  }
  return place;
}

// Offsets within a plane of the taps of a kernel whose first tap is at `origin`; -1 in the padding.
void Taps(const RowLayout& layout, std::span<const int64_t> spatial,
          const std::vector<int64_t>& origin, std::vector<int64_t>& offsets) {
  std::vector<int64_t> tap(spatial.size());
  for (int64_t& to : offsets) {
    int64_t offset = 0;
    for (size_t i = 0; i < spatial.size(); ++i) {
      const int64_t at = origin[i] + tap[i] * layout.dilations[i];
      if (at < 0 || at >= spatial[i]) {
        offset = -1;
        break;
      }
      offset = offset * spatial[i] + at;
    }
    to = offset;
    for (size_t i = spatial.size(); i-- > 0;) {
      if (++tap[i] < layout.kernel[i]) break;
      tap[i] = 0;
    }
  }
}

}  // namespace

RowSums::RowSums(const RowLayout& layout)
    : layout_(layout), size_(layout.inputs + layout.outputs + 1) {
  if (size_ <= kSmall) {
    small_.resize(layout.groups * size_ * size_);
  } else {
    for (size_t i = 0; i < layout.groups; ++i) large_.emplace_back(static_cast<int64_t>(size_));
  }
}

double RowSums::Bytes(const RowLayout& layout) {
  const auto size = static_cast<double>(layout.inputs + layout.outputs + 1);
  return static_cast<double>(layout.groups) * size * size *
         (size <= kSmall ? sizeof(double) : sizeof(float));
}

void RowSums::AddRows(size_t group, const std::vector<float>& rows, size_t count,
                      ThreadPool& pool) {
  if (!large_.empty()) {
    large_[group].Add(rows.data(), count, pool);
    return;
  }
  double* sums = small_.data() + group * size_ * size_;
  for (size_t row = 0; row < count; ++row) {
    const float* at = rows.data() + row * size_;
    for (size_t i = 0; i < size_; ++i) {
      const double factor = at[i];
      for (size_t j = i; j < size_; ++j) sums[i * size_ + j] += factor * at[j];
    }
  }
}

bool RowSums::Add(const Tensor& x, const Tensor& y, uint64_t feed, uint64_t most,
                  ThreadPool& pool) {
  if (x.type != DataType::kFloat || y.type != DataType::kFloat) return false;
  switch (layout_.kind) {
    case RowLayout::Kind::kLast:
      return AddLast(x, y, feed, most, pool);
    case RowLayout::Kind::kConv:
      return AddConv(x, y, feed, most, pool);
    case RowLayout::Kind::kTransposed:
      return AddTransposed(x, y, feed, most, pool);
    case RowLayout::Kind::kChannel:
      return AddChannel(x, y, feed, most);
  }
  return false;
}

bool RowSums::AddLast(const Tensor& x, const Tensor& y, uint64_t feed, uint64_t most,
                      ThreadPool& pool) {
  if (x.dims.empty() || y.dims.empty()) return false;
  const auto inputs = static_cast<size_t>(x.dims.back()), wide = static_cast<size_t>(y.dims.back());
  if (inputs != layout_.inputs || wide < layout_.outputs || wide == 0) return false;
  if (layout_.y_channels.empty() && wide != layout_.outputs) return false;
  const size_t total = y.as<float>().size() / wide;
  if (x.as<float>().size() != total * inputs) return false;
  const Spread spread(total, most, feed);
  std::vector<float> rows(kBlock * size_);
  for (uint64_t i = 0; i < spread.count();) {
    size_t count = 0;
    for (; count < kBlock && i < spread.count(); ++count, ++i) {
      const uint64_t at = spread.At(i);
      float* row = rows.data() + count * size_;
      std::copy_n(x.as<float>().data() + at * inputs, inputs, row);
      const float* from = y.as<float>().data() + at * wide;
      for (size_t n = 0; n < layout_.outputs; ++n) {
        row[inputs + n] = from[layout_.y_channels.empty() ? n : layout_.y_channels[n]];
      }
      row[size_ - 1] = 1;
    }
    AddRows(0, rows, count, pool);
  }
  rows_ += spread.count();
  return true;
}

bool RowSums::AddConv(const Tensor& x, const Tensor& y, uint64_t feed, uint64_t most,
                      ThreadPool& pool) {
  const size_t axes = layout_.kernel.size();
  if (x.dims.size() != axes + 2 || y.dims.size() != axes + 2 || x.dims[0] != y.dims[0])
    return false;
  const std::span<const int64_t> spatial = std::span(x.dims).subspan(2);
  const std::span<const int64_t> extents = std::span(y.dims).subspan(2);
  const uint64_t taps = Product(layout_.kernel);
  const size_t channels = layout_.inputs / taps;
  const size_t outputs = layout_.groups * layout_.outputs;
  if (static_cast<size_t>(x.dims[1]) != channels * layout_.groups) return false;
  if (layout_.y_channels.empty() ? static_cast<size_t>(y.dims[1]) != outputs
                                 : layout_.y_channels.size() != outputs) {
    return false;
  }
  std::vector<int64_t> begin(axes);
  for (size_t i = 0; i < axes; ++i) {
    if (!layout_.pads.empty()) {
      begin[i] = layout_.pads[i];
      continue;
    }
    const int64_t reach = layout_.dilations[i] * (layout_.kernel[i] - 1) + 1;
    const int64_t total =
        std::max<int64_t>(0, (extents[i] - 1) * layout_.strides[i] + reach - spatial[i]);
    begin[i] = (total + (layout_.same_lower ? 1 : 0)) / 2;
  }
  const uint64_t plane = Product(spatial), positions = Product(extents);
  const Spread spread(static_cast<uint64_t>(y.dims[0]) * positions, most, feed);
  // Offsets of the taps of a block of positions, once for all groups.
  std::vector<std::vector<int64_t>> offsets(kBlock, std::vector<int64_t>(taps));
  std::vector<uint64_t> at(kBlock);
  for (uint64_t i = 0; i < spread.count();) {
    size_t count = 0;
    for (; count < kBlock && i < spread.count(); ++count, ++i) {
      at[count] = spread.At(i);
      std::vector<int64_t> origin = PlaceOf(at[count] % positions, extents);
      for (size_t k = 0; k < axes; ++k) origin[k] = origin[k] * layout_.strides[k] - begin[k];
      Taps(layout_, spatial, origin, offsets[count]);
    }
    const auto fill = [&](size_t group, std::vector<float>& rows) {
      rows.resize(count * size_);
      for (size_t r = 0; r < count; ++r) {
        float* row = rows.data() + r * size_;
        const uint64_t n = at[r] / positions, position = at[r] % positions;
        for (size_t c = 0; c < channels; ++c) {
          const float* from = x.as<float>().data() +
                              (n * static_cast<uint64_t>(x.dims[1]) + group * channels + c) * plane;
          for (const int64_t offset : offsets[r]) *row++ = offset < 0 ? 0 : from[offset];
        }
        for (size_t o = 0; o < layout_.outputs; ++o) {
          const size_t place = group * layout_.outputs + o;
          const size_t channel = layout_.y_channels.empty() ? place : layout_.y_channels[place];
          *row++ = y.as<float>()[(n * static_cast<uint64_t>(y.dims[1]) + channel) * positions +
                                 position];
        }
        *row = 1;
      }
    };
    if (layout_.groups == 1) {
      std::vector<float> rows;
      fill(0, rows);
      AddRows(0, rows, count, pool);
    } else {
      // Within a ParallelFor the pool works inline.
      pool.ParallelFor(layout_.groups,
                       [&](size_t group) {
                         std::vector<float> rows;
                         fill(group, rows);
                         AddRows(group, rows, count, pool);
                         return absl::OkStatus();
                       })
          .IgnoreError();
    }
  }
  rows_ += spread.count();
  return true;
}

bool RowSums::AddTransposed(const Tensor& x, const Tensor& y, uint64_t feed, uint64_t most,
                            ThreadPool& pool) {
  const size_t axes = layout_.kernel.size();
  if (x.dims.size() != axes + 2 || y.dims.size() != axes + 2 || x.dims[0] != y.dims[0])
    return false;
  const std::span<const int64_t> from = std::span(x.dims).subspan(2);
  const std::span<const int64_t> to = std::span(y.dims).subspan(2);
  for (size_t i = 0; i < axes; ++i) {
    if (to[i] != from[i] * layout_.kernel[i]) return false;
  }
  const uint64_t taps = Product(layout_.kernel);
  const size_t outputs = layout_.outputs / taps;
  if (static_cast<size_t>(x.dims[1]) != layout_.inputs) return false;
  if (layout_.y_channels.empty() ? static_cast<size_t>(y.dims[1]) != outputs
                                 : layout_.y_channels.size() != outputs) {
    return false;
  }
  const uint64_t positions = Product(from), plane = Product(to);
  const Spread spread(static_cast<uint64_t>(x.dims[0]) * positions, most, feed);
  std::vector<float> rows(kBlock * size_);
  std::vector<int64_t> offsets(taps);
  for (uint64_t i = 0; i < spread.count();) {
    size_t count = 0;
    for (; count < kBlock && i < spread.count(); ++count, ++i) {
      const uint64_t n = spread.At(i) / positions, position = spread.At(i) % positions;
      float* row = rows.data() + count * size_;
      for (size_t c = 0; c < layout_.inputs; ++c) {
        *row++ = x.as<float>()[(n * layout_.inputs + c) * positions + position];
      }
      std::vector<int64_t> origin = PlaceOf(position, from);
      for (size_t k = 0; k < axes; ++k) origin[k] *= layout_.kernel[k];
      Taps(layout_, to, origin, offsets);
      for (size_t o = 0; o < outputs; ++o) {
        const size_t channel = layout_.y_channels.empty() ? o : layout_.y_channels[o];
        const float* at =
            y.as<float>().data() + (n * static_cast<uint64_t>(y.dims[1]) + channel) * plane;
        for (const int64_t offset : offsets) *row++ = at[offset];
      }
      *row = 1;
    }
    AddRows(0, rows, count, pool);
  }
  rows_ += spread.count();
  return true;
}

bool RowSums::AddChannel(const Tensor& x, const Tensor& y, uint64_t feed, uint64_t most) {
  const auto axis = static_cast<size_t>(layout_.channel_axis < 0
                                            ? layout_.channel_axis + static_cast<int>(x.dims.size())
                                            : layout_.channel_axis);
  if (axis >= x.dims.size() || y.dims.size() != x.dims.size()) return false;
  for (size_t i = 0; i < x.dims.size(); ++i) {
    if (i != axis && x.dims[i] != y.dims[i]) return false;
  }
  const size_t channels = layout_.groups;
  if (static_cast<size_t>(x.dims[axis]) != channels) return false;
  if (layout_.y_channels.empty() ? static_cast<size_t>(y.dims[axis]) != channels
                                 : layout_.y_channels.size() != channels) {
    return false;
  }
  const uint64_t outer = Product(std::span(x.dims).first(axis));
  const uint64_t inner = Product(std::span(x.dims).subspan(axis + 1));
  const Spread spread(outer * inner, most, feed);
  for (uint64_t i = 0; i < spread.count(); ++i) {
    const uint64_t before = spread.At(i) / inner, behind = spread.At(i) % inner;
    for (size_t c = 0; c < channels; ++c) {
      const size_t channel = layout_.y_channels.empty() ? c : layout_.y_channels[c];
      const double a = x.as<float>()[(before * channels + c) * inner + behind];
      const double b =
          y.as<float>()[(before * static_cast<uint64_t>(y.dims[axis]) + channel) * inner + behind];
      double* sums = small_.data() + c * 9;
      sums[0] += a * a;
      sums[1] += a * b;
      sums[2] += a;
      sums[4] += b * b;
      sums[5] += b;
      sums[8] += 1;
    }
  }
  rows_ += spread.count();
  return true;
}

RowMoments RowSums::Moments(size_t group) const {
  RowMoments moments{layout_.inputs, layout_.outputs, rows_, {}};
  moments.matrix.resize(size_ * size_);
  if (!large_.empty()) {
    const Gram gram = large_[group].Finish();
    moments.matrix.assign(gram.matrix.begin(), gram.matrix.end());
    return moments;
  }
  const double by = rows_ > 0 ? 1.0 / static_cast<double>(rows_) : 0;
  const double* sums = small_.data() + group * size_ * size_;
  for (size_t i = 0; i < size_; ++i) {
    for (size_t j = i; j < size_; ++j) {
      moments.matrix[i * size_ + j] = moments.matrix[j * size_ + i] = sums[i * size_ + j] * by;
    }
  }
  return moments;
}

}  // namespace modelpress
