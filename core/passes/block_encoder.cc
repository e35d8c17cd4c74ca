// Codes of few bits for one weight after another; see block_encoder.h.
#include "core/passes/block_encoder.h"

#include <algorithm>
#include <cmath>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/quant/row_scaling.h"
#include "core/statistics/calibration_samples.h"
#include "core/statistics/linear_input.h"

namespace modelpress {
namespace {

// Added to the Gram's diagonal, as a share of its mean (Frantar et al., 2022).
constexpr double kDamping = 0.01;
constexpr uint64_t kSyntheticSamples = 16;

double Decibels(double signal, double noise) { return 10 * std::log10(signal / noise); }

std::string_view NameOf(BlockMethod method) {
  switch (method) {
    case BlockMethod::kRoundToNearest:
      return "rtn";
    case BlockMethod::kMseClip:
      return "mse_clip";
    case BlockMethod::kKQuant:
      return "kquant";
    case BlockMethod::kHqq:
      return "hqq";
    case BlockMethod::kWeightedFit:
      return "scale_estimation";
  }
  return "unknown";
}

Skip NotFinite(const BlockWeight& block) {
  return MakeSkip(SkipReason::kNotFinite, block.weight.name, block.weight.reader(),
                  "holds NaN or infinity");
}

}  // namespace

void BlockEncoder::Plan(const GraphIndex& index,
                        const std::map<const onnx::GraphProto*, std::string>& paths,
                        const CandidateWeight& weight, const WeightCoding& coding) {
  if (coding.calibration == Calibration::kNone) return;
  const auto key = LinearInput(index, paths, weight);
  if (!key.has_value()) return;
  if (coding.calibration == Calibration::kFactors && context_.data == nullptr) {
    energies_.emplace(weight.name, NormalizedEnergy(model_, index, weight));
    return;
  }
  const bool known = std::ranges::any_of(
      requests_, [&](const StatisticRequest& request) { return request.key == *key; });
  if (!known) requests_.push_back({.key = *key, .gram = GramLayout{}});
  inputs_.emplace(weight.name, *key);
}

void BlockEncoder::PlanEnergy(const GraphIndex& index,
                              const std::map<const onnx::GraphProto*, std::string>& paths,
                              const CandidateWeight& weight) {
  const auto key = LinearInput(index, paths, weight);
  if (!key.has_value() || inputs_.contains(weight.name)) return;
  if (context_.data == nullptr) {
    energies_.emplace(weight.name, NormalizedEnergy(model_, index, weight));
    return;
  }
  const bool known = std::ranges::any_of(
      requests_, [&](const StatisticRequest& request) { return request.key == *key; });
  if (!known) requests_.push_back({.key = *key, .channel_axis = -1});
  inputs_.emplace(weight.name, *key);
}

absl::Status BlockEncoder::Calibrate(uint64_t max_samples,
                                     const std::function<void(double)>& progress) {
  MP_ASSIGN_OR_RETURN(
      const std::unique_ptr<Samples> samples,
      OpenCalibrationSamples(model_, context_.data, max_samples, kSyntheticSamples, context_.seed));
  synthetic_ = samples->synthetic();
  data_ = FormatString("{} samples ({})", samples->size(), samples->description());
  MP_ASSIGN_OR_RETURN(statistics_,
                      GatherStatistics(model_, *samples, requests_, *context_.job, progress));
  return absl::OkStatus();
}

const ValueStatistics* BlockEncoder::Find(const BlockWeight& block, Calibration calibration,
                                          std::string* reason) const {
  if (calibration == Calibration::kNone) return nullptr;
  if (calibration == Calibration::kFactors && !statistics_.has_value()) return nullptr;
  const auto key = inputs_.find(block.weight.name);
  const ValueStatistics* found = nullptr;
  if (key == inputs_.end()) {
    *reason = "its readers are not MatMul or Gemm over one value";
    return nullptr;
  }
  if (statistics_.has_value()) found = statistics_->Find(key->second);
  if (found == nullptr || found->fit.size() != 1 || found->held_back.size() != 1) {
    *reason = "its input could not be observed";
    for (const Unobserved& missing : statistics_->unobserved()) {
      if (missing.key == key->second) *reason = missing.reason;
    }
    return nullptr;
  }
  const Gram& gram = found->fit[0];
  const auto rows = block.layout.view.rows.count;
  if (static_cast<uint64_t>(gram.size) != rows) {
    *reason = FormatString("{} inputs for {} rows", gram.size, rows);
    return nullptr;
  }
  if (calibration == Calibration::kGram && gram.rows < rows) {
    *reason = FormatString("{} rows of data for {} inputs", gram.rows, rows);
    return nullptr;
  }
  return found;
}

absl::StatusOr<const GptqFactor*> BlockEncoder::Factor(const BlockWeight& block,
                                                       const ValueKey& key, const Gram& gram) {
  const uint64_t block_size = block.layout.block_size;
  if (!factor_.has_value() || factor_->first != key || factor_->second.block_size != block_size) {
    factor_.reset();
    MP_ASSIGN_OR_RETURN(std::optional<GptqFactor> made,
                        FactorGram(gram.matrix, static_cast<uint64_t>(gram.size), block_size,
                                   kDamping, *context_.job));
    if (!made.has_value()) return nullptr;
    factor_.emplace(key, *std::move(made));
  }
  return &factor_->second;
}

absl::StatusOr<JudgedBlocks> BlockEncoder::EncodeWithData(
    Calibration calibration, const ValueKey& key, const ValueStatistics& statistics,
    BlockWeight* block, WeightProgress& progress, std::string* reason) {
  const onnx::TensorProto& tensor = *block->weight.tensor;
  MP_ASSIGN_OR_RETURN(const std::span<const std::byte> values, model_.Bytes(tensor));
  const Gram& gram = statistics.fit[0];
  const std::vector<float>& judge = statistics.held_back[0].matrix;
  if (calibration == Calibration::kGram) {
    MP_ASSIGN_OR_RETURN(const GptqFactor* factor, Factor(*block, key, gram));
    if (factor != nullptr) {
      block->method = "gptq";
      MP_ASSIGN_OR_RETURN(const CodeWriter writer, MakeCodeWriter(*context_.arena, block));
      return EncodeGptq(values, Type(tensor), block->layout, block->rule, *factor, judge, writer,
                        *context_.job, progress.callback());
    }
    *reason = "the inputs' second moments are not positive definite";
  }
  const std::vector<float> energy = EnergyOf(statistics);
  block->rule.method = BlockMethod::kWeightedFit;
  block->method = "scale_estimation";
  MP_ASSIGN_OR_RETURN(const CodeWriter writer, MakeCodeWriter(*context_.arena, block));
  return EncodeJudged(values, Type(tensor), block->layout, block->rule, {.importance = energy},
                      judge, writer, *context_.job, progress.callback());
}

std::vector<float> BlockEncoder::EnergyOf(const ValueStatistics& statistics) {
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

absl::StatusOr<double> BlockEncoder::RelativeError(const BlockWeight& block, const BlockRule& rule,
                                                   const BlockLayout& layout) const {
  std::vector<float> energy;
  const auto input = inputs_.find(block.weight.name);
  const auto normalized = energies_.find(block.weight.name);
  if (input != inputs_.end() && statistics_.has_value()) {
    const ValueStatistics* found = statistics_->Find(input->second);
    if (found != nullptr) energy = EnergyOf(*found);
  } else if (normalized != energies_.end()) {
    energy = normalized->second;
  }
  if (energy.size() != layout.view.rows.count) energy.clear();
  const onnx::TensorProto& tensor = *block.weight.tensor;
  MP_ASSIGN_OR_RETURN(const std::span<const std::byte> values, model_.Bytes(tensor));
  MP_ASSIGN_OR_RETURN(const EncodedBlocks result,
                      EncodeBlocks(values, Type(tensor), layout, rule, {.importance = energy},
                                   nullptr, *context_.job, nullptr));
  return result.finite && result.sums.signal > 0 ? result.sums.noise / result.sums.signal : 0;
}

absl::StatusOr<std::optional<EncodedBlocks>> BlockEncoder::EncodeScaled(
    const ValueStatistics* statistics, BlockWeight* block, WeightProgress& progress,
    Change* change) {
  const onnx::TensorProto& tensor = *block->weight.tensor;
  const bool only_linear =
      Type(tensor) == DataType::kFloat &&
      std::ranges::all_of(block->weight.uses, [](const Use& use) {
        return use.input == 1 && (use.node->op_type() == "MatMul" || use.node->op_type() == "Gemm");
      });
  std::vector<float> energy;
  if (statistics != nullptr) {
    energy = EnergyOf(*statistics);
  } else if (const auto found = energies_.find(block->weight.name); found != energies_.end()) {
    if (found->second.size() == block->layout.view.rows.count) energy = found->second;
  } else {
    return std::nullopt;
  }
  if (!only_linear) return std::nullopt;
  MP_ASSIGN_OR_RETURN(const std::span<const std::byte> values, model_.Bytes(tensor));
  const BlockRule plain{block->rule.bits, block->rule.symmetric, BlockMethod::kRoundToNearest};
  MP_ASSIGN_OR_RETURN(block->row_factors, ChooseRowFactors(values, Type(tensor), block->layout,
                                                           block->rule, energy, *context_.job));
  const std::vector<float> importance =
      block->row_factors.empty() ? energy : ScaledImportance(energy, block->row_factors);
  block->method = block->row_factors.empty() ? "awq without factors" : "awq";
  MP_ASSIGN_OR_RETURN(const CodeWriter writer, MakeCodeWriter(*context_.arena, block));
  const RowFacts facts{importance, block->row_factors};
  EncodedBlocks result;
  double signal = 0, error = 0, plain_error = 0;
  if (statistics != nullptr) {
    MP_ASSIGN_OR_RETURN(
        const JudgedBlocks judged,
        EncodeJudged(values, Type(tensor), block->layout, block->rule, facts,
                     statistics->held_back[0].matrix, writer, *context_.job, progress.callback()));
    result = judged.blocks;
    signal = judged.output, error = judged.error, plain_error = judged.plain_error;
  } else {
    // Both by the expected error of the outputs, with inputs that do not depend on each other.
    MP_ASSIGN_OR_RETURN(result, EncodeBlocks(values, Type(tensor), block->layout, block->rule,
                                             facts, &writer, *context_.job, progress.callback()));
    MP_ASSIGN_OR_RETURN(const EncodedBlocks rounded,
                        EncodeBlocks(values, Type(tensor), block->layout, plain,
                                     {.importance = energy}, nullptr, *context_.job, nullptr));
    signal = result.sums.signal, error = result.sums.noise, plain_error = rounded.sums.noise;
    result.plain_noise = 0;  // of the scaled weight: says nothing
    result.sums = {};
  }
  if (!result.finite) return result;
  if (plain_error > 0) change->set_plain_output_sqnr_db(Decibels(signal, plain_error));
  if (error > plain_error) {
    block->row_factors.clear();
    block->rule.method = BlockMethod::kRoundToNearest;
    MP_ASSIGN_OR_RETURN(result, EncodeAlone(block, nullptr));
    error = plain_error;
  }
  if (error > 0) change->set_output_sqnr_db(Decibels(signal, error));
  return result;
}

absl::StatusOr<EncodedBlocks> BlockEncoder::EncodeAlone(BlockWeight* block,
                                                        const ByteProgress& progress) {
  const onnx::TensorProto& tensor = *block->weight.tensor;
  block->method = NameOf(block->rule.method);
  MP_ASSIGN_OR_RETURN(const std::span<const std::byte> values, model_.Bytes(tensor));
  MP_ASSIGN_OR_RETURN(const CodeWriter writer, MakeCodeWriter(*context_.arena, block));
  return EncodeBlocks(values, Type(tensor), block->layout, block->rule, {}, &writer, *context_.job,
                      progress);
}

absl::StatusOr<std::optional<Skip>> BlockEncoder::Encode(const WeightCoding& coding,
                                                         BlockWeight* block,
                                                         WeightProgress& progress, Change* change) {
  std::string reason;
  const ValueStatistics* statistics = Find(*block, coding.calibration, &reason);
  EncodedBlocks result;
  bool worse = false;
  if (coding.calibration == Calibration::kFactors) {
    MP_ASSIGN_OR_RETURN(const auto scaled, EncodeScaled(statistics, block, progress, change));
    if (scaled.has_value()) {
      if (!scaled->finite) return NotFinite(*block);
      ++(block->rule.method == BlockMethod::kRoundToNearest ? rounded_ : better_);
      change->set_what(Describe(*block));
      if (scaled->sums.noise > 0) {
        change->set_sqnr_db(Decibels(scaled->sums.signal, scaled->sums.noise));
      }
      return std::nullopt;
    }
    statistics = nullptr;
    reason = "only MatMul and Gemm can have factors";
  }
  if (statistics != nullptr) {
    const ValueKey& key = inputs_.at(block->weight.name);
    MP_ASSIGN_OR_RETURN(
        const JudgedBlocks judged,
        EncodeWithData(coding.calibration, key, *statistics, block, progress, &reason));
    result = judged.blocks;
    worse = judged.error > judged.plain_error;
    const double error = worse ? judged.plain_error : judged.error;
    if (error > 0) change->set_output_sqnr_db(Decibels(judged.output, error));
    if (judged.plain_error > 0) {
      change->set_plain_output_sqnr_db(Decibels(judged.output, judged.plain_error));
    }
  } else {
    if (coding.calibration != Calibration::kNone) block->rule.method = BlockMethod::kKQuant;
    MP_ASSIGN_OR_RETURN(result, EncodeAlone(block, progress.callback()));
    worse = result.sums.noise > result.plain_noise;
  }
  if (!result.finite) return NotFinite(*block);
  const double plain_noise = result.plain_noise;
  const bool compared = block->rule.method != BlockMethod::kRoundToNearest;
  if (worse) {
    block->rule.method = BlockMethod::kRoundToNearest;
    MP_ASSIGN_OR_RETURN(result, EncodeAlone(block, nullptr));
  }
  if (compared) {
    ++(worse ? rounded_ : better_);
    if (plain_noise > 0) {
      change->set_plain_sqnr_db(Decibels(result.sums.signal, plain_noise));
    }
  }
  if (!reason.empty() && fallbacks_++ == 0) {
    first_fallback_ = FormatString("{}: {}", block->weight.name, reason);
  }
  change->set_what(Describe(*block));
  if (!reason.empty()) change->set_what(FormatString("{} ({})", change->what(), reason));
  if (result.sums.noise > 0) {
    change->set_sqnr_db(Decibels(result.sums.signal, result.sums.noise));
  }
  return std::nullopt;
}

void BlockEncoder::AddNotes(PassReport* report) const {
  if (statistics_.has_value()) {
    report->add_notes(
        FormatString("calibrated on {}{}", data_,
                     synthetic_ ? ": random inputs say little of real ones; give data" : ""));
  }
  if (fallbacks_ > 0) {
    report->add_notes(FormatString("{} weights could not have the method that was asked for ({})",
                                   fallbacks_, first_fallback_));
  }
  if (better_ + rounded_ > 0) {
    report->add_notes(FormatString(
        "compared with plain rounding, the chosen method was better and kept for {} weights; "
        "plain rounding was kept for {}",
        better_, rounded_));
  }
}

}  // namespace modelpress
