// A weight of any rank seen as columns; see matrix_view.h.
#include "core/quant/matrix_view.h"

namespace modelpress {
namespace {

struct Extents {
  uint64_t outer = 1, axis = 1, inner = 1;
};

Extents Around(std::span<const int64_t> dims, size_t axis) {
  Extents extents;
  for (size_t i = 0; i < dims.size(); ++i) {
    (i < axis    ? extents.outer
     : i == axis ? extents.axis
                 : extents.inner) *= static_cast<uint64_t>(dims[i]);
  }
  return extents;
}

}  // namespace

MatrixView ColumnsAlong(std::span<const int64_t> dims, size_t axis) {
  const auto [outer, extent, inner] = Around(dims, axis);
  return {.columns = {outer * inner, std::max<uint64_t>(inner, 1), 1, extent * inner},
          .rows = {extent, std::max<uint64_t>(extent, 1), inner, 0}};
}

MatrixView ColumnsOfChannels(std::span<const int64_t> dims, size_t axis) {
  const auto [outer, channels, inner] = Around(dims, axis);
  return {.columns = {channels, std::max<uint64_t>(channels, 1), inner, 0},
          .rows = {outer * inner, std::max<uint64_t>(inner, 1), 1, channels * inner}};
}

}  // namespace modelpress
