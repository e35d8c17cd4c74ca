// What the rules of opset_lowering.cc share: what is known of the graph, and making nodes and constants.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "core/model/graph.h"
#include "core/model/model.h"

namespace modelpress {

using LoweredNodes = std::vector<onnx::NodeProto>;

class Lowering {
 public:
  // Of the model as it is now; nodes may be replaced afterwards, as each is looked up while it is there.
  Lowering(Model& model, int64_t target);

  int64_t target() const { return target_; }
  // An input's integers, if it is a small constant of them.
  std::optional<std::vector<int64_t>> Integers(const onnx::NodeProto& node, int input) const;
  // Extents, -1 where one is not known; nothing if the rank is not. Values whose name means several things are not known.
  std::optional<std::vector<int64_t>> Shape(const std::string& value) const;
  // kUndefined where it is not known.
  DataType Type(const std::string& value) const;
  bool IsFloat(const std::string& value) const { return Type(value) == DataType::kFloat; }

  // Constants of the main graph; equal ones are one.
  std::string Int64s(const std::vector<int64_t>& values);
  std::string Float(float value);
  std::string Ones(int64_t count);

  // Appends a node like `old` of another operator; its output is new unless `last`, which takes the old one's.
  std::string Append(LoweredNodes* nodes, const onnx::NodeProto& old, std::string_view op,
                     std::vector<std::string> inputs, bool last = false);

 private:
  void Add(const std::string& name, const onnx::TypeProto::Tensor& type);
  std::string Constant(DataType type, std::span<const int64_t> dims,
                       std::span<const std::byte> bytes);

  Model& model_;
  int64_t target_;
  UniqueNames names_;
  absl::flat_hash_map<std::string, onnx::TypeProto::Tensor> types_;
  absl::flat_hash_map<std::pair<const onnx::NodeProto*, std::string>, std::vector<int64_t>>
      constants_;
  absl::flat_hash_map<std::string, std::string> made_;
};

void RemoveAttribute(onnx::NodeProto& node, std::string_view name);
void SetInts(onnx::NodeProto& node, const std::string& name, const std::vector<int64_t>& values);
void SetInt(onnx::NodeProto& node, const std::string& name, int64_t value);
bool HasInput(const onnx::NodeProto& node, int i);
// Absent inputs at the end are not written.
void TrimInputs(onnx::NodeProto& node);

// One rule: the node in older words into `made`; false, and nothing is made, where it does not apply.
using LowerNode = bool (*)(Lowering& lowering, const onnx::NodeProto& node, LoweredNodes* made);
struct LoweringRule {
  std::string_view op;
  int64_t since;  // the version that the rule takes back
  LowerNode lower;
};

// Attributes and inputs that moved or came later (opset_lowering_inputs.cc).
std::span<const LoweringRule> InputRules();
// Operators made of smaller ones (opset_lowering_parts.cc).
std::span<const LoweringRule> PartRules();

}  // namespace modelpress
