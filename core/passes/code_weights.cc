// The work of quantize_weights; see code_weights.h.
#include "core/passes/code_weights.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/passes/block_encoder.h"
#include "core/quant/bit_budget.h"
#include "core/quant/block_weight.h"
#include "core/quant/code_weight.h"
#include "core/quant/float_values.h"
#include "core/quant/function_inlining.h"
#include "core/quant/opset_conversion.h"
#include "core/quant/progress.h"
#include "core/quant/weight_coding.h"
#include "core/statistics/linear_input.h"

namespace modelpress {
namespace {

// First version of DequantizeLinear with 4-bit types and blocks.
constexpr int64_t kBlockedOpset = 21;
constexpr uint32_t kCalibrationSamples = 256;

// One run of the pass.
class Quantizer {
 public:
  Quantizer(Model& model, const QuantizeWeights& options, PassContext& context, PassReport& report)
      : model_(model),
        options_(options),
        context_(context),
        report_(report),
        encoder_(model, context) {}

  absl::Status Run() {
    InlineFunctions(model_, report_.mutable_notes());
    SeparateInitializersFromInputs(model_);
    MP_RETURN_IF_ERROR(PrepareVersions());
    const GraphIndex index(model_.mutable_proto());
    MP_ASSIGN_OR_RETURN(SelectedWeights found, SelectWeights(model_, index, options_.weights()));
    for (Skip& skip : found.skips) *report_.add_skips() = std::move(skip);
    uint64_t total = 0;
    for (const CandidateWeight& weight : found.weights) total += weight.elements * sizeof(float);
    MP_RETURN_IF_ERROR(Calibrate(index, found.weights));
    if (options_.max_bytes() > 0) MP_RETURN_IF_ERROR(FitIntoBudget(found.weights));
    WeightProgress progress(progress_, total);
    for (CandidateWeight& weight : found.weights) {
      MP_RETURN_IF_ERROR(context_.job->cancellation->Check());
      progress.Start(weight.name);
      const WeightCoding coding = Coding(weight);
      moved_ += coding.moved;
      MP_ASSIGN_OR_RETURN(std::optional<Skip> skip, coding.keep_float ? KeepFloat(weight)
                                                    : coding.whole_channels
                                                        ? EncodeChannels(weight, coding, progress)
                                                        : EncodeInBlocks(weight, coding, progress));
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
    bool channels = options_.max_bytes() > 0, blocked = false;
    for (const CandidateWeight& weight : found.weights) {
      const WeightCoding coding = CodingFor(options_, weight);
      if (coding.keep_float) continue;
      channels = channels || coding.whole_channels;
      if (coding.whole_channels) per_channel_ = per_channel_ && coding.per_channel;
      if (coding.whole_channels) continue;
      BlockWeight block = MakeBlockWeight(weight, coding);
      if (ChooseBlocks(coding.blocks, &block).has_value()) continue;
      blocked = blocked || NeedsOpset21(block);
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
    bool per_channel = per_channel_;
    MP_RETURN_IF_ERROR(PrepareOpset(model_, &per_channel, report_.mutable_notes()));
    channels_possible_ = per_channel || !per_channel_;
    return absl::OkStatus();
  }

  // Gathers what the methods need of the data, as the first half of the work.
  absl::Status Calibrate(const GraphIndex& index, const std::vector<CandidateWeight>& weights) {
    const auto paths = GraphPaths(model_.mutable_proto());
    for (const CandidateWeight& weight : weights) {
      encoder_.Plan(index, paths, weight, CodingFor(options_, weight));
    }
    if (options_.max_bytes() > 0) {
      for (const CandidateWeight& weight : weights) encoder_.PlanEnergy(index, paths, weight);
    }
    if (!encoder_.NeedsData()) return absl::OkStatus();
    const auto& sink = context_.progress;
    const uint32_t samples = options_.calibration_samples();
    MP_RETURN_IF_ERROR(
        encoder_.Calibrate(samples == 0 ? kCalibrationSamples : samples, [&](double fraction) {
          if (sink) sink(fraction / 2, "calibration");
        }));
    progress_ = [&sink](double fraction, std::string_view detail) {
      if (sink) sink(0.5 + fraction / 2, detail);
    };
    return absl::OkStatus();
  }

  // The options for a weight, or what the budget gave it.
  WeightCoding Coding(const CandidateWeight& weight) const {
    WeightCoding coding = CodingFor(options_, weight);
    const auto raised = raised_.find(weight.tensor);
    if (raised == raised_.end()) return coding;
    coding.keep_float = raised->second == Raise::kFloat;
    coding.whole_channels = true;
    coding.per_channel = true;
    coding.affine = {CodeType::kInt8, true};
    return coding;
  }

  // Gives more bits to the weights that need them most, within max_bytes.
  absl::Status FitIntoBudget(const std::vector<CandidateWeight>& weights) {
    const auto size_of = [](const BlockWeight& block) {
      const CodeSizes sizes = SizesOf(block.layout, block.rule.stored_bits(), block.form);
      return sizes.codes + block.layout.scales() * sizeof(float) +
             (block.has_zero_points() ? sizes.zero_points : 0);
    };
    std::vector<std::vector<BitOption>> options;
    std::vector<std::vector<Raise>> raises;
    std::vector<const onnx::TensorProto*> tensors;
    uint64_t others = report_.weight_bytes_before();
    for (const CandidateWeight& weight : weights) {
      MP_RETURN_IF_ERROR(context_.job->cancellation->Check());
      const WeightCoding coding = CodingFor(options_, weight);
      if (coding.keep_float || coding.whole_channels) continue;
      BlockWeight block = MakeBlockWeight(weight, coding);
      if (ChooseBlocks(coding.blocks, &block).has_value()) continue;
      MP_ASSIGN_OR_RETURN(const auto floats, model_.Bytes(*weight.tensor));
      const uint64_t bytes = floats.size();
      others -= std::min(others, bytes);
      MP_ASSIGN_OR_RETURN(const double loss,
                          encoder_.RelativeError(block, block.rule, block.layout));
      options.push_back({{size_of(block), loss}});
      raises.push_back({Raise::kNone});
      tensors.push_back(weight.tensor);
      BlockWeight bytewise = block;
      bytewise.rule = {8, true, BlockMethod::kRoundToNearest};
      bytewise.form = CodeLayout::kTensor;
      if (weight.channel_axis.has_value()) {
        bytewise.layout.view = ColumnsOfChannels(block.dims, *weight.channel_axis);
        bytewise.layout.block_size = std::max<uint64_t>(bytewise.layout.view.rows.count, 1);
        MP_ASSIGN_OR_RETURN(const double less,
                            encoder_.RelativeError(block, bytewise.rule, bytewise.layout));
        options.back().push_back({size_of(bytewise), less});
        raises.back().push_back(Raise::kInt8);
      }
      options.back().push_back({bytes, 0});
      raises.back().push_back(Raise::kFloat);
    }
    const auto chosen =
        FitBudget(options, options_.max_bytes() - std::min(others, options_.max_bytes()));
    if (!chosen.has_value() || others > options_.max_bytes()) {
      uint64_t smallest = others;
      for (const auto& weight : options) smallest += weight[0].bytes;
      return Error(ERROR_REASON_RECIPE_INVALID,
                   FormatString("max_bytes is {}, but the weights take {} at the least with these "
                                "options",
                                options_.max_bytes(), smallest))
          .With("field", "quantize_weights.max_bytes")
          .Remedy("choose a larger limit, fewer bits or larger blocks");
    }
    std::map<Raise, int> counts;
    for (size_t i = 0; i < tensors.size(); ++i) {
      const Raise raise = raises[i][(*chosen)[i]];
      ++counts[raise];
      if (raise != Raise::kNone) raised_[tensors[i]] = raise;
    }
    report_.add_notes(FormatString(
        "to fit into {} bytes, {} weights are coded as asked, {} in int8, {} stay in float",
        options_.max_bytes(), counts[Raise::kNone], counts[Raise::kInt8], counts[Raise::kFloat]));
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<Skip>> KeepFloat(const CandidateWeight& weight) {
    return MakeSkip(SkipReason::kExcluded, weight.name, weight.reader(),
                    raised_.contains(weight.tensor) ? "max_bytes leaves room for its floats"
                                                    : "a rule says keep_float");
  }

  static Skip NotFinite(const CandidateWeight& weight) {
    return MakeSkip(SkipReason::kNotFinite, weight.name, weight.reader(), "holds NaN or infinity");
  }

  // 8-bit codes per channel or tensor.
  absl::StatusOr<std::optional<Skip>> EncodeChannels(CandidateWeight& weight,
                                                     const WeightCoding& coding,
                                                     WeightProgress& progress) {
    CodedWeight coded;
    coded.weight = std::move(weight);
    coded.rule = coding.affine;
    if (auto skip = ChooseLayout(coding.per_channel && channels_possible_, &coded);
        skip.has_value()) {
      return skip;
    }
    MP_ASSIGN_OR_RETURN(const FloatValues values,
                        FloatValues::Read(model_, *coded.weight.tensor, *context_.job));
    MP_ASSIGN_OR_RETURN(WeightArena::Room room, context_.arena->Allocate(coded.weight.elements));
    MP_ASSIGN_OR_RETURN(QuantizedTensor result,
                        QuantizeTensor(values.bytes(), coded.layout, coded.rule, kNoDeadZone,
                                       room.bytes, *context_.job, progress.callback()));
    if (!result.finite) return NotFinite(coded.weight);
    coded.parameters = std::move(result.parameters);
    coded.codes = std::move(room.weight);
    Change& change = *report_.add_changes();
    change.set_tensor(coded.weight.name);
    change.set_node(std::string(coded.weight.reader()));
    change.set_what(Describe(coded));
    if (result.sums.noise > 0) {
      change.set_sqnr_db(10 * std::log10(result.sums.signal / result.sums.noise));
    }
    channels_.push_back(std::move(coded));
    return std::nullopt;
  }

  static BlockWeight MakeBlockWeight(const CandidateWeight& weight, const WeightCoding& coding) {
    BlockWeight block;
    block.weight = weight;
    block.rule = coding.block_rule;
    block.is_signed = coding.is_signed;
    return block;
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
    change.set_tensor(weight.name);
    change.set_node(std::string(weight.reader()));
    *report_.add_changes() = std::move(change);
    blocks_.push_back(std::move(block));
    return std::nullopt;
  }

  void AddNotes() {
    encoder_.AddNotes(&report_);
    if (moved_ > 0) {
      report_.add_notes(
          FormatString("{} weights are read through operators that move values and got int8: the "
                       "runtime computes "
                       "wrongly where it moves a DequantizeLinear through those",
                       moved_));
    }
    if (std::ranges::any_of(blocks_, [](const BlockWeight& weight) {
          return weight.rule.bits < weight.rule.stored_bits();
        })) {
      report_.add_notes(
          "codes of 2 and 3 bits are stored in 4 bits, for which alone there are operators: the "
          "file "
          "is as large as with int4, and smaller only after compression (zstd_bytes)");
    }
    const auto multiplies = [](const CandidateWeight& weight) {
      return std::ranges::any_of(weight.uses, [](const Use& use) {
        return use.node->op_type() == "MatMul" || use.node->op_type() == "Gemm";
      });
    };
    const bool slower =
        std::ranges::any_of(channels_,
                            [&](const CodedWeight& w) { return multiplies(w.weight); }) ||
        std::ranges::any_of(blocks_, [&](const BlockWeight& w) {
          return w.rule.stored_bits() == 8 && multiplies(w.weight);
        });
    if (slower) {
      report_.add_notes(
          "MatMuls of 8-bit weights run slower than in float: the runtime expands the codes at "
          "every call (measured 5x for one row of 4096 by 4096); quantize_dynamic multiplies in "
          "integers, and int4 has a kernel of its own");
    }
  }

  // What the budget gives a weight instead of the options.
  enum class Raise { kNone, kInt8, kFloat };

  Model& model_;
  const QuantizeWeights& options_;
  PassContext& context_;
  PassReport& report_;
  bool per_channel_ = true;        // all 8-bit weights are per channel
  bool channels_possible_ = true;  // the opset has scales per channel
  absl::Status blocked_failure_;   // why the opset could not become 21
  std::map<const onnx::TensorProto*, Raise> raised_;
  std::vector<CodedWeight> channels_;
  std::vector<BlockWeight> blocks_;
  int moved_ = 0;
  BlockEncoder encoder_;
  WeightProgress::Sink progress_ = context_.progress;
};

}  // namespace

absl::Status CodeWeights(Model& model, const QuantizeWeights& options, PassContext& context,
                         PassReport* report) {
  return Quantizer(model, options, context, *report).Run();
}

}  // namespace modelpress
