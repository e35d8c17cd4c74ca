// Values and layouts of a graph under translation: see conversion.h.
#include "core/formats/tflite/conversion.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {
namespace {

constexpr uint64_t kMaxOperators = 1 << 18;

std::string BaseName(const SourceTensor& tensor, int graph, int index) {
  if (!tensor.name.empty()) return std::string(tensor.name);
  return absl::StrCat("tensor_", graph == 0 ? "" : absl::StrCat(graph, "_"), index);
}

// Complex tensors have an axis of two behind the others: only operators that count axes from the front let them through.
bool TakesComplex(BuiltinOperator code) {
  switch (code) {
    case BuiltinOperator::RFFT2D:
    case BuiltinOperator::COMPLEX_ABS:
    case BuiltinOperator::REAL:
    case BuiltinOperator::IMAG:
    case BuiltinOperator::RESHAPE:
    case BuiltinOperator::SQUEEZE:
    case BuiltinOperator::EXPAND_DIMS:
    case BuiltinOperator::SLICE:
    case BuiltinOperator::STRIDED_SLICE:
    case BuiltinOperator::CONCATENATION:
      return true;
    default:
      return false;
  }
}

bool HasComplex(const SourceGraph& graph, const SourceOperator& op) {
  const auto is_complex = [&](int tensor) {
    return tensor >= 0 && (graph.tensors[tensor].type == TensorType::COMPLEX64 ||
                           graph.tensors[tensor].type == TensorType::COMPLEX128);
  };
  return std::ranges::any_of(op.inputs, is_complex) || std::ranges::any_of(op.outputs, is_complex);
}

// What nodes and values in between are named after. Names of fused operators are those of all their parts, which would be
// repeated at every node: the first part, and of that the end, is enough.
std::string ShortName(std::string_view name) {
  name = name.substr(0, name.find(';'));
  size_t start = name.rfind('/');
  if (start != std::string_view::npos && start > 0) start = name.rfind('/', start - 1);
  return std::string(start == std::string_view::npos ? name : name.substr(start + 1));
}

absl::Status Unknown(const OperatorContext& context) {
  const SourceOperator& op = context.op();
  if (op.code != BuiltinOperator::CUSTOM) {
    return context.Unsupported("it is not translated",
                               "cut the model before it, and compute it outside of the model");
  }
  if (op.custom.starts_with("Flex")) {
    return context.Unsupported("it is an operator of TensorFlow, not of TensorFlow Lite",
                               "export the model with TFLITE_BUILTINS only, without SELECT_TF_OPS");
  }
  return context.Unsupported("no custom operator of this name is known",
                             "build the model from builtin operators, or cut it before this one");
}

bool IsIdentity(const std::vector<int64_t>& perm) {
  for (size_t i = 0; i < perm.size(); ++i) {
    if (perm[i] != static_cast<int64_t>(i)) return false;
  }
  return true;
}

}  // namespace

std::vector<int64_t> ChannelsFirstPermutation(int rank) {
  std::vector<int64_t> perm = {0, rank - 1};
  for (int64_t i = 1; i < rank - 1; ++i) perm.push_back(i);
  return perm;
}

std::vector<int64_t> ChannelsLastPermutation(int rank) {
  std::vector<int64_t> perm = {0};
  for (int64_t i = 2; i < rank; ++i) perm.push_back(i);
  perm.push_back(1);
  return perm;
}

GraphScope::GraphScope(Conversion* conversion, int graph_index, import::GraphBuilder* builder)
    : conversion_(*conversion),
      graph_(conversion->source.graphs[graph_index]),
      graph_index_(graph_index),
      builder_(*builder),
      values_(graph_.tensors.size()) {
  effective_.reserve(graph_.tensors.size());
  for (const SourceTensor& tensor : graph_.tensors) effective_.push_back(&tensor);
  makers_.resize(graph_.tensors.size());
  reads_.resize(graph_.tensors.size());
  for (const SourceOperator& op : graph_.operators) {
    for (const int output : op.outputs) makers_[output] = &op;
    for (const int input : op.inputs) {
      if (input >= 0) ++reads_[input];
    }
  }
  for (const int output : graph_.outputs) ++reads_[output];
}

absl::StatusOr<std::string> GraphScope::Raw(int tensor) {
  // The result of a DEQUANTIZE of a constant.
  if (effective_[tensor]->type != graph_.tensors[tensor].type) return Real(tensor);
  if (!values_[tensor].empty()) return values_[tensor];
  if (Tensor(tensor).constant) return AddConstant(tensor);
  if (Tensor(tensor).is_variable) {
    return Error(ERROR_REASON_OP_UNSUPPORTED,
                 "the operator reads a state tensor that no operator here keeps")
        .Tensor(Tensor(tensor).name);
  }
  return Error(ERROR_REASON_INTERNAL_BUG, "a tensor is read before it was made")
      .Tensor(Tensor(tensor).name);
}

absl::StatusOr<std::string> GraphScope::AddConstant(int index) {
  const std::pair<int, int> key(graph_index_, index);
  if (const auto found = conversion_.constants.find(key); found != conversion_.constants.end()) {
    return values_[index] = found->second;
  }
  const SourceTensor& tensor = Tensor(index);
  if (tensor.sparsity != nullptr) {
    MP_ASSIGN_OR_RETURN(effective_[index], Densify(conversion_, tensor));
    return AddConstant(index);
  }
  const DataType type = ToOnnxType(tensor.type);
  if (type == DataType::kUndefined || type == DataType::kString) {
    return Error(ERROR_REASON_OP_UNSUPPORTED, FormatString("constants of type {} are not known",
                                                           schema::EnumNameTensorType(tensor.type)))
        .Tensor(tensor.name)
        .Remedy("string tensors belong to text processing: keep that outside of the model");
  }
  const std::string name = BaseName(tensor, graph_index_, index);
  MP_ASSIGN_OR_RETURN(std::string value,
                      builder_.model().Weight(name, type, tensor.shape, tensor.data));
  conversion_.constants[key] = value;
  return values_[index] = value;
}

