// What every pass promises (core/passes/pass.h), held against every pass of the registry through
// its own examples.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <map>
#include <random>
#include <set>

#include "core/base/format_string.h"
#include "core/data/npy.h"
#include "core/measure/comparison.h"
#include "core/model/graph.h"
#include "core/passes/pass.h"
#include "core/recipe/recipe_reader.h"
#include "core/runtime/session.h"
#include "core/training/trainer_process.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "onnx/checker.h"
#include "tests/support/model_builder.h"

namespace modelpress {
namespace {

using ::testing::ElementsAreArray;
using ::testing::IsEmpty;
using testing::ModelFromText;
using testing::TestJob;

struct Outcome {
  absl::Status status;
  PassReport report;
};

PassStep StepOf(const PassExample& example) {
  PassStep step;
  const absl::Status parsed = ReadYaml(example.options, &step);
  EXPECT_TRUE(parsed.ok()) << example.options << ": " << parsed;
  return step;
}

struct Surroundings {
  // The model before earlier passes, if there were any.
  const Model* original = nullptr;
  const DataSet* data = nullptr;
  // May cancel.
  std::function<void()> on_progress;
};

Outcome RunPass(const Pass& pass, const PassStep& step, Model* model, TestJob* job,
                const Surroundings& with = {}) {
  const Model itself = model->Clone();
  WeightArena arena(&job->scratch());
  PassContext context;
  context.job = &job->context();
  context.original = with.original != nullptr ? with.original : &itself;
  context.data = with.data;
  context.arena = &arena;
  context.progress = [&](double fraction, std::string_view) {
    EXPECT_GE(fraction, 0);
    EXPECT_LE(fraction, 1);
    if (with.on_progress) with.on_progress();
  };
  auto report = pass.Run(*model, step, context);
  Outcome outcome{report.status(), {}};
  if (report.ok()) outcome.report = *std::move(report);
  return outcome;
}

// Values for every declared input; extents of examples are fixed, and their integer inputs index
// tables of at least 3.
TensorMap MakeInputs(const Model& model, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  TensorMap inputs;
  for (const ValueInfo& input : DeclaredInputs(model)) {
    std::span<std::byte> bytes;
    auto tensor = Tensor::Make(input.type, input.dims, &bytes);
    EXPECT_TRUE(tensor.ok()) << tensor.status();
    for (uint64_t i = 0; i < tensor->element_count(); ++i) {
      if (input.type == DataType::kFloat) {
        reinterpret_cast<float*>(bytes.data())[i] = normal(random);
      } else if (input.type == DataType::kInt64) {
        reinterpret_cast<int64_t*>(bytes.data())[i] = static_cast<int64_t>((i + seed) % 3);
      } else if (input.type == DataType::kBool) {
        bytes[i] = static_cast<std::byte>(i % 2);
      }
    }
    inputs.emplace(input.name, *std::move(tensor));
  }
  return inputs;
}

// A data set of 24 such samples, a file for each, in this order or backwards.
std::unique_ptr<DataSet> MakeData(const Model& model, bool backwards, TestJob* job) {
  constexpr uint32_t kSamples = 24;
  const std::string folder = job->folder() + "/data";
  for (uint32_t i = 0; i < kSamples; ++i) {
    for (const auto& [name, tensor] : MakeInputs(model, backwards ? kSamples - i : i + 1)) {
      const std::string of_input = FormatString("{}/calib/{}", folder, name);
      std::filesystem::create_directories(of_input);
      testing::WriteFile(FormatString("{}/{:05}.npy", of_input, i), WriteNpy(tensor));
    }
  }
  auto data = DataSet::Open(folder, &job->scratch());
  EXPECT_TRUE(data.ok()) << data.status();
  return *std::move(data);
}

TensorMap Infer(const Model& model) {
  auto session = Session::Create(model, {});
  EXPECT_TRUE(session.ok()) << session.status();
  if (!session.ok()) return {};
  auto outputs = (*session)->Run(MakeInputs(model));
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  return outputs.ok() ? *std::move(outputs) : TensorMap{};
}

// Everything the artifact would hold: the skeleton and the bytes of each tensor in order.
std::string Fingerprint(const Model& model) {
  std::string bytes = model.proto().SerializeAsString();
  ForEachTensor(model.proto(), [&](const onnx::TensorProto& tensor) {
    if (auto found = model.Bytes(tensor); found.ok()) {
      bytes.append(reinterpret_cast<const char*>(found->data()), found->size());
    }
  });
  return bytes;
}

struct Case {
  const Pass* pass;
  PassExample example;
};

std::vector<Case> AllExamples() {
  std::vector<Case> cases;
  for (const auto& pass : PassRegistry::Get().passes()) {
    for (const PassExample& example : pass->examples()) cases.push_back({pass.get(), example});
  }
  return cases;
}

class ExampleTest : public ::testing::TestWithParam<Case> {
 protected:
  // Where nothing is built that trains (sanitizers), a pass that does says so instead.
  void SetUp() override {
    if (!pass().trains() || RequireTrainer().ok()) return;
    TestJob job;
    Model model = ModelFromText(example().before);
    EXPECT_EQ(ReasonOf(RunPass(pass(), StepOf(example()), &model, &job).status),
              ERROR_REASON_TRAINER_MISSING);
    GTEST_SKIP() << "there is no trainer beside this program";
  }
  const Pass& pass() const { return *GetParam().pass; }
  const PassExample& example() const { return GetParam().example; }
  Model Original() const {
    return ModelFromText(example().original.empty() ? example().before : example().original);
  }
};

TEST_P(ExampleTest, OptionsAreValidAndOfThisPass) {
  const PassStep step = StepOf(example());
  const auto found = PassRegistry::Get().ForStep(step);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(*found, &pass());
  EXPECT_TRUE(pass().Validate(step).ok()) << pass().Validate(step);
}

TEST_P(ExampleTest, HoldsAndRuns) {
  TestJob job;
  Model model = ModelFromText(example().before);
  const Model original = Original();
  const TensorMap before = Infer(original);
  const Outcome outcome = RunPass(pass(), StepOf(example()), &model, &job, {.original = &original});
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  std::vector<std::string> operators;
  for (const auto& node : model.proto().graph().node()) operators.push_back(node.op_type());
  EXPECT_THAT(operators, ElementsAreArray(std::vector<std::string>(
                             example().after_operators.begin(), example().after_operators.end())));
  try {
    onnx::checker::check_model(model.proto(), /*full_check=*/true);
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what();
  }
  OutputComparer comparer;
  const absl::Status compared = comparer.Add(before, Infer(model), 0, 1);
  ASSERT_TRUE(compared.ok()) << compared;
  const auto rows = comparer.Finish();
  ASSERT_FALSE(rows.empty());
  for (const OutputComparison& row : rows) {
    EXPECT_LE(row.max_abs_error(), example().tolerance) << row.output();
    EXPECT_EQ(row.not_finite(), 0u) << row.output();
  }
}

TEST_P(ExampleTest, BytesDoNotDependOnThreads) {
  std::string first;
  for (const size_t threads : {1, 4}) {
    TestJob job(threads);
    Model model = ModelFromText(example().before);
    const Model original = Original();
    ASSERT_TRUE(
        RunPass(pass(), StepOf(example()), &model, &job, {.original = &original}).status.ok());
    const std::string bytes = Fingerprint(model);
    if (first.empty()) first = bytes;
    EXPECT_TRUE(bytes == first);
  }
}

TEST_P(ExampleTest, BytesDoNotDependOnTheOrderOfSamples) {
  if (pass().trains()) GTEST_SKIP() << "the order of its samples is part of a training";
  std::string first;
  for (const bool backwards : {false, true}) {
    TestJob job;
    Model model = ModelFromText(example().before);
    const Model original = Original();
    const auto data = MakeData(model, backwards, &job);
    const Outcome outcome = RunPass(pass(), StepOf(example()), &model, &job,
                                    {.original = &original, .data = data.get()});
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    const std::string bytes = Fingerprint(model);
    if (first.empty()) first = bytes;
    EXPECT_TRUE(bytes == first);
  }
}

TEST_P(ExampleTest, StopsWhenCancelledBefore) {
  TestJob job;
  job.cancellation().Cancel();
  Model model = ModelFromText(example().before);
  EXPECT_EQ(ReasonOf(RunPass(pass(), StepOf(example()), &model, &job).status),
            ERROR_REASON_JOB_CANCELLED);
}

TEST_P(ExampleTest, EveryFloatConstantIsAccountedFor) {
  if (pass().name() == "convert_opset" || pass().name() == "fold_batch_norm" ||
      pass().name() == "equalize_layers" || pass().name() == "smooth_activations" ||
      pass().name() == "correct_bias" || pass().name() == "simplify" ||
      pass().name() == "prune_channels") {
    GTEST_SKIP() << "candidates of this pass are not weights";
  }
  TestJob job;
  Model model = ModelFromText(example().before);
  std::set<std::string> constants;
  ForEachTensor(model.mutable_proto(), [&](const TensorSite& site) {
    if (!site.value_name.empty() && IsFloatingPoint(Type(*site.tensor))) {
      constants.insert(site.value_name);
    }
  });
  const Model original = Original();
  const Outcome outcome = RunPass(pass(), StepOf(example()), &model, &job, {.original = &original});
  ASSERT_TRUE(outcome.status.ok());
  std::set<std::string> seen;
  for (const Change& change : outcome.report.changes()) {
    seen.insert(change.tensor());
    EXPECT_FALSE(change.what().empty());
  }
  for (const Skip& skip : outcome.report.skips()) {
    seen.insert(skip.tensor());
    EXPECT_NE(skip.reason(), "unknown");
    EXPECT_FALSE(skip.detail().empty());
  }
  std::vector<std::string> silent;
  std::ranges::set_difference(constants, seen, std::back_inserter(silent));
  EXPECT_THAT(silent, IsEmpty());
}

TEST_P(ExampleTest, NothingToDoIsAnErrorUnlessAllowed) {
  const std::string_view nothing = R"(<ir_version: 8, opset_import: ["" : 13]>
      g (int64[2] x) => (int64[2] y) { y = Identity(x) })";
  PassStep step = StepOf(example());
  if (step.has_convert_opset()) step.mutable_convert_opset()->set_version(13);
  for (const bool allowed : {false, true}) {
    TestJob job;
    Model model = ModelFromText(nothing);
    step.set_allow_no_change(allowed);
    const Outcome outcome = RunPass(pass(), step, &model, &job);
    EXPECT_EQ(outcome.status.ok(), allowed) << outcome.status;
    if (allowed) continue;
    EXPECT_EQ(ReasonOf(outcome.status), ERROR_REASON_NOTHING_CHANGED);
  }
}

std::string NameOf(const ::testing::TestParamInfo<Case>& info) {
  return std::string(info.param.pass->name()) + "_" + std::to_string(info.index);
}
INSTANTIATE_TEST_SUITE_P(Passes, ExampleTest, ::testing::ValuesIn(AllExamples()), NameOf);

TEST(PassRegistryTest, EveryPassIsAFieldOfTheRecipeAndTheOtherWayRound) {
  std::set<std::string> fields, passes;
  const auto* oneof = PassStep::descriptor()->FindOneofByName("pass");
  for (int i = 0; i < oneof->field_count(); ++i) fields.insert(oneof->field(i)->name());
  for (const auto& pass : PassRegistry::Get().passes()) {
    passes.insert(std::string(pass->name()));
    EXPECT_GE(pass->examples().size(), 2u) << pass->name();
    EXPECT_FALSE(pass->summary().empty()) << pass->name();
    EXPECT_FALSE(pass->encodes_weights() && pass->needs_float_weights()) << pass->name();
  }
  EXPECT_EQ(fields, passes);
}

// Whoever works on float weights comes first, whatever passes there are.
TEST(PassRegistryTest, FloatsComeBeforeCodesInEveryRecipe) {
  const auto step_of = [](const Pass& pass) {
    PassStep step;
    EXPECT_TRUE(ReadYaml(pass.examples()[0].options, &step).ok());
    return step;
  };
  int pairs = 0;
  for (const auto& first : PassRegistry::Get().passes()) {
    for (const auto& second : PassRegistry::Get().passes()) {
      Recipe recipe;
      *recipe.add_passes() = step_of(*first);
      *recipe.add_passes() = step_of(*second);
      const absl::Status status = ValidateRecipe(recipe);
      const bool forbidden = first->encodes_weights() && second->needs_float_weights();
      EXPECT_EQ(ReasonOf(status) == ERROR_REASON_PASS_ORDER, forbidden)
          << first->name() << ", " << second->name() << ": " << status;
      pairs += forbidden;
    }
  }
  EXPECT_GE(pairs, 2 * 5);
}

// A model with weights of several MiB, cancelled by its first sign of progress.
TEST(PassRegistryTest, WeightPassesStopInTheMiddle) {
  const std::map<std::string, std::string> steps = {
      {"quantize_weights", "quantize_weights: {}"},
      {"quantize_dead_zone", "quantize_dead_zone: {}"},
      {"quantize_dynamic", "quantize_dynamic: {}"},
      {"convert_float16", "convert_float16: {}"},
      {"convert_bfloat16", "convert_bfloat16: {}"},
      {"prune_magnitude", "prune_magnitude: {sparsity_per_tensor: 0.5}"},
  };
  onnx::ModelProto proto = testing::ParseProto(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[1, 1024] x) => (float[1, 1024] y) { h = MatMul(x, a) y = MatMul(h, b) })");
  for (const char* name : {"a", "b"}) {
    onnx::TensorProto& tensor = *proto.mutable_graph()->add_initializer();
    tensor.set_name(name);
    tensor.set_data_type(onnx::TensorProto::FLOAT);
    tensor.add_dims(1024);
    tensor.add_dims(1024);
    tensor.mutable_raw_data()->assign(4 << 20, '\x3c');
  }
  for (const auto& [name, options] : steps) {
    const Pass* pass = PassRegistry::Get().Find(name);
    ASSERT_NE(pass, nullptr) << name;
    PassStep step;
    ASSERT_TRUE(ReadYaml(options, &step).ok());
    TestJob job(2);
    auto model = testing::ReadModel(proto);
    ASSERT_TRUE(model.ok()) << model.status();
    std::atomic<int> calls = 0;  // from any thread of the pool
    const Outcome outcome = RunPass(*pass, step, &*model, &job, {.on_progress = [&] {
      ++calls;
      job.cancellation().Cancel();
    }});
    EXPECT_EQ(ReasonOf(outcome.status), ERROR_REASON_JOB_CANCELLED) << name;
    EXPECT_GT(calls, 0) << name;
  }
}

}  // namespace
}  // namespace modelpress
