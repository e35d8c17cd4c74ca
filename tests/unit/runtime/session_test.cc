// Sessions: numbers, weights that stay mapped, subgraphs, strings, errors.
#include "core/runtime/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <map>
#include <thread>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/runtime/profile.h"
#include "onnx/defs/parser.h"

namespace modelpress {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

Model Parse(const char* text) {
  Model model;
  const auto status = onnx::OnnxParser(text).Parse(model.mutable_proto());
  EXPECT_TRUE(status.IsOK()) << status.ErrorMessage();
  return model;
}

Tensor Floats(std::vector<int64_t> dims, std::vector<float> values) {
  std::span<std::byte> data;
  Tensor tensor = Tensor::Make(DataType::kFloat, std::move(dims), &data).value();
  std::memcpy(data.data(), values.data(), data.size());
  return tensor;
}

uint64_t AnonymousKib() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    if (word == "RssAnon:") {
      uint64_t kib = 0;
      status >> kib;
      return kib;
    }
  }
  return 0;
}

// Makes the initializer or Constant `tensor` a weight in a mapped file, at an odd offset.
void MoveToFile(Model& model, onnx::TensorProto* tensor, Scratch& scratch,
                std::span<const float> values) {
  const uint64_t length = values.size_bytes();
  auto file = scratch.NewFile(length + 3).value();
  std::memcpy(file->mutable_bytes().data() + 3, values.data(), length);
  const std::vector<int64_t> dims(tensor->dims().begin(), tensor->dims().end());
  tensor->clear_float_data();
  ASSERT_TRUE(model.SetWeight(tensor, DataType::kFloat, dims, {file, 3, length}).ok());
}

TEST(SessionTest, RunsAndDescribesItsValues) {
  const Model model = Parse(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[N,2] x) => (float[N,2] y) <float[2] w = {10, 20}> { y = Add(x, w) })");
  auto session = Session::Create(model, {}).value();
  ASSERT_EQ(session->inputs().size(), 1u);
  EXPECT_EQ(session->inputs()[0].name, "x");
  EXPECT_THAT(session->inputs()[0].dims, ElementsAre(-1, 2));
  EXPECT_THAT(session->inputs()[0].symbols, ElementsAre("N", ""));
  const auto outputs = session->Run({{"x", Floats({2, 2}, {1, 2, 3, 4})}}).value();
  EXPECT_THAT(outputs.at("y").as<float>(), ElementsAre(11, 22, 13, 24));
}

TEST(SessionTest, WeightsInAConstantNodeAndInBothBranchesOfAnIfAreReadFromTheirFiles) {
  Model model = Parse(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (bool c, float[2] x) => (float[2] y) {
      k = Constant<value = float[2] {0, 0}>()
      z = Add(x, k)
      y = If(c) <
        then_branch = t () => (float[2] a) <float[2] W = {0, 0}> { a = Add(z, W) },
        else_branch = e () => (float[2] b) <float[2] W = {0, 0}> { b = Add(z, W) }>
    })");
  auto scratch = Scratch::Temporary(0).value();
  auto& graph = *model.mutable_proto().mutable_graph();
  MoveToFile(model, graph.mutable_node(0)->mutable_attribute(0)->mutable_t(), *scratch,
             std::array{100.f, 200.f});
  auto& branches = *graph.mutable_node(2)->mutable_attribute();
  MoveToFile(model, branches[0].mutable_g()->mutable_initializer(0), *scratch,
             std::array{1.f, 2.f});
  MoveToFile(model, branches[1].mutable_g()->mutable_initializer(0), *scratch,
             std::array{-1.f, -2.f});
  auto session = Session::Create(model, {}).value();
  for (const bool condition : {true, false}) {
    std::span<std::byte> data;
    Tensor c = Tensor::Make(DataType::kBool, {}, &data).value();
    data[0] = std::byte{condition};
    const auto outputs = session->Run({{"c", c}, {"x", Floats({2}, {0, 0})}}).value();
    if (condition) {
      EXPECT_THAT(outputs.at("y").as<float>(), ElementsAre(101, 202));
    } else {
      EXPECT_THAT(outputs.at("y").as<float>(), ElementsAre(99, 198));
    }
  }
}

