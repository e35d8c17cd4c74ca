// Content of tensors: see tensor_data.h.
#include "core/formats/onnx/tensor_data.h"

#include <bit>
#include <charconv>
#include <cstring>
#include <string>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/formats/onnx/external_data.h"
#include "core/formats/onnx/wire.h"

namespace modelpress::onnx_format {
namespace {

static_assert(std::endian::native == std::endian::little, "ONNX raw data is little-endian");

Error Malformed(const onnx::TensorProto& tensor, std::string_view what) {
  return Error(ERROR_REASON_MODEL_MALFORMED, FormatString("tensor \"{}\": {}", tensor.name(), what))
      .Tensor(tensor.name())
      .Remedy("the file may be damaged: export the model again");
}

// Where a type's elements are if not in raw_data (comments at TensorProto in onnx.proto): the field, and how many bytes
// of raw data one entry of it stands for. Four-bit types pack two elements into an entry.
struct TypedField {
  uint32_t number = 0;
  int bytes_per_entry = 0;
};

TypedField FieldOf(DataType type) {
  switch (type) {
    case DataType::kFloat:
    case DataType::kComplex64:
      return {kTensorFloatData, 4};
    case DataType::kDouble:
    case DataType::kComplex128:
      return {kTensorDoubleData, 8};
    case DataType::kInt64:
      return {kTensorInt64Data, 8};
    case DataType::kUint32:
      return {kTensorUint64Data, 4};
    case DataType::kUint64:
      return {kTensorUint64Data, 8};
    case DataType::kString:
    case DataType::kUndefined:
      return {};
    default:
      return {kTensorInt32Data, std::max(BitsPerElement(type) / 8, 1)};
  }
}

// Index of a moved tensor, or -1.
int64_t MovedIndex(const onnx::TensorProto& tensor) {
  for (const onnx::StringStringEntryProto& entry : tensor.external_data()) {
    if (entry.key() != kMovedKey) continue;
    int64_t index = -1;
    std::from_chars(entry.value().data(), entry.value().data() + entry.value().size(), index);
    return index;
  }
  return -1;
}

void ClearPayload(onnx::TensorProto* tensor) {
  tensor->clear_float_data();
  tensor->clear_int32_data();
  tensor->clear_int64_data();
  tensor->clear_double_data();
  tensor->clear_uint64_data();
  tensor->clear_raw_data();
  tensor->clear_external_data();
  tensor->clear_data_location();
}

// Takes entries of typed fields and writes them as raw data.
class EntryWriter {
 public:
  EntryWriter(std::span<std::byte> out, int bytes_per_entry)
      : out_(out), bytes_per_entry_(bytes_per_entry) {}
  // Entries past the end are counted but not written.
  void Put(uint64_t bits) {
    if (used_ + bytes_per_entry_ <= out_.size()) {
      std::memcpy(out_.data() + used_, &bits, bytes_per_entry_);
    }
    used_ += bytes_per_entry_;
  }
  uint64_t used() const { return used_; }

