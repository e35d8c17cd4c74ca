// quantize_weights: weights as codes of 8 or fewer bits that are turned back into floats when the
// model runs.
//
//   W float32 [64, 32, 3, 3] --> Conv         W_quantized int8 [64, 32, 3, 3] --.
//                                             W_scale float32 [64] -------------+-->
//                                             DequantizeLinear --> W --> Conv
//
// int8, uint8: symmetric scale = 2 max|w| / (qmax - qmin) for each output channel, code =
// clip(round_half_even(w / scale)); asymmetric scale = (max - min) / (qmax - qmin), zero_point =
// round(qmin - min / scale). Source: ONNX Runtime's quantizer (quant_utils.py: compute_scale_zp,
// quantize_nparray), matched bit for bit; int8 uses -127..127. Embedding tables are dequantized row
// by row after the Gather (see code_weight.h).
//
// int4, uint4, int3, int2: one scale for each block of values along the axis that is summed over, by
// the methods of tile_kernels.h; DequantizeLinear with block_size or MatMulNBits (see
// block_weight.h).
//
// Activations stay float. A MatMul of 8-bit weights runs slower than in float, because the runtime
// expands the codes at every call; 4-bit ones have a kernel of their own.
#include <algorithm>
#include <map>
#include <memory>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/measure/block_encoder.h"
#include "core/measure/weight_budget.h"
#include "core/measure/weight_inputs.h"
#include "core/passes/pass.h"
#include "core/passes/rounded_codes.h"
#include "core/quant/block_weight.h"
#include "core/quant/float_values.h"
#include "core/quant/function_inlining.h"
#include "core/quant/opset_conversion.h"
#include "core/quant/progress.h"
#include "core/quant/weight_coding.h"

namespace modelpress {
namespace {

// Measured on one core; only for plans.
constexpr double kBytesPerSecond = 3e9;
constexpr double kLowBitBytesPerSecond = 5e8;
// First version of DequantizeLinear with 4-bit types and blocks.
constexpr int64_t kBlockedOpset = 21;
constexpr uint64_t kCalibrationSamples = 256;

// One run of the pass.
class Quantizer {
 public:
  Quantizer(Model& model, const QuantizeWeights& options, PassContext& context, PassReport& report)
      : model_(model),
        options_(options),
        context_(context),
        report_(report),
        inputs_(model, *context.job, context.data, context.seed),
        encoder_(model, inputs_, *context.arena, *context.job) {}

  absl::Status Run() {
    InlineFunctions(model_, report_.mutable_notes());
    SeparateInitializersFromInputs(model_);
    MP_RETURN_IF_ERROR(PrepareVersions());
    const GraphIndex index(model_.mutable_proto());
    MP_ASSIGN_OR_RETURN(SelectedWeights found, SelectWeights(model_, index, options_.weights()));
    for (Skip& skip : found.skips) *report_.add_skips() = std::move(skip);
    MP_RETURN_IF_ERROR(Calibrate(index, found.weights));
    if (options_.max_bytes() > 0) {
      MP_ASSIGN_OR_RETURN(WeightBudget budget,
                          FitWeights(model_, found.weights, options_, inputs_,
                                     report_.weight_bytes_before(), *context_.job));
      raised_ = std::move(budget.raised);
      report_.add_notes(std::move(budget.note));
    }
    uint64_t total = 0;
    for (const CandidateWeight& weight : found.weights) total += weight.elements * sizeof(float);
    WeightProgress progress(sink_, total);
    for (CandidateWeight& weight : found.weights) {
      MP_RETURN_IF_ERROR(context_.job->cancellation->Check());
      progress.Start(weight.name);
      MP_ASSIGN_OR_RETURN(std::optional<Skip> skip, Encode(weight, progress));
      if (skip.has_value()) *report_.add_skips() = *std::move(skip);
    }
    if (report_.changes_size() == 0 && !blocked_failure_.ok()) return blocked_failure_;
    AddNotes();
    GraphAdditions additions(model_, *context_.arena);
    RequireDomains(model_, blocks_);
    MP_RETURN_IF_ERROR(ReplaceByCodes(channels_, additions));
    MP_RETURN_IF_ERROR(ReplaceByBlocks(blocks_, additions));
    return additions.Finish();
  }

