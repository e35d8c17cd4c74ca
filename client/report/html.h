// Pieces of HTML: escaping, tables, bars.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace modelpress {

// Text for an element or a quoted attribute: control characters and broken UTF-8 become "?", markup is escaped.
std::string EscapeHtml(std::string_view text);

// A table; the first row is the heading. Cells are HTML already. Cells that begin with a digit, sign or are empty stand to
// the right.
std::string HtmlTable(const std::vector<std::vector<std::string>>& rows);

// A horizontal bar of `share` (0..1) of the full width, with a label behind it. `tone` is a CSS class of the page's style:
// "good", "bad", "plain" or "before".
struct Bar {
  std::string name;  // plain text
  double share = 0;
  std::string label;  // plain text
  std::string_view tone = "plain";
  std::string hint;  // shown when pointed at; plain text
};
std::string HtmlBars(const std::vector<Bar>& bars);

// Folded up until it is clicked. `title` is plain text, `body` HTML.
std::string HtmlDetails(std::string_view title, std::string_view body);

}  // namespace modelpress
