// Which weights get more bits than asked for; see weight_budget.h.
#include "core/measure/weight_budget.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/quant/bit_budget.h"
#include "core/quant/block_weight.h"
#include "core/quant/weight_coding.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {
namespace {

absl::StatusOr<double> RelativeError(const Model& model, const CandidateWeight& weight,
                                     const WeightInputs& inputs, const BlockRule& rule,
                                     const BlockLayout& layout, const JobContext& job) {
  const std::vector<float> energy = inputs.Energy(weight, layout.view.rows.count);
  MP_ASSIGN_OR_RETURN(const std::span<const std::byte> values, model.Bytes(*weight.tensor));
  MP_ASSIGN_OR_RETURN(const EncodedBlocks result,
                      EncodeBlocks(values, Type(*weight.tensor), layout, rule,
                                   {.importance = energy}, nullptr, job, nullptr));
  return result.finite && result.sums.signal > 0 ? result.sums.noise / result.sums.signal : 0;
}

uint64_t StoredBytes(const BlockWeight& block) {
  const CodeSizes sizes = SizesOf(block.layout, block.rule.stored_bits(), block.form);
  return sizes.codes + block.layout.scales() * sizeof(float) +
         (block.has_zero_points() ? sizes.zero_points : 0);
}

// The weight in int8, one scale per channel.
BlockWeight InBytes(BlockWeight block) {
  block.rule = {8, true, BlockMethod::kRoundToNearest};
  block.form = CodeLayout::kTensor;
  block.layout.view = ColumnsOfChannels(block.dims, *block.weight.channel_axis);
  block.layout.block_size = std::max<uint64_t>(block.layout.view.rows.count, 1);
  return block;
}

}  // namespace

absl::StatusOr<WeightBudget> FitWeights(const Model& model,
                                        const std::vector<CandidateWeight>& weights,
                                        const v1::QuantizeWeights& options,
                                        const WeightInputs& inputs, uint64_t bytes_before,
                                        const JobContext& job) {
  // For each weight its ways to be stored, and what each is called (nothing: as asked).
  std::vector<std::vector<BitOption>> choices;
  std::vector<std::vector<std::optional<Raise>>> raises;
  std::vector<const onnx::TensorProto*> tensors;
  uint64_t others = bytes_before;
  for (const CandidateWeight& weight : weights) {
    MP_RETURN_IF_ERROR(job.cancellation->Check());
    const WeightCoding coding = CodingFor(options, weight);
    if (coding.keep_float || coding.whole_channels) continue;
    BlockWeight block = MakeBlockWeight(weight, coding);
    if (ChooseBlocks(coding.blocks, &block).has_value()) continue;
    MP_ASSIGN_OR_RETURN(const auto floats, model.Bytes(*weight.tensor));
    others -= std::min<uint64_t>(others, floats.size());
    MP_ASSIGN_OR_RETURN(const double loss,
                        RelativeError(model, weight, inputs, block.rule, block.layout, job));
    tensors.push_back(weight.tensor);
    choices.push_back({{StoredBytes(block), loss}});
    raises.push_back({std::nullopt});
    if (weight.channel_axis.has_value()) {
      const BlockWeight bytes = InBytes(block);
      MP_ASSIGN_OR_RETURN(const double less,
                          RelativeError(model, weight, inputs, bytes.rule, bytes.layout, job));
      choices.back().push_back({StoredBytes(bytes), less});
      raises.back().push_back(Raise::kInt8);
    }
    choices.back().push_back({floats.size(), 0});
    raises.back().push_back(Raise::kFloat);
  }
  const uint64_t limit = options.max_bytes();
  const auto chosen = others > limit ? std::nullopt : FitBudget(choices, limit - others);
  if (!chosen.has_value()) {
    uint64_t smallest = others;
    for (const auto& choice : choices) smallest += choice[0].bytes;
    return Error(ERROR_REASON_RECIPE_INVALID,
                 FormatString("max_bytes is {}, but the weights take {} at the least with these "
                              "options",
                              limit, smallest))
        .With("field", "quantize_weights.max_bytes")
        .Remedy("choose a larger limit, fewer bits or larger blocks");
  }
  WeightBudget budget;
  int bytes = 0, floats = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::optional<Raise> raise = raises[i][(*chosen)[i]];
    if (!raise.has_value()) continue;
    budget.raised.emplace(tensors[i], *raise);
    ++(*raise == Raise::kInt8 ? bytes : floats);
  }
  budget.note = FormatString(
      "to fit into {} bytes, {} weights are coded as asked, {} in int8, {} stay in float", limit,
      tensors.size() - budget.raised.size(), bytes, floats);
  return budget;
}

}  // namespace modelpress
