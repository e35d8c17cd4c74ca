// What stands in the way of a conversion: see refusals.h.
#include "core/formats/import/refusals.h"

#include "absl/strings/str_cat.h"
#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress::import {

void Refusals::Add(std::string_view op, std::string_view node, const absl::Status& status) {
  const ErrorDetail detail = DetailOf(status);
  const auto rule = detail.metadata().find("rule"), remedy = detail.metadata().find("remedy");
  const std::string reason =
      rule == detail.metadata().end() ? std::string(status.message()) : std::string(rule->second);
  Row& row = rows_[FormatString("{}: {}", op, reason)];
  if (row.count++ > 0) return;
  row.op = op;
  row.first_node = node;
  row.reason = reason;
  if (remedy != detail.metadata().end()) row.remedy = remedy->second;
}

absl::Status Refusals::ToStatus() const {
  int count = 0;
  std::string message;
  for (const auto& [key, row] : rows_) {
    count += row.count;
    absl::StrAppend(&message, "\n  ", row.count, " x ", row.op, ", first \"", row.first_node,
                    "\": ", row.reason,
                    row.remedy.empty() ? "" : absl::StrCat(" (", row.remedy, ")"));
  }
  const Row& first = rows_.begin()->second;
  return Error(ERROR_REASON_OP_UNSUPPORTED,
               FormatString("{} operator{} of the model cannot be converted:{}", count,
                            count == 1 ? "" : "s", message))
      .Op(first.op)
      .Node(first.first_node)
      .Remedy("export the model without them, or cut it before them");
}

}  // namespace modelpress::import
