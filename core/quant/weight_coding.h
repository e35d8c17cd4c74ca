// What the options of quantize_weights mean for one weight.
#pragma once

#include <optional>

#include "core/quant/affine.h"
#include "core/quant/block_weight.h"
#include "core/quant/weight_selection.h"

namespace modelpress {

namespace v1 {
class QuantizeWeights;
}  // namespace v1

// What of the data a method wants.
enum class Calibration {
  kNone,
  kEnergy,   // mean squares of the inputs: scale_estimation
  kGram,     // gptq
  kFactors,  // awq: mean squares too, but it does without data
};

struct WeightCoding {
  // A rule says keep_float.
  bool keep_float = false;
  // int8 and uint8 per channel or tensor: ONNX Runtime's rule (affine.h). Otherwise `block_rule`
  // with `blocks`.
  bool whole_channels = true;
  // It was to have fewer bits, but operators that move values stand before its readers.
  bool moved = false;
  AffineRule affine;
  bool per_channel = true;
  BlockRule block_rule;
  bool is_signed = true;
  BlockChoice blocks;
  Calibration calibration = Calibration::kNone;
};

// The options for all weights with those of the first matching rule over them.
WeightCoding CodingFor(const v1::QuantizeWeights& options, const CandidateWeight& weight);
// The weight with the rule of its coding; its blocks are not chosen yet.
BlockWeight MakeBlockWeight(const CandidateWeight& weight, const WeightCoding& coding);
// Whether some weights may be coded in blocks, and whether some method looks at data.
bool CodesBlocks(const v1::QuantizeWeights& options);
bool UsesData(const v1::QuantizeWeights& options);
// RECIPE_INVALID with the field's path for combinations that mean nothing.
absl::Status ValidateCoding(const v1::QuantizeWeights& options);

}  // namespace modelpress
