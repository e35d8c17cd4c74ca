// The registry of verbs; see command.h.
#include "client/app/command.h"

#include <utility>

namespace modelpress {

CLI::App* CommandRegistry::AddBelow(CLI::App* parent, const std::string& verb,
                                    const std::string& summary,
                                    const std::vector<std::string>& examples, Run run) {
  CLI::App* app = parent->add_subcommand(verb, summary);
  std::string footer;
  for (const std::string& example : examples) footer += "\n  " + example;
  if (!footer.empty()) app->footer("Examples:" + footer);
  if (run != nullptr) runs_[app] = std::move(run);
  return app;
}

CLI::App* CommandRegistry::Add(const std::string& verb, const std::string& summary,
                               const std::vector<std::string>& examples, Run run) {
  return AddBelow(root_, verb, summary, examples, std::move(run));
}

const CommandRegistry::Run* CommandRegistry::chosen() const {
  const CLI::App* app = root_;
  while (!app->get_subcommands().empty()) app = app->get_subcommands().front();
  const auto run = runs_.find(app);
  return run == runs_.end() ? nullptr : &run->second;
}

}  // namespace modelpress
