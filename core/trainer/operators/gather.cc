// Taking and putting elements by index.
#include <numeric>

#include "core/trainer/operator.h"

namespace modelpress::trainer {
namespace {

// Negative indices count from the end.
at::Tensor FromStart(const at::Tensor& indices, int64_t extent) {
  const at::Tensor whole = indices.to(at::kLong);
  return at::where(whole < 0, whole + extent, whole);
}

at::Tensor GatherAlong(const at::Tensor& x, const at::Tensor& indices, int64_t axis) {
  std::vector<int64_t> shape = x.sizes().slice(0, axis).vec();
  shape.insert(shape.end(), indices.sizes().begin(), indices.sizes().end());
  const auto rest = x.sizes().slice(axis + 1);
  shape.insert(shape.end(), rest.begin(), rest.end());
  const at::Tensor flat = FromStart(indices, x.size(axis)).reshape({-1});
  return at::index_select(x, axis, flat).reshape(shape);
}

Tensors Gather(const OperatorCall& call) {
  return {GatherAlong(call[0], call[1], Axis(call.Int("axis", 0), call[0].dim()))};
}

// com.microsoft, decoded rows in the place of the codes.
Tensors GatherBlockQuantized(const OperatorCall& call) {
  if (!call.settings().decoded) throw OperatorError("its codes are not trained, nor decoded here");
  return {GatherAlong(call[0], call[1], Axis(call.Int("gather_axis", 0), call[0].dim()))};
}

Tensors GatherElements(const OperatorCall& call) {
  const int64_t axis = Axis(call.Int("axis", 0), call[0].dim());
  return {at::gather(call[0], axis, FromStart(call[1], call[0].size(axis)))};
}

// The rows of `indices` [..., k] as positions along the first k of the flattened axes.
at::Tensor FlatPositions(const at::Tensor& indices, at::IntArrayRef sizes) {
  const int64_t depth = indices.size(-1);
  at::Tensor positions = at::zeros(indices.sizes().slice(0, indices.dim() - 1), at::kLong);
  for (int64_t i = 0; i < depth; ++i) {
    positions = positions * sizes[i] + FromStart(indices.select(-1, i), sizes[i]);
  }
  return positions;
}

int64_t Product(at::IntArrayRef sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>());
}

Tensors GatherND(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  const at::Tensor& indices = call[1];
  const int64_t batch = call.Int("batch_dims", 0), depth = indices.size(-1);
  const int64_t batches = Product(x.sizes().slice(0, batch));
  const auto inner = x.sizes().slice(batch, depth);
  const auto rest = x.sizes().slice(batch + depth);
  const int64_t block = Product(inner);
  at::Tensor positions = FlatPositions(indices, inner).reshape({batches, -1});
  positions = positions + at::arange(batches, at::kLong).view({-1, 1}) * block;
  std::vector<int64_t> shape = indices.sizes().slice(0, indices.dim() - 1).vec();
  shape.insert(shape.end(), rest.begin(), rest.end());
  return {at::index_select(x.reshape({batches * block, Product(rest)}), 0, positions.reshape({-1}))
              .reshape(shape)};
}

std::string ScatterMode(const OperatorCall& call) {
  const std::string mode = call.String("reduction", "none");
  if (mode == "add") return "sum";
  if (mode == "mul") return "prod";
  if (mode == "max") return "amax";
  if (mode == "min") return "amin";
  return "";
}

Tensors ScatterElements(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  const int64_t axis = Axis(call.Int("axis", 0), x.dim());
  const at::Tensor indices = FromStart(call[1], x.size(axis));
  const std::string mode = ScatterMode(call);
  if (mode.empty()) return {at::scatter(x, axis, indices, call[2])};
  return {at::scatter_reduce(x, axis, indices, call[2], mode, /*include_self=*/true)};
}

Tensors ScatterND(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  const int64_t depth = call[1].size(-1);
  const auto inner = x.sizes().slice(0, depth);
  const int64_t width = Product(x.sizes().slice(depth));
  const at::Tensor positions = FlatPositions(call[1], inner).reshape({-1, 1}).expand({-1, width});
  const at::Tensor flat = x.reshape({Product(inner), width});
  const at::Tensor updates = call[2].reshape({-1, width});
  const std::string mode = ScatterMode(call);
  return {(mode.empty() ? at::scatter(flat, 0, positions, updates)
                        : at::scatter_reduce(flat, 0, positions, updates, mode, true))
              .reshape(x.sizes())};
}

Tensors OneHot(const OperatorCall& call) {
  const at::Tensor& indices = call[0];
  const int64_t depth = ToInts(call[1].reshape({-1})).at(0);
  const int64_t given = call.Int("axis", -1);
  const int64_t axis = Axis(given, indices.dim() + 1);
  std::vector<int64_t> shape(indices.dim() + 1, 1);
  shape[axis] = depth;
  const at::Tensor classes = at::arange(depth, at::kLong).view(shape);
  const at::Tensor hot = FromStart(indices, depth).unsqueeze(axis) == classes;
  return {at::where(hot, call[2].select(0, 1), call[2].select(0, 0))};
}

Tensors Compress(const OperatorCall& call) {
  const at::Tensor kept = at::nonzero(call[1].to(at::kBool)).reshape({-1});
  if (!call.HasAttribute("axis")) return {at::index_select(call[0].reshape({-1}), 0, kept)};
  return {at::index_select(call[0], Axis(call.Int("axis", 0), call[0].dim()), kept)};
}

Tensors NonZero(const OperatorCall& call) { return {at::nonzero(call[0]).t().contiguous()}; }

Tensors ReverseSequence(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  const int64_t time = call.Int("time_axis", 0), batch = call.Int("batch_axis", 1);
  const at::Tensor lengths = call[1].to(at::kLong);
  std::vector<int64_t> time_shape(x.dim(), 1), batch_shape(x.dim(), 1);
  time_shape[time] = -1;
  batch_shape[batch] = -1;
  const at::Tensor steps = at::arange(x.size(time), at::kLong).view(time_shape);
  const at::Tensor length = lengths.view(batch_shape);
  const at::Tensor order = at::where(steps < length, length - 1 - steps, steps);
  return {at::gather(x, time, order.expand(x.sizes()))};
}

}  // namespace

void RegisterOperators_gather(OperatorRegistry& registry) {
  registry.Add("Gather", Gather);
  registry.Add("GatherBlockQuantized", GatherBlockQuantized, "com.microsoft");
  registry.Add("GatherElements", GatherElements);
  registry.Add("GatherND", GatherND);
  registry.Add("Scatter", ScatterElements);
  registry.Add("ScatterElements", ScatterElements);
  registry.Add("ScatterND", ScatterND);
  registry.Add("OneHot", OneHot);
  registry.Add("Compress", Compress);
  registry.Add("NonZero", NonZero);
  registry.Add("ReverseSequence", ReverseSequence);
}

}  // namespace modelpress::trainer
