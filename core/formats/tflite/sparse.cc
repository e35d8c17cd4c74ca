// Sparse constants to dense ones.
//
// The notation is that of TACO (Kjolstad et al., "The tensor algebra compiler", OOPSLA 2017) as TensorFlow Lite stores
// it: axes are walked in `traversal_order`, each either dense or as compressed rows (segments, indices); axes of blocks
// follow those of the tensor, `block_map` says which axis each divides.
#include <algorithm>
#include <cstring>

#include "core/base/status.h"
#include "core/formats/tflite/conversion.h"

namespace modelpress::tflite {
namespace {

Error Malformed(std::string_view message, const SourceTensor& tensor) {
  return Error(ERROR_REASON_MODEL_MALFORMED, message).Tensor(tensor.name);
}

// One axis of the walk.
struct Level {
  int64_t extent = 0;  // of the axis that it walks
  bool dense = true;
  std::vector<int64_t> segments, indices;
  size_t axis = 0;  // of the tensor, or number of block plus rank
};

std::vector<int64_t> Numbers(const schema::DimensionMetadata& table, bool segments) {
  const void* vector = segments ? table.array_segments() : table.array_indices();
  const auto type = segments ? table.array_segments_type() : table.array_indices_type();
  const auto copy = [](const auto* list) {
    return list == nullptr ? std::vector<int64_t>()
                           : std::vector<int64_t>(list->begin(), list->end());
  };
  if (vector == nullptr) return {};
  switch (type) {
    case schema::SparseIndexVector::Int32Vector:
      return copy(static_cast<const schema::Int32Vector*>(vector)->values());
    case schema::SparseIndexVector::Uint16Vector:
      return copy(static_cast<const schema::Uint16Vector*>(vector)->values());
    case schema::SparseIndexVector::Uint8Vector:
      return copy(static_cast<const schema::Uint8Vector*>(vector)->values());
    default:
      return {};
  }
}

class Walk {
 public:
  Walk(const SourceTensor& tensor, size_t width, std::span<std::byte> out)
      : tensor_(tensor), width_(width), out_(out) {}

  absl::Status Run() {
    MP_RETURN_IF_ERROR(Prepare());
    const uint64_t values = tensor_.data.length / width_;
    budget_ = 64 + 8 * (out_.size() / width_ + values + 1) * (levels_.size() + 1);
    return Visit(0, 0);
  }

 private:
  absl::Status Prepare() {
    const size_t rank = tensor_.shape.size();
    const auto& table = *tensor_.sparsity;
    const size_t blocks = table.block_map() == nullptr ? 0 : table.block_map()->size();
    const size_t count = rank + blocks;
    if (table.traversal_order() == nullptr || table.dim_metadata() == nullptr || blocks > rank ||
        table.traversal_order()->size() != count || table.dim_metadata()->size() != count) {
      return Malformed("the axes of a sparse tensor do not fit its shape", tensor_);
    }
    block_of_.assign(rank, 0);
    block_extent_.assign(rank, 1);
    std::vector<bool> seen(count, false);
    levels_.resize(count);
    for (size_t i = 0; i < count; ++i) {
      const int axis = table.traversal_order()->Get(static_cast<flatbuffers::uoffset_t>(i));
      if (axis < 0 || static_cast<size_t>(axis) >= count || seen[axis]) {
        return Malformed("the axes of a sparse tensor are walked in no valid order", tensor_);
      }
      seen[axis] = true;
      const auto& metadata = *table.dim_metadata()->Get(static_cast<flatbuffers::uoffset_t>(i));
      Level& level = levels_[i];
      level.axis = static_cast<size_t>(axis);
      level.dense = metadata.format() == schema::DimensionType::DENSE;
      level.extent = metadata.dense_size();
      if (!level.dense) {
        level.segments = Numbers(metadata, true);
        level.indices = Numbers(metadata, false);
      }
      if (level.axis >= rank) {
        const int divided =
            table.block_map()->Get(static_cast<flatbuffers::uoffset_t>(level.axis - rank));
        if (divided < 0 || static_cast<size_t>(divided) >= rank || block_of_[divided] != 0 ||
            !level.dense || level.extent <= 0 || tensor_.shape[divided] % level.extent != 0) {
          return Malformed("the blocks of a sparse tensor do not fit its shape", tensor_);
        }
        block_of_[divided] = level.axis;
        block_extent_[divided] = level.extent;
      }
    }
    for (Level& level : levels_) {
      if (level.axis >= rank) continue;
      const int64_t extent = tensor_.shape[level.axis] / block_extent_[level.axis];
      if (level.dense && level.extent != extent) {
        return Malformed("an axis of a sparse tensor has another extent than its shape", tensor_);
      }
      level.extent = extent;
    }
    coordinates_.assign(count, 0);
    return absl::OkStatus();
  }