 private:
  // Brings the opset to what the codes need; where there is nothing to do it stays as it is.
  absl::Status PrepareVersions() {
    const GraphIndex index(model_.mutable_proto());
    MP_ASSIGN_OR_RETURN(const SelectedWeights found,
                        SelectWeights(model_, index, options_.weights()));
    // The budget may give some weights 8 bits.
    bool channels = options_.max_bytes() > 0, blocked = false, per_channel = true;
    for (const CandidateWeight& weight : found.weights) {
      const WeightCoding coding = CodingFor(options_, weight);
      if (coding.keep_float) continue;
      if (coding.whole_channels) {
        channels = true;
        per_channel = per_channel && coding.per_channel;
        continue;
      }
      BlockWeight block = MakeBlockWeight(weight, coding);
      if (!ChooseBlocks(coding.blocks, &block).has_value()) blocked |= NeedsOpset21(block);
    }
    const int64_t opset = model_.opset();
    if (blocked && opset < kBlockedOpset) {
      blocked_failure_ = ConvertDefaultDomain(model_, kBlockedOpset);
      if (blocked_failure_.ok()) {
        report_.add_notes(FormatString(
            "opset {} was converted to {}, which DequantizeLinear of 4 bits and of blocks needs",
            opset, kBlockedOpset));
      } else {
        report_.add_notes(FormatString("{}: MatMuls become MatMulNBits, other weights stay",
                                       std::string_view(blocked_failure_.message())));
      }
    }
    if (!channels) return absl::OkStatus();
    bool possible = per_channel;
    MP_RETURN_IF_ERROR(PrepareOpset(model_, &possible, report_.mutable_notes()));
    channels_possible_ = possible || !per_channel;
    return absl::OkStatus();
  }

  // Gathers what the methods need of the data, as the first half of the work.
  absl::Status Calibrate(const GraphIndex& index, const std::vector<CandidateWeight>& weights) {
    for (const CandidateWeight& weight : weights) {
      inputs_.Plan(index, weight, CodingFor(options_, weight).calibration);
    }
    if (options_.max_bytes() > 0) {
      for (const CandidateWeight& weight : weights) inputs_.PlanEnergy(index, weight);
    }
    if (!inputs_.NeedsForward()) return absl::OkStatus();
    const auto& sink = context_.progress;
    const uint64_t samples = options_.max_samples();
    MP_RETURN_IF_ERROR(
        inputs_.Gather(samples == 0 ? kCalibrationSamples : samples, [&sink](double fraction) {
          if (sink) sink(fraction / 2, "calibration");
        }));
    sink_ = [&sink](double fraction, std::string_view detail) {
      if (sink) sink(0.5 + fraction / 2, detail);
    };
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<Skip>> Encode(CandidateWeight& weight, WeightProgress& progress) {
    WeightCoding coding = CodingFor(options_, weight);
    const auto raised = raised_.find(weight.tensor);
    if (coding.keep_float || (raised != raised_.end() && raised->second == Raise::kFloat)) {
      return MakeSkip(
          SkipReason::kExcluded, weight.name, weight.reader(),
          coding.keep_float ? "a rule says keep_float" : "max_bytes leaves room for its floats");
    }
    if (raised != raised_.end()) {
      coding.whole_channels = coding.per_channel = true;
      coding.affine = {CodeType::kInt8, true};
    }
    moved_ += coding.moved;
    return coding.whole_channels ? EncodeChannels(weight, coding, progress)
                                 : EncodeInBlocks(weight, coding, progress);
  }

  // 8-bit codes per channel or tensor.
  absl::StatusOr<std::optional<Skip>> EncodeChannels(CandidateWeight& weight,
                                                     const WeightCoding& coding,
                                                     WeightProgress& progress) {
    CodedWeight coded;
    coded.weight = std::move(weight);
    coded.rule = coding.affine;
    Change change;
    MP_ASSIGN_OR_RETURN(std::optional<Skip> skip,
                        EncodeByRounding(model_, context_, coding.per_channel && channels_possible_,
                                         progress, &coded, &change));
    if (skip.has_value()) return skip;
    MP_RETURN_IF_ERROR(FillBytes(model_, coded, &change));
    *report_.add_changes() = std::move(change);
    channels_.push_back(std::move(coded));
    return std::nullopt;
  }

  absl::StatusOr<std::optional<Skip>> EncodeInBlocks(const CandidateWeight& weight,
                                                     const WeightCoding& coding,
                                                     WeightProgress& progress) {
    BlockWeight block = MakeBlockWeight(weight, coding);
    BlockChoice choice = coding.blocks;
    choice.matmul_nbits = choice.matmul_nbits || !blocked_failure_.ok();
    if (auto skip = ChooseBlocks(choice, &block); skip.has_value()) return skip;
    if (!blocked_failure_.ok() && NeedsOpset21(block)) {
      return MakeSkip(SkipReason::kOperatorNeedsFloat, weight.name, weight.reader(),
                      "its codes need a DequantizeLinear of opset 21");
    }
    Change change;
    MP_ASSIGN_OR_RETURN(std::optional<Skip> skip,
                        encoder_.Encode(coding, &block, progress, &change));
    if (skip.has_value()) return skip;
    *report_.add_changes() = std::move(change);
    blocks_.push_back(std::move(block));
    return std::nullopt;
  }

  void AddNotes() {
    if (!inputs_.description().empty()) report_.add_notes(inputs_.description());
    encoder_.AddNotes(&report_);
    if (moved_ > 0) {
      report_.add_notes(FormatString(
          "{} weights are read through operators that move values and got int8: the runtime "
          "computes wrongly where it moves a DequantizeLinear through those",
          moved_));
    }
    if (std::ranges::any_of(
            blocks_, [](const BlockWeight& w) { return w.rule.bits < w.rule.stored_bits(); })) {
      report_.add_notes(
          "codes of 2 and 3 bits are stored in 4 bits, for which alone there are operators: the "
          "file is as large as with int4, and smaller only after compression (zstd_bytes)");
    }
    NoteWhatIsSlower();
  }

  // The runtime expands the codes of a DequantizeLinear at every call, but for MatMuls of 4 bits,
  // which it replaces by MatMulNBits.
  void NoteWhatIsSlower() {
    const auto is_read_by = [](const CandidateWeight& weight, auto wanted) {
      return std::ranges::any_of(weight.weight_uses,
                                 [&](const Use& use) { return wanted(use.node->op_type()); });
    };
    const auto multiplies = [](std::string_view op) { return op == "MatMul" || op == "Gemm"; };
    const auto has_no_kernel = [](std::string_view op) { return op != "MatMul" && op != "Gather"; };
    int bytes = 0, fewer = 0;
    for (const CodedWeight& weight : channels_) bytes += is_read_by(weight.weight, multiplies);
    for (const BlockWeight& weight : blocks_) {
      if (weight.rule.stored_bits() == 8) {
        bytes += is_read_by(weight.weight, multiplies);
      } else {
        fewer += weight.form != CodeLayout::kMatMulNBits &&
                 (weight.per_channel || is_read_by(weight.weight, has_no_kernel));
      }
    }
    if (bytes > 0) {
      report_.add_notes(FormatString(
          "{} 8-bit weights of MatMul and Gemm make those slower than in float: the runtime "
          "expands "
          "the codes at every call (measured 5x for one row of 4096 by 4096); quantize_dynamic "
          "multiplies in integers, and int4 has a kernel of its own for MatMul",
          bytes));
    }
    if (fewer > 0) {
      report_.add_notes(FormatString(
          "{} weights in 4 bits are expanded at every call, which makes their operators slower "
          "than "
          "in float: only MatMul and Gather have kernels for such codes, in blocks, and Gemm with "
          "encoding: matmul_nbits",
          fewer));
    }
  }

  Model& model_;
  const QuantizeWeights& options_;
  PassContext& context_;
  PassReport& report_;
  bool channels_possible_ = true;  // the opset has scales per channel
  absl::Status blocked_failure_;   // why the opset could not become 21
  std::map<const onnx::TensorProto*, Raise> raised_;
  std::vector<CodedWeight> channels_;
  std::vector<BlockWeight> blocks_;
  int moved_ = 0;
  WeightInputs inputs_;
  BlockEncoder encoder_;
  WeightProgress::Sink sink_ = context_.progress;
};

class QuantizeWeightsPass final : public Pass {
 public:
  std::string_view name() const override { return "quantize_weights"; }
  std::string_view summary() const override {
    return "weights to codes of 8, 4, 3 or 2 bits: 4x to 7x smaller, activations stay float";
  }

