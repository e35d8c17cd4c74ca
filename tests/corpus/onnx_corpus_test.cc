// Every operator model of Debian's libonnx-testdata: loaded, saved inline and with a sidecar, and run; outputs equal the
// original's bit for bit. The same for variants whose inputs became initializers and whose tensors are all external.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iostream>
#include <map>

#include "gtest/gtest.h"
#include "tests/corpus/corpus_case.h"

namespace modelpress::testing {
namespace {

namespace fs = std::filesystem;

constexpr char kCorpus[] = "/usr/share/libonnx-testdata/data";

const std::vector<std::string>& Folders() {
  static const auto* const folders = [] {
    auto* found = new std::vector<std::string>;
    for (const auto& entry : fs::recursive_directory_iterator(kCorpus)) {
      if (entry.path().filename() == "model.onnx") {
        found->push_back(entry.path().parent_path().string());
      }
    }
    std::sort(found->begin(), found->end());
    return found;
  }();
  return *folders;
}

// Thousands of small files are saved and synced; in memory that takes seconds where there is room.
void UseMemoryForFiles() {
  std::error_code error;
  const fs::space_info space = fs::space("/dev/shm", error);
  if (!error && space.available > (512u << 20)) setenv("TMPDIR", "/dev/shm", /*overwrite=*/0);
}

// Runs `check` on every case; prints how many there were and what became of them.
void CheckAll(const char* title, const std::function<CaseResult(const CorpusCase&)>& check) {
  ASSERT_GE(Folders().size(), 1000u) << "is the package libonnx-testdata installed?";
  UseMemoryForFiles();
  std::map<std::string, int> outcomes;
  int defects = 0;
  for (const std::string& folder : Folders()) {
    const CaseResult result = check(LoadCase(folder));
    ++outcomes[result.outcome];
    if (result.defect.empty()) continue;
    ++defects;
    ADD_FAILURE() << fs::path(folder).filename() << " (" << result.outcome
                  << "): " << result.defect;
  }
  std::cout << title << ": " << Folders().size() << " models, " << defects << " defects\n";
  for (const auto& [outcome, count] : outcomes) std::cout << "  " << count << " " << outcome << "\n";
  // What the runtime of Debian 13 runs.
  EXPECT_GE(outcomes["bit-equal"], 1270);
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
