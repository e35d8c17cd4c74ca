// The frame that passes share which replace weights by 8-bit codes: select, encode one by one,
// rewrite, report.
#pragma once

#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/passes/pass.h"
#include "core/quant/code_weight.h"
#include "core/quant/float_values.h"
#include "core/quant/function_inlining.h"
#include "core/quant/progress.h"

namespace modelpress {

// Codes of one weight by plain rounding; a skip if it cannot have any.
inline absl::StatusOr<std::optional<Skip>> EncodeByRounding(const Model& model,
                                                            PassContext& context, bool per_channel,
                                                            WeightProgress& progress,
                                                            CodedWeight* coded, Change* change) {
  const CandidateWeight& weight = coded->weight;
  if (auto skip = ChooseLayout(per_channel, coded); skip.has_value()) return skip;
  progress.Start(weight.name);
  MP_ASSIGN_OR_RETURN(const FloatValues values,
                      FloatValues::Read(model, *weight.tensor, *context.job));
  MP_ASSIGN_OR_RETURN(WeightArena::Room room, context.arena->Allocate(weight.elements));
  MP_ASSIGN_OR_RETURN(QuantizedTensor result,
                      QuantizeTensor(values.bytes(), coded->layout, coded->rule, kNoDeadZone,
                                     room.bytes, *context.job, progress.callback()));
  if (!result.finite) {
    return MakeSkip(SkipReason::kNotFinite, weight.name, weight.reader(), "holds NaN or infinity");
  }
  coded->parameters = std::move(result.parameters);
  coded->codes = std::move(room.weight);
  change->set_tensor(weight.name);
  change->set_node(std::string(weight.reader()));
  change->set_what(Describe(*coded));
  if (result.sums.noise > 0) {
    change->set_sqnr_db(10 * std::log10(result.sums.signal / result.sums.noise));
  }
  return std::nullopt;
}

// Bytes of the floats and of what takes their place.
inline absl::Status SetBytes(const Model& model, const CodedWeight& coded, Change* change) {
  MP_ASSIGN_OR_RETURN(const auto bytes, model.Bytes(*coded.weight.tensor));
  change->set_bytes_before(bytes.size());
  change->set_bytes_after(coded.codes.length + coded.parameters.size() * (sizeof(float) + 1));
  return absl::OkStatus();
}

// Puts codes in the place of the selected weights; rows go to the report.
// encode(per_channel, progress, CodedWeight*, Change*) -> StatusOr<optional<Skip>> fills in the
// codes of one weight.
template <typename Encode>
absl::Status CodeWeights(Model& model, QuantizeWeights::Granularity granularity,
                         const WeightSelection& selection, const AffineRule& rule,
                         PassContext& context, const Encode& encode, PassReport* report) {
  bool per_channel = granularity != QuantizeWeights::GRANULARITY_PER_TENSOR;
  {
    // Where there is nothing to do, the opset stays as it is.
    const GraphIndex index(model.mutable_proto());
    MP_ASSIGN_OR_RETURN(const SelectedWeights found, SelectWeights(model, index, selection));
    if (!found.weights.empty()) {
      MP_RETURN_IF_ERROR(PrepareOpset(model, &per_channel, report->mutable_notes()));
    }
  }
  const GraphIndex index(model.mutable_proto());
  MP_ASSIGN_OR_RETURN(SelectedWeights found, SelectWeights(model, index, selection));
  for (Skip& skip : found.skips) *report->add_skips() = std::move(skip);
  uint64_t total = 0;
  for (const CandidateWeight& weight : found.weights) total += weight.elements * sizeof(float);
  WeightProgress progress(context.progress, total);

  std::vector<CodedWeight> coded;
  for (CandidateWeight& weight : found.weights) {
    MP_RETURN_IF_ERROR(context.job->cancellation->Check());
    CodedWeight next;
    next.weight = std::move(weight);
    next.rule = rule;
    Change change;
    MP_ASSIGN_OR_RETURN(std::optional<Skip> skip, encode(per_channel, progress, &next, &change));
    if (skip.has_value()) {
      *report->add_skips() = *std::move(skip);
      continue;
    }
    MP_RETURN_IF_ERROR(SetBytes(model, next, &change));
    *report->add_changes() = std::move(change);
    coded.push_back(std::move(next));
  }
  if (coded.empty()) return absl::OkStatus();
  GraphAdditions additions(model, *context.arena);
  MP_RETURN_IF_ERROR(ReplaceByCodes(coded, additions));
  MP_RETURN_IF_ERROR(additions.Finish());
  RemoveDead(model.mutable_proto());
  return absl::OkStatus();
}

// A whole pass that does that and nothing else.
template <typename Encode>
absl::StatusOr<PassReport> RunCoding(const Pass& pass, Model& model, const PassStep& step,
                                     QuantizeWeights::Granularity granularity,
                                     const WeightSelection& selection, const AffineRule& rule,
                                     PassContext& context, const Encode& encode) {
  PassReport report;
  report.set_pass(std::string(pass.name()));
  report.set_weight_bytes_before(WeightBytes(model));
  InlineFunctions(model, report.mutable_notes());
  SeparateInitializersFromInputs(model);
  MP_RETURN_IF_ERROR(CodeWeights(model, granularity, selection, rule, context, encode, &report));
  MP_RETURN_IF_ERROR(RequireChange(step, report));
  report.set_weight_bytes_after(WeightBytes(model));
  return report;
}

}  // namespace modelpress
