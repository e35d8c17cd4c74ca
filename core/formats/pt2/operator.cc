// What translations share: see operator.h.
#include "core/formats/pt2/operator.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/base/format_string.h"

namespace modelpress::pt2 {

OperatorContext::OperatorContext(GraphScope* scope, const Node* node)
    : scope_(*scope),
      node_(*node),
      target_(OperatorRegistry::PlainName(node->target)),
      outputs_(node->OutputNames()),
      first_node_(scope->builder().graph().node_size()) {}

std::string_view OperatorContext::name() const {
  const std::string_view target = target_;
  const size_t first = target.find('.');
  if (first == std::string_view::npos) return target;
  return target.substr(first + 1, target.find('.', first + 1) - first - 1);
}

std::string_view OperatorContext::overload() const {
  const std::string_view target = target_;
  const size_t first = target.find('.');
  const size_t second = first == std::string_view::npos ? first : target.find('.', first + 1);
  return second == std::string_view::npos ? "" : target.substr(second + 1);
}

void OperatorContext::Fail(absl::Status status) {
  if (status_.ok()) status_ = std::move(status);
}

void OperatorContext::Refuse(std::string_view reason, std::string_view remedy) {
  Error error(ERROR_REASON_OP_UNSUPPORTED, FormatString("{}: {}", target_, reason));
  error.Op(target_).With("rule", reason);
  if (!remedy.empty()) error.Remedy(remedy);
  Fail(error);
}

void OperatorContext::Malformed(std::string_view reason) {
  Fail(Error(ERROR_REASON_MODEL_MALFORMED,
             FormatString("an operator {} is not valid: {}", target_, reason))
           .Op(target_));
}

bool OperatorContext::Affordable(double elements) {
  constexpr double kMost = 1 << 22, kMostOfAll = 1 << 26;
  conversion().constant_elements += elements;
  if (elements <= kMost && conversion().constant_elements <= kMostOfAll) return true;
  Fail(Error(ERROR_REASON_MODEL_LIMIT,
             FormatString("an operator {} asks for a constant of {} elements", target_, elements))
           .Op(target_)
           .With("limit", "4194304"));
  return false;
}

const Argument* OperatorContext::Find(std::string_view name) const {
  for (const auto& [given, argument] : node_.inputs) {
    if (given == name) return argument.kind == Argument::Kind::kNone ? nullptr : &argument;
  }
  return nullptr;
}

bool OperatorContext::IsTensor(std::string_view name) const {
  const Argument* argument = Find(name);
  return argument != nullptr && argument->kind == Argument::Kind::kTensor;
}

const TensorMeta& OperatorContext::Meta(std::string_view name) const {
  const Argument* argument = Find(name);
  const bool tensor = argument != nullptr && argument->kind == Argument::Kind::kTensor;
  return scope_.Meta(tensor ? std::string_view(argument->text) : std::string_view());
}

int64_t OperatorContext::Extent(std::string_view name, int64_t axis) const {
  const TensorMeta& meta = Meta(name);
  if (axis < 0 || axis >= meta.rank()) return -1;
  return meta.sizes[static_cast<size_t>(axis)].value.value_or(-1);
}

std::string OperatorContext::In(std::string_view name) {
  if (!status_.ok()) return "";
  const Argument* argument = Find(name);
  if (argument == nullptr || argument->kind != Argument::Kind::kTensor) {
    Malformed(FormatString("its tensor '{}' is missing", name));
    return "";
  }
  absl::StatusOr<std::string> value = scope_.Value(argument->text);
  if (value.ok()) return *std::move(value);
  Fail(value.status());
  return "";
}

std::string OperatorContext::Number(DataType type, double value) {
  if (!status_.ok()) return "";
  switch (type) {
    case DataType::kFloat:
    case DataType::kDouble:
    case DataType::kBool:
      return model().ScalarOf(type, value);
    case DataType::kFloat16:
    case DataType::kBfloat16:
    case DataType::kFloat8E4M3FN:
    case DataType::kFloat8E5M2:
      return builder().Cast(model().Float(static_cast<float>(value)), type);
    default:
      break;
  }
  // Within what every conversion below takes.
  if (!(std::abs(value) < 9e18)) {
    Refuse("a number does not fit the integer type that it is given");
    return "";
  }
  const int64_t whole = static_cast<int64_t>(value);
  if (type == DataType::kInt64) return model().Int64(whole);
  if (type == DataType::kInt32 && whole >= std::numeric_limits<int32_t>::min() &&
      whole <= std::numeric_limits<int32_t>::max()) {
    return model().Int32(static_cast<int32_t>(whole));
  }
  return builder().Cast(model().Int64(whole), type);
}

std::string OperatorContext::InAs(std::string_view name, DataType type) {
  if (!status_.ok()) return "";
  const Argument* argument = Find(name);
  if (argument == nullptr) return "";
  switch (argument->kind) {
    case Argument::Kind::kTensor: {
      const std::string value = In(name);
      return status_.ok() ? Cast(value, OnnxType(name), type) : "";
    }
    case Argument::Kind::kInt:
      if (type == DataType::kInt64) return model().Int64(argument->ints[0].value);
      return Number(type, static_cast<double>(argument->ints[0].value));
    case Argument::Kind::kFloat:
      return Number(type, argument->floats[0]);
    case Argument::Kind::kBool:
      return Number(type, argument->bools[0] ? 1 : 0);
    case Argument::Kind::kSymInt:
      return Cast(Scalar({.name = argument->text}), DataType::kInt64, type);
    default:
      Refuse(FormatString("its argument '{}' is neither a tensor nor a number", name));
      return "";
  }
}

const std::vector<std::string>& OperatorContext::List(std::string_view name) const {
  static const std::vector<std::string>* const none = new std::vector<std::string>;
  const Argument* argument = Find(name);
  return argument == nullptr ? *none : argument->names;
}

Names OperatorContext::ListAs(std::string_view name, DataType type) {
  Names values;
  for (const std::string& tensor : List(name)) {
    absl::StatusOr<std::string> value = tensor.empty() ? std::string() : scope_.Value(tensor);
    if (!value.ok()) {
      Fail(value.status());
      return {};
    }
    values.push_back(tensor.empty() ? ""
                                    : Cast(*value, ToOnnxType(scope_.Meta(tensor).type), type));
  }
  return values;
}

ScalarType OperatorContext::Common(std::initializer_list<std::string_view> names) const {
  std::vector<Operand> operands;
  const auto add = [&](const std::string& tensor) {
    if (tensor.empty()) return;
    const TensorMeta& meta = scope_.Meta(tensor);
    operands.push_back(
        {meta.type, meta.rank() == 0 ? Operand::Class::kZeroDimTensor : Operand::Class::kTensor});
  };
  for (const std::string_view name : names) {
    const Argument* argument = Find(name);
    if (argument == nullptr) continue;
    switch (argument->kind) {
      case Argument::Kind::kTensor:
        add(argument->text);
        break;
      case Argument::Kind::kTensors:
        for (const std::string& tensor : argument->names) add(tensor);
        break;
      case Argument::Kind::kFloat:
      case Argument::Kind::kSymFloat:
        operands.push_back({ScalarType::kFloat32, Operand::Class::kNumber});
        break;
      case Argument::Kind::kBool:
      case Argument::Kind::kSymBool:
        operands.push_back({ScalarType::kBool, Operand::Class::kNumber});
        break;
      default:
        operands.push_back({ScalarType::kInt64, Operand::Class::kNumber});
    }
  }
  return ResultType(operands);
}

std::optional<int64_t> OperatorContext::Known(const SymInt& value) const {
  return value.name.empty() ? std::optional(value.value) : scope_.Integer(value.name);
}

int64_t OperatorContext::Int(std::string_view name, int64_t otherwise) {
  const Argument* argument = Find(name);
  if (argument == nullptr) return otherwise;
  switch (argument->kind) {
    case Argument::Kind::kInt:
      return argument->ints[0].value;
    case Argument::Kind::kBool:
      return argument->bools[0] ? 1 : 0;
    case Argument::Kind::kInts:
      if (argument->ints.size() == 1) {
        if (const auto known = Known(argument->ints[0]); known.has_value()) return *known;
      }
      break;
    case Argument::Kind::kSymInt:
      if (const auto known = Known({.name = argument->text}); known.has_value()) return *known;
      break;
    case Argument::Kind::kFloat:
      if (std::abs(argument->floats[0]) < 9e18) return static_cast<int64_t>(argument->floats[0]);
      break;
    default:
      break;
  }
  Refuse(FormatString("its argument '{}' is not known before the model runs", name),
         "export the model with fixed sizes, or give --input-shape");
  return otherwise;
}

double OperatorContext::Float(std::string_view name, double otherwise) {
  const Argument* argument = Find(name);
  if (argument == nullptr) return otherwise;
  switch (argument->kind) {
    case Argument::Kind::kFloat:
      return argument->floats[0];
    case Argument::Kind::kInt:
      return static_cast<double>(argument->ints[0].value);
    case Argument::Kind::kBool:
      return argument->bools[0] ? 1 : 0;
    default:
      Refuse(FormatString("its argument '{}' is not known before the model runs", name));
      return otherwise;
  }
}

bool OperatorContext::Bool(std::string_view name, bool otherwise) const {
  const Argument* argument = Find(name);
  if (argument == nullptr) return otherwise;
  if (argument->kind == Argument::Kind::kBool) return argument->bools[0];
  if (argument->kind == Argument::Kind::kInt) return argument->ints[0].value != 0;
  return otherwise;
}

std::string OperatorContext::Text(std::string_view name, std::string_view otherwise) const {
  const Argument* argument = Find(name);
  return argument != nullptr && argument->kind == Argument::Kind::kText ? argument->text
                                                                        : std::string(otherwise);
}

Ints OperatorContext::IntList(std::string_view name) {
  const Argument* argument = Find(name);
  if (argument == nullptr) return {};
  if (argument->kind != Argument::Kind::kInts) return {Int(name, 0)};
  Ints result;
  for (const SymInt& value : argument->ints) {
    const std::optional<int64_t> known = Known(value);
    if (!known.has_value()) {
      Refuse(FormatString("its argument '{}' is not known before the model runs", name),
             "export the model with fixed sizes, or give --input-shape");
    }
    result.push_back(known.value_or(0));
  }
  return result;
}

Ints OperatorContext::Spatial(std::string_view name, int count, int64_t otherwise) {
  Ints values = IntList(name);
  const size_t wanted = static_cast<size_t>(std::max(count, 0));
  if (values.empty()) return Ints(wanted, otherwise);
  if (values.size() == 1) values.resize(wanted, values[0]);
  if (values.size() != wanted)
    Malformed(FormatString("its argument '{}' has another length than its axes", name));
  values.resize(wanted, otherwise);
  return values;
}

int64_t OperatorContext::Axis(std::string_view name, int64_t otherwise, int rank) {
  const int64_t written = Int(name, otherwise);
  const int64_t axis = written < 0 ? written + std::max(rank, 1) : written;
  if (axis >= 0 && axis < std::max(rank, 1)) return axis;
  Malformed(FormatString("axis {} does not exist at rank {}", written, rank));
  return 0;
}

Ints OperatorContext::Axes(std::string_view name, int rank) {
  Ints axes = IntList(name);
  if (axes.empty()) {
    axes.resize(static_cast<size_t>(std::max(rank, 0)));
    std::iota(axes.begin(), axes.end(), 0);
    return axes;
  }
  for (int64_t& axis : axes) {
    const int64_t written = axis;
    if (axis < 0) axis += std::max(rank, 1);
    if (axis < 0 || axis >= std::max(rank, 1)) {
      Malformed(FormatString("axis {} does not exist at rank {}", written, rank));
      return {};
    }
  }
  if (rank == 0) return {};
  std::ranges::sort(axes);
  axes.erase(std::unique(axes.begin(), axes.end()), axes.end());
  return axes;
}

std::string OperatorContext::Scalar(const SymInt& value) {
  if (!status_.ok()) return "";
  if (const std::optional<int64_t> known = Known(value); known.has_value())
    return model().Int64(*known);
  absl::StatusOr<std::string> name = scope_.Value(value.name);
  if (name.ok()) return *std::move(name);
  Fail(name.status());
  return "";
}

std::string OperatorContext::IntVector(const std::vector<SymInt>& values) {
  Names parts;
  Ints numbers;
  const auto flush = [&] {
    if (!numbers.empty()) parts.push_back(Ints64(numbers));
    numbers.clear();
  };
  for (const SymInt& value : values) {
    if (const std::optional<int64_t> known = Known(value); known.has_value()) {
      numbers.push_back(*known);
    } else {
      flush();
      parts.push_back(Reshape(Scalar(value), Ints{1}));
    }
  }
  flush();
  return parts.empty() ? Ints64({}) : Concat(std::move(parts), 0);
}

std::string OperatorContext::IntVector(std::string_view name) {
  const Argument* argument = Find(name);
  if (argument != nullptr && argument->kind == Argument::Kind::kSymInt)
    return IntVector({SymInt{.name = argument->text}});
  if (argument != nullptr) return IntVector(argument->ints);
  return Ints64({});
}

DataType ComputeType(ScalarType type) {
  switch (type) {
    case ScalarType::kBfloat16:
    case ScalarType::kFloat8E4M3FN:
    case ScalarType::kFloat8E5M2:
      return DataType::kFloat;
    case ScalarType::kBool:
    case ScalarType::kUint8:
    case ScalarType::kInt8:
    case ScalarType::kInt16:
    case ScalarType::kUint16:
      return DataType::kInt32;
    default:
      return ToOnnxType(type);
  }
}

DataType FloatOnly(ScalarType type) {
  return type == ScalarType::kFloat16 ? DataType::kFloat16 : DataType::kFloat;
}

}  // namespace modelpress::pt2
