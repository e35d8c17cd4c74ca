// Operators of torchvision.
//
//   nms -> NonMaxSuppression of one class in one image; both give indices by falling score
//   roi_align -> RoiAlign; the first column of the boxes is the number of the image
//   roi_pool -> MaxRoiPool, which rounds boxes as Caffe does, as torchvision
#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

void Nms(OperatorContext& c) {
  const std::string boxes = c.Unsqueeze(c.InAs("dets", DataType::kFloat), {0});
  const std::string flat = c.InAs("scores", DataType::kFloat);
  const std::string scores = c.Unsqueeze(flat, {0, 1});
  const std::string kept =
      c.Add("NonMaxSuppression",
            {boxes, scores, c.Add("Shape", {flat}),
             c.model().Floats(std::vector<float>{static_cast<float>(c.Float("iou_threshold", 0.5))},
                              Ints{1})});
  c.Out(c.Add("Gather", {kept, c.model().Int64(2)}, {{"axis", int64_t{1}}}), DataType::kInt64);
}

void RoiAlign(OperatorContext& c) {
  const DataType type = FloatOnly(c.Target().type);
  const std::string rois = c.InAs("rois", type);
  const std::string image = c.Cast(
      c.Add("Gather", {rois, c.model().Int64(0)}, {{"axis", int64_t{1}}}), type, DataType::kInt64);
  c.Out(c.Add("RoiAlign", {c.InAs("input", type), c.Slice(rois, 1, 1, 5), image},
              {{"coordinate_transformation_mode", c.Bool("aligned", false)
                                                      ? std::string("half_pixel")
                                                      : std::string("output_half_pixel")},
               {"mode", std::string("avg")},
               {"output_height", c.Int("pooled_height", 1)},
               {"output_width", c.Int("pooled_width", 1)},
               {"sampling_ratio", std::max<int64_t>(c.Int("sampling_ratio", -1), 0)},
               {"spatial_scale", static_cast<float>(c.Float("spatial_scale", 1))}}),
        type);
}

void RoiPool(OperatorContext& c) {
  const int64_t height = c.Int("pooled_height", 1), width = c.Int("pooled_width", 1);
  if (c.output_count() > 1 && c.Wants(1)) return c.Refuse("the places of its maxima are read");
  constexpr int64_t kMost = 1 << 20;
  if (height < 1 || width < 1 || height > kMost || width > kMost)
    return c.Malformed("its result is empty or absurd");
  c.Out(c.Add("MaxRoiPool", {c.InAs("input", DataType::kFloat), c.InAs("rois", DataType::kFloat)},
              {{"pooled_shape", Ints{height, width}},
               {"spatial_scale", static_cast<float>(c.Float("spatial_scale", 1))}}),
        DataType::kFloat);
}

}  // namespace

void RegisterPt2Operators_detection(OperatorRegistry& registry) {
  registry.Add("torchvision.nms", Nms);
  registry.Add("torchvision.roi_align", RoiAlign);
  registry.Add("torchvision.roi_pool", RoiPool);
}

}  // namespace modelpress::pt2
