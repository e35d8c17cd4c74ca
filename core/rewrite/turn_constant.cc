// Constants in another order of axes: see turn_constant.h.
#include "core/rewrite/turn_constant.h"

#include <algorithm>
#include <cstring>

#include "core/base/status.h"
#include "core/model/integers.h"

namespace modelpress {
namespace {

// Axes and extents are few.
constexpr size_t kMostIntegers = 64;

}  // namespace

ConstantTurner::ConstantTurner(Model* model, WeightArena* arena, UniqueNames* names)
    : model_(*model), arena_(*arena), names_(*names) {
  const onnx::GraphProto& graph = model_.proto().graph();
  for (const onnx::TensorProto& tensor : graph.initializer()) tensors_[tensor.name()] = &tensor;
  for (const auto& input : graph.input()) tensors_.erase(input.name());
}

std::optional<std::vector<int64_t>> ConstantTurner::Ints(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return std::nullopt;
  return ReadIntegers(model_, *found->second, kMostIntegers);
}

std::string ConstantTurner::MakeInts(const std::vector<int64_t>& values, DataType type) {
  std::string& name = ints_[{type, values}];
  if (name.empty()) {
    name = names_.Make("axes");
    onnx::TensorProto& tensor = made_.emplace_back();
    tensor.set_name(name);
    tensor.set_data_type(static_cast<int32_t>(type));
    tensor.add_dims(static_cast<int64_t>(values.size()));
    const std::vector<int32_t> narrow(values.begin(), values.end());
    const auto bytes = type == DataType::kInt32 ? std::as_bytes(std::span(narrow))
                                                : std::as_bytes(std::span(values));
    tensor.set_raw_data(bytes.data(), bytes.size());
  }
  return name;
}

absl::StatusOr<std::string> ConstantTurner::Turn(const std::string& name,
                                                 const std::vector<int64_t>& perm) {
  const onnx::TensorProto& source = *tensors_.at(name);
  MP_ASSIGN_OR_RETURN(const uint64_t elements, ElementCount(Dims(source)));
  if (elements == 1) return name;
  std::string& turned = turned_[{name, perm}];
  if (!turned.empty()) return turned;
  if (source.dims_size() > static_cast<int>(perm.size())) {
    return Error(ERROR_REASON_INTERNAL_BUG, "a constant has a higher rank than its readers")
        .Tensor(name);
  }
  std::vector<int64_t> dims(perm.size() - static_cast<size_t>(source.dims_size()), 1), out;
  dims.insert(dims.end(), source.dims().begin(), source.dims().end());
  for (const int64_t axis : perm) out.push_back(dims[axis]);
  MP_ASSIGN_OR_RETURN(turned, Make(name + "/turned", source, dims, perm, out));
  return turned;
}

absl::StatusOr<std::string> ConstantTurner::TurnRows(const std::string& name,
                                                     const std::vector<int64_t>& dims,
                                                     const std::vector<int64_t>& perm,
                                                     bool rows_last) {
  const onnx::TensorProto& source = *tensors_.at(name);
  const std::vector<int64_t> out(source.dims().begin(), source.dims().end());
  std::vector<int64_t> split(dims.begin() + 1, dims.end()), order;
  for (size_t i = 1; i < perm.size(); ++i) order.push_back(perm[i] - (rows_last ? 0 : 1));
  if (rows_last) {
    split.insert(split.begin(), out[0]);
    order.insert(order.begin(), 0);
  } else {
    order.push_back(static_cast<int64_t>(split.size()));
    split.push_back(out[1]);
  }
  return Make(name + "/turned", source, split, order, out);
}

absl::StatusOr<std::string> ConstantTurner::Make(const std::string& name,
                                                 const onnx::TensorProto& source,
                                                 const std::vector<int64_t>& dims,
                                                 const std::vector<int64_t>& perm,
                                                 const std::vector<int64_t>& out) {
  MP_ASSIGN_OR_RETURN(const std::span<const std::byte> bytes, model_.Bytes(source));
  const int bits = BitsPerElement(Type(source));
  if (bits < 8)
    return Error(ERROR_REASON_INTERNAL_BUG, "a constant of this type cannot be turned")
        .Tensor(name);
  onnx::TensorProto tensor;
  tensor.set_name(names_.Make(name));
  if (bytes.size() <= kInlineBytes) {
    std::vector<std::byte> copy(bytes.size());
    TransposeBytes(bytes, dims, perm, bits / 8, copy);
    MP_RETURN_IF_ERROR(model_.SetInline(&tensor, Type(source), out, copy));
  } else {
    MP_ASSIGN_OR_RETURN(WeightArena::Room room, arena_.Allocate(bytes.size()));
    TransposeBytes(bytes, dims, perm, bits / 8, room.bytes);
    MP_RETURN_IF_ERROR(model_.SetWeight(&tensor, Type(source), out, std::move(room.weight)));
  }
  made_.push_back(std::move(tensor));
  return made_.back().name();
}

absl::Status ConstantTurner::Finish() {
  auto* list = model_.mutable_proto().mutable_graph()->mutable_initializer();
  for (onnx::TensorProto& tensor : made_) *list->Add() = std::move(tensor);
  return absl::OkStatus();
}

void TransposeBytes(std::span<const std::byte> source, std::span<const int64_t> dims,
                    std::span<const int64_t> perm, int element_bytes, std::span<std::byte> out) {
  const size_t rank = dims.size();
  const size_t width = static_cast<size_t>(element_bytes);
  if (source.empty()) return;
  if (rank == 0) {
    std::ranges::copy(source, out.begin());
    return;
  }
  std::vector<size_t> strides(rank, width);
  for (size_t i = rank - 1; i-- > 0;)
    strides[i] = strides[i + 1] * static_cast<size_t>(dims[i + 1]);
  std::vector<size_t> extent(rank), stride(rank), index(rank, 0);
  for (size_t i = 0; i < rank; ++i) {
    extent[i] = static_cast<size_t>(dims[static_cast<size_t>(perm[i])]);
    stride[i] = strides[static_cast<size_t>(perm[i])];
  }
  // The innermost axis of the output in a loop of its own, the others counted like an odometer.
  const auto run = [&](auto copy) {
    size_t from = 0;
    std::byte* to = out.data();
    while (true) {
      const std::byte* read = source.data() + from;
      for (size_t i = 0; i < extent[rank - 1]; ++i, read += stride[rank - 1], to += width)
        copy(to, read);
      size_t axis = rank - 1;
      while (axis-- > 0) {
        from += stride[axis];
        if (++index[axis] < extent[axis]) break;
        from -= stride[axis] * extent[axis];
        index[axis] = 0;
      }
      if (axis == static_cast<size_t>(-1)) return;
    }
  };
  switch (element_bytes) {
    case 1:
      return run([](std::byte* to, const std::byte* from) { *to = *from; });
    case 2:
      return run([](std::byte* to, const std::byte* from) { std::memcpy(to, from, 2); });
    case 4:
      return run([](std::byte* to, const std::byte* from) { std::memcpy(to, from, 4); });
    default:
      return run([](std::byte* to, const std::byte* from) { std::memcpy(to, from, 8); });
  }
}

}  // namespace modelpress
