// Normalization.
//
//   batch_norm that is not training -> BatchNormalization, missing factors 1 and missing terms 0
//   layer_norm -> LayerNormalization over the last axes      rms_norm -> x / sqrt(mean(x^2) + eps) * weight
//   group_norm -> InstanceNormalization of the groups as channels, then weight and bias
//   instance_norm -> InstanceNormalization     _weight_norm -> v * g / |v|
#include <cmath>
#include <cstring>
#include <limits>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

// The tensor, or a constant vector of that many numbers.
std::string OrConstant(OperatorContext& c, std::string_view name, DataType type, int64_t count,
                       double value) {
  if (c.Has(name)) return c.InAs(name, type);
  if (count < 0) {
    c.Refuse("its number of channels is not known");
    return "";
  }
  if (!c.Affordable(static_cast<double>(count))) return "";
  const std::vector<float> values(static_cast<size_t>(count), static_cast<float>(value));
  return c.Cast(c.model().Floats(values, Ints{count}), DataType::kFloat, type);
}

// Without running statistics, by those of the batch, in eval mode too: what instance_norm becomes when it is decomposed.
void BatchStatistics(OperatorContext& c, DataType type) {
  const int rank = c.Rank("input");
  const int64_t channels = c.Extent("input", 1);
  if (rank < 2) return c.Malformed("its input has no channels");
  for (int o = 1; o < c.output_count(); ++o) {
    if (c.Wants(o)) return c.Refuse("the statistics of its batch are read");
  }
  const std::string x = c.InAs("input", type);
  if (c.Extent("input", 0) == 1 && rank > 2 && type != DataType::kDouble) {
    return c.Out(c.Add("InstanceNormalization",
                       {x, OrConstant(c, "weight", type, channels, 1),
                        OrConstant(c, "bias", type, channels, 0)},
                       {{"epsilon", static_cast<float>(c.Float("eps", 1e-5))}}),
                 type);
  }
  Ints axes = {0}, dims(static_cast<size_t>(rank - 1), 1);
  for (int64_t i = 2; i < rank; ++i) axes.push_back(i);
  dims[0] = -1;
  const Attributes keep = {{"keepdims", int64_t{1}}};
  const std::string apart = c.Add("Sub", {x, c.Add("ReduceMean", {x, c.Ints64(axes)}, keep)});
  const std::string variance =
      c.Add("ReduceMean", {c.Add("Mul", {apart, apart}), c.Ints64(axes)}, keep);
  const std::string root =
      c.Add("Sqrt", {c.Add("Add", {variance, c.Number(type, c.Float("eps", 1e-5))})});
  std::string y = c.Add("Div", {apart, root});
  if (c.Has("weight")) y = c.Add("Mul", {y, c.Reshape(c.InAs("weight", type), dims)});
  if (c.Has("bias")) y = c.Add("Add", {y, c.Reshape(c.InAs("bias", type), dims)});
  c.Out(y, type);
}

void BatchNorm(OperatorContext& c) {
  const bool training = c.Bool("training", false) || c.Bool("use_input_stats", false);
  const DataType type = ComputeType(c.Target().type);
  if (training && (c.overload() == "no_stats" || !c.Has("running_mean")))
    return BatchStatistics(c, type);
  if (training) {
    return c.Refuse("it normalizes by its own batch, as in training",
                    "export the module in eval mode (module.eval())");
  }
  const int64_t channels = c.Extent("input", 1);
  const std::string x = c.InAs("input", type);
  c.Out(c.Add("BatchNormalization",
              {x, OrConstant(c, "weight", type, channels, 1),
               OrConstant(c, "bias", type, channels, 0), c.InAs("running_mean", type),
               c.InAs("running_var", type)},
              {{"epsilon", static_cast<float>(c.Float("eps", 1e-5))}}),
        type);
}

void InstanceNorm(OperatorContext& c) {
  if (!c.Bool("use_input_stats", true)) return BatchNorm(c);
  const DataType type = FloatOnly(c.Target().type);
  const int64_t channels = c.Extent("input", 1);
  if (c.Rank("input") < 3) return c.Refuse("its input has less than three axes");
  c.Out(c.Add("InstanceNormalization",
              {c.InAs("input", type), OrConstant(c, "weight", type, channels, 1),
               OrConstant(c, "bias", type, channels, 0)},
              {{"epsilon", static_cast<float>(c.Float("eps", 1e-5))}}),
        type);
}

