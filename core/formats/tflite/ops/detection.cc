// Detection: NON_MAX_SUPPRESSION_V4, NON_MAX_SUPPRESSION_V5 (version 1, float32).
//
//   V4, V5 without softness -> NonMaxSuppression, the chosen indices padded with zeros to the largest number
//   V5 with sigma -> Loop: the best score is taken, others lose by exp(-iou^2 / (2 sigma)), or all of it from the overlap
//     limit on (Bodla et al., "Soft-NMS", 2017)
#include <algorithm>
#include <limits>

#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {
namespace {

// A computed or constant scalar of an input.
absl::StatusOr<std::string> ScalarIn(OperatorContext& c, int i, DataType type) {
  MP_ASSIGN_OR_RETURN(const std::string value, c.InAs(i, type));
  return c.Rank(i) == 0 ? value : c.builder().Reshape(value, {});
}

// `values` [k] with zeros behind up to `count`.
std::string Padded(OperatorContext& c, const std::string& values, const std::string& missing) {
  const std::string pads =
      c.Add("Concat", {c.model().Int64s({0}), missing}, {{"axis", int64_t{0}}});
  return c.Add("Pad", {values, pads});
}

absl::Status Hard(OperatorContext& c, bool with_scores) {
  import::ModelBuilder& model = c.model();
  import::GraphBuilder& b = c.builder();
  MP_ASSIGN_OR_RETURN(const std::string boxes, c.In(0));
  MP_ASSIGN_OR_RETURN(const std::string scores, c.In(1));
  MP_ASSIGN_OR_RETURN(const std::string largest, c.Int64In(2));
  const std::string count = b.Reshape(largest, {1});
  Names limits;
  for (int i = 3; i < 5; ++i) {
    MP_ASSIGN_OR_RETURN(const std::string limit, c.In(i));
    limits.push_back(b.Reshape(limit, {1}));
  }
  const std::string chosen =
      c.Add("NonMaxSuppression",
            {c.Add("Unsqueeze", {boxes, model.Int64s({0})}),
             c.Add("Unsqueeze", {scores, model.Int64s({0, 1})}), count, limits[0], limits[1]});
  const std::string indices = c.Add("Gather", {chosen, model.Int64(2)}, {{"axis", int64_t{1}}});
  const std::string valid = c.Add("Shape", {indices});
  const std::string missing = c.Add("Sub", {count, valid});
  MP_RETURN_IF_ERROR(c.Out(0, Padded(c, indices, missing), DataType::kInt64));
  const int valid_output = with_scores ? 2 : 1;
  if (with_scores)
    MP_RETURN_IF_ERROR(c.Out(1, Padded(c, c.Add("Gather", {scores, indices}), missing)));
  return c.Out(valid_output, b.Reshape(valid, {}), DataType::kInt64);
}

absl::Status Soft(OperatorContext& c, float sigma) {
  import::ModelBuilder& model = c.model();
  MP_ASSIGN_OR_RETURN(const std::string boxes, c.In(0));
  MP_ASSIGN_OR_RETURN(const std::string scores, c.In(1));
  MP_ASSIGN_OR_RETURN(const std::string count, ScalarIn(c, 2, DataType::kInt64));
  MP_ASSIGN_OR_RETURN(const std::string overlap, ScalarIn(c, 3, DataType::kFloat));
  MP_ASSIGN_OR_RETURN(const std::string lowest, ScalarIn(c, 4, DataType::kFloat));
  if (!c.Source(1).is_static()) return c.Unsupported("the number of its boxes is not known");
  if (c.Source(1).shape.size() != 1) return c.Malformed("its scores are no vector");
  const int64_t boxes_count = c.Source(1).shape[0];
  MP_RETURN_IF_ERROR(c.Limit(boxes_count, 1));
  // Corners in order, areas: once, outside of the loop.
  const auto column = [&](int64_t i) {
    return c.Add("Gather", {boxes, model.Int64(i)}, {{"axis", int64_t{1}}});
  };
  const std::string y1 = column(0), x1 = column(1), y2 = column(2), x2 = column(3);
  const std::string top = c.Add("Min", {y1, y2}), bottom = c.Add("Max", {y1, y2}),
                    left = c.Add("Min", {x1, x2}), right = c.Add("Max", {x1, x2});
  const std::string area = c.Add("Mul", {c.Add("Sub", {bottom, top}), c.Add("Sub", {right, left})});

  onnx::GraphProto graph;
  graph.set_name(c.builder().scope() + "/body");
  import::GraphBuilder b(&model, &graph);
  b.SetScope(graph.name());
  const auto declare = [&](onnx::ValueInfoProto* value, const std::string& name, DataType type,
                           std::initializer_list<int64_t> dims) {
    value->set_name(name);
    value->mutable_type()->mutable_tensor_type()->set_elem_type(static_cast<int32_t>(type));
    auto* shape = value->mutable_type()->mutable_tensor_type()->mutable_shape();
    for (const int64_t dim : dims) shape->add_dim()->set_dim_value(dim);
  };
  const auto input = [&](std::string_view name, DataType type,
                         std::initializer_list<int64_t> dims) {
    const std::string unique = model.UniqueValue(graph.name() + "/" + std::string(name));
    declare(graph.add_input(), unique, type, dims);
    return unique;
  };
  input("iteration", DataType::kInt64, {});
  const std::string go_on = input("condition", DataType::kBool, {});
  const std::string left_over = input("scores", DataType::kFloat, {boxes_count});
  const std::string best =
      b.Add("ArgMax", {left_over}, {{"axis", int64_t{0}}, {"keepdims", int64_t{0}}});
  const std::string score = b.Add("Gather", {left_over, best});
  const std::string valid = b.Add("Greater", {score, lowest});
  const auto at_best = [&](const std::string& values) { return b.Add("Gather", {values, best}); };
  const std::string zero = model.Float(0);
  const auto extent = [&](const std::string& low, const std::string& high) {
    const std::string from = b.Add("Max", {low, at_best(low)}),
                      to = b.Add("Min", {high, at_best(high)});
    return b.Add("Max", {b.Add("Sub", {to, from}), zero});
  };
  const std::string common = b.Add("Mul", {extent(top, bottom), extent(left, right)});
  const std::string together = b.Add("Sub", {b.Add("Add", {area, at_best(area)}), common});
  // Boxes without an area overlap with nothing.
  const std::string flat = b.Add(
      "Or", {b.Add("LessOrEqual", {area, zero}), b.Add("LessOrEqual", {at_best(area), zero})});
  const std::string iou = b.Add("Where", {flat, zero, b.Add("Div", {common, together})});
  const std::string decay =
      b.Add("Exp", {b.Add("Mul", {b.Add("Mul", {iou, iou}), model.Float(-0.5f / sigma)})});
  std::vector<int64_t> numbers(boxes_count);
  for (int64_t i = 0; i < boxes_count; ++i) numbers[i] = i;
  const std::string is_best = b.Add("Equal", {model.Int64s(numbers), best});
  const std::string gone = b.Add("Or", {b.Add("GreaterOrEqual", {iou, overlap}), is_best});
  const std::string next =
      b.Add("Where", {gone, model.Float(-std::numeric_limits<float>::infinity()),
                      b.Add("Mul", {left_over, decay})});
  const std::string index = b.Add("Where", {valid, best, model.Int64(0)});
  const std::string kept = b.Add("Where", {valid, score, zero});
  declare(graph.add_output(), b.Add("Identity", {go_on}), DataType::kBool, {});
  declare(graph.add_output(), next, DataType::kFloat, {boxes_count});
  declare(graph.add_output(), index, DataType::kInt64, {});
  declare(graph.add_output(), kept, DataType::kFloat, {});
  declare(graph.add_output(), b.Cast(valid, DataType::kInt32), DataType::kInt32, {});
  const Names made =
      c.builder().AddMany("Loop", {count, "", scores}, {{"body", std::move(graph)}}, 4);
  MP_RETURN_IF_ERROR(c.Out(0, made[1], DataType::kInt64));
  MP_RETURN_IF_ERROR(c.Out(1, made[2]));
  return c.Out(2, c.Add("ReduceSum", {made[3], model.Int64s({0})}, {{"keepdims", int64_t{0}}}),
               DataType::kInt32);
}

absl::Status V4(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(5, 2));
  return Hard(c, /*with_scores=*/false);
}

absl::Status V5(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(6, 3));
  MP_ASSIGN_OR_RETURN(const std::vector<float> sigma, c.Floats(5));
  if (sigma.size() != 1 || sigma[0] < 0) return c.Malformed("its sigma is not valid");
  return sigma[0] == 0 ? Hard(c, /*with_scores=*/true) : Soft(c, sigma[0]);
}

}  // namespace

void RegisterTfliteOperators_detection(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::NON_MAX_SUPPRESSION_V4, V4);
  registry.Add(BuiltinOperator::NON_MAX_SUPPRESSION_V5, V5);
}

}  // namespace modelpress::tflite
