// One operator model of the corpus, taken through modelpress and held against the plain runtime.
#pragma once

#include <string>

#include "core/runtime/session.h"
#include "onnx/onnx_pb.h"

namespace modelpress::testing {

struct CorpusCase {
  onnx::ModelProto proto;
  std::string bytes;
  // Values of the first test set by input name.
  TensorMap inputs;
  // Not empty: why the case cannot be run (sequence inputs, ...).
  std::string not_fed;
};

// Reads <folder>/model.onnx and <folder>/test_data_set_0/input_*.pb with libonnx's own parser.
CorpusCase LoadCase(const std::string& folder);

// The same model with its numeric inputs (or the float ones only) turned into initializers.
CorpusCase WithInputsAsInitializers(const CorpusCase& source, bool floats_only);

struct CaseResult {
  // What became of it: "bit-equal" or why it could not be compared. Counted and printed.
  std::string outcome;
  // Not empty: a defect.
  std::string defect;
};

// Reads the case with every tensor external, or as it is; saves it inline and with a sidecar; reads both again; holds the
// tensors against libonnx's reading of the original and the outputs, of the saved files in the plain runtime and of our own
// sessions, against the original's in the plain runtime.
CaseResult CheckCase(const CorpusCase& test, bool externalise);

}  // namespace modelpress::testing
