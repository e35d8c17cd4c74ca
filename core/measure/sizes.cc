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
  uint64_t parameters = 0;     // elements without padding
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
    const uint64_t blocks = zero_points.dims[axis];
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
  if (weight.one_zero_point && BitsPerElement(values.type) == 4 &&
      values.type != DataType::kFloat4E2M1) {
    // Two to a byte; chunks begin at whole bytes.
    const auto zero = static_cast<uint8_t>(static_cast<int>(weight.ZeroPoint(0)) & 15);
    for (uint64_t i = begin; i < end; i += 2) {
      const auto byte = std::to_integer<uint8_t>(values.bytes[i / 2]);
      count += (byte & 15) != zero;
      count += i + 1 < end && (byte >> 4) != zero;
    }
    return count;
  }
  for (uint64_t i = begin; i < end; ++i) count += ElementAsDouble(values, i) != weight.ZeroPoint(i);
  return count;
}

// The zero point of MatMulNBits without that input.
constexpr std::byte kDefaultZeroPoint{8};

// Codes of com.microsoft.MatMulNBits: 4 bits, column after column, each in whole blocks that are
// filled up with zero points. False if sizes do not add up: such a model does not load.
bool UnpackMatMulNBits(const QuantizedWeight& quantized, Weight* weight) {
  const auto rows = static_cast<uint64_t>(quantized.packed_rows);
  const auto columns = static_cast<uint64_t>(quantized.packed_columns);
  const auto block_size = static_cast<uint64_t>(quantized.block_size);
  constexpr uint64_t kLargest = uint64_t{1} << 31;
  if (rows - 1 >= kLargest || columns - 1 >= kLargest || block_size - 1 >= kLargest) return false;
  const uint64_t blocks = (rows + block_size - 1) / block_size;
  const uint64_t padded = blocks * block_size;
  if (weight->values.bytes.size() != columns * padded / 2) return false;
  weight->values.type = DataType::kUint4;
  weight->values.dims = {quantized.packed_columns, static_cast<int64_t>(padded)};
  weight->elements = columns * padded;
  weight->parameters = columns * rows;
  weight->axis = 1;
  weight->block_size = quantized.block_size;
  Tensor& zero_points = weight->zero_points;
  const uint64_t zero_bytes = columns * ((blocks + 1) / 2);
  if (quantized.zero_point != nullptr && zero_points.bytes.size() != zero_bytes) return false;
  weight->one_zero_point = quantized.zero_point == nullptr;
  if (weight->one_zero_point) {
    zero_points.bytes = {&kDefaultZeroPoint, 1};
    zero_points.type = DataType::kUint8;
    zero_points.dims = {1};
  } else {
    zero_points.type = DataType::kUint4;
    zero_points.dims = {quantized.packed_columns, static_cast<int64_t>((blocks + 1) / 2 * 2)};
  }
  return true;
}

absl::StatusOr<Weight> MakeWeight(const Model& model, const onnx::TensorProto& proto,
                                  const QuantizedWeight* quantized) {
  Weight weight;
  MP_ASSIGN_OR_RETURN(weight.elements, ElementCount(Dims(proto)));
  weight.parameters = weight.elements;
  weight.values = View(model, proto);
  if (quantized == nullptr) return weight;
  if (quantized->zero_point != nullptr) weight.zero_points = View(model, *quantized->zero_point);
  if (quantized->packed_rows > 0) {
    Weight packed = weight;
    return UnpackMatMulNBits(*quantized, &packed) ? packed : weight;
  }
  if (quantized->zero_point == nullptr) return weight;
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
      fits = extent > 0 && weight.zero_points.dims[weight.axis] >= static_cast<int64_t>(blocks) &&
             count >= weight.elements / extent * blocks;
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
    parameters += weight->parameters;
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
