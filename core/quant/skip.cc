// Skip reasons as stable codes.
#include "core/quant/skip.h"

#include <string>

namespace modelpress {

std::string_view SkipReasonName(SkipReason reason) {
  switch (reason) {
    case SkipReason::kTooSmall:
      return "too_small";
    case SkipReason::kNotFloat:
      return "not_float";
    case SkipReason::kExcluded:
      return "excluded";
    case SkipReason::kNotFinite:
      return "not_finite";
    case SkipReason::kAlreadyQuantized:
      return "already_quantized";
    case SkipReason::kNoChannelAxis:
      return "no_channel_axis";
    case SkipReason::kUsedAsShape:
      return "used_as_shape";
    case SkipReason::kGraphOutput:
      return "graph_output";
    case SkipReason::kOverridable:
      return "overridable";
    case SkipReason::kOperatorNeedsFloat:
      return "operator_needs_float";
    case SkipReason::kInsideFunction:
      return "inside_function";
    case SkipReason::kConstantTensor:
      return "constant_tensor";
    case SkipReason::kNoProducer:
      return "no_producer";
    case SkipReason::kSharedProducer:
      return "shared_producer";
    case SkipReason::kCannotBeScaled:
      return "cannot_be_scaled";
    case SkipReason::kOtherReaders:
      return "other_readers";
    case SkipReason::kSlower:
      return "slower";
    case SkipReason::kNothingGained:
      return "nothing_gained";
    case SkipReason::kOutOfRange:
      return "out_of_range";
    case SkipReason::kLossTooLarge:
      return "loss_too_large";
    case SkipReason::kNotObserved:
      return "not_observed";
    case SkipReason::kWouldGrow:
      return "would_grow";
    case SkipReason::kNotFollowed:
      return "not_followed";
  }
  return "unknown";
}

v1::Skip MakeSkip(SkipReason reason, std::string_view tensor, std::string_view node,
                  std::string_view detail) {
  v1::Skip skip;
  skip.set_tensor(std::string(tensor));
  skip.set_node(std::string(node));
  skip.set_reason(std::string(SkipReasonName(reason)));
  skip.set_detail(std::string(detail));
  return skip;
}

}  // namespace modelpress
