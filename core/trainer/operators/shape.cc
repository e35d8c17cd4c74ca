// Operators that make or rearrange values without computing with them.
#include <algorithm>
#include <numeric>

#include "core/trainer/constant_tensor.h"
#include "core/trainer/operator.h"

namespace modelpress::trainer {
namespace {

at::Tensor Ints(const std::vector<int64_t>& values) { return at::tensor(values, at::kLong); }

Tensors Identity(const OperatorCall& call) { return {call[0]}; }

// Nothing is dropped; a model in which that is on when it is used gives random answers.
Tensors Dropout(const OperatorCall& call) {
  const bool on = call.Has(2) && call[2].item<bool>();
  if (on && (!call.Has(1) || call[1].item<double>() != 0)) {
    throw OperatorError("its training_mode is on");
  }
  return {call[0], at::ones_like(call[0], at::kBool)};
}

Tensors Constant(const OperatorCall& call) {
  const auto* value = FindAttribute(call.node(), "value");
  if (value != nullptr) return {InlineTensor(value->t(), call.settings().float_type)};
  if (call.HasAttribute("value_int"))
    return {at::scalar_tensor(call.Int("value_int", 0), at::kLong)};
  if (call.HasAttribute("value_ints")) return {Ints(call.Ints("value_ints"))};
  if (call.HasAttribute("value_float")) {
    return {at::scalar_tensor(call.Float("value_float", 0), call.settings().float_type)};
  }
  if (call.HasAttribute("value_floats")) {
    return {at::tensor(call.Floats("value_floats"), at::kDouble).to(call.settings().float_type)};
  }
  throw OperatorError("only tensors of numbers can be computed with");
}

Tensors ConstantOfShape(const OperatorCall& call) {
  const std::vector<int64_t> shape = ToInts(call[0]);
  const auto* value = FindAttribute(call.node(), "value");
  if (value == nullptr) return {at::zeros(shape, call.settings().float_type)};
  const at::Tensor one = InlineTensor(value->t(), call.settings().float_type);
  return {one.reshape({}).expand(shape).contiguous()};
}

Tensors Shape(const OperatorCall& call) {
  const auto sizes = call[0].sizes();
  const auto rank = static_cast<int64_t>(sizes.size());
  const auto bound = [&](std::string_view name, int64_t fallback) {
    const int64_t value = call.Int(name, fallback);
    return std::clamp<int64_t>(value < 0 ? value + rank : value, 0, rank);
  };
  const int64_t start = bound("start", 0), end = std::max(start, bound("end", rank));
  return {Ints({sizes.begin() + start, sizes.begin() + end})};
}

Tensors Size(const OperatorCall& call) { return {at::scalar_tensor(call[0].numel(), at::kLong)}; }

Tensors Reshape(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  std::vector<int64_t> shape = call.IntsOf("shape", 1);
  if (call.Int("allowzero", 0) == 0) {
    for (size_t i = 0; i < shape.size(); ++i) {
      if (shape[i] == 0) shape[i] = x.size(static_cast<int64_t>(i));
    }
  }
  return {x.reshape(shape)};
}

Tensors Flatten(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  const int64_t axis =
      call.Int("axis", 1) < 0 ? call.Int("axis", 1) + x.dim() : call.Int("axis", 1);
  const auto sizes = x.sizes();
  const int64_t rows =
      std::accumulate(sizes.begin(), sizes.begin() + axis, int64_t{1}, std::multiplies<>());
  return {x.reshape({rows, rows == 0 ? 0 : x.numel() / rows})};
}

Tensors Transpose(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  std::vector<int64_t> order(x.dim());
  std::iota(order.rbegin(), order.rend(), 0);
  return {x.permute(call.Ints("perm", order))};
}

Tensors Concat(const OperatorCall& call) {
  Tensors parts;
  for (const at::Tensor& part : call.inputs()) {
    if (part.defined()) parts.push_back(part);
  }
  return {at::cat(parts, Axis(call.Int("axis", 0), call[0].dim()))};
}

Tensors Split(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  const int64_t axis = Axis(call.Int("axis", 0), x.dim());
  std::vector<int64_t> sizes = call.IntsOf("split", 1);
  if (sizes.empty()) {
    // Equal parts; where they cannot be, the last is smaller.
    const int64_t parts = call.Int("num_outputs", call.node().output_size());
    if (parts < 1) throw OperatorError("num_outputs is less than 1");
    const int64_t each = (x.size(axis) + parts - 1) / parts;
    for (int64_t left = x.size(axis), i = 0; i < parts; ++i, left -= sizes.back()) {
      sizes.push_back(std::min(each, left));
    }
  }
  return at::split_with_sizes(x, sizes, axis);
}

Tensors Squeeze(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  std::vector<int64_t> axes = call.IntsOf("axes", 1);
  if (axes.empty()) return {x.squeeze()};
  for (int64_t& axis : axes) axis = Axis(axis, x.dim());
  return {at::squeeze(x, axes)};
}

Tensors Unsqueeze(const OperatorCall& call) {
  at::Tensor x = call[0];
  std::vector<int64_t> axes = call.IntsOf("axes", 1);
  const int64_t rank = x.dim() + static_cast<int64_t>(axes.size());
  for (int64_t& axis : axes) axis = Axis(axis, rank);
  std::ranges::sort(axes);
  for (const int64_t axis : axes) x = x.unsqueeze(axis);
  return {x};
}

// Extents of 1 on either side give way.
Tensors Expand(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  return {x.expand(at::infer_size(x.sizes(), ToInts(call[1])))};
}

Tensors Tile(const OperatorCall& call) { return {call[0].repeat(ToInts(call[1]))}; }

at::Tensor ReverseAlong(const at::Tensor& x, int64_t axis, int64_t start, int64_t end,
                        int64_t step) {
  std::vector<int64_t> indices;
  for (int64_t i = start; step > 0 ? i < end : i > end; i += step) indices.push_back(i);
  return at::index_select(x, axis, at::tensor(indices, at::kLong));
}

Tensors Slice(const OperatorCall& call) {
  at::Tensor x = call[0];
  const std::vector<int64_t> starts = call.IntsOf("starts", 1), ends = call.IntsOf("ends", 2);
  std::vector<int64_t> axes = call.IntsOf("axes", 3);
  if (axes.empty()) {
    axes.resize(starts.size());
    std::iota(axes.begin(), axes.end(), 0);
  }
  const std::vector<int64_t> steps = call.IntsAt(4, std::vector<int64_t>(starts.size(), 1));
  if (ends.size() != starts.size() || axes.size() != starts.size() ||
      steps.size() != starts.size()) {
    throw OperatorError("starts, ends, axes and steps differ in length");
  }
  for (size_t i = 0; i < starts.size(); ++i) {
    const int64_t axis = Axis(axes[i], x.dim()), extent = x.size(axis), step = steps[i];
    if (step == 0) throw OperatorError("a step is 0");
    const auto bound = [&](int64_t value, int64_t least, int64_t most) {
      return std::clamp<int64_t>(value < 0 ? value + extent : value, least, most);
    };
    if (step > 0) {
      const int64_t start = bound(starts[i], 0, extent);
      x = x.slice(axis, start, std::max(start, bound(ends[i], 0, extent)), step);
    } else {
      // -1 after counting from the end means "before the first"; the smallest numbers mean the same.
      const int64_t end = ends[i] < -extent ? -1 : bound(ends[i], -1, extent - 1);
      x = ReverseAlong(x, axis, bound(starts[i], -1, extent - 1), end, step);
    }
  }
  return {x};
}

// Modes constant, reflect, edge, wrap; on given axes. Other modes than constant take values by their index.
Tensors Pad(const OperatorCall& call) {
  at::Tensor x = call[0];
  const std::string mode = call.String("mode", "constant");
  const std::vector<int64_t> pads =
      call.HasAttribute("paddings") ? call.Ints("paddings") : call.IntsOf("pads", 1);
  std::vector<int64_t> axes = call.IntsAt(3);
  if (axes.empty()) {
    axes.resize(x.dim());
    std::iota(axes.begin(), axes.end(), 0);
  }
  if (pads.size() != 2 * axes.size()) throw OperatorError("pads and axes differ in length");
  if (mode == "constant") {
    at::Scalar value = call.Float("value", 0);
    if (call.Has(2) && call[2].numel() == 1) value = call[2].item();
    std::vector<int64_t> all(2 * x.dim(), 0);  // of the last axis first
    for (size_t i = 0; i < axes.size(); ++i) {
      const int64_t place = 2 * (x.dim() - 1 - Axis(axes[i], x.dim()));
      all[place] = pads[i];
      all[place + 1] = pads[i + axes.size()];
    }
    if (!call.Has(2) || !call[2].requires_grad()) return {at::constant_pad_nd(x, all, value)};
    return {at::constant_pad_nd(x, all, 0) +
            call[2].reshape({}) * at::constant_pad_nd(at::zeros_like(x), all, 1)};
  }
  for (size_t i = 0; i < axes.size(); ++i) {
    const int64_t axis = Axis(axes[i], x.dim()), extent = x.size(axis);
    if (pads[i] == 0 && pads[i + axes.size()] == 0) continue;
    std::vector<int64_t> indices;
    for (int64_t at = -pads[i]; at < extent + pads[i + axes.size()]; ++at) {
      int64_t index = at;
      if (mode == "edge") {
        index = std::clamp<int64_t>(at, 0, extent - 1);
      } else if (mode == "wrap") {
        index = ((at % extent) + extent) % extent;
      } else if (mode == "reflect" && extent > 1) {
        const int64_t period = 2 * (extent - 1);
        index = ((at % period) + period) % period;
        if (index >= extent) index = period - index;
      } else {
        throw OperatorError("mode " + mode + " is not known");
      }
      indices.push_back(index);
    }
    x = at::index_select(x, axis, Ints(indices));
  }
  return {x};
}

Tensors Cast(const OperatorCall& call) {
  const auto to = static_cast<int32_t>(call.Int("to", 0));
  return {call[0].to(ScalarTypeOf(to, call.settings().float_type))};
}

Tensors CastLike(const OperatorCall& call) { return {call[0].to(call[1].scalar_type())}; }

Tensors Range(const OperatorCall& call) {
  const at::Tensor& start = call[0];
  return {at::arange(start.item(), call[1].item(), call[2].item(), start.options())};
}

Tensors DepthToSpace(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  const int64_t block = call.Int("blocksize", 1);
  const int64_t n = x.size(0), c = x.size(1) / (block * block), h = x.size(2), w = x.size(3);
  const bool columns_first = call.String("mode", "DCR") == "CRD";
  const at::Tensor parts = columns_first
                               ? x.reshape({n, c, block, block, h, w}).permute({0, 1, 4, 2, 5, 3})
                               : x.reshape({n, block, block, c, h, w}).permute({0, 3, 4, 1, 5, 2});
  return {parts.reshape({n, c, h * block, w * block})};
}

Tensors SpaceToDepth(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  const int64_t block = call.Int("blocksize", 1);
  const int64_t n = x.size(0), c = x.size(1), h = x.size(2) / block, w = x.size(3) / block;
  return {x.reshape({n, c, h, block, w, block})
              .permute({0, 3, 5, 1, 2, 4})
              .reshape({n, c * block * block, h, w})};
}

Tensors Trilu(const OperatorCall& call) {
  const int64_t diagonal = call.Has(1) ? ToInts(call[1]).at(0) : 0;
  return {call.Int("upper", 1) != 0 ? at::triu(call[0], diagonal) : at::tril(call[0], diagonal)};
}

Tensors EyeLike(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  const at::ScalarType type =
      call.HasAttribute("dtype")
          ? ScalarTypeOf(static_cast<int32_t>(call.Int("dtype", 1)), call.settings().float_type)
          : x.scalar_type();
  const int64_t k = call.Int("k", 0), rows = x.size(0), columns = x.size(1);
  const at::Tensor row = at::arange(rows, at::kLong).view({-1, 1});
  return {(at::arange(columns, at::kLong) - row == k).to(type)};
}

}  // namespace

void RegisterOperators_shape(OperatorRegistry& registry) {
  registry.Add("Identity", Identity);
  registry.Add("Dropout", Dropout);
  registry.Add("Constant", Constant);
  registry.Add("ConstantOfShape", ConstantOfShape);
  registry.Add("Shape", Shape);
  registry.Add("Size", Size);
  registry.Add("Reshape", Reshape);
  registry.Add("Flatten", Flatten);
  registry.Add("Transpose", Transpose);
  registry.Add("Concat", Concat);
  registry.Add("Split", Split);
  registry.Add("Squeeze", Squeeze);
  registry.Add("Unsqueeze", Unsqueeze);
  registry.Add("Expand", Expand);
  registry.Add("Tile", Tile);
  registry.Add("Slice", Slice);
  registry.Add("Pad", Pad);
  registry.Add("Cast", Cast);
  registry.Add("CastLike", CastLike);
  registry.Add("Range", Range);
  registry.Add("DepthToSpace", DepthToSpace);
  registry.Add("SpaceToDepth", SpaceToDepth);
  registry.Add("Trilu", Trilu);
  registry.Add("EyeLike", EyeLike);
}

}  // namespace modelpress::trainer