 private:
  std::span<std::byte> out_;
  uint64_t bytes_per_entry_;
  uint64_t used_ = 0;
};

int TypedFieldCount(const onnx::TensorProto& tensor) {
  return (tensor.float_data_size() > 0) + (tensor.int32_data_size() > 0) +
         (tensor.int64_data_size() > 0) + (tensor.double_data_size() > 0) +
         (tensor.uint64_data_size() > 0) + (tensor.string_data_size() > 0);
}

}  // namespace

absl::StatusOr<uint64_t> TensorDataReader::ExpectedBytes(const onnx::TensorProto& tensor) const {
  const absl::StatusOr<uint64_t> count = ElementCount(Dims(tensor));
  if (!count.ok()) return Annotate(count.status(), "tensor", tensor.name());
  const absl::StatusOr<uint64_t> bytes = ByteCount(Type(tensor), *count);
  if (!bytes.ok()) return Annotate(bytes.status(), "tensor", tensor.name());
  return *bytes;
}

absl::Status TensorDataReader::Resolve(onnx::TensorProto* tensor, bool keep_inline) {
  if (tensor->has_segment()) return Malformed(*tensor, "segmented tensors are not in use");
  const int64_t moved = MovedIndex(*tensor);
  if (moved >= static_cast<int64_t>(moved_.size())) return Malformed(*tensor, "bad reference");
  if (Type(*tensor) == DataType::kString) {
    if (moved >= 0) return Malformed(*tensor, "a string tensor with numeric data");
    return ResolveStrings(*tensor);
  }
  const bool external = tensor->data_location() == onnx::TensorProto::EXTERNAL;
  if (external && (moved >= 0 || tensor->has_raw_data() || TypedFieldCount(*tensor) > 0)) {
    return Malformed(*tensor, "both external and embedded data");
  }
  if (tensor->string_data_size() > 0) return Malformed(*tensor, "a numeric tensor with strings");
  if (external) return ResolveExternal(tensor, keep_inline);
  if (moved >= 0) return ResolveMoved(tensor, moved_[moved], keep_inline);
  return ResolveSmall(tensor);
}

absl::Status TensorDataReader::ResolveStrings(const onnx::TensorProto& tensor) const {
  const absl::StatusOr<uint64_t> count = ElementCount(Dims(tensor));
  if (!count.ok()) return Annotate(count.status(), "tensor", tensor.name());
  if (tensor.has_raw_data() || tensor.data_location() == onnx::TensorProto::EXTERNAL ||
      TypedFieldCount(tensor) > (tensor.string_data_size() > 0 ? 1 : 0)) {
    return Malformed(tensor, "a string tensor with numeric or external data");
  }
  if (*count != static_cast<uint64_t>(tensor.string_data_size())) {
    return Malformed(
        tensor, FormatString("{} strings but dims ask for {}", tensor.string_data_size(), *count));
  }
  return absl::OkStatus();
}

absl::Status TensorDataReader::ResolveMoved(onnx::TensorProto* tensor, const MovedTensor& moved,
                                            bool keep_inline) {
  MP_ASSIGN_OR_RETURN(const uint64_t expected, ExpectedBytes(*tensor));
  const TypedField typed = FieldOf(Type(*tensor));
  const std::shared_ptr<const MappedFile>& file = files_.main.file;
  // The last raw_data wins, as protobuf has it; pieces of typed data add up.
  WireField raw;
  WireField packed;
  int typed_pieces = 0;
  uint64_t typed_bytes = 0;
  WireField field;
  for (WireCursor cursor(file->bytes(), moved.begin, moved.end); !cursor.done();) {
    MP_RETURN_IF_ERROR(cursor.Next(&field));
    if (!IsTensorPayload(field.number)) continue;
    if (field.number == kTensorRawData && field.type == WireType::kBytes) {
      raw = field;
    } else if (field.number == typed.number) {
      packed = field;
      typed_bytes += field.length;
      ++typed_pieces;
    } else {
      return Malformed(*tensor, FormatString("data in field {} but type {}", field.number,
                                             DataTypeName(Type(*tensor))));
    }
  }
  if (raw.number != 0) {
    if (typed_pieces > 0) return Malformed(*tensor, "both raw and typed data");
    if (raw.length != expected) {
      return Malformed(*tensor, FormatString("raw_data has {} bytes but its type and dims need {}",
                                             raw.length, expected));
    }
    return Place(tensor, {file, raw.payload, raw.length}, keep_inline);
  }
  // Packed floats are raw little-endian data already.
  if (typed_pieces == 1 && packed.type == WireType::kBytes && packed.length == expected &&
      (typed.number == kTensorFloatData || typed.number == kTensorDoubleData)) {
    return Place(tensor, {file, packed.payload, packed.length}, keep_inline);
  }
  // An entry takes at least one byte of the file, so the room asked for is bounded by the file.
  if (expected / typed.bytes_per_entry > typed_bytes) {
    return Malformed(*tensor, FormatString("{} bytes of typed data cannot hold {} entries",
                                           typed_bytes, expected / typed.bytes_per_entry));
  }
  MP_ASSIGN_OR_RETURN(WeightArena::Room room, arena_->Allocate(expected));
  EntryWriter writer(room.bytes, typed.bytes_per_entry);
  for (WireCursor cursor(file->bytes(), moved.begin, moved.end); !cursor.done();) {
    MP_RETURN_IF_ERROR(cursor.Next(&field));
    if (field.number != typed.number) continue;
    if (field.type != WireType::kBytes) {
      writer.Put(field.value);
      continue;
    }
    const bool fixed = typed.number == kTensorFloatData || typed.number == kTensorDoubleData;
    const uint64_t width = typed.bytes_per_entry;
    if (fixed && field.length % width != 0) return Malformed(*tensor, "a broken packed field");
    if (fixed) {
      for (uint64_t at = 0; at < field.length; at += width) {
        uint64_t bits = 0;
        std::memcpy(&bits, file->bytes().data() + field.payload + at, width);
        writer.Put(bits);
      }
      continue;
    }
    for (WireCursor values(file->bytes(), field.payload, field.end()); !values.done();) {
      uint64_t bits = 0;
      MP_RETURN_IF_ERROR(values.ReadVarint(&bits));
      writer.Put(bits);
    }
  }
  if (writer.used() != expected) {
    return Malformed(*tensor, FormatString("{} bytes of data but its type and dims need {}",
                                           writer.used(), expected));
  }
  return Place(tensor, std::move(room.weight), keep_inline);
}

absl::Status TensorDataReader::ResolveSmall(onnx::TensorProto* tensor) {
  MP_ASSIGN_OR_RETURN(const uint64_t expected, ExpectedBytes(*tensor));
  const int typed_fields = TypedFieldCount(*tensor);
  if (typed_fields > 1 || (typed_fields == 1 && tensor->has_raw_data())) {
    // An empty raw_data beside typed data is what some exporters write.
    if (typed_fields > 1 || !tensor->raw_data().empty()) {
      return Malformed(*tensor, "more than one kind of data");
    }
    tensor->clear_raw_data();
  }
  if (typed_fields == 0) {
    if (tensor->raw_data().size() != expected) {
      return Malformed(*tensor, FormatString("{} bytes of data but its type and dims need {}",
                                             tensor->raw_data().size(), expected));
    }
    tensor->clear_external_data();
    return absl::OkStatus();
  }
  const TypedField typed = FieldOf(Type(*tensor));
  // Tensors above the inline limit were moved, so a valid one is small; the check keeps absurd dims from allocating.
  if (expected > uint64_t{16} * kInlineBytes) {
    return Malformed(*tensor,
                     FormatString("far less data than its dims need ({} bytes)", expected));
  }
  std::string out(expected, '\0');
  EntryWriter writer(std::as_writable_bytes(std::span(out)), typed.bytes_per_entry);
  switch (typed.number) {
    case kTensorFloatData:
      for (const float value : tensor->float_data()) writer.Put(std::bit_cast<uint32_t>(value));
      break;
    case kTensorDoubleData:
      for (const double value : tensor->double_data()) writer.Put(std::bit_cast<uint64_t>(value));
      break;
    case kTensorInt32Data:
      for (const int32_t value : tensor->int32_data()) writer.Put(static_cast<uint64_t>(value));
      break;
    case kTensorInt64Data:
      for (const int64_t value : tensor->int64_data()) writer.Put(static_cast<uint64_t>(value));
      break;
    case kTensorUint64Data:
      for (const uint64_t value : tensor->uint64_data()) writer.Put(value);
      break;
    default:
      break;
  }
  if (writer.used() != expected) {
    return Malformed(*tensor, FormatString("{} bytes of data but type {} and dims need {}",
                                           writer.used(), DataTypeName(Type(*tensor)), expected));
  }
  ClearPayload(tensor);
  tensor->set_raw_data(std::move(out));
  return absl::OkStatus();
}

absl::Status TensorDataReader::ResolveExternal(onnx::TensorProto* tensor, bool keep_inline) {
  MP_ASSIGN_OR_RETURN(const uint64_t expected, ExpectedBytes(*tensor));
  MP_ASSIGN_OR_RETURN(WeightRef weight, ResolveExternalData(*tensor, expected, files_));
  return Place(tensor, std::move(weight), keep_inline);
}

absl::Status TensorDataReader::Place(onnx::TensorProto* tensor, WeightRef weight,
                                     bool keep_inline) {
  ClearPayload(tensor);
  if (keep_inline || weight.length <= inline_bytes_) {
    placed_inline_ += weight.length;
    if (placed_inline_ > kMaxSkeletonBytes) {
      return Error(ERROR_REASON_MODEL_LIMIT,
                   FormatString("tensors that must stay inside the model (shapes, attributes) take "
                                "more than {} bytes",
                                kMaxSkeletonBytes))
          .Tensor(tensor->name())
          .With("limit", std::to_string(kMaxSkeletonBytes));
    }
    const std::span<const std::byte> bytes = weight.bytes();
    tensor->set_raw_data(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    return absl::OkStatus();
  }
  // SetWeight clears what it does not know.
  onnx::TensorProto rest;
  rest.mutable_doc_string()->swap(*tensor->mutable_doc_string());
  rest.mutable_metadata_props()->Swap(tensor->mutable_metadata_props());
  const std::vector<int64_t> dims(tensor->dims().begin(), tensor->dims().end());
  MP_RETURN_IF_ERROR(model_->SetWeight(tensor, Type(*tensor), dims, std::move(weight)));
  if (!rest.doc_string().empty()) tensor->mutable_doc_string()->swap(*rest.mutable_doc_string());
  tensor->mutable_metadata_props()->Swap(rest.mutable_metadata_props());
  return absl::OkStatus();
}

}  // namespace modelpress::onnx_format
