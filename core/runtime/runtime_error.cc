// The runtime's messages as typed errors: see runtime_error.h. The patterns are those of ONNX Runtime 1.21.
#include "core/runtime/runtime_error.h"

#include <re2/re2.h>

#include <optional>
#include <string>

#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

// Messages may quote names of an upload.
std::string Bounded(std::string_view message) {
  constexpr size_t kMost = 1000;
  std::string text(message.substr(0, kMost));
  if (message.size() > kMost) text += " ...";
  return text;
}

bool Contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

// Some releases make StringNormalizer's locale with the session, some at its first run.
std::optional<absl::Status> LocaleError(const std::string& text) {
  static const RE2 no_locale(R"(construct locale with name:([^\s:]+))");
  std::string locale;
  if (!RE2::PartialMatch(text, no_locale, &locale)) return std::nullopt;
  return Error(ERROR_REASON_OP_UNSUPPORTED,
               FormatString("the model needs the locale {}, which this machine does not have",
                            locale))
      .Op("StringNormalizer")
      .With("locale", locale)
      .Remedy(
          "install the locale (Debian: the package locales-all), or set the node's attribute "
          "`locale` to C.UTF-8");
}

}  // namespace

absl::Status LoadError(std::string_view message) {
  const std::string text = Bounded(message);
  std::string op, node, opset;
  static const RE2 no_kernel(R"(implementation for (\S+?)\(\d+\) node with name '([^']*)')");
  if (RE2::PartialMatch(text, no_kernel, &op, &node)) {
    return Error(ERROR_REASON_OP_UNSUPPORTED,
                 FormatString("the runtime has no kernel for operator {} with these types: {}", op,
                              text))
        .Op(op)
        .Node(node)
        .Remedy("keep this node in a type that the CPU kernel has, such as float32");
  }
  static const RE2 no_schema(R"(No Op registered for (\S+) with domain_version of (\d+))");
  if (RE2::PartialMatch(text, no_schema, &op, &opset)) {
    return Error(ERROR_REASON_OP_UNSUPPORTED,
                 FormatString("operator {} does not exist in opset {}", op, opset))
        .Op(op)
        .With("opset", opset)
        .Remedy("export the model with standard operators, or check the opset it declares");
  }
  static const RE2 not_registered(R"((\S+)\(-?\d+\) is not a registered function/op)");
  if (RE2::PartialMatch(text, not_registered, &op)) {
    return Error(ERROR_REASON_OP_UNSUPPORTED,
                 FormatString("operator {} is not known to the runtime", op))
        .Op(op)
        .Remedy("export the model with standard operators");
  }
  if (Contains(text, "Unsupported model IR version") || Contains(text, "is under development") ||
      Contains(text, "only *guarantees* support for models stamped")) {
    return Error(ERROR_REASON_OPSET_UNSUPPORTED,
                 FormatString("the runtime does not execute this version: {}", text))
        .Remedy("export the model with an older opset, or add a convert_opset pass");
  }
  if (auto locale = LocaleError(text); locale.has_value()) return *std::move(locale);
  return Error(ERROR_REASON_MODEL_MALFORMED,
               FormatString("the runtime refuses the model: {}", text));
}

absl::Status RunError(std::string_view message) {
  const std::string text = Bounded(message);
  if (auto locale = LocaleError(text); locale.has_value()) return *std::move(locale);
  Error error(ERROR_REASON_RUNTIME_FAILED, FormatString("the runtime failed: {}", text));
  error.With("stage", "run");
  static const RE2 running(R"(running (\S+) node\. Name:'([^']*)')");
  std::string op, node;
  if (RE2::PartialMatch(text, running, &op, &node)) error.Op(op).Node(node);
  return error;
}

}  // namespace modelpress
