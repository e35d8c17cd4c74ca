// Weights without a graph: see named_tensor.h.
#include "core/formats/weights/named_tensor.h"

#include <cstring>
#include <utility>

#include "core/base/format_string.h"

namespace modelpress {
namespace {

constexpr size_t kMaxRank = 64;
// What a view may have beyond the elements of its storage (expanded tensors are saved with a stride of 0).
constexpr uint64_t kMaxExpansion = uint64_t{1} << 26;

Error Bad(std::string_view name, std::string_view what) {
  return Error(ERROR_REASON_MODEL_MALFORMED, FormatString("tensor '{}' {}", name, what))
      .Tensor(name);
}

// Index of the last element that the view touches, in elements of the storage.
absl::StatusOr<uint64_t> LastElement(std::string_view name, const StridedTensor& tensor) {
  constexpr int64_t kMost = int64_t{1} << 62;
  int64_t last = tensor.offset;
  for (size_t i = 0; i < tensor.dims.size(); ++i) {
    const int64_t steps = tensor.dims[i] - 1, stride = tensor.strides[i];
    if (steps > 0 && stride > 0 && steps > (kMost - last) / stride) {
      return Bad(name, "runs past the end of its storage");
    }
    last += steps * stride;
  }
  return static_cast<uint64_t>(last);
}

bool IsContiguous(const StridedTensor& tensor) {
  int64_t expected = 1;
  for (size_t i = tensor.dims.size(); i-- > 0;) {
    if (tensor.dims[i] == 1) continue;
    if (tensor.strides[i] != expected) return false;
    expected *= tensor.dims[i];
  }
  return true;
}

// Copies the view in row-major order; the innermost axis by a loop of its own.
void CopyStrided(const StridedTensor& tensor, size_t width, std::span<const std::byte> from,
                 std::byte* to) {
  const size_t rank = tensor.dims.size();
  std::vector<int64_t> index(rank, 0);
  const int64_t inner = tensor.dims[rank - 1], step = tensor.strides[rank - 1];
  for (int64_t base = tensor.offset;;) {
    const std::byte* source = from.data() + static_cast<uint64_t>(base) * width;
    for (int64_t i = 0; i < inner; ++i) {
      std::memcpy(to, source + static_cast<uint64_t>(i * step) * width, width);
      to += width;
    }
    size_t axis = rank - 1;
    while (axis-- > 0) {
      base += tensor.strides[axis];
      if (++index[axis] < tensor.dims[axis]) break;
      base -= tensor.strides[axis] * tensor.dims[axis];
      index[axis] = 0;
    }
    if (axis == static_cast<size_t>(-1)) return;
  }
}

}  // namespace

absl::StatusOr<NamedTensor> Materialise(std::string name, const StridedTensor& tensor,
                                        WeightArena& arena) {
  const size_t rank = tensor.dims.size();
  if (tensor.strides.size() != rank) return Bad(name, "has another number of strides than of axes");
  if (rank > kMaxRank) return Bad(name, FormatString("has {} axes", rank));
  if (tensor.offset < 0) return Bad(name, "starts before its storage");
  for (size_t i = 0; i < rank; ++i) {
    if (tensor.dims[i] < 0 || tensor.strides[i] < 0)
      return Bad(name, "has a negative extent or stride");
  }
  const absl::StatusOr<uint64_t> count = ElementCount(tensor.dims);
  if (!count.ok()) return Bad(name, "has more elements than can be");
  const absl::StatusOr<uint64_t> size = ByteCount(tensor.type, *count);
  const int bits = BitsPerElement(tensor.type);
  if (!size.ok() || bits < 8) return Bad(name, "is of a type without whole bytes");
  const size_t width = static_cast<size_t>(bits) / 8;
  NamedTensor result{.name = std::move(name), .type = tensor.type, .dims = tensor.dims};
  if (*count == 0) {
    MP_ASSIGN_OR_RETURN(const WeightArena::Room room, arena.Allocate(0));
    result.data = room.weight;
    return result;
  }
  MP_ASSIGN_OR_RETURN(const uint64_t last, LastElement(result.name, tensor));
  const uint64_t stored = tensor.storage.length / width;
  if (last >= stored) return Bad(result.name, "runs past the end of its storage");
  if (IsContiguous(tensor)) {
    result.data = tensor.storage;
    result.data.offset += static_cast<uint64_t>(tensor.offset) * width;
    result.data.length = *size;
    return result;
  }
  if (*count > stored && *count - stored > kMaxExpansion) {
    return Error(ERROR_REASON_MODEL_LIMIT,
                 FormatString("tensor '{}' expands {} stored elements to {}", result.name, stored,
                              *count))
        .Tensor(result.name);
  }
  MP_ASSIGN_OR_RETURN(const WeightArena::Room room, arena.Allocate(*size));
  if (rank > 0) CopyStrided(tensor, width, tensor.storage.bytes(), room.bytes.data());
  result.data = room.weight;
  return result;
}

absl::StatusOr<Model> ModelOfWeights(const std::vector<NamedTensor>& weights) {
  Model model;
  onnx::ModelProto& proto = model.mutable_proto();
  proto.set_ir_version(10);
  proto.set_producer_name("modelpress");
  proto.add_opset_import()->set_version(21);
  proto.mutable_graph()->set_name("weights");
  for (const NamedTensor& weight : weights) {
    onnx::TensorProto& tensor = *proto.mutable_graph()->add_initializer();
    tensor.set_name(weight.name);
    MP_RETURN_IF_ERROR(model.SetBytes(&tensor, weight.type, weight.dims, weight.data));
  }
  return model;
}

}  // namespace modelpress
