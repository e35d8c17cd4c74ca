// What the recurrent operators share: see recurrent.h.
#include "core/formats/tflite/recurrent.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace modelpress::tflite {
namespace {

bool IsPlainCode(const SourceTensor& tensor) {
  return tensor.constant && tensor.sparsity == nullptr && tensor.type == TensorType::INT8 &&
         IsQuantized(tensor) && tensor.quantization->block_size == 0 &&
         !tensor.quantization->per_axis();
}

}  // namespace

absl::StatusOr<std::string> StackGates(OperatorContext& c,
                                       const std::vector<std::vector<int>>& directions,
                                       std::string_view name) {
  bool codes = true, floats = true;
  int64_t rows = 0;
  std::vector<int64_t> dims = {static_cast<int64_t>(directions.size())};
  for (const std::vector<int>& parts : directions) {
    for (const int i : parts) {
      if (!c.Has(i)) return c.Unsupported("weights of some of its gates are missing");
      const SourceTensor& part = c.Source(i);
      if (!part.is_static() || part.shape.empty() || part.shape != c.Source(parts[0]).shape) {
        return c.Unsupported("the weights of its gates have different shapes");
      }
      codes &= IsPlainCode(part);
      floats &= part.constant && part.sparsity == nullptr && part.type == TensorType::FLOAT32;
    }
    if (c.Source(parts[0]).shape != c.Source(directions[0][0]).shape ||
        parts.size() != directions[0].size()) {
      return c.Unsupported("its directions have different shapes");
    }
  }
  const std::vector<int64_t>& shape = c.Source(directions[0][0]).shape;
  rows = shape[0];
  dims.push_back(rows * static_cast<int64_t>(directions[0].size()));
  dims.insert(dims.end(), shape.begin() + 1, shape.end());
  const std::string scope(c.builder().scope());
  if (codes || floats) {
    std::vector<std::span<const std::byte>> joined;
    uint64_t length = 0;
    std::vector<float> scales;
    std::vector<int8_t> zeros;
    for (const std::vector<int>& parts : directions) {
      for (const int i : parts) {
        const SourceTensor& part = c.Source(i);
        joined.push_back(part.data.bytes());
        length += joined.back().size();
        if (!codes) continue;
        scales.insert(scales.end(), rows, part.quantization->scale[0]);
        zeros.insert(zeros.end(), rows, static_cast<int8_t>(part.quantization->zero_point[0]));
      }
    }
    const bool per_row = codes && directions.size() == 1;
    if (floats || per_row) {
      MP_ASSIGN_OR_RETURN(const WeightArena::Room room, c.model().arena().Allocate(length));
      auto to = room.bytes.begin();
      for (const std::span<const std::byte> bytes : joined) to = std::ranges::copy(bytes, to).out;
      MP_ASSIGN_OR_RETURN(
          const std::string stored,
          c.model().Weight(absl::StrCat(scope, "/", std::string(name)),
                           codes ? DataType::kInt8 : DataType::kFloat, dims, room.weight));
      if (floats) return stored;
      const std::string scale = c.model().Floats(scales, std::span(&dims[1], 1));
      const std::string zero = c.model().Constant(DataType::kInt8, std::span(&dims[1], 1),
                                                  std::as_bytes(std::span(zeros)));
      return c.Add("DequantizeLinear", {stored, scale, zero}, {{"axis", int64_t{1}}});
    }
  }
  Names stacked;
  for (const std::vector<int>& parts : directions) {
    Names gates;
    for (const int i : parts) {
      const SourceTensor& part = c.Source(i);
      if (part.type == TensorType::INT32) {
        MP_ASSIGN_OR_RETURN(gates.emplace_back(), c.Bias(i, 0, parts[0]));
      } else {
        MP_ASSIGN_OR_RETURN(gates.emplace_back(), c.In(i));
      }
    }
    const std::string joined =
        gates.size() == 1 ? gates[0] : c.Add("Concat", std::move(gates), {{"axis", int64_t{0}}});
    stacked.push_back(c.Add("Unsqueeze", {joined, c.model().Int64s({0})}));
  }
  return stacked.size() == 1 ? stacked[0]
                             : c.Add("Concat", std::move(stacked), {{"axis", int64_t{0}}});
}

absl::StatusOr<std::string> StateInput(OperatorContext& c, int input) {
  if (!c.Has(input)) return c.Malformed("its state is missing");
  const SourceTensor& tensor = c.Source(input);
  if (!tensor.is_variable) return c.In(input);
  if (c.conversion().depth > 0) return c.Unsupported("it keeps a state inside of a loop or branch");
  if (!tensor.is_static()) return c.Unsupported("the shape of its state is not known");
  Conversion& conversion = c.conversion();
  const std::string key = absl::StrCat("tensor ", c.op().inputs[input]);
  State& state = conversion.variables[key];
  if (!state.output.empty()) return state.output;
  if (state.input.empty()) {
    MP_ASSIGN_OR_RETURN(const uint64_t elements, ElementCount(tensor.shape));
    MP_RETURN_IF_ERROR(c.Limit(1, static_cast<int64_t>(std::min<uint64_t>(elements, INT64_MAX))));
    const std::vector<float> zeros(elements, 0.0f);
    const std::string name =
        tensor.name.empty() ? c.builder().scope() + "/state" : std::string(tensor.name);
    MP_ASSIGN_OR_RETURN(state.input, c.model().Weight(name, DataType::kFloat, tensor.shape,
                                                      std::as_bytes(std::span(zeros))));
    onnx::ValueInfoProto* value = c.builder().graph().add_input();
    value->set_name(state.input);
    value->mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT);
    for (const int64_t extent : tensor.shape) {
      value->mutable_type()->mutable_tensor_type()->mutable_shape()->add_dim()->set_dim_value(
          extent);
    }
    state.shape = tensor.shape;
    conversion.state_order.push_back(key);
  }
  return state.input;
}

absl::Status StateOutput(OperatorContext& c, int input, const std::string& next) {
  if (!c.Source(input).is_variable) return absl::OkStatus();
  c.conversion().variables[absl::StrCat("tensor ", c.op().inputs[input])].output = next;
  return absl::OkStatus();
}

void NoteZeroStart(OperatorContext& c) {
  c.conversion().notes.push_back(absl::StrCat(c.op().name(), " \"", c.builder().scope(),
                                              "\" begins every inference from zeros"));
}

absl::StatusOr<std::string> RecurrentActivation(OperatorContext& c,
                                                schema::ActivationFunctionType activation) {
  switch (activation) {
    case schema::ActivationFunctionType::TANH:
      return std::string("Tanh");
    case schema::ActivationFunctionType::RELU:
      return std::string("Relu");
    default:
      return c.Unsupported("its activation is neither tanh nor relu",
                           "export the layer unrolled, or with one of these activations");
  }
}

}  // namespace modelpress::tflite
