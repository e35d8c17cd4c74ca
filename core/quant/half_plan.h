// Which nodes and values of a float32 graph become float16: the decisions of half_graph.h, before
// anything changes.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "core/model/graph.h"
#include "core/quant/value_types.h"
#include "modelpress/v1/pass_report.pb.h"

namespace modelpress {

class HalfPlan {
 public:
  // `keep_float` may be null. Pointers are into `model`, which must not change while the plan is in
  // use.
  HalfPlan(onnx::ModelProto& model, bool keep_io_types,
           const std::function<bool(const onnx::NodeProto&)>& keep_float);

  const GraphIndex& index() const { return index_; }
  // Whether the value is a float32 tensor before the conversion, and whether it is float16 after
  // it.
  bool IsFloat(const onnx::GraphProto& graph, const std::string& name) const;
  bool IsHalf(const onnx::GraphProto& graph, const std::string& name) const;
  // Whether the node computes in float16, and reads its input `i` so.
  bool Changes(const onnx::NodeProto& node) const { return half_nodes_.contains(&node); }
  bool InputIsHalf(const onnx::GraphProto& graph, const onnx::NodeProto& node, int i) const;
  // Constants that become float16, in the order of the model, and the others with their reasons.
  const std::vector<TensorSite>& constants() const { return constants_; }
  const std::vector<v1::Skip>& skips() const { return skips_; }
  // Nodes with float values that stay as they are, by operator type.
  const std::map<std::string, int>& float_operators() const { return float_operators_; }

 private:
  void SetHalf(const onnx::GraphProto& graph, const std::string& name);
  void KeepSizeArithmetic();
  void Decide(onnx::GraphProto& graph, bool is_main);
  void DecideNode(onnx::GraphProto& graph, const onnx::NodeProto& node);
  bool MayChange(const onnx::GraphProto& graph, const onnx::NodeProto& node) const;
  void ChooseConstants();
  void ChooseConstant(const TensorSite& site);

  onnx::ModelProto& model_;
  bool keep_io_types_;
  const std::function<bool(const onnx::NodeProto&)>& keep_float_;
  GraphIndex index_;
  ValueTypes types_;
  absl::flat_hash_set<const onnx::NodeProto*> size_arithmetic_, half_nodes_;
  // By defining graph and name.
  absl::flat_hash_set<std::pair<const onnx::GraphProto*, std::string>> half_values_;
  std::map<std::string, int> float_operators_;
  std::vector<TensorSite> constants_;
  std::vector<v1::Skip> skips_;
};

}  // namespace modelpress
