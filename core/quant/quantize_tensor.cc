// A whole float32 tensor to 8-bit codes: cuts the tensor into pieces for the pool, and chooses
// between three ways.
//
//   rows     channels outermost and short: range and codes of a row while it is in the cache;
//   memory is read once runs     long runs of one channel: a pass for the ranges, a pass for the
//   codes columns  short runs of interleaved channels: the same two passes, over a matrix with one
//   column for each position
#include "core/quant/quantize_tensor.h"

#include <algorithm>

#include "core/quant/range_kernels.h"

namespace modelpress {
namespace {

// Elements of one piece of work: 1 MiB of floats.
constexpr uint64_t kPieceElements = 256 * 1024;
// Rows up to this size stay in the second-level cache between their two readings (256 KiB of
// floats).
constexpr uint64_t kCachedRow = 64 * 1024;
// Elements that a long run is fetched ahead.
constexpr size_t kPrefetch = 512;
// Interleaved runs at least this long are worked on as runs.
constexpr uint64_t kLongRun = 256;
// Groups of rows whose column ranges are found independently.
constexpr uint64_t kRangeGroups = 16;

struct Job {
  const float* values;
  ChannelLayout layout;
  AffineRule rule;
  float dead_zone;
  uint8_t* codes;
  const JobContext& context;
  const ByteProgress& progress;

