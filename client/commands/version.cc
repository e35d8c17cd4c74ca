// modelpress version.
#include <stdio.h>

#include "client/app/command.h"
#include "core/recipe/run.h"
#include "core/runtime/session.h"

namespace modelpress {

void RegisterCommand_version(CommandRegistry& registry) {
  registry.Add("version", "Print the versions of modelpress and of the runtime that judges",
               {"modelpress version"}, [] {
                 printf("modelpress %s, ONNX Runtime %s\n", std::string(Version()).c_str(),
                        RuntimeVersion().c_str());
                 return absl::OkStatus();
               });
}

}  // namespace modelpress
