// Channel settings and why they are what they are; see channel.h.
#include "client/session/channel.h"

#include "absl/strings/str_cat.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"

namespace modelpress {
namespace {

// Only calls that change nothing are retried by gRPC itself. RunJob is not: gRPC cannot retry a
// stream that has received a message, and our own session knows where to go on.
constexpr char kRetries[] = R"("methodConfig": [{
    "name": [{"service": "modelpress.v1.JobService", "method": "GetCapabilities"},
             {"service": "modelpress.v1.JobService", "method": "GetJob"},
             {"service": "modelpress.v1.JobService", "method": "ListJobs"},
             {"service": "modelpress.v1.JobService", "method": "CancelJob"}],
    "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.2s", "maxBackoff": "5s",
                    "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}],
  "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1})";

constexpr char kBalance[] = R"("loadBalancingConfig": [{"round_robin": {}}],
  "healthCheckConfig": {"serviceName": "readiness"},)";

constexpr int kKeepaliveMs = 30'000;  // below the 60 s after which load balancers drop idle links
constexpr int kKeepaliveTimeoutMs = 20'000;
constexpr int kReconnectMinMs = 200;
constexpr int kReconnectMaxMs = 5'000;  // the session's own patience is shorter than gRPC's 120 s

}  // namespace

std::string TargetOf(std::string_view server) {
  for (std::string_view scheme : {"dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "xds:"}) {
    if (server.starts_with(scheme)) return std::string(server);
  }
  return absl::StrCat("dns:///", std::string(server));
}

std::string_view InstanceAddress(std::string_view job_id) {
  const size_t at = job_id.find('@');
  return at == std::string_view::npos ? std::string_view() : job_id.substr(at + 1);
}

std::shared_ptr<grpc::Channel> OpenChannel(std::string_view server, Routing routing) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 0);
  // gRPC 1.51 stops pinging after two pings on a quiet stream; a queued job is quiet for long.
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kReconnectMaxMs);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectMinMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMaxMs);
  arguments.SetServiceConfigJSON(
      absl::StrCat("{", routing == Routing::kAnyReplica ? kBalance : "", kRetries, "}"));
  return grpc::CreateCustomChannel(TargetOf(server), grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace modelpress
