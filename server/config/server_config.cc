// Defaults and ranges of the configuration: see server_config.h.
#include "server/config/server_config.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/numbers.h"
#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

constexpr uint32_t kMaxChunkBytes = 1 << 20;
// The knee of throughput over chunk size on loopback; larger ones only cost memory.
constexpr uint32_t kPreferredChunkBytes = 256 << 10;
constexpr uint32_t kMaxBlobs = 1024;
constexpr uint32_t kMaxRecipeBytes = 256 << 10;
constexpr double kMaxSeconds = 30.0 * 24 * 3600;

Error Invalid(std::string_view field, std::string_view message) {
  return Error(ERROR_REASON_REQUEST_INVALID, FormatString("configuration: {} {}", field, message))
      .With("field", field);
}

bool ListensOnAll(const std::string& host) {
  return host.empty() || host == "0.0.0.0" || host == "::" || host == "*";
}

}  // namespace

absl::StatusOr<HostPort> ParseHostPort(std::string_view text) {
  const size_t colon = text.rfind(':');
  HostPort result;
  uint32_t port = 0;
  if (colon == std::string_view::npos ||
      !absl::SimpleAtoi(std::string(text.substr(colon + 1)), &port) || port > 65535) {
    return Error(ERROR_REASON_REQUEST_INVALID, FormatString("\"{}\" is not HOST:PORT", text))
        .Remedy("write for example 0.0.0.0:7600");
  }
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  result.host = std::string(host);
  result.port = static_cast<uint16_t>(port);
  return result;
}

void FillDefaults(const Machine& machine, ServerConfig* config) {
  if (config->listen().empty()) config->set_listen("0.0.0.0:7600");
  if (config->metrics().empty()) config->set_metrics("0.0.0.0:7601");
  if (config->scratch_quota_bytes() == 0) {
    config->set_scratch_quota_bytes(machine.scratch_free_bytes / 10 * 8);
  }
  if (config->advertise().empty()) {
    const auto listen = ParseHostPort(config->listen());
    if (listen.ok() && ListensOnAll(listen->host)) {
      config->set_advertise(FormatString("{}:{}", machine.host_address, listen->port));
    } else {
      config->set_advertise(config->listen());
    }
  }
  if (config->workers() == 0) config->set_workers(std::max(1u, machine.cores / 2));
  if (config->threads_per_worker() == 0) {
    config->set_threads_per_worker(std::max(1u, machine.cores / config->workers()));
  }
  if (config->max_queued_jobs() == 0) config->set_max_queued_jobs(2 * config->workers());
  if (config->memory_budget_bytes() == 0)
    config->set_memory_budget_bytes(machine.memory_bytes / 10 * 8);
  if (config->max_blob_bytes() == 0) config->set_max_blob_bytes(64ull << 30);
  if (config->max_job_bytes() == 0) config->set_max_job_bytes(128ull << 30);
  if (config->max_deadline_seconds() == 0) config->set_max_deadline_seconds(14400);
  if (config->default_deadline_seconds() == 0) {
    config->set_default_deadline_seconds(std::min(1800.0, config->max_deadline_seconds()));
  }
  if (config->lease_seconds() == 0) config->set_lease_seconds(60);
  if (config->stall_seconds() == 0) config->set_stall_seconds(30);
  if (!config->has_drain_delay_seconds()) config->set_drain_delay_seconds(5);
  if (!config->has_drain_seconds()) config->set_drain_seconds(600);
  if (!config->has_reflection()) config->set_reflection(true);
}

absl::Status ValidateConfig(const ServerConfig& config) {
  if (config.scratch().empty()) {
    return Invalid("scratch", "is missing")
        .Remedy("name a folder of this server's own: it is wiped at every start");
  }
  for (const auto& [field, value] : {std::pair{"listen", config.listen()},
                                     {"metrics", config.metrics()},
                                     {"advertise", config.advertise()}}) {
    if (const auto parsed = ParseHostPort(value); !parsed.ok())
      return Annotate(parsed.status(), "field", field);
  }
  if (config.advertise().size() > 200 || config.advertise().find('@') != std::string::npos) {
    return Invalid("advertise", "must be a plain HOST:PORT of at most 200 characters");
  }
  if (config.workers() > 1024) return Invalid("workers", "must be at most 1024");
  if (config.threads_per_worker() > 1024)
    return Invalid("threads_per_worker", "must be at most 1024");
  if (config.max_queued_jobs() > 100000)
    return Invalid("max_queued_jobs", "must be at most 100000");
  if (config.scratch_quota_bytes() == 0)
    return Invalid("scratch_quota_bytes", "is 0: the disk is full");
  if (config.max_job_bytes() < config.max_blob_bytes()) {
    return Invalid("max_job_bytes", "is less than max_blob_bytes");
  }
  for (const auto& [field, value, least] :
       {std::tuple{"default_deadline_seconds", config.default_deadline_seconds(), 1e-3},
        {"max_deadline_seconds", config.max_deadline_seconds(), 1e-3},
        {"lease_seconds", config.lease_seconds(), 1e-3},
        {"stall_seconds", config.stall_seconds(), 1e-3},
        {"drain_delay_seconds", config.drain_delay_seconds(), 0.0},
        {"drain_seconds", config.drain_seconds(), 0.0}}) {
    if (!std::isfinite(value) || value < least || value > kMaxSeconds) {
      return Invalid(field, FormatString("is {}, must be between {} and {} seconds", value, least,
                                         kMaxSeconds));
    }
  }
  if (config.default_deadline_seconds() > config.max_deadline_seconds()) {
    return Invalid("default_deadline_seconds", "is more than max_deadline_seconds");
  }
  return absl::OkStatus();
}

Limits LimitsOf(const ServerConfig& config) {
  Limits limits;
  limits.set_max_blob_bytes(config.max_blob_bytes());
  limits.set_max_job_bytes(config.max_job_bytes());
  limits.set_max_chunk_bytes(kMaxChunkBytes);
  limits.set_preferred_chunk_bytes(kPreferredChunkBytes);
  limits.set_max_blobs(kMaxBlobs);
  limits.set_max_recipe_bytes(kMaxRecipeBytes);
  limits.set_max_deadline_seconds(config.max_deadline_seconds());
  limits.set_default_deadline_seconds(config.default_deadline_seconds());
  limits.set_lease_seconds(config.lease_seconds());
  limits.set_stall_seconds(config.stall_seconds());
  limits.set_workers(config.workers());
  limits.set_max_queued_jobs(config.max_queued_jobs());
  return limits;
}

}  // namespace modelpress
