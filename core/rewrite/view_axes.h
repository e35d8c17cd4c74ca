// Axes of values that are shown in another shape or order: what two such steps are together.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace modelpress {

// Axes, extents of axes (one may be -1: what is left), or a permutation as Transpose's perm has it.
using Axes = std::vector<int64_t>;

// Whether each of 0 .. size - 1 is there once.
bool IsPermutation(const Axes& axes);

// Of Unsqueeze(added) - Transpose(perm) - Squeeze(taken), where those axes go that came: the perm of the Transpose that is
// left, else nothing. `added` and `taken` may count from the end.
std::optional<Axes> PermutationWithout(const Axes& perm, Axes added, Axes taken);

struct SplitView {
  Axes dims, perm;
};

// Of Reshape(before) - Transpose(perm) - Reshape(after), of which the last one only splits axes: Reshape(dims) -
// Transpose(perm), which split them first. Nothing where axes are joined, extents are 0, or it is not clear.
std::optional<SplitView> SplitBeforeTranspose(const Axes& before, const Axes& perm,
                                              const Axes& after);

}  // namespace modelpress