  absl::Status ForEach(uint64_t count, const std::function<void(uint64_t)>& body) const {
    return context.pool->ParallelFor(count, [&](size_t i) -> absl::Status {
      MP_RETURN_IF_ERROR(context.cancellation->Check());
      body(i);
      return absl::OkStatus();
    });
  }
  void Done(uint64_t elements) const {
    if (progress) progress(elements * sizeof(float));
  }
};

uint64_t DivideUp(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

// Calls visit(channel, first element, count) for each part of a run within [begin, end).
template <typename Visit>
void ForEachRun(const ChannelLayout& layout, uint64_t begin, uint64_t end, const Visit& visit) {
  for (uint64_t at = begin; at < end;) {
    const uint64_t run = at / layout.inner;
    const uint64_t count = std::min(end, (run + 1) * layout.inner) - at;
    visit(run % layout.channels, at, count);
    at += count;
  }
}

absl::Status QuantizeRows(const Job& job, QuantizedTensor* result) {
  const ChannelLayout& layout = job.layout;
  const uint64_t rows_per_piece = std::max<uint64_t>(1, kPieceElements / layout.inner);
  const uint64_t pieces = DivideUp(layout.channels, rows_per_piece);
  std::vector<ErrorSums> sums(pieces);
  std::vector<uint8_t> finite(pieces, 1);
  MP_RETURN_IF_ERROR(job.ForEach(pieces, [&](uint64_t piece) {
    const uint64_t begin = piece * rows_per_piece;
    const uint64_t end = std::min(layout.channels, begin + rows_per_piece);
    for (uint64_t row = begin; row < end; ++row) {
      const float* values = job.values + row * layout.inner;
      const ValueRange range = RangeOf(values, layout.inner, job.rule.symmetric);
      if (!range.finite) {
        finite[piece] = 0;
        return;
      }
      result->parameters[row] = ChooseParameters(range, job.rule);
      // The next row comes into the cache meanwhile: reading its range then does not wait for memory.
      const size_t ahead = row + 1 < layout.channels ? layout.inner : 0;
      sums[piece].Add(QuantizeRow(values, layout.inner, job.rule, result->parameters[row],
                                  job.dead_zone, ahead, job.codes + row * layout.inner));
    }
    job.Done((end - begin) * layout.inner);
  }));
  for (const ErrorSums& sum : sums) result->sums.Add(sum);
  result->finite = std::ranges::all_of(finite, [](uint8_t ok) { return ok != 0; });
  return absl::OkStatus();
}

absl::Status ChooseForRuns(const Job& job, QuantizedTensor* result) {
  const uint64_t elements = job.layout.elements();
  const uint64_t pieces = DivideUp(elements, kPieceElements);
  std::vector<std::vector<std::pair<uint64_t, ValueRange>>> found(pieces);
  MP_RETURN_IF_ERROR(job.ForEach(pieces, [&](uint64_t piece) {
    const uint64_t begin = piece * kPieceElements;
    ForEachRun(job.layout, begin, std::min(elements, begin + kPieceElements),
               [&](uint64_t channel, uint64_t at, uint64_t count) {
                 found[piece].emplace_back(channel,
                                           RangeOf(job.values + at, count, job.rule.symmetric));
               });
  }));
  std::vector<ValueRange> ranges(job.layout.channels);
  for (const auto& piece : found) {
    for (const auto& [channel, range] : piece) ranges[channel].Merge(range);
  }
  for (uint64_t c = 0; c < ranges.size(); ++c) {
    result->finite = result->finite && ranges[c].finite;
    result->parameters[c] = ChooseParameters(ranges[c], job.rule);
  }
  return absl::OkStatus();
}

absl::Status QuantizeRuns(const Job& job, QuantizedTensor* result) {
  const uint64_t elements = job.layout.elements();
  std::vector<ErrorSums> sums(DivideUp(elements, kPieceElements));
  MP_RETURN_IF_ERROR(job.ForEach(sums.size(), [&](uint64_t piece) {
    const uint64_t begin = piece * kPieceElements;
    const uint64_t end = std::min(elements, begin + kPieceElements);
    ForEachRun(job.layout, begin, end, [&](uint64_t channel, uint64_t at, uint64_t count) {
      sums[piece].Add(QuantizeRow(job.values + at, count, job.rule, result->parameters[channel],
                                  job.dead_zone, kPrefetch, job.codes + at));
    });
    job.Done(end - begin);
  }));
  for (const ErrorSums& sum : sums) result->sums.Add(sum);
  return absl::OkStatus();
}

absl::Status ChooseForColumns(const Job& job, QuantizedTensor* result) {
  const ChannelLayout& layout = job.layout;
  const uint64_t width = layout.channels * layout.inner;
  const uint64_t groups = std::min(kRangeGroups, layout.outer);
  const uint64_t rows_per_group = DivideUp(layout.outer, groups);
  // Between two looks at the cancellation flag.
  const uint64_t rows_per_step = std::max<uint64_t>(4, kPieceElements / width);
  std::vector<std::vector<float>> lowest(groups), highest(groups);
  std::vector<uint8_t> finite(groups, 1);
  MP_RETURN_IF_ERROR(job.ForEach(groups, [&](uint64_t group) {
    highest[group].assign(width, 0.0f);
    lowest[group].assign(job.rule.symmetric ? 0 : width, 0.0f);
    const uint64_t end = std::min(layout.outer, (group + 1) * rows_per_group);
    for (uint64_t row = group * rows_per_group; row < end; row += rows_per_step) {
      if (job.context.cancellation->cancelled()) return;
      const uint64_t rows = std::min(rows_per_step, end - row);
      if (!ColumnRanges(job.values + row * width, rows, width, job.rule.symmetric,
                        lowest[group].data(), highest[group].data())) {
        finite[group] = 0;
      }
    }
  }));
  MP_RETURN_IF_ERROR(job.context.cancellation->Check());
  result->finite = std::ranges::all_of(finite, [](uint8_t ok) { return ok != 0; });
  for (uint64_t c = 0; c < layout.channels; ++c) {
    ValueRange range;
    for (uint64_t group = 0; group < groups; ++group) {
      for (uint64_t i = c * layout.inner; i < (c + 1) * layout.inner; ++i) {
        const float high = highest[group][i];
        range.Merge({job.rule.symmetric ? -high : lowest[group][i], high, true});
      }
    }
    if (result->finite) result->parameters[c] = ChooseParameters(range, job.rule);
  }
  return absl::OkStatus();
}

absl::Status QuantizeInColumns(const Job& job, QuantizedTensor* result) {
  const ChannelLayout& layout = job.layout;
  const uint64_t width = layout.channels * layout.inner;
  std::vector<float> scales(width), zero_points(width), weights(width);
  float unit = 0;
  bool has_zero_points = false;
  for (const AffineParameters& p : result->parameters) {
    unit = std::max(unit, p.scale);
    has_zero_points = has_zero_points || p.zero_point != 0;
  }
  for (uint64_t i = 0; i < width; ++i) {
    const AffineParameters& p = result->parameters[i / layout.inner];
    scales[i] = p.scale;
    zero_points[i] = static_cast<float>(p.zero_point);
    weights[i] = p.scale / unit;
  }
  const uint64_t rows_per_piece = std::max<uint64_t>(1, kPieceElements / width);
  std::vector<ErrorSums> sums(DivideUp(layout.outer, rows_per_piece));
  MP_RETURN_IF_ERROR(job.ForEach(sums.size(), [&](uint64_t piece) {
    const uint64_t row = piece * rows_per_piece;
    const uint64_t rows = std::min(rows_per_piece, layout.outer - row);
    sums[piece] = QuantizeColumns(job.values + row * width, rows, width, job.rule, scales.data(),
                                  has_zero_points ? zero_points.data() : nullptr, weights.data(),
                                  job.dead_zone, job.codes + row * width);
    job.Done(rows * width);
  }));
  for (const ErrorSums& sum : sums) result->sums.Add(sum);
  const double unit_squared = static_cast<double>(unit) * unit;
  result->sums.signal *= unit_squared;
  result->sums.noise *= unit_squared;
  return absl::OkStatus();
}

bool AsColumns(const ChannelLayout& layout) {
  return layout.outer > 1 && layout.channels > 1 && layout.inner < kLongRun;
}

}  // namespace

ChannelLayout LayoutOf(std::span<const int64_t> dims, size_t axis) {
  ChannelLayout layout;
  for (size_t i = 0; i < dims.size(); ++i) {
    const auto extent = static_cast<uint64_t>(dims[i]);
    (i < axis ? layout.outer : i == axis ? layout.channels : layout.inner) *= extent;
  }
  return layout;
}

ChannelLayout WholeTensor(uint64_t elements) { return {1, 1, elements}; }

absl::StatusOr<QuantizedTensor> ChooseTensorParameters(std::span<const std::byte> values,
                                                       const ChannelLayout& layout,
                                                       const AffineRule& rule,
                                                       const JobContext& context) {
  const ByteProgress no_progress;
  const Job job{reinterpret_cast<const float*>(values.data()),
                layout,
                rule,
                kNoDeadZone,
                nullptr,
                context,
                no_progress};
  QuantizedTensor result;
  result.parameters.resize(layout.channels);
  if (layout.elements() == 0) return result;
  MP_RETURN_IF_ERROR(AsColumns(layout) ? ChooseForColumns(job, &result)
                                       : ChooseForRuns(job, &result));
  return result;
}

absl::StatusOr<QuantizedTensor> QuantizeTensor(std::span<const std::byte> values,
                                               const ChannelLayout& layout, const AffineRule& rule,
                                               float dead_zone, std::span<std::byte> codes,
                                               const JobContext& context,
                                               const ByteProgress& progress) {
  const uint64_t elements = layout.elements();
  if (values.size() != elements * sizeof(float) || codes.size() != elements) {
    return Error(ERROR_REASON_INTERNAL_BUG, "tensor, layout and codes disagree in size");
  }
  const Job job{reinterpret_cast<const float*>(values.data()), layout,  rule,    dead_zone,
                reinterpret_cast<uint8_t*>(codes.data()),      context, progress};
  QuantizedTensor result;
  if (elements > 0 && layout.outer == 1 && layout.inner <= kCachedRow) {
    result.parameters.resize(layout.channels);
    MP_RETURN_IF_ERROR(QuantizeRows(job, &result));
    return result;
  }
  MP_ASSIGN_OR_RETURN(result, ChooseTensorParameters(values, layout, rule, context));
  if (!result.finite || elements == 0) return result;
  MP_RETURN_IF_ERROR(AsColumns(layout) ? QuantizeInColumns(job, &result)
                                       : QuantizeRuns(job, &result));
  return result;
}

absl::StatusOr<ErrorSums> QuantizeTensorWith(std::span<const std::byte> values,
                                             const ChannelLayout& layout, const AffineRule& rule,
                                             std::span<const AffineParameters> parameters,
                                             std::span<std::byte> codes,
                                             const JobContext& context) {
  const uint64_t elements = layout.elements();
  if (values.size() != elements * sizeof(float) || codes.size() != elements ||
      parameters.size() != layout.channels) {
    return Error(ERROR_REASON_INTERNAL_BUG,
                 "tensor, layout, codes and parameters disagree in size");
  }
  const ByteProgress no_progress;
  const Job job{reinterpret_cast<const float*>(values.data()), layout,  rule,       kNoDeadZone,
                reinterpret_cast<uint8_t*>(codes.data()),      context, no_progress};
  QuantizedTensor result;
  result.parameters.assign(parameters.begin(), parameters.end());
  if (elements == 0) return result.sums;
  MP_RETURN_IF_ERROR(AsColumns(layout) ? QuantizeInColumns(job, &result)
                                       : QuantizeRuns(job, &result));
  return result.sums;
}

}  // namespace modelpress
