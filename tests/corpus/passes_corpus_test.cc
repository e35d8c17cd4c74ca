// Every operator model of the corpus through every pass of the registry: the result loads and runs, or the pass refuses it
// with a reason. No model may come out that does not load.
#include "core/passes/pass.h"
#include "core/passes/step_options.h"
#include "core/recipe/recipe_reader.h"
#include "gtest/gtest.h"
#include "modelpress/v1/recipe.pb.h"
#include "tests/corpus/corpus_case.h"
#include "tests/corpus/corpus_walk.h"
#include "tests/support/model_builder.h"

namespace modelpress::testing {
namespace {

// Float inputs but the first become initializers: an operator's first input is its data, the others are mostly weights.
CorpusCase WithWeights(const CorpusCase& source) {
  CorpusCase kept = source;
  std::string first;
  for (const auto& input : source.proto.graph().input()) {
    const auto found = source.inputs.find(input.name());
    if (found == source.inputs.end() || !IsFloatingPoint(found->second.type)) continue;
    first = input.name();
    break;
  }
  if (first.empty()) return source;
  const Tensor data = kept.inputs.at(first);
  kept.inputs.erase(first);
  CorpusCase test = WithInputsAsInitializers(kept, /*floats_only=*/true);
  test.inputs[first] = data;
  return test;
}

// The options of the pass's last example, weights of any size, and no complaint where there is nothing to do.
PassStep StepFor(const Pass& pass) {
  PassStep step;
  const absl::Status parsed = ReadYaml(pass.examples().back().options, &step);
  EXPECT_TRUE(parsed.ok()) << parsed;
  step.set_allow_no_change(true);
  if (WeightSelection* weights = WeightSelectionOf(&step)) {
    weights->Clear();
    weights->set_min_elements(1);
  }
  return step;
}

std::string DifferentShapes(const TensorMap& before, const TensorMap& after) {
  for (const auto& [name, tensor] : before) {
    const auto found = after.find(name);
    if (found == after.end()) return "output " + name + " is gone";
    if (found->second.type != tensor.type) return "output " + name + " has another type";
    if (found->second.dims != tensor.dims) return "output " + name + " has another shape";
  }
  return "";
}

CaseResult CheckPass(const Pass& pass, const CorpusCase& source) {
  const CorpusCase test = WithWeights(source);
  if (!test.not_fed.empty()) return {test.not_fed, ""};
  TestJob job;
  const auto model = ReadModel(InputFiles{MakeInput("model.onnx", test.bytes), {}});
  if (!model.ok()) return {"not read", ""};
  const auto before = Session::Create(*model, {});
  if (!before.ok()) return {"the runtime does not load the original", ""};
  const auto expected = (*before)->Run(test.inputs);
  if (!expected.ok()) return {"the runtime does not run the original", ""};
  Model changed = model->Clone();
  WeightArena arena(&job.scratch());
  PassContext context;
  context.job = &job.context();
  context.original = &*model;
  context.arena = &arena;
  const auto report = pass.Run(changed, StepFor(pass), context);
  if (!report.ok()) {
    const ErrorReason reason = ReasonOf(report.status());
    const std::string name = ErrorReason_Name(reason);
    if (reason == ERROR_REASON_UNSPECIFIED || reason == ERROR_REASON_INTERNAL_BUG) {
      return {"refused", "without a reason: " + report.status().ToString()};
    }
    return {"refused: " + name, ""};
  }
  const std::string outcome = report->changes().empty() ? "nothing to do" : "changed";
  const auto after = Session::Create(changed, {});
  if (!after.ok()) return {outcome, "does not load: " + after.status().ToString()};
  const auto outputs = (*after)->Run(test.inputs);
  if (!outputs.ok()) return {outcome, "does not run: " + outputs.status().ToString()};
  return {outcome, DifferentShapes(*expected, *outputs)};
}

class PassesCorpusTest : public ::testing::TestWithParam<const Pass*> {};

TEST_P(PassesCorpusTest, LoadsAndRunsOrIsRefused) {
  const Pass& pass = *GetParam();
  const auto outcomes = WalkCorpus(std::string(pass.name()).c_str(),
                                   [&](const CorpusCase& test) { return CheckPass(pass, test); });
  // The corpus has no BatchNormalization behind a linear operator, no two linear operators, and no model beside its
  // quantized form.
  const std::string_view name = pass.name();
  if (name == "fold_batch_norm" || name == "equalize_layers" || name == "correct_bias" ||
      name == "prune_channels") {
    return;
  }
  EXPECT_GE(outcomes.contains("changed") ? outcomes.at("changed") : 0, 1) << "nothing was tested";
}

std::vector<const Pass*> AllPasses() {
  std::vector<const Pass*> passes;
  for (const auto& pass : PassRegistry::Get().passes()) {
    // A process for each of the models is too much; the trainer's own operators are held against the corpus in
    // tests/unit/trainer.
    if (!pass->trains()) passes.push_back(pass.get());
  }
  return passes;
}
INSTANTIATE_TEST_SUITE_P(Passes, PassesCorpusTest, ::testing::ValuesIn(AllPasses()),
                         [](const auto& info) { return std::string(info.param->name()); });

}  // namespace
}  // namespace modelpress::testing
