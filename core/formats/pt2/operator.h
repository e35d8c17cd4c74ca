// Translating one operator: what a file of ops/ is given, and where it registers.
//
// Each file of ops/ translates a family of ATen operators (https://pytorch.org/docs/stable/torch.html gives what they
// compute; their schemas and default arguments are those of aten/src/ATen/native/native_functions.yaml). Arguments are
// asked for by their names in the schema; files leave out those that have their default.
//
// Errors are kept: the first one is what the operator ends with, and what is asked for after it is empty or zero. So
// translations read straight on, and what they take from lists is of the length that they ask for.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/formats/pt2/conversion.h"
#include "core/formats/pt2/promotion.h"

namespace modelpress::pt2 {

using import::Attributes;
using import::Names;
using Ints = std::vector<int64_t>;

class OperatorContext {
 public:
  OperatorContext(GraphScope* scope, const Node* node);

  GraphScope& scope() { return scope_; }
  Conversion& conversion() { return scope_.conversion(); }
  import::GraphBuilder& builder() { return scope_.builder(); }
  import::ModelBuilder& model() { return scope_.builder().model(); }
  const Node& node() const { return node_; }
  // "aten.add.Tensor"; that of an in-place form without its underscore.
  const std::string& target() const { return target_; }

  // "add": the target without its namespace and overload.
  std::string_view name() const;
  // "Tensor"
  std::string_view overload() const;

  const absl::Status& status() const { return status_; }
  bool ok() const { return status_.ok(); }
  void Fail(absl::Status status);
  // OP_UNSUPPORTED for this operator; reported together with all others.
  void Refuse(std::string_view reason, std::string_view remedy = "");
  void Malformed(std::string_view reason);
  // MODEL_LIMIT for constants of more than 4 Mi elements that a translation would have to make, and of more than 64 Mi that
  // all have made; false if so.
  bool Affordable(double elements);

  // Null where the argument is left out or None.
  const Argument* Find(std::string_view name) const;
  bool Has(std::string_view name) const { return Find(name) != nullptr; }
  bool IsTensor(std::string_view name) const;

  // --- tensors
  const TensorMeta& Meta(std::string_view name) const;
  int Rank(std::string_view name) const { return Meta(name).rank(); }
  ScalarType Type(std::string_view name) const { return Meta(name).type; }
  DataType OnnxType(std::string_view name) const { return ToOnnxType(Type(name)); }
  // The static extent of an axis; -1 where it is not known or the axis does not exist.
  int64_t Extent(std::string_view name, int64_t axis) const;
  // The tensor as it is. Malformed where there is none.
  std::string In(std::string_view name);
  // A tensor, a number or an integer of the graph, as a value of that type; numbers have no axes. "" where it is left out.
  std::string InAs(std::string_view name, DataType type);
  // The names and values of a list of tensors.
  const std::vector<std::string>& List(std::string_view name) const;
  Names ListAs(std::string_view name, DataType type);
  // A number of that type, without axes.
  std::string Number(DataType type, double value);

  // The type that PyTorch computes in: what promotion makes of these arguments (lists of tensors too).
  ScalarType Common(std::initializer_list<std::string_view> names) const;

  // --- numbers; `otherwise` where they are left out
  int64_t Int(std::string_view name, int64_t otherwise);
  double Float(std::string_view name, double otherwise);
  bool Bool(std::string_view name, bool otherwise) const;
  std::string Text(std::string_view name, std::string_view otherwise) const;
  // Refused where one of them is not known before the model runs.
  Ints IntList(std::string_view name);
  // A list of `count` numbers; one number stands for all of them. `otherwise` where it is left out or empty.
  Ints Spatial(std::string_view name, int count, int64_t otherwise);
  // 0 .. rank-1. Of rank 0, 0 is taken as well (rank 1).
  int64_t Axis(std::string_view name, int64_t otherwise, int rank);
  // The axes in a list or number, sorted, each once; all of them where it is left out or empty.
  Ints Axes(std::string_view name, int rank);
  // An integer or list of integers as an int64 vector.
  std::string IntVector(std::string_view name);
  std::string IntVector(const std::vector<SymInt>& values);
  // The number, if it is known.
  std::optional<int64_t> Known(const SymInt& value) const;
  // As a number without axes, int64.
  std::string Scalar(const SymInt& value);

