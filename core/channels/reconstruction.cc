// Removing channels one by one on paper; see reconstruction.h.
#include "core/channels/reconstruction.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <memory>

#include "core/base/status.h"
#include "core/channels/gather_rows.h"
#include "core/channels/refit_site.h"
#include "core/quant/cholesky.h"

namespace modelpress {
namespace {

constexpr size_t kMostInputs = 2048;
constexpr double kDamping = 1e-4;
// Rows of a matrix that one piece of work takes on.
constexpr size_t kRowsPerPiece = 64;

// Inverse of a symmetric positive definite matrix, in its place. False if it is none.
absl::StatusOr<bool> Invert(std::vector<double>& matrix, size_t size, const JobContext& context) {
  std::vector<double> factor = matrix;
  MP_ASSIGN_OR_RETURN(const bool factored, Cholesky(factor, size, context));
  if (!factored) return false;
  // Columns of the inverse: L L^T z = e.
  MP_RETURN_IF_ERROR(context.pool->ParallelFor(size, [&](size_t column) -> absl::Status {
    MP_RETURN_IF_ERROR(context.cancellation->Check());
    std::vector<double> z(size);
    z[column] = 1;
    for (size_t i = column; i < size; ++i) {
      double sum = z[i];
      for (size_t j = column; j < i; ++j) sum -= factor[i * size + j] * z[j];
      z[i] = sum / factor[i * size + i];
    }
    for (size_t i = size; i-- > 0;) {
      z[i] /= factor[i * size + i];
      for (size_t j = 0; j < i; ++j) z[j] -= factor[i * size + j] * z[i];
    }
    for (size_t i = 0; i < size; ++i) matrix[i * size + column] = z[i];
    return absl::OkStatus();
  }));
  return true;
}

// One reader of a group.
class Reader {
 public:
  // `blocks`: for each channel the rows of W that are its.
  static absl::StatusOr<std::unique_ptr<Reader>> Make(const RowMoments& moments,
                                                      std::vector<double> weight,
                                                      std::vector<std::vector<uint32_t>> blocks,
                                                      const JobContext& context) {
    auto reader = std::make_unique<Reader>();
    reader->inputs_ = moments.inputs;
    reader->outputs_ = moments.outputs;
    reader->weight_ = std::move(weight);
    reader->blocks_ = std::move(blocks);
    const size_t size = moments.inputs, one = moments.size() - 1;
    reader->inverse_.resize(size * size);
    double diagonal = 0;
    for (size_t i = 0; i < size; ++i) {
      for (size_t j = 0; j < size; ++j) {
        reader->inverse_[i * size + j] = moments.At(i, j) - moments.At(i, one) * moments.At(j, one);
      }
      diagonal += std::max(0.0, reader->inverse_[i * size + i]);
    }
    if (!(diagonal > 0) || !std::isfinite(diagonal)) return std::unique_ptr<Reader>();
    for (size_t i = 0; i < size; ++i) {
      reader->inverse_[i * size + i] += kDamping * diagonal / static_cast<double>(size);
    }
    for (size_t n = 0; n < moments.outputs; ++n) {
      const double mean = moments.At(size + n, one);
      reader->signal_ += std::max(0.0, moments.At(size + n, size + n) - mean * mean);
    }
    MP_ASSIGN_OR_RETURN(const bool inverted, Invert(reader->inverse_, size, context));
    if (!inverted || !(reader->signal_ > 0)) return std::unique_ptr<Reader>();
    return reader;
  }

  // The relative error that removing the channel adds.
  double Cost(size_t channel) const {
    const auto& block = blocks_[channel];
    std::vector<double> solved = Solved(block);
    double cost = 0;
    for (size_t b = 0; b < block.size(); ++b) {
      for (size_t n = 0; n < outputs_; ++n) {
        cost += weight_[block[b] * outputs_ + n] * solved[b * outputs_ + n];
      }
    }
    return cost / signal_;
  }

