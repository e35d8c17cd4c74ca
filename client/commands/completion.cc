// modelpress completion: shell completion, generated from the same description that parses the command line.
#include <stdio.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/app/command.h"

namespace modelpress {
namespace {

std::vector<std::string> Words(const CLI::App& app) {
  std::vector<std::string> words;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    words.push_back(verb->get_name());
  }
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_snames()) words.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
  }
  return words;
}

// One case per chain of verbs: "jobs list) choices='...'".
void AddCases(const CLI::App& app, const std::string& chain, std::string* cases) {
  absl::StrAppend(cases, "    '", chain, "') choices='", absl::StrJoin(Words(app), " "), "' ;;\n");
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    AddCases(*verb, chain.empty() ? verb->get_name() : chain + " " + verb->get_name(), cases);
  }
}

void AddVerbs(const CLI::App& app, std::vector<std::string>* verbs) {
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    verbs->push_back(verb->get_name());
    AddVerbs(*verb, verbs);
  }
}

// Where no word of ours fits, the shell's own completion of file names steps in.
std::string BashScript(const CLI::App& root) {
  std::string cases;
  AddCases(root, "", &cases);
  std::vector<std::string> verbs;
  AddVerbs(root, &verbs);
  return absl::StrCat(
      "# bash completion of modelpress: eval \"$(modelpress completion bash)\"\n"
      "_modelpress() {\n"
      "  local word chain='' choices=''\n"
      "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
      "    case \"$word\" in ",
      absl::StrJoin(verbs, "|"),
      ") chain=\"${chain:+$chain }$word\" ;; esac\n"
      "  done\n"
      "  case \"$chain\" in\n",
      cases,
      "  esac\n"
      "  mapfile -t COMPREPLY < <(compgen -W \"$choices\" -- \"${COMP_WORDS[COMP_CWORD]}\")\n"
      "}\n"
      "complete -o default -F _modelpress modelpress\n");
}

std::string ZshScript(const CLI::App& root) {
  std::string cases;
  AddCases(root, "", &cases);
  std::vector<std::string> verbs;
  AddVerbs(root, &verbs);
  return absl::StrCat(
      "#compdef modelpress\n"
      "# zsh completion of modelpress: eval \"$(modelpress completion zsh)\"\n"
      "_modelpress() {\n"
      "  local word chain='' choices=''\n"
      "  for word in \"${(@)words[2,CURRENT-1]}\"; do\n"
      "    case \"$word\" in ",
      absl::StrJoin(verbs, "|"),
      ") chain=\"${chain:+$chain }$word\" ;; esac\n"
      "  done\n"
      "  case \"$chain\" in\n",
      cases,
      "  esac\n"
      "  compadd -- ${=choices}\n"
      "  _files\n"
      "}\n"
      "compdef _modelpress modelpress\n");
}

}  // namespace

void RegisterCommand_completion(CommandRegistry& registry) {
  auto shell = std::make_shared<std::string>();
  CLI::App* app = registry.Add(
      "completion", "Print the completion script of a shell",
      {"eval \"$(modelpress completion bash)\"", "eval \"$(modelpress completion zsh)\""},
      [shell, &registry] {
        const CLI::App& root = registry.root();
        fputs((*shell == "bash" ? BashScript(root) : ZshScript(root)).c_str(), stdout);
        return absl::OkStatus();
      });
  app->add_option("SHELL", *shell, "bash or zsh")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh"}));
}

}  // namespace modelpress
