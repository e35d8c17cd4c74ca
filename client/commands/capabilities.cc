// modelpress capabilities: formats, passes and limits, of this program or of a server.
#include <stdio.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/app/command.h"
#include "client/app/options.h"
#include "client/session/unary.h"
#include "client/terminal/format.h"
#include "client/terminal/json.h"
#include "core/recipe/capabilities.h"

namespace modelpress {
namespace {

struct CapabilitiesOptions {
  bool json = false;
  bool markdown = false;
  ServerOptions server;
};

// The tables of the README, which a test holds equal to this.
std::string RenderMarkdown(const Capabilities& capabilities) {
  std::string text = "| Format | Reads | Writes | Files | |\n|---|---|---|---|---|\n";
  for (const FormatCapability& format : capabilities.formats()) {
    absl::StrAppend(&text, "| `", format.name(), "` | yes | ", format.can_write() ? "yes" : "no",
                    " | ", absl::StrJoin(format.extensions(), ", "), " | ", format.description(),
                    " |\n");
  }
  text += "\n| Pass | What it does | Options |\n|---|---|---|\n";
  for (const PassCapability& pass : capabilities.passes()) {
    std::vector<std::string> options;
    for (const std::string& option : pass.options())
      options.push_back(absl::StrCat("`", option, "`"));
    absl::StrAppend(&text, "| `", pass.name(), "` | ", pass.summary(), " | ",
                    absl::StrJoin(options, ", "), " |\n");
  }
  return text;
}

std::string RenderTables(const Capabilities& capabilities) {
  std::string text =
      absl::StrCat("modelpress ", Printable(capabilities.version()), ", ONNX Runtime ",
                   Printable(capabilities.runtime_version()), "\nFormats\n");
  for (const FormatCapability& format : capabilities.formats()) {
    absl::StrAppend(&text, "  ", Printable(format.name()), format.can_write() ? "" : " (read only)",
                    ": ", Printable(format.description()), "\n");
  }
  text += "Passes\n";
  for (const PassCapability& pass : capabilities.passes()) {
    absl::StrAppend(&text, "  ", Printable(pass.name()), ": ", Printable(pass.summary()), "\n");
    if (!pass.options().empty()) {
      absl::StrAppend(&text, "      ", Printable(absl::StrJoin(pass.options(), ", ")), "\n");
    }
  }
  if (capabilities.has_limits()) {
    const Limits& limits = capabilities.limits();
    absl::StrAppend(
        &text, "Limits of ", Printable(capabilities.instance()), "\n  one file at most ",
        FormatBytes(limits.max_blob_bytes()), ", one job at most ",
        FormatBytes(limits.max_job_bytes()), " in ", limits.max_blobs(),
        " files\n  a job runs for at most ", FormatSeconds(limits.max_deadline_seconds()), " (",
        FormatSeconds(limits.default_deadline_seconds()), " unless said), and is kept for ",
        FormatSeconds(limits.lease_seconds()), " with nobody attached\n  ", limits.workers(),
        " jobs at once, ", limits.max_queued_jobs(), " waiting\n");
  }
  return text;
}

absl::Status ShowCapabilities(const CapabilitiesOptions& options) {
  Capabilities capabilities;
  if (options.server.remote()) {
    MP_ASSIGN_OR_RETURN(capabilities, GetCapabilities(options.server.address));
  } else {
    capabilities = DescribeCapabilities();
  }
  const std::string text = options.json       ? ToJson(capabilities)
                           : options.markdown ? RenderMarkdown(capabilities)
                                              : RenderTables(capabilities);
  fputs(text.c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace

void RegisterCommand_capabilities(CommandRegistry& registry) {
  auto options = std::make_shared<CapabilitiesOptions>();
  CLI::App* app = registry.Add(
      "capabilities", "List formats, passes with their options, and a server's limits",
      {"modelpress capabilities", "modelpress capabilities --server localhost:7600 --json"},
      [options] { return ShowCapabilities(*options); });
  CLI::Option* json = app->add_flag("--json", options->json, "Print JSON");
  app->add_flag("--markdown", options->markdown, "Print Markdown tables")->excludes(json);
  options->server.AddTo(app);
}

}  // namespace modelpress