void GroupNorm(OperatorContext& c) {
  const DataType type = FloatOnly(c.Target().type);
  const int64_t groups = c.Has("num_groups") ? c.Int("num_groups", 1) : c.Int("group", 1);
  const int rank = c.Rank("input");
  const int64_t channels = c.Extent("input", 1);
  if (groups < 1 || groups > (1 << 24) || rank < 2 || channels < 0)
    return c.Refuse("its groups or channels are not known");
  const std::string x = c.InAs("input", type);
  const std::string grouped = c.builder().Reshape(x, {0, groups, -1}, /*copy_zeros=*/true);
  const std::vector<float> ones(static_cast<size_t>(groups), 1), zeros(ones.size(), 0);
  const std::string scale = c.Cast(c.model().Floats(ones, Ints{groups}), DataType::kFloat, type);
  const std::string offset = c.Cast(c.model().Floats(zeros, Ints{groups}), DataType::kFloat, type);
  std::string y = c.Add("InstanceNormalization", {grouped, scale, offset},
                        {{"epsilon", static_cast<float>(c.Float("eps", 1e-5))}});
  y = c.Add("Reshape", {y, c.ShapeOf(c.Meta("input"), x)});
  Ints dims(static_cast<size_t>(rank - 1), 1);
  dims[0] = channels;
  if (c.Has("weight")) y = c.Add("Mul", {y, c.Reshape(c.InAs("weight", type), dims)});
  if (c.Has("bias")) y = c.Add("Add", {y, c.Reshape(c.InAs("bias", type), dims)});
  c.Out(y, type);
}

void LayerNorm(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const Ints shape = c.IntList("normalized_shape");
  double count = 1;
  for (const int64_t extent : shape) count *= static_cast<double>(std::max<int64_t>(extent, 0));
  if (shape.empty() || !c.Affordable(count)) return c.Malformed("it normalizes over no axes");
  std::string weight;
  if (c.Has("weight")) {
    weight = c.InAs("weight", type);
  } else {
    const std::vector<float> ones(static_cast<size_t>(count), 1);
    weight = c.Cast(c.model().Floats(ones, shape), DataType::kFloat, type);
  }
  Names inputs = {c.InAs("input", type), weight};
  if (c.Has("bias")) inputs.push_back(c.InAs("bias", type));
  const int outputs = c.Wants(2) ? 3 : c.Wants(1) ? 2 : 1;
  const Names made = c.builder().AddMany("LayerNormalization", std::move(inputs),
                                         {{"axis", -static_cast<int64_t>(shape.size())},
                                          {"epsilon", static_cast<float>(c.Float("eps", 1e-5))}},
                                         outputs);
  for (int o = 0; o < outputs; ++o)
    c.Out(made[static_cast<size_t>(o)], o == 0 ? type : DataType::kFloat, o);
}

void RmsNorm(OperatorContext& c) {
  const ScalarType source = c.Target().type;
  const DataType type = ComputeType(source);
  const Ints shape = c.IntList("normalized_shape");
  Ints axes;
  for (size_t i = shape.size(); i > 0; --i) axes.push_back(-static_cast<int64_t>(i));
  const double epsilon = source == ScalarType::kFloat64    ? std::numeric_limits<double>::epsilon()
                         : source == ScalarType::kFloat16  ? 0x1p-10
                         : source == ScalarType::kBfloat16 ? 0x1p-7
                                                           : std::numeric_limits<float>::epsilon();
  const std::string x = c.InAs("input", type);
  const std::string mean =
      c.Add("ReduceMean", {c.Add("Mul", {x, x}), c.Ints64(axes)}, {{"keepdims", int64_t{1}}});
  const std::string root =
      c.Add("Sqrt", {c.Add("Add", {mean, c.Number(type, c.Float("eps", epsilon))})});
  std::string y = c.Add("Div", {x, root});
  if (c.Has("weight")) y = c.Add("Mul", {y, c.InAs("weight", type)});
  c.Out(y, type);
}

