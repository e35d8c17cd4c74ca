// What is known of the values that weights are multiplied with; see weight_inputs.h.
#include "core/measure/weight_inputs.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/statistics/calibration_samples.h"
#include "core/statistics/linear_input.h"

namespace modelpress {
namespace {

constexpr uint64_t kSyntheticSamples = 16;

std::vector<float> MeanSquares(const ValueStatistics& statistics) {
  std::vector<float> energy;
  if (!statistics.fit.empty()) {
    const Gram& gram = statistics.fit[0];
    energy.resize(static_cast<size_t>(gram.size));
    for (size_t k = 0; k < energy.size(); ++k) energy[k] = gram.matrix[k * energy.size() + k];
  } else if (statistics.channels.has_value()) {
    for (const double value : statistics.channels->mean_square) {
      energy.push_back(static_cast<float>(value));
    }
  }
  return energy;
}

}  // namespace

std::optional<ValueKey> WeightInputs::Find(const GraphIndex& index, const CandidateWeight& weight) {
  if (!paths_.has_value()) paths_.emplace(model_.mutable_proto());
  return LinearInput(index, *paths_, weight);
}

void WeightInputs::Request(const std::string& weight, const ValueKey& key,
                           StatisticRequest request) {
  const bool known =
      std::ranges::any_of(requests_, [&](const auto& other) { return other.key == key; });
  if (!known) requests_.push_back(std::move(request));
  keys_.emplace(weight, key);
}

void WeightInputs::Plan(const GraphIndex& index, const CandidateWeight& weight,
                        Calibration wanted) {
  if (wanted == Calibration::kNone) return;
  const auto key = Find(index, weight);
  if (!key.has_value()) return;
  if (wanted == Calibration::kFactors && data_ == nullptr) {
    energies_.emplace(weight.name, NormalizedEnergy(model_, index, weight));
    return;
  }
  Request(weight.name, *key, {.key = *key, .gram = GramLayout{}});
}

void WeightInputs::PlanEnergy(const GraphIndex& index, const CandidateWeight& weight) {
  const auto key = Find(index, weight);
  if (!key.has_value() || keys_.contains(weight.name)) return;
  if (data_ == nullptr) {
    energies_.emplace(weight.name, NormalizedEnergy(model_, index, weight));
  } else {
    Request(weight.name, *key, {.key = *key, .channel_axis = -1});
  }
}

absl::Status WeightInputs::Gather(uint64_t max_samples,
                                  const std::function<void(double)>& progress) {
  MP_ASSIGN_OR_RETURN(
      std::unique_ptr<Samples> samples,
      OpenCalibrationSamples(model_, data_, max_samples, kSyntheticSamples, seed_, job_));
  description_ = FormatString(
      "calibrated on {} samples ({}){}", samples->size(), samples->description(),
      samples->synthetic() ? ": random inputs say little of real ones; give data" : "");
  MP_ASSIGN_OR_RETURN(statistics_, GatherStatistics(model_, *samples, requests_, job_, progress));
  return absl::OkStatus();
}

const ValueStatistics* WeightInputs::FindGrams(const CandidateWeight& weight, uint64_t rows,
                                               std::string* reason) const {
  const auto key = keys_.find(weight.name);
  if (key == keys_.end()) {
    *reason = "its readers are not MatMul or Gemm over one value";
    return nullptr;
  }
  const ValueStatistics* found = statistics_.has_value() ? statistics_->Find(key->second) : nullptr;
  if (found == nullptr || found->fit.size() != 1 || found->held_back.size() != 1) {
    *reason = "its input was not observed";
    if (statistics_.has_value()) {
      for (const Unobserved& missing : statistics_->unobserved()) {
        if (missing.key == key->second) *reason = missing.reason;
      }
    }
    return nullptr;
  }
  if (static_cast<uint64_t>(found->fit[0].size) != rows) {
    *reason = FormatString("{} inputs for {} rows", found->fit[0].size, rows);
    return nullptr;
  }
  return found;
}

std::vector<float> WeightInputs::Energy(const CandidateWeight& weight, uint64_t rows) const {
  std::vector<float> energy;
  const auto key = keys_.find(weight.name);
  if (key != keys_.end() && statistics_.has_value()) {
    if (const ValueStatistics* found = statistics_->Find(key->second)) {
      energy = MeanSquares(*found);
    }
  } else if (const auto known = energies_.find(weight.name); known != energies_.end()) {
    energy = known->second;
  }
  if (energy.size() != rows) energy.clear();
  return energy;
}

GramCost EstimateGrams(const Model& model) {
  // Names of matrices, and the axis that is summed over.
  absl::flat_hash_map<std::string, int> matrices;
  ForEachGraph(model.proto(), [&](const onnx::GraphProto& graph, int) {
    for (const onnx::NodeProto& node : graph.node()) {
      if (node.input_size() < 2 || (node.op_type() != "MatMul" && node.op_type() != "Gemm"))
        continue;
      matrices[node.input(1)] = IntAttribute(node, "transB", 0) != 0 ? 1 : 0;
    }
  });
  uint64_t grams = 0, factor = 0;
  ForEachTensor(model.proto(), [&](const onnx::TensorProto& tensor) {
    const auto found = matrices.find(tensor.name());
    if (found == matrices.end() || tensor.dims_size() != 2) return;
    // Beyond this a Gram is not gathered at all.
    constexpr int64_t kLargest = 1 << 14;
    const auto rows =
        static_cast<uint64_t>(std::clamp<int64_t>(tensor.dims(found->second), 0, kLargest));
    grams += 2 * sizeof(float) * rows * rows;
    factor = std::max(factor, (sizeof(double) + sizeof(float)) * rows * rows);
  });
  // One sample's activations, and what gathering has of Grams at a time (gather.cc).
  constexpr uint64_t kForward = 192 << 20, kGathered = 1 << 30;
  constexpr double kRows = 32000, kMultiplicationsPerSecond = 2e10;
  return {kForward + std::min(grams, kGathered) + factor,
          5 + static_cast<double>(grams) / (4 * sizeof(float)) * kRows / kMultiplicationsPerSecond};
}

}  // namespace modelpress