  bool encodes_weights() const override { return true; }
  absl::Status Validate(const PassStep& step) const override {
    MP_RETURN_IF_ERROR(ValidateCoding(step.quantize_weights()));
    return ValidateSelection(step.quantize_weights().weights(), "quantize_weights.weights");
  }

  PassEstimate Estimate(const Model& model, const PassStep& step) const override {
    const uint64_t bytes = WeightBytes(model);
    const uint64_t widened = LargestWidenedBytes(model);
    // Codes are a quarter of float32 and half of float16; scales and alignment are well below the
    // rest.
    PassEstimate estimate{16 << 20,
                          bytes / (widened > 0 ? 2 : 4) + bytes / 16 + widened + (1 << 20),
                          static_cast<double>(bytes) / kBytesPerSecond};
    if (CodesBlocks(step.quantize_weights())) {
      // 4-bit codes and scales of blocks of 16 are a quarter too; both may be written twice.
      estimate.scratch_bytes += bytes / 4;
      estimate.seconds = static_cast<double>(bytes) / kLowBitBytesPerSecond;
    }
    if (UsesData(step.quantize_weights())) {
      const GramCost cost = EstimateGrams(model);
      estimate.memory_bytes = cost.memory_bytes;
      estimate.seconds += cost.seconds;
    }
    return estimate;
  }

