// What the RPC layer tells to whoever counts. Thread-safe implementations; must not block.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "core/base/status.h"

namespace modelpress {

enum class RpcMethod { kRunJob, kGetCapabilities, kGetJob, kListJobs, kCancelJob };
inline constexpr int kRpcMethods = 5;

class RpcListener {
 public:
  virtual ~RpcListener() = default;
  virtual void OnRpcStarted(RpcMethod) {}
  virtual void OnRpcFinished(RpcMethod, absl::StatusCode, absl::Duration) {}
  virtual void OnMessageReceived(RpcMethod) {}
  virtual void OnMessageSent(RpcMethod) {}
  // Payload bytes of chunks.
  virtual void OnBytesReceived(uint64_t) {}
  virtual void OnBytesSent(uint64_t) {}
  // A write that waited for its reader.
  virtual void OnWriteStalled(absl::Duration) {}
};

}  // namespace modelpress
