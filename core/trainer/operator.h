// Operators of ONNX in terms of libtorch's, differentiable wherever they have a derivative.
//
// A family of operators is one file of operators/ with RegisterOperators_<stem>. Types: float16, bfloat16, float32 and
// double are all computed in the graph's one floating-point type, unsigned integers of 16 and more bits as int32 or int64,
// 4-bit integers as 8-bit ones. What an operator cannot do it throws as an OperatorError (libtorch throws in the same
// places); Graph makes a status of either.
#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/model/graph.h"
#include "core/trainer/aten.h"
#include "onnx/onnx_pb.h"

namespace modelpress::trainer {

using Tensors = std::vector<at::Tensor>;

class OperatorError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// One evaluation of a node.
class OperatorCall {
 public:
  struct Settings {
    // Of the node's domain.
    int64_t opset = 0;
    // What every floating-point type is computed in.
    at::ScalarType float_type = at::kFloat;
    // BatchNormalization by the statistics of the batch, which the stored ones follow.
    bool batch_statistics = false;
    // The node's codes were decoded already: what it reads in their place are the floats.
    bool decoded = false;
  };

  OperatorCall(const onnx::NodeProto& node, const Tensors& inputs, const Settings& settings)
      : node_(node), inputs_(inputs), settings_(settings) {}

  const onnx::NodeProto& node() const { return node_; }
  const Settings& settings() const { return settings_; }
  int64_t opset() const { return settings_.opset; }

  bool Has(size_t input) const { return input < inputs_.size() && inputs_[input].defined(); }
  // Throws where the input is absent.
  const at::Tensor& operator[](size_t input) const;
  const Tensors& inputs() const { return inputs_; }
  bool Wants(int output) const {
    return output < node_.output_size() && !node_.output(output).empty();
  }

  int64_t Int(std::string_view name, int64_t fallback) const {
    return IntAttribute(node_, name, fallback);
  }
  double Float(std::string_view name, float fallback) const {
    return FloatAttribute(node_, name, fallback);
  }
  bool HasAttribute(std::string_view name) const { return FindAttribute(node_, name) != nullptr; }
  std::string String(std::string_view name, std::string_view fallback) const;
  std::vector<int64_t> Ints(std::string_view name, std::vector<int64_t> fallback = {}) const;
  std::vector<double> Floats(std::string_view name) const;
  std::vector<std::string> Strings(std::string_view name) const;
  // The elements of an integer input; `fallback` where it is absent.
  std::vector<int64_t> IntsAt(size_t input, std::vector<int64_t> fallback = {}) const;
  // The attribute where the operator still has it, else the input.
  std::vector<int64_t> IntsOf(std::string_view attribute, size_t input) const;

 private:
  const onnx::NodeProto& node_;
  const Tensors& inputs_;
  const Settings& settings_;
};

using OperatorFunction = Tensors (*)(const OperatorCall& call);

class OperatorRegistry {
 public:
  static const OperatorRegistry& Get();
  // For operators of the default domain, or of `domain`.
  void Add(std::string_view type, OperatorFunction function, std::string_view domain = "");
  // Null if there is none.
  OperatorFunction Find(std::string_view domain, std::string_view type) const;
  // (domain, type) in order.
  const std::map<std::pair<std::string, std::string>, OperatorFunction>& all() const {
    return functions_;
  }

 private:
  std::map<std::pair<std::string, std::string>, OperatorFunction> functions_;
};

// An axis counted from 0; throws if the rank has no such axis.
int64_t Axis(int64_t axis, int64_t rank);
// libtorch's type for an onnx.TensorProto.DataType; throws for strings, complex and 8-bit floats.
at::ScalarType ScalarTypeOf(int32_t onnx_type, at::ScalarType float_type);
// Integers on the CPU.
std::vector<int64_t> ToInts(const at::Tensor& tensor);

}  // namespace modelpress::trainer
