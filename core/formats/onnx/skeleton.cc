// Scanning an ONNX file for its skeleton: see skeleton.h.
#include "core/formats/onnx/skeleton.h"

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/formats/onnx/wire.h"

namespace modelpress::onnx_format {
namespace {

absl::Status Limit(std::string_view what, uint64_t limit) {
  return Error(ERROR_REASON_MODEL_LIMIT,
               FormatString("the model without its weights has more than {} {}", limit, what))
      .With("limit", std::to_string(limit));
}

class Scanner {
 public:
  Scanner(std::span<const std::byte> file, uint64_t inline_bytes, const Cancellation* cancellation)
      : file_(file), inline_bytes_(inline_bytes), cancellation_(cancellation) {}

  absl::StatusOr<Skeleton> Scan() {
    MP_RETURN_IF_ERROR(ScanMessage(MessageKind::kModel, 0, file_.size(), 0));
    return std::move(skeleton_);
  }

 private:
  absl::Status ScanMessage(MessageKind kind, uint64_t begin, uint64_t end, int depth) {
    if (depth > kMaxDepth) {
      return Error(ERROR_REASON_MODEL_LIMIT,
                   FormatString("subgraphs are nested deeper than {} messages", kMaxDepth))
          .With("limit", std::to_string(kMaxDepth));
    }
    if (cancellation_ != nullptr && (fields_ & 0xFFF) == 0) {
      MP_RETURN_IF_ERROR(cancellation_->Check());
    }
    if (kind == MessageKind::kTensor) return ScanTensor(begin, end);
    WireCursor cursor(file_, begin, end);
    WireField field;
    // Singular fields that hold a tensor, by number.
    uint64_t seen = 0;
    while (!cursor.done()) {
      MP_RETURN_IF_ERROR(cursor.Next(&field));
      const MessageKind child =
          field.type == WireType::kBytes ? ChildKind(kind, field.number) : MessageKind::kNone;
      if (child == MessageKind::kTrainingInfo) {
        return Error(ERROR_REASON_FORMAT_UNSUPPORTED,
                     "the model carries training graphs (training_info)")
            .With("format", "onnx with training_info")
            .Remedy("export the inference graph alone");
      }
      if (IsSingularTensor(kind, field.number)) {
        if ((seen >> field.number & 1) != 0) {
          return Error(ERROR_REASON_MODEL_MALFORMED,
                       FormatString("a field that holds one tensor occurs twice, again at byte {}",
                                    field.begin))
              .Remedy("export the model again");
        }
        seen |= uint64_t{1} << field.number;
      }
      if (!MayHoldTensors(child)) {
        if (child == MessageKind::kOpaque) opaque_bytes_ += field.length;
        MP_RETURN_IF_ERROR(Copy(field.begin, field.end()));
        continue;
      }
      MP_RETURN_IF_ERROR(CountField());
      AppendTag(field.number, WireType::kBytes, &skeleton_.bytes);
      const size_t length_at = skeleton_.bytes.size();
      skeleton_.bytes.append(kLengthBytes, '\0');
      MP_RETURN_IF_ERROR(ScanMessage(child, field.payload, field.end(), depth + 1));
      SetLength(length_at);
    }
    return absl::OkStatus();
  }

  static bool IsSingularTensor(MessageKind kind, uint32_t field) {
    return (kind == MessageKind::kAttribute && (field == 5 || field == 22)) ||
           (kind == MessageKind::kSparseTensor && (field == 1 || field == 2));
  }

  absl::Status ScanTensor(uint64_t begin, uint64_t end) {
    uint64_t payload_bytes = 0;
    WireField field;
    for (WireCursor cursor(file_, begin, end); !cursor.done();) {
      MP_RETURN_IF_ERROR(cursor.Next(&field));
      if (IsTensorPayload(field.number)) payload_bytes += field.end() - field.begin;
    }
    const bool move = payload_bytes > inline_bytes_;
    for (WireCursor cursor(file_, begin, end); !cursor.done();) {
      MP_RETURN_IF_ERROR(cursor.Next(&field));
      if (move && IsTensorPayload(field.number)) continue;
      if (field.number == kTensorExternalData && Contains(field, kMovedKey)) {
        return Error(ERROR_REASON_EXTERNAL_DATA_REJECTED,
                     FormatString("external data with the reserved key \"{}\"", kMovedKey));
      }
      MP_RETURN_IF_ERROR(Copy(field.begin, field.end()));
    }
    if (!move) return absl::OkStatus();
    // external_data { key: kMovedKey value: "<index>" }
    const std::string index = std::to_string(skeleton_.moved.size());
    std::string entry;
    AppendTag(1, WireType::kBytes, &entry);
    AppendVarint(kMovedKey.size(), &entry);
    entry += kMovedKey;
    AppendTag(2, WireType::kBytes, &entry);
    AppendVarint(index.size(), &entry);
    entry += index;
    AppendTag(kTensorExternalData, WireType::kBytes, &skeleton_.bytes);
    AppendVarint(entry.size(), &skeleton_.bytes);
    skeleton_.bytes += entry;
    skeleton_.moved.push_back({begin, end});
    return absl::OkStatus();
  }

  bool Contains(const WireField& field, std::string_view text) const {
    const std::string_view payload(reinterpret_cast<const char*>(file_.data()) + field.payload,
                                   field.length);
    return payload.find(text) != std::string_view::npos;
  }

  absl::Status CountField() {
    return ++fields_ > kMaxSkeletonFields ? Limit("fields", kMaxSkeletonFields) : absl::OkStatus();
  }

  absl::Status Copy(uint64_t begin, uint64_t end) {
    MP_RETURN_IF_ERROR(CountField());
    if (opaque_bytes_ > kMaxOpaqueBytes) {
      return Limit("bytes of types and metadata", kMaxOpaqueBytes);
    }
    if (end - begin > kMaxSkeletonBytes ||
        skeleton_.bytes.size() > kMaxSkeletonBytes - (end - begin)) {
      return Limit("bytes", kMaxSkeletonBytes);
    }
    skeleton_.bytes.append(reinterpret_cast<const char*>(file_.data()) + begin, end - begin);
    return absl::OkStatus();
  }

  // The length of a message is known only after its content: it is written as a varint of fixed width (the padding bits
  // are valid and parsed by every implementation), filled in afterwards.
  static constexpr int kLengthBytes = 5;
  void SetLength(size_t at) {
    uint64_t length = skeleton_.bytes.size() - at - kLengthBytes;
    for (int i = 0; i < kLengthBytes; ++i, length >>= 7) {
      skeleton_.bytes[at + i] =
          static_cast<char>((length & 0x7F) | (i + 1 < kLengthBytes ? 0x80 : 0));
    }
  }

  std::span<const std::byte> file_;
  uint64_t inline_bytes_;
  const Cancellation* cancellation_;
  Skeleton skeleton_;
  uint64_t fields_ = 0;
  uint64_t opaque_bytes_ = 0;
};

}  // namespace

absl::StatusOr<Skeleton> ScanModel(std::span<const std::byte> file, uint64_t inline_bytes,
                                   const Cancellation* cancellation) {
  return Scanner(file, inline_bytes, cancellation).Scan();
}

}  // namespace modelpress::onnx_format