TEST(SessionTest, HalfAGigabyteOfWeightsCostsNoAnonymousMemory) {
  Model model = Parse(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[1,8192] x) => (float[1,16384] y) <float[8192,16384] w> { y = MatMul(x, w) })");
  // The parser makes an input-like initializer without data; give it a mapped, all-zero file.
  auto& graph = *model.mutable_proto().mutable_graph();
  graph.clear_initializer();
  auto* weight = graph.add_initializer();
  weight->set_name("w");
  auto scratch = Scratch::Temporary(0).value();
  const std::vector<int64_t> dims = {8192, 16384};
  const uint64_t length = uint64_t{8192} * 16384 * 4;
  auto file = scratch->NewFile(length).value();
  ASSERT_TRUE(model.SetWeight(weight, DataType::kFloat, dims, {file, 0, length}).ok());
  (void)Session::Create(Parse(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[1] x) => (float[1] y) { y = Neg(x) })"),
                        {});  // pays for the environment
  const uint64_t before = AnonymousKib();
  auto session = Session::Create(model, {}).value();
  const auto outputs =
      session->Run({{"x", Floats({1, 8192}, std::vector<float>(8192, 1.f))}}).value();
  EXPECT_EQ(outputs.at("y").as<float>()[16383], 0.f);
  EXPECT_LT(AnonymousKib(), before + 32 * 1024);
}

// The values seen by each tap, one after the other.
std::map<size_t, std::vector<float>> Observe(const Model& model, std::vector<ValueKey> taps,
                                             const TensorMap& inputs, TensorMap* outputs) {
  std::map<size_t, std::vector<float>> seen;
  auto session = Session::Create(
      model, {.taps = std::move(taps), .observer = [&](size_t tap, const Tensor& x) {
                const auto values = x.as<float>();
                seen[tap].insert(seen[tap].end(), values.begin(), values.end());
              }});
  EXPECT_TRUE(session.ok()) << session.status();
  if (session.ok()) *outputs = (*session)->Run(inputs).value();
  return seen;
}

TEST(SessionTest, TapsSeeInputsInnerValuesAndOutputs) {
  const Model model = Parse(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[2] x) => (float[2] y) { t = Neg(x)  y = Abs(t) })");
  TensorMap outputs;
  const auto seen =
      Observe(model, {{"", "t"}, {"", "x"}, {"", "y"}}, {{"x", Floats({2}, {1, -2})}}, &outputs);
  EXPECT_THAT(seen, ElementsAre(Pair(0, ElementsAre(-1, 2)), Pair(1, ElementsAre(1, -2)),
                                Pair(2, ElementsAre(1, 2))));
  EXPECT_THAT(outputs.at("y").as<float>(), ElementsAre(1, 2));
  EXPECT_EQ(ReasonOf(Session::Create(model, {.taps = {{"", "ghost"}}}).status()),
            ERROR_REASON_DATA_INVALID);
}

TEST(SessionTest, TapsSeeTheBranchThatRunsAndEveryTurnOfALoop) {
  const Model branches = Parse(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[2] x, bool c) => (float[2] y) {
      y = If(c) <then_branch = a () => (float[2] u) { t = Neg(x) u = Abs(t) },
                 else_branch = b () => (float[2] u) { t = Add(x, x) u = Abs(t) }>
    })");
  const std::vector<ValueKey> taps = {{"y/then_branch", "t"}, {"y/else_branch", "t"}};
  for (const bool taken : {true, false}) {
    std::span<std::byte> byte;
    Tensor condition = Tensor::Make(DataType::kBool, {}, &byte).value();
    byte[0] = std::byte{taken};
    TensorMap outputs;
    const auto seen =
        Observe(branches, taps, {{"x", Floats({2}, {1, -2})}, {"c", condition}}, &outputs);
    if (taken) {
      EXPECT_THAT(seen, ElementsAre(Pair(0, ElementsAre(-1, 2))));
    } else {
      EXPECT_THAT(seen, ElementsAre(Pair(1, ElementsAre(2, -4))));
    }
  }
  const Model loop = Parse(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[1] x) => (float[1] y)
    <int64 n = {3}, bool c = {1}> {
      y = Loop(n, c, x) <body = b (int64 i, bool c_in, float[1] s) => (bool c_out, float[1] d)
        { c_out = Identity(c_in) d = Add(s, s) }>
    })");
  TensorMap outputs;
  EXPECT_THAT(
      Observe(loop, {{"y/body", "d"}, {"y/body", "s"}}, {{"x", Floats({1}, {1})}}, &outputs),
      ElementsAre(Pair(0, ElementsAre(2, 4, 8)), Pair(1, ElementsAre(1, 2, 4))));
}

TEST(SessionTest, StringsGoInAndOut) {
  const Model model = Parse(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (string[N] x) => (string[M] y) { y = StringNormalizer<case_change_action = "UPPER", locale = "C">(x) })");
  auto session = Session::Create(model, {}).value();
  Tensor text{.type = DataType::kString, .dims = {2}, .strings = {"abc", "Def"}};
  const auto outputs = session->Run({{"x", text}}).value();
  EXPECT_THAT(outputs.at("y").strings, ElementsAre("ABC", "DEF"));
}

