// Extents that are expressions of symbols, as SymPy's srepr writes them: "Mul(Integer(3), Symbol('s0', integer=True))".
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace modelpress::pt2 {

// The symbol's name if the expression is nothing but one symbol; else "".
std::string SymbolName(std::string_view expression);
// The value with the given symbols; nullopt for unknown symbols, functions or text, and on overflow. Knows Integer, Symbol,
// Add, Mul, Pow with a positive exponent, FloorDiv, Mod, Max and Min, up to 64 levels deep.
std::optional<int64_t> Evaluate(std::string_view expression,
                                const std::map<std::string, int64_t, std::less<>>& symbols);

}  // namespace modelpress::pt2
