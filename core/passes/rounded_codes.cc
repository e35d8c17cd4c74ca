// Plain rounding; see rounded_codes.h.
#include "core/passes/rounded_codes.h"

#include <cmath>
#include <utility>

#include "core/base/status.h"
#include "core/quant/float_values.h"

namespace modelpress {

absl::StatusOr<std::optional<v1::Skip>> EncodeByRounding(const Model& model, PassContext& context,
                                                         bool per_channel, WeightProgress& progress,
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

absl::Status FillBytes(const Model& model, const CodedWeight& coded, Change* change) {
  MP_ASSIGN_OR_RETURN(const auto bytes, model.Bytes(*coded.weight.tensor));
  change->set_bytes_before(bytes.size());
  change->set_bytes_after(coded.codes.length + coded.parameters.size() * (sizeof(float) + 1));
  return absl::OkStatus();
}

}  // namespace modelpress
