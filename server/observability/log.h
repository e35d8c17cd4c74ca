// Structured logs: one JSON object a line on standard error. Never job data, model names or texts that come from a model.
//
//   LogLine(LogSeverity::kInfo, "job_finished").Add("job_id", id).Add("seconds", 1.5);
#pragma once

#include <string_view>

#include "nlohmann/json.hpp"

namespace modelpress {

enum class LogSeverity { kInfo, kWarning, kError };

// Written by the destructor, in one write: lines of several threads do not mix.
class LogLine {
 public:
  LogLine(LogSeverity severity, std::string_view event);
  ~LogLine();
  LogLine(const LogLine&) = delete;
  LogLine& operator=(const LogLine&) = delete;

  template <typename T>
  LogLine& Add(std::string_view key, const T& value) {
    fields_[std::string(key)] = value;
    return *this;
  }

 private:
  nlohmann::ordered_json fields_;
};

}  // namespace modelpress
