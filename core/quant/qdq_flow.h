// Where activations of a quantized graph are codes, and on which grid.
#pragma once

#include <map>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "core/quant/qdq_layers.h"

namespace modelpress {

// A HardSigmoid whose codes follow from its input's by clipping: alpha > 0, 0 <= beta <= 1.
bool IsClippingToUnit(const onnx::NodeProto& node);

// Two ways for a value to be quantized:
//
//   stored   maker -> QuantizeLinear -> DequantizeLinear -> every reader. Outputs of Convs (behind a
//            Relu or Clip that the grid's own clipping replaces), and what the runtime computes from
//            codes alone: pooling, Add, Mul, Concat, Sigmoid, LeakyRelu and HardSigmoid (see
//            qdq_rewrite.h) of stored values, and operators that only move values, which keep the
//            grid of their input. Only where some layer reads it in the end.
//   edge     maker -> value -> QuantizeLinear -> DequantizeLinear -> layers; other readers see floats.
//
// The decisions depend on the graph and on which layers are active, not on ranges. Pointers of
// `index` and `model` must stay valid.
class QdqFlow {
 public:
  // `symmetric`: grids are symmetric about 0 and do not clip as a Relu does.
  QdqFlow(Model& model, const GraphIndex& index, const std::vector<QdqLayer>& layers,
          const std::vector<bool>& active, bool symmetric);

  // Stored values in the order of the model, with the value whose range their grid covers.
  const std::vector<std::pair<ValueKey, ValueKey>>& stored() const { return order_; }
  // For activation input `input` of an active layer: where its value is defined, and the value whose
  // range its grid covers; stored or not.
  struct Reading {
    ValueKey value;
    ValueKey grid;
    bool stored = false;
  };
  Reading Read(const QdqLayer& layer, int input) const;
  // The value that is stored for a layer that quantizes its output.
  ValueKey Output(const QdqLayer& layer) const;

  // The graph of a path, and the node that makes a value of it (null for inputs).
  onnx::GraphProto* Graph(const std::string& path) const;
  onnx::NodeProto* Node(const ValueKey& output) const;

 private:
  ValueKey KeyOf(const onnx::GraphProto& scope, const std::string& name) const;
  std::string BehindActivation(const onnx::GraphProto& graph, std::string name) const;
  void FindWanted(const std::vector<QdqLayer>& layers, const std::vector<bool>& active);
  bool ReadsConstant(const onnx::GraphProto& graph, const onnx::NodeProto& node) const;
  void Store(const ValueKey& value, const ValueKey& grid);
  void Propagate(const onnx::GraphProto& graph, const onnx::NodeProto& node);

  Model& model_;
  const GraphIndex& index_;
  bool symmetric_;
  GraphPaths paths_;
  std::map<std::string, onnx::GraphProto*> graphs_;
  std::map<ValueKey, ValueKey> stored_;
  std::vector<std::pair<ValueKey, ValueKey>> order_;
  std::map<ValueKey, bool> wanted_;
};

}  // namespace modelpress
