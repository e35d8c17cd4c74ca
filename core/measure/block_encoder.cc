// Codes of few bits for one weight after another; see block_encoder.h.
#include "core/measure/block_encoder.h"

#include <algorithm>
#include <cmath>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/quant/row_scaling.h"
#include "core/quant/skip.h"

namespace modelpress {
namespace {

// Added to the Gram's diagonal, as a share of its mean (Frantar et al., 2022).
constexpr double kDamping = 0.01;

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

// A Mul on the last axis of every reader's other input can take factors of rows back.
bool CanHaveFactors(const BlockWeight& block) {
  return Type(*block.weight.tensor) == DataType::kFloat && block.dims.size() == 2 &&
         std::ranges::all_of(block.weight.uses, [](const Use& use) {
           const std::string& op = use.node->op_type();
           return use.input == 1 && IsDefaultDomain(use.node->domain()) &&
                  (op == "MatMul" || op == "Gemm") && IntAttribute(*use.node, "transA", 0) == 0;
         });
}

}  // namespace

bool BlockEncoder::Attempt::worse_than_plain() const {
  // Not a number is worse.
  return output.has_value() ? !(output->error <= output->plain_error)
                            : !(blocks.sums.noise <= blocks.plain_noise);
}

absl::StatusOr<const GptqFactor*> BlockEncoder::Factor(const BlockWeight& block, const Gram& gram) {
  const ValueKey& key = inputs_.Key(block.weight);
  const uint64_t block_size = block.layout.block_size;
  if (!factor_.has_value() || factor_->first != key || factor_->second.block_size != block_size) {
    factor_.reset();
    MP_ASSIGN_OR_RETURN(
        std::optional<GptqFactor> made,
        FactorGram(gram.matrix, static_cast<uint64_t>(gram.size), block_size, kDamping, job_));
    if (!made.has_value()) return nullptr;
    factor_.emplace(key, *std::move(made));
  }
  return &factor_->second;
}

absl::StatusOr<BlockEncoder::Attempt> BlockEncoder::EncodeGptqOf(const ValueStatistics& statistics,
                                                                 BlockWeight* block,
                                                                 const ByteProgress& progress,
                                                                 std::string* reason) {
  MP_ASSIGN_OR_RETURN(const GptqFactor* factor, Factor(*block, statistics.fit[0]));
  if (factor == nullptr) {
    *reason = "the second moments of its inputs are not positive definite";
    return EncodeWeighted(statistics, block, progress);
  }
  block->method = "gptq";
  MP_ASSIGN_OR_RETURN(const std::span<const std::byte> values, Values(*block));
  MP_ASSIGN_OR_RETURN(const CodeWriter writer, MakeCodeWriter(arena_, block));
  MP_ASSIGN_OR_RETURN(const JudgedBlocks judged,
                      EncodeGptq(values, Type(*block->weight.tensor), block->layout, block->rule,
                                 *factor, statistics.held_back[0].matrix, writer, job_, progress));
  return Attempt{judged.blocks, OutputErrors{judged.output, judged.error, judged.plain_error}};
}

absl::StatusOr<BlockEncoder::Attempt> BlockEncoder::EncodeWeighted(
    const ValueStatistics& statistics, BlockWeight* block, const ByteProgress& progress) {
  const std::vector<float> energy = inputs_.Energy(block->weight, block->layout.view.rows.count);
  block->rule.method = BlockMethod::kWeightedFit;
  block->method = NameOf(block->rule.method);
  MP_ASSIGN_OR_RETURN(const std::span<const std::byte> values, Values(*block));
  MP_ASSIGN_OR_RETURN(const CodeWriter writer, MakeCodeWriter(arena_, block));
  MP_ASSIGN_OR_RETURN(
      const JudgedBlocks judged,
      EncodeJudged(values, Type(*block->weight.tensor), block->layout, block->rule,
                   {.importance = energy}, statistics.held_back[0].matrix, writer, job_, progress));
  return Attempt{judged.blocks, OutputErrors{judged.output, judged.error, judged.plain_error}};
}

absl::StatusOr<BlockEncoder::Attempt> BlockEncoder::EncodeScaled(const ValueStatistics* statistics,
                                                                 std::vector<float> energy,
                                                                 BlockWeight* block,
                                                                 const ByteProgress& progress) {
  const DataType type = Type(*block->weight.tensor);
  MP_ASSIGN_OR_RETURN(const std::span<const std::byte> values, Values(*block));
  std::span<const float> gram;
  if (statistics != nullptr) gram = statistics->fit[0].matrix;
  MP_ASSIGN_OR_RETURN(block->row_factors, ChooseRowFactors(values, type, block->layout, block->rule,
                                                           energy, gram, job_));
  block->method = block->row_factors.empty() ? "awq without factors" : "awq";
  const std::vector<float> importance =
      block->row_factors.empty() ? energy : ScaledImportance(energy, block->row_factors);
  const RowFacts facts{importance, block->row_factors};
  MP_ASSIGN_OR_RETURN(const CodeWriter writer, MakeCodeWriter(arena_, block));
  if (statistics != nullptr) {
    MP_ASSIGN_OR_RETURN(const JudgedBlocks judged,
                        EncodeJudged(values, type, block->layout, block->rule, facts,
                                     statistics->held_back[0].matrix, writer, job_, progress));
    return Attempt{judged.blocks, OutputErrors{judged.output, judged.error, judged.plain_error}};
  }
  // The expected error of the output, for inputs that do not depend on each other.
  MP_ASSIGN_OR_RETURN(EncodedBlocks scaled, EncodeBlocks(values, type, block->layout, block->rule,
                                                         facts, &writer, job_, progress));
  const BlockRule plain{block->rule.bits, block->rule.symmetric, BlockMethod::kRoundToNearest};
  MP_ASSIGN_OR_RETURN(const EncodedBlocks rounded,
                      EncodeBlocks(values, type, block->layout, plain, {.importance = energy},
                                   nullptr, job_, nullptr));
  const OutputErrors output{rounded.sums.signal, scaled.sums.noise, rounded.sums.noise};
  scaled.sums = {};  // of the scaled weight: they say nothing about this one
  scaled.plain_noise = 0;
  return Attempt{scaled, output};
}

absl::StatusOr<BlockEncoder::Attempt> BlockEncoder::EncodeAlone(BlockMethod method,
                                                                BlockWeight* block,
                                                                const ByteProgress& progress) {
  block->rule.method = method;
  block->method = NameOf(method);
  block->row_factors.clear();
  MP_ASSIGN_OR_RETURN(const std::span<const std::byte> values, Values(*block));
  MP_ASSIGN_OR_RETURN(const CodeWriter writer, MakeCodeWriter(arena_, block));
  MP_ASSIGN_OR_RETURN(const EncodedBlocks blocks,
                      EncodeBlocks(values, Type(*block->weight.tensor), block->layout, block->rule,
                                   {}, &writer, job_, progress));
  return Attempt{blocks, std::nullopt};
}

absl::StatusOr<BlockEncoder::Attempt> BlockEncoder::EncodeBy(const WeightCoding& coding,
                                                             BlockWeight* block,
                                                             const ByteProgress& progress,
                                                             std::string* reason) {
  if (coding.calibration == Calibration::kNone) {
    return EncodeAlone(block->rule.method, block, progress);
  }
  const uint64_t rows = block->layout.view.rows.count;
  const ValueStatistics* statistics = inputs_.FindGrams(block->weight, rows, reason);
  if (coding.calibration == Calibration::kFactors) {
    if (CanHaveFactors(*block)) {
      reason->clear();
      return EncodeScaled(statistics, inputs_.Energy(block->weight, rows), block, progress);
    }
    *reason = "only the weights of MatMul and Gemm can have factors";
  } else if (statistics != nullptr && coding.calibration == Calibration::kEnergy) {
    return EncodeWeighted(*statistics, block, progress);
  } else if (statistics != nullptr) {
    const uint64_t seen = statistics->fit[0].rows;
    if (seen >= rows) return EncodeGptqOf(*statistics, block, progress, reason);
    *reason = FormatString("{} rows of data for {} inputs", seen, rows);
    return EncodeWeighted(*statistics, block, progress);
  }
  return EncodeAlone(BlockMethod::kKQuant, block, progress);
}

absl::StatusOr<std::optional<v1::Skip>> BlockEncoder::Encode(const WeightCoding& coding,
                                                             BlockWeight* block,
                                                             WeightProgress& progress,
                                                             v1::Change* change) {
  std::string reason;
  MP_ASSIGN_OR_RETURN(Attempt attempt, EncodeBy(coding, block, progress.callback(), &reason));
  if (!attempt.blocks.finite) {
    return MakeSkip(SkipReason::kNotFinite, block->weight.name, block->weight.reader(),
                    "holds NaN or infinity");
  }
  if (block->rule.method != BlockMethod::kRoundToNearest) {
    const bool worse = attempt.worse_than_plain();
    ++(worse ? rounded_ : better_);
    const double plain_noise = attempt.blocks.plain_noise;
    std::optional<OutputErrors> output = attempt.output;
    if (worse) {
      MP_ASSIGN_OR_RETURN(attempt, EncodeAlone(BlockMethod::kRoundToNearest, block, nullptr));
      block->method = "rtn, which was better";
      if (output.has_value()) output->error = output->plain_error;
    }
    if (plain_noise > 0) {
      change->set_plain_sqnr_db(Decibels(attempt.blocks.sums.signal, plain_noise));
    }
    if (output.has_value() && output->error > 0) {
      change->set_output_sqnr_db(Decibels(output->signal, output->error));
    }
    if (output.has_value() && output->plain_error > 0) {
      change->set_plain_output_sqnr_db(Decibels(output->signal, output->plain_error));
    }
  }
  if (attempt.blocks.sums.noise > 0) {
    change->set_sqnr_db(Decibels(attempt.blocks.sums.signal, attempt.blocks.sums.noise));
  }
  change->set_tensor(block->weight.name);
  change->set_node(std::string(block->weight.reader()));
  MP_ASSIGN_OR_RETURN(const std::span<const std::byte> floats, Values(*block));
  change->set_bytes_before(floats.size());
  change->set_bytes_after(block->codes.length + block->scales.length + block->zero_points.length);
  change->set_what(Describe(*block));
  if (!reason.empty()) {
    change->set_what(FormatString("{} ({})", change->what(), reason));
    if (fallbacks_++ == 0) first_fallback_ = FormatString("{}: {}", block->weight.name, reason);
  }
  return std::nullopt;
}

void BlockEncoder::AddNotes(v1::PassReport* report) const {
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
