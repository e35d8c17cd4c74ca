// Errors as people read them; see error_view.h.
#include "client/terminal/error_view.h"

#include <algorithm>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/terminal/format.h"
#include "core/base/status.h"

namespace modelpress {

std::string RenderError(const absl::Status& status) {
  const ErrorDetail detail = DetailOf(status);
  std::map<std::string, std::string> facts(detail.metadata().begin(), detail.metadata().end());
  std::string message(status.message());
  const auto remedy = facts.find("remedy");
  // The message ends with the remedy for those who see only it; here it has its own line.
  if (remedy != facts.end() && message.ends_with("; " + remedy->second)) {
    message.resize(message.size() - remedy->second.size() - 2);
  }
  // Lists have a line for each item, set in further than the facts below: no name in them can pass for one.
  std::string text = "error: ";
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(message, '\n'))) {
    const std::string_view words =
        std::string_view(line).substr(std::min(line.find_first_not_of(' '), line.size()));
    absl::StrAppend(&text, text.ends_with('\n') ? "    " : "", Printable(words), "\n");
  }
  absl::StrAppend(&text, "  reason: ", std::string(ReasonName(detail.reason())), "\n");
  for (const auto& [key, value] : facts) {
    if (key != "remedy" && !value.empty()) {
      absl::StrAppend(&text, "  ", Printable(key), ": ", Printable(value), "\n");
    }
  }
  if (remedy != facts.end())
    absl::StrAppend(&text, "  what to do: ", Printable(remedy->second), "\n");
  return text;
}

}  // namespace modelpress
