// Channels to servers: names, balancing, keepalive and retries in one place.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "grpcpp/channel.h"

namespace modelpress {

// A gRPC target from what a person writes: "host:port" becomes "dns:///host:port", so that every
// address behind the name is used; targets that name their scheme ("ipv4:1.2.3.4:1,5.6.7.8:1",
// "unix:/run/socket") stay as they are.
std::string TargetOf(std::string_view server);

// The address part of a job id ("<id>@<address>"), where its instance is dialled; "" if it has none.
std::string_view InstanceAddress(std::string_view job_id);

enum class Routing {
  // Any ready replica behind the name, in turns; one that drains gets no new job.
  kAnyReplica,
  // This very instance, also while it drains: its jobs are there and nowhere else.
  kOneInstance,
};

// Never fails: an unreachable server shows at the first call. Thread-safe.
std::shared_ptr<grpc::Channel> OpenChannel(std::string_view server, Routing routing);

}  // namespace modelpress