  absl::Status Remove(size_t channel, const JobContext& context) {
    const auto& block = blocks_[channel];
    const size_t width = block.size();
    // (P_cc)^-1 [W_c, P_c:].
    const std::vector<double> by_weight = Solved(block);
    std::vector<double> rows(width * inputs_);
    for (size_t b = 0; b < width; ++b) {
      std::copy_n(inverse_.data() + block[b] * inputs_, inputs_, rows.data() + b * inputs_);
    }
    const std::vector<double> by_inverse = SolveBlock(block, rows, inputs_);
    std::vector<double> columns(inputs_ * width);
    for (size_t i = 0; i < inputs_; ++i) {
      for (size_t b = 0; b < width; ++b) columns[i * width + b] = inverse_[i * inputs_ + block[b]];
    }
    const size_t pieces = (inputs_ + kRowsPerPiece - 1) / kRowsPerPiece;
    MP_RETURN_IF_ERROR(context.pool->ParallelFor(pieces, [&](size_t piece) -> absl::Status {
      for (size_t i = piece * kRowsPerPiece; i < std::min(inputs_, (piece + 1) * kRowsPerPiece);
           ++i) {
        for (size_t b = 0; b < width; ++b) {
          const double factor = columns[i * width + b];
          double* p = inverse_.data() + i * inputs_;
          double* w = weight_.data() + i * outputs_;
          const double* from_p = by_inverse.data() + b * inputs_;
          const double* from_w = by_weight.data() + b * outputs_;
          for (size_t j = 0; j < inputs_; ++j) p[j] -= factor * from_p[j];
          for (size_t n = 0; n < outputs_; ++n) w[n] -= factor * from_w[n];
        }
      }
      return absl::OkStatus();
    }));
    for (const uint32_t row : block) std::fill_n(weight_.data() + row * outputs_, outputs_, 0.0);
    return absl::OkStatus();
  }

 private:
  std::vector<double> Solved(const std::vector<uint32_t>& block) const {
    std::vector<double> rows(block.size() * outputs_);
    for (size_t b = 0; b < block.size(); ++b) {
      std::copy_n(weight_.data() + block[b] * outputs_, outputs_, rows.data() + b * outputs_);
    }
    return SolveBlock(block, std::move(rows), outputs_);
  }

  // (P_cc)^-1 times rows, by Gaussian elimination: the block is small and positive definite.
  std::vector<double> SolveBlock(const std::vector<uint32_t>& block, std::vector<double> rows,
                                 size_t columns) const {
    const size_t width = block.size();
    std::vector<double> a(width * width);
    for (size_t i = 0; i < width; ++i) {
      for (size_t j = 0; j < width; ++j) a[i * width + j] = inverse_[block[i] * inputs_ + block[j]];
    }
    for (size_t c = 0; c < width; ++c) {
      const double pivot = std::max(a[c * width + c], std::numeric_limits<double>::min());
      for (size_t r = 0; r < width; ++r) {
        if (r == c) continue;
        const double factor = a[r * width + c] / pivot;
        if (factor == 0) continue;
        for (size_t j = c; j < width; ++j) a[r * width + j] -= factor * a[c * width + j];
        for (size_t n = 0; n < columns; ++n)
          rows[r * columns + n] -= factor * rows[c * columns + n];
      }
    }
    for (size_t c = 0; c < width; ++c) {
      const double pivot = std::max(a[c * width + c], std::numeric_limits<double>::min());
      for (size_t n = 0; n < columns; ++n) rows[c * columns + n] /= pivot;
    }
    return rows;
  }

