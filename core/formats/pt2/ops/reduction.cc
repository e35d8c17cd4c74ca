// Reductions over axes; all of them where none are given.
//
//   sum, mean, prod, amax, amin, max, min -> ReduceSum and the like, in the type of the result
//   var, std   -> mean of the squared differences, times n / (n - correction)
//   norm       -> by its order: ReduceSum of powers, ReduceMax and ReduceMin of magnitudes for infinity
//   logsumexp  -> m + log(sum(exp(x - m))), m the largest
//   any, all -> the largest and smallest truth value; of what may be empty, and count_nonzero: sums of truth values
//   argmax, argmin -> ArgMax, ArgMin, the first of equal ones
//   max, min with a dim -> values and their first place
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

// A reduction over sorted axes; of tensors without axes, and over none, the value itself.
std::string Reduce(OperatorContext& c, const char* op, const std::string& x, const Ints& axes,
                   bool keep) {
  if (axes.empty()) return x;
  return c.Add(op, {x, c.Ints64(axes)}, {{"keepdims", int64_t{keep}}});
}

std::string_view Input(OperatorContext& c) { return c.Has("self") ? "self" : "input"; }

void Plain(OperatorContext& c) {
  const std::string_view name = c.name(), self = Input(c);
  const char* op = name == "sum"          ? "ReduceSum"
                   : name == "mean"       ? "ReduceMean"
                   : name == "prod"       ? "ReduceProd"
                   : name.contains("max") ? "ReduceMax"
                                          : "ReduceMin";
  DataType type = ComputeType(c.Target().type);
  if (name == "prod" && type == DataType::kDouble) type = DataType::kFloat;  // no kernel
  const std::string x = c.InAs(self, type);
  c.Out(Reduce(c, op, x, c.Axes("dim", c.Rank(self)), c.Bool("keepdim", false)), type);
}

// The number of elements that are reduced, as a number of `type`; nullopt where it is only known when the model runs,
// and then `*value` is it.
std::optional<double> Count(OperatorContext& c, std::string_view self, const Ints& axes,
                            DataType type, std::string* value) {
  double count = 1;
  const TensorMeta& meta = c.Meta(self);
  bool known = true;
  for (const int64_t axis : axes) {
    const Extent& extent = meta.sizes[static_cast<size_t>(axis)];
    known &= extent.value.has_value();
    count *= static_cast<double>(extent.value.value_or(1));
  }
  if (known) return count;
  const std::string shape = c.Add("Gather", {c.Add("Shape", {c.In(self)}), c.Ints64(axes)});
  *value = c.Cast(c.Add("ReduceProd", {shape}, {{"keepdims", int64_t{0}}}), DataType::kInt64, type);
  return std::nullopt;
}

// Mean and mean squared difference, both with their axes kept.
std::pair<std::string, std::string> Moments(OperatorContext& c, const std::string& x,
                                            const Ints& axes) {
  const std::string mean = Reduce(c, "ReduceMean", x, axes, true);
  const std::string apart = c.Add("Sub", {x, mean});
  return {mean, Reduce(c, "ReduceMean", c.Add("Mul", {apart, apart}), axes, true)};
}

void Variance(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string x = c.InAs("self", type);
  const Ints axes = c.Axes("dim", c.Rank("self"));
  const bool keep = c.Bool("keepdim", false);
  const double correction = c.Has("correction")        ? c.Float("correction", 1)
                            : c.Bool("unbiased", true) ? 1
                                                       : 0;
  auto [mean, variance] = Moments(c, x, axes);
  if (correction != 0) {
    std::string count;
    if (const auto known = Count(c, "self", axes, type, &count); known.has_value()) {
      const double rest = std::max(0.0, *known - correction);
      variance =
          c.Add("Mul", {variance, c.Number(type, rest == 0 ? std::numeric_limits<double>::infinity()
                                                           : *known / rest)});
    } else {
      const std::string rest =
          c.Add("Max", {c.Add("Sub", {count, c.Number(type, correction)}), c.Number(type, 0)});
      variance = c.Add("Mul", {variance, c.Add("Div", {count, rest})});
    }
  }
  const auto shaped = [&](const std::string& value) {
    return keep ? value : c.Squeeze(value, axes);
  };
  std::string result = c.name().starts_with("std") ? c.Add("Sqrt", {variance}) : variance;
  c.Out(shaped(result), type);
  if (c.name().ends_with("_mean")) c.Out(shaped(mean), type, 1);
}

void Norm(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string_view self = Input(c);
  const std::string x = c.InAs(self, type);
  const Ints axes = c.Axes("dim", c.Rank(self));
  const bool keep = c.Bool("keepdim", false);
  const double order = c.Has("ord") ? c.Float("ord", 2) : c.Float("p", 2);
  const std::string magnitude = order == 2 || order == 0 ? "" : c.Add("Abs", {x});
  std::string y;
  if (order == 2) {
    y = Reduce(c, "ReduceL2", x, axes, keep);
  } else if (order == 1) {
    y = Reduce(c, "ReduceSum", magnitude, axes, keep);
  } else if (std::isinf(order)) {
    y = Reduce(c, order > 0 ? "ReduceMax" : "ReduceMin", magnitude, axes, keep);
  } else if (order == 0) {
    const std::string is = c.Add("Not", {c.Add("Equal", {x, c.Number(type, 0)})});
    y = Reduce(c, "ReduceSum", c.Cast(is, DataType::kBool, type), axes, keep);
  } else {
    const std::string powers = c.Add("Pow", {magnitude, c.Number(type, order)});
    y = c.Add("Pow", {Reduce(c, "ReduceSum", powers, axes, keep), c.Number(type, 1 / order)});
  }
  c.Out(y, type);
}