absl::StatusOr<std::string> GraphScope::Real(int tensor) {
  if (const auto found = reals_.find(tensor); found != reals_.end()) return found->second;
  if (Tensor(tensor).constant && Tensor(tensor).sparsity != nullptr) {
    MP_ASSIGN_OR_RETURN(effective_[tensor], Densify(conversion_, Tensor(tensor)));
  }
  const SourceTensor& source = Tensor(tensor);
  std::string real;
  if (StaysHalf(source)) {
    MP_ASSIGN_OR_RETURN(const std::string half, AddConstant(tensor));
    real = builder_.Cast(half, DataType::kFloat);
  } else if (source.constant && source.type == TensorType::FLOAT16) {
    std::vector<int64_t> perm(source.shape.size());
    std::iota(perm.begin(), perm.end(), 0);
    MP_ASSIGN_OR_RETURN(real, AddPermuted(source, perm));
  } else if (IsQuantized(source)) {
    std::string codes;
    if (source.constant) {
      MP_ASSIGN_OR_RETURN(codes, AddConstant(tensor));
    } else {
      MP_ASSIGN_OR_RETURN(codes, Raw(tensor));
    }
    MP_ASSIGN_OR_RETURN(real, Dequantize(codes, source, source.quantization->axis));
  } else {
    MP_ASSIGN_OR_RETURN(real, Raw(tensor));
  }
  reals_[tensor] = real;
  return real;
}

absl::StatusOr<std::string> GraphScope::Permuted(int index, const std::vector<int64_t>& perm) {
  const SourceTensor& tensor = Tensor(index);
  if (tensor.constant && tensor.sparsity != nullptr) {
    MP_ASSIGN_OR_RETURN(effective_[index], Densify(conversion_, tensor));
    return Permuted(index, perm);
  }
  const bool blocks = tensor.quantization.has_value() && tensor.quantization->block_size > 0;
  if (!tensor.constant || blocks || IsIdentity(perm)) {
    MP_ASSIGN_OR_RETURN(const std::string real, Real(index));
    return builder_.Transpose(real, perm);
  }
  MP_ASSIGN_OR_RETURN(const std::string codes, AddPermuted(tensor, perm));
  if (StaysHalf(tensor)) return builder_.Cast(codes, DataType::kFloat);
  if (!IsQuantized(tensor)) return codes;
  const auto axis = std::ranges::find(perm, tensor.quantization->axis) - perm.begin();
  return Dequantize(codes, tensor, static_cast<int>(axis));
}

std::string GraphScope::ChannelsFirst(const std::string& given, int rank) {
  const std::string value = builder_.model().Current(given);
  const auto found = channels_first_.find(value);
  if (found != channels_first_.end()) return found->second;
  return channels_first_[value] = builder_.Transpose(value, ChannelsFirstPermutation(rank));
}

std::string GraphScope::ChannelsLast(const std::string& value, int rank) {
  return builder_.Transpose(value, ChannelsLastPermutation(rank));
}

absl::Status GraphScope::TranslateOperators() {
  // Graphs that name each other twice would double with every level.
  conversion_.translated += graph_.operators.size() + 1;
  if (conversion_.translated > kMaxOperators) {
    return Error(ERROR_REASON_MODEL_LIMIT,
                 "the graphs of the model, each in place of its callers, have too many operators")
        .With("limit", std::to_string(kMaxOperators));
  }
  for (const SourceOperator& op : graph_.operators) {
    if (conversion_.context.cancellation != nullptr)
      MP_RETURN_IF_ERROR(conversion_.context.cancellation->Check());
    const std::string node =
        op.outputs.empty() ? op.name()
                           : BaseName(graph_.tensors[op.outputs[0]], graph_index_, op.outputs[0]);
    builder_.SetScope(ShortName(node));
    OperatorContext context(this, &op);
    const Translate translate = OperatorRegistry::Get().Find(op);
    absl::Status status;
    if (translate == nullptr) {
      status = Unknown(context);
    } else if (HasComplex(graph_, op) && !TakesComplex(op.code)) {
      status = context.Unsupported("it takes complex numbers");
    } else {
      status = translate(context);
      // More outputs than the operator has, and one of them is read.
      const bool lacks = std::ranges::any_of(op.outputs, [&](int output) {
        return reads_[output] > 0 && !IsBound(output) && !Tensor(output).constant;
      });
      if (status.ok() && lacks) status = context.Unsupported("it has more outputs than are known");
    }
    if (ReasonOf(status) == ERROR_REASON_OP_UNSUPPORTED && !status.ok()) {
      conversion_.refusals.Add(op.name(), node, status);
    } else if (!status.ok()) {
      return Annotate(Annotate(status, "op", op.name()), "node", node);
    }
    // So that what follows can be looked at as well.
    for (const int output : op.outputs) {
      if (!IsBound(output) && !Tensor(output).constant)
        Bind(output, builder_.model().UniqueValue("refused"));
    }
  }
  return absl::OkStatus();
}

}  // namespace modelpress::tflite
