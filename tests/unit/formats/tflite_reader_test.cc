// Bad TensorFlow Lite files: each is refused with its reason, none is read past its end.
#include <cstring>
#include <functional>
#include <limits>
#include <random>

#include "core/base/status.h"
#include "core/formats/format.h"
#include "gtest/gtest.h"
#include "modelpress/v1/recipe.pb.h"
#include "tests/support/model_builder.h"
#include "tests/support/test_job.h"
#include "tests/support/tflite_builder.h"

namespace modelpress {
namespace {

using testing::BuiltinOperator;
using testing::TensorType;
using testing::TfliteBuilder;
using testing::WithOptions;
namespace schema = tflite_schema;

absl::Status Read(const std::string& bytes) {
  static auto& job = *new testing::TestJob(1, uint64_t{256} << 20);
  const InputFiles files{.main = testing::MakeInput("model.tflite", bytes)};
  return FormatRegistry::Get().Find("tflite")->Read(files, Import(), job.context()).status();
}

// x [2, 3] * w [4, 3] + b [4] -> y [2, 4].
TfliteBuilder Dense() {
  TfliteBuilder tflite;
  const int x = tflite.Input("x", TensorType::FLOAT32, {2, 3});
  const int w = tflite.Floats("w", {4, 3}, std::vector<float>(12, 0.5f)),
            b = tflite.Floats("b", {4}, {1, 2, 3, 4});
  tflite.Add(BuiltinOperator::FULLY_CONNECTED, {x, w, b},
             {tflite.Output("y", TensorType::FLOAT32, {2, 4})});
  return tflite;
}

struct BadCase {
  const char* name;
  ErrorReason reason;
  std::function<void(TfliteBuilder&)> spoil;
};

TEST(TfliteReader, ReadsTheGoodFile) {
  EXPECT_TRUE(Read(Dense().Bytes()).ok()) << Read(Dense().Bytes());
}

TEST(TfliteReader, RefusesWhatDoesNotFit) {
  constexpr auto kMalformed = ERROR_REASON_MODEL_MALFORMED;
  const std::vector<BadCase> cases = {
      {"version", ERROR_REASON_FORMAT_UNSUPPORTED, [](auto& t) { t.version = 4; }},
      {"input_out_of_range", kMalformed, [](auto& t) { t.graph().operators[0].inputs[0] = 99; }},
      {"input_negative", kMalformed, [](auto& t) { t.graph().operators[0].inputs[0] = -2; }},
      {"input_missing", kMalformed, [](auto& t) { t.graph().operators[0].inputs[0] = -1; }},
      {"no_inputs", kMalformed, [](auto& t) { t.graph().operators[0].inputs.clear(); }},
      {"no_outputs", kMalformed, [](auto& t) { t.graph().operators[0].outputs.clear(); }},
      {"output_out_of_range", kMalformed, [](auto& t) { t.graph().operators[0].outputs[0] = 4; }},
      {"output_absent", kMalformed, [](auto& t) { t.graph().operators[0].outputs[0] = -1; }},
      {"output_is_a_constant", kMalformed, [](auto& t) { t.graph().operators[0].outputs[0] = 1; }},
      {"output_is_the_input", kMalformed, [](auto& t) { t.graph().operators[0].outputs[0] = 0; }},
      {"reads_its_own_output", kMalformed, [](auto& t) { t.graph().operators[0].inputs[0] = 3; }},
      {"graph_input_out_of_range", kMalformed, [](auto& t) { t.graph().inputs[0] = 1000; }},
      {"graph_input_twice", kMalformed, [](auto& t) { t.graph().inputs = {0, 0}; }},
      {"graph_input_is_a_constant", kMalformed, [](auto& t) { t.graph().inputs = {0, 1}; }},
      {"graph_output_out_of_range", kMalformed, [](auto& t) { t.graph().outputs[0] = -1; }},
      {"graph_without_outputs", kMalformed, [](auto& t) { t.graph().outputs.clear(); }},
      {"graph_output_that_nothing_makes", kMalformed,
       [](auto& t) { t.graph().outputs = {t.Tensor("z", TensorType::FLOAT32, {1})}; }},
      {"operator_code_out_of_range", kMalformed,
       [](auto& t) { t.graph().operators[0].opcode_index = 7; }},
      {"operator_code_huge", kMalformed,
       [](auto& t) { t.graph().operators[0].opcode_index = 0xFFFFFFFFu; }},
      {"operator_code_negative", kMalformed,
       [](auto& t) { t.graph().operators[0].code = static_cast<BuiltinOperator>(-5); }},
      {"operator_code_unknown", ERROR_REASON_OP_UNSUPPORTED,
       [](auto& t) { t.graph().operators[0].code = static_cast<BuiltinOperator>(4000); }},
      {"buffer_out_of_range", kMalformed, [](auto& t) { t.graph().tensors[1].buffer = 50; }},
      {"buffer_too_small", kMalformed, [](auto& t) { t.graph().tensors[1].shape = {5, 3}; }},
      {"buffer_too_large", kMalformed, [](auto& t) { t.graph().tensors[1].shape = {3, 3}; }},
      {"negative_extent", kMalformed, [](auto& t) { t.graph().tensors[1].shape = {-4, -3}; }},
      {"absurd_extent", kMalformed,
       [](auto& t) { t.graph().tensors[1].shape = {0x7FFFFFFF, 0x7FFFFFFF, 0x7FFFFFFF}; }},
      {"too_many_axes", ERROR_REASON_MODEL_LIMIT,
       [](auto& t) { t.graph().tensors[0].shape = std::vector<int32_t>(33, 1); }},
      {"unknown_type", kMalformed,
       [](auto& t) { t.graph().tensors[0].type = static_cast<TensorType>(99); }},
      {"negative_type", kMalformed,
       [](auto& t) { t.graph().tensors[0].type = static_cast<TensorType>(-1); }},
      {"string_input", ERROR_REASON_OP_UNSUPPORTED,
       [](auto& t) { t.graph().tensors[0].type = TensorType::STRING; }},
      {"resource_input", ERROR_REASON_OP_UNSUPPORTED,
       [](auto& t) { t.graph().tensors[0].type = TensorType::RESOURCE; }},
      {"scale_not_finite", kMalformed,
       [](auto& t) { t.Quantize(0, {{std::numeric_limits<float>::infinity()}, {0}}); }},
      {"scale_negative", kMalformed, [](auto& t) { t.Quantize(0, {{-1}, {0}}); }},
      {"scales_and_zero_points_differ", kMalformed,
       [](auto& t) { t.Quantize(1, {{1, 1, 1, 1}, {0, 0}, 0}); }},
      {"scales_of_another_axis", kMalformed,
       [](auto& t) { t.Quantize(1, {{1, 1, 1, 1}, {0, 0, 0, 0}, 1}); }},
      {"scales_of_no_axis", kMalformed,
       [](auto& t) { t.Quantize(1, {{1, 1, 1, 1}, {0, 0, 0, 0}, 5}); }},
      {"scales_of_a_negative_axis", kMalformed,
       [](auto& t) { t.Quantize(1, {{1, 1, 1, 1}, {0, 0, 0, 0}, -1}); }},
      {"zero_point_out_of_its_type", kMalformed,
       [](auto& t) {
         t.graph().tensors[0].type = TensorType::INT8;
         t.Quantize(0, {{1}, {400}});
       }},
      {"weights_are_a_vector", ERROR_REASON_OP_UNSUPPORTED,
       [](auto& t) { t.graph().tensors[1].shape = {12}; }},
      {"unknown_custom", ERROR_REASON_OP_UNSUPPORTED,
       [](auto& t) {
         t.graph().operators[0].code = BuiltinOperator::CUSTOM;
         t.graph().operators[0].custom = "SomethingElse";
       }},
      {"while_of_a_graph_that_is_not_there", kMalformed,
       [](auto& t) {
         t.graph().operators[0].code = BuiltinOperator::WHILE;
         t.graph().operators[0].inputs = {0};
         t.graph().operators[0].options = WithOptions<schema::WhileOptions>(
             schema::BuiltinOptions::WhileOptions,
             [](auto& builder) { return schema::CreateWhileOptions(builder, 5, -3); });
       }},
      {"stride_of_zero", kMalformed,
       [](auto& t) {
         t.graph().tensors[0].shape = {1, 4, 4, 3};
         t.graph().operators[0].code = BuiltinOperator::MAX_POOL_2D;
         t.graph().operators[0].inputs = {0};
       }},
      {"axis_out_of_range", kMalformed,
       [](auto& t) {
         t.graph().operators[0].code = BuiltinOperator::SUM;
         t.graph().operators[0].inputs = {0, t.Ints("axes", {1}, {5})};
       }},
      {"permutation_that_is_none", kMalformed,
       [](auto& t) {
         t.graph().operators[0].code = BuiltinOperator::TRANSPOSE;
         t.graph().operators[0].inputs = {0, t.Ints("perm", {2}, {0, 0})};
       }},
      {"buffer_behind_the_file", kMalformed,
       [](auto& t) { t.graph().tensors[1].place = {{1 << 20, 48}}; }},
      {"buffer_past_the_end", kMalformed,
       [](auto& t) { t.graph().tensors[1].place = {{64, 1 << 20}}; }},
      {"buffer_offset_overflows", kMalformed,
       [](auto& t) { t.graph().tensors[1].place = {{~uint64_t{0} - 8, 48}}; }},
      {"buffer_size_overflows", kMalformed,
       [](auto& t) { t.graph().tensors[1].place = {{16, ~uint64_t{0}}}; }},
      {"graph_that_calls_itself", ERROR_REASON_MODEL_LIMIT,
       [](auto& t) {
         t.graph().operators[0].code = BuiltinOperator::CALL;
         t.graph().operators[0].inputs = {0};
         t.graph().operators[0].options = WithOptions<schema::CallOptions>(
             schema::BuiltinOptions::CallOptions,
             [](auto& builder) { return schema::CreateCallOptions(builder, 0); });
       }},
      {"branches_that_double", ERROR_REASON_MODEL_LIMIT,
       [](auto& t) {
         // Each graph has an If whose two branches are the next graph.
         t = TfliteBuilder();
         for (int i = 0; i < 30; ++i) {
           if (i > 0) t.NewGraph();
           const int c = t.Input("c", TensorType::BOOL, {1});
           t.Add(BuiltinOperator::IF, {c, c}, {t.Output("y", TensorType::BOOL, {1})},
                 WithOptions<schema::IfOptions>(
                     schema::BuiltinOptions::IfOptions, [i](auto& builder) {
                       return schema::CreateIfOptions(builder, i + 1, i + 1);
                     }));
         }
         t.NewGraph();
         const int c = t.Input("c", TensorType::BOOL, {1});
         t.Add(BuiltinOperator::LOGICAL_NOT, {c}, {t.Output("y", TensorType::BOOL, {1})});
       }},
      {"branches_of_each_other", ERROR_REASON_MODEL_LIMIT,
       [](auto& t) {
         t = TfliteBuilder();
         for (int i = 0; i < 2; ++i) {
           if (i > 0) t.NewGraph();
           const int c = t.Input("c", TensorType::BOOL, {1});
           t.Add(BuiltinOperator::IF, {c, c}, {t.Output("y", TensorType::BOOL, {1})},
                 WithOptions<schema::IfOptions>(
                     schema::BuiltinOptions::IfOptions, [i](auto& builder) {
                       return schema::CreateIfOptions(builder, 1 - i, 1 - i);
                     }));
         }
       }},
      {"branch_that_is_not_there", kMalformed,
       [](auto& t) {
         t.graph().operators[0].code = BuiltinOperator::CALL;
         t.graph().operators[0].inputs = {0};
         t.graph().operators[0].options = WithOptions<schema::CallOptions>(
             schema::BuiltinOptions::CallOptions,
             [](auto& builder) { return schema::CreateCallOptions(builder, 77); });
       }},
      {"reshape_to_negative", kMalformed,
       [](auto& t) {
         t.graph().operators[0].code = BuiltinOperator::RESHAPE;
         t.graph().operators[0].inputs = {0, t.Ints("shape", {2}, {-5, -6})};
       }},
      {"slice_with_too_few_starts", kMalformed,
       [](auto& t) {
         t.graph().operators[0].code = BuiltinOperator::SLICE;
         t.graph().operators[0].inputs = {0, t.Ints("begin", {1}, {0}), t.Ints("size", {1}, {1})};
       }},
      {"pad_negative", kMalformed,
       [](auto& t) {
         t.graph().operators[0].code = BuiltinOperator::PAD;
         t.graph().operators[0].inputs = {0, t.Ints("pads", {2, 2}, {-1, 0, 0, 0})};
       }},
      {"split_into_unequal_parts", kMalformed,
       [](auto& t) {
         t.graph().operators[0].code = BuiltinOperator::SPLIT;
         t.graph().operators[0].inputs = {t.Ints("axis", {}, {1}), 0};
         t.graph().operators[0].outputs = {3, t.Tensor("z", TensorType::FLOAT32, {2, 1})};
       }},
      {"custom_options_too_short", kMalformed,
       [](auto& t) {
         t.graph().tensors[0].shape = {1, 4, 4, 3};
         t.graph().operators[0].code = BuiltinOperator::CUSTOM;
         t.graph().operators[0].custom = "MaxUnpooling2D";
         t.graph().operators[0].inputs = {0, 0};
       }},
      {"sparse_without_axes", kMalformed,
       [](auto& t) {
         t.graph().tensors[1].sparsity = [](auto& builder) {
           return schema::CreateSparsityParameters(builder);
         };
       }},
  };
  for (const BadCase& bad : cases) {
    TfliteBuilder tflite = Dense();
    bad.spoil(tflite);
    const absl::Status status = Read(tflite.Bytes());
    EXPECT_EQ(ReasonOf(status), bad.reason) << bad.name << ": " << status;
    EXPECT_FALSE(status.ok()) << bad.name;
  }
}

TEST(TfliteReader, EveryTruncationIsRefused) {
  const std::string bytes = Dense().Bytes();
  for (size_t length = 8; length < bytes.size(); ++length) {
    EXPECT_FALSE(Read(bytes.substr(0, length)).ok()) << length;
  }
}

// Any damage ends in a status; most of it is caught.
TEST(TfliteReader, DamageNeverCrashes) {
  constexpr uint32_t kSeed = 7;
  const std::string good = Dense().Bytes();
  std::mt19937 random(kSeed);
  int refused = 0;
  constexpr int kRounds = 3000;
  for (int round = 0; round < kRounds; ++round) {
    std::string bytes = good;
    for (uint32_t i = 0; i <= random() % 3; ++i)
      bytes[8 + random() % (bytes.size() - 8)] = static_cast<char>(random());
    refused += Read(bytes).ok() ? 0 : 1;
  }
  EXPECT_GT(refused, kRounds / 4) << "seed " << kSeed;
}

}  // namespace
}  // namespace modelpress