  // --- results
  int output_count() const { return static_cast<int>(outputs_.size()); }
  const TensorMeta& Target(int o = 0) const;
  DataType OutType(int o = 0) const { return ToOnnxType(Target(o).type); }
  // Whether anything reads output o.
  bool Wants(int o) const { return o < output_count() && scope_.IsRead(outputs_[o]); }
  // Gives output o its value, which is of type `type`, in its own type.
  void Out(const std::string& value, DataType type, int o = 0);
  void Out(const std::string& value) { Out(value, OutType()); }
  // What is given to output 0 is 0 in every element.
  void MarkZeros() { zeros_ = true; }
  // Whether the value is known to be 0 in every element.
  bool IsZeros(const std::string& value) const { return scope_.conversion().zeros.contains(value); }
  // The number that every element of the value is, without axes; "" where that is not known.
  std::string FillOf(const std::string& value) const;
  // An integer of the graph.
  void OutScalar(const std::string& value) { Bind(0, value); }

  // Binds what was given, under the outputs' names where this operator made it. Once, at the end.
  void Finish();

  // --- nodes
  std::string Add(std::string_view op, Names inputs, Attributes attributes = {}) {
    return builder().Add(op, std::move(inputs), std::move(attributes));
  }
  std::string Cast(const std::string& value, DataType from, DataType to) {
    return from == to ? value : builder().Cast(value, to);
  }
  std::string Ints64(const Ints& values) { return model().Int64s(std::span(values)); }
  // The elements of `value`, of shape `from`, in shape `to`: a constant shape wherever one says it.
  std::string Reshape(const std::string& value, const TensorMeta& source, const TensorMeta& target);
  std::string Reshape(const std::string& value, const Ints& dims) {
    return builder().Reshape(value, dims);
  }
  std::string Unsqueeze(const std::string& value, const Ints& axes) {
    return axes.empty() ? value : Add("Unsqueeze", {value, Ints64(axes)});
  }
  std::string Squeeze(const std::string& value, const Ints& axes) {
    return axes.empty() ? value : Add("Squeeze", {value, Ints64(axes)});
  }
  std::string Slice(const std::string& value, int64_t axis, int64_t begin, int64_t end,
                    int64_t step = 1) {
    return builder().Slice(value, {begin}, {end}, {axis}, {step});
  }
  std::string Concat(Names values, int64_t axis) {
    return values.size() == 1 ? values[0] : Add("Concat", std::move(values), {{"axis", axis}});
  }
  // The shape of a tensor of the graph as an int64 vector, constant if it is known.
  std::string ShapeOf(std::string_view name);
  std::string ShapeOf(const TensorMeta& meta, const std::string& value);
  // The value broadcast to a shape; a constant up to 1024 elements where it is a number.
  std::string Expand(const std::string& value, const TensorMeta& to);

 private:
  void Bind(int o, const std::string& value);
  // A constant without axes; null for all else, and for parameters and buffers.
  const onnx::TensorProto* NumberConstant(const std::string& value);
  // A number as a constant of that shape; "" where it is none, or of many elements.
  std::string Repeated(const std::string& value, const Ints& dims);

  GraphScope& scope_;
  const Node& node_;
  std::string target_;
  std::vector<std::string> outputs_;
  int first_node_;
  std::vector<std::pair<int, std::string>> results_;
  bool zeros_ = false;
  absl::Status status_;
};

// What the runtime's kernels compute in: float for bfloat16, int32 for integers below 32 bits and bool.
DataType ComputeType(ScalarType type);
// The same for operators that have kernels for float alone: float for every floating type.
DataType FloatOnly(ScalarType type);

using Translate = void (*)(OperatorContext& c);
// The new value of the tensor that output `index` of a view is of, from its present value and the output's new one.
using Undo = std::string (*)(OperatorContext& c, const std::string& parent,
                             const std::string& child, int index);

class OperatorRegistry {
 public:
  struct Entry {
    Translate translate = nullptr;
    // Views only.
    bool view = false;
    Undo undo = nullptr;
  };

  static const OperatorRegistry& Get();
  // What translations know a target by: without "torch.ops.", other names of the same operator, and the underscore of
  // in-place forms.
  static std::string PlainName(std::string_view target);

  // Targets without "torch.ops.": "aten.add.Tensor", or "aten.relu" for every overload of that name.
  void Add(std::string_view target, Translate translate) {
    entries_.emplace(target, Entry{translate});
  }
  void Add(std::initializer_list<std::string_view> targets, Translate translate) {
    for (const std::string_view target : targets) Add(target, translate);
  }
  // Operators whose result shares its input's elements. Without `undo` nothing can be written through them.
  void AddView(std::initializer_list<std::string_view> targets, Translate translate, Undo undo) {
    for (const std::string_view target : targets)
      entries_.emplace(target, Entry{translate, true, undo});
  }
  // Null for operators that nothing translates. `in_place`, if given, receives whether the target is an in-place form; its
  // entry is that of the form without the underscore.
  const Entry* Find(std::string_view target, bool* in_place = nullptr) const;
  const std::map<std::string, Entry, std::less<>>& entries() const { return entries_; }

 private:
  std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace modelpress::pt2