  absl::Status Visit(size_t number, uint64_t position) {
    if (budget_-- == 0)
      return Malformed("a sparse tensor names more elements than it has", tensor_);
    if (number == levels_.size()) return Store(position);
    const Level& level = levels_[number];
    if (level.dense) {
      for (int64_t i = 0; i < level.extent; ++i) {
        coordinates_[level.axis] = i;
        MP_RETURN_IF_ERROR(Visit(
            number + 1, position * static_cast<uint64_t>(level.extent) + static_cast<uint64_t>(i)));
      }
      return absl::OkStatus();
    }
    if (position + 1 >= level.segments.size())
      return Malformed("a sparse tensor has too few segments", tensor_);
    const int64_t begin = level.segments[position], end = level.segments[position + 1];
    if (begin < 0 || end < begin || static_cast<uint64_t>(end) > level.indices.size()) {
      return Malformed("a segment of a sparse tensor is out of range", tensor_);
    }
    for (int64_t i = begin; i < end; ++i) {
      if (level.indices[i] < 0 || level.indices[i] >= level.extent) {
        return Malformed("an index of a sparse tensor is out of range", tensor_);
      }
      coordinates_[level.axis] = level.indices[i];
      MP_RETURN_IF_ERROR(Visit(number + 1, static_cast<uint64_t>(i)));
    }
    return absl::OkStatus();
  }

  absl::Status Store(uint64_t position) {
    if ((position + 1) * width_ > tensor_.data.length)
      return Malformed("a sparse tensor has too few values", tensor_);
    uint64_t place = 0;
    for (size_t axis = 0; axis < tensor_.shape.size(); ++axis) {
      int64_t coordinate = coordinates_[axis] * block_extent_[axis];
      if (block_of_[axis] != 0) coordinate += coordinates_[block_of_[axis]];
      place =
          place * static_cast<uint64_t>(tensor_.shape[axis]) + static_cast<uint64_t>(coordinate);
    }
    std::memcpy(out_.data() + place * width_, tensor_.data.bytes().data() + position * width_,
                width_);
    return absl::OkStatus();
  }

  const SourceTensor& tensor_;
  size_t width_;
  std::span<std::byte> out_;
  std::vector<Level> levels_;
  // For each axis of the tensor: the block axis that divides it (0: none; axis 0 is never a block) and its extent.
  std::vector<size_t> block_of_;
  std::vector<int64_t> block_extent_;
  std::vector<int64_t> coordinates_;
  uint64_t budget_ = 0;
};

}  // namespace

absl::StatusOr<const SourceTensor*> Densify(Conversion& conversion, const SourceTensor& sparse) {
  const int bits = BitsPerElement(ToOnnxType(sparse.type));
  if (bits < 8 || sparse.shape.empty()) {
    return Error(ERROR_REASON_OP_UNSUPPORTED, "sparse tensors of this type are not known")
        .Tensor(sparse.name);
  }
  MP_ASSIGN_OR_RETURN(const uint64_t elements, ElementCount(sparse.shape));
  const size_t width = static_cast<size_t>(bits) / 8;
  MP_ASSIGN_OR_RETURN(const uint64_t length, ByteCount(ToOnnxType(sparse.type), elements));
  // What a few bytes of a hostile file may ask for has a limit; true sparse weights are seldom below 1 %.
  if (length > (uint64_t{1} << 20) + 1024 * sparse.data.length) {
    return Error(ERROR_REASON_MODEL_LIMIT,
                 "a sparse tensor is more than 1024 times as large as its values")
        .Tensor(sparse.name)
        .With("limit", "1024");
  }
  MP_ASSIGN_OR_RETURN(WeightArena::Room room, conversion.builder.arena().Allocate(length));
  std::ranges::fill(room.bytes, std::byte{0});
  MP_RETURN_IF_ERROR(Walk(sparse, width, room.bytes).Run());
  SourceTensor& dense = conversion.replaced.emplace_back(sparse);
  dense.sparsity = nullptr;
  dense.data = room.weight;
  return &dense;
}

}  // namespace modelpress::tflite
