// Synthetic samples: values that the model's graph allows, the same ones everywhere.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/base/status.h"
#include "core/data/samples.h"
#include "core/runtime/session.h"
#include "tests/support/model_builder.h"

namespace modelpress {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::Le;
using testing::ModelFromText;

// The model of a graph in ONNX text.
Model Graph(const std::string& text) {
  return ModelFromText("<ir_version: 8, opset_import: [\"\" : 17]>\n" + text);
}

std::vector<double> Elements(const Tensor& tensor) {
  std::vector<double> values;
  for (uint64_t i = 0; i < tensor.element_count(); ++i)
    values.push_back(ElementAsDouble(tensor, i));
  return values;
}

Tensor First(const Model& model, const std::string& input, uint64_t seed = 1) {
  auto samples = MakeSyntheticSamples(model, 1, seed);
  EXPECT_TRUE(samples.ok()) << samples.status();
  auto batch = (*samples)->Read(0);
  EXPECT_TRUE(batch.ok()) << batch.status();
  return batch->inputs[input];
}

constexpr char kEmbedding[] = R"(
    g (int64[batch, sequence] tokens) => (float[batch, sequence, 2] y)
    <float[5, 2] table = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, int64[1] axis = {-1}>
    { i = Cast<to = 6>(tokens)  j = Unsqueeze(i, axis)  k = Squeeze(j, axis)
      y = Gather<axis = 0>(table, k) })";

TEST(SyntheticTest, IndicesStayWithinTheTableThatTheyAreUsedOn) {
  const Tensor tokens = First(Graph(kEmbedding), "tokens");
  EXPECT_EQ(tokens.type, DataType::kInt64);
  EXPECT_THAT(tokens.dims, ElementsAre(1, 8));
  EXPECT_THAT(Elements(tokens), Each(AllOf(Ge(0), Le(4))));
  // All of the table is reached.
  auto samples = MakeSyntheticSamples(Graph(kEmbedding), 20, 1);
  double highest = 0;
  for (int i = 0; i < 20; ++i) {
    highest = std::max(highest, std::ranges::max(Elements((*samples)->Read(i)->inputs["tokens"])));
  }
  EXPECT_EQ(highest, 4);
}

TEST(SyntheticTest, RangesOfIntegerInputs) {
  struct Case {
    const char* what;
    const char* graph;
    double low, high;
  };
  for (const Case& test :
       std::initializer_list<Case>{{"OneHot's depth", R"(
              g (int32[2, 50] x) => (float[2, 50, 7] y) <int64 depth = {7}, float[2] v = {0, 1}>
              { y = OneHot(x, depth, v) })",
                                    0, 6},
                                   {"a scalar that is compared with a constant", R"(
              g (int64 x) => (bool y) <int64 rate = {16000}> { y = Equal(x, rate) })",
                                    16000, 16000},
                                   {"a mask by its name", R"(
              g (int64[1, 50] attention_mask) => (int64[1, 50] y) { y = Neg(attention_mask) })",
                                    0, 1},
                                   {"a truth value by its use", R"(
              g (int32[1, 50] x) => (bool[1, 50] y) { y = Cast<to = 9>(x) })",
                                    0, 1},
                                   {"a divisor", R"(
              g (int32[50] x) => (int32[50] y) <int32[1] one = {1}> { y = Div(one, x) })",
                                    1, 1},
                                   {"a divisor that indexes", R"(
              g (int64[50] x) => (int64[50] y, float[50] z)
              <int64[1] n = {9}, float[4] table = {1, 2, 3, 4}>
              { y = Mod(n, x)  z = Gather(table, x) })",
                                    1, 3},
                                   {"an image", R"(
              g (uint8[1, 3, 20, 20] x) => (float[1, 3, 20, 20] y) { y = Cast<to = 1>(x) })",
                                    0, 255},
                                   {"a use inside a branch", R"(
              g (int64[40] x, bool c) => (float[40] y) <float[3] table = {1, 2, 3}>
              { y = If (c) <then_branch = t () => (float[40] a) { a = Gather(table, x) },
                            else_branch = e () => (float[40] b) { b = Cast<to = 1>(x) }> })",
                                    0, 2}}) {
    SCOPED_TRACE(test.what);
    const Model model = Graph(test.graph);
    const std::vector<double> values =
        Elements(First(model, model.proto().graph().input(0).name()));
    EXPECT_GE(std::ranges::min(values), test.low);
    EXPECT_LE(std::ranges::max(values), test.high);
    // Not all values are the same, unless they must be.
    if (test.low != test.high) {
      EXPECT_LT(std::ranges::min(values), std::ranges::max(values));
    }
  }
}

