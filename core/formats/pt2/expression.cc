// Expressions of symbols: see expression.h.
#include "core/formats/pt2/expression.h"

#include <algorithm>
#include <vector>

#include "absl/strings/numbers.h"

namespace modelpress::pt2 {
namespace {

constexpr int kMaxDepth = 64;

bool IsNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.';
}

using Symbols = std::map<std::string, int64_t, std::less<>>;

// Recursive descent over "name(argument, ...)".
class Parser {
 public:
  Parser(std::string_view text, const Symbols& symbols) : text_(text), symbols_(symbols) {}

  std::optional<int64_t> Run() {
    const std::optional<int64_t> value = Term(0);
    Skip();
    return at_ == text_.size() ? value : std::nullopt;
  }

 private:
  void Skip() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  bool Take(char c) {
    Skip();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  std::optional<int64_t> Term(int depth) {
    if (depth > kMaxDepth) return std::nullopt;
    Skip();
    const size_t begin = at_;
    while (at_ < text_.size() && IsNameCharacter(text_[at_])) ++at_;
    const std::string_view name = text_.substr(begin, at_ - begin);
    if (!Take('(')) return std::nullopt;
    if (name == "Integer" || name == "Symbol") {
      const size_t end = text_.find(')', at_);
      if (end == std::string_view::npos) return std::nullopt;
      const std::string_view inside = text_.substr(at_, end - at_);
      at_ = end + 1;
      return name == "Integer" ? Number(inside) : SymbolValue(inside);
    }
    std::vector<int64_t> arguments;
    do {
      const std::optional<int64_t> argument = Term(depth + 1);
      if (!argument.has_value()) return std::nullopt;
      arguments.push_back(*argument);
    } while (Take(','));
    if (!Take(')')) return std::nullopt;
    return Apply(name.substr(name.rfind('.') == std::string_view::npos ? 0 : name.rfind('.') + 1),
                 arguments);
  }

  static std::optional<int64_t> Number(std::string_view text) {
    int64_t value = 0;
    if (!absl::SimpleAtoi(std::string(text), &value)) return std::nullopt;
    return value;
  }

  std::optional<int64_t> SymbolValue(std::string_view inside) const {
    if (inside.size() < 2 || inside[0] != '\'') return std::nullopt;
    const size_t end = inside.find('\'', 1);
    if (end == std::string_view::npos) return std::nullopt;
    const auto found = symbols_.find(inside.substr(1, end - 1));
    if (found == symbols_.end()) return std::nullopt;
    return found->second;
  }

  static std::optional<int64_t> Fold(const std::vector<int64_t>& arguments, int64_t start,
                                     auto overflows) {
    int64_t value = start;
    for (const int64_t argument : arguments) {
      if (overflows(value, argument, &value)) return std::nullopt;
    }
    return value;
  }

  static std::optional<int64_t> Apply(std::string_view name,
                                      const std::vector<int64_t>& arguments) {
    if (name == "Add") {
      return Fold(arguments, 0,
                  [](int64_t a, int64_t b, int64_t* c) { return __builtin_add_overflow(a, b, c); });
    }
    if (name == "Mul") {
      return Fold(arguments, 1,
                  [](int64_t a, int64_t b, int64_t* c) { return __builtin_mul_overflow(a, b, c); });
    }
    if (name == "Max") return *std::ranges::max_element(arguments);
    if (name == "Min") return *std::ranges::min_element(arguments);
    if (arguments.size() != 2) return std::nullopt;
    const int64_t a = arguments[0], b = arguments[1];
    if (name == "Pow") {
      if (b < 0 || b > 62) return std::nullopt;
      return Fold(std::vector<int64_t>(static_cast<size_t>(b), a), 1,
                  [](int64_t x, int64_t y, int64_t* z) { return __builtin_mul_overflow(x, y, z); });
    }
    constexpr int64_t kMost = int64_t{1} << 61;
    if (b <= 0 || b > kMost || a > kMost || a < -kMost) return std::nullopt;
    const int64_t rest = ((a % b) + b) % b;
    if (name == "FloorDiv") return (a - rest) / b;
    if (name == "Mod" || name == "PythonMod") return rest;
    return std::nullopt;
  }

  std::string_view text_;
  const Symbols& symbols_;
  size_t at_ = 0;
};

}  // namespace

std::string SymbolName(std::string_view expression) {
  constexpr std::string_view kBegin = "Symbol('";
  if (!expression.starts_with(kBegin)) return "";
  expression.remove_prefix(kBegin.size());
  const size_t end = expression.find('\'');
  if (end == std::string_view::npos || expression.find('(', end) != std::string_view::npos ||
      expression.find(')', end) != expression.size() - 1) {
    return "";
  }
  return std::string(expression.substr(0, end));
}

std::optional<int64_t> Evaluate(std::string_view expression, const Symbols& symbols) {
  return Parser(expression, symbols).Run();
}

}  // namespace modelpress::pt2
