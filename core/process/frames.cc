// Messages on a pipe: see frames.h.
#include "core/process/frames.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

constexpr uint32_t kMaxFrameBytes = uint32_t{256} << 20;

// Reads exactly `size` bytes; false at the end of the stream.
absl::StatusOr<bool> ReadFully(int descriptor, char* data, size_t size) {
  while (size > 0) {
    const ssize_t got = read(descriptor, data, size);
    if (got == 0) return false;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      return Error(ERROR_REASON_INTERNAL_BUG,
                   FormatString("cannot read from a worker's pipe: {}", strerror(errno)));
    }
    data += got;
    size -= static_cast<size_t>(got);
  }
  return true;
}

}  // namespace

absl::Status WriteFrame(int descriptor, const google::protobuf::MessageLite& message) {
  std::string frame(sizeof(uint32_t), '\0');
  message.AppendToString(&frame);
  const auto length = static_cast<uint32_t>(frame.size() - sizeof(uint32_t));
  memcpy(frame.data(), &length, sizeof length);
  for (size_t written = 0; written < frame.size();) {
    const ssize_t put = write(descriptor, frame.data() + written, frame.size() - written);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      return Error(ERROR_REASON_INTERNAL_BUG,
                   FormatString("cannot write to a worker's pipe: {}", strerror(errno)));
    }
    written += static_cast<size_t>(put);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> ReadFrame(int descriptor, google::protobuf::MessageLite* message) {
  uint32_t length = 0;
  MP_ASSIGN_OR_RETURN(bool more,
                      ReadFully(descriptor, reinterpret_cast<char*>(&length), sizeof length));
  if (!more) return false;
  if (length > kMaxFrameBytes) {
    return Error(ERROR_REASON_INTERNAL_BUG, FormatString("a worker's frame of {} bytes", length));
  }
  std::string bytes(length, '\0');
  MP_ASSIGN_OR_RETURN(more, ReadFully(descriptor, bytes.data(), length));
  if (!more) return false;
  if (!message->ParseFromString(bytes)) {
    return Error(ERROR_REASON_INTERNAL_BUG, "a worker's frame does not parse");
  }
  return true;
}

}  // namespace modelpress
