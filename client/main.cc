// modelpress: compresses, converts and compares models, in this process or on a server.
#include <stdio.h>
#include <stdlib.h>

#include <string>
#include <vector>

#include "CLI/CLI.hpp"  // whole, once: the pieces leave vtables undefined
#include "client/app/command.h"
#include "client/terminal/error_view.h"
#include "client/terminal/exit_code.h"
#include "core/recipe/recipe_reader.h"

namespace modelpress {
namespace {

constexpr char kFooter[] =
    "Examples:\n"
    "  modelpress inspect model.onnx\n"
    "  modelpress compress model.onnx -o small.onnx --pass quantize_weights --data samples/\n"
    "  modelpress compress model.onnx -o small.onnx --recipe recipe.yaml --server localhost:7600\n"
    "  modelpress verify model.onnx small.onnx --data samples/\n"
    "  modelpress help compress\n"
    "\n"
    "Environment:\n"
    "  MODELPRESS_SERVER  server to use where --server is not given\n"
    "  TMPDIR             folder of temporary files of local jobs (/tmp)\n"
    "\n"
    "Exit codes:\n"
    "  0  done\n"
    "  1  internal error\n"
    "  2  wrong command line, unreadable input or unwritable output\n"
    "  3  the model, recipe or data is at fault\n"
    "  4  a quality bound was missed\n"
    "  5  the server is unreachable or overloaded, after retries\n"
    "  6  cancelled, or the deadline passed";

// `help VERB...` is `VERB... --help`.
std::vector<std::string> Arguments(int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  if (!arguments.empty() && arguments[0] == "help") {
    arguments.erase(arguments.begin());
    arguments.push_back("--help");
  }
  return arguments;
}

// A word that should be a verb and is none, with the nearest that is one.
std::string UnknownVerb(const CLI::App& root, const std::vector<std::string>& arguments) {
  const CLI::App* app = &root;
  for (const std::string& word : arguments) {
    std::vector<std::string> verbs;
    const CLI::App* next = nullptr;
    for (const CLI::App* verb : app->get_subcommands([](const CLI::App*) { return true; })) {
      verbs.push_back(verb->get_name());
      if (verb->get_name() == word) next = verb;
    }
    if (verbs.empty() || word.starts_with("-")) return "";
    if (next == nullptr) {
      const std::string nearest = NearestName(word, verbs);
      return "\"" + word + "\" is not a command" +
             (nearest.empty() ? "" : "; did you mean \"" + nearest + "\"?");
    }
    app = next;
  }
  return "";
}

int UsageError(const std::string& message) {
  fputs(RenderError(Error(ERROR_REASON_REQUEST_INVALID, message).Remedy("see `modelpress help`"))
            .c_str(),
        stderr);
  return kExitUsage;
}

int Main(int argc, char** argv) {
  // gRPC's own log is for its developers: what matters to a person is an error of ours. GRPC_VERBOSITY still wins.
  setenv("GRPC_VERBOSITY", "NONE", 0);
  CLI::App root(
      "modelpress makes trained models smaller, converts them, and tells honestly what that cost.",
      "modelpress");
  root.require_subcommand(1);
  root.footer(kFooter);
  root.get_formatter()->column_width(34);
  CommandRegistry registry(&root);
  RegisterCommand_All(registry);
  std::vector<std::string> arguments = Arguments(argc, argv);
  if (arguments.empty()) arguments.push_back("--help");
  if (const std::string message = UnknownVerb(root, arguments); !message.empty())
    return UsageError(message);
  try {
    // CLI11 takes the words last first.
    root.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::CallForHelp& help) {
    return root.exit(help);
  } catch (const CLI::ParseError& error) {
    return UsageError(error.what());
  }
  const CommandRegistry::Run* run = registry.chosen();
  if (run == nullptr) return UsageError("no command was given");
  const absl::Status status = (*run)();
  if (!status.ok()) fputs(RenderError(status).c_str(), stderr);
  return ExitCodeOf(status);
}

}  // namespace
}  // namespace modelpress

int main(int argc, char** argv) { return modelpress::Main(argc, argv); }
