// TensorFlow Lite to ONNX: custom operators, composites, weights of 16 bits, labels.
#include <cmath>

#include "flatbuffers/flexbuffers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/formats/tflite_run.h"

namespace modelpress {
namespace {

using testing::BuiltinOperator;
using testing::Convert;
using ::testing::ElementsAre;
using testing::Floats;
using testing::Operators;
using testing::OutputOf;
using ::testing::Pointwise;
using testing::Random;
using testing::TensorType;
using testing::TestJob;
using testing::TfliteBuilder;
namespace schema = tflite_schema;

std::vector<uint8_t> Bytes(const std::vector<int32_t>& numbers) {
  std::vector<uint8_t> bytes(numbers.size() * 4);
  std::memcpy(bytes.data(), numbers.data(), bytes.size());
  return bytes;
}

// Every input element spread over the output, as the source's kernel does it.
TEST(TfliteCustom, TransposedConvolutionWithBias) {
  constexpr int kIn = 2, kOut = 3, kKernel = 3, kStride = 2;
  for (const int size : {3, 4}) {
    for (const bool same : {true, false}) {
      const int padding = same ? std::max(kKernel - (size - 1) % kStride - 1, 0) : 0;
      const int extent = kStride * (size - 1) + kKernel - padding;
      const std::vector<float> x = Random(size * size * kIn, 50), bias = {1, -2, 3},
                               w = Random(kOut * kKernel * kKernel * kIn, 51);
      std::vector<double> y(extent * extent * kOut);
      for (int i = 0; i < extent * extent; ++i)
        for (int o = 0; o < kOut; ++o) y[i * kOut + o] = bias[o];
      for (int r = 0; r < size; ++r) {
        for (int c = 0; c < size; ++c) {
          for (int i = 0; i < kKernel; ++i) {
            for (int j = 0; j < kKernel; ++j) {
              const int row = r * kStride - padding / 2 + i, column = c * kStride - padding / 2 + j;
              if (row < 0 || row >= extent || column < 0 || column >= extent) continue;
              for (int o = 0; o < kOut; ++o) {
                for (int k = 0; k < kIn; ++k) {
                  y[(row * extent + column) * kOut + o] +=
                      static_cast<double>(x[(r * size + c) * kIn + k]) *
                      w[((o * kKernel + i) * kKernel + j) * kIn + k];
                }
              }
            }
          }
        }
      }
      TfliteBuilder tflite;
      const int in = tflite.Input("x", TensorType::FLOAT32, {1, size, size, kIn});
      tflite.AddCustom("Convolution2DTransposeBias",
                       {in, tflite.Floats("w", {kOut, kKernel, kKernel, kIn}, w),
                        tflite.Floats("b", {kOut}, bias)},
                       {tflite.Output("y", TensorType::FLOAT32, {1, extent, extent, kOut})},
                       Bytes({same ? 1 : 2, kStride, kStride}));
      EXPECT_THAT(OutputOf(tflite, {{"x", Floats({1, size, size, kIn}, x)}}),
                  Pointwise(::testing::DoubleNear(1e-5), y))
          << size << " " << same;
    }
  }
}

TEST(TfliteCustom, PoolingTellsThePlaceInTheWindow) {
  TfliteBuilder tflite;
  const int x = tflite.Input("x", TensorType::FLOAT32, {1, 2, 3, 1});
  const int pooled = tflite.Tensor("pooled", TensorType::FLOAT32, {1, 1, 2, 1});
  // SAME over a width of 3: the second window has its second column in the padding.
  tflite.AddCustom("MaxPoolingWithArgmax2D", {x},
                   {pooled, tflite.Output("y", TensorType::FLOAT32, {1, 1, 2, 1})},
                   Bytes({1, 2, 2, 2, 2, 0}));
  EXPECT_THAT(OutputOf(tflite, {{"x", Floats({1, 2, 3, 1}, {1, 2, 3, 9, 8, 7})}}),
              Pointwise(::testing::DoubleNear(1e-6), std::vector<double>{2.1, 2.1}));
}

TEST(TfliteCustom, UnpoolingPutsValuesBack) {
  TfliteBuilder tflite;
  const int x = tflite.Input("x", TensorType::FLOAT32, {1, 4, 4, 2});
  const int pooled = tflite.Tensor("pooled", TensorType::FLOAT32, {1, 2, 2, 2}),
            index = tflite.Tensor("index", TensorType::FLOAT32, {1, 2, 2, 2});
  tflite.AddCustom("MaxPoolingWithArgmax2D", {x}, {pooled, index}, Bytes({1, 2, 2, 2, 2, 0}));
  tflite.AddCustom("MaxUnpooling2D", {pooled, index},
                   {tflite.Output("y", TensorType::FLOAT32, {1, 4, 4, 2})},
                   Bytes({1, 2, 2, 2, 2, 0}));
  const std::vector<float> image = Random(32, 60);
  std::vector<double> expected(32, 0);
  for (int row = 0; row < 4; row += 2) {
    for (int column = 0; column < 4; column += 2) {
      for (int c = 0; c < 2; ++c) {
        int best = -1;
        for (const int step : {0, 2, 8, 10}) {
          const int at = (row * 4 + column) * 2 + c + step;
          if (best < 0 || image[at] > image[best]) best = at;
        }
        expected[best] = image[best];
      }
    }
  }
  EXPECT_THAT(OutputOf(tflite, {{"x", Floats({1, 4, 4, 2}, image)}}),
              Pointwise(::testing::DoubleNear(1e-6), expected));
}

// Three anchors of extent 1 at y = 0, 0.1 and 5; the second overlaps the first.
TEST(TfliteCustom, DetectionsAreDecodedAndSuppressed) {
  for (const bool regular : {false, true}) {
    flexbuffers::Builder options;
    options.Map([&] {
      options.Int("max_detections", 3);
      options.Int("max_classes_per_detection", 1);
      options.Int("num_classes", 2);
      options.Float("y_scale", 10), options.Float("x_scale", 10);
      options.Float("h_scale", 5), options.Float("w_scale", 5);
      options.Float("nms_score_threshold", 0.3f), options.Float("nms_iou_threshold", 0.5f);
      options.Bool("use_regular_nms", regular);
    });
    options.Finish();
    TfliteBuilder tflite;
    const int boxes = tflite.Input("boxes", TensorType::FLOAT32, {1, 3, 4}),
              scores = tflite.Input("scores", TensorType::FLOAT32, {1, 3, 3});
    const int anchors = tflite.Floats("anchors", {3, 4}, {0, 0, 1, 1, 0.1f, 0, 1, 1, 5, 0, 1, 1});
    const int found = tflite.Output("y", TensorType::FLOAT32, {1, 3, 4}),
              classes = tflite.Output("classes", TensorType::FLOAT32, {1, 3}),
              kept = tflite.Output("kept", TensorType::FLOAT32, {1, 3}),
              number = tflite.Output("number", TensorType::FLOAT32, {1});
    tflite.AddCustom("TFLite_Detection_PostProcess", {boxes, scores, anchors},
                     {found, classes, kept, number}, options.GetBuffer());
    TestJob job;
    const absl::StatusOr<Model> model = Convert(tflite.Bytes(), job);
    ASSERT_TRUE(model.ok()) << model.status();
    const auto session = Session::Create(*model, {});
    ASSERT_TRUE(session.ok()) << session.status();
    // The first box is moved by 2 / 10 along y; scores are background and two classes.
    const auto outputs = (*session)->Run(
        {{"boxes", Floats({1, 3, 4}, {2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})},
         {"scores", Floats({1, 3, 3}, {0, 0.9f, 0.1f, 0, 0.8f, 0.2f, 0, 0.1f, 0.3f})}});
    ASSERT_TRUE(outputs.ok()) << outputs.status();
    const auto near = [](std::vector<double> values) {
      return Pointwise(::testing::DoubleNear(1e-6), values);
    };
    // A score that equals the threshold is kept.
    EXPECT_THAT(testing::Numbers(outputs->at("number")), ElementsAre(2)) << regular;
    EXPECT_THAT(testing::Numbers(outputs->at("kept")), near({0.9f, 0.3f, 0}));
    EXPECT_THAT(testing::Numbers(outputs->at("classes")), ElementsAre(0, 1, 0));
    EXPECT_THAT(testing::Numbers(outputs->at("y")),
                near({-0.3, -0.5, 0.7, 0.5, 4.5, -0.5, 5.5, 0.5, 0, 0, 0, 0}));
  }
}

TEST(TfliteCustom, LargeWeightsOf16BitsStayAsTheyAre) {
  TfliteBuilder tflite;
  const int x = tflite.Input("x", TensorType::FLOAT32, {1, 64});
  const int half = tflite.Constant<uint16_t>("half", TensorType::FLOAT16, {64, 64},
                                             std::vector<uint16_t>(4096, 0x3C00));
  const int wide = tflite.Tensor("wide", TensorType::FLOAT32, {64, 64});
  tflite.Add(BuiltinOperator::DEQUANTIZE, {half}, {wide});
  tflite.Add(BuiltinOperator::FULLY_CONNECTED, {x, wide},
             {tflite.Output("y", TensorType::FLOAT32, {1, 64})});
  TestJob job;
  const absl::StatusOr<Model> model = Convert(tflite.Bytes(), job);
  ASSERT_TRUE(model.ok()) << model.status();
  const onnx::TensorProto* weight = testing::FindInitializer(*model, "half");
  ASSERT_NE(weight, nullptr);
  EXPECT_EQ(Type(*weight), DataType::kFloat16);
  EXPECT_THAT(Operators(tflite), ElementsAre("Cast", "Gemm"));
  EXPECT_THAT(OutputOf(tflite, {{"x", Floats({1, 64}, std::vector<float>(64, 0.5f))}}),
              ::testing::Each(::testing::DoubleNear(32, 1e-4)));
}

// A ZIP archive of one stored file behind `bytes`, as the metadata writer of TensorFlow Lite appends label files.
std::string WithAppended(std::string bytes, const std::string& name, const std::string& text) {
  uint32_t crc = ~0u;
  for (const char byte : text) {
    crc ^= static_cast<uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xEDB88320u : 0u);
  }
  crc = ~crc;
  const auto number = [](uint64_t value, int width) {
    std::string little;
    for (int i = 0; i < width; ++i, value >>= 8) little.push_back(static_cast<char>(value));
    return little;
  };
  const std::string sizes = number(crc, 4) + number(text.size(), 4) + number(text.size(), 4) +
                            number(name.size(), 2) + number(0, 2);
  const size_t local = bytes.size();
  bytes += std::string("PK\x03\x04") + number(20, 2) + number(0, 8) + sizes + name + text;
  const size_t central = bytes.size();
  bytes += std::string("PK\x01\x02") + number(20, 2) + number(20, 2) + number(0, 8) + sizes +
           number(0, 10) + number(local, 4) + name;
  const size_t length = bytes.size() - central;
  bytes += std::string("PK\x05\x06") + number(0, 4) + number(1, 2) + number(1, 2) +
           number(length, 4) + number(central, 4) + number(0, 2);
  return bytes;
}

TEST(TfliteCustom, LabelsBecomeProperties) {
  TfliteBuilder tflite;
  const int x = tflite.Input("x", TensorType::FLOAT32, {2});
  tflite.Add(BuiltinOperator::RELU, {x}, {tflite.Output("y", TensorType::FLOAT32, {2})});
  TestJob job;
  const absl::StatusOr<Model> model =
      Convert(WithAppended(tflite.Bytes(), "labels.txt", "cat\ndog\n"), job);
  ASSERT_TRUE(model.ok()) << model.status();
  ASSERT_EQ(model->proto().metadata_props_size(), 1);
  EXPECT_EQ(model->proto().metadata_props(0).key(), "labels.txt");
  EXPECT_EQ(model->proto().metadata_props(0).value(), "cat\ndog\n");
}

}  // namespace
}  // namespace modelpress
