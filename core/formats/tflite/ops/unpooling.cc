// MediaPipe's custom operators MaxPoolingWithArgmax2D and MaxUnpooling2D (float32).
//
//   MaxPoolingWithArgmax2D -> MaxPool with indices; the place within the window is y * filter_width + x + 0.1, counted from
//     the window's corner, which may lie in the padding
//   MaxUnpooling2D -> MaxUnpool, after that place has been turned into one of the whole output
// Options: int32 padding (1 SAME, 2 VALID), stride_width, stride_height, filter_width, filter_height, activation.
// Facts: mediapipe/util/tflite/operations (max_pool_argmax.cc, max_unpooling.cc).
#include <cstring>

#include "core/formats/tflite/window.h"

namespace modelpress::tflite {
namespace {

struct Window {
  schema::Padding padding = schema::Padding::SAME;
  int64_t stride_height = 1, stride_width = 1, height = 1, width = 1;
};

absl::StatusOr<Window> ReadWindow(OperatorContext& c) {
  int32_t numbers[6];
  if (c.op().custom_options.size() < sizeof(numbers))
    return c.Malformed("its options are too short");
  std::memcpy(numbers, c.op().custom_options.data(), sizeof(numbers));
  if (numbers[0] != 1 && numbers[0] != 2) return c.Malformed("its padding is not known");
  if (numbers[5] != 0) return c.Unsupported("it has a fused activation");
  Window window;
  window.padding = numbers[0] == 1 ? schema::Padding::SAME : schema::Padding::VALID;
  window.stride_width = numbers[1], window.stride_height = numbers[2];
  window.width = numbers[3], window.height = numbers[4];
  for (const int i : {1, 2, 3, 4}) {
    if (numbers[i] < 1) return c.Malformed("a stride or extent of its window is below 1");
  }
  return window;
}

absl::Status CheckImage(OperatorContext& c, int i) {
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(i));
  if (rank != 4) return c.Malformed("its input has no four axes");
  for (int axis = 1; axis < 4; ++axis) {
    if (c.Source(i).shape[axis] < 1) return c.Unsupported("the shape of its input is not known");
    MP_RETURN_IF_ERROR(c.Limit(c.Source(i).shape[axis], 1));
  }
  return absl::OkStatus();
}

// Integers 0, step, 2 step, ... minus `before`, along axis `axis` of four.
std::string Ramp(OperatorContext& c, int64_t count, int64_t step, int64_t before, int axis) {
  std::vector<int64_t> values(count), dims(4, 1);
  for (int64_t i = 0; i < count; ++i) values[i] = i * step - before;
  dims[axis] = count;
  return c.model().Constant(DataType::kInt64, dims, std::as_bytes(std::span(values)));
}

absl::Status MaxPoolWithArgmax(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 2));
  MP_RETURN_IF_ERROR(CheckImage(c, 0));
  MP_ASSIGN_OR_RETURN(const Window window, ReadWindow(c));
  const int64_t height = c.Source(0).shape[1], width = c.Source(0).shape[2];
  const WindowAxis rows{height, window.height, window.stride_height, 1},
      columns{width, window.width, window.stride_width, 1};
  MP_ASSIGN_OR_RETURN(Attributes attributes, WindowAttributes(c, {rows, columns}, window.padding));
  attributes.push_back({"kernel_shape", std::vector<int64_t>{window.height, window.width}});
  // Padding before the first row and column, and the extents of the output.
  const auto extents = [&](const WindowAxis& axis) {
    const bool same = window.padding == schema::Padding::SAME;
    const int64_t output =
        same ? (axis.input + axis.stride - 1) / axis.stride
             : std::max<int64_t>((axis.input - axis.kernel + axis.stride) / axis.stride, 0);
    const int64_t total =
        same ? std::max<int64_t>((output - 1) * axis.stride + axis.kernel - axis.input, 0) : 0;
    return std::pair(output, total / 2);
  };
  const auto [out_height, above] = extents(rows);
  const auto [out_width, left] = extents(columns);
  MP_ASSIGN_OR_RETURN(const std::string x, c.In(0));
  const Names made =
      c.builder().AddMany("MaxPool", {c.scope().ChannelsFirst(x, 4)}, std::move(attributes), 2);
  MP_RETURN_IF_ERROR(c.Out(0, c.scope().ChannelsLast(made[0], 4)));
  import::ModelBuilder& model = c.model();
  const std::string plane = c.Add("Mod", {made[1], model.Int64(height * width)});
  const std::string row = c.Add("Sub", {c.Add("Div", {plane, model.Int64(width)}),
                                        Ramp(c, out_height, window.stride_height, above, 2)});
  const std::string column = c.Add("Sub", {c.Add("Mod", {plane, model.Int64(width)}),
                                           Ramp(c, out_width, window.stride_width, left, 3)});
  const std::string place = c.Add("Add", {c.Add("Mul", {row, model.Int64(window.width)}), column});
  const std::string index =
      c.Add("Add", {c.builder().Cast(place, DataType::kFloat), model.Float(0.1f)});
  return c.Out(1, c.scope().ChannelsLast(index, 4));
}