  absl::Status Apply(Model& model, const PassStep& step, PassContext& context,
                     PassReport& report) const override;
  std::vector<PassExample> examples() const override;
  std::vector<std::vector<PassStep>> tuning_candidates() const override {
    PassStep bytes, fewer;
    bytes.mutable_quantize_weights();
    fewer.mutable_quantize_weights()->set_type(QuantizeWeights::TYPE_INT4);
    fewer.mutable_quantize_weights()->set_method(QuantizeWeights::METHOD_GPTQ);
    return {{bytes}, {fewer}};
  }
};

absl::Status QuantizeWeightsPass::Apply(Model& model, const PassStep& step, PassContext& context,
                                        PassReport& report) const {
  MP_RETURN_IF_ERROR(Quantizer(model, step.quantize_weights(), context, report).Run());
  RemoveDead(model.mutable_proto());
  return absl::OkStatus();
}

std::vector<PassExample> QuantizeWeightsPass::examples() const {
  return {
      {"a MatMul's weight, one scale for each of its columns",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[2, 4] x) => (float[2, 2] y)
          <float[4, 2] w = {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9}>
          { y = MatMul(x, w) })",
       "quantize_weights: {weights: {min_elements: 1}}",
       {"DequantizeLinear", "MatMul"},
       0.1},
      {"an embedding table: the rows that are taken are dequantized, not the table",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (int64[2] i) => (float[2, 4] y)
          <float[3, 4] table = {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9, 0.2, 0.4, -0.6, 0.8}>
          { y = Gather(table, i) })",
       "quantize_weights: {weights: {min_elements: 1}}",
       {"Gather", "Cast", "Gather", "Mul"},
       0.02},
      {"an old opset is converted first; a Constant node becomes an initializer",
       R"(<ir_version: 4, opset_import: ["" : 9]>
          g (float[2, 4] x) => (float[2, 2] y)
          { w = Constant <value = float[4, 2] {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9}> ()
            y = MatMul(x, w) })",
       "quantize_weights: {type: uint8, scheme: asymmetric, weights: {min_elements: 1}}",
       {"DequantizeLinear", "MatMul"},
       0.1},
      {"4 bits, one scale for each 16 values of a column",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[2, 16] x) => (float[2, 2] y)
          <float[16, 2] w = {1, -5, 2, 2, -3, 1, 7, -9, 4, 0, -1, 3, 6, -2, 5, 8,
                             -4, 3, 0, -7, 2, 9, -6, 1, 5, -8, 3, 4, -2, 6, 1, -1}>
          { y = MatMul(x, w) })",
       "quantize_weights: {type: int4, block_size: 16, weights: {min_elements: 1}}",
       {"DequantizeLinear", "MatMul"},
       4},
      {"4-bit codes as the runtime's own operators read them",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (int64[2] i) => (float[2, 2] y)
          <float[3, 16] table = {1, -5, 2, 2, -3, 1, 7, -9, 4, 0, -1, 3, 6, -2, 5, 8,
                                 -4, 3, 0, -7, 2, 9, -6, 1, 5, -8, 3, 4, -2, 6, 1, -1,
                                 2, 7, -3, 1, 0, 4, -5, 6, 8, -1, -9, 3, 2, -6, 5, -4},
           float[16, 2] w = {1, -5, 2, 2, -3, 1, 7, -9, 4, 0, -1, 3, 6, -2, 5, 8,
                             -4, 3, 0, -7, 2, 9, -6, 1, 5, -8, 3, 4, -2, 6, 1, -1}>
          { h = Gather(table, i)
            y = MatMul(h, w) })",
       "quantize_weights: {type: uint4, block_size: 16, encoding: matmul_nbits, weights: "
       "{min_elements: 1}}",
       {"GatherBlockQuantized", "MatMulNBits"},
       40},
      {"2 bits in blocks, for both readers of a shared table",
       R"(<ir_version: 10, opset_import: ["" : 21]>
          g (int64[2] i) => (float[2, 3] y)
          <float[3, 16] table = {1, -5, 2, 2, -3, 1, 7, -9, 4, 0, -1, 3, 6, -2, 5, 8,
                                 -4, 3, 0, -7, 2, 9, -6, 1, 5, -8, 3, 4, -2, 6, 1, -1,
                                 2, 7, -3, 1, 0, 4, -5, 6, 8, -1, -9, 3, 2, -6, 5, -4}>
          { h = Gather(table, i)
            y = Gemm <transB = 1> (h, table) })",
       "quantize_weights: {type: int2, block_size: 16, method: hqq, weights: {min_elements: 1}}",
       {"GatherBlockQuantized", "DequantizeLinear", "Gemm"},
       150},
  };
}

}  // namespace

void RegisterPass_quantize_weights(PassRegistry& registry) {
  registry.Add(std::make_unique<QuantizeWeightsPass>());
}

}  // namespace modelpress
