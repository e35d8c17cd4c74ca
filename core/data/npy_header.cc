// Parsing the dict of an .npy header: see npy_header.h. NumPy reads it with Python's literal parser; the grammar here is
// what NumPy writes, white space anywhere, keys in any order, and Python 2's "L" after integers.
#include "core/data/npy_header.h"

#include <charconv>

#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

constexpr size_t kMaxRank = 64;  // NumPy 2's own limit

Error Bad(std::string_view what) {
  return Error(ERROR_REASON_DATA_INVALID, FormatString("the .npy header {}", what));
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  absl::StatusOr<NpyHeader> Dict() {
    NpyHeader header;
    bool has_descr = false, has_order = false, has_shape = false;
    MP_RETURN_IF_ERROR(Expect('{'));
    while (!Accept('}')) {
      MP_ASSIGN_OR_RETURN(const std::string key, String());
      MP_RETURN_IF_ERROR(Expect(':'));
      bool* seen = key == "descr"           ? &has_descr
                   : key == "fortran_order" ? &has_order
                   : key == "shape"         ? &has_shape
                                            : nullptr;
      if (seen == nullptr) return Bad(FormatString("has the unknown key '{}'", key));
      if (*seen) return Bad(FormatString("has the key '{}' twice", key));
      *seen = true;
      if (seen == &has_descr) {
        if (Peek() == '[') return Bad("describes a structured type; save plain arrays");
        MP_ASSIGN_OR_RETURN(header.descr, String());
      } else if (seen == &has_order) {
        MP_ASSIGN_OR_RETURN(header.fortran_order, Boolean());
      } else {
        MP_ASSIGN_OR_RETURN(header.shape, Tuple());
      }
      if (!Accept(',')) {
        MP_RETURN_IF_ERROR(Expect('}'));
        break;
      }
    }
    if (Peek() != '\0' || at_ != text_.size()) return Bad("goes on after its dict");
    if (!has_descr || !has_order || !has_shape) {
      return Bad("lacks one of the keys 'descr', 'fortran_order', 'shape'");
    }
    return header;
  }

 private:
  // The next character that is not white space; NUL at the end.
  char Peek() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) {
      ++at_;
    }
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  bool Accept(char wanted) {
    if (Peek() != wanted) return false;
    ++at_;
    return true;
  }

  absl::Status Expect(char wanted) {
    if (Accept(wanted)) return absl::OkStatus();
    return Bad(FormatString("has no '{}' at byte {}", wanted, at_));
  }

  absl::StatusOr<std::string> String() {
    const char quote = Peek();
    if (quote != '\'' && quote != '"') return Bad(FormatString("has no string at byte {}", at_));
    const size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) return Bad("has a string without end");
    const std::string_view value = text_.substr(at_ + 1, end - at_ - 1);
    if (value.find('\\') != std::string_view::npos) return Bad("has an escaped string");
    at_ = end + 1;
    return std::string(value);
  }

  absl::StatusOr<bool> Boolean() {
    Peek();
    for (const auto& [word, value] : {std::pair{"True", true}, {"False", false}}) {
      if (text_.substr(at_).starts_with(word)) {
        at_ += std::string_view(word).size();
        return value;
      }
    }
    return Bad(FormatString("has neither True nor False at byte {}", at_));
  }

  absl::StatusOr<std::vector<int64_t>> Tuple() {
    std::vector<int64_t> extents;
    MP_RETURN_IF_ERROR(Expect('('));
    while (!Accept(')')) {
      Peek();
      int64_t extent = 0;
      const char* begin = text_.data() + at_;
      const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), extent);
      if (error == std::errc::result_out_of_range) return Bad("has an extent of 2^63 or more");
      if (error != std::errc()) return Bad("has a shape that is no tuple of integers");
      if (extent < 0) return Bad(FormatString("has the negative extent {}", extent));
      if (extents.size() == kMaxRank) return Bad(FormatString("has more than {} axes", kMaxRank));
      extents.push_back(extent);
      at_ += static_cast<size_t>(end - begin);
      Accept('L');
      if (Accept(',')) continue;
      // "(3)" is an integer in Python, not a tuple.
      if (extents.size() == 1) return Bad("has a shape that is no tuple");
      MP_RETURN_IF_ERROR(Expect(')'));
      break;
    }
    return extents;
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

absl::StatusOr<NpyHeader> ParseNpyHeader(std::string_view text) { return Parser(text).Dict(); }

}  // namespace modelpress