// As in a container that has no locale but C.UTF-8: the case mapping is the same.
TEST(SessionTest, MissingLocalesHaveAStandIn) {
  for (const std::string_view attribute :
       {"", R"(, locale = "en_US")", R"(, locale = "de_CH.UTF-8")"}) {
    const std::string text = FormatString(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (string[N] x) => (string[M] y)
      {{ y = StringNormalizer<case_change_action = "UPPER"{}>(x) }})",
                                          attribute);
    const Model model = Parse(text.c_str());
    const std::string before = model.proto().SerializeAsString();
    auto session = Session::Create(model, {});
    ASSERT_TRUE(session.ok()) << session.status();
    Tensor input{.type = DataType::kString, .dims = {1}, .strings = {"stra\u00dfe \u00e9\u03c3"}};
    const auto outputs = (*session)->Run({{"x", input}});
    ASSERT_TRUE(outputs.ok()) << outputs.status();
    EXPECT_THAT(outputs->at("y").strings, ElementsAre("STRA\u00dfE \u00c9\u03a3"));
    EXPECT_EQ(model.proto().SerializeAsString(), before);
  }
}

TEST(SessionTest, LocalesOfTheirOwnCaseMappingAreNamed) {
  const Model model = Parse(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (string[N] x) => (string[M] y)
    { y = StringNormalizer<case_change_action = "UPPER", locale = "tr_XX.UTF-8">(x) })");
  auto session = Session::Create(model, {});
  absl::Status status = session.status();
  if (session.ok()) {
    Tensor text{.type = DataType::kString, .dims = {1}, .strings = {"i"}};
    status = (*session)->Run({{"x", text}}).status();
  }
  EXPECT_EQ(ReasonOf(status), ERROR_REASON_OP_UNSUPPORTED) << status;
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("tr_XX.UTF-8"));
}

TEST(SessionTest, AxesOfResizeMayCountFromTheEnd) {
  const Model model = Parse(R"(<ir_version: 8, opset_import: ["" : 18]>
    g (float[1,1,1,2] x) => (float[1,1,2,4] y) <float[2] s = {2, 2}> {
      y = Resize<axes = [-2, -1], mode = "nearest">(x, , s)
    })");
  auto session = Session::Create(model, {}).value();
  const auto outputs = session->Run({{"x", Floats({1, 1, 1, 2}, {1, 2})}}).value();
  EXPECT_THAT(outputs.at("y").as<float>(), ElementsAre(1, 1, 2, 2, 1, 1, 2, 2));
}

TEST(SessionTest, AxesOfResizeFromAnEndThatIsUnknownAreRefused) {
  const Model model = Parse(R"(<ir_version: 8, opset_import: ["" : 18]>
    g (float[1,1,1,2] x) => (float[1,1,2,4] y) <float[2] s = {2, 2}> {
      h = Neg(x)
      y = Resize<axes = [-2, -1], mode = "nearest">(h, , s)
    })");
  const auto session = Session::Create(model, {});
  EXPECT_EQ(ReasonOf(session.status()), ERROR_REASON_OP_UNSUPPORTED) << session.status();
  EXPECT_THAT(session.status().message(), HasSubstr("Resize has axis -2"));
}

TEST(SessionTest, CodesWithScalesRunWhereTheyLie) {
  Model model = Parse(R"(<ir_version: 10, opset_import: ["" : 21]>
    g (float[1,2] x) => (float[1,3] y)
    <int8[2,3] q = {1, -2, 3, -4, 5, -128}, float[3] s = {0.5, 1, 2}> {
      w = DequantizeLinear<axis = 1>(q, s)
      y = MatMul(x, w) })");
  auto* codes = model.mutable_proto().mutable_graph()->mutable_initializer(0);
  auto scratch = Scratch::Temporary(0).value();
  auto file = scratch->NewFile(7).value();
  const int8_t values[] = {1, -2, 3, -4, 5, -128};
  std::memcpy(file->mutable_bytes().data() + 1, values, sizeof values);
  codes->clear_int32_data();
  ASSERT_TRUE(
      model.SetWeight(codes, DataType::kInt8, std::array<int64_t, 2>{2, 3}, {file, 1, 6}).ok());
  for (const bool optimize : {true, false}) {
    auto session = Session::Create(model, {.optimize = optimize}).value();
    const auto outputs = session->Run({{"x", Floats({1, 2}, {1, 10})}}).value();
    EXPECT_THAT(outputs.at("y").as<float>(), ElementsAre(-19.5f, 48.f, -2554.f));
  }
}