absl::Status MaxUnpool(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  MP_RETURN_IF_ERROR(CheckImage(c, 0));
  MP_ASSIGN_OR_RETURN(const Window window, ReadWindow(c));
  if (window.stride_height != window.height || window.stride_width != window.width)
    return c.Unsupported("its windows overlap or leave gaps");
  const std::vector<int64_t>& shape = c.Source(0).shape;
  if (shape[0] < 1) return c.Unsupported("the shape of its input is not known");
  MP_RETURN_IF_ERROR(c.Limit(shape[0], shape[3]));
  const int64_t height = shape[1] * window.height, width = shape[2] * window.width;
  MP_RETURN_IF_ERROR(c.Limit(height, width));
  import::ModelBuilder& model = c.model();
  import::GraphBuilder& b = c.builder();
  MP_ASSIGN_OR_RETURN(const std::string x, c.In(0));
  MP_ASSIGN_OR_RETURN(const std::string indices, c.In(1));
  const std::string place = b.Cast(c.scope().ChannelsFirst(indices, 4), DataType::kInt64);
  const std::string row = c.Add("Add", {c.Add("Div", {place, model.Int64(window.width)}),
                                        Ramp(c, shape[1], window.height, 0, 2)});
  const std::string column = c.Add("Add", {c.Add("Mod", {place, model.Int64(window.width)}),
                                           Ramp(c, shape[2], window.width, 0, 3)});
  const std::string in_plane = c.Add("Add", {c.Add("Mul", {row, model.Int64(width)}), column});
  std::vector<int64_t> planes(shape[0] * shape[3]);
  for (size_t i = 0; i < planes.size(); ++i) planes[i] = static_cast<int64_t>(i) * height * width;
  const int64_t plane_dims[] = {shape[0], shape[3], 1, 1};
  const std::string index =
      c.Add("Add", {in_plane, model.Constant(DataType::kInt64, plane_dims,
                                             std::as_bytes(std::span<const int64_t>(planes)))});
  const std::string y = c.Add(
      "MaxUnpool",
      {c.scope().ChannelsFirst(x, 4), index, model.Int64s({shape[0], shape[3], height, width})},
      {{"kernel_shape", std::vector<int64_t>{window.height, window.width}},
       {"strides", std::vector<int64_t>{window.height, window.width}}});
  return c.Out(0, c.scope().ChannelsLast(y, 4));
}

}  // namespace

void RegisterTfliteOperators_unpooling(OperatorRegistry& registry) {
  registry.AddCustom("MaxPoolingWithArgmax2D", MaxPoolWithArgmax);
  registry.AddCustom("MaxUnpooling2D", MaxUnpool);
}

}  // namespace modelpress::tflite