std::string Length(OperatorContext& c, const std::string& x, const Ints& axes, bool keep) {
  if (axes.empty()) return c.Add("Abs", {x});
  return c.Add("ReduceL2", {x, c.Ints64(axes)}, {{"keepdims", int64_t{keep}}});
}

// Weights in this form as one constant: they are what compression works on. False where they are not constant.
bool ConstantWeightNorm(OperatorContext& c, int64_t axis, DataType type) {
  const Argument *v_name = c.Find("v"), *g_name = c.Find("g");
  if (!c.IsTensor("v") || !c.IsTensor("g") || type != DataType::kFloat) return false;
  const NamedTensor *v = c.scope().Weight(v_name->text), *g = c.scope().Weight(g_name->text);
  if (v == nullptr || g == nullptr || v->type != type || g->type != type) return false;
  uint64_t outer = 1, channels = 1, inner = 1;
  for (size_t i = 0; i < v->dims.size(); ++i) {
    uint64_t& part = axis < 0 || static_cast<int64_t>(i) > axis ? inner
                     : static_cast<int64_t>(i) < axis           ? outer
                                                                : channels;
    part *= static_cast<uint64_t>(v->dims[i]);
  }
  if (g->data.length != channels * sizeof(float) ||
      v->data.length != outer * channels * inner * sizeof(float))
    return false;
  absl::StatusOr<WeightArena::Room> room = c.model().arena().Allocate(v->data.length);
  if (!room.ok()) {
    c.Fail(room.status());
    return true;
  }
  const auto at = [](const WeightRef& data, uint64_t i) {
    float value;
    std::memcpy(&value, data.bytes().data() + i * sizeof(value), sizeof(value));
    return value;
  };
  for (uint64_t channel = 0; channel < channels; ++channel) {
    double squares = 0;
    const auto visit = [&](const auto& element) {
      for (uint64_t o = 0; o < outer; ++o) {
        for (uint64_t i = 0; i < inner; ++i) element((o * channels + channel) * inner + i);
      }
    };
    visit([&](uint64_t i) { squares += double{at(v->data, i)} * at(v->data, i); });
    const double factor = at(g->data, channel) / std::sqrt(squares);
    visit([&](uint64_t i) {
      const float value = static_cast<float>(at(v->data, i) * factor);
      std::memcpy(room->bytes.data() + i * sizeof(value), &value, sizeof(value));
    });
  }
  const absl::StatusOr<std::string> made =
      c.model().Weight(c.node().OutputNames()[0], type, v->dims, room->weight);
  if (!made.ok()) {
    c.Fail(made.status());
  } else {
    c.Out(*made, type);
  }
  return true;
}

void WeightNorm(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const int rank = c.Rank("v");
  const std::string v = c.InAs("v", type), g = c.InAs("g", type);
  const int64_t axis = c.Int("dim", 0) == -1 ? -1 : c.Axis("dim", 0, rank);
  Ints axes;
  for (int64_t i = 0; i < rank; ++i) {
    if (i != axis) axes.push_back(i);
  }
  if (!c.Wants(1) && ConstantWeightNorm(c, axis, type)) return;
  const std::string length = Length(c, v, axes, true);
  c.Out(c.Add("Mul", {v, c.Add("Div", {g, length})}), type);
  if (c.Wants(1)) c.Out(length, type, 1);
}

}  // namespace

void RegisterPt2Operators_normalization(OperatorRegistry& registry) {
  registry.Add({"aten.batch_norm", "aten._native_batch_norm_legit_no_training",
                "aten.native_batch_norm", "aten._native_batch_norm_legit"},
               BatchNorm);
  registry.Add("aten.instance_norm", InstanceNorm);
  registry.Add({"aten.group_norm", "aten.native_group_norm"}, GroupNorm);
  registry.Add({"aten.layer_norm", "aten.native_layer_norm"}, LayerNorm);
  registry.Add({"aten.rms_norm", "aten._fused_rms_norm"}, RmsNorm);
  registry.Add({"aten._weight_norm", "aten._weight_norm_interface"}, WeightNorm);
}

}  // namespace modelpress::pt2
