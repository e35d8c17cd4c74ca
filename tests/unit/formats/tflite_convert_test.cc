// TensorFlow Lite to ONNX: the numbers that each operator must give, by hand or from a plain implementation here.
#include <algorithm>
#include <cmath>

#include "core/model/graph.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/formats/tflite_run.h"

namespace modelpress {
namespace {

using testing::BuiltinOperator;
using testing::Convert;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using testing::Floats;
using testing::Ints;
using testing::MakeTensor;
using testing::Operators;
using testing::OutputOf;
using ::testing::Pointwise;
using testing::Random;
using testing::TensorType;
using testing::TestJob;
using testing::TfliteBuilder;
using testing::WithOptions;
namespace schema = tflite_schema;

constexpr auto kNone = schema::ActivationFunctionType::NONE;

TfliteBuilder::Options Conv(schema::Padding padding, int stride,
                            schema::ActivationFunctionType activation = kNone) {
  return WithOptions<schema::Conv2DOptions>(
      schema::BuiltinOptions::Conv2DOptions, [=](auto& builder) {
        return schema::CreateConv2DOptions(builder, padding, stride, stride, activation);
      });
}

// --- Semantics that differ from the ONNX operator of the same name -----------------------------------------------

struct BinaryCase {
  BuiltinOperator code;
  TensorType type;
  std::vector<double> a, b, y;
};

TEST(TfliteConvert, ArithmeticFollowsTheSource) {
  const std::vector<BinaryCase> cases = {
      {BuiltinOperator::FLOOR_DIV,
       TensorType::INT32,
       {7, -7, 7, -7, 6},
       {2, 2, -2, -2, 3},
       {3, -4, -4, 3, 2}},
      {BuiltinOperator::FLOOR_MOD,
       TensorType::INT32,
       {7, -7, 7, -7, 6},
       {3, 3, -3, -3, 3},
       {1, 2, -2, -1, 0}},
      {BuiltinOperator::DIV,
       TensorType::INT32,
       {7, -7, 7, -7, 6},
       {2, 2, -2, -2, 3},
       {3, -3, -3, 3, 2}},
      {BuiltinOperator::FLOOR_DIV,
       TensorType::FLOAT32,
       {7, -7, 7.5, -7, 6},
       {2, 2, -2, -2, 3},
       {3, -4, -4, 3, 2}},
      {BuiltinOperator::FLOOR_MOD,
       TensorType::FLOAT32,
       {7, -7, 7, -7, 6},
       {3, 3, -3, -3, 3},
       {1, 2, -2, -1, 0}},
      {BuiltinOperator::SQUARED_DIFFERENCE,
       TensorType::FLOAT32,
       {1, 2, 3, 4, 5},
       {5, 4, 3, 2, 1},
       {16, 4, 0, 4, 16}},
      {BuiltinOperator::RIGHT_SHIFT,
       TensorType::INT32,
       {8, -8, -1, 7, -7},
       {1, 1, 40, 0, 2},
       {4, -4, -1, 7, -2}},
      {BuiltinOperator::ATAN2,
       TensorType::FLOAT32,
       {0, 1, 0, -1, 0},
       {1, 0, -1, 0, 0},
       {0, std::acos(-1.0) / 2, std::acos(-1.0), -std::acos(-1.0) / 2, 0}},
      {BuiltinOperator::MAXIMUM,
       TensorType::INT32,
       {1, -2, 3, 4, 5},
       {5, -4, 3, 2, 1},
       {5, -2, 3, 4, 5}},
  };
  for (const BinaryCase& test : cases) {
    TfliteBuilder tflite;
    const int a = tflite.Input("a", test.type, {5}), b = tflite.Input("b", test.type, {5});
    tflite.Add(test.code, {a, b}, {tflite.Output("y", test.type, {5})});
    TensorMap inputs;
    if (test.type == TensorType::INT32) {
      inputs["a"] = Ints({5}, {test.a.begin(), test.a.end()});
      inputs["b"] = Ints({5}, {test.b.begin(), test.b.end()});
    } else {
      inputs["a"] = Floats({5}, {test.a.begin(), test.a.end()});
      inputs["b"] = Floats({5}, {test.b.begin(), test.b.end()});
    }
    EXPECT_THAT(OutputOf(tflite, inputs), Pointwise(::testing::DoubleNear(1e-6), test.y))
        << schema::EnumNameBuiltinOperator(test.code);
  }
}

TEST(TfliteConvert, OneHotOfIndicesOutOfRangeIsOff) {
  TfliteBuilder tflite;
  const int x = tflite.Input("x", TensorType::INT32, {4});
  tflite.Add(
      BuiltinOperator::ONE_HOT,
      {x, tflite.Ints("depth", {}, {3}), tflite.Floats("on", {}, {5}),
       tflite.Floats("off", {}, {-1})},
      {tflite.Output("y", TensorType::FLOAT32, {4, 3})},
      WithOptions<schema::OneHotOptions>(schema::BuiltinOptions::OneHotOptions, [](auto& builder) {
        return schema::CreateOneHotOptions(builder, -1);
      }));
  EXPECT_THAT(OutputOf(tflite, {{"x", Ints({4}, {0, -1, 3, 2})}}),
              ElementsAre(5, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 5));
}

TEST(TfliteConvert, ScatterNdAddsDuplicates) {
  TfliteBuilder tflite;
  const int x = tflite.Input("x", TensorType::FLOAT32, {3});
  tflite.Add(BuiltinOperator::SCATTER_ND,
             {tflite.Ints("i", {3, 1}, {1, 1, 3}), x, tflite.Ints("shape", {1}, {4})},
             {tflite.Output("y", TensorType::FLOAT32, {4})});
  EXPECT_THAT(OutputOf(tflite, {{"x", Floats({3}, {1, 2, 4})}}), ElementsAre(0, 3, 0, 4));
}

TEST(TfliteConvert, StridedSliceReadsItsMasks) {
  // x[1:, newaxis, ..., -1] of a 3 x 2 x 2 tensor, then the same with reversed rows.
  struct Case {
    std::vector<int32_t> begin, end, strides;
    int begin_mask, end_mask, ellipsis, new_axis, shrink;
    std::vector<int32_t> shape;
    std::vector<double> y;
  };
  const std::vector<Case> cases = {
      {{1, 0, 0, -1}, {0, 0, 0, 0}, {1, 1, 1, 1}, 0, 1, 4, 2, 8, {2, 1, 2}, {5, 7, 9, 11}},
      {{-1, 0, 0}, {-4, 2, 1}, {-1, 1, 1}, 0, 0, 0, 0, 0, {3, 2, 1}, {8, 10, 4, 6, 0, 2}},
      {{0, 1, 0}, {0, 0, 0}, {1, 1, 1}, 1, 5, 0, 0, 2, {3, 2}, {2, 3, 6, 7, 10, 11}},
      {{0}, {100}, {2}, 0, 0, 0, 0, 0, {2, 2, 2}, {0, 1, 2, 3, 8, 9, 10, 11}},
  };
  std::vector<float> values(12);
  for (int i = 0; i < 12; ++i) values[i] = static_cast<float>(i);
  for (const Case& test : cases) {
    for (const bool computed : {false, true}) {
      TfliteBuilder tflite;
      const int x = tflite.Input("x", TensorType::FLOAT32, {3, 2, 2});
      const int32_t count = static_cast<int32_t>(test.begin.size());
      TensorMap inputs = {{"x", Floats({3, 2, 2}, values)}};
      int begin = 0, end = 0;
      if (computed) {
        begin = tflite.Input("begin", TensorType::INT32, {count});
        end = tflite.Input("end", TensorType::INT32, {count});
        inputs["begin"] = Ints({count}, test.begin);
        inputs["end"] = Ints({count}, test.end);
      } else {
        begin = tflite.Ints("begin", {count}, test.begin);
        end = tflite.Ints("end", {count}, test.end);
      }
      tflite.Add(BuiltinOperator::STRIDED_SLICE,
                 {x, begin, end, tflite.Ints("strides", {count}, test.strides)},
                 {tflite.Output("y", TensorType::FLOAT32, test.shape)},
                 WithOptions<schema::StridedSliceOptions>(
                     schema::BuiltinOptions::StridedSliceOptions, [&test](auto& builder) {
                       return schema::CreateStridedSliceOptions(builder, test.begin_mask,
                                                                test.end_mask, test.ellipsis,
                                                                test.new_axis, test.shrink);
                     }));
      EXPECT_THAT(OutputOf(tflite, inputs), ElementsAreArray(test.y))
          << computed << " " << test.begin.size();
    }
  }
}

// --- Layout -------------------------------------------------------------------------------------------------------

// A convolution with SAME padding, computed plainly in double.
std::vector<double> PlainConv(const std::vector<float>& x, int height, int width, int in,
                              const std::vector<float>& w, int kernel, int out, int stride) {
  const int rows = (height + stride - 1) / stride, columns = (width + stride - 1) / stride;
  const int top = std::max((rows - 1) * stride + kernel - height, 0) / 2;
  const int left = std::max((columns - 1) * stride + kernel - width, 0) / 2;
  std::vector<double> y;
  for (int row = 0; row < rows; ++row) {
    for (int column = 0; column < columns; ++column) {
      for (int o = 0; o < out; ++o) {
        double sum = 0;
        for (int i = 0; i < kernel; ++i) {
          for (int j = 0; j < kernel; ++j) {
            const int r = row * stride - top + i, k = column * stride - left + j;
            if (r < 0 || r >= height || k < 0 || k >= width) continue;
            for (int c = 0; c < in; ++c) {
              sum += static_cast<double>(x[(r * width + k) * in + c]) *
                     w[((o * kernel + i) * kernel + j) * in + c];
            }
          }
        }
        y.push_back(sum);
      }
    }
  }
  return y;
}

TEST(TfliteConvert, ConvolutionPadsTheEnd) {
  for (const int stride : {1, 2, 3}) {
    TfliteBuilder tflite;
    const int x = tflite.Input("x", TensorType::FLOAT32, {1, 7, 6, 2});
    const std::vector<float> weights = Random(3 * 4 * 4 * 2, 1), image = Random(7 * 6 * 2, 2);
    const int w = tflite.Floats("w", {3, 4, 4, 2}, weights), b = tflite.Floats("b", {3}, {0, 0, 0});
    tflite.Add(BuiltinOperator::CONV_2D, {x, w, b},
               {tflite.Output("y", TensorType::FLOAT32,
                              {1, (7 + stride - 1) / stride, (6 + stride - 1) / stride, 3})},
               Conv(schema::Padding::SAME, stride));
    EXPECT_THAT(
        OutputOf(tflite, {{"x", Floats({1, 7, 6, 2}, image)}}),
        Pointwise(::testing::DoubleNear(1e-4), PlainConv(image, 7, 6, 2, weights, 4, 3, stride)));
  }
}

// conv -> add a vector -> concat with itself -> mean over the image -> dense.
TfliteBuilder SmallNet() {
  TfliteBuilder tflite;
  const int x = tflite.Input("x", TensorType::FLOAT32, {1, 6, 6, 2});
  const int a = tflite.Tensor("a", TensorType::FLOAT32, {1, 6, 6, 4}),
            c = tflite.Tensor("c", TensorType::FLOAT32, {1, 6, 6, 4});
  const int d = tflite.Tensor("d", TensorType::FLOAT32, {1, 6, 6, 8}),
            e = tflite.Tensor("e", TensorType::FLOAT32, {1, 3, 3, 3});
  const int m = tflite.Tensor("m", TensorType::FLOAT32, {1, 3});
  tflite.Add(
      BuiltinOperator::CONV_2D,
      {x, tflite.Floats("w1", {4, 3, 3, 2}, Random(72, 3)), tflite.Floats("b1", {4}, {1, 2, 3, 4})},
      {a}, Conv(schema::Padding::SAME, 1, schema::ActivationFunctionType::RELU));
  tflite.Add(BuiltinOperator::ADD, {a, tflite.Floats("v", {4}, {1, -2, 3, -4})}, {c});
  tflite.Add(BuiltinOperator::CONCATENATION, {c, a}, {d},
             WithOptions<schema::ConcatenationOptions>(
                 schema::BuiltinOptions::ConcatenationOptions,
                 [](auto& builder) { return schema::CreateConcatenationOptions(builder, -1); }));
  tflite.Add(
      BuiltinOperator::CONV_2D,
      {d, tflite.Floats("w2", {3, 3, 3, 8}, Random(216, 4)), tflite.Floats("b2", {3}, {0, 0, 0})},
      {e}, Conv(schema::Padding::SAME, 2));
  tflite.Add(BuiltinOperator::MEAN, {e, tflite.Ints("axes", {2}, {1, 2})}, {m});
  tflite.Add(BuiltinOperator::FULLY_CONNECTED,
             {m, tflite.Floats("w3", {2, 3}, Random(6, 5)), tflite.Floats("b3", {2}, {1, 2})},
             {tflite.Output("y", TensorType::FLOAT32, {1, 2})});
  return tflite;
}

TEST(TfliteConvert, SharedWeightsAreTurnedOnce) {
  TfliteBuilder tflite;
  const int x = tflite.Input("x", TensorType::FLOAT32, {1, 4, 4, 2}),
            h = tflite.Tensor("h", TensorType::FLOAT32, {1, 4, 4, 2});
  const int w = tflite.Floats("w", {2, 3, 3, 2}, Random(36, 8));
  tflite.Add(BuiltinOperator::CONV_2D, {x, w, -1}, {h}, Conv(schema::Padding::SAME, 1));
  tflite.Add(BuiltinOperator::CONV_2D, {h, w, -1},
             {tflite.Output("y", TensorType::FLOAT32, {1, 4, 4, 2})},
             Conv(schema::Padding::SAME, 1));
  TestJob job;
  const absl::StatusOr<Model> model = Convert(tflite.Bytes(), job);
  ASSERT_TRUE(model.ok()) << model.status();
  int large = 0;
  for (const auto& tensor : model->proto().graph().initializer())
    large += tensor.dims_size() == 4 ? 1 : 0;
  EXPECT_EQ(large, 1);
}

TEST(TfliteConvert, OneTransposeIsLeftAtTheImage) {
  EXPECT_THAT(Operators(SmallNet()), ElementsAre("Transpose", "Conv", "Relu", "Add", "Concat",
                                                 "Conv", "ReduceMean", "Gemm"));
  Import options;
  options.set_channels_first_inputs(true);
  EXPECT_THAT(Operators(SmallNet(), options),
              ElementsAre("Conv", "Relu", "Add", "Concat", "Conv", "ReduceMean", "Gemm"));
}

TEST(TfliteConvert, ChannelsFirstInputsGiveTheSameNumbers) {
  const std::vector<float> image = Random(72, 6);
  std::vector<float> turned(72);
  for (int i = 0; i < 36; ++i) {
    for (int c = 0; c < 2; ++c) turned[c * 36 + i] = image[i * 2 + c];
  }
  Import options;
  options.set_channels_first_inputs(true);
  const std::vector<double> plain = OutputOf(SmallNet(), {{"x", Floats({1, 6, 6, 2}, image)}});
  EXPECT_THAT(OutputOf(SmallNet(), {{"x", Floats({1, 2, 6, 6}, turned)}}, options),
              Pointwise(::testing::DoubleNear(1e-5), plain));
}

TEST(TfliteConvert, NamesOfTheSourceAreKept) {
  TestJob job;
  const absl::StatusOr<Model> model = Convert(SmallNet().Bytes(), job);
  ASSERT_TRUE(model.ok()) << model.status();
  absl::flat_hash_set<std::string> values;
  for (const auto& node : model->proto().graph().node())
    values.insert(node.output().begin(), node.output().end());
  for (const char* name : {"a", "c", "d", "e", "m", "y"})
    EXPECT_TRUE(values.contains(name)) << name;
}

// --- Quantization -------------------------------------------------------------------------------------------------

TEST(TfliteConvert, CodesAndScalesAreThoseOfTheSource) {
  TfliteBuilder tflite;
  const int x = tflite.Input("x", TensorType::INT8, {1, 2});
  const std::vector<int8_t> codes = {1, -2, 3, -4, 5, -6};
  const int w = tflite.Constant("w", TensorType::INT8, {3, 2}, codes),
            b = tflite.Ints("b", {3}, {10, 20, -30});
  const int y = tflite.Output("y", TensorType::INT8, {1, 3});
  tflite.Quantize(x, {{0.5f}, {3}});
  tflite.Quantize(w, {{0.25f, 0.5f, 1.0f}, {0, 0, 0}, 0});
  tflite.Quantize(b, {{0.125f, 0.25f, 0.5f}, {0, 0, 0}, 0});
  tflite.Quantize(y, {{0.5f}, {-1}});
  tflite.Add(BuiltinOperator::FULLY_CONNECTED, {x, w, b}, {y});
  // x = {2, -1}: w x + b = {0.25 (1 * 2 + 2) + 1.25, 0.5 (3 * 2 + 4) + 5, 1 (5 * 2 + 6) - 15} = {2.25, 10, 1}
  EXPECT_THAT(OutputOf(tflite, {{"x", MakeTensor<int8_t>(DataType::kInt8, {1, 2}, {7, 1})}}),
              Pointwise(::testing::DoubleNear(1), std::vector<double>{4, 19, 1}));
  TestJob job;
  const Model model = Convert(tflite.Bytes(), job).value();
  const onnx::TensorProto* weight = testing::FindInitializer(model, "w");
  ASSERT_NE(weight, nullptr);
  EXPECT_EQ(Type(*weight), DataType::kInt8);
  EXPECT_THAT(testing::Values(model, *weight), ElementsAre(1, -2, 3, -4, 5, -6));
  bool found = false;
  for (const auto& node : model.proto().graph().node()) {
    if (node.op_type() != "DequantizeLinear" || node.input(0) != "w") continue;
    found = true;
    EXPECT_THAT(testing::Values(model, *testing::FindInitializer(model, node.input(1))),
                ElementsAre(0.25, 0.5, 1));
    EXPECT_EQ(IntAttribute(node, "axis", 1), 0);
  }
  EXPECT_TRUE(found);
}

TEST(TfliteConvert, HalfPrecisionConstantsAreWidened) {
  TfliteBuilder tflite;
  const int x = tflite.Input("x", TensorType::FLOAT32, {4});
  const int half =
      tflite.Constant<uint16_t>("half", TensorType::FLOAT16, {4}, {0x3C00, 0xC000, 0x0001, 0x7BFF});
  const int wide = tflite.Tensor("wide", TensorType::FLOAT32, {4});
  tflite.Add(BuiltinOperator::DEQUANTIZE, {half}, {wide});
  tflite.Add(BuiltinOperator::MUL, {x, wide}, {tflite.Output("y", TensorType::FLOAT32, {4})});
  EXPECT_THAT(OutputOf(tflite, {{"x", Floats({4}, {1, 1, 1, 1})}}),
              ElementsAre(1, -2, std::ldexp(1.0, -24), 65504));
  EXPECT_THAT(Operators(tflite), ElementsAre("Mul"));
}

TEST(TfliteConvert, SparseConstantsBecomeDense) {
  TfliteBuilder tflite;
  const int x = tflite.Input("x", TensorType::FLOAT32, {2, 3});
  TfliteBuilder::TensorSpec spec{.name = "s", .type = TensorType::FLOAT32, .shape = {2, 3}};
  const std::vector<float> values = {5, 6, 7};
  spec.data.resize(12);
  std::memcpy(spec.data.data(), values.data(), 12);
  // Rows dense, columns compressed: {{0, 5, 0}, {6, 0, 7}}.
  spec.sparsity = [](TfliteBuilder::FlatBuilder& builder) {
    const auto segments =
        schema::CreateInt32Vector(builder, builder.CreateVector(std::vector<int32_t>{0, 1, 3}));
    const auto indices =
        schema::CreateUint8Vector(builder, builder.CreateVector(std::vector<uint8_t>{1, 0, 2}));
    const std::vector<flatbuffers::Offset<schema::DimensionMetadata>> axes = {
        schema::CreateDimensionMetadata(builder, schema::DimensionType::DENSE, 2),
        schema::CreateDimensionMetadata(builder, schema::DimensionType::SPARSE_CSR, 0,
                                        schema::SparseIndexVector::Int32Vector, segments.Union(),
                                        schema::SparseIndexVector::Uint8Vector, indices.Union())};
    return schema::CreateSparsityParameters(
        builder, builder.CreateVector(std::vector<int32_t>{0, 1}), 0, builder.CreateVector(axes));
  };
  const int sparse = tflite.Tensor(spec),
            dense = tflite.Tensor("dense", TensorType::FLOAT32, {2, 3});
  tflite.Add(BuiltinOperator::DENSIFY, {sparse}, {dense});
  tflite.Add(BuiltinOperator::ADD, {x, dense}, {tflite.Output("y", TensorType::FLOAT32, {2, 3})});
  EXPECT_THAT(OutputOf(tflite, {{"x", Floats({2, 3}, {1, 1, 1, 1, 1, 1})}}),
              ElementsAre(1, 6, 1, 7, 1, 8));
}

}  // namespace
}  // namespace modelpress