TEST(SessionTest, SequencesAndMapsAreDescribedAndLeftOut) {
  const Model model = Parse(R"(<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3]>
    g (float[N,2] x) => (seq(map(int64, float)) scores, seq(float[N,2]) pair, float[N,2] y) {
      scores = ai.onnx.ml.ZipMap<classlabels_int64s = [0, 1]>(x)
      pair = SequenceConstruct(x, x)
      y = Neg(x) })");
  const auto session = Session::Create(model, {});
  ASSERT_TRUE(session.ok()) << session.status();
  ASSERT_EQ((*session)->outputs().size(), 3u);
  EXPECT_FALSE((*session)->outputs()[0].is_tensor);
  EXPECT_FALSE((*session)->outputs()[1].is_tensor);
  const auto outputs = (*session)->Run({{"x", Floats({1, 2}, {1, 2})}}).value();
  EXPECT_EQ(outputs.size(), 1u);
  EXPECT_THAT(outputs.at("y").as<float>(), ElementsAre(-1, -2));
}

TEST(SessionTest, ManyThreadsMayRunOneSession) {
  const Model model = Parse(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[1] x) => (float[1] y) { y = Add(x, x) })");
  auto session = Session::Create(model, {}).value();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const auto outputs = session->Run({{"x", Floats({1}, {float(t)})}}).value();
        EXPECT_EQ(outputs.at("y").as<float>()[0], 2.f * t);
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

struct BadModel {
  const char* text;
  ErrorReason reason;
  const char* op;
};

TEST(SessionTest, RefusalsAreTyped) {
  const BadModel cases[] = {
      {R"(<ir_version: 8, opset_import: ["" : 17]>
          g (float[1] x) => (float[1] y) { y = NoSuchOp(x) })",
       ERROR_REASON_OP_UNSUPPORTED, "NoSuchOp"},
      {R"(<ir_version: 8, opset_import: ["" : 17, "com.example" : 1]>
          g (float[1] x) => (float[1] y) { y = com.example.Thing(x) })",
       ERROR_REASON_OP_UNSUPPORTED, "com.example:Thing"},
      {R"(<ir_version: 8, opset_import: ["" : 17]>
          g (uint16[2] x) => (uint16[2] y) { y = BitShift<direction = "LEFT">(x, x) })",
       ERROR_REASON_OP_UNSUPPORTED, "BitShift"},
      {R"(<ir_version: 8, opset_import: ["" : 99]>
          g (float[1] x) => (float[1] y) { y = Neg(x) })",
       ERROR_REASON_OPSET_UNSUPPORTED, ""},
      {R"(<ir_version: 99, opset_import: ["" : 17]>
          g (float[1] x) => (float[1] y) { y = Neg(x) })",
       ERROR_REASON_OPSET_UNSUPPORTED, ""},
      {R"(<ir_version: 8, opset_import: ["" : 17]>
          g (float[1] x) => (float[1] y) { y = Add(x, ghost) })",
       ERROR_REASON_MODEL_MALFORMED, ""},
  };
  for (const BadModel& bad : cases) {
    const absl::Status status = Session::Create(Parse(bad.text), {}).status();
    EXPECT_EQ(ReasonOf(status), bad.reason) << bad.text << status;
    const ErrorDetail detail = DetailOf(status);
    const auto op = detail.metadata().find("op");
    EXPECT_EQ(op == detail.metadata().end() ? "" : op->second, bad.op) << status;
  }
}

TEST(SessionTest, BadInputsAndFailingKernelsAreTyped) {
  const Model model = Parse(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[N] x, float[M] z) => (float[K] y) { y = Add(x, z) })");
  auto session = Session::Create(model, {}).value();
  const Tensor one = Floats({2}, {1, 2});
  EXPECT_EQ(ReasonOf(session->Run({{"x", one}}).status()), ERROR_REASON_DATA_INVALID);
  EXPECT_EQ(ReasonOf(session->Run({{"x", one}, {"z", one}, {"q", one}}).status()),
            ERROR_REASON_DATA_INVALID);
  const absl::Status status = session->Run({{"x", one}, {"z", Floats({3}, {1, 2, 3})}}).status();
  EXPECT_EQ(ReasonOf(status), ERROR_REASON_RUNTIME_FAILED);
  EXPECT_EQ(DetailOf(status).metadata().at("op"), "Add");
}

TEST(ProfileTest, SeesFusionAndTimes) {
  const Model model = Parse(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[1,1,4,4] x) => (float[1,1,4,4] y) <float[1,1,1,1] w = {2}> {
      t = Conv(x, w)  y = Relu(t) })");
  auto scratch = Scratch::Temporary(0).value();
  const auto graph = InspectOptimizedGraph(model, 1, *scratch).value();
  for (const auto& [op, count] : graph.operators) EXPECT_NE(op, "Relu") << "must be fused";
  const auto times = ProfileModel(model, {{"x", Floats({1, 1, 4, 4}, std::vector<float>(16, 1.f))}},
                                  1, 3, *scratch)
                         .value();
  ASSERT_FALSE(times.empty());
  EXPECT_EQ(times[0].op_type.find("Relu"), std::string::npos);
  EXPECT_GT(times[0].seconds, 0);
}

}  // namespace
}  // namespace modelpress
