// Making the runtime's environment: see environment.h.
#include "core/runtime/environment.h"

#include <onnxruntime_cxx_api.h>

#include <iostream>
#include <sstream>
#include <string>
#include <utility>

#include "onnx/onnx_pb.h"

namespace modelpress {
namespace {

// Errors reach us as exceptions; what the runtime would also log is noise.
void ORT_API_CALL DiscardLog(void*, OrtLoggingLevel, const char*, const char*, const char*,
                             const char*) {}

// The bytes of the smallest model: y = Identity(x).
std::string SmallestModel() {
  onnx::ModelProto model;
  model.set_ir_version(8);
  model.add_opset_import()->set_version(17);
  onnx::GraphProto& graph = *model.mutable_graph();
  graph.set_name("smallest");
  onnx::NodeProto& node = *graph.add_node();
  node.set_op_type("Identity");
  node.add_input("x");
  node.add_output("y");
  for (auto [name, value] : {std::pair{"x", graph.add_input()}, {"y", graph.add_output()}}) {
    value->set_name(name);
    value->mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT);
  }
  return model.SerializeAsString();
}

// The runtime and we share one libonnx, so the first session finds the schemas already registered and writes about 1,100
// lines to std::cerr. Exactly those lines (and the empty ones between them) are dropped; anything else is passed on.
Ort::Env* MakeQuietly() {
  std::ostringstream captured;
  std::streambuf* const original = std::cerr.rdbuf(captured.rdbuf());
  auto* environment =
      new Ort::Env(ORT_LOGGING_LEVEL_FATAL, "modelpress", DiscardLog, /*logger_param=*/nullptr);
  const std::string model = SmallestModel();
  Ort::Session(*environment, model.data(), model.size(), Ort::SessionOptions());
  std::cerr.rdbuf(original);
  std::istringstream lines(captured.str());
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty() && !line.starts_with("Schema error:")) std::cerr << line << '\n';
  }
  return environment;
}

}  // namespace

Ort::Env& RuntimeEnvironment() {
  static Ort::Env& environment = *MakeQuietly();  // never destroyed: sessions may outlive main
  return environment;
}

}  // namespace modelpress
