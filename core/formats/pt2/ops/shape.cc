// The same elements in another shape, and other orders of axes. All of them are views.
//
//   view, reshape, flatten, unflatten, view_as -> Reshape to the shape that the program says, constant wherever it can be
//   unsqueeze, squeeze -> Unsqueeze, Squeeze of axes that have extent 1     expand, expand_as, broadcast_to -> Expand
//   permute, transpose, t, mT, movedim, ...    -> Transpose; of weights that nothing else reads, of their bytes
//   detach, alias, contiguous, dropout that is not training, ... -> the tensor itself
// clone and the like copy: not views, and nothing here.
#include <algorithm>
#include <numeric>

#include "core/formats/pt2/operator.h"
#include "core/rewrite/turn_constant.h"

namespace modelpress::pt2 {
namespace {

std::string_view Input(OperatorContext& c) { return c.Has("self") ? "self" : "input"; }

void Reshaped(OperatorContext& c) { c.Out(c.Reshape(c.In("self"), c.Meta("self"), c.Target())); }

std::string ReshapeBack(OperatorContext& c, const std::string&, const std::string& child,
                        int index) {
  return c.Reshape(child, c.Target(index), c.Meta("self"));
}

void Unsqueezed(OperatorContext& c) {
  c.Out(c.Unsqueeze(c.In("self"), {c.Axis("dim", 0, c.Rank("self") + 1)}));
}

void Squeezed(OperatorContext& c) {
  const TensorMeta& meta = c.Meta("self");
  const Ints wanted = c.Axes("dim", meta.rank());
  Ints axes;
  for (const int64_t axis : wanted) {
    if (c.Extent("self", axis) == 1) axes.push_back(axis);
  }
  c.Out(c.Squeeze(c.In("self"), axes));
}

void Expanded(OperatorContext& c) {
  const std::string x = c.In("self");
  if (c.Meta("self").sizes == c.Target().sizes) return c.Out(x);
  c.Out(c.Expand(x, c.Target()));
}

Ints Permutation(OperatorContext& c) {
  const int rank = c.Rank("self");
  Ints perm(static_cast<size_t>(rank));
  std::iota(perm.begin(), perm.end(), 0);
  const std::string_view name = c.name();
  const auto swap = [&](std::string_view a, std::string_view b) {
    if (rank > 0)
      std::swap(perm[static_cast<size_t>(c.Axis(a, 0, rank))],
                perm[static_cast<size_t>(c.Axis(b, 0, rank))]);
  };
  if (name == "permute") {
    const Ints dims = c.IntList("dims");
    std::vector<bool> seen(perm.size());
    bool valid = dims.size() == perm.size();
    for (size_t i = 0; valid && i < dims.size(); ++i) {
      perm[i] = dims[i] < 0 ? dims[i] + rank : dims[i];
      valid = perm[i] >= 0 && perm[i] < rank && !seen[static_cast<size_t>(perm[i])];
      if (valid) seen[static_cast<size_t>(perm[i])] = true;
    }
    if (!valid) {
      c.Malformed("its axes are no permutation");
      std::iota(perm.begin(), perm.end(), 0);
    }
  } else if (name == "transpose") {
    swap("dim0", "dim1");
  } else if (name == "swapaxes") {
    swap("axis0", "axis1");
  } else if (name == "swapdims") {
    swap("dim0", "dim1");
  } else if (name == "movedim" || name == "moveaxis") {
    const Ints from = c.IntList("source"), to = c.IntList("destination");
    Ints target(perm.size(), -1);
    std::vector<bool> moved(perm.size());
    for (size_t i = 0; i < std::min(from.size(), to.size()); ++i) {
      const int64_t source = from[i] < 0 ? from[i] + rank : from[i],
                    place = to[i] < 0 ? to[i] + rank : to[i];
      if (source < 0 || source >= rank || place < 0 || place >= rank ||
          moved[static_cast<size_t>(source)] || target[static_cast<size_t>(place)] != -1) {
        c.Malformed("it moves axes that do not exist, or twice");
        return perm;
      }
      target[static_cast<size_t>(place)] = source;
      moved[static_cast<size_t>(source)] = true;
    }
    int64_t next = 0;
    for (int64_t& axis : target) {
      if (axis != -1) continue;
      while (moved[static_cast<size_t>(next)]) ++next;
      axis = next++;
    }
    perm = target;
  } else if (name == "numpy_T") {
    std::ranges::reverse(perm);
  } else if (rank >= 2) {  // t, mT, adjoint
    std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
  }
  return perm;
}

void Permuted(OperatorContext& c) {
  Ints perm = Permutation(c);
  if (!c.ok()) return;
  if (IsComplex(c.Type("self"))) {
    // The axis of the parts stays last.
    perm.push_back(static_cast<int64_t>(perm.size()));
    return c.Out(c.builder().Transpose(c.In("self"), perm));
  }
  const Argument* self = c.Find("self");
  const NamedTensor* weight = self == nullptr ? nullptr : c.scope().Weight(self->text);
  const int bits = weight == nullptr ? 0 : BitsPerElement(weight->type);
  if (weight == nullptr || c.scope().Reads(self->text) != 1 ||
      weight->data.length <= kInlineBytes || bits < 8 || weight->dims.size() != perm.size()) {
    return c.Out(c.builder().Transpose(c.In("self"), perm));
  }
  absl::StatusOr<WeightArena::Room> room = c.model().arena().Allocate(weight->data.length);
  if (!room.ok()) return c.Fail(room.status());
  TransposeBytes(weight->data.bytes(), weight->dims, perm, bits / 8, room->bytes);
  Ints dims;
  for (const int64_t axis : perm) dims.push_back(weight->dims[static_cast<size_t>(axis)]);
  absl::StatusOr<std::string> turned =
      c.model().Weight(weight->name, weight->type, dims, room->weight);
  if (!turned.ok()) return c.Fail(turned.status());
  c.Out(*turned);
}

std::string PermuteBack(OperatorContext& c, const std::string&, const std::string& child, int) {
  const Ints perm = Permutation(c);
  Ints inverse(perm.size());
  for (size_t i = 0; i < perm.size(); ++i)
    inverse[static_cast<size_t>(perm[i])] = static_cast<int64_t>(i);
  return c.builder().Transpose(child, inverse);
}

void BroadcastTogether(OperatorContext& c) {
  const std::vector<std::string>& names = c.List("tensors");
  for (int o = 0; o < c.output_count() && o < static_cast<int>(names.size()); ++o) {
    const std::string& name = names[static_cast<size_t>(o)];
    const absl::StatusOr<std::string> value = c.scope().Value(name);
    if (!value.ok()) return c.Fail(value.status());
    const bool same = c.scope().Meta(name).sizes == c.Target(o).sizes;
    c.Out(same ? *value : c.Expand(*value, c.Target(o)), c.OutType(o), o);
  }
}

void Same(OperatorContext& c) { c.Out(c.In(Input(c))); }

std::string SameBack(OperatorContext&, const std::string&, const std::string& child, int) {
  return child;
}

void Dropout(OperatorContext& c) {
  if (c.Bool("train", false) && c.Float("p", 0.5) > 0) {
    return c.Refuse("it drops elements at random, as in training",
                    "export the module in eval mode (module.eval())");
  }
  c.Out(c.In(Input(c)));
}

}  // namespace

void RegisterPt2Operators_shape(OperatorRegistry& registry) {
  registry.AddView(
      {"aten.view.default", "aten.reshape", "aten.flatten", "aten.unflatten", "aten._unsafe_view",
       "aten.view_as", "aten.reshape_as", "aten.view_copy", "aten.ravel", "aten.atleast_1d.default",
       "aten.atleast_2d.default", "aten.atleast_3d.default"},
      Reshaped, ReshapeBack);
  registry.AddView({"aten.unsqueeze"}, Unsqueezed, ReshapeBack);
  registry.AddView({"aten.squeeze"}, Squeezed, ReshapeBack);
  registry.AddView({"aten.expand", "aten.expand_as", "aten.broadcast_to", "aten.expand_copy"},
                   Expanded, nullptr);
  registry.Add("aten.broadcast_tensors", BroadcastTogether);
  registry.AddView({"aten.permute", "aten.transpose", "aten.t", "aten.mT", "aten.numpy_T",
                    "aten.adjoint", "aten.movedim", "aten.moveaxis", "aten.swapaxes",
                    "aten.swapdims", "aten.permute_copy", "aten.matrix_H"},
                   Permuted, PermuteBack);
  registry.AddView({"aten.detach", "aten.detach_", "aten.alias", "aten.contiguous", "aten.positive",
                    "aten.view_as_complex", "aten.view_as_real", "aten.resolve_conj",
                    "aten.resolve_neg", "aten.requires_grad_"},
                   Same, SameBack);
  registry.Add({"aten.clone", "aten.lift_fresh_copy", "aten.lift_fresh", "aten.lift",
                "aten.detach_copy", "aten.alias_copy", "aten.view_as_real_copy"},
               Same);
  registry.AddView({"aten.dropout", "aten.feature_dropout", "aten.alpha_dropout",
                    "aten.native_dropout", "aten.feature_alpha_dropout"},
                   Dropout, SameBack);
}

}  // namespace modelpress::pt2
