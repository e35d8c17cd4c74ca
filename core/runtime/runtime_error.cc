// The runtime's messages as typed errors: see runtime_error.h. The patterns are those of ONNX Runtime 1.21.
#include "core/runtime/runtime_error.h"

#include <format>
#include <regex>
#include <string>

#include "core/base/status.h"

namespace modelpress {
namespace {

// std::regex recurses per character: long messages (they may quote names of an upload) are cut first.
std::string Bounded(std::string_view message) {
  constexpr size_t kMost = 1000;
  std::string text(message.substr(0, kMost));
  if (message.size() > kMost) text += " ...";
  return text;
}

bool Contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

absl::Status LoadError(std::string_view message) {
  const std::string text = Bounded(message);
  std::smatch match;
  static const std::regex no_kernel(R"(implementation for (\S+?)\(\d+\) node with name '([^']*)')");
  if (std::regex_search(text, match, no_kernel)) {
    return Error(ERROR_REASON_OP_UNSUPPORTED,
                 std::format("the runtime has no kernel for operator {} with these types: {}",
                             match[1].str(), text))
        .Op(match[1].str())
        .Node(match[2].str())
        .Remedy("keep this node in a type that the CPU kernel has, such as float32");
  }
  static const std::regex no_schema(R"(No Op registered for (\S+) with domain_version of (\d+))");
  if (std::regex_search(text, match, no_schema)) {
    return Error(ERROR_REASON_OP_UNSUPPORTED,
                 std::format("operator {} does not exist in opset {}", match[1].str(),
                             match[2].str()))
        .Op(match[1].str())
        .With("opset", match[2].str())
        .Remedy("export the model with standard operators, or check the opset it declares");
  }
  static const std::regex not_registered(R"((\S+)\(-?\d+\) is not a registered function/op)");
  if (std::regex_search(text, match, not_registered)) {
    return Error(ERROR_REASON_OP_UNSUPPORTED,
                 std::format("operator {} is not known to the runtime", match[1].str()))
        .Op(match[1].str())
        .Remedy("export the model with standard operators");
  }
  if (Contains(text, "Unsupported model IR version") || Contains(text, "is under development") ||
      Contains(text, "only *guarantees* support for models stamped")) {
    return Error(ERROR_REASON_OPSET_UNSUPPORTED,
                 std::format("the runtime does not execute this version: {}", text))
        .Remedy("export the model with an older opset, or add a convert_opset pass");
  }
  return Error(ERROR_REASON_MODEL_MALFORMED,
               std::format("the runtime refuses the model: {}", text));
}

absl::Status RunError(std::string_view message) {
  const std::string text = Bounded(message);
  Error error(ERROR_REASON_RUNTIME_FAILED, std::format("the runtime failed: {}", text));
  error.With("stage", "run");
  static const std::regex running(R"(running (\S+) node\. Name:'([^']*)')");
  std::smatch match;
  if (std::regex_search(text, match, running)) error.Op(match[1].str()).Node(match[2].str());
  return error;
}

}  // namespace modelpress