  size_t inputs_ = 0, outputs_ = 0;
  double signal_ = 0;
  std::vector<double> inverse_, weight_;
  std::vector<std::vector<uint32_t>> blocks_;
};

absl::StatusOr<std::vector<double>> Eliminate(std::vector<std::unique_ptr<Reader>>& readers,
                                              uint64_t channels, const JobContext& context) {
  std::vector<double> scores(channels);
  std::vector<uint32_t> left(channels);
  for (uint32_t c = 0; c < channels; ++c) left[c] = c;
  double highest = 0;
  while (!left.empty()) {
    MP_RETURN_IF_ERROR(context.cancellation->Check());
    std::vector<double> costs(left.size());
    MP_RETURN_IF_ERROR(context.pool->ParallelFor(left.size(), [&](size_t i) {
      for (const auto& reader : readers) costs[i] += std::max(0.0, reader->Cost(left[i]));
      return absl::OkStatus();
    }));
    const auto least = std::ranges::min_element(costs) - costs.begin();
    const uint32_t channel = left[static_cast<size_t>(least)];
    highest = std::max(highest, costs[static_cast<size_t>(least)]);
    scores[channel] = highest;
    left.erase(left.begin() + least);
    for (const auto& reader : readers) MP_RETURN_IF_ERROR(reader->Remove(channel, context));
  }
  return scores;
}

}  // namespace

absl::StatusOr<std::vector<std::vector<double>>> ScoreByReconstruction(
    Model& model, const GraphIndex& index, const Dependencies& dependencies, const Samples& samples,
    const JobContext& context) {
  // Readers by the number of their layer; null where a layer cannot be refitted.
  struct Site {
    RefitSite site;
    RowRequest rows;
  };
  std::map<int, std::unique_ptr<Site>> sites;
  std::vector<RowRequest*> requests;
  const KeptPositions whole;
  for (const DependencyGroup& group : dependencies.groups) {
    if (!group.reason.empty() || group.channels < 2) continue;
    for (const int number : group.consumers) {
      const ChannelLayer& layer = dependencies.layers[number];
      if (sites.contains(number)) continue;
      auto& made = sites[number];
      onnx::NodeProto* node = index.Producer(model.proto().graph(), layer.output);
      std::string why;
      auto site = node == nullptr
                      ? std::nullopt
                      : FindRefitSite(model, index, dependencies.shapes, whole, *node, &why);
      if (!site.has_value() || site->rows.groups != 1 || site->rows.inputs > kMostInputs) continue;
      made = std::make_unique<Site>();
      made->site = *std::move(site);
      made->rows = {.rows = made->site.rows, .x = made->site.x, .y = layer.output};
      requests.push_back(&made->rows);
    }
  }
  MP_RETURN_IF_ERROR(GatherRows(model, model, samples, requests, context));
  std::vector<std::vector<double>> scores(dependencies.groups.size());
  for (size_t g = 0; g < scores.size(); ++g) {
    const DependencyGroup& group = dependencies.groups[g];
    if (!group.reason.empty() || group.channels < 2 || group.consumers.empty()) continue;
    std::vector<std::unique_ptr<Reader>> readers;
    bool all = true;
    for (const int number : group.consumers) {
      const auto& site = sites[number];
      const ChannelLayer& layer = dependencies.layers[number];
      const auto* member = group.Find(layer.weight, layer.input_axis);
      const onnx::TensorProto* tensor = index.Constant(model.proto().graph(), layer.weight);
      all = site != nullptr && site->rows.problem.empty() && member != nullptr && tensor != nullptr;
      if (!all) break;
      const RowLayout& rows = site->site.rows;
      MP_ASSIGN_OR_RETURN(const auto bytes, model.Bytes(*tensor));
      // Taps of a kernel lie behind the channel on its side of the weight.
      const size_t taps = rows.kind == RowLayout::Kind::kConv
                              ? rows.inputs / static_cast<size_t>(tensor->dims(1))
                              : 1;
      std::vector<double> weight(rows.inputs * rows.outputs);
      for (size_t k = 0; k < rows.inputs; ++k) {
        for (size_t n = 0; n < rows.outputs; ++n) {
          const size_t at = site->site.outputs_first ? n * rows.inputs + k : k * rows.outputs + n;
          float value;
          std::memcpy(&value, bytes.data() + at * sizeof(value), sizeof(value));
          weight[k * rows.outputs + n] = value;
        }
      }
      std::vector<std::vector<uint32_t>> blocks(group.channels);
      for (size_t c = 0; c < group.channels; ++c) {
        for (size_t i = 0; i < member->width; ++i) {
          const uint32_t position = member->positions[c * member->width + i];
          for (size_t t = 0; t < taps; ++t) {
            blocks[c].push_back(position * static_cast<uint32_t>(taps) + static_cast<uint32_t>(t));
          }
        }
      }
      MP_ASSIGN_OR_RETURN(auto reader, Reader::Make(FitMoments(site->rows).ForGood()[0],
                                                    std::move(weight), std::move(blocks), context));
      all = reader != nullptr;
      if (!all) break;
      readers.push_back(std::move(reader));
    }
    if (!all) continue;
    MP_ASSIGN_OR_RETURN(scores[g], Eliminate(readers, group.channels, context));
  }
  return scores;
}

}  // namespace modelpress
