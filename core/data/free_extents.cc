// Choosing extents for free axes: see input_plan.h.
#include <algorithm>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "core/data/input_plan.h"

namespace modelpress {
namespace {

// Long enough for attention to mix positions, short enough to be fast.
constexpr int64_t kSequence = 8;
// Convolutional networks halve images up to five times: 64 leaves 2.
constexpr int64_t kImage = 64;
// A raw signal must be longer than the window of its first transform, often 512.
constexpr int64_t kSignal = 576;

bool IsBatchName(const std::string& symbol) {
  const std::string lower = absl::AsciiStrToLower(symbol);
  return lower == "n" || lower == "b" || lower.find("batch") != std::string::npos;
}

// The extent of a free axis after the batch, by the kind of value the input seems to be.
int64_t ExtentByKind(const ValueInfo& input) {
  const size_t rank = input.dims.size();
  const auto free_axes = std::ranges::count_if(input.dims.begin() + 1, input.dims.end(),
                                               [](int64_t extent) { return extent < 0; });
  const bool is_number = IsFloatingPoint(input.type) || input.type == DataType::kUint8;
  if (is_number && rank == 4 && free_axes >= 2) return kImage;
  if (IsFloatingPoint(input.type) && rank == 2) return kSignal;
  if (IsFloatingPoint(input.type) && rank == 3 && input.dims[1] == 1) return kSignal;
  return kSequence;
}

class ExtentChooser {
 public:
  std::vector<int64_t> Choose(const ValueInfo& input) {
    std::vector<int64_t> dims = input.dims;
    bool has_first = false;  // the first free axis after the batch is set
    for (size_t axis = 0; axis < dims.size(); ++axis) {
      if (dims[axis] >= 0) continue;
      const std::string symbol = axis < input.symbols.size() ? input.symbols[axis] : "";
      const bool is_batch = IsBatchName(symbol) || axis == 0 || IsState(input, axis);
      const int64_t by_kind = is_batch ? 1 : ExtentByKind(input);
      const bool is_one = is_batch || (has_first && by_kind != kImage);
      dims[axis] = Known(symbol, is_one ? 1 : by_kind);
      has_first |= !is_batch;
    }
    return dims;
  }

 private:
  // A recurrent state, [layers, batch, features]: fixed before and after the free axis.
  static bool IsState(const ValueInfo& input, size_t axis) {
    return input.dims.size() == 3 && axis == 1 && input.dims[0] > 0 && input.dims[2] > 0 &&
           input.symbols[axis].empty();
  }

  int64_t Known(const std::string& symbol, int64_t fallback) {
    if (symbol.empty()) return fallback;
    if (const auto found = symbols_.find(symbol); found != symbols_.end()) return found->second;
    int64_t extent = 0;
    const std::vector<std::string> terms = absl::StrSplit(symbol, " + ");
    for (const std::string& term : terms) {
      if (terms.size() == 1) {
        extent = fallback;
      } else if (int64_t number = 0; absl::SimpleAtoi(term, &number)) {
        extent += std::clamp<int64_t>(number, 0, kSignal);
      } else {
        extent += Known(term, kSequence);
      }
    }
    symbols_[symbol] = extent;
    return extent;
  }

  std::map<std::string, int64_t> symbols_;
};

}  // namespace

std::vector<std::vector<int64_t>> ChooseExtents(const std::vector<ValueInfo>& inputs) {
  ExtentChooser chooser;
  std::vector<std::vector<int64_t>> dims;
  for (const ValueInfo& input : inputs) dims.push_back(chooser.Choose(input));
  return dims;
}

}  // namespace modelpress
