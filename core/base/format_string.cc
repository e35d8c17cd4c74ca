// The one place that instantiates std::format: see format_string.h.
#include "core/base/format_string.h"

namespace modelpress {

std::string FormatArguments(std::string_view format, std::format_args arguments) {
  return std::vformat(format, arguments);
}

}  // namespace modelpress
