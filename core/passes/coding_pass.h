// The frame that passes share which replace weights by 8-bit codes: select, encode one by one,
// rewrite, report.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/passes/pass.h"
#include "core/quant/code_weight.h"
#include "core/quant/function_inlining.h"
#include "core/quant/progress.h"

namespace modelpress {

// encode(per_channel, progress, CodedWeight*, Change*) -> StatusOr<optional<Skip>> fills in the
// codes of one weight.
template <typename Encode>
absl::StatusOr<PassReport> RunCoding(const Pass& pass, Model& model, const PassStep& step,
                                     QuantizeWeights::Granularity granularity,
                                     const WeightSelection& selection, const AffineRule& rule,
                                     PassContext& context, const Encode& encode) {
  bool per_channel = granularity != QuantizeWeights::GRANULARITY_PER_TENSOR;
  PassReport report;
  report.set_pass(std::string(pass.name()));
  report.set_weight_bytes_before(WeightBytes(model));
  InlineFunctions(model, report.mutable_notes());
  SeparateInitializersFromInputs(model);
  {
    // Where there is nothing to do, the opset stays as it is.
    const GraphIndex index(model.mutable_proto());
    MP_ASSIGN_OR_RETURN(const SelectedWeights found, SelectWeights(model, index, selection));
    if (!found.weights.empty()) {
      MP_RETURN_IF_ERROR(PrepareOpset(model, &per_channel, report.mutable_notes()));
    }
  }
  const GraphIndex index(model.mutable_proto());
  MP_ASSIGN_OR_RETURN(SelectedWeights found, SelectWeights(model, index, selection));
  for (Skip& skip : found.skips) *report.add_skips() = std::move(skip);
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
      *report.add_skips() = *std::move(skip);
      continue;
    }
    *report.add_changes() = std::move(change);
    coded.push_back(std::move(next));
  }
  MP_RETURN_IF_ERROR(RequireChange(step, report));
  GraphAdditions additions(model, *context.arena);
  MP_RETURN_IF_ERROR(ReplaceByCodes(coded, additions));
  MP_RETURN_IF_ERROR(additions.Finish());
  RemoveDead(model.mutable_proto());
  report.set_weight_bytes_after(WeightBytes(model));
  return report;
}

}  // namespace modelpress
