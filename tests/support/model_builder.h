// Models for tests: from ONNX text, from protobufs, from files.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/formats/format.h"
#include "core/model/model.h"
#include "tests/support/test_job.h"

namespace modelpress::testing {

// Parses ONNX text (onnx::OnnxParser) without reading it as a Model; aborts on a syntax error, which is the test's own.
onnx::ModelProto ParseProto(std::string_view text);

// An input of these bytes, as if uploaded under that name. The file has no name on disk.
InputFile MakeInput(std::string_view name, std::string_view bytes);

// Through the registry's ONNX reader.
absl::StatusOr<Model> ReadModel(const InputFiles& files);
absl::StatusOr<Model> ReadModel(const onnx::ModelProto& proto);
// Aborts if the text does not read as a valid model.
Model ModelFromText(std::string_view text);

// One number for each element of a tensor of the model.
std::vector<double> Values(const Model& model, const onnx::TensorProto& tensor);
// The initializer of the main graph; null if there is none.
const onnx::TensorProto* FindInitializer(const Model& model, std::string_view name);

}  // namespace modelpress::testing
