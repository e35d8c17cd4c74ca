// Every operator model of Debian's libonnx-testdata: loaded, saved inline and with a sidecar, and run; outputs equal the
// original's bit for bit. The same for variants whose inputs became initializers and whose tensors are all external.
#include <functional>

#include "gtest/gtest.h"
#include "tests/corpus/corpus_case.h"
#include "tests/corpus/corpus_walk.h"

namespace modelpress::testing {
namespace {

void CheckAll(const char* title, const std::function<CaseResult(const CorpusCase&)>& check) {
  // What the runtime of Debian 13 runs.
  EXPECT_GE(WalkCorpus(title, check)["bit-equal"], 1270);
}

TEST(OnnxCorpusTest, ModelsAsTheyAre) {
  CheckAll("as they are", [](const CorpusCase& test) { return CheckCase(test, false); });
}

TEST(OnnxCorpusTest, FloatInputsAsExternalInitializers) {
  CheckAll("float inputs as external initializers", [](const CorpusCase& test) {
    return CheckCase(WithInputsAsInitializers(test, /*floats_only=*/true), true);
  });
}

TEST(OnnxCorpusTest, AllInputsAsExternalInitializers) {
  CheckAll("all inputs as external initializers", [](const CorpusCase& test) {
    return CheckCase(WithInputsAsInitializers(test, /*floats_only=*/false), true);
  });
}

}  // namespace
}  // namespace modelpress::testing
