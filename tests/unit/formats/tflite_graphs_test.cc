// TensorFlow Lite to ONNX: graphs inside of graphs, recurrence, what is refused, options of the conversion.
#include <algorithm>
#include <cmath>
#include <functional>

#include "core/model/graph.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/formats/tflite_run.h"

namespace modelpress {
namespace {

using testing::BuiltinOperator;
using testing::Convert;
using ::testing::ElementsAre;
using testing::Floats;
using ::testing::HasSubstr;
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

// --- Control flow -------------------------------------------------------------------------------------------------

TEST(TfliteGraphs, WhileCountsAndLeavesInvariantsOutside) {
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
  EXPECT_THAT(OutputOf(tflite, {{"x", Floats({2}, {1, 2})}, {"step", Floats({2}, {10, 100})}}),
              ElementsAre(51, 502));
  TestJob job;
  const Model model = Convert(tflite.Bytes(), job).value();
  for (const auto& node : model.proto().graph().node()) {
    if (node.op_type() != "Loop") continue;
    EXPECT_EQ(node.input_size(), 4);  // trips, condition, i, x
  }
}

// list[:i], value, list[i + 1:], as TensorFlow writes element i of a list.
TEST(TfliteGraphs, AListIsWrittenToInPlace) {
  TfliteBuilder tflite;
  const int list = tflite.Input("list", TensorType::FLOAT32, {4, 2}),
            value = tflite.Input("value", TensorType::FLOAT32, {1, 2}),
            i = tflite.Input("i", TensorType::INT32, {});
  const int next = tflite.Tensor("next", TensorType::INT32, {}),
            a = tflite.Tensor("a", TensorType::INT32, {1}),
            b = tflite.Tensor("b", TensorType::INT32, {1}),
            sizes = tflite.Tensor("sizes", TensorType::INT32, {2}),
            starts = tflite.Tensor("starts", TensorType::INT32, {2}),
            head = tflite.Tensor("head", TensorType::FLOAT32, {-1, 2}),
            tail = tflite.Tensor("tail", TensorType::FLOAT32, {-1, 2});
  const int one = tflite.Ints("one", {1}, {1});
  const auto concat = WithOptions<schema::ConcatenationOptions>(
      schema::BuiltinOptions::ConcatenationOptions,
      [](auto& builder) { return schema::CreateConcatenationOptions(builder, 0); });
  tflite.Add(BuiltinOperator::ADD, {i, tflite.Ints("step", {}, {1})}, {next});
  tflite.Add(BuiltinOperator::RESHAPE, {i, one}, {a});
  tflite.Add(BuiltinOperator::CONCATENATION, {a, tflite.Ints("rest", {1}, {-1})}, {sizes}, concat);
  tflite.Add(BuiltinOperator::SLICE, {list, tflite.Ints("zeros", {2}, {0, 0}), sizes}, {head});
  tflite.Add(BuiltinOperator::RESHAPE, {next, one}, {b});
  tflite.Add(BuiltinOperator::CONCATENATION, {b, tflite.Ints("zero", {1}, {0})}, {starts}, concat);
  tflite.Add(BuiltinOperator::SLICE, {list, starts, tflite.Ints("all", {2}, {-1, -1})}, {tail});
  tflite.Add(BuiltinOperator::CONCATENATION, {head, value, tail},
             {tflite.Output("y", TensorType::FLOAT32, {4, 2})}, concat);
  EXPECT_THAT(Operators(tflite), ElementsAre("Cast", "Reshape", "ScatterND"));
  for (const int at : {0, 2, 3}) {
    std::vector<double> expected = {1, 2, 3, 4, 5, 6, 7, 8};
    expected[2 * at] = -1, expected[2 * at + 1] = -2;
    EXPECT_THAT(OutputOf(tflite, {{"list", Floats({4, 2}, {1, 2, 3, 4, 5, 6, 7, 8})},
                                  {"value", Floats({1, 2}, {-1, -2})},
                                  {"i", testing::Ints({}, {at})}}),
                ::testing::ElementsAreArray(expected));
  }
}

TEST(TfliteGraphs, AnAddBehindADenseLayerIsItsBias) {
  for (const bool fits : {true, false}) {
    TfliteBuilder tflite;
    const int x = tflite.Input("x", TensorType::FLOAT32, {2, 2}),
              h = tflite.Tensor("h", TensorType::FLOAT32, {2, 2});
    tflite.Add(BuiltinOperator::FULLY_CONNECTED, {x, tflite.Floats("w", {2, 2}, {1, 2, 3, 4}), -1},
               {h});
    // Three axes make the output larger than the layer's.
    tflite.Add(
        BuiltinOperator::ADD,
        {fits ? tflite.Floats("c", {2}, {10, 20}) : tflite.Floats("c", {1, 1, 2}, {10, 20}), h},
        {tflite.Output("y", TensorType::FLOAT32,
                       fits ? std::vector<int32_t>{2, 2} : std::vector<int32_t>{1, 2, 2})});
    if (fits) {
      EXPECT_THAT(Operators(tflite), ElementsAre("Gemm"));
    } else {
      EXPECT_THAT(Operators(tflite), ElementsAre("Gemm", "Add"));
    }
    EXPECT_THAT(OutputOf(tflite, {{"x", Floats({2, 2}, {1, 1, 0, 1})}}),
                ElementsAre(13, 27, 12, 24));
  }
}

TEST(TfliteGraphs, GraphsThatCallThemselvesAreRefused) {
  TfliteBuilder tflite;
  const int x = tflite.Input("x", TensorType::FLOAT32, {2});
  tflite.Add(BuiltinOperator::CALL, {x}, {tflite.Output("y", TensorType::FLOAT32, {2})});
  TestJob job;
  EXPECT_EQ(ReasonOf(Convert(tflite.Bytes(), job).status()), ERROR_REASON_MODEL_LIMIT);
}

// --- Recurrence ---------------------------------------------------------------------------------------------------

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

TEST(TfliteGraphs, LstmIsThatOfThePlainCell) {
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
    EXPECT_THAT(OutputOf(tflite, {{"x", Floats({1, kSteps, kFeatures}, sequence)}}),
                Pointwise(::testing::DoubleNear(1e-5), expected));
  }
}

// --- Refusals -----------------------------------------------------------------------------------------------------

TEST(TfliteGraphs, EveryOperatorThatStandsInTheWayIsNamed) {
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

TEST(TfliteGraphs, RefusalsNameTheOperatorOrType) {
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
      {"bits of a generator", "STABLEHLO_RNG_BIT_GENERATOR",
       one(BuiltinOperator::STABLEHLO_RNG_BIT_GENERATOR)},
      {"foreign code", "STABLEHLO_CUSTOM_CALL", one(BuiltinOperator::STABLEHLO_CUSTOM_CALL)},
      {"delegate", "DELEGATE", one(BuiltinOperator::DELEGATE)},
      {"StableHLO", "STABLEHLO_SORT", one(BuiltinOperator::STABLEHLO_SORT)},
      {"an output more than it has", "RELU",
       [](auto& t, int x, int y) {
         t.Add(BuiltinOperator::RELU, {x}, {y, t.Output("more", TensorType::FLOAT32, {2})});
       }},
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

TEST(TfliteGraphs, OldFilesKeepTheirOperatorCodes) {
  TfliteBuilder tflite;
  tflite.old_operator_codes = true;
  const int x = tflite.Input("x", TensorType::FLOAT32, {2});
  tflite.Add(BuiltinOperator::RELU, {x}, {tflite.Output("y", TensorType::FLOAT32, {2})});
  EXPECT_THAT(Operators(tflite), ElementsAre("Relu"));
}

TEST(TfliteGraphs, FreeExtentsCanBeFixedAndNothingElse) {
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
