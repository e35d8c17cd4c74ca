// Messages on a pipe: a little-endian uint32 length, then that many bytes of protobuf.
#pragma once

#include "absl/status/statusor.h"
#include "google/protobuf/message_lite.h"

namespace modelpress {

// INTERNAL_BUG if the other side is gone. Not thread-safe per descriptor.
absl::Status WriteFrame(int descriptor, const google::protobuf::MessageLite& message);
// Blocks for one message. False at the end of the stream (also in the middle of a message: the writer died); INTERNAL_BUG
// for a length over 256 MiB or bytes that are no such message.
absl::StatusOr<bool> ReadFrame(int descriptor, google::protobuf::MessageLite* message);

}  // namespace modelpress
