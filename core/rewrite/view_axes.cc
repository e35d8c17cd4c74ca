// Axes of views: see view_axes.h.
#include "core/rewrite/view_axes.h"

#include <algorithm>
#include <cstddef>

namespace modelpress {
namespace {

// How many of `target`'s extents each of `source`'s is split into; nothing where an axis is not whole axes of the target, or
// where that is not clear.
std::optional<std::vector<size_t>> SplitCounts(const Axes& source, const Axes& target) {
  std::vector<size_t> counts(source.size(), 0);
  const auto take = [&](int64_t extent, size_t* place, size_t end, int step) -> size_t {
    int64_t product = 1;
    size_t count = 0;
    do {
      if (*place == end) return 0;
      const int64_t next = target[step > 0 ? *place : *place - 1];
      if (next < 1 || __builtin_mul_overflow(product, next, &product)) return 0;
      *place += static_cast<size_t>(step);
      ++count;
    } while (product < extent);
    return product == extent ? count : 0;
  };
  size_t begin = 0, end = target.size(), first = 0, last = source.size();
  for (; first < last && source[first] != -1; ++first) {
    if ((counts[first] = take(source[first], &begin, end, 1)) == 0) return std::nullopt;
  }
  for (; last > first + 1; --last) {
    if (source[last - 1] == -1) return std::nullopt;
    if ((counts[last - 1] = take(source[last - 1], &end, begin, -1)) == 0) return std::nullopt;
  }
  if (first == source.size()) return begin == target.size() ? std::optional(counts) : std::nullopt;
  if (begin >= end || !std::ranges::contains(target.begin() + static_cast<int64_t>(begin),
                                             target.begin() + static_cast<int64_t>(end), -1))
    return std::nullopt;
  counts[first] = end - begin;
  return counts;
}

}  // namespace

bool IsPermutation(const Axes& axes) {
  Axes sorted = axes;
  std::ranges::sort(sorted);
  for (size_t i = 0; i < sorted.size(); ++i) {
    if (sorted[i] != static_cast<int64_t>(i)) return false;
  }
  return true;
}

std::optional<Axes> PermutationWithout(const Axes& perm, Axes added, Axes taken) {
  const int64_t rank = static_cast<int64_t>(perm.size());
  const auto normalize = [rank](Axes* axes) {
    for (int64_t& axis : *axes) axis += axis < 0 ? rank : 0;
    std::ranges::sort(*axes);
    return axes->empty() || (axes->front() >= 0 && axes->back() < rank);
  };
  if (!normalize(&added) || !normalize(&taken)) return std::nullopt;
  Axes from;
  for (const int64_t axis : taken) from.push_back(perm[static_cast<size_t>(axis)]);
  std::ranges::sort(from);
  if (from != added) return std::nullopt;
  Axes left;
  for (int64_t j = 0; j < rank; ++j) {
    if (std::ranges::contains(taken, j)) continue;
    const int64_t axis = perm[static_cast<size_t>(j)];
    left.push_back(axis -
                   std::ranges::count_if(added, [axis](int64_t other) { return other < axis; }));
  }
  return left;
}

std::optional<SplitView> SplitBeforeTranspose(const Axes& before, const Axes& perm,
                                              const Axes& after) {
  if (before.size() != perm.size() || after.size() <= perm.size() ||
      std::ranges::contains(before, 0) || std::ranges::contains(after, 0))
    return std::nullopt;
  Axes turned;
  for (const int64_t axis : perm) turned.push_back(before[static_cast<size_t>(axis)]);
  const auto counts = SplitCounts(turned, after);
  if (!counts.has_value()) return std::nullopt;
  // Places in `after` of what each axis of `before` is split into.
  std::vector<Axes> parts(perm.size());
  int64_t place = 0;
  for (size_t j = 0; j < perm.size(); ++j) {
    for (size_t k = 0; k < (*counts)[j]; ++k)
      parts[static_cast<size_t>(perm[j])].push_back(place++);
  }
  SplitView view{.dims = {}, .perm = Axes(after.size())};
  for (const Axes& axes : parts) {
    for (const int64_t axis : axes) {
      view.perm[static_cast<size_t>(axis)] = static_cast<int64_t>(view.dims.size());
      view.dims.push_back(after[static_cast<size_t>(axis)]);
    }
  }
  return view;
}

}  // namespace modelpress
