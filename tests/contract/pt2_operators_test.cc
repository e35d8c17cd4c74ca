// Walks the operators of PyTorch's exported programs: every one that is registered has an example, every example becomes a
// valid model that loads, and gives PyTorch's numbers (tests/models/make_pt2_examples.py).
#include <algorithm>
#include <set>

#include "core/base/status.h"
#include "core/formats/pt2/operator.h"
#include "core/gate/gate.h"
#include "core/runtime/session.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/expect_tensor.h"
#include "tests/support/program_builder.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

using nlohmann::json;
using pt2::OperatorRegistry;

// Operators that are only known so that the refusal says what to do.
constexpr std::string_view kRefused[] = {
    "aten.rand",        "aten.randn",        "aten.randint",  "aten.rand_like",
    "aten.randn_like",  "aten.randint_like", "aten.randperm", "aten.bernoulli",
    "aten.multinomial", "aten.normal",       "aten.uniform",  "aten.poisson",
};

void AddTargets(const json& graph, std::set<std::string>* targets) {
  for (const json& node : graph["nodes"]) {
    targets->insert(node["target"].get<std::string>());
    for (const json& input : node["inputs"]) {
      if (input["arg"].contains("as_graph")) AddTargets(input["arg"]["as_graph"]["graph"], targets);
    }
  }
}

TEST(Pt2Operators, EveryOneHasAnExample) {
  std::set<std::string> targets;
  for (const json& example : testing::ProgramExamples())
    AddTargets(example["program"]["graph_module"]["graph"], &targets);
  std::set<const OperatorRegistry::Entry*> used;
  std::set<pt2::Translate> translated;
  for (const std::string& target : targets) {
    const OperatorRegistry::Entry* entry = OperatorRegistry::Get().Find(target);
    ASSERT_NE(entry, nullptr) << target;
    used.insert(entry);
    translated.insert(entry->translate);
  }
  for (const auto& [name, entry] : OperatorRegistry::Get().entries()) {
    if (std::ranges::contains(kRefused, name)) continue;
    // What an operator becomes for complex numbers; its target is the operator's.
    if (name.starts_with("complex.")) continue;
    // Other names of one function are one operator.
    EXPECT_TRUE(used.contains(&entry) || translated.contains(entry.translate)) << name;
  }
}

TEST(Pt2Operators, ExamplesGiveTheNumbersOfPyTorch) {
  for (const json& example : testing::ProgramExamples()) {
    SCOPED_TRACE(example["name"].get<std::string>());
    testing::TestJob job;
    absl::StatusOr<Model> model = testing::ConvertExample(example, job);
    if (!model.ok()) {
      ADD_FAILURE() << model.status();
      continue;
    }
    EXPECT_TRUE(CheckModel(*model).ok()) << CheckModel(*model);
    const auto session = Session::Create(*model, {});
    if (!session.ok()) {
      ADD_FAILURE() << session.status();
      continue;
    }
    TensorMap inputs;
    const auto declared = (*session)->inputs();
    ASSERT_EQ(declared.size(), example["inputs"].size());
    for (size_t i = 0; i < declared.size(); ++i)
      inputs[declared[i].name] = testing::TensorOf(example["inputs"][i]);
    const auto outputs = (*session)->Run(inputs);
    if (!outputs.ok()) {
      ADD_FAILURE() << outputs.status();
      continue;
    }
    for (size_t o = 0; o < example["outputs"].size(); ++o) {
      SCOPED_TRACE(::testing::Message() << "output " << o);
      // Float's step is far below what sums in another order give.
      testing::ExpectTensor(outputs->at((*session)->outputs()[o].name),
                            testing::TensorOf(example["outputs"][o]),
                            example.value("tolerance", 2e-5));
    }
  }
}

TEST(Pt2Operators, ConversionsAreDeterministic) {
  const json& examples = testing::ProgramExamples();
  for (size_t i = 0; i < examples.size(); i += 16) {
    testing::TestJob first, second;
    const auto a = testing::ConvertExample(examples[i], first),
               b = testing::ConvertExample(examples[i], second);
    ASSERT_TRUE(a.ok() && b.ok());
    EXPECT_EQ(a->proto().SerializeAsString(), b->proto().SerializeAsString())
        << examples[i]["name"];
  }
}

TEST(Pt2Operators, CancellationIsHonoured) {
  testing::TestJob job;
  job.cancellation().Cancel();
  EXPECT_EQ(ReasonOf(testing::ConvertExample(testing::ProgramExamples()[0], job).status()),
            ERROR_REASON_JOB_CANCELLED);
}

}  // namespace
}  // namespace modelpress
