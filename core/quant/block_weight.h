// A weight as packed codes of few bits, and the nodes that read them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/quant/encode_blocks.h"
#include "core/quant/graph_additions.h"
#include "core/quant/weight_selection.h"

namespace modelpress {

// A weight whose codes are ready or being made.
struct BlockWeight {
  CandidateWeight weight;
  BlockRule rule;
  // For reports.
  std::string method;
  // int4 and int8 rather than uint4 and uint8.
  bool is_signed = true;
  CodeLayout form = CodeLayout::kTensor;
  // Shape before coding.
  std::vector<int64_t> dims;
  // The axis along which blocks lie; with one scale per channel the channels' axis.
  size_t axis = 0;
  bool per_channel = false;
  BlockLayout layout;
  // What rows were multiplied with before they were coded; the inputs are divided by it. Empty: 1.
  std::vector<float> row_factors;
  // Empty zero points are left out: 0 of a signed type, 8 of MatMulNBits.
  WeightRef codes, scales, zero_points;

  // What is subtracted from a code when it is stored; see CodeWriter.
  int offset() const;
  bool has_zero_points() const;
};

// How a weight is to be cut: block_size 0 gives one scale per channel. `matmul_nbits`: that form
// where every reader can have it.
struct BlockChoice {
  uint64_t block_size = 32;
  bool matmul_nbits = false;
};

// Sets dims, axis, layout, form; a skip if the weight cannot be coded so. Weights whose block axis
// is shorter than 16 get a scale per channel (if they have channels), embedding tables always get
// blocks, since that is what their operator reads.
std::optional<v1::Skip> ChooseBlocks(const BlockChoice& choice, BlockWeight* weight);

// Takes room for codes, scales and zero points in the arena, all zero.
absl::StatusOr<CodeWriter> MakeCodeWriter(WeightArena& arena, BlockWeight* weight);

// Rewrites the readers of all of `weights`:
//
//   <name>_quantized, <name>_scale [, <name>_zero_point] -> DequantizeLinear -> <name>
//
// with axis and block_size (opset 21, IR version 10), or MatMul and Gemm become com.microsoft.MatMulNBits, which reads the codes
// itself, with an Add for the Gemm's summand. A Gather of rows becomes com.microsoft.GatherBlockQuantized over the same tensors (the
// runtime would expand the whole table at every call). Where rows have factors, a Mul takes them back
// from the input. GraphAdditions::Finish completes it; the
// caller has the versions right (RequireDomains).
absl::Status ReplaceByBlocks(const std::vector<BlockWeight>& weights, GraphAdditions& graph);

// Whether some weight needs a DequantizeLinear of opset 21.
bool NeedsOpset21(const BlockWeight& weight);
// Imports com.microsoft where its operators will be used, and raises the IR version to what 4-bit
// types need (10).
void RequireDomains(Model& model, const std::vector<BlockWeight>& weights);

// "int4, blocks of 32 on axis 0, kquant".
std::string Describe(const BlockWeight& weight);

}  // namespace modelpress
