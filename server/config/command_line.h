// The command line of modelpressd: a configuration file, and flags on top of it.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "modelpress/v1/config.pb.h"

namespace modelpress {

struct CommandLine {
  v1::ServerConfig config;  // as given: without defaults
  bool check_config = false;
  // Set if there is nothing more to do than to print this (--help, --version).
  std::string text;
};

// REQUEST_INVALID for flags that cannot be read; the errors of ReadYaml with the file's path.
absl::StatusOr<CommandLine> ReadCommandLine(int argc, const char* const* argv,
                                            std::string_view version);

}  // namespace modelpress
