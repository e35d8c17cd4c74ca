// The protobuf wire format (https://protobuf.dev/programming-guides/encoding) as far as ONNX files need it: a cursor over
// the fields of one message, and the table of which fields of ONNX hold messages.
//
// A parse of the whole file would copy every weight; a cursor steps over a weight without touching its pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace modelpress::onnx_format {

enum class WireType : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct WireField {
  uint32_t number = 0;
  WireType type = WireType::kVarint;
  // Where the tag starts, and where the payload starts (for kBytes: after the length); offsets into the file.
  uint64_t begin = 0;
  uint64_t payload = 0;
  // Bytes of the payload.
  uint64_t length = 0;
  // Value of a varint; little-endian bits of a fixed field.
  uint64_t value = 0;

  uint64_t end() const { return payload + length; }
};

// Reads the fields of a message that occupies [begin, end) of `file`. Copies nothing.
class WireCursor {
 public:
  WireCursor(std::span<const std::byte> file, uint64_t begin, uint64_t end)
      : file_(file), position_(begin), end_(end) {}

  bool done() const { return position_ >= end_; }
  // MODEL_MALFORMED for truncated fields, field number 0, groups and varints of more than 10 bytes.
  absl::Status Next(WireField* field);
  // A bare varint, as in packed fields.
  absl::Status ReadVarint(uint64_t* value);

 private:
  absl::Status Fail(const char* what) const;

  std::span<const std::byte> file_;
  uint64_t position_;
  uint64_t end_;
};

// Message types of ONNX, as far as they are walked into.
enum class MessageKind : uint8_t {
  kNone,  // not a message: copied as it is
  kModel,
  kGraph,
  kFunction,
  kNode,
  kAttribute,
  kTensor,
  kSparseTensor,
  // Types, shapes, metadata: no tensors inside; not walked into, only counted.
  kOpaque,
  // Refused: see ScanModel.
  kTrainingInfo,
};

// The kind of message that a length-delimited field holds; kNone for strings, bytes, packed and unknown fields.
MessageKind ChildKind(MessageKind parent, uint32_t field);
// Whether tensors can lie anywhere inside such a message.
bool MayHoldTensors(MessageKind kind);

// Field numbers of TensorProto.
inline constexpr uint32_t kTensorFloatData = 4;
inline constexpr uint32_t kTensorInt32Data = 5;
inline constexpr uint32_t kTensorInt64Data = 7;
inline constexpr uint32_t kTensorRawData = 9;
inline constexpr uint32_t kTensorDoubleData = 10;
inline constexpr uint32_t kTensorUint64Data = 11;
inline constexpr uint32_t kTensorExternalData = 13;
inline constexpr uint32_t kTensorDataLocation = 14;
// raw_data and the numeric ..._data fields.
bool IsTensorPayload(uint32_t field);

void AppendVarint(uint64_t value, std::string* out);
void AppendTag(uint32_t number, WireType type, std::string* out);
int VarintSize(uint64_t value);

}  // namespace modelpress::onnx_format
