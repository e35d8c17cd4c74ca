// The protobuf wire format: see wire.h.
#include "core/formats/onnx/wire.h"

#include <bit>
#include <cstring>

#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress::onnx_format {

absl::Status WireCursor::Fail(const char* what) const {
  return Error(ERROR_REASON_MODEL_MALFORMED,
               FormatString("not a valid ONNX file: {} at byte {}", what, position_))
      .Remedy("the file may be truncated or damaged: copy or export it again");
}

absl::Status WireCursor::ReadVarint(uint64_t* value) {
  uint64_t result = 0;
  for (int shift = 0; shift < 70; shift += 7) {
    if (position_ >= end_) return Fail("the data ends inside a number");
    const auto byte = std::to_integer<uint64_t>(file_[position_++]);
    result |= (byte & 0x7F) << shift;
    if (byte < 0x80) {
      *value = result;
      return absl::OkStatus();
    }
  }
  return Fail("a number of more than 10 bytes");
}

absl::Status WireCursor::Next(WireField* field) {
  field->begin = position_;
  uint64_t tag = 0;
  MP_RETURN_IF_ERROR(ReadVarint(&tag));
  const uint64_t number = tag >> 3;
  if (number == 0 || number > (1u << 29) - 1) return Fail("an impossible field number");
  field->number = static_cast<uint32_t>(number);
  field->type = static_cast<WireType>(tag & 7);
  field->payload = position_;
  field->value = 0;
  switch (field->type) {
    case WireType::kVarint:
      MP_RETURN_IF_ERROR(ReadVarint(&field->value));
      field->length = position_ - field->payload;
      return absl::OkStatus();
    case WireType::kFixed64:
      field->length = 8;
      break;
    case WireType::kFixed32:
      field->length = 4;
      break;
    case WireType::kBytes:
      MP_RETURN_IF_ERROR(ReadVarint(&field->length));
      field->payload = position_;
      break;
    default:
      return Fail("a field type that ONNX does not use");
  }
  if (field->length > end_ - position_) return Fail("a field runs past the end of its message");
  if (field->type != WireType::kBytes) {
    std::memcpy(&field->value, file_.data() + position_, field->length);
  }
  position_ += field->length;
  return absl::OkStatus();
}

MessageKind ChildKind(MessageKind parent, uint32_t field) {
  using enum MessageKind;
  switch (parent) {
    case kModel:
      switch (field) {
        case 7:
          return kGraph;
        case 8:
        case 14:
          return kOpaque;
        case 20:
          return kTrainingInfo;
        case 25:
          return kFunction;
        default:
          return kNone;
      }
    case kGraph:
      switch (field) {
        case 1:
          return kNode;
        case 5:
          return kTensor;
        case 11:
        case 12:
        case 13:
        case 14:
        case 16:
          return kOpaque;
        case 15:
          return kSparseTensor;
        default:
          return kNone;
      }
    case kFunction:
      switch (field) {
        case 7:
          return kNode;
        case 11:
          return kAttribute;
        case 9:
        case 12:
        case 14:
          return kOpaque;
        default:
          return kNone;
      }
    case kNode:
      return field == 5 ? kAttribute : field == 9 ? kOpaque : kNone;
    case kAttribute:
      switch (field) {
        case 5:
        case 10:
          return kTensor;
        case 6:
        case 11:
          return kGraph;
        case 14:
        case 15:
          return kOpaque;
        case 22:
        case 23:
          return kSparseTensor;
        default:
          return kNone;
      }
    case kSparseTensor:
      return field == 1 || field == 2 ? kTensor : kNone;
    case kTensor:
      return field == kTensorExternalData || field == 16 ? kOpaque : kNone;
    case kOpaque:
    case kTrainingInfo:
    case kNone:
      return kNone;
  }
  return kNone;
}

bool MayHoldTensors(MessageKind kind) {
  switch (kind) {
    case MessageKind::kModel:
    case MessageKind::kGraph:
    case MessageKind::kFunction:
    case MessageKind::kNode:
    case MessageKind::kAttribute:
    case MessageKind::kSparseTensor:
    case MessageKind::kTensor:
      return true;
    default:
      return false;
  }
}

bool IsTensorPayload(uint32_t field) {
  switch (field) {
    case kTensorFloatData:
    case kTensorInt32Data:
    case kTensorInt64Data:
    case kTensorRawData:
    case kTensorDoubleData:
    case kTensorUint64Data:
      return true;
    default:
      return false;
  }
}

void AppendVarint(uint64_t value, std::string* out) {
  while (value >= 0x80) {
    out->push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out->push_back(static_cast<char>(value));
}

void AppendTag(uint32_t number, WireType type, std::string* out) {
  AppendVarint(uint64_t{number} << 3 | static_cast<uint64_t>(type), out);
}

int VarintSize(uint64_t value) { return (std::bit_width(value | 1) + 6) / 7; }

}  // namespace modelpress::onnx_format
