// Putting 8-bit codes in the place of a float weight: the part that quantizing passes share.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/model/graph.h"
#include "core/model/model.h"
#include "core/quant/float_values.h"
#include "core/quant/graph_additions.h"
#include "core/quant/quantize_tensor.h"
#include "core/quant/weight_selection.h"

namespace modelpress {

// A weight whose codes are ready.
struct CodedWeight {
  CandidateWeight weight;
  AffineRule rule;
  // Shape before coding; the codes have the same one.
  std::vector<int64_t> dims;
  ChannelLayout layout;
  // One for each channel on `axis`, or a single one without an axis.
  std::vector<AffineParameters> parameters;
  std::optional<size_t> axis;
  WeightRef codes;
  // Decoded by Cast and Mul of constants, which the runtime folds when it loads the model: no time at
  // each call, and as much memory as floats.
  bool decode_at_load = false;
};

// Sets dims, layout and axis from the weight. Where its readers have no common channel axis it gets
// one scale. A skip if scales per channel would outweigh the codes.
std::optional<v1::Skip> ChooseLayout(bool per_channel, CodedWeight* coded);

// Rewrites the graph for all of `weights`: the tensor becomes "<name>_quantized", and its readers
// get
//
//   <name>_quantized, <name>_scale [, <name>_zero_point] -> DequantizeLinear -> <name>
//
// but a Gather along the channel axis gathers codes and scales first and dequantizes only the rows
// it took (the runtime would expand the whole table at every call):
//
//   Gather(codes) -> Cast -> [Sub Gather(zero points) ->] Mul Gather(scales)
//
// Where operators that only move values stand between the constant and its readers, the codes are
// decoded by Cast and Mul as well. ONNX Runtime 1.21 moves a DequantizeLinear through Unsqueeze and
// Transpose and then computes an LSTM wrongly (per tensor) or ends in bad_alloc (per channel); and
// Cast and Mul of constants it folds at load, so that these weights cost no time at each call.
//
// Scales are float32; where the weight was float16 or bfloat16, a Cast to that follows (a float16
// scale would round every value once more, and small ones away).
//
// Zero points are left out where all are 0 and the type is int8. Needs opset 13 for weights with an
// axis, else 10. GraphAdditions::Finish completes the rewriting.
absl::Status ReplaceByCodes(const std::vector<CodedWeight>& weights, GraphAdditions& additions);

// Raises the opset to 13, which a DequantizeLinear per channel needs, if it is older; the note says
// so. Where the converter cannot do that and the opset is at least 10, the model stays as it is and
// `*per_channel` becomes false. OPSET_UNSUPPORTED otherwise.
absl::Status PrepareOpset(Model& model, bool* per_channel,
                          google::protobuf::RepeatedPtrField<std::string>* notes);

// "int8 per channel, axis 0, 64 scales".
std::string Describe(const CodedWeight& weight);

}  // namespace modelpress
