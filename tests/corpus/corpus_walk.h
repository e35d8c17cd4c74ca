// All cases of Debian's libonnx-testdata, one after the other, and what became of them.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "tests/corpus/corpus_case.h"

namespace modelpress::testing {

// Fails the test for every defect, and if the corpus is not there; prints and returns how often each outcome came.
std::map<std::string, int> WalkCorpus(const char* title,
                                      const std::function<CaseResult(const CorpusCase&)>& check);

}  // namespace modelpress::testing
