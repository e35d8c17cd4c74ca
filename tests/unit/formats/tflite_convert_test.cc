// TensorFlow Lite to ONNX: the numbers that each operator must give, by hand or from a plain implementation here.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>

#include "core/base/status.h"
#include "core/formats/format.h"
#include "core/model/graph.h"
#include "core/runtime/session.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "modelpress/v1/recipe.pb.h"
#include "tests/support/model_builder.h"
#include "tests/support/test_job.h"
#include "tests/support/tflite_builder.h"

namespace modelpress {
namespace {

using testing::BuiltinOperator;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::FloatNear;
using ::testing::HasSubstr;
using ::testing::Pointwise;
using testing::TensorType;
using testing::TestJob;
using testing::TfliteBuilder;
using testing::WithOptions;
namespace schema = tflite_schema;

constexpr auto kNone = schema::ActivationFunctionType::NONE;

absl::StatusOr<Model> Convert(const std::string& bytes, TestJob& job, const Import& options = {}) {
  const InputFiles files{.main = testing::MakeInput("model.tflite", bytes)};
  MP_ASSIGN_OR_RETURN(const Format* format, FormatRegistry::Get().Recognise(files));
  EXPECT_EQ(format->name(), "tflite");
  return format->Read(files, options, job.context());
}

template <typename T>
Tensor MakeTensor(DataType type, std::vector<int64_t> dims, const std::vector<T>& values) {
  std::span<std::byte> room;
  Tensor tensor = Tensor::Make(type, std::move(dims), &room).value();
  EXPECT_EQ(room.size(), values.size() * sizeof(T));
  std::memcpy(room.data(), values.data(), room.size());
  return tensor;
}

Tensor Floats(std::vector<int64_t> dims, const std::vector<float>& values) {
  return MakeTensor(DataType::kFloat, std::move(dims), values);
}
Tensor Ints(std::vector<int64_t> dims, const std::vector<int32_t>& values) {
  return MakeTensor(DataType::kInt32, std::move(dims), values);
}

std::vector<double> Numbers(const Tensor& tensor) {
  std::vector<double> numbers;
  for (uint64_t i = 0; i < tensor.element_count(); ++i)
    numbers.push_back(ElementAsDouble(tensor, i));
  return numbers;
}

// The output "y" of the model for these inputs.
std::vector<double> Run(const TfliteBuilder& tflite, const TensorMap& inputs,
                        const Import& options = {}) {
  TestJob job;
  const absl::StatusOr<Model> model = Convert(tflite.Bytes(), job, options);
  EXPECT_TRUE(model.ok()) << model.status();
  if (!model.ok()) return {};
  const auto session = Session::Create(*model, {});
  EXPECT_TRUE(session.ok()) << session.status();
  if (!session.ok()) return {};
  const auto outputs = (*session)->Run(inputs);
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  return outputs.ok() ? Numbers(outputs->at("y")) : std::vector<double>();
}

std::vector<std::string> Operators(const TfliteBuilder& tflite, const Import& options = {}) {
  TestJob job;
  const absl::StatusOr<Model> model = Convert(tflite.Bytes(), job, options);
  EXPECT_TRUE(model.ok()) << model.status();
  std::vector<std::string> types;
  if (model.ok()) {
    for (const onnx::NodeProto& node : model->proto().graph().node())
      types.push_back(node.op_type());
  }
  return types;
}

TfliteBuilder::Options Conv(schema::Padding padding, int stride,
                            schema::ActivationFunctionType activation = kNone) {
  return WithOptions<schema::Conv2DOptions>(
      schema::BuiltinOptions::Conv2DOptions, [=](auto& builder) {
        return schema::CreateConv2DOptions(builder, padding, stride, stride, activation);
      });
}

std::vector<float> Random(size_t count, uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(generator()) / 2147483648.0f - 1.0f;
  return values;
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
    EXPECT_THAT(Run(tflite, inputs), Pointwise(::testing::DoubleNear(1e-6), test.y))
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
  EXPECT_THAT(Run(tflite, {{"x", Ints({4}, {0, -1, 3, 2})}}),
              ElementsAre(5, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 5));
}

TEST(TfliteConvert, ScatterNdAddsDuplicates) {
  TfliteBuilder tflite;
  const int x = tflite.Input("x", TensorType::FLOAT32, {3});
  tflite.Add(BuiltinOperator::SCATTER_ND,
             {tflite.Ints("i", {3, 1}, {1, 1, 3}), x, tflite.Ints("shape", {1}, {4})},
             {tflite.Output("y", TensorType::FLOAT32, {4})});
  EXPECT_THAT(Run(tflite, {{"x", Floats({3}, {1, 2, 4})}}), ElementsAre(0, 3, 0, 4));
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
      EXPECT_THAT(Run(tflite, inputs), ElementsAreArray(test.y))
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
        Run(tflite, {{"x", Floats({1, 7, 6, 2}, image)}}),
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
  const std::vector<double> plain = Run(SmallNet(), {{"x", Floats({1, 6, 6, 2}, image)}});
  EXPECT_THAT(Run(SmallNet(), {{"x", Floats({1, 2, 6, 6}, turned)}}, options),
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
  EXPECT_THAT(Run(tflite, {{"x", MakeTensor<int8_t>(DataType::kInt8, {1, 2}, {7, 1})}}),
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
  EXPECT_THAT(Run(tflite, {{"x", Floats({4}, {1, 1, 1, 1})}}),
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
  EXPECT_THAT(Run(tflite, {{"x", Floats({2, 3}, {1, 1, 1, 1, 1, 1})}}),
              ElementsAre(1, 6, 1, 7, 1, 8));
}

// --- Control flow -------------------------------------------------------------------------------------------------

TEST(TfliteConvert, WhileCountsAndLeavesInvariantsOutside) {
  TfliteBuilder tflite;
  const int x = tflite.Input("x", TensorType::FLOAT32, {2}),
            step = tflite.Input("step", TensorType::FLOAT32, {2});
  const int start = tflite.Ints("start", {}, {0});
  const int i = tflite.Tensor("i", TensorType::INT32, {}),
            s = tflite.Tensor("s", TensorType::FLOAT32, {2});
  const int y = tflite.Output("y", TensorType::FLOAT32, {2});
  tflite.Add(
      BuiltinOperator::WHILE, {start, x, step}, {i, y, s},
      WithOptions<schema::WhileOptions>(schema::BuiltinOptions::WhileOptions, [](auto& builder) {
        return schema::CreateWhileOptions(builder, 1, 2);
      }));
  const auto begin = [&tflite] {
    tflite.NewGraph();
    return std::vector<int32_t>{tflite.Input("n", TensorType::INT32, {}),
                                tflite.Input("v", TensorType::FLOAT32, {2}),
                                tflite.Input("d", TensorType::FLOAT32, {2})};
  };
  const std::vector<int32_t> condition = begin();
  tflite.Add(BuiltinOperator::LESS, {condition[0], tflite.Ints("limit", {}, {5})},
             {tflite.Output("go_on", TensorType::BOOL, {})});
  const std::vector<int32_t> body = begin();
  tflite.Add(BuiltinOperator::ADD, {body[0], tflite.Ints("one", {}, {1})},
             {tflite.Output("next", TensorType::INT32, {})});
  tflite.Add(BuiltinOperator::ADD, {body[1], body[2]},
             {tflite.Output("sum", TensorType::FLOAT32, {2})});
  tflite.graph().outputs.push_back(body[2]);
  EXPECT_THAT(Run(tflite, {{"x", Floats({2}, {1, 2})}, {"step", Floats({2}, {10, 100})}}),
              ElementsAre(51, 502));
  TestJob job;
  const Model model = Convert(tflite.Bytes(), job).value();
  for (const auto& node : model.proto().graph().node()) {
    if (node.op_type() != "Loop") continue;
    EXPECT_EQ(node.input_size(), 4);  // trips, condition, i, x
  }
}

TEST(TfliteConvert, GraphsThatCallThemselvesAreRefused) {
  TfliteBuilder tflite;
  const int x = tflite.Input("x", TensorType::FLOAT32, {2});
  tflite.Add(BuiltinOperator::CALL, {x}, {tflite.Output("y", TensorType::FLOAT32, {2})});
  TestJob job;
  EXPECT_EQ(ReasonOf(Convert(tflite.Bytes(), job).status()), ERROR_REASON_MODEL_LIMIT);
}

// --- Recurrence ---------------------------------------------------------------------------------------------------

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

TEST(TfliteConvert, LstmIsThatOfThePlainCell) {
  constexpr int kSteps = 4, kFeatures = 3, kCells = 2;
  for (const float clip : {0.0f, 0.3f}) {
    TfliteBuilder tflite;
    const int x = tflite.Input("x", TensorType::FLOAT32, {1, kSteps, kFeatures});
    std::vector<std::vector<float>> w, r, b;
    std::vector<int32_t> inputs = {x};
    for (int g = 0; g < 4; ++g) {
      w.push_back(Random(kCells * kFeatures, 10 + g));
      inputs.push_back(tflite.Floats("w" + std::to_string(g), {kCells, kFeatures}, w.back()));
    }
    for (int g = 0; g < 4; ++g) {
      r.push_back(Random(kCells * kCells, 20 + g));
      inputs.push_back(tflite.Floats("r" + std::to_string(g), {kCells, kCells}, r.back()));
    }
    inputs.insert(inputs.end(), {-1, -1, -1});
    for (int g = 0; g < 4; ++g) {
      b.push_back(Random(kCells, 30 + g));
      inputs.push_back(tflite.Floats("b" + std::to_string(g), {kCells}, b.back()));
    }
    inputs.insert(inputs.end(), {-1, -1});
    for (const char* name : {"h", "c"}) {
      inputs.push_back(tflite.Tensor({.name = name, .shape = {1, kCells}, .is_variable = true}));
    }
    tflite.Add(
        BuiltinOperator::UNIDIRECTIONAL_SEQUENCE_LSTM, inputs,
        {tflite.Output("y", TensorType::FLOAT32, {1, kSteps, kCells})},
        WithOptions<schema::UnidirectionalSequenceLSTMOptions>(
            schema::BuiltinOptions::UnidirectionalSequenceLSTMOptions, [clip](auto& builder) {
              return schema::CreateUnidirectionalSequenceLSTMOptions(
                  builder, schema::ActivationFunctionType::TANH, clip, 0, /*time_major=*/false);
            }));
    const std::vector<float> sequence = Random(kSteps * kFeatures, 40);
    std::vector<double> h(kCells, 0), c(kCells, 0), expected;
    for (int t = 0; t < kSteps; ++t) {
      std::vector<double> next(kCells);
      for (int k = 0; k < kCells; ++k) {
        double gate[4];
        for (int g = 0; g < 4; ++g) {
          gate[g] = b[g][k];
          for (int f = 0; f < kFeatures; ++f)
            gate[g] += w[g][k * kFeatures + f] * sequence[t * kFeatures + f];
          for (int f = 0; f < kCells; ++f) gate[g] += r[g][k * kCells + f] * h[f];
        }
        c[k] = Sigmoid(gate[1]) * c[k] + Sigmoid(gate[0]) * std::tanh(gate[2]);
        if (clip > 0) c[k] = std::clamp<double>(c[k], -clip, clip);
        next[k] = Sigmoid(gate[3]) * std::tanh(c[k]);
      }
      h = next;
      expected.insert(expected.end(), h.begin(), h.end());
    }
    EXPECT_THAT(Run(tflite, {{"x", Floats({1, kSteps, kFeatures}, sequence)}}),
                Pointwise(::testing::DoubleNear(1e-5), expected));
  }
}

// --- Refusals -----------------------------------------------------------------------------------------------------

TEST(TfliteConvert, EveryOperatorThatStandsInTheWayIsNamed) {
  TfliteBuilder tflite;
  const int x = tflite.Input("x", TensorType::FLOAT32, {2});
  const int a = tflite.Tensor("first_custom", TensorType::FLOAT32, {2}),
            b = tflite.Tensor("b", TensorType::FLOAT32, {2});
  const int c = tflite.Tensor("skip", TensorType::FLOAT32, {2});
  tflite.AddCustom("FlexFancy", {x}, {a});
  tflite.AddCustom("FlexFancy", {a}, {b});
  tflite.Add(BuiltinOperator::SKIP_GRAM, {b}, {c});
  tflite.Add(BuiltinOperator::RELU, {c}, {tflite.Output("y", TensorType::FLOAT32, {2})});
  TestJob job;
  const absl::Status status = Convert(tflite.Bytes(), job).status();
  EXPECT_EQ(ReasonOf(status), ERROR_REASON_OP_UNSUPPORTED);
  const std::string message(status.message());
  EXPECT_THAT(message, HasSubstr("3 operators"));
  EXPECT_THAT(message, HasSubstr("2 x FlexFancy, first \"first_custom\""));
  EXPECT_THAT(message, HasSubstr("1 x SKIP_GRAM, first \"skip\""));
}

struct RefusedCase {
  const char* what;
  const char* named;  // in the message
  std::function<void(TfliteBuilder&, int x, int y)> add;
};

TEST(TfliteConvert, RefusalsNameTheOperatorOrType) {
  const auto one = [](BuiltinOperator code) {
    return [code](TfliteBuilder& t, int x, int y) { t.Add(code, {x}, {y}); };
  };
  const auto typed = [](TensorType type) {
    return [type](TfliteBuilder& t, int x, int y) {
      t.graph().tensors[x].type = type;
      t.Add(BuiltinOperator::RELU, {x}, {y});
    };
  };
  const std::vector<RefusedCase> cases = {
      {"text", "STRING", typed(TensorType::STRING)},
      {"resource", "RESOURCE", typed(TensorType::RESOURCE)},
      {"variant", "VARIANT", typed(TensorType::VARIANT)},
      {"complex input", "COMPLEX64", typed(TensorType::COMPLEX64)},
      {"eight-bit floats", "FLOAT8_E4M3FN", typed(TensorType::FLOAT8_E4M3FN)},
      {"two-bit integers", "INT2", typed(TensorType::INT2)},
      {"Flex", "FlexErf", [](auto& t, int x, int y) { t.AddCustom("FlexErf", {x}, {y}); }},
      {"custom", "MyLayer", [](auto& t, int x, int y) { t.AddCustom("MyLayer", {x}, {y}); }},
      {"custom without a name", "CUSTOM", [](auto& t, int x, int y) { t.AddCustom("", {x}, {y}); }},
      {"hash table", "HASHTABLE", one(BuiltinOperator::HASHTABLE)},
      {"table lookup", "HASHTABLE_LOOKUP", one(BuiltinOperator::HASHTABLE_LOOKUP)},
      {"hashing", "LSH_PROJECTION", one(BuiltinOperator::LSH_PROJECTION)},
      {"n-grams", "SKIP_GRAM", one(BuiltinOperator::SKIP_GRAM)},
      {"sparse lookup", "EMBEDDING_LOOKUP_SPARSE", one(BuiltinOperator::EMBEDDING_LOOKUP_SPARSE)},
      {"random numbers", "RANDOM_UNIFORM", one(BuiltinOperator::RANDOM_UNIFORM)},
      {"normal numbers", "RANDOM_STANDARD_NORMAL", one(BuiltinOperator::RANDOM_STANDARD_NORMAL)},
      {"drawing", "MULTINOMIAL", one(BuiltinOperator::MULTINOMIAL)},
      {"bits of another type", "BITCAST", one(BuiltinOperator::BITCAST)},
      {"delegate", "DELEGATE", one(BuiltinOperator::DELEGATE)},
      {"StableHLO", "STABLEHLO_SORT", one(BuiltinOperator::STABLEHLO_SORT)},
      {"variable without a value", "READ_VARIABLE",
       [](auto& t, int, int y) {
         const int handle = t.Tensor("handle", TensorType::RESOURCE, {});
         t.Add(BuiltinOperator::VAR_HANDLE, {}, {handle});
         t.Add(BuiltinOperator::READ_VARIABLE, {handle}, {y});
       }},
      {"shuffled weights", "FULLY_CONNECTED",
       [](auto& t, int x, int y) {
         t.Add(BuiltinOperator::FULLY_CONNECTED, {x, t.Floats("w", {2, 2}, {1, 2, 3, 4})}, {y},
               WithOptions<schema::FullyConnectedOptions>(
                   schema::BuiltinOptions::FullyConnectedOptions, [](auto& builder) {
                     return schema::CreateFullyConnectedOptions(
                         builder, kNone, schema::FullyConnectedWeightsFormat::SHUFFLED4x16INT8);
                   }));
       }},
  };
  for (const RefusedCase& test : cases) {
    TfliteBuilder tflite;
    const int x = tflite.Input("x", TensorType::FLOAT32, {1, 2});
    test.add(tflite, x, tflite.Output("y", TensorType::FLOAT32, {1, 2}));
    TestJob job;
    const absl::Status status = Convert(tflite.Bytes(), job).status();
    EXPECT_EQ(ReasonOf(status), ERROR_REASON_OP_UNSUPPORTED) << test.what << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(test.named)) << test.what;
  }
}

TEST(TfliteConvert, OldFilesKeepTheirOperatorCodes) {
  TfliteBuilder tflite;
  tflite.old_operator_codes = true;
  const int x = tflite.Input("x", TensorType::FLOAT32, {2});
  tflite.Add(BuiltinOperator::RELU, {x}, {tflite.Output("y", TensorType::FLOAT32, {2})});
  EXPECT_THAT(Operators(tflite), ElementsAre("Relu"));
}

TEST(TfliteConvert, FreeExtentsCanBeFixedAndNothingElse) {
  TfliteBuilder tflite;
  const int x = tflite.Input("x", TensorType::FLOAT32, {1, 3});
  tflite.graph().tensors[x].shape_signature = {-1, 3};
  tflite.Add(BuiltinOperator::RELU, {x}, {tflite.Output("y", TensorType::FLOAT32, {1, 3})});
  tflite.graph().tensors.back().shape_signature = {-1, 3};
  TestJob job;
  const auto shaped = [&](std::vector<int64_t> extents) {
    Import options;
    InputShape& shape = *options.add_input_shapes();
    shape.set_input("x");
    shape.mutable_extents()->Add(extents.begin(), extents.end());
    return Convert(tflite.Bytes(), job, options);
  };
  const absl::StatusOr<Model> fixed = shaped({8, 3});
  ASSERT_TRUE(fixed.ok()) << fixed.status();
  EXPECT_EQ(fixed->proto().graph().input(0).type().tensor_type().shape().dim(0).dim_value(), 8);
  EXPECT_EQ(ReasonOf(shaped({8, 4}).status()), ERROR_REASON_RECIPE_INVALID);
  EXPECT_EQ(ReasonOf(shaped({8}).status()), ERROR_REASON_RECIPE_INVALID);
}

}  // namespace
}  // namespace modelpress