TEST(SyntheticTest, FreeExtents) {
  struct Case {
    const char* inputs;
    std::vector<std::vector<int64_t>> dims;
  };
  for (const Case& test : std::initializer_list<Case>{
           {"float[batch, 3, h, w] a", {{1, 3, 64, 64}}},
           {"float[batch, 28, 28, 1] a", {{1, 28, 28, 1}}},
           {"int64[batch, sequence] a, int64[batch, sequence] b", {{1, 8}, {1, 8}}},
           {"float[N, T, 80] a", {{1, 8, 80}}},
           {"float[batch, samples] a, float[2, batch, 128] b", {{1, 576}, {2, 1, 128}}},
           {"int64[b, past_plus_s] a, float[b, 4, past, 16] c", {{1, 16}, {1, 4, 8, 16}}},
           {"float a", {{}}}}) {
    SCOPED_TRACE(test.inputs);
    Model model = Graph("g (" + std::string(test.inputs) +
                        ") => (float[1] y) <float[1] z = {1}> { y = Neg(z) }");
    // ONNX text has no symbols with spaces, exporters do.
    for (auto& input : *model.mutable_proto().mutable_graph()->mutable_input()) {
      for (auto& dim :
           *input.mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim()) {
        if (dim.dim_param() == "past_plus_s") dim.set_dim_param("past + s");
      }
    }
    auto samples = MakeSyntheticSamples(model, 1, 1);
    ASSERT_TRUE(samples.ok()) << samples.status();
    const auto batch = (*samples)->Read(0);
    for (int i = 0; i < model.proto().graph().input_size(); ++i) {
      EXPECT_EQ(batch->inputs.at(model.proto().graph().input(i).name()).dims, test.dims[i]);
    }
  }
}

TEST(SyntheticTest, FloatsAreStandardNormalAndTheSameEverywhere) {
  const Model model = Graph("g (float[1, 100000] x) => (float[1, 100000] y) { y = Neg(x) }");
  const Tensor tensor = First(model, "x", 7);
  double sum = 0, squares = 0, fourth = 0;
  for (const float value : tensor.as<float>()) {
    sum += value;
    squares += double{value} * value;
    fourth += std::pow(double{value}, 4);
  }
  EXPECT_NEAR(sum / 1e5, 0, 0.01);
  EXPECT_NEAR(squares / 1e5, 1, 0.02);
  EXPECT_NEAR(fourth / 1e5, 2.9, 0.1);  // of a sum of 12 uniform numbers: 3 - 6 / (5 * 12)
  // Computed by a program of its own (Python integers) from the definition in random.h.
  EXPECT_THAT(tensor.as<float>().first(3),
              ElementsAre(-149676 / 131072.0f, -242994 / 131072.0f, -227976 / 131072.0f));
  EXPECT_EQ(Elements(tensor), Elements(First(model, "x", 7)));
  EXPECT_NE(Elements(tensor), Elements(First(model, "x", 8)));
}

TEST(SyntheticTest, EveryTypeOfInput) {
  for (const char* type : {"float", "double", "float16", "bfloat16", "int8", "uint8", "int16",
                           "uint16", "int32", "uint32", "int64", "uint64", "bool", "string"}) {
    const Model model =
        Graph("g (" + std::string(type) + "[4] x) => (" + type + "[4] y) { y = Identity(x) }");
    const Tensor tensor = First(model, "x");
    EXPECT_EQ(tensor.element_count(), 4u) << type;
    if (tensor.type == DataType::kString) {
      EXPECT_FALSE(tensor.strings[0].empty());
    } else {
      for (const double value : Elements(tensor)) EXPECT_LT(std::abs(value), 6) << type;
    }
  }
}

TEST(SyntheticTest, RefusesInputsThatCannotBeMadeUp) {
  for (const char* graph : {"g (float[1099511627776] x) => (float[1] y) { y = ReduceSum(x) }",
                            "g (complex64[2] x) => (complex64[2] y) { y = Identity(x) }",
                            "g (seq(float[2]) x) => (seq(float[2]) y) { y = Identity(x) }"}) {
    EXPECT_EQ(ReasonOf(MakeSyntheticSamples(Graph(graph), 1, 1).status()),
              ERROR_REASON_DATA_INVALID)
        << graph;
  }
}

TEST(SyntheticTest, TheModelRunsOnThem) {
  const Model model = Graph(kEmbedding);
  const auto session = Session::Create(model, {});
  ASSERT_TRUE(session.ok()) << session.status();
  auto samples = MakeSyntheticSamples(model, 5, 3);
  for (uint64_t i = 0; i < (*samples)->batches(); ++i) {
    const auto outputs = (*session)->Run((*samples)->Read(i)->inputs);
    EXPECT_TRUE(outputs.ok()) << outputs.status();
  }
}

}  // namespace
}  // namespace modelpress
