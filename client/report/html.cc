// Pieces of HTML: see html.h.
#include "client/report/html.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "client/terminal/format.h"

namespace modelpress {
namespace {

bool IsNumeric(std::string_view cell) {
  return cell.empty() || (cell[0] >= '0' && cell[0] <= '9') || cell[0] == '+' || cell[0] == '-';
}

}  // namespace

std::string EscapeHtml(std::string_view text) {
  return absl::StrReplaceAll(
      Printable(text),
      {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

std::string HtmlTable(const std::vector<std::vector<std::string>>& rows) {
  std::string html = "<table>";
  for (size_t i = 0; i < rows.size(); ++i) {
    absl::StrAppend(&html, "<tr>");
    for (size_t column = 0; column < rows[i].size(); ++column) {
      const std::string& cell = rows[i][column];
      const char* tag = i == 0 || column == 0 ? "th" : "td";
      const bool right = column > 0 && (i == 0 || IsNumeric(cell));
      absl::StrAppend(&html, "<", tag, right ? " class=\"number\">" : ">", cell, "</", tag, ">");
    }
    absl::StrAppend(&html, "</tr>\n");
  }
  return html + "</table>\n";
}

std::string HtmlBars(const std::vector<Bar>& bars) {
  std::string html = "<div class=\"bars\">\n";
  for (const Bar& bar : bars) {
    const double share = std::isfinite(bar.share) ? std::clamp(bar.share, 0.0, 1.0) : 1.0;
    absl::StrAppendFormat(
        &html,
        "<div class=\"bar\" title=\"%s\"><span class=\"name\">%s</span><span class=\"track\"><span "
        "class=\"fill %s\" style=\"width:%.2f%%\"></span></span><span "
        "class=\"label\">%s</span></div>\n",
        EscapeHtml(bar.hint.empty() ? bar.name : bar.hint), EscapeHtml(bar.name), bar.tone,
        share * 100, EscapeHtml(bar.label));
  }
  return html + "</div>\n";
}

std::string HtmlDetails(std::string_view title, std::string_view body) {
  return absl::StrCat("<details><summary>", EscapeHtml(title), "</summary>\n", std::string(body),
                      "</details>\n");
}

}  // namespace modelpress
