// Shapes and axes: RESHAPE, EXPAND_DIMS, SQUEEZE, TRANSPOSE, BROADCAST_TO, BROADCAST_ARGS, TILE, SHAPE, RANK (all
// versions, all types; codes stay codes).
//
//   RESHAPE -> Reshape, to the output's own shape where at most one extent of it is free: then nothing computes it
//   EXPAND_DIMS -> Unsqueeze     SQUEEZE -> Squeeze      TRANSPOSE -> Transpose      BROADCAST_TO -> Expand    TILE -> Tile
//   SHAPE -> a constant, or Shape and Cast              RANK -> a constant
//   BROADCAST_ARGS -> Max of the shapes, the shorter one with ones in front
#include <algorithm>
#include <numeric>

#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {
namespace {

int64_t Product(const std::vector<int64_t>& dims) {
  int64_t product = 1;
  for (const int64_t dim : dims) product *= dim == -1 ? 1 : dim;
  return product;
}

// Whether `target` can be what `source` is reshaped to: a declared shape may be out of date where shapes are computed.
bool Fits(const SourceTensor& source, const std::vector<int64_t>& target) {
  if (!source.has_shape) return false;
  if (source.is_static()) {
    const int64_t known = Product(target), all = Product(source.shape);
    return std::ranges::contains(target, -1) ? known > 0 && all % known == 0 : known == all;
  }
  return std::ranges::contains(target, -1);
}

absl::Status Reshape(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  MP_ASSIGN_OR_RETURN(const std::string x, c.Moved(0));
  std::vector<int64_t> dims;
  if (c.IsConstant(1)) {
    MP_ASSIGN_OR_RETURN(dims, c.Ints(1));
  } else if (const auto target = c.TargetShape(0, 1);
             target.has_value() && Fits(c.Source(0), *target)) {
    dims = *target;
  } else if (c.Has(1)) {
    MP_ASSIGN_OR_RETURN(const std::string shape, c.Int64In(1));
    return c.OutMoved(0, 0, c.Add("Reshape", {x, shape}, {{"allowzero", int64_t{1}}}));
  } else if (const auto* list = c.Options<schema::ReshapeOptions>().new_shape(); list != nullptr) {
    dims.assign(list->begin(), list->end());
    // "[0]" was once written for a scalar.
    if (dims.size() == 1 && dims[0] == 0 && c.Target().shape.empty()) dims.clear();
  } else {
    dims = c.Target().shape;
  }
  if (std::ranges::any_of(dims, [](int64_t dim) { return dim < -1; }) ||
      std::ranges::count(dims, -1) > 1) {
    return c.Malformed("its shape has negative extents");
  }
  if (c.Source(0).type == TensorType::COMPLEX64) dims.push_back(2);
  return c.OutMoved(0, 0, c.builder().Reshape(x, dims));
}

absl::Status ExpandDims(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  MP_ASSIGN_OR_RETURN(const std::string x, c.Moved(0));
  MP_ASSIGN_OR_RETURN(std::vector<int64_t> axis, c.Ints(1));
  if (axis.size() != 1) return c.Malformed("it has more than one axis");
  if (c.Rank(0) >= 0) {
    MP_ASSIGN_OR_RETURN(axis[0], c.Axis(axis[0], c.Rank(0) + 1));
  }
  return c.OutMoved(0, 0, c.Add("Unsqueeze", {x, c.model().Int64s(axis)}));
}

absl::Status Squeeze(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  MP_ASSIGN_OR_RETURN(const std::string x, c.Moved(0));
  const auto* list = c.Options<schema::SqueezeOptions>().squeeze_dims();
  std::vector<int64_t> axes;
  if (list != nullptr) axes.assign(list->begin(), list->end());
  Names inputs = {x};
  if (c.Rank(0) >= 0) {
    for (int64_t& axis : axes) {
      MP_ASSIGN_OR_RETURN(axis, c.Axis(axis, c.Rank(0)));
    }
    if (axes.empty()) {
      for (int64_t i = 0; i < c.Rank(0); ++i) {
        if (c.Source(0).shape[i] == 1) axes.push_back(i);
      }
    }
    if (axes.empty()) return c.OutMoved(0, 0, x);
  }
  if (!axes.empty()) inputs.push_back(c.model().Int64s(axes));
  return c.OutMoved(0, 0, c.Add("Squeeze", std::move(inputs)));
}

absl::Status Transpose(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  MP_ASSIGN_OR_RETURN(const std::vector<int64_t> perm, c.Ints(1));
  std::vector<bool> seen(perm.size(), false);
  for (const int64_t axis : perm) {
    if (axis < 0 || axis >= static_cast<int64_t>(perm.size()) || seen[axis]) {
      return c.Malformed("its permutation is none");
    }
    seen[axis] = true;
  }
  if (c.IsConstant(0) && !IsQuantized(c.Source(0)) && c.Source(0).shape.size() == perm.size()) {
    MP_ASSIGN_OR_RETURN(const std::string turned, c.scope().Permuted(c.op().inputs[0], perm));
    return c.OutMoved(0, 0, turned);
  }
  MP_ASSIGN_OR_RETURN(const std::string x, c.Moved(0));
  return c.OutMoved(0, 0, c.builder().Transpose(x, perm));
}

absl::Status BroadcastTo(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  MP_ASSIGN_OR_RETURN(const std::string x, c.Moved(0));
  std::string shape;
  if (const auto target = c.TargetShape(0, 0);
      target.has_value() && !c.IsConstant(1) && c.Source(0).is_static()) {
    shape = c.model().Int64s(*target);
  } else {
    MP_ASSIGN_OR_RETURN(shape, c.Int64In(1));
  }
  return c.OutMoved(0, 0, c.Add("Expand", {x, shape}));
}

absl::Status BroadcastArgs(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  if (!c.Source(0).is_static() || !c.Source(1).is_static())
    return c.Unsupported("the ranks are not known");
  const int64_t rank = std::max(c.Source(0).shape[0], c.Source(1).shape[0]);
  Names shapes;
  for (int i = 0; i < 2; ++i) {
    MP_ASSIGN_OR_RETURN(std::string shape, c.Int64In(i));
    const std::vector<int64_t> ones(rank - c.Source(i).shape[0], 1);
    if (!ones.empty())
      shape = c.Add("Concat", {c.model().Int64s(ones), shape}, {{"axis", int64_t{0}}});
    shapes.push_back(shape);
  }
  // An extent of 1 yields to the other one, which may be 0.
  const std::string is_one = c.Add("Equal", {shapes[0], c.model().Int64(1)});
  return c.Out(0, c.Add("Where", {is_one, shapes[1], shapes[0]}), DataType::kInt64);
}

absl::Status Tile(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  MP_ASSIGN_OR_RETURN(const std::string x, c.Moved(0));
  MP_ASSIGN_OR_RETURN(const std::string repeats, c.Int64In(1));
  return c.OutMoved(0, 0, c.Add("Tile", {x, repeats}));
}

absl::Status Shape(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  const SourceTensor& source = c.Source(0);
  if (source.is_static()) {
    const int64_t rank = static_cast<int64_t>(source.shape.size());
    if (c.Target().type == TensorType::INT64) return c.OutRaw(0, c.model().Int64s(source.shape));
    const std::vector<int32_t> narrow(source.shape.begin(), source.shape.end());
    return c.OutRaw(0, c.model().Constant(DataType::kInt32, std::span(&rank, 1),
                                          std::as_bytes(std::span(narrow))));
  }
  MP_ASSIGN_OR_RETURN(const std::string x, c.Raw(0));
  return c.Out(0, c.Add("Shape", {x}), DataType::kInt64);
}

absl::Status Rank(OperatorContext& c) {
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  return c.OutRaw(0, c.model().Int32(rank));
}

}  // namespace

void RegisterTfliteOperators_shape(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::RESHAPE, Reshape);
  registry.Add(BuiltinOperator::EXPAND_DIMS, ExpandDims);
  registry.Add(BuiltinOperator::SQUEEZE, Squeeze);
  registry.Add(BuiltinOperator::TRANSPOSE, Transpose);
  registry.Add(BuiltinOperator::BROADCAST_TO, BroadcastTo);
  registry.Add(BuiltinOperator::BROADCAST_ARGS, BroadcastArgs);
  registry.Add(BuiltinOperator::TILE, Tile);
  registry.Add(BuiltinOperator::SHAPE, Shape);
  registry.Add(BuiltinOperator::RANK, Rank);
}

}  // namespace modelpress::tflite
