// JSON log lines: see log.h.
#include "server/observability/log.h"

#include <unistd.h>

#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace modelpress {
namespace {

std::string_view Name(LogSeverity severity) {
  switch (severity) {
    case LogSeverity::kInfo:
      return "info";
    case LogSeverity::kWarning:
      return "warning";
    case LogSeverity::kError:
      return "error";
  }
  return "error";
}

}  // namespace

LogLine::LogLine(LogSeverity severity, std::string_view event) {
  fields_["time"] = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone());
  fields_["severity"] = Name(severity);
  fields_["event"] = event;
}

LogLine::~LogLine() {
  // Bytes that are no UTF-8 are replaced: dump would throw.
  std::string line = fields_.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  line += '\n';
  // A log that cannot be written (closed pipe, full disk) must not stop the server.
  [[maybe_unused]] const ssize_t ignored = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace modelpress
