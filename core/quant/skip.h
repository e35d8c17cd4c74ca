// Why a pass left something alone.
#pragma once

#include <string_view>

#include "modelpress/v1/pass_report.pb.h"

namespace modelpress {

// Why a candidate was left alone. The closed list behind Skip.reason; see SkipReasonName.
enum class SkipReason {
  kTooSmall,            // fewer elements than min_elements
  kNotFloat,            // not a float32 (or float16) weight
  kExcluded,            // by include/exclude/op_types
  kNotFinite,           // holds NaN or infinity
  kAlreadyQuantized,    // already read through DequantizeLinear or another quantized form
  kNoChannelAxis,       // consumers disagree about the channel axis, or there is none
  kUsedAsShape,         // feeds shape arithmetic or control flow
  kGraphOutput,         // the tensor itself is an output of the graph
  kOverridable,         // an initializer that is also a graph input: the caller may replace it
  kOperatorNeedsFloat,  // an operator that reads it has no kernel or schema for the result
  kInsideFunction,      // inside a model-local function shared by several calls
  kConstantTensor,      // all values equal (or all zero): nothing to gain
  kNoProducer,  // the pattern's other half is missing (BatchNormalization without Conv before it)
  kSharedProducer,  // the value between the two nodes has other readers
  kCannotBeScaled,  // something that makes or reads the value does not commute with a factor
  kOtherReaders,    // the weight is read in another way too, so that its floats would have to stay
  kSlower,          // the runtime has a kernel, but it is slower than the float one
  kNothingGained,   // the simple way is as good
  kOutOfRange,      // a value on calibration samples is too large for the new type
  kLossTooLarge,    // measured on calibration samples, it costs more than the limits allow
  kNotObserved,     // no calibration sample came by its values, or they cannot be seen
  kWouldGrow,       // its result takes more bytes than what it is computed from
  kNotFollowed,     // channels that reach an operator, an output or a shape that must stay as it is
};
std::string_view SkipReasonName(SkipReason reason);
v1::Skip MakeSkip(SkipReason reason, std::string_view tensor, std::string_view node,
                  std::string_view detail);

}  // namespace modelpress
