// Constants in another order of axes: see turn_constant.h.
#include "core/rewrite/turn_constant.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "core/base/format_string.h"
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
    MP_ASSIGN_OR_RETURN(WeightRef turned, TransposedWeight(bytes, dims, perm, bits / 8, arena_));
    MP_RETURN_IF_ERROR(model_.SetWeight(&tensor, Type(source), out, std::move(turned)));
  }
  made_.push_back(std::move(tensor));
  return made_.back().name();
}

absl::Status ConstantTurner::Finish() {
  auto* list = model_.mutable_proto().mutable_graph()->mutable_initializer();
  for (onnx::TensorProto& tensor : made_) *list->Add() = std::move(tensor);
  return absl::OkStatus();
}

namespace {

// Of a buffer that stays in the second-level cache while it is filled and written.
constexpr size_t kPieceBytes = 512 << 10;

// Blocks of arenas are reserved: a full disk was found out before.
absl::Status WriteAt(const MappedFile& file, uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written =
        pwrite(file.descriptor(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      return Error(ERROR_REASON_FILE_ACCESS,
                   FormatString("cannot write to the scratch folder: {}", strerror(errno)));
    }
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return absl::OkStatus();
}

// An axis of the output: its extent, and how far apart its elements are on both sides, in bytes.
struct OutputAxis {
  size_t extent, from, to;
};

// The output's axes, outermost first, without those of one element, and neighbours that are neighbours in the source too as
// one.
std::vector<OutputAxis> OutputAxes(std::span<const int64_t> dims, std::span<const int64_t> perm,
                                   size_t width) {
  std::vector<size_t> strides(dims.size(), width);
  for (size_t i = dims.size(); i-- > 1;) strides[i - 1] = strides[i] * static_cast<size_t>(dims[i]);
  std::vector<OutputAxis> axes;
  for (const int64_t axis : perm) {
    const size_t extent = static_cast<size_t>(dims[static_cast<size_t>(axis)]),
                 from = strides[static_cast<size_t>(axis)];
    if (extent == 1) continue;
    if (!axes.empty() && axes.back().from == extent * from) {
      axes.back() = {axes.back().extent * extent, from, 0};
    } else {
      axes.push_back({extent, from, 0});
    }
  }
  size_t to = width;
  for (size_t i = axes.size(); i-- > 0; to *= axes[i].extent) axes[i].to = to;
  return axes;
}

// rows x columns elements: neighbours of a column are `rows.from` bytes apart in the source and lie together in the output,
// those of a row the other way round. In squares that both sides keep in the cache; the source is read along its rows, as
// many of them at once as a square has.
template <typename T>
void TransposeSquares(const std::byte* from, std::byte* to, const OutputAxis& rows,
                      const OutputAxis& columns) {
  constexpr size_t kSquare = 64 / sizeof(T);
  for (size_t row = 0; row < rows.extent; row += kSquare) {
    const size_t row_end = std::min(row + kSquare, rows.extent);
    for (size_t column = 0; column < columns.extent; column += kSquare) {
      const size_t column_end = std::min(column + kSquare, columns.extent);
      for (size_t c = column; c < column_end; ++c) {
        const std::byte* read = from + row * rows.from + c * sizeof(T);
        std::byte* write = to + c * columns.to + row * sizeof(T);
        for (size_t r = row; r < row_end; ++r, read += rows.from, write += sizeof(T))
          std::memcpy(write, read, sizeof(T));
      }
    }
  }
}

// The elements that `axes` count, from `from` to `to`.
void TransposeAxes(const std::byte* from, std::vector<OutputAxis> axes, size_t width,
                   std::byte* to) {
  // The output's last axis, and the one along which the source's elements lie together; the others are counted.
  const OutputAxis rows = axes.back();
  axes.pop_back();
  const auto together = std::ranges::find(axes, width, &OutputAxis::from);
  OutputAxis columns{1, width, 0};
  if (rows.from != width && together != axes.end()) {
    columns = *together;
    axes.erase(together);
  }
  std::vector<size_t> index(axes.size(), 0);
  while (true) {
    if (rows.from == width) {
      std::memcpy(to, from, rows.extent * width);
    } else if (width == 1) {
      TransposeSquares<uint8_t>(from, to, rows, columns);
    } else if (width == 2) {
      TransposeSquares<uint16_t>(from, to, rows, columns);
    } else if (width == 4) {
      TransposeSquares<uint32_t>(from, to, rows, columns);
    } else {
      TransposeSquares<uint64_t>(from, to, rows, columns);
    }
    size_t axis = axes.size();
    while (axis-- > 0) {
      from += axes[axis].from;
      to += axes[axis].to;
      if (++index[axis] < axes[axis].extent) break;
      from -= axes[axis].from * axes[axis].extent;
      to -= axes[axis].to * axes[axis].extent;
      index[axis] = 0;
    }
    if (axis == static_cast<size_t>(-1)) return;
  }
}

// Hands on the output of `axes` from `level` on in pieces that fit into a buffer, front to back. An element of an axis
// takes `to` bytes of the output, so the last axis always fits.
template <typename Take>
absl::Status ForEachPiece(const std::byte* from, const std::vector<OutputAxis>& axes, size_t level,
                          const Take& take) {
  const OutputAxis& axis = axes[level];
  if (axis.to > kPieceBytes) {
    for (size_t i = 0; i < axis.extent; ++i, from += axis.from)
      MP_RETURN_IF_ERROR(ForEachPiece(from, axes, level + 1, take));
    return absl::OkStatus();
  }
  const size_t most = kPieceBytes / axis.to;
  for (size_t i = 0; i < axis.extent; i += most, from += most * axis.from) {
    std::vector<OutputAxis> piece(axes.begin() + static_cast<ptrdiff_t>(level), axes.end());
    piece[0].extent = std::min(most, axis.extent - i);
    MP_RETURN_IF_ERROR(take(from, std::move(piece)));
  }
  return absl::OkStatus();
}

}  // namespace

void TransposeBytes(std::span<const std::byte> source, std::span<const int64_t> dims,
                    std::span<const int64_t> perm, int element_bytes, std::span<std::byte> out) {
  const size_t width = static_cast<size_t>(element_bytes);
  if (source.empty()) return;
  std::vector<OutputAxis> axes = OutputAxes(dims, perm, width);
  if (axes.empty()) {
    std::ranges::copy(source, out.begin());
  } else {
    TransposeAxes(source.data(), std::move(axes), width, out.data());
  }
}

absl::StatusOr<WeightRef> TransposedWeight(std::span<const std::byte> source,
                                           std::span<const int64_t> dims,
                                           std::span<const int64_t> perm, int element_bytes,
                                           WeightArena& arena) {
  const size_t width = static_cast<size_t>(element_bytes);
  MP_ASSIGN_OR_RETURN(WeightArena::Room room, arena.Allocate(source.size()));
  const std::vector<OutputAxis> axes = OutputAxes(dims, perm, width);
  if (source.empty() || axes.empty()) {
    std::ranges::copy(source, room.bytes.begin());
    return std::move(room.weight);
  }
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(kPieceBytes);
  uint64_t offset = room.weight.offset;
  MP_RETURN_IF_ERROR(ForEachPiece(
      source.data(), axes, 0, [&](const std::byte* from, std::vector<OutputAxis> piece) {
        std::span<const std::byte> made(buffer.get(), piece[0].extent * piece[0].to);
        TransposeAxes(from, std::move(piece), width, buffer.get());
        const uint64_t at = offset;
        offset += made.size();
        return WriteAt(*room.weight.file, at, made);
      }));
  return std::move(room.weight);
}

}  // namespace modelpress
