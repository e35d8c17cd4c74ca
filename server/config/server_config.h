// The configuration of modelpressd: YAML text into ServerConfig, defaults, ranges. Pure but for the facts in Machine.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "modelpress/v1/capabilities.pb.h"
#include "modelpress/v1/config.pb.h"
#include "server/config/machine.h"

namespace modelpress {

struct HostPort {
  std::string host;  // without brackets
  uint16_t port = 0;
};
// "HOST:PORT", "[V6]:PORT".
absl::StatusOr<HostPort> ParseHostPort(std::string_view text);

// Fills in what is absent (or 0) as config.proto says.
void FillDefaults(const Machine& machine, v1::ServerConfig* config);

// Ranges and contradictions of a filled-in configuration. REQUEST_INVALID with the field.
absl::Status ValidateConfig(const v1::ServerConfig& config);

// What clients are told.
v1::Limits LimitsOf(const v1::ServerConfig& config);

}  // namespace modelpress
