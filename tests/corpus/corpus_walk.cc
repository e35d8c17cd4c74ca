// See corpus_walk.h.
#include "tests/corpus/corpus_walk.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <vector>

#include "gtest/gtest.h"

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

}  // namespace

std::map<std::string, int> WalkCorpus(const char* title,
                                      const std::function<CaseResult(const CorpusCase&)>& check) {
  UseMemoryForFiles();
  std::map<std::string, int> outcomes;
  EXPECT_GE(Folders().size(), 1000u) << "is the package libonnx-testdata installed?";
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
  for (const auto& [outcome, count] : outcomes)
    std::cout << "  " << count << " " << outcome << "\n";
  return outcomes;
}

}  // namespace modelpress::testing