void LogSumExp(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string x = c.InAs("self", type);
  const Ints axes = c.Axes("dim", c.Rank("self"));
  std::string largest = Reduce(c, "ReduceMax", x, axes, true);
  // Infinities minus themselves are NaN.
  largest = c.Add("Where", {c.Add("IsInf", {largest}), c.Number(type, 0), largest});
  const std::string sum =
      Reduce(c, "ReduceSum", c.Add("Exp", {c.Add("Sub", {x, largest})}), axes, true);
  const std::string y = c.Add("Add", {c.Add("Log", {sum}), largest});
  c.Out(c.Bool("keepdim", false) ? y : c.Squeeze(y, axes), type);
}

void Truth(OperatorContext& c) {
  const std::string x = c.InAs("self", DataType::kBool);
  const bool all = c.name() == "all";
  const Ints axes = c.Axes("dim", c.Rank("self"));
  const bool filled =
      std::ranges::all_of(axes, [&](int64_t axis) { return c.Extent("self", axis) > 0; });
  if (filled && c.name() != "count_nonzero") {
    if (axes.empty()) return c.Out(x, DataType::kBool);
    const std::string number = c.Cast(x, DataType::kBool, DataType::kInt32);
    const std::string extreme =
        Reduce(c, all ? "ReduceMin" : "ReduceMax", number, axes, c.Bool("keepdim", false));
    return c.Out(extreme, DataType::kInt32);
  }
  const std::string counted =
      c.Cast(all ? c.Add("Not", {x}) : x, DataType::kBool, DataType::kInt64);
  const std::string sum = Reduce(c, "ReduceSum", counted, axes, c.Bool("keepdim", false));
  if (c.name() == "count_nonzero") return c.Out(sum, DataType::kInt64);
  c.Out(c.Add(all ? "Equal" : "Greater", {sum, c.model().Int64(0)}), DataType::kBool);
}

// A type that ArgMax has a kernel for.
DataType Ranked(ScalarType type) {
  return IsFloating(type) && type != ScalarType::kFloat64             ? DataType::kFloat
         : type == ScalarType::kFloat64 || type == ScalarType::kInt64 ? DataType::kDouble
                                                                      : DataType::kInt32;
}

void Places(OperatorContext& c) {
  const DataType type = Ranked(c.Type("self"));
  std::string x = c.InAs("self", type);
  const char* op = c.name() == "argmax" ? "ArgMax" : "ArgMin";
  const int rank = c.Rank("self");
  if (c.Has("dim") && rank > 0) {
    const int64_t axis = c.Axis("dim", 0, rank);
    const int64_t keep = c.Bool("keepdim", false) ? 1 : 0;
    return c.Out(c.Add(op, {x}, {{"axis", axis}, {"keepdims", keep}}), DataType::kInt64);
  }
  x = c.Reshape(x, Ints{-1});
  std::string y = c.Add(op, {x}, {{"axis", int64_t{0}}, {"keepdims", int64_t{0}}});
  if (c.Target().rank() > 0) y = c.Reshape(y, Ints(static_cast<size_t>(c.Target().rank()), 1));
  c.Out(y, DataType::kInt64);
}

// max.dim and min.dim: values and places.
void ExtremeWithPlace(OperatorContext& c) {
  const ScalarType source = c.Type("self");
  const DataType type = ComputeType(source);
  const bool is_max = c.name() == "max";
  const int rank = c.Rank("self");
  const int64_t axis = c.Axis("dim", 0, rank);
  const std::string x = c.InAs("self", type);
  if (rank == 0) {
    c.Out(x, type, 0);
    return c.Out(c.model().Int64(0), DataType::kInt64, 1);
  }
  const bool keep = c.Bool("keepdim", false);
  c.Out(Reduce(c, is_max ? "ReduceMax" : "ReduceMin", x, {axis}, keep), type, 0);
  if (!c.Wants(1)) return;
  const std::string place = c.Add(is_max ? "ArgMax" : "ArgMin", {c.Cast(x, type, Ranked(source))},
                                  {{"axis", axis}, {"keepdims", int64_t{keep}}});
  c.Out(place, DataType::kInt64, 1);
}

void AllExtreme(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string x = c.InAs("self", type);
  const Ints axes = c.Axes("dim", c.Rank("self"));
  const bool keep = c.Bool("keepdim", false);
  if (c.name() == "aminmax") {
    c.Out(Reduce(c, "ReduceMin", x, axes, keep), type, 0);
    return c.Out(Reduce(c, "ReduceMax", x, axes, keep), type, 1);
  }
  c.Out(Reduce(c, c.name() == "max" ? "ReduceMax" : "ReduceMin", x, axes, keep), type);
}

}  // namespace

void RegisterPt2Operators_reduction(OperatorRegistry& registry) {
  registry.Add({"aten.sum", "aten.mean", "aten.prod", "aten.amax", "aten.amin"}, Plain);
  registry.Add({"aten.var", "aten.std", "aten.var_mean", "aten.std_mean"}, Variance);
  registry.Add({"aten.norm", "aten.linalg_vector_norm"}, Norm);
  registry.Add("aten.logsumexp", LogSumExp);
  registry.Add({"aten.any", "aten.all", "aten.count_nonzero"}, Truth);
  registry.Add({"aten.argmax", "aten.argmin"}, Places);
  registry.Add({"aten.max.dim", "aten.min.dim"}, ExtremeWithPlace);
  registry.Add({"aten.max.default", "aten.min.default", "aten.aminmax"}, AllExtreme);
}

}  // namespace modelpress::pt2
