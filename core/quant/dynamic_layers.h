// Layers that can run in 8-bit integers with activations quantized when the model runs: which they
// are, the codes of their weights, and the graph that computes with them.
//
// What ONNX Runtime executes (fused at load to DynamicQuantizeMatMul, or to one
// MatMulIntegerToFloat for each reader where several layers read the same value):
//
//   x --> DynamicQuantizeLinear --(codes, scale, zero point)--> MatMulInteger --> Cast --> Mul -->
//   y
//         scale of x times scales of W ------------------------------------------------'
//   x --> DynamicQuantizeLSTM (codes of W and R, transposed) --> y            (com.microsoft, 1)
//
//   x --> DynamicQuantizeLinear --> ConvInteger --> Cast --> Mul (scales) [--> Add (bias)] --> y
//         uint8 codes of W with zero point 128, as its kernel takes one zero point for all channels
//
// One DynamicQuantizeLinear serves all layers of a graph that read the same value.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/model/graph.h"
#include "core/quant/affine.h"
#include "core/quant/quantize_tensor.h"
#include "core/quant/weight_selection.h"

namespace modelpress {

// How an integer operator wants a weight laid out.
enum class DynamicLayout {
  kMatrix,      // [.., K, N]: MatMul, Gemm
  kTransposed,  // Gemm with transB: the floats are [N, K], the codes [K, N]
  kRecurrent,   // LSTM: the floats are [D, 4H, K], the codes [D, K, 4H]
  kKernel,      // Conv: [O, C / group, spatial...]
};

struct DynamicLayer {
  // Places in the order of ForEachGraph and of the graph's nodes: the same in every clone.
  int graph = 0;
  int node = 0;
  std::string name;
  std::string op_type;
  // Into DynamicLayers::weights; an LSTM has two.
  std::vector<size_t> weights;
};

struct DynamicLayers {
  std::vector<CandidateWeight> weights;
  std::vector<DynamicLayout> layouts;  // of each weight
  std::vector<DynamicLayer> layers;
  // Every other floating-point constant that some operator reads.
  std::vector<v1::Skip> skips;
};

// MatMul, Gemm and LSTM, and Conv where `convolutions` says so, whose weights are float32 constants
// that nobody reads in any other way. Pointers are into `model`, as those of `index`. Errors: those
// of SelectWeights.
absl::StatusOr<DynamicLayers> FindDynamicLayers(Model& model, const GraphIndex& index,
                                                const v1::WeightSelection& selection,
                                                bool convolutions);

// Codes of one weight as the operator reads them. Bytes are in scratch.
struct DynamicWeight {
  std::string name;  // of the float weight
  DataType type = DataType::kInt8;
  bool symmetric = true;
  std::vector<int64_t> dims;
  WeightRef codes;
  // Shape of scales and zero points: [], [N], [D] or [D, 4H]; of a Conv's scales [O, 1...].
  std::vector<int64_t> parameter_dims, zero_point_dims;
  WeightRef scales;       // float32
  WeightRef zero_points;  // of the codes' type
  // A value is NaN or infinite: nothing else is meaningful.
  bool finite = true;
  ErrorSums sums;
};

// Where the kernel takes one zero point for all channels (Conv; LSTM with a scale for each), codes are
// symmetric whatever `rule` says.
absl::StatusOr<DynamicWeight> EncodeDynamicWeight(const Model& model, const CandidateWeight& weight,
                                                  DynamicLayout layout, const AffineRule& rule,
                                                  bool per_channel, WeightArena& arena,
                                                  const JobContext& context,
                                                  const ByteProgress& progress);

// Rewrites `layers` of a model, or of a clone of it, in which they were found. `weights` is indexed
// as DynamicLayers::weights. Needs opset 11. The float weights are left to RemoveDead. Pointers into
// the model become invalid.
absl::Status QuantizeDynamicLayers(Model& model, const std::vector<DynamicWeight>& weights,
                                   const std::vector<const DynamicLayer*>& layers,
                                   WeightArena& arena);

}  // namespace modelpress
