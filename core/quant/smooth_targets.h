// The layers whose inputs SmoothQuant may scale, and the constants before them that can take the
// factors.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/model/graph.h"
#include "core/model/model.h"
#include "modelpress/v1/pass_report.pb.h"

namespace modelpress {

// A layer x W with W [K, N], or [N, K] for a Gemm with transB.
struct SmoothReader {
  onnx::NodeProto* node = nullptr;
  onnx::TensorProto* weight = nullptr;
  std::string weight_name;
  bool transposed = false;
  uint64_t channels = 0;  // K
  uint64_t columns = 0;   // N
};

// A constant behind x that takes the factor: channel c of element (o, c, i) is divided by s_c
// (multiplied where it is a divisor). One number for all channels becomes a vector.
struct SmoothAbsorber {
  onnx::GraphProto* graph = nullptr;
  onnx::NodeProto* node = nullptr;
  int input = -1;
  uint64_t outer = 1, inner = 1;
  bool divisor = false;
  std::optional<float> scalar;
};

struct SmoothTarget {
  onnx::GraphProto* graph = nullptr;  // of the readers
  std::string value;
  uint64_t channels = 0;
  std::vector<SmoothReader> readers;
  // Empty where only a Mul can take the factor, for the reason in `not_absorbed`.
  std::vector<SmoothAbsorber> absorbers;
  std::string not_absorbed;
};

// Values read by MatMul and Gemm with float32 weights of their own, in the order of the model.
// Weights of such layers that cannot take part are skips. Pointers are into `model`, as those of
// `index`.
std::vector<SmoothTarget> FindSmoothTargets(Model& model, const GraphIndex& index,
                                            std::vector<v1::Skip>* skips);

}  // namespace modelpress
