// The custom operator TFLite_Detection_PostProcess (SSD detectors): boxes from their encodings, then non-maximum
// suppression, the fast kind over each box's best class or the regular kind class by class.
//
//   inputs   encodings [1, n, 4] (y, x, h, w), class scores [1, n, classes or classes + background], anchors [n, 4]
//   outputs  boxes [1, d, 4], classes [1, d], scores [1, d], number [1]; d = max_detections, zeros behind the number
//   center = encoding / scale * anchor extent + anchor center, extent = exp(encoding / scale) * anchor extent
//   -> NonMaxSuppression over one class (fast) or all (regular, then TopK), Gather, Pad
// Numbers written as text would be read by FlatBuffers' library, which nothing else here needs.
#define FLATBUFFERS_LOCALE_INDEPENDENT 0
#include <cmath>
#include <limits>

#include "core/formats/tflite/operator.h"
#include "flatbuffers/flexbuffers.h"

namespace modelpress::tflite {
namespace {

struct PostOptions {
  int64_t max_detections = 0, max_classes_per_detection = 1, detections_per_class = 100,
          num_classes = 0;
  float y_scale = 1, x_scale = 1, h_scale = 1, w_scale = 1, score_threshold = 0, iou_threshold = 0;
  bool regular = false;
};

absl::StatusOr<PostOptions> ReadOptions(OperatorContext& c) {
  const auto bytes = c.op().custom_options;
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  if (bytes.size() < 3 || !flexbuffers::VerifyBuffer(data, bytes.size()) ||
      !flexbuffers::GetRoot(data, bytes.size()).IsMap()) {
    return c.Malformed("its options are no map");
  }
  const flexbuffers::Map map = flexbuffers::GetRoot(data, bytes.size()).AsMap();
  PostOptions options;
  options.max_detections = map["max_detections"].AsInt64();
  options.max_classes_per_detection = map["max_classes_per_detection"].AsInt64();
  if (!map["detections_per_class"].IsNull())
    options.detections_per_class = map["detections_per_class"].AsInt64();
  options.num_classes = map["num_classes"].AsInt64();
  options.y_scale = map["y_scale"].AsFloat();
  options.x_scale = map["x_scale"].AsFloat();
  options.h_scale = map["h_scale"].AsFloat();
  options.w_scale = map["w_scale"].AsFloat();
  options.score_threshold = map["nms_score_threshold"].AsFloat();
  options.iou_threshold = map["nms_iou_threshold"].AsFloat();
  options.regular = !map["use_regular_nms"].IsNull() && map["use_regular_nms"].AsBool();
  if (options.max_detections < 1 || options.num_classes < 1 || options.y_scale == 0 ||
      options.x_scale == 0 || options.h_scale == 0 || options.w_scale == 0) {
    return c.Malformed("its options are not valid");
  }
  MP_RETURN_IF_ERROR(c.Limit(options.max_detections, options.num_classes));
  return options;
}

// [1, n, 4] corners.
std::string Decode(OperatorContext& c, const PostOptions& options, const std::string& encodings,
                   const std::string& anchors) {
  import::ModelBuilder& model = c.model();
  const Names parts = c.builder().AddMany("Split", {encodings},
                                          {{"axis", int64_t{2}}, {"num_outputs", int64_t{4}}}, 4);
  const Names bases = c.builder().AddMany("Split", {anchors},
                                          {{"axis", int64_t{1}}, {"num_outputs", int64_t{4}}}, 4);
  const auto scaled = [&](int i, float scale) {
    return c.Add("Div", {parts[i], model.Float(scale)});
  };
  const auto center = [&](int i, float scale) {
    return c.Add("Add", {c.Add("Mul", {scaled(i, scale), bases[i + 2]}), bases[i]});
  };
  const auto half = [&](int i, float scale) {
    return c.Add("Mul",
                 {c.Add("Mul", {c.Add("Exp", {scaled(i, scale)}), bases[i]}), model.Float(0.5f)});
  };
  const std::string y = center(0, options.y_scale), x = center(1, options.x_scale);
  const std::string h = half(2, options.h_scale), w = half(3, options.w_scale);
  return c.Add(
      "Concat",
      {c.Add("Sub", {y, h}), c.Add("Sub", {x, w}), c.Add("Add", {y, h}), c.Add("Add", {x, w})},
      {{"axis", int64_t{2}}});
}

absl::Status PostProcess(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(3, 4));
  MP_ASSIGN_OR_RETURN(const PostOptions options, ReadOptions(c));
  if (!options.regular && options.max_classes_per_detection != 1) {
    return c.Unsupported("it gives more than one class for each box");
  }
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(1));
  if (rank != 3 || c.Source(1).shape[2] < options.num_classes)
    return c.Malformed("its scores do not fit its classes");
  import::ModelBuilder& model = c.model();
  import::GraphBuilder& b = c.builder();
  MP_ASSIGN_OR_RETURN(const std::string encodings, c.In(0));
  MP_ASSIGN_OR_RETURN(std::string scores, c.In(1));
  MP_ASSIGN_OR_RETURN(const std::string anchors, c.In(2));
  const std::string boxes = Decode(c, options, encodings, anchors);
  const int64_t background = c.Source(1).shape[2] - options.num_classes;
  if (background > 0) scores = b.Slice(scores, {background}, {c.Source(1).shape[2]}, {2});
  const std::string by_class = b.Transpose(scores, {0, 2, 1});
  const std::string best = c.Add("ReduceMax", {by_class, model.Int64s({1})});
  const int64_t limit = options.regular ? options.detections_per_class : options.max_detections;
  // The source keeps a score that equals its threshold, ONNX does not.
  const float threshold =
      std::nextafter(options.score_threshold, -std::numeric_limits<float>::infinity());
  std::string chosen =
      c.Add("NonMaxSuppression",
            {boxes, options.regular ? by_class : best, model.Int64s({limit}),
             model.Floats(std::vector<float>{options.iou_threshold}, std::vector<int64_t>{1}),
             model.Floats(std::vector<float>{threshold}, std::vector<int64_t>{1})});
  std::string kept;  // scores [k]
  if (options.regular) {
    const std::string all = c.Add("GatherND", {by_class, chosen});
    const std::string count =
        c.Add("Min", {c.Add("Shape", {all}), model.Int64s({options.max_detections})});
    const Names top = b.AddMany("TopK", {all, count}, {{"axis", int64_t{0}}}, 2);
    kept = top[0];
    chosen = c.Add("Gather", {chosen, top[1]});
  }
  const std::string index = c.Add("Gather", {chosen, model.Int64(2)}, {{"axis", int64_t{1}}});
  std::string classes;
  if (options.regular) {
    classes = c.Add("Gather", {chosen, model.Int64(1)}, {{"axis", int64_t{1}}});
  } else {
    kept = c.Add("Gather", {b.Reshape(best, {-1}), index});
    const std::string winner =
        c.Add("ArgMax", {by_class}, {{"axis", int64_t{1}}, {"keepdims", int64_t{0}}});
    classes = c.Add("Gather", {b.Reshape(winner, {-1}), index});
  }
  const std::string number = c.Add("Shape", {index});
  const std::string missing = c.Add("Sub", {model.Int64s({options.max_detections}), number});
  const std::string row_pads =
      c.Add("Concat", {model.Int64s({0}), missing}, {{"axis", int64_t{0}}});
  const auto vector = [&](const std::string& values) {
    return c.Add("Unsqueeze", {c.Add("Pad", {values, row_pads}), model.Int64s({0})});
  };
  const std::string box_pads = c.Add(
      "Concat", {model.Int64s({0, 0, 0, 0}), missing, model.Int64s({0})}, {{"axis", int64_t{0}}});
  const std::string found =
      c.Add("Pad", {c.Add("Gather", {boxes, index}, {{"axis", int64_t{1}}}), box_pads});
  MP_RETURN_IF_ERROR(c.Out(0, found));
  MP_RETURN_IF_ERROR(c.Out(1, vector(b.Cast(classes, DataType::kFloat))));
  MP_RETURN_IF_ERROR(c.Out(2, vector(kept)));
  return c.Out(3, b.Cast(number, DataType::kFloat));
}

}  // namespace

void RegisterTfliteOperators_detection_postprocess(OperatorRegistry& registry) {
  registry.AddCustom("TFLite_Detection_PostProcess", PostProcess);
}

}  // namespace modelpress::tflite
