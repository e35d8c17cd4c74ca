// modelpressd: the server, and with --worker the process of one job.
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <utility>

#include "core/base/heap.h"
#include "core/base/status.h"
#include "core/recipe/capabilities.h"
#include "core/recipe/recipe_reader.h"
#include "core/recipe/run.h"
#include "core/worker/worker.h"
#include "server/config/command_line.h"
#include "server/config/machine.h"
#include "server/config/server_config.h"
#include "server/lifecycle/server.h"
#include "server/observability/log.h"

namespace modelpress {
namespace {

constexpr int kUsage = 2;
// After the drain's own time the process ends whatever hangs.
constexpr auto kLastResort = std::chrono::seconds(8);

// Runs each job in this binary started again with --worker.
class WorkerProcessRunner final : public JobRunner {
 public:
  absl::StatusOr<std::unique_ptr<RunningJob>> Start(const WorkerRequest& request) override {
    MP_ASSIGN_OR_RETURN(std::unique_ptr<WorkerProcess> process,
                        WorkerProcess::Start("/proc/self/exe", request));
    return std::make_unique<Running>(std::move(process));
  }

 private:
  class Running final : public RunningJob {
   public:
    explicit Running(std::unique_ptr<WorkerProcess> process) : process_(std::move(process)) {}
    JobOutcome Wait(const std::function<void(const Progress&)>& progress) override {
      return process_->Wait(progress);
    }
    void Cancel() override { process_->Cancel(); }

   private:
    std::unique_ptr<WorkerProcess> process_;
  };
};

int Fail(const absl::Status& status) {
  LogLine(LogSeverity::kError, "start_failed")
      .Add("reason", ReasonName(ReasonOf(status)))
      .Add("message", std::string(status.message()));
  return kUsage;
}

int Serve(const ServerConfig& config) {
  KeepChunksInHeap();
  // SIGTERM and SIGINT are waited for below, in this thread only; set before any other thread exists.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  CoreFunctions core;
  core.validate_recipe = [](const Recipe& recipe) { return ValidateRecipe(recipe); };
  core.make_plan = [](uint64_t model_bytes, uint64_t data_bytes, const Recipe& recipe) {
    return MakePlanFromSizes(model_bytes, data_bytes, recipe);
  };
  core.capabilities = DescribeCapabilities();
  auto server = Server::Start(config, std::move(core), std::make_unique<WorkerProcessRunner>());
  if (!server.ok()) return Fail(server.status());

  int received = 0;
  sigwait(&signals, &received);
  LogLine(LogSeverity::kInfo, "signal").Add("name", received == SIGTERM ? "SIGTERM" : "SIGINT");
  std::thread([&config] {
    std::this_thread::sleep_for(
        std::chrono::duration<double>(config.drain_delay_seconds() + config.drain_seconds()) +
        kLastResort);
    LogLine(LogSeverity::kError, "stop_hangs");
    _exit(1);
  }).detach();
  (*server)->Drain();
  server->reset();
  LogLine(LogSeverity::kInfo, "server_stopped");
  return 0;
}

int Main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "--worker") == 0) {
    // The server's blocked signals are inherited; a worker should end when told.
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    return WorkerMain(STDIN_FILENO, STDOUT_FILENO);
  }
  absl::StatusOr<CommandLine> command_line = ReadCommandLine(argc, argv, Version());
  if (!command_line.ok()) return Fail(command_line.status());
  if (!command_line->text.empty()) {
    printf("%s", command_line->text.c_str());
    return 0;
  }
  ServerConfig& config = command_line->config;
  FillDefaults(DescribeMachine(config.scratch()), &config);
  if (absl::Status status = ValidateConfig(config); !status.ok()) return Fail(status);
  if (command_line->check_config) {
    printf("%s", config.DebugString().c_str());
    return 0;
  }
  return Serve(config);
}

}  // namespace
}  // namespace modelpress

int main(int argc, char** argv) { return modelpress::Main(argc, argv); }
