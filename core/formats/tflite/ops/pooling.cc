// Pools and local normalization: AVERAGE_POOL_2D, MAX_POOL_2D, L2_POOL_2D, LOCAL_RESPONSE_NORMALIZATION,
// L2_NORMALIZATION (all versions; float32, codes).
//
//   AVERAGE_POOL_2D -> AveragePool without the padding in its counts       MAX_POOL_2D -> MaxPool, codes stay codes
//   L2_POOL_2D -> Sqrt(AveragePool(x * x))
//   LOCAL_RESPONSE_NORMALIZATION -> LRN: size = 2 radius + 1, alpha times size
//   L2_NORMALIZATION -> x / Max(ReduceL2(x over the last axis), 1e-6), as the source has it; LpNormalization makes 1 of
//     the smallest norms
#include "core/formats/tflite/window.h"

namespace modelpress::tflite {
namespace {

absl::StatusOr<Attributes> Window(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  if (rank != 4) return c.Malformed("its input has no four axes");
  const auto& options = c.Options<schema::Pool2DOptions>();
  const auto& x = c.Source(0).shape;
  MP_ASSIGN_OR_RETURN(Attributes attributes,
                      WindowAttributes(c,
                                       {{x[1], options.filter_height(), options.stride_h(), 1},
                                        {x[2], options.filter_width(), options.stride_w(), 1}},
                                       options.padding()));
  attributes.insert(
      attributes.begin(),
      {"kernel_shape", std::vector<int64_t>{options.filter_height(), options.filter_width()}});
  return attributes;
}

absl::Status AveragePool(OperatorContext& c) {
  MP_ASSIGN_OR_RETURN(Attributes attributes, Window(c));
  MP_ASSIGN_OR_RETURN(const std::string x, c.In(0));
  std::string y = c.Add("AveragePool", {c.scope().ChannelsFirst(x, 4)}, std::move(attributes));
  MP_ASSIGN_OR_RETURN(
      y, c.Activate(y, c.Options<schema::Pool2DOptions>().fused_activation_function()));
  return c.Out(0, c.scope().ChannelsLast(y, 4));
}

absl::Status MaxPool(OperatorContext& c) {
  MP_ASSIGN_OR_RETURN(Attributes attributes, Window(c));
  const auto activation = c.Options<schema::Pool2DOptions>().fused_activation_function();
  const bool codes =
      c.MovesCodes(0) && activation == schema::ActivationFunctionType::NONE &&
      (c.Source(0).type == TensorType::INT8 || c.Source(0).type == TensorType::UINT8);
  std::string x;
  if (codes) {
    MP_ASSIGN_OR_RETURN(x, c.Raw(0));
  } else {
    MP_ASSIGN_OR_RETURN(x, c.In(0));
  }
  std::string y = c.Add("MaxPool", {c.scope().ChannelsFirst(x, 4)}, std::move(attributes));
  if (codes) return c.OutRaw(0, c.scope().ChannelsLast(y, 4));
  MP_ASSIGN_OR_RETURN(y, c.Activate(y, activation));
  return c.Out(0, c.scope().ChannelsLast(y, 4));
}

absl::Status L2Pool(OperatorContext& c) {
  MP_ASSIGN_OR_RETURN(Attributes attributes, Window(c));
  MP_ASSIGN_OR_RETURN(const std::string x, c.In(0));
  const std::string first = c.scope().ChannelsFirst(x, 4);
  std::string y =
      c.Add("Sqrt", {c.Add("AveragePool", {c.Add("Mul", {first, first})}, std::move(attributes))});
  MP_ASSIGN_OR_RETURN(
      y, c.Activate(y, c.Options<schema::Pool2DOptions>().fused_activation_function()));
  return c.Out(0, c.scope().ChannelsLast(y, 4));
}

absl::Status LocalResponseNormalization(OperatorContext& c) {
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  if (rank < 3) return c.Unsupported("its input has less than three axes");
  const auto& options = c.Options<schema::LocalResponseNormalizationOptions>();
  const int64_t size = 2 * static_cast<int64_t>(options.radius()) + 1;
  if (size < 1) return c.Malformed("its radius is negative");
  MP_ASSIGN_OR_RETURN(const std::string x, c.In(0));
  const std::string y = c.Add("LRN", {c.scope().ChannelsFirst(x, rank)},
                              {{"size", size},
                               {"alpha", options.alpha() * static_cast<float>(size)},
                               {"beta", options.beta()},
                               {"bias", options.bias()}});
  return c.Out(0, c.scope().ChannelsLast(y, rank));
}

absl::Status L2Normalization(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  MP_ASSIGN_OR_RETURN(const std::string x, c.In(0));
  const std::string norm = c.Add("ReduceL2", {x, c.model().Int64s({-1})});
  return c.Out(0, c.Add("Div", {x, c.Add("Max", {norm, c.model().Float(1e-6f)})}));
}

}  // namespace

void RegisterTfliteOperators_pooling(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::AVERAGE_POOL_2D, AveragePool);
  registry.Add(BuiltinOperator::MAX_POOL_2D, MaxPool);
  registry.Add(BuiltinOperator::L2_POOL_2D, L2Pool);
  registry.Add(BuiltinOperator::LOCAL_RESPONSE_NORMALIZATION, LocalResponseNormalization);
  registry.Add(BuiltinOperator::L2_NORMALIZATION, L2Normalization);
}

}  // namespace modelpress::tflite
