// Checkpoints: see checkpoint.h.
#include "core/trainer/checkpoint.h"

#include <cstring>

#include "absl/crc/crc32c.h"
#include "core/base/status.h"

namespace modelpress::trainer {
namespace {

constexpr char kMagic[8] = "MPCKPT1";

struct Header {
  char magic[8];
  uint64_t sequence, state_bytes, tensor_bytes;
  uint32_t checksum, reserved;
};

absl::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::span<const std::byte> BytesOf(const at::Tensor& tensor) {
  return std::as_bytes(
      std::span(tensor.const_data_ptr<float>(), static_cast<size_t>(tensor.numel())));
}

}  // namespace

CheckpointFile::CheckpointFile(const FileRange& range) : range_(range) {}

FileRange CheckpointFile::Half(uint64_t number) const {
  FileRange half = range_;
  half.set_length(range_.length() / 2);
  half.set_offset(range_.offset() + (number % 2) * half.length());
  return half;
}

absl::Status CheckpointFile::Save(const std::string& state,
                                  const std::vector<at::Tensor>& tensors) {
  const FileRange half = Half(++sequence_);
  Header header{.sequence = sequence_, .state_bytes = state.size()};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  absl::crc32c_t checksum = absl::ComputeCrc32c(state);
  uint64_t offset = sizeof header;
  MP_RETURN_IF_ERROR(InheritedFiles::Write(half, offset, std::as_bytes(std::span(state))));
  offset += state.size();
  for (const at::Tensor& tensor : tensors) {
    const auto bytes = BytesOf(tensor);
    checksum = absl::ExtendCrc32c(checksum, AsText(bytes));
    MP_RETURN_IF_ERROR(InheritedFiles::Write(half, offset, bytes));
    offset += bytes.size();
    header.tensor_bytes += bytes.size();
  }
  header.checksum = static_cast<uint32_t>(checksum);
  return InheritedFiles::Write(half, 0, std::as_bytes(std::span(&header, 1)));
}

std::optional<std::string> CheckpointFile::Load(const InheritedFiles& files,
                                                const std::vector<at::Tensor>& tensors) {
  std::optional<std::string> newest;
  std::span<const std::byte> newest_tensors;
  for (const uint64_t number : {0, 1}) {
    const auto bytes = files.Bytes(Half(number));
    Header header;
    if (bytes.size() < sizeof header) continue;
    std::memcpy(&header, bytes.data(), sizeof header);
    const auto rest = bytes.subspan(sizeof header);
    if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0 || header.sequence <= sequence_ ||
        header.state_bytes > rest.size() ||
        header.tensor_bytes > rest.size() - header.state_bytes) {
      continue;
    }
    const auto all = rest.first(header.state_bytes + header.tensor_bytes);
    if (static_cast<uint32_t>(absl::ComputeCrc32c(AsText(all))) != header.checksum) continue;
    sequence_ = header.sequence;
    newest = std::string(AsText(all.first(header.state_bytes)));
    newest_tensors = all.subspan(header.state_bytes);
  }
  if (!newest.has_value()) return newest;
  for (const at::Tensor& tensor : tensors) {
    const size_t size = BytesOf(tensor).size();
    if (size > newest_tensors.size()) return std::nullopt;
    std::memcpy(tensor.mutable_data_ptr(), newest_tensors.data(), size);
    newest_tensors = newest_tensors.subspan(size);
  }
  return newest;
}

}  // namespace modelpress::trainer
