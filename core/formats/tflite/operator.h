// Translating one operator: what a file of ops/ is given, and where it registers.
//
// Each file of ops/ translates one operator or family. Its functions take an OperatorContext and add nodes; what a graph
// holds of values, layouts and quantization is behind it. A file says for each operator the versions and types that it
// takes and what becomes of it; semantics are those of LiteRT's reference kernels.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/formats/tflite/conversion.h"

namespace modelpress::tflite {

using import::Attributes;
using import::Names;

class OperatorContext {
 public:
  OperatorContext(GraphScope* scope, const SourceOperator* op) : scope_(*scope), op_(*op) {}

  GraphScope& scope() { return scope_; }
  Conversion& conversion() { return scope_.conversion(); }
  import::GraphBuilder& builder() { return scope_.builder(); }
  import::ModelBuilder& model() { return scope_.builder().model(); }
  const SourceOperator& op() const { return op_; }
  // The operator's options; all defaults where the file leaves them out. Callers name the table's type.
  template <typename T>
  const T& Options() const {
    if (const T* options = op_.table->builtin_options_as<T>(); options != nullptr) return *options;
    return *reinterpret_cast<const T*>(kEmptyTable + 4);
  }

  // The same for the tables of newer operators (STABLEHLO_* and those after them).
  template <typename T>
  const T& Options2() const {
    if (const T* options = op_.table->builtin_options_2_as<T>(); options != nullptr)
      return *options;
    return *reinterpret_cast<const T*>(kEmptyTable + 4);
  }

  int input_count() const { return static_cast<int>(op_.inputs.size()); }
  int output_count() const { return static_cast<int>(op_.outputs.size()); }
  bool Has(int i) const { return i < input_count() && op_.inputs[i] >= 0; }
  const SourceTensor& Source(int i) const { return scope_.Tensor(op_.inputs[i]); }
  const SourceTensor& Target(int o = 0) const { return scope_.graph().tensors[op_.outputs[o]]; }
  bool IsConstant(int i) const { return Has(i) && Source(i).constant; }
  // -1 where it is not known.
  int Rank(int i) const {
    return Source(i).has_shape ? static_cast<int>(Source(i).shape.size()) : -1;
  }

  // Numbers of inputs: at least `inputs` of them present and `outputs` written.
  absl::Status Expect(int inputs, int outputs) const;
  // OP_UNSUPPORTED for this operator; it is reported together with all others.
  absl::Status Unsupported(std::string_view reason, std::string_view remedy = "") const;
  absl::Status Malformed(std::string_view reason) const;
  // MODEL_LIMIT for constants of more than 64 Mi elements that a translation would have to make.
  absl::Status Limit(int64_t rows, int64_t columns) const;
  // The rank, or a refusal.
  absl::StatusOr<int> KnownRank(int i) const;
  // A constant's integers or floats (float16 too); refused where the input is not constant. Scalars give one.
  absl::StatusOr<std::vector<int64_t>> Ints(int i) const;
  absl::StatusOr<std::vector<float>> Floats(int i) const;
  // An axis as written -> 0 .. rank-1.
  absl::StatusOr<int64_t> Axis(int64_t written, int rank) const;

  // Input i in real numbers; of integer types that are no codes, as they are. "" where it is absent.
  absl::StatusOr<std::string> In(int i);
  // As stored: codes of quantized tensors stay codes.
  absl::StatusOr<std::string> Raw(int i);
  // A type in which the runtime computes: float for codes, int32 for narrow integers, else the tensor's own.
  DataType ComputeType(const SourceTensor& tensor) const;
  // The type of what In gives.
  DataType RealType(const SourceTensor& tensor) const;
  absl::StatusOr<std::string> InAs(int i, DataType type);
  // An integer vector as int64, constant or not.
  absl::StatusOr<std::string> Int64In(int i);

  // Gives output o its value: real numbers are quantized where the target is, `type` is cast to the target's.
  absl::Status Out(int o, const std::string& value, DataType type = DataType::kFloat);
  absl::Status OutRaw(int o, const std::string& value);
  // For operators that only move elements: codes stay codes where input i and every output have the same.
  bool MovesCodes(int i) const;
  absl::StatusOr<std::string> Moved(int i) { return MovesCodes(i) ? Raw(i) : In(i); }
  absl::Status OutMoved(int i, int o, const std::string& value);

  std::string Add(std::string_view op, Names inputs, Attributes attributes = {}) {
    return builder().Add(op, std::move(inputs), std::move(attributes));
  }
  // The fused activation after `value`, left out where the codes of output 0 cannot leave its range anyway.
  absl::StatusOr<std::string> Activate(const std::string& value,
                                       schema::ActivationFunctionType activation);
  // A bias vector in real numbers; "" if there is none. Integers without a scale of their own have `scale`'s.
  absl::StatusOr<std::string> Bias(int i, int input, int weight);

  // Output o's shape if it has at most `free` unknown extents and can be trusted; used in place of computed shapes.
  std::optional<std::vector<int64_t>> TargetShape(int o, int free) const;

 private:
  alignas(4) static constexpr uint8_t kEmptyTable[] = {4, 0, 4, 0, 4, 0, 0, 0};

  GraphScope& scope_;
  const SourceOperator& op_;
};

using Translate = absl::Status (*)(OperatorContext& context);

class OperatorRegistry {
 public:
  static const OperatorRegistry& Get();

  void Add(BuiltinOperator code, Translate translate) { builtin_[code] = translate; }
  // Operators that are only known so that the refusal says what to do.
  void AddRefused(BuiltinOperator code, Translate refuse) { refused_[code] = refuse; }
  void AddCustom(std::string_view name, Translate translate) { custom_.emplace(name, translate); }
  // Of operators that are translated.
  size_t size() const { return builtin_.size() + custom_.size(); }
  std::vector<BuiltinOperator> translated() const { return Codes(builtin_); }
  std::vector<BuiltinOperator> refused() const { return Codes(refused_); }
  // Null for operators that nothing translates.
  Translate Find(const SourceOperator& op) const;

 private:
  using Builtins = std::map<BuiltinOperator, Translate>;
  static std::vector<BuiltinOperator> Codes(const Builtins& operators) {
    std::vector<BuiltinOperator> codes;
    for (const auto& [code, translate] : operators) codes.push_back(code);
    return codes;
  }

  Builtins builtin_, refused_;
  std::map<std::string, Translate, std::less<>> custom_;
};

}  // namespace modelpress::tflite
