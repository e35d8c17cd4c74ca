// Numbers and text as people read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/format_count.h"

namespace modelpress {

std::string FormatBytes(uint64_t bytes);                // "917 B", "1.5 MiB"
std::string FormatSeconds(double seconds);              // "3.2 ms", "41.0 s", "2 min 05 s"
std::string FormatNumber(double value);                 // 4 significant digits; "inf", "nan"
std::string FormatPercent(double share);                // 0.9811 -> "98.11 %"
std::string FormatChange(double before, double after);  // "-0.50", sign always

// A name or message from a model or a server for a terminal: control characters and broken UTF-8 become "?", so that
// nothing printed can steer the terminal.
std::string Printable(std::string_view text);
// Columns that the text takes: code points, which is right for what modelpress prints.
size_t DisplayWidth(std::string_view text);

// Columns of text. The first row is the heading; a column is aligned to the right if every cell below the heading
// starts with a digit, sign or is empty.
class TextTable {
 public:
  void AddRow(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const { return rows_.size() <= 1; }
  // Each line starts with `indent` and ends without spaces.
  std::string ToString(std::string_view indent = "  ") const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace modelpress
