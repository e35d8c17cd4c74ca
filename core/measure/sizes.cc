// Elements, zeros and bytes of a model's weights: see Summarise.
#include "core/measure/sizes.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/base/status.h"
#include "core/base/utf8.h"
#include "core/measure/numbers.h"
#include "core/measure/quantized_weights.h"
#include "core/model/graph.h"
#include "core/runtime/session.h"

namespace modelpress {
namespace {

constexpr uint64_t kChunkElements =
    1 << 20;  // even, so that a chunk of 4-bit elements starts at a byte

Tensor View(const Model& model, const onnx::TensorProto& proto) {
  Tensor tensor;
  tensor.type = Type(proto);
  tensor.dims.assign(Dims(proto).begin(), Dims(proto).end());
  if (const auto bytes = model.Bytes(proto); bytes.ok()) tensor.bytes = *bytes;
  return tensor;
}

// One weight to be counted.
struct Weight {
  Tensor values;
  uint64_t elements = 0;
  Tensor zero_points;          // empty: zero is zero
  bool one_zero_point = true;  // all zero points are equal
  int64_t axis = 0, block_size = 0;

  // The zero point of element `index`: per axis, or per block along it (ONNX operator
  // DequantizeLinear).
  double ZeroPoint(uint64_t index) const {
    if (one_zero_point) return zero_points.bytes.empty() ? 0 : ElementAsDouble(zero_points, 0);
    const size_t rank = values.dims.size();
    uint64_t stride = 1;
    for (size_t i = axis + 1; i < rank; ++i) stride *= values.dims[i];
    const uint64_t extent = values.dims[axis];
    const uint64_t along = index / stride % extent;
    if (zero_points.dims.size() < rank || block_size == 0)
      return ElementAsDouble(zero_points, along);
    const uint64_t blocks = (extent + block_size - 1) / block_size;
    const uint64_t outer = index / stride / extent;
    return ElementAsDouble(zero_points,
                           (outer * blocks + along / block_size) * stride + index % stride);
  }
};

// Non-zero elements whose pattern without the sign bit is `Mask`.
template <typename T>
uint64_t CountPatterns(const Tensor& tensor, uint64_t begin, uint64_t end, T mask) {
  uint64_t count = 0;
  for (uint64_t i = begin; i < end; ++i) {
    T value;
    std::memcpy(&value, tensor.bytes.data() + i * sizeof(T), sizeof(T));
    count += (value & mask) != 0;
  }
  return count;
}

uint64_t CountNonzero(const Weight& weight, uint64_t begin, uint64_t end) {
  const Tensor& values = weight.values;
  if (values.bytes.empty()) return 0;
  switch (values.type) {
    case DataType::kFloat:
      return CountPatterns<uint32_t>(values, begin, end, 0x7FFFFFFF);
    case DataType::kFloat16:
    case DataType::kBfloat16:
      return CountPatterns<uint16_t>(values, begin, end, 0x7FFF);
    case DataType::kDouble:
      return CountPatterns<uint64_t>(values, begin, end, ~uint64_t{0} >> 1);
    default:
      break;
  }
  uint64_t count = 0;
  if (weight.one_zero_point && BitsPerElement(values.type) == 8) {
    const auto zero = static_cast<uint8_t>(static_cast<int>(weight.ZeroPoint(0)));
    for (uint64_t i = begin; i < end; ++i)
      count += std::to_integer<uint8_t>(values.bytes[i]) != zero;
    return count;
  }
  for (uint64_t i = begin; i < end; ++i) count += ElementAsDouble(values, i) != weight.ZeroPoint(i);
  return count;
}

absl::StatusOr<Weight> MakeWeight(const Model& model, const onnx::TensorProto& proto,
                                  const QuantizedWeight* quantized) {
  Weight weight;
  MP_ASSIGN_OR_RETURN(weight.elements, ElementCount(Dims(proto)));
  weight.values = View(model, proto);
  if (quantized == nullptr || quantized->zero_point == nullptr) return weight;
  weight.zero_points = View(model, *quantized->zero_point);
  MP_ASSIGN_OR_RETURN(const uint64_t count, ElementCount(weight.zero_points.dims));
  for (uint64_t i = 1; i < count && weight.one_zero_point; ++i) {
    weight.one_zero_point =
        ElementAsDouble(weight.zero_points, i) == ElementAsDouble(weight.zero_points, 0);
  }
  if (weight.one_zero_point) return weight;
  const auto rank = static_cast<int64_t>(weight.values.dims.size());
  weight.axis = quantized->axis < 0 ? quantized->axis + rank : quantized->axis;
  weight.block_size = quantized->block_size;
  // A model whose zero points do not fit its axis does not load anyway: take zero as zero.
  bool fits = weight.axis >= 0 && weight.axis < rank && weight.block_size >= 0;
  if (fits) {
    const uint64_t extent = weight.values.dims[weight.axis];
    if (weight.zero_points.dims.size() < static_cast<size_t>(rank) || weight.block_size == 0) {
      weight.block_size = 0;
      fits = count >= extent;
    } else {
      const uint64_t blocks = (extent + weight.block_size - 1) / weight.block_size;
      fits = extent > 0 && count >= weight.elements / extent * blocks;
    }
  }
  if (!fits) {
    weight.zero_points = Tensor();
    weight.one_zero_point = true;
  }
  return weight;
}

void Describe(const ValueInfo& value, ValueSummary* summary) {
  summary->set_name(ToUtf8(value.name));
  summary->set_dtype(std::string(value.is_tensor ? DataTypeName(value.type) : "not a tensor"));
  for (size_t i = 0; i < value.dims.size(); ++i) {
    const bool named = i < value.symbols.size() && !value.symbols[i].empty();
    summary->add_shape(value.dims[i] >= 0 ? std::to_string(value.dims[i])
                       : named            ? ToUtf8(value.symbols[i])
                                          : "?");
  }
}

}  // namespace

absl::StatusOr<ModelSummary> Summarise(const Model& model, bool count_nonzero,
                                       const JobContext& context) {
  ModelSummary summary;
  summary.set_opset(static_cast<uint32_t>(std::max<int64_t>(0, model.opset())));
  for (const ValueInfo& value : DeclaredInputs(model)) Describe(value, summary.add_inputs());
  for (const ValueInfo& value : DeclaredOutputs(model)) Describe(value, summary.add_outputs());

  Model copy = model.Clone();  // the index wants a model it could change
  onnx::ModelProto& proto = copy.mutable_proto();
  uint64_t nodes = 0;
  ForEachGraph(proto, [&](onnx::GraphProto& graph, int) { nodes += graph.node_size(); });
  for (const onnx::FunctionProto& function : proto.functions()) nodes += function.node_size();
  summary.set_nodes(nodes);

  const GraphIndex index(proto);
  const QuantizedWeights quantized = FindQuantizedWeights(index, proto);
  const auto shape_tensors = ShapeTensors(proto);
  std::vector<Weight> weights;
  uint64_t parameters = 0, bytes = 0;
  absl::Status failure;
  ForEachTensor(static_cast<const onnx::ModelProto&>(proto), [&](const onnx::TensorProto& tensor) {
    const auto as_quantized = quantized.weights.find(&tensor);
    const bool is_quantized = as_quantized != quantized.weights.end();
    const bool is_side = quantized.scales_and_zero_points.contains(&tensor);
    if (shape_tensors.contains(&tensor)) return;
    if (!is_quantized && !is_side && !IsFloatingPoint(Type(tensor))) return;
    if (const auto data = copy.Bytes(tensor); data.ok()) bytes += data->size();
    if (is_side && !is_quantized) return;  // scales and zero points are no parameters
    absl::StatusOr<Weight> weight =
        MakeWeight(copy, tensor, is_quantized ? &as_quantized->second : nullptr);
    if (!weight.ok()) {
      failure.Update(weight.status());
      return;
    }
    parameters += weight->elements;
    weights.push_back(*std::move(weight));
  });
  MP_RETURN_IF_ERROR(failure);
  summary.set_parameters(parameters);
  summary.set_weight_bytes(bytes);
  if (!count_nonzero) return summary;

  struct Chunk {
    const Weight* weight;
    uint64_t begin;
  };
  std::vector<Chunk> chunks;
  for (const Weight& weight : weights) {
    for (uint64_t i = 0; i < weight.elements; i += kChunkElements) chunks.push_back({&weight, i});
  }
  std::vector<uint64_t> counts(chunks.size());
  MP_RETURN_IF_ERROR(context.pool->ParallelFor(chunks.size(), [&](size_t i) -> absl::Status {
    MP_RETURN_IF_ERROR(context.cancellation->Check());
    const auto [weight, begin] = chunks[i];
    counts[i] = CountNonzero(*weight, begin, std::min(weight->elements, begin + kChunkElements));
    return absl::OkStatus();
  }));
  uint64_t nonzero = 0;
  for (const uint64_t count : counts) nonzero += count;
  summary.set_nonzero_parameters(nonzero);
  return summary;
}

}  // namespace modelpress
