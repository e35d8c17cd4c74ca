// Putting weights back: see splice.h.
#include "core/formats/onnx/splice.h"

#include <charconv>
#include <string_view>
#include <utility>

#include "core/base/status.h"
#include "core/formats/onnx/wire.h"

namespace modelpress::onnx_format {
namespace {

class Splicer {
 public:
  Splicer(std::span<const std::byte> skeleton, const std::vector<Replacement>& replacements)
      : skeleton_(skeleton), replacements_(replacements) {}

  absl::StatusOr<SplicedModel> Run() {
    MP_RETURN_IF_ERROR(Walk(MessageKind::kModel, 0, skeleton_.size()));
    return std::move(result_);
  }

 private:
  // Appends the pieces of one message; adds its bytes to result_.size.
  absl::Status Walk(MessageKind kind, uint64_t begin, uint64_t end) {
    if (kind == MessageKind::kTensor) return WalkTensor(begin, end);
    WireField field;
    for (WireCursor cursor(skeleton_, begin, end); !cursor.done();) {
      MP_RETURN_IF_ERROR(cursor.Next(&field));
      const MessageKind child =
          field.type == WireType::kBytes ? ChildKind(kind, field.number) : MessageKind::kNone;
      if (!MayHoldTensors(child)) {
        Copy(field.begin, field.end());
        continue;
      }
      // The length goes in front of a content that is not known yet: keep a place for it.
      const size_t place = result_.pieces.size();
      const uint64_t size_before = result_.size;
      const uint64_t weights_before = weights_;
      result_.pieces.emplace_back();
      MP_RETURN_IF_ERROR(Walk(child, field.payload, field.end()));
      if (weights_ == weights_before) {
        // Nothing inside was replaced: the message is copied as one piece.
        result_.pieces.resize(place);
        result_.size = size_before;
        Copy(field.begin, field.end());
        continue;
      }
      std::string& head = result_.lengths.emplace_back();
      AppendTag(field.number, WireType::kBytes, &head);
      AppendVarint(result_.size - size_before, &head);
      result_.pieces[place] = std::as_bytes(std::span(head));
      result_.size += head.size();
    }
    return absl::OkStatus();
  }

  absl::Status WalkTensor(uint64_t begin, uint64_t end) {
    WireField field;
    int64_t index = -1;
    for (WireCursor cursor(skeleton_, begin, end); !cursor.done();) {
      MP_RETURN_IF_ERROR(cursor.Next(&field));
      if (field.number == kTensorExternalData) {
        MP_ASSIGN_OR_RETURN(index, ParseReference(field));
      }
    }
    for (WireCursor cursor(skeleton_, begin, end); !cursor.done();) {
      MP_RETURN_IF_ERROR(cursor.Next(&field));
      if (index >= 0 &&
          (field.number == kTensorExternalData || field.number == kTensorDataLocation)) {
        continue;
      }
      Copy(field.begin, field.end());
    }
    if (index < 0) return absl::OkStatus();
    ++weights_;
    Add(std::as_bytes(std::span(replacements_[index].fields)));
    Add(replacements_[index].tail);
    return absl::OkStatus();
  }

  // The weight index N of an entry { key: "location" value: "#N" }.
  absl::StatusOr<int64_t> ParseReference(const WireField& entry) const {
    WireField field;
    for (WireCursor cursor(skeleton_, entry.payload, entry.end()); !cursor.done();) {
      MP_RETURN_IF_ERROR(cursor.Next(&field));
      if (field.number != 2 || field.length < 2) continue;
      const std::string_view value(reinterpret_cast<const char*>(skeleton_.data()) + field.payload,
                                   field.length);
      uint64_t index = 0;
      const char* end = value.data() + value.size();
      const auto [rest, error] = std::from_chars(value.data() + 1, end, index);
      if (value[0] == '#' && error == std::errc() && rest == end && index < replacements_.size()) {
        return static_cast<int64_t>(index);
      }
    }
    return Error(ERROR_REASON_INTERNAL_BUG, "a tensor in the skeleton refers to no weight");
  }

  void Copy(uint64_t begin, uint64_t end) {
    const std::span<const std::byte> bytes = skeleton_.subspan(begin, end - begin);
    result_.size += bytes.size();
    if (!result_.pieces.empty() && !result_.pieces.back().empty() &&
        result_.pieces.back().data() + result_.pieces.back().size() == bytes.data()) {
      // Continues the piece before.
      result_.pieces.back() = {result_.pieces.back().data(),
                               result_.pieces.back().size() + bytes.size()};
      return;
    }
    result_.pieces.push_back(bytes);
  }

  void Add(std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    result_.pieces.push_back(bytes);
    result_.size += bytes.size();
  }

  std::span<const std::byte> skeleton_;
  const std::vector<Replacement>& replacements_;
  SplicedModel result_;
  uint64_t weights_ = 0;
};

}  // namespace

absl::StatusOr<SplicedModel> Splice(std::span<const std::byte> skeleton,
                                    const std::vector<Replacement>& replacements) {
  return Splicer(skeleton, replacements).Run();
}

}  // namespace modelpress::onnx_format
